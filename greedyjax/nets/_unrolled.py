"""What every unrolled network shares: its parameters, its solvers, and batches of any shape."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Inexact, Int

from greedyjax import _checks
from greedyjax._numerics import magnitude, real_dtype
from greedyjax._types import Recovery
from greedyjax.nets._parameters import atom_weights, checked_groups, raw_weights
from greedyjax.pursuit._batch import _block_that_fits
from greedyjax.sorting._choice import kept_choice_loss, next_choice_loss


class Choices(NamedTuple):
    """What the hard solver met with a network's weights, for losses that score the choice itself.

    Attributes:
        scores: shape ``(..., steps, n)``; differentiable in the weights and in nothing else.
        x: the hard solver's answers, shape ``(..., n)``; constants.
        thresholds: of the scores kept at each step, shape ``(..., steps)``; constants. None where
            a step takes the largest score alone.

    Where a step makes two choices, the first ones of all steps come before the second ones.
    """

    scores: Float[Array, "*batch steps n"]
    x: Inexact[Array, "*batch n"]
    thresholds: Float[Array, "*batch steps"] | None = None


class Solvers(NamedTuple):
    """The forms of one solver, all called as ``solver(A, y, *, weights, **settings)``.

    Attributes:
        soft: takes ``tau`` as well.
        hard: what it tends to.
        layers: the answers of the soft solver after each layer, from one run.
        path: the hard solver, recorded: ``x``, the magnitudes before the choices of each kind that
            a step makes, ``(steps, n)``, and their thresholds, if it keeps more than one atom.
        batch: the hard solver of many signals; None where there is none of its own.
    """

    soft: Callable[..., Recovery]
    hard: Callable[..., Recovery]
    layers: Callable[..., Array]
    path: Callable[..., tuple]
    batch: Callable[..., Recovery] | None = None


class Unrolled(nnx.Module):
    """A solver unrolled into layers, with trainable weights.

    A network says which solver (``_solvers``), and what it is called with beyond what all take
    (`_settings`, `_problem`).

    Args:
        A: matrix, shape ``(m, n)``.
        sparsity: atoms of a signal, static.
        num_layers: static, at least 1.
        tau: temperature > 0; one, or one per layer.
        weights: initial weights, real; None means ones. One per atom, shape ``(n,)``, or per group;
            with ``per_layer`` those of all layers, or ``(num_layers, ...)``.
        per_layer: whether each layer has weights of its own.
        groups: integers ``0..G-1``, shape ``(n,)``; the atoms of a group share one weight, so
            that ``weights`` has shape ``(G,)``. None means that each atom has its own.
        positive: whether to train the logarithms of the weights.
        learn_tau: whether to train the logarithm of ``tau``, of one or of one per layer, as given.
        penalty: of the coefficients in the solver's least squares, real, >= 0, shape ``(n,)``.
    """

    _solvers: ClassVar[Solvers]

    def __init__(
        self,
        A: Inexact[Array, "m n"],
        *,
        sparsity: int,
        num_layers: int,
        tau: Any = 1e-3,
        weights: Float[Array, "..."] | None = None,
        per_layer: bool = False,
        groups: Int[Array, " n"] | None = None,
        positive: bool = False,
        learn_tau: bool = False,
        penalty: Float[Array, " n"] | None = None,
    ) -> None:
        self.A = _checks.inexact("A", A, ndim=2)
        shape = self.A.shape
        self.sparsity = _checks.static_int(
            "sparsity",
            sparsity,
            minimum=1,
            maximum=self._most(shape),
            why=f" for A of shape {shape}",
        )
        self.num_layers = _checks.static_int("num_layers", num_layers, minimum=1)
        self.per_layer = _checks.flag("per_layer", per_layer)
        self.positive = _checks.flag("positive", positive)
        self.learn_tau = _checks.flag("learn_tau", learn_tau)
        real = real_dtype(self.A.dtype)

        taus = _checks.scalar_or_steps("tau", tau, self.num_layers).astype(real)
        if self.learn_tau:
            # As many as were given: one for all layers, or one per layer.
            self.log_tau = nnx.Param(jnp.log(jnp.asarray(tau, real)))
        else:
            self._tau = taus

        size = shape[1]
        if groups is not None:
            groups, size = checked_groups(groups, size)
        self.groups = nnx.data(groups)
        self.weights = self._raw(weights, size)
        if penalty is not None:
            penalty = _checks.penalty(penalty, shape[1]).astype(real)
        self.penalty = nnx.data(penalty)

    @property
    def atom_weights(self) -> Float[Array, "*layers n"]:
        """The weights as solvers take them, shape ``(n,)`` or ``(num_layers, n)``."""
        return atom_weights(self.weights[...], self.groups, positive=self.positive)

    @property
    def tau(self) -> Float[Array, "*layers"]:
        """The temperature; one per layer, or one alone where that is what is learned.

        May be set to another at any time, a scalar or one per layer; if it is learned, to another
        start, and to one per layer only if one per layer is learned.
        """
        return jnp.exp(self.log_tau[...]) if self.learn_tau else self._tau

    @tau.setter
    def tau(self, tau: Any) -> None:
        real = real_dtype(self.A.dtype)
        taus = _checks.scalar_or_steps("tau", tau, self.num_layers).astype(real)
        if not self.learn_tau:
            self._tau = taus
            return
        if jnp.ndim(tau) > self.log_tau.ndim:
            got = f"shape {jnp.shape(tau)}"
            _checks.fail(ValueError, "tau", "a scalar, as one is learned for all layers", got)
        self.log_tau = nnx.Param(jnp.log(taus if self.log_tau.ndim else taus[0]))

    def __call__(self, Y: Inexact[Array, "*batch m"]) -> Inexact[Array, "*batch n"]:
        """Recovers one signal or a batch of any shape with the soft solver."""
        return self._over_batch(self._soft, Y)

    def harden(
        self, solver: Callable[..., Recovery] | None = None
    ) -> Callable[[Inexact[Array, "*batch m"]], Inexact[Array, "*batch n"]]:
        """The hard solver with the weights as they are now: same shapes in and out.

        Args:
            solver: another hard solver to use the weights in, a function of
                ``(A, y, *, sparsity, weights)`` that returns a `Recovery`, such as
                ``functools.partial(gj.iht, num_steps=50)``. It is called with the network's
                matrix, sparsity and `atom_weights`, signal by signal under `jax.vmap`, in blocks
                that bound its memory. None means the network's own.

        Raises:
            TypeError: ``solver`` is no function; when called, it returns no `Recovery`.
        """
        now = self.rebuild()
        if solver is None:
            return lambda Y: now._over_batch(now._hard, Y, now._hard_batch)
        _checks.function("solver", solver)

        def one(y):
            found = solver(now.A, y, sparsity=now.sparsity, weights=now.atom_weights)
            if not isinstance(found, Recovery):
                expected = "a function that returns a Recovery"
                _checks.fail(
                    TypeError, "solver", expected, f"one that returns {type(found).__name__}"
                )
            return found.x

        return lambda Y: now._over_batch(one, Y, partial(now._in_blocks, one))

    def layers(self, Y: Inexact[Array, "*batch m"]) -> Inexact[Array, "*batch layers n"]:
        """The soft solver's answers after each layer, from one run."""
        return self._over_batch(self._layers, Y)

    def choices(self, Y: Inexact[Array, "*batch m"]) -> Choices:
        """The scores before each choice of the hard solver with the current weights."""
        return self._over_batch(self._choices, Y)

    def choice_loss(self, choices: Choices, targets: Float[Array, " n"]) -> Float[Array, ""]:
        """Mean loss of the choices of one signal; ``targets`` are its atoms' energy fractions.

        `kept_choice_loss` where a step keeps scores above a threshold, else `next_choice_loss`.
        """
        scores, _, thresholds = choices
        if thresholds is None:
            taus = self._taus(len(scores))
            return jnp.mean(jax.vmap(next_choice_loss, (0, None, 0))(scores, targets, taus))
        loss = jax.vmap(kept_choice_loss, (0, None, 0, 0, None))
        kinds = self._kept()
        taus = self._taus(self.num_layers)
        pairs = jnp.split(scores, len(kinds)), jnp.split(thresholds, len(kinds)), kinds
        losses = [loss(s, targets, taus, t, k) for s, t, k in zip(*pairs, strict=True)]
        return jnp.mean(jnp.concatenate(losses))

    def rebuild(self, *, A: Array | None = None, weights: Array | None = None) -> Self:
        """The same network on another matrix or with other weights.

        Args:
            A: shape ``(m, n)``; a matrix that is too small for the sparsity lowers it.
            weights: as when the network was made. None keeps those of now.
        """
        net = nnx.clone(self)
        if A is not None:
            net.A = _checks.inexact("A", A, ndim=2)
            net.sparsity = min(self.sparsity, self._most(net.A.shape))
            net.num_layers = net._layers_left()
        real, n = real_dtype(net.A.dtype), net.A.shape[1]

        def kept(array, per_layer: bool):
            return jnp.asarray(array[: net.num_layers] if per_layer else array, real)

        if net.learn_tau:
            net.log_tau = nnx.Param(kept(self.log_tau[...], self.tau.ndim == 1))
        else:
            net._tau = kept(self._tau, True)
        if self.groups is not None and len(self.groups) != n:
            expected = f"{len(self.groups)} atoms, as many as groups were given for"
            _checks.fail(ValueError, "A", expected, f"shape {net.A.shape}")
        if self.penalty is not None and len(self.penalty) != n:
            expected = f"{len(self.penalty)} atoms, as many as penalties were given for"
            _checks.fail(ValueError, "A", expected, f"shape {net.A.shape}")
        size = n if self.groups is None else self.weights.shape[-1]
        if weights is not None:
            net.weights = net._raw(weights, size)
        elif self.weights.shape[-1] != size:
            got = f"those of now, of shape {self.weights.shape}"
            _checks.fail(ValueError, "weights", f"shape {(size,)} for this A", got)
        else:
            net.weights = nnx.Param(kept(self.weights[...], self.per_layer))
        return net

    @classmethod
    def _most(cls, shape: tuple[int, ...]) -> int:
        """The largest sparsity that a matrix of this shape allows."""
        return min(shape)

    def _layers_left(self) -> int:
        """The number of layers, after the sparsity may have been lowered."""
        return self.num_layers

    def _kept(self) -> tuple[int, ...]:
        """How many atoms a step keeps, of each kind of choice that it makes."""
        return (self.sparsity,)

    def _raw(self, weights, size: int) -> nnx.Param:
        """The parameter that stands for these weights."""
        layers = self.num_layers if self.per_layer else None
        real = real_dtype(self.A.dtype)
        return nnx.Param(
            raw_weights(weights, num_layers=layers, size=size, positive=self.positive, dtype=real)
        )

    def _taus(self, num_steps: int) -> Float[Array, " steps"]:
        """The temperature of each step."""
        return jnp.broadcast_to(self.tau, (num_steps,))

    def _problem(self, y: Inexact[Array, "*num m"]) -> tuple[Array, Array]:
        """The matrix and measurements that the solver is given."""
        return self.A, y

    def _settings(self) -> dict[str, Any]:
        """What soft, hard and recorded solver are all called with."""
        return {
            "sparsity": self.sparsity,
            "weights": self.atom_weights,
            "penalty": self.penalty,
        }

    def _soft(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        return self._solvers.soft(*self._problem(y), tau=self.tau, **self._settings()).x

    def _layers(self, y: Inexact[Array, " m"]) -> Inexact[Array, "layers n"]:
        return self._solvers.layers(*self._problem(y), tau=self.tau, **self._settings())

    def _hard(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        return self._solvers.hard(*self._problem(y), **self._settings()).x

    def _hard_batch(self, Y: Inexact[Array, "num m"]) -> Inexact[Array, "num n"]:
        if self._solvers.batch is None:
            return self._in_blocks(self._hard, Y)
        return self._solvers.batch(*self._problem(Y), **self._settings()).x

    def _choices(self, y: Inexact[Array, " m"]) -> Choices:
        # Nothing differentiates the path: only the weights that its magnitudes are scored by.
        frozen = {
            name: lax.stop_gradient(value) if isinstance(value, jax.Array) else value
            for name, value in self._settings().items()
        }
        path = lax.stop_gradient(self._solvers.path(*self._problem(y), **frozen))
        x, *met = path
        thresholds = met.pop().reshape(-1) if len(met) > 1 else None
        weights = magnitude(self.atom_weights)
        scores = [jnp.broadcast_to(weights, each.shape) * each for each in met]
        return Choices(jnp.concatenate(scores), x, thresholds)

    def _in_blocks(self, solve, Y: Inexact[Array, "num m"]) -> Inexact[Array, "num n"]:
        """``solve`` by vmap over blocks of signals whose bases and scores fit into memory."""
        (m, n), size = self.A.shape, jnp.result_type(self.A, Y).itemsize
        room = _block_that_fits(size * (4 * n + 4 * m * self.sparsity), jax.default_backend())
        return lax.map(solve, Y, batch_size=room)

    def _over_batch(self, solve, Y: Inexact[Array, "*batch m"], solve_all=None):
        """Applies ``solve`` to each signal of a batch of any shape, as one flat batch.

        That is a vmap, where there is no ``solve_all`` that does it better.
        """
        Y = _checks.as_array("Y", Y)
        m = self.A.shape[0]
        if Y.ndim == 0 or Y.shape[-1] != m:
            _checks.fail(ValueError, "Y", f"shape (..., {m})", f"shape {Y.shape}")
        Y = _checks.inexact("Y", Y, ndim=Y.ndim)
        if Y.ndim == 1:
            return solve(Y)
        batch = Y.shape[:-1]
        out = (solve_all or jax.vmap(solve))(Y.reshape(-1, m))
        return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), out)
