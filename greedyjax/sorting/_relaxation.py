"""The base class of relaxations of sorting, and a relaxation with its temperatures."""

import abc
import dataclasses
import inspect
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from greedyjax import _checks
from greedyjax._types import static
from greedyjax.sorting._hardsort import top_indices
from greedyjax.sorting._rows import SoftRows
from greedyjax.sorting._selector import Gate, Selector

_FLOOR = 1e-6  # Keeps the loss finite if a step has no right choice.


class Relaxation(abc.ABC):
    """A relaxation of sorting by soft rows: a class that is called with a temperature.

    A subclass defines `first`, and inherits the next row, the mask, and the losses of both choices.
    A relaxation is a frozen dataclass with a field ``tau``, registered as a pytree. It may depend
    only on the ratios of scores to ``tau``, so that units do not matter.

    Attributes:
        tau: temperature > 0, in the units of the scores; traced.
    """

    tau: Any
    rows: ClassVar = SoftRows

    @abc.abstractmethod
    def first(self, scores: Float[Array, " n"], k: int, chosen: Array | None = None) -> SoftRows:
        """The first ``k`` rows. Atoms ``chosen`` before may be chosen again."""

    def next(self, scores: Float[Array, " n"], chosen: Array | None = None) -> SoftRows:
        """The first row."""
        return self.first(scores, 1, chosen).row(0)

    def keep(
        self, scores: Float[Array, " n"], k: int
    ) -> tuple[Float[Array, " n"], Int[Array, " k"]]:
        """The column sums of the first ``k`` rows, and the indices of the largest scores."""
        return jnp.sum(self.first(scores, k).weight, axis=0), top_indices(scores, k)

    def next_loss(
        self, scores: Float[Array, " n"], targets: Float[Array, " n"]
    ) -> Float[Array, ""]:
        """``-log sum_j p_j (t_j + 1e-6)`` with ``p`` the first row.

        The loss of choosing one atom next, where ``targets`` say how much of the signal's energy
        each atom carries.
        """
        return -jnp.log(jnp.sum(self.next(scores).weight * (targets + _FLOOR)))

    def kept_loss(
        self,
        scores: Float[Array, " n"],
        targets: Float[Array, " n"],
        threshold: Float[Array, ""],
        k: int,
    ) -> Float[Array, ""]:
        """`logistic_loss` on both sides of the threshold."""
        return logistic_loss((scores - lax.stop_gradient(threshold)) / self.tau, targets, k)


def logistic_loss(
    z: Float[Array, " n"], targets: Float[Array, " n"], k: int, plus: Any = None
) -> Float[Array, ""]:
    """``k sum_{j in S} t_j p(-z_j) + (k/n) sum_{j not in S} p(z_j)``.

    The loss of keeping the ``k`` scores above a threshold, which is a constant to derivatives.
    Here ``z = (scores - threshold) / tau``, ``p(z) = log(1 + exp z)``, and ``S`` has the ``k``
    largest nonzero targets. ``plus`` is another convex function in place of ``p``.
    """
    n = len(z)
    chosen = top_indices(targets, k)
    wanted = jnp.zeros(n, bool).at[chosen].set(True, unique_indices=True) & (targets > 0)
    loss = (plus or _softplus)(jnp.where(wanted, -z, z))
    return k * jnp.sum(jnp.where(wanted, targets, 1 / n) * loss)


def _softplus(z: Float[Array, "..."]) -> Float[Array, "..."]:
    # This takes half the operations of jax.nn.softplus, which also handles infinite z.
    return jnp.maximum(z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z)))


def temperature(tau: Float[Array, "..."], scale: Float[Array, ""]) -> Float[Array, "..."]:
    """``tau / scale``, clipped to a range in which its inverse square is finite.

    For scores of unit scale, this range ends far below their rounding, which is the hard limit, and
    far above the scores. Outside it, the derivative with respect to ``tau`` is 0.
    """
    smallest = jnp.finfo(scale.dtype).tiny ** 0.4
    # The upper bound comes before the division, because the division and its forward derivatives
    # could overflow.
    tau = jnp.minimum(tau.astype(scale.dtype), scale / smallest)
    return jnp.maximum(tau / scale, smallest)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Relaxed:
    """A relaxation, and its temperature in each step of a solver.

    Attributes:
        tau: temperature > 0, in the units of the scores, a scalar or one per step.
        relaxation: class that makes selectors when it is called with temperatures.
    """

    tau: Any
    relaxation: Any = static()

    def selectors(self, unit: Float[Array, ""], num_steps: int) -> Any:
        """The selectors of all steps, stacked, for scores that are divided by ``unit``."""
        return self.relaxation(temperature(jnp.broadcast_to(self.tau, (num_steps,)), unit))


def check_relaxation(relaxation: Any, *, rows_for: str | None) -> Any:
    """Returns ``relaxation`` if it makes a selector, or a gate, from a temperature.

    Args:
        relaxation: the user's argument.
        rows_for: the name of the method if it chooses by rows, so that a gate is not enough; else
            None.

    Raises:
        TypeError: ``relaxation`` makes neither, or makes a gate where rows are needed.
    """
    if isinstance(relaxation, (Relaxation, Gate)) and not isinstance(relaxation, type):
        kind = type(relaxation).__name__
        got = f"one that has its temperature already; give the class {kind}, and tau= beside it"
        _checks.fail(TypeError, "relaxation", "a class that is called with tau", got)
    if not callable(relaxation):
        expected = "a class such as greedyjax.sorting.NeuralSort"
        _checks.fail(TypeError, "relaxation", expected, f"{relaxation!r}"[:60])
    made, kind = _made_by(relaxation)
    if not isinstance(made, Gate):
        missing = [name for name in ("keep", "kept_loss") if not hasattr(made, name)]
        got = f"{kind}, which has no {missing[0]}"
        _checks.fail(TypeError, "relaxation", "a greedyjax.sorting.Selector, or a Gate", got)
    if rows_for and not isinstance(made, Selector):
        expected = f"a greedyjax.sorting.Selector, as {rows_for} chooses by rows"
        got = f"{kind}, a gate, which has a mask alone; iht and IHTNet take it"
        _checks.fail(TypeError, "relaxation", expected, got)
    return relaxation


@lru_cache(maxsize=64)
def _made_by(relaxation: Any) -> tuple[Any, str]:
    """The object that a relaxation makes from an abstract temperature, and the type's name."""
    kind = getattr(relaxation, "__name__", type(relaxation).__name__)
    made: list[Any] = []

    def make(tau):
        made.append(relaxation(tau))
        return jax.tree.leaves(made[0])

    try:
        leaves = jax.eval_shape(make, jax.ShapeDtypeStruct((), jnp.float32))
    except TypeError as error:
        expected = (
            "a class that is called with tau, registered by jax.tree_util.register_dataclass or "
            "another way of making pytrees"
        )
        raise TypeError(f"relaxation: expected {expected}, got {kind}: {error}") from error
    if not leaves:
        got = f"{kind}, which keeps no tau in its fields"
        _checks.fail(TypeError, "relaxation", "a class that is called with tau", got)
    if isinstance(made[0], Selector):
        _check_signature(made[0], kind)
        _check_rows(relaxation, kind)
    return made[0], kind


def _check_signature(made: Any, kind: str) -> None:
    """Raises a TypeError unless `first` takes the scores, ``k`` and the atoms chosen before."""
    signature = inspect.signature(made.first)
    try:
        signature.bind("scores", "k", "chosen")
    except TypeError:
        got = f"first({', '.join(signature.parameters)})"
        name = f"relaxation: {kind}"
        _checks.fail(TypeError, name, "a function first(scores, k, chosen=None)", got)


def _check_rows(relaxation: Any, kind: str) -> None:
    """Raises an error unless two rows for four scores are `SoftRows` of shape ``(2, 4)``."""
    like = jax.ShapeDtypeStruct((4,), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
    rows = jax.eval_shape(lambda scores, tau: relaxation(tau).first(scores, 2), *like)
    name = f"relaxation: {kind}.first(scores, k, chosen)"
    if not isinstance(rows, SoftRows):
        is_array = isinstance(rows, jax.ShapeDtypeStruct)
        got = "an array; wrap it: SoftRows(array)" if is_array else type(rows).__name__
        _checks.fail(TypeError, name, "greedyjax.sorting.SoftRows", got)
    if rows.weight.shape != (2, 4):
        got = f"shape {rows.weight.shape} for k = 2 of 4 scores"
        _checks.fail(ValueError, name, "k rows, shape (k, n)", got)
