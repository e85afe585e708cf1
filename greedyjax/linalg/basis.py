"""An orthonormal basis that grows by one vector a step, in place of a least squares per step."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Int

from greedyjax._numerics import eps, matmul, norm, real_dtype, safe_inverse


class Basis(NamedTuple):
    """Orthonormal rows ``Q = T B`` of the atoms ``B`` added so far; unused rows are zero.

    With ``c_i = q_i* y`` the projection of ``y`` on the span is ``sum_i c_i q_i``, and its
    coefficients over the atoms are ``c T``: nothing is solved, and no row of zeros needs care.
    """

    vectors: Inexact[Array, "k m"]
    transform: Inexact[Array, "k k"]


def empty_basis(size: int, dimension: int, dtype) -> Basis:
    """A basis with room for ``size`` vectors of length ``dimension``."""
    return Basis(jnp.zeros((size, dimension), dtype), jnp.zeros((size, size), dtype))


def extend(
    basis: Basis, atom: Inexact[Array, " m"], slot: Int[Array, ""], active: Bool[Array, ""] | bool
) -> tuple[Basis, Inexact[Array, " m"]]:
    """Orthonormalises ``atom`` against the basis and puts it into row ``slot``.

    Two passes of classical Gram-Schmidt keep the rows orthonormal to rounding (Giraud, Langou and
    Rozloznik, 2005). An atom that depends on the rows, or one that is not ``active``, adds a row
    of zeros, with a derivative of zero.

    Atoms are columns of norm 1 or means of such, and carry the rounding errors of those: a mean
    that cancels to less, as that of a column and its negative, is no direction either.

    Returns:
        The grown basis and its new row.
    """
    Q, T = basis
    along = matmul(Q.conj(), atom)
    rest = atom - matmul(along, Q)
    again = matmul(Q.conj(), rest)
    rest = rest - matmul(again, Q)

    length = norm(rest)
    independent = length > _dependence(atom)
    inverse = safe_inverse(jnp.where(independent & active, length, 0))
    q = rest * inverse
    one = jnp.zeros(len(T), T.dtype).at[slot].set(1)
    t = (one - matmul(along + again, T)) * inverse
    return Basis(Q.at[slot].set(q), T.at[slot].set(t)), q


def _dependence(atom: Inexact[Array, " m"]) -> Float[Array, ""]:
    """Length up to which what projection leaves of an atom is rounding error."""
    return jnp.asarray(10 * eps(atom.dtype) * atom.size**0.5, real_dtype(atom.dtype))
