"""A network made from any method: its parameters, its solvers, and batches of any shape."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._meshes import on_any_mesh
from greedyjax._numerics import real_dtype
from greedyjax._precision import as_given
from greedyjax._types import ByIdentity, Matrix, Recovery
from greedyjax.linalg.checked import operator_dtype
from greedyjax.nets._parts import Atoms, Temperature, Weights, put_together, taken_apart
from greedyjax.policies import as_weighting
from greedyjax.pursuit import (
    Choices,
    GaussianPrior,
    Hardened,
    Method,
    check_method,
    checked_operator,
    recorded_choices,
    recover_layers,
    recover_soft,
)
from greedyjax.pursuit._cutting import in_rows
from greedyjax.sorting import Relaxed, SoftSort, check_relaxation

# This stands for `typing.Self`. The tests check functions with beartype, which understands
# `typing.Self` only in classes.
Own = TypeVar("Own", bound="Unrolled")


# The score of an excluded candidate, in temperatures; other scores are at least 0.
_CLOSED = -50.0


class Unrolled(nnx.Module):
    """A soft solver unrolled into layers, with trainable weights.

    A network maps measurements ``(..., m)`` to signals ``(..., n)``. The matrix and the temperature
    are fixed, unless they are learned. Train with `greedyjax.training.fit`, or take
    gradients with respect to ``nnx.Param``. `OMPNet` and the other networks are `Unrolled` with a
    given method.

    Args:
        method: a `greedyjax.pursuit.Method`; each of its steps is a layer.
        A: matrix, shape ``(m, n)``, or an operator, as in `greedyjax.recover`; or `Atoms`, which
            may be learned.
        weights: `Weights`, or an array of weights to start from, or a `greedyjax.policies.Policy`,
            whose arrays are then trained. None means one weight per atom, starting at 1.
        tau: a `Temperature`, or one number > 0, or one per layer.
        relaxation: what replaces the sort, a class that is called with ``tau``; see
            `greedyjax.sorting`. This class also has the losses that `choice_loss` uses.

    Attributes:
        A: the matrix, with its learned atoms, or the operator.
        atoms: the trained ``nnx.Param`` if atoms are learned: directions of the columns, shape
            ``(m, n)``; for a complex matrix their real and imaginary parts, ``(2, m, n)``.
        weights: the trained ``nnx.Param``, shape ``(n,)`` or ``(G,)``, with a leading axis if each
            layer has its own weights. With ``positive`` they are logarithms of the weights. For a
            policy, they are a tuple of arrays.
        atom_weights: the weights as solvers take them, shape ``(n,)`` or ``(num_layers, n)``.
        policy: the argument ``weights=`` for solvers: ``atom_weights``, or the policy.
        tau: the temperature, a scalar or one number per layer. It may be set at any time.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import Unrolled
        >>> from greedyjax.pursuit import OMP
        >>> net = Unrolled(OMP(sparsity=1), jnp.eye(3), tau=0.1)
        >>> net(jnp.array([[0.0, 2.0, 0.0]])).shape, net.harden()(jnp.array([0.0, 2.0, 0.0])).shape
        ((1, 3), (3,))
    """

    def __init__(
        self,
        method: Method,
        A: Matrix | Atoms,
        *,
        weights: Any = None,
        tau: Any = 1e-3,
        relaxation: Any = SoftSort,
    ) -> None:
        check_method(method)
        self._set_matrix(A, method)
        method = method.checked(self.A.shape, operator_dtype(self.A))
        _checks.static_int("num_layers", method.num_steps, minimum=1)
        self._method = nnx.data(method)
        rows_for = type(method).__name__ if method.uses_rows else None
        self.relaxation = check_relaxation(relaxation, rows_for=rows_for)
        self._set_weights(weights)
        tau = tau if isinstance(tau, Temperature) else Temperature(tau)
        self.learn_tau = _checks.flag("tau.learned", tau.learned)
        taus = _checks.scalar_or_steps("tau", tau.value, self.num_layers).astype(self._real)
        if self.learn_tau:
            # One logarithm for all layers, or one per layer, as the temperature was given.
            self.log_tau = nnx.Param(jnp.log(jnp.asarray(tau.value, self._real)))
        else:
            self._tau = taus

    @property
    def A(self) -> Any:
        """The matrix, with its learned atoms, or the operator."""
        if not self.learn_atoms:
            return self._A
        return put_together(self.atoms[...], self._norms).astype(self._dtype)

    @property
    def method(self) -> Method:
        """The method, with the present values of learned numbers."""
        return self._method

    @property
    def num_layers(self) -> int:
        """The number of steps of the method."""
        return self._method.num_steps

    @property
    def sparsity(self) -> int:
        """The sparsity of the method."""
        return self._method.sparsity

    @property
    def policy(self) -> Any:
        """The argument ``weights=`` for solvers: an array, or a policy."""
        values: Any = self.weights.get_value()
        if self._meaning is not None:
            return self._meaning.of_atoms(values)
        learned, fixed = iter(values), iter(self._fixed)
        return self._tree.unflatten([next(learned if is_ else fixed) for is_ in self._is_learned])

    @property
    def atom_weights(self) -> Float[Array, "*layers n"]:
        """The weights as solvers take them, shape ``(n,)`` or ``(num_layers, n)``."""
        if self._meaning is None:
            raise ValueError(
                "atom_weights: expected a network with one weight per atom, got one with a policy; "
                "its solvers take net.policy"
            )
        return self.policy

    @property
    def tau(self) -> Float[Array, "*layers"]:
        """The temperature, one number per layer, or a scalar if one temperature is learned.

        It may be set to another scalar, or to one number per layer, at any time. If the temperature
        is learned, this sets its start, and one number per layer is allowed only if one per layer
        is learned.
        """
        return jnp.exp(self.log_tau[...]) if self.learn_tau else self._tau

    @tau.setter
    def tau(self, tau: Any) -> None:
        taus = _checks.scalar_or_steps("tau", tau, self.num_layers).astype(self._real)
        if not self.learn_tau:
            self._tau = taus
            return
        if jnp.ndim(tau) > self.log_tau.ndim:
            got = f"shape {jnp.shape(tau)}"
            _checks.fail(ValueError, "tau", "a scalar, as all layers learn one tau", got)
        self.log_tau = nnx.Param(jnp.log(taus if self.log_tau.ndim else taus[0]))

    def __call__(self, Y: Inexact[ArrayLike, "..."]) -> Inexact[Array, "..."]:
        """Recovers one signal or a batch of any shape with the soft solver."""
        return self._over_batch(recover_soft, Y, self._relaxed)

    def layers(self, Y: Inexact[ArrayLike, "..."]) -> Inexact[Array, "..."]:
        """The answer of the soft solver after each layer, from one run."""
        return self._over_batch(recover_layers, Y, self._relaxed)

    def harden(
        self,
        solver: Callable[..., Recovery] | Method | None = None,
        *,
        prior: GaussianPrior | None = None,
    ) -> Callable[[Inexact[ArrayLike, "..."]], Inexact[Array, "..."]]:
        """The hard solver with the present weights. It takes and returns the same shapes.

        Args:
            solver: another hard solver that uses the weights. It is a method, such as
                ``greedyjax.pursuit.IHT(sparsity=10, num_steps=50)``, or a function of
                ``(A, y, *, sparsity, weights)`` that returns a `Recovery`, such as
                ``functools.partial(gj.iht, num_steps=50)``. A function is called with the
                network's matrix, sparsity and weights, signal by signal under `jax.vmap`. Methods
                and functions both work in blocks that limit the memory. None means the network's
                own solver.
            prior: a prior for a last fit of all coefficients, after the solver has chosen atoms.
                None means the solver's own fit.

        Returns:
            A `Hardened`. It is called with measurements, and is a pytree that can be pickled.

        Raises:
            TypeError: ``solver`` is neither a method nor a function, or it does not return a
                `Recovery` when it is called.
        """
        now = self.rebuild()
        return Hardened.of(now.method, solver, now.A, now.policy, prior)

    def choices(self, Y: Inexact[ArrayLike, "..."]) -> Choices:
        """The scores at each choice of the hard solver with the present weights."""
        return self._over_batch(recorded_choices, Y)

    def choice_loss(self, choices: Choices, targets: Float[Array, " n"]) -> Float[Array, ""]:
        """Mean loss of the choices of one signal; ``targets`` has the energy fraction of each atom.

        If a step keeps scores above a threshold, the loss is the relaxation's ``kept_loss``, and
        otherwise its ``next_loss``.
        """
        taus = jnp.broadcast_to(self.tau, (self.num_layers,))

        def one(structure, tau, met, targets):
            relaxation = structure.choosing(self.relaxation(tau))
            scores, wanted = met.scores, targets
            if met.closed is not None:  # Scores are >= 0, so these candidates are excluded.
                scores = jnp.where(met.closed, _CLOSED * tau, scores)
                wanted = jnp.where(met.closed, 0, targets)
            if met.threshold is None:
                return relaxation.next_loss(scores, wanted)
            return relaxation.kept_loss(scores, wanted, met.threshold, met.kept)

        @on_any_mesh()
        def mean(structure, taus, choices, targets):
            targets = structure.total(targets)
            each = jax.vmap(one, (None, 0, 0, None))
            losses = [each(structure, taus, met, targets) for met in choices.met]
            return jnp.mean(jnp.concatenate(losses))

        return mean(self._method.structure, taus, choices, targets)

    def rebuild(self: Own, *, A: Matrix | Atoms | None = None, weights: Any = None) -> Own:
        """The same network with another matrix or other weights.

        Args:
            A: matrix or operator, shape ``(m, n)``. If it is too small for the sparsity, the
                sparsity is lowered. If the network learns its atoms, they start from this matrix
                and stay learned. `Atoms` may change whether they are learned.
            weights: as in the constructor. None keeps the present weights.
        """
        net = nnx.clone(self)
        if A is not None:
            net._set_matrix(A, self._method)
            net._method = nnx.data(self._method.within(net.A.shape))
            self._check_atoms(net.A.shape)
        if net.learn_tau:
            log_tau = self.log_tau[...]
            net.log_tau = nnx.Param(net._kept(log_tau, log_tau.ndim == 1))
        else:
            net._tau = net._kept(self._tau, True)
        if weights is not None:
            net._set_weights(weights)
        elif self._meaning is not None:
            values: Any = self.weights.get_value()
            net.weights = nnx.Param(net._kept(values, self._meaning.per_layer))
            if self._meaning.groups is None and values.shape[-1] != net.A.shape[1]:
                got = f"the present weights, shape {values.shape}"
                _checks.fail(ValueError, "weights", f"shape {(net.A.shape[1],)} for this A", got)
        return net

    def parameter_names(self) -> list[str]:
        """The names of the trained parameters, and whether they are weights or logarithms."""
        kind = "weights"
        if self._meaning is None:
            kind = "arrays of a policy"
        elif self._meaning.positive:
            kind = "logarithms of weights"
        paths = [path for path, _ in nnx.to_flat_state(nnx.state(self, nnx.Param))]
        return [kind, *sorted(".".join(map(str, path)) for path in paths)]

    @property
    def _relaxed(self) -> Relaxed:
        return Relaxed(self.tau, self.relaxation)

    @property
    def _real(self) -> jnp.dtype:
        return real_dtype(operator_dtype(self.A))

    def _set_matrix(self, A: Any, method: Method) -> None:
        """Stores the matrix: a learned matrix as directions and norms, any other unchanged."""
        learned = getattr(self, "learn_atoms", False)
        if isinstance(A, Atoms):
            learned, A = _checks.flag("A.learned", A.learned), A.value
        self.learn_atoms = learned
        if learned:
            self._A: Any = nnx.data(None)
            directions, self._norms, self._dtype = taken_apart(A)
            self.atoms = nnx.Param(directions)
            return
        self._A = nnx.data(checked_operator(A, uses_columns=method.uses_columns))
        for name in ("atoms", "_norms", "_dtype"):  # Left over if the network learned its atoms.
            vars(self).pop(name, None)

    def _set_weights(self, weights: Any) -> None:
        """Splits weights into the arrays that are trained and the options that interpret them."""
        n, meaning = self.A.shape[1], getattr(self, "_meaning", None)
        before: Any = getattr(self, "weights", None)
        if callable(weights):
            as_weighting(weights, n, self.num_layers, operator_dtype(self.A))  # Checks it.
            leaves, self._tree = jax.tree.flatten(ByIdentity.unless_pytree(weights))
            self._is_learned = tuple(
                bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)) for leaf in leaves
            )
            pairs = list(zip(leaves, self._is_learned, strict=True))
            self.weights = nnx.Param(tuple(jnp.array(leaf) for leaf, is_ in pairs if is_))
            self._fixed = nnx.data(tuple(jnp.array(leaf) for leaf, is_ in pairs if not is_))
            self._meaning = nnx.data(None)
            return
        if isinstance(weights, Weights) or meaning is None:
            given = weights if isinstance(weights, Weights) else Weights(weights)
            given, size = given.checked(n)
        else:  # Other values, with the present options of the network.
            given = dataclasses.replace(meaning, values=weights)
            size = n if given.groups is None else before.shape[-1]
        self.weights = nnx.Param(given.raw(size, self.num_layers, self._real))
        self._meaning = nnx.data(dataclasses.replace(given, values=None))

    def _check_atoms(self, shape: tuple[int, ...]) -> None:
        """Raises a ValueError if groups or penalties were given for another number of atoms."""
        groups = None if self._meaning is None else self._meaning.groups
        penalty = getattr(getattr(self._method, "fit", None), "penalty", None)
        for what, given in (("groups", groups), ("penalties", penalty)):
            if given is not None and len(given) != shape[1]:
                expected = f"{len(given)} atoms, as many as {what} were given for"
                _checks.fail(ValueError, "A", expected, f"shape {shape}")

    def _kept(self, array: Array, per_layer: bool) -> Array:
        return jnp.asarray(array[: self.num_layers] if per_layer else array, self._real)

    def _over_batch(
        self, solve: Callable[..., Any], Y: Inexact[ArrayLike, "..."], *relaxed: Relaxed
    ):
        """Applies a compiled function of many signals to a batch of any shape."""
        A, snapshots = self.A, self._method.structure.snapshots
        given, Y = Y, _checks.batch("Y", Y, A.shape[0], snapshots=snapshots)
        weighting = as_weighting(self.policy, A.shape[1], self.num_layers, operator_dtype(A))
        rows, lead = in_rows(Y, snapshots)
        rows = rows if lead else Y
        found = as_given(solve(self.method, A, rows, weighting, *relaxed), A, given)
        if len(lead) <= 1:
            return found
        return jax.tree.map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]), found)
