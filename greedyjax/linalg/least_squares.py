"""Least squares over a few vectors, some of which may be linearly dependent."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from greedyjax._meshes import varying_like
from greedyjax._numerics import eps, index_range, matmul
from greedyjax.linalg.basis import Basis, basis_derivative, empty_basis, extend
from greedyjax.linalg.operators import times_i


class Fit(NamedTuple):
    """Least squares of ``y`` over the rows of ``B``. Vectors are flat, as in `Basis`.

    Attributes:
        coefficients: ``z``.
        residual: ``y - B^T z``.
        basis: an orthonormal basis of the rows.
    """

    coefficients: Float[Array, " column"]
    residual: Float[Array, " row"]
    basis: Basis


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def least_squares(parts: int, B: Float[Array, "k row"], y: Float[Array, " row"]) -> Fit:
    """Minimises ``||y - B^T z||``.

    A row that depends on earlier rows has coefficient 0 and derivative 0, as in `extend`. Rows are
    columns of norm 1, or means of such columns. A row within ``sqrt(eps)`` of the span of earlier
    rows counts as dependent. Derivatives grow with the inverse square of this distance, so they
    would not have a single correct digit.
    """
    k, length = B.shape
    shortest = eps(y.dtype) ** 0.5

    def step(state, inputs):
        residual, basis = state
        slot, atom = inputs
        basis, q = extend(basis, atom, slot, True, shortest)
        along = matmul(q, residual)
        return (residual - matmul(along, q), basis), along

    state = varying_like((y, empty_basis(k, length // parts, parts, y.dtype)), B, y)
    (residual, basis), along = lax.scan(step, state, (index_range(k), B))
    z = basis.coefficients(along)
    # Nearly dependent rows have large coefficients with large errors. The sum of the rows shows
    # how much is missed, and fitting this again corrects the coefficients.
    missed = y - _sum_of(parts, z, B) - residual
    return Fit(z + basis.coefficients(basis.along(missed)), residual, basis)


def _sum_of(parts: int, z: Float[Array, " column"], B: Float[Array, "k row"]):
    """``B^T z``, as a flat vector."""
    by_part = matmul(z.reshape(parts, -1), B)
    return by_part[0] if parts == 1 else by_part[0] + times_i(by_part[1])


# With Q = T B the basis and B^+ = T^T conj(Q):
#
#     s = dy - dB^T z,    e = conj(dB) r,    g = conj(Q) s + conj(T) e,
#     dr = s - Q^T g,     dz = T^T g.
@least_squares.defjvp
def _differentiate(parts: int, primals, tangents):
    B, y = primals
    dB, dy = tangents
    z, residual, basis = fit = least_squares(parts, B, y)
    s, sides = dy - _sum_of(parts, z, dB), residual[None]
    if parts == 2:
        sides = jnp.stack([residual, -times_i(residual)])
    g = basis.along(s) + basis.along_atoms(matmul(sides, dB.T).ravel())
    return fit, Fit(basis.coefficients(g), s - basis.span(g), basis_derivative(basis, dB))
