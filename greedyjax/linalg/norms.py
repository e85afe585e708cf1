"""The norm of an operator, by power iteration."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from greedyjax._meshes import varying_like
from greedyjax._numerics import (
    abs_sq,
    eps,
    norm,
    power_of_two,
    real_dtype,
    safe_inverse,
    times_real,
)
from greedyjax.linalg.operators import Dense

_MAX_ITERATIONS = 300
_STARTS = 4


def operator_norm_sq(A: Any, dtype) -> Float[Array, ""]:
    """``||A||^2``, the largest eigenvalue of ``A* A``.

    Power iteration starts from fixed pseudo-random vectors, and stops when all estimates are
    stationary. A single vector that is nearly orthogonal to the eigenvector would seem stationary
    at the second eigenvalue. The best vector is a constant to derivatives. At an eigenvector the
    Rayleigh quotient has the gradient of the eigenvalue, so derivatives need not pass through the
    iteration.
    """
    tolerance = eps(dtype) ** (2 / 3)
    shape = (_STARTS, A.shape[1])
    start = jax.random.normal(jax.random.key(0), shape, real_dtype(dtype)).astype(dtype)

    @jax.vmap
    def iterate(v):
        u = lax.stop_gradient(A.rmatvec(A.matvec(v)))
        length = norm(u)
        return times_real(safe_inverse(length), u), length

    def refine(state):
        i, v, value, _ = state
        return i + 1, *iterate(v), value

    def moving(state):
        i, _, value, previous = state
        return (i < _MAX_ITERATIONS) & jnp.any(jnp.abs(value - previous) > tolerance * value)

    unit = lambda v: times_real(safe_inverse(norm(v)), v)
    infinite = jnp.full(_STARTS, jnp.inf, real_dtype(dtype))
    first = 0, jax.vmap(unit)(start), infinite, infinite
    state = refine(varying_like(first, A))
    _, v, value, _ = lax.while_loop(moving, refine, state)
    return jnp.sum(abs_sq(A.matvec(v[jnp.argmax(value)])))


def step_size_of(A: Any, dtype) -> Float[Array, ""]:
    """``1 / ||A||^2``, the largest step that never increases IHT's residual; 1 if ``A = 0``.

    It is accurate up to the tolerance of power iteration, which approaches the norm from below.
    """
    scale = jnp.ones((), real_dtype(dtype))
    if isinstance(A, Dense):
        # At unit scale nothing overflows. A step size too small for the dtype becomes 0.
        scale = power_of_two(A.parts).astype(scale.dtype)
        A = Dense(A.parts.astype(scale.dtype) / scale)
    norm_sq = operator_norm_sq(A, dtype)
    return jnp.where(norm_sq > 0, safe_inverse(norm_sq) / scale / scale, 1)
