"""What every solver shares: its arguments in one scale and dtype, and the scan over its steps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import magnitude, power_of_two, real_dtype
from greedyjax._types import Operator
from greedyjax.linalg.operators import operator_dtype
from greedyjax.sorting import HardSort, SoftSort
from greedyjax.sorting._softsort import temperature


class Arguments(NamedTuple):
    """The traced arguments of a solver, checked, in one dtype, with ``y`` at unit scale.

    Solvers are homogeneous: ``y`` and ``tau`` divided by ``scale`` give ``x / scale``. So the
    scale is a constant to derivatives, and data of any units neither overflow nor vanish. Where
    there are many signals, each has its own.
    """

    y: Inexact[Array, "*num m"]
    weights: Float[Array, " n"]
    scale: Float[Array, "*num"]


def arguments(operator: Operator, y, weights, *, name: str = "y", ndim: int = 1) -> Arguments:
    """Checks and converts ``y`` and ``weights``; weights enter by their magnitude."""
    m, n = operator.shape
    y = _checks.inexact(name, y, ndim=ndim)
    y = _checks.inexact(name, y, ndim=ndim, shape=(*y.shape[:-1], m))
    dtype = jnp.result_type(operator_dtype(operator), y.dtype)
    y = y.astype(dtype)
    if weights is None:
        weights = jnp.ones(n, real_dtype(dtype))
    else:
        weights = _checks.real("weights", weights, ndim=1, shape=(n,)).astype(real_dtype(dtype))
    scale = power_of_two(y, axis=-1)
    return Arguments(y / scale[..., None], magnitude(weights), scale)


def soft_selectors(tau, num_steps: int, scale: Float[Array, ""]) -> SoftSort:
    """One `SoftSort` per step, stacked, with its temperature in the units of ``y / scale``."""
    return SoftSort(temperature(_checks.scalar_or_steps("tau", tau, num_steps), scale))


def run(step, state, selectors: HardSort | SoftSort, num_steps: int):
    """Scans ``step(state, (i, selector))`` over the steps: compile time is flat in their number."""
    return jax.lax.scan(step, state, (jnp.arange(num_steps), selectors), length=num_steps)
