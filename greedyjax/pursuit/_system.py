"""The real form of a complex system, and a temperature in the units of a problem."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._meshes import on_any_mesh
from greedyjax._numerics import magnitude_of
from greedyjax._precision import as_given
from greedyjax._types import Matrix, Scalar
from greedyjax.linalg.checked import checked_matrix
from greedyjax.linalg.products import Products, RealRows
from greedyjax.policies import as_weighting
from greedyjax.pursuit._problem import (
    checked_measurements,
    checked_operator,
    problem_of,
    system_of,
)


def stack_real(
    A: Matrix, y: Inexact[ArrayLike, "*batch m"]
) -> tuple[Any, Float[Array, "*batch rows"]]:
    """The real system ``[Re A; Im A] x = [Re y; Im y]`` of a complex system whose ``x`` is real.

    The real system has twice as many equations and the same column norms. It uses the knowledge
    that ``x`` is real, which a complex solver does not have.

    Args:
        A: shape ``(m, n)``, real or complex, or an operator.
        y: shape ``(..., m)``, one or more measurement vectors.

    Returns:
        Real arrays of shapes ``(2 m, n)`` and ``(..., 2 m)``, or the arguments themselves if both
        are real. If ``A`` is an operator, the first result is an operator.

    Raises:
        TypeError: an argument holds integers, or is not an array.
        ValueError: shapes do not fit together, or an argument has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A_real, y_real = gj.stack_real(jnp.array([[1 + 2j, 3j]]), jnp.array([4 - 1j]))
        >>> A_real.tolist(), y_real.tolist()
        ([[1.0, 0.0], [2.0, 3.0]], [4.0, -1.0])
    """
    matrix: Any = checked_matrix(A)
    y = _checks.numbers("y", y, ndim=max(_checks.as_array("y", y).ndim, 1))
    if y.shape[-1] != matrix.shape[0]:
        _checks.fail(ValueError, "y", f"shape (..., {matrix.shape[0]})", f"shape {y.shape}")
    if not (jnp.issubdtype(matrix.dtype, jnp.complexfloating) or jnp.iscomplexobj(y)):
        return matrix, y
    stacked = jnp.concatenate([y.real, y.imag], axis=-1)
    if not isinstance(matrix, jax.Array):
        return Products(RealRows(matrix)), stacked
    return jnp.concatenate([matrix.real, matrix.imag]), stacked


def relative_tau(
    A: Matrix,
    y: Inexact[ArrayLike, " m"],
    fraction: Scalar,
    *,
    weights: Float[ArrayLike, " n"] | None = None,
) -> Float[Array, ""]:
    """``fraction * max_j |w_j a_j* y| / ||a_j||``: a temperature in units of the largest score.

    Softsort depends only on ``scores / tau``, so the same number ``tau`` means something else on
    every problem. With this temperature, `soft_omp` of ``c y`` is ``c`` times `soft_omp` of ``y``.
    For the IHT family, multiply the result by the step size, because the first scores are made from
    ``eta A* y``.

    Args:
        A: matrix of shape ``(m, n)`` or an operator.
        y: measurements, shape ``(m,)``.
        fraction: a number > 0, traced.
        weights: real, shape ``(n,)``. None means ones.

    Returns:
        A scalar; ``fraction`` itself if every score is 0.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> float(gj.relative_tau(jnp.eye(2), jnp.array([0.5, -4.0]), 0.25))
        1.0
    """
    given, operator = y, checked_operator(A, uses_columns=True)
    y = checked_measurements("y", y, operator, ndim=1)
    weighting = as_weighting(weights, operator.shape[1], 1, y.dtype)
    fraction = _checks.scalar("fraction", fraction, positive=True)
    return as_given(_relative_tau(operator, y, fraction, weighting), operator, given)


@jax.jit
@on_any_mesh()
def _relative_tau(A, y, fraction, weighting):
    problem = problem_of(system_of(A, y.dtype, uses_matrix=False, uses_columns=True), y)
    magnitudes = magnitude_of(problem.correlations(problem.y))
    weights, _ = weighting.magnitudes(problem.shape[1], 1, magnitudes.dtype)
    largest = jnp.max(weights * magnitudes)
    fraction = fraction.astype(largest.dtype)
    return fraction * jnp.where(largest == 0, 1, problem.scale * largest)
