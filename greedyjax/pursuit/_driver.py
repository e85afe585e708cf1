"""What every solver shares: its arguments in one scale and dtype, and the scan over its steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import magnitude, power_of_two, real_dtype
from greedyjax._types import Operator
from greedyjax.linalg.operators import operator_dtype
from greedyjax.sorting import SoftSort
from greedyjax.sorting._softsort import temperature


class Arguments(NamedTuple):
    """The traced arguments of a solver, checked, in one dtype, with ``y`` at unit scale.

    Solvers are homogeneous: ``y`` and ``tau`` divided by ``scale`` give ``x / scale``. So the
    scale is a constant to derivatives, and data of any units neither overflow nor vanish. Where
    there are many signals, each has its own.
    """

    y: Inexact[Array, "*num m"]
    weights: Float[Array, "*steps n"]
    scale: Float[Array, "*num"]


def arguments(
    operator: Operator,
    y,
    weights,
    *,
    num_steps: int | None = None,
    name: str = "y",
    ndim: int = 1,
) -> Arguments:
    """Checks and converts ``y`` and ``weights``; weights enter by their magnitude.

    There may be one row of weights per step, where ``num_steps`` says how many.
    """
    m, n = operator.shape
    y = _checks.inexact(name, y, ndim=ndim)
    y = _checks.inexact(name, y, ndim=ndim, shape=(*y.shape[:-1], m))
    dtype = jnp.result_type(operator_dtype(operator), y.dtype)
    y = y.astype(dtype)
    if weights is None:
        weights = jnp.ones(n, real_dtype(dtype))
    else:
        weights = _checks.real_or_steps("weights", weights, length=n, num_steps=num_steps)
        weights = weights.astype(real_dtype(dtype))
    scale = power_of_two(y, axis=-1)
    return Arguments(y / scale[..., None], magnitude(weights), scale)


def soft_selectors(tau, num_steps: int, scale: Float[Array, ""]) -> SoftSort:
    """One `SoftSort` per step, stacked, with its temperature in the units of ``y / scale``."""
    return SoftSort(temperature(_checks.scalar_or_steps("tau", tau, num_steps), scale))


class Turn(NamedTuple):
    """What is a step's own: how it chooses, and its weights where they are not those of all."""

    selector: Any
    weights: Float[Array, "*steps n"] | None = None

    def scores(self, of_all, magnitudes: Float[Array, " n"]) -> Float[Array, " n"]:
        """What atoms are chosen by, given the weights of all steps, if there are such."""
        return (of_all if self.weights is None else self.weights) * magnitudes


def turns_of(selectors, weights: Float[Array, "*steps n"]) -> Turn:
    """One for each step, stacked."""
    return Turn(selectors, weights if weights.ndim == 2 else None)


def run(step, state, each: Any, num_steps: int, first: int = 0):
    """Scans ``step(state, (i, i-th of each))`` over the steps: compile time is flat in them."""
    return jax.lax.scan(step, state, (first + jnp.arange(num_steps), each), length=num_steps)
