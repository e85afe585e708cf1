"""An orthonormal basis that grows by one vector per step, instead of least squares per step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from greedyjax._numerics import eps, index_range, matmul, norm, safe_inverse
from greedyjax.linalg.operators import join, split, times_i


class Basis(NamedTuple):
    """Orthonormal rows ``Q = T B`` of the atoms ``B`` added so far; unused rows are zero.

    With ``c_i = q_i* y``, the projection of ``y`` on the span is ``sum_i c_i q_i``, and its
    coefficients over the atoms are ``c T``. So no system is solved, and rows of zeros need no
    special care.

    A *flat* vector is a real vector, or the parts ``[Re, Im]`` of a complex vector. A complex row
    ``q`` is stored as two flat rows, ``q`` and ``i q``. A real product with both gives ``Re(q* y)``
    and ``Im(q* y)``, and processors are fast at real products. A real row is stored as one row.

    Attributes:
        vectors: ``Q``, shape ``(k, parts, parts * m)`` with 1 or 2 parts.
        transform: ``T``, shape ``(k, parts, parts * k)``, lower triangular.
    """

    vectors: Float[Array, "k parts row"]
    transform: Float[Array, "k parts column"]

    def along(self, y: Float[Array, " row"]) -> Float[Array, "k parts"]:
        """``q_i* y`` for each row and a flat ``y``."""
        return _rows_times(self.vectors, y)

    def along_atoms(self, e: Float[Array, " column"]) -> Float[Array, "k parts"]:
        """``t_i* e`` for each row of the transform and a flat ``e``."""
        return _rows_times(self.transform, e)

    def span(self, c: Float[Array, "k parts"]) -> Float[Array, " row"]:
        """``sum_i c_i q_i``, as a flat vector."""
        return _combination(c, self.vectors)

    def coefficients(self, c: Float[Array, "k parts"]) -> Float[Array, " column"]:
        """``c T``, the coefficients over the atoms, for coefficients ``c`` over the basis; flat."""
        return _combination(c, self.transform)


def empty_basis(size: int, dimension: int, parts: int, dtype) -> Basis:
    """A basis with room for ``size`` vectors of length ``dimension``, in a real ``dtype``."""
    shapes = ((size, parts, parts * length) for length in (dimension, size))
    return Basis(*(jnp.zeros(shape, dtype) for shape in shapes))


def extend(
    basis: Basis,
    atom: Float[Array, " row"],
    slot: Int[Array, ""],
    active: Bool[Array, ""] | bool,
    shortest: Any = 0.0,
) -> tuple[Basis, Float[Array, "parts row"]]:
    """Orthonormalises the flat ``atom`` against the basis and puts it into row ``slot``.

    Two passes of classical Gram-Schmidt keep the rows orthonormal to rounding (Giraud, Langou and
    Rozloznik, 2005). If an atom depends on the rows, or is not ``active``, the new row is zero, and
    so is its derivative.

    Atoms are columns of norm 1, or means of such columns, and have the rounding errors of the
    columns. So a mean that cancels to its rounding error, such as the mean of a column and its
    negative, counts as dependent too. The remainder of an atom has the errors of this atom, and the
    errors of all atoms that were subtracted, each multiplied by its coefficient. After two nearly
    equal atoms, much of a third atom's remainder can be rounding error. A remainder no longer than
    ``shortest`` always counts as dependent.

    Returns:
        The grown basis and its new row.
    """
    Q, T = basis
    k, parts, _ = Q.shape
    along = basis.along(atom)
    rest = atom - basis.span(along)
    again = basis.along(rest)
    rest = rest - basis.span(again)

    length = norm(rest)
    over_atoms = basis.coefficients(along + again)
    rounding = _dependence(atom, parts) * jnp.hypot(1, norm(over_atoms))
    independent = length > jnp.maximum(rounding, shortest)
    inverse = safe_inverse(jnp.where(independent & active, length, 0))
    one = (index_range(parts * k) == slot).astype(T.dtype)
    q = turned(rest * inverse, parts)
    t = turned((one - over_atoms) * inverse, parts)
    return Basis(Q.at[slot].set(q), T.at[slot].set(t)), q


def turned(z: Float[Array, " row"], parts: int) -> Float[Array, "parts row"]:
    """The flat rows that are stored for a flat ``z``: ``z`` and, if it is complex, ``i z``."""
    if parts == 1:
        return z[None]
    return jnp.stack([z, times_i(z)])


# Q Q* = I gives the basis its own derivative: with M = T dB Q*, dT = L T and dQ = L Q + T dB, where
# L + L* = -(M + M*) and L is lower triangular.
def basis_derivative(basis: Basis, dB: Float[Array, "k row"]) -> Basis:
    """The derivative of the basis in the direction ``dB`` of its atoms, which are flat."""
    parts = basis.vectors.shape[1]
    Q, T = (_vectors(rows[:, 0], parts) for rows in basis)
    moved = matmul(T, _vectors(dB, parts))
    M = matmul(moved, Q.conj().T)
    L = -jnp.tril(M + M.conj().T, -1) - jnp.diag(jnp.diag(M).real).astype(M.dtype)
    dQ, dT = matmul(L, Q) + moved, matmul(L, T)
    return Basis(*(jax.vmap(lambda z: turned(split(z).ravel(), parts))(rows) for rows in (dQ, dT)))


def _vectors(rows: Float[Array, "k row"], parts: int):
    """The real or complex vectors of flat rows."""
    return join(jnp.stack(jnp.split(rows, parts, axis=1)))


def _rows_times(rows: Float[Array, "k parts l"], y: Float[Array, " l"]) -> Float[Array, "k parts"]:
    k, parts, _ = rows.shape
    return matmul(rows.reshape(k * parts, -1), y).reshape(k, parts)


def _combination(c: Float[Array, "k parts"], rows: Float[Array, "k parts l"]) -> Float[Array, " l"]:
    return matmul(c.ravel(), rows.reshape(c.size, -1))


def _dependence(atom: Float[Array, " row"], parts: int) -> Float[Array, ""]:
    """The length up to which the remainder of an atom is rounding error."""
    return jnp.asarray(10 * eps(atom.dtype) * (atom.size / parts) ** 0.5, atom.dtype)
