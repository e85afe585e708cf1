"""Matrices by their products, with complex arithmetic done by real products."""

import dataclasses
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact, Int

from greedyjax._numerics import abs_sq, matmul, power_of_two, promoted, safe_inverse, safe_sqrt
from greedyjax._precision import as_given, computing_dtype, widened
from greedyjax._types import exportable

_BLOCK_NUMBERS = 2**20  # Columns with this many numbers are computed together, for their norms.
_LARGE_NUMBERS = 2**24  # A matrix with more numbers is not copied.


class ByProducts:
    """An operator that does not support ``@``; the error names its products."""

    __array_ufunc__ = None  # So that a NumPy array on the left of @ asks the operator.

    def __matmul__(self, other: Any) -> Any:
        """Raises a TypeError that names the products."""
        self._refuse()

    def __rmatmul__(self, other: Any) -> Any:
        """Raises a TypeError that names the products."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        kind = type(self).__name__
        way = "A.matvec(x), A.rmatvec(y), or for many vectors in rows, jax.vmap(A.matvec)(X)"
        raise TypeError(f"@: expected arrays, got {kind}, an operator A; its products are {way}")


@exportable
class Dense(NamedTuple):
    """A matrix stored as real and imaginary parts, ``(1, m, n)`` if real, ``(2, m, n)`` if complex.

    Under vmap the products below become one real matrix product over the batch. For a complex
    matrix this is the product with ``[Re A; Im A]``. If the other factor is real, as soft rows are,
    it costs half of a complex product.
    """

    parts: Float[Array, "parts m n"]

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        _, m, n = self.parts.shape
        return m, n

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the matrix."""
        dtype = self.parts.dtype
        return dtype if len(self.parts) == 1 else promoted(dtype, jnp.complex64)

    @property
    def column_norms(self) -> Float[Array, " n"]:
        """The norms of the columns."""
        return safe_inverse(unit_columns(self)[1])

    has_norms = True

    @property
    def matrix(self) -> Inexact[Array, "m n"]:
        """The matrix itself."""
        return join(self.parts)

    def matvec(self, x: Inexact[ArrayLike, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x``."""
        return as_given(join(self.widened().times(split(widened(jnp.asarray(x))))), self, x)

    def rmatvec(self, y: Inexact[ArrayLike, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``."""
        return as_given(join(self.widened().adjoint_times(split(widened(jnp.asarray(y))))), self, y)

    def times(self, x: Float[Array, "parts_of_x n"]) -> Float[Array, "parts_of_Ax m"]:
        """The parts of ``A x`` from the parts of ``x``."""
        rows = matmul(x, self._stacked.T)  # Rows: parts of x; columns: parts of A.
        if len(self.parts) == 1:
            return rows
        if len(x) == 1:
            return rows.reshape(self.parts.shape[:2])
        return (rows[0] + times_i(rows[1])).reshape(self.parts.shape[:2])

    def adjoint_times(self, y: Float[Array, "parts_of_y m"]) -> Float[Array, "parts_of_Ay n"]:
        """The parts of ``A* y`` from the parts of ``y``."""
        if len(self.parts) == 1:
            return matmul(y, self.parts[0])
        flat = y.ravel() if len(y) == 2 else jnp.concatenate([y[0], jnp.zeros_like(y[0])])
        return matmul(jnp.stack([flat, -times_i(flat)]), self._stacked)

    def column(self, j: Int[Array, ""]) -> Inexact[Array, " m"]:
        """Returns atom ``j``."""
        return join(self.column_parts(j))

    def column_parts(self, j: Int[Array, ""]) -> Float[Array, "parts m"]:
        """Returns the parts of atom ``j``.

        This is a gather with one index. If columns are spread over devices, the compiler would
        fetch the whole matrix for a slice, but not for a gather.
        """
        return self.parts.at[:, :, j[None]].get(mode="promise_in_bounds")[:, :, 0]

    def astype(self, real: Any) -> "Dense":
        """The same matrix, with parts of the real dtype ``real``."""
        return Dense(self.parts.astype(real))

    def widened(self) -> "Dense":
        """The same matrix in the dtype for computations."""
        return self.astype(computing_dtype(self.parts.dtype))

    def scale_columns(self, scale: Float[Array, " n"]) -> "Dense":
        """Returns ``A diag(scale)``."""
        return Dense(self.parts * scale[None, None, :])

    def rows(self, rows: Int[Array, " k"]) -> "Dense":
        """The matrix of the given rows."""
        return Dense(self.parts[:, rows])

    @property
    def _stacked(self) -> Float[Array, "rows n"]:
        return self.parts.reshape(-1, self.shape[1])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scaled:
    """``A diag(scale)`` for an operator or a matrix, by the products of ``A``.

    Attributes:
        A: the operator.
        scale: real, shape ``(n,)``.
    """

    A: Any
    scale: Any

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        return self.A.shape

    def matvec(self, x: Inexact[ArrayLike, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A (scale x)``."""
        return self.A.matvec(self.scale * x)

    def times(self, x: Float[Array, "parts_of_x n"]) -> Float[Array, "parts_of_Ax m"]:
        """The parts of ``A (scale x)`` from the parts of ``x``."""
        return self.A.times(self.scale.astype(x.dtype)[None, :] * x)

    def adjoint_times(self, y: Float[Array, "parts_of_y m"]) -> Float[Array, "parts_of_Ay n"]:
        """The parts of ``scale A* y`` from the parts of ``y``."""
        return self.scale.astype(y.dtype)[None, :] * self.A.adjoint_times(y)

    def column(self, j: Int[Array, ""]) -> Inexact[Array, " m"]:
        """Returns atom ``j``."""
        return join(self.column_parts(j))

    def column_parts(self, j: Int[Array, ""]) -> Float[Array, "parts m"]:
        """Returns the parts of atom ``j``."""
        column = self.A.column_parts(j)
        column = column.astype(promoted(column, self.scale))
        return self.scale.at[j].get(mode="promise_in_bounds") * column

    def astype(self, real: Any) -> "Scaled":
        """The same operator, with arrays of the real dtype ``real``."""
        return Scaled(self.A.astype(real), self.scale.astype(real))


def dense(matrix: Inexact[Array, "m n"]) -> Dense:
    """Wraps an array as a `Dense`."""
    return Dense(split(matrix))


def unit_columns(A: Any) -> tuple[Any, Float[Array, " n"]]:
    """Returns ``A diag(scale)`` with columns of norm 1, and ``scale``; zero columns stay zero.

    A large matrix is not copied. Instead, the vectors that it multiplies are scaled.
    """
    if not isinstance(A, Dense):
        scale = inverse_norms(jnp.asarray(A.column_norms))
        return A.scale_columns(scale), scale
    largest = power_of_two(A.parts, axis=(0, 1))
    scaled = A.scale_columns(1 / largest)
    inverse = safe_inverse(safe_sqrt(jnp.sum(abs_sq(scaled.parts), axis=(0, 1))))
    if A.parts.size > _LARGE_NUMBERS:
        return Scaled(A, inverse / largest), inverse / largest
    return scaled.scale_columns(inverse), inverse / largest


def in_memory(atoms: Any) -> Any:
    """The same atoms; a scaled matrix is copied into a matrix of its own."""
    if isinstance(atoms, Scaled) and isinstance(atoms.A, Dense):
        return atoms.A.scale_columns(atoms.scale)
    return atoms


def inverse_norms(norms: Float[Array, " n"]) -> Float[Array, " n"]:
    """``1 / norms``, and 0 for a norm of 0. Neither it nor its derivatives depend on units."""
    units = power_of_two(norms[None], axis=0)
    return safe_inverse(norms / units) / units


def column_norms_of(A: Any) -> Float[Array, " n"]:
    """The norms of all columns, computed a few at a time."""
    m, n = A.shape
    # Computing a column may take a vector of length n.
    size = min(n, max(_BLOCK_NUMBERS // max(m, n), 1))
    places = jnp.arange(-(-n // size) * size, dtype=jnp.int32).reshape(-1, size)

    @jax.vmap
    def norms(j):
        column = A.column_parts(j)
        scale = power_of_two(column)
        return scale * safe_sqrt(jnp.sum(abs_sq(column / scale)))

    return lax.map(norms, jnp.minimum(places, n - 1)).ravel()[:n]


def times_i(z: Float[Array, " two_l"]) -> Float[Array, " two_l"]:
    """``[-Im z, Re z]`` from ``[Re z, Im z]``."""
    re, im = jnp.split(z, 2)
    return jnp.concatenate([-im, re])


def split(z: Inexact[Array, "..."]) -> Float[Array, "parts ..."]:
    """The real part of a real array, or the stacked real and imaginary parts of a complex array."""
    return jnp.stack([z.real, z.imag]) if jnp.iscomplexobj(z) else z[None]


def join(parts: Float[Array, "parts ..."]) -> Inexact[Array, "..."]:
    """The array with the given real and imaginary parts."""
    return lax.complex(parts[0], parts[1]) if len(parts) == 2 else parts[0]
