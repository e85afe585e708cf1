"""Matrices as pairs of products, with complex arithmetic done by real products."""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact, Int

from greedyjax import _checks
from greedyjax._numerics import abs_sq, matmul, power_of_two, safe_inverse, safe_sqrt
from greedyjax._types import ByIdentity, CheckedOperator


class Dense(NamedTuple):
    """A matrix held as its real parts, ``(1, m, n)`` if real and ``(2, m, n)`` if complex.

    Under vmap the products below become one real matrix product over the batch. For a complex
    matrix that is the product with ``[Re A; Im A]``, which costs half of a complex product where
    the other factor is real, as soft rows are.
    """

    parts: Float[Array, "parts m n"]

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        _, m, n = self.parts.shape
        return m, n

    @property
    def matrix(self) -> Inexact[Array, "m n"]:
        """The matrix itself."""
        return join(self.parts)

    def matvec(self, x: Inexact[ArrayLike, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x``."""
        return join(self.times(split(jnp.asarray(x))))

    def rmatvec(self, y: Inexact[ArrayLike, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``."""
        return join(self.adjoint_times(split(jnp.asarray(y))))

    def times(self, x: Float[Array, "parts_of_x n"]) -> Float[Array, "parts_of_Ax m"]:
        """The parts of ``A x`` from those of ``x``."""
        rows = matmul(x, self._stacked.T)  # Rows: parts of x; columns: parts of A.
        if len(self.parts) == 1:
            return rows
        if len(x) == 1:
            return rows.reshape(self.parts.shape[:2])
        return (rows[0] + times_i(rows[1])).reshape(self.parts.shape[:2])

    def adjoint_times(self, y: Float[Array, "parts_of_y m"]) -> Float[Array, "parts_of_Ay n"]:
        """The parts of ``A* y`` from those of ``y``."""
        if len(self.parts) == 1:
            return matmul(y, self.parts[0])
        flat = y.ravel() if len(y) == 2 else jnp.concatenate([y[0], jnp.zeros_like(y[0])])
        return matmul(jnp.stack([flat, -times_i(flat)]), self._stacked)

    def column(self, j: Int[Array, ""]) -> Inexact[Array, " m"]:
        """Returns atom ``j``."""
        return join(self.column_parts(j))

    def column_parts(self, j: Int[Array, ""]) -> Float[Array, "parts m"]:
        """Returns the parts of atom ``j``."""
        return self.parts[:, :, j]

    def scale_columns(self, scale: Float[Array, " n"]) -> "Dense":
        """Returns ``A diag(scale)``."""
        return Dense(self.parts * scale[None, None, :])

    @property
    def _stacked(self) -> Float[Array, "rows n"]:
        return self.parts.reshape(-1, self.shape[1])


def dense(matrix: Inexact[Array, "m n"]) -> Dense:
    """Wraps an array."""
    return Dense(split(matrix))


def checked_matrix(A: Any) -> Any:
    """Returns ``A`` if it has ``shape``, ``matvec`` and ``rmatvec``, and a checked array if not.

    Raises:
        TypeError: integers, or no array at all.
        ValueError: not two axes, no rows or columns, or NaN or infinity in a concrete array;
            products of an operator that have other shapes than its own says.
    """
    if isinstance(A, (Dense, ByIdentity)):
        return A
    if all(hasattr(A, name) for name in ("shape", "matvec", "rmatvec")):
        operator = ByIdentity.unless_pytree(A)
        (_check_products_once if isinstance(operator, ByIdentity) else _check_products)(operator)
        return operator
    array = _checks.inexact("A", A, ndim=2)
    if 0 in array.shape:
        _checks.fail(ValueError, "A", "at least one row and one column", f"shape {array.shape}")
    return array


def as_operator(A: Any) -> Any:
    """`checked_matrix` with an array wrapped as a `Dense`."""
    checked = checked_matrix(A)
    return dense(checked) if isinstance(checked, jax.Array) else checked


def as_dense(A: Any) -> Dense:
    """Returns ``A`` as a `Dense`, applying a matrix-free operator to the identity."""
    return columns_of(as_operator(A))


def columns_of(operator: Any) -> Dense:
    """`as_dense` of what has been checked."""
    if isinstance(operator, Dense):
        return operator
    identity = jnp.eye(operator.shape[1], dtype=operator_dtype(operator))
    return dense(jax.vmap(operator.matvec, out_axes=1)(identity))


def times(A: CheckedOperator, x: Float[Array, "parts n"]) -> Float[Array, "parts m"]:
    """The parts of ``A x`` from those of ``x``, for any operator."""
    return A.times(x) if isinstance(A, Dense) else split(A.matvec(join(x)))


def adjoint_times(A: CheckedOperator, y: Float[Array, "parts m"]) -> Float[Array, "parts n"]:
    """The parts of ``A* y`` from those of ``y``, for any operator."""
    return A.adjoint_times(y) if isinstance(A, Dense) else split(A.rmatvec(join(y)))


def operator_dtype(operator: Any) -> jnp.dtype:
    """The dtype of ``A x`` for a real ``x`` of low precision: that of the operator itself."""
    if isinstance(operator, Dense):
        dtype = operator.parts.dtype
        return dtype if len(operator.parts) == 1 else jnp.result_type(dtype, jnp.complex64)
    own = getattr(operator, "dtype", None)
    if own is not None:
        return jnp.dtype(own)
    x = jax.ShapeDtypeStruct((operator.shape[1],), jnp.float32)
    return jax.eval_shape(operator.matvec, x).dtype


def unit_columns(A: Dense) -> tuple[Dense, Float[Array, " n"]]:
    """Returns ``A diag(scale)`` with columns of norm 1, and ``scale``; zero columns stay zero."""
    largest = power_of_two(A.parts, axis=(0, 1))
    scaled = A.scale_columns(1 / largest)
    inverse = safe_inverse(safe_sqrt(jnp.sum(abs_sq(scaled.parts), axis=(0, 1))))
    return scaled.scale_columns(inverse), inverse / largest


def _check_products(A: Any) -> None:
    """Traces both products once: what they return must fit the shape."""
    if len(A.shape) != 2:
        _checks.fail(ValueError, "A.shape", "(m, n)", str(tuple(A.shape)))
    m, n = A.shape
    Ax = jax.eval_shape(A.matvec, jax.ShapeDtypeStruct((n,), jnp.float32))
    if Ax.shape != (m,):
        _checks.fail(ValueError, "A.matvec(x)", f"shape ({m},)", f"shape {Ax.shape}")
    back = jax.eval_shape(A.rmatvec, jax.ShapeDtypeStruct((m,), Ax.dtype))
    if back.shape != (n,):
        _checks.fail(ValueError, "A.rmatvec(y)", f"shape ({n},)", f"shape {back.shape}")


# The same object is not traced again. It is kept alive for as long as that, as it is by jit.
_check_products_once = lru_cache(maxsize=64)(_check_products)


def times_i(z: Float[Array, " two_l"]) -> Float[Array, " two_l"]:
    """``[-Im z, Re z]`` from ``[Re z, Im z]``."""
    re, im = jnp.split(z, 2)
    return jnp.concatenate([-im, re])


def split(z: Inexact[Array, "..."]) -> Float[Array, "parts ..."]:
    """The real parts, stacked: one of a real array, two of a complex one."""
    return jnp.stack([z.real, z.imag]) if jnp.iscomplexobj(z) else z[None]


def join(parts: Float[Array, "parts ..."]) -> Inexact[Array, "..."]:
    """The array of which these are the parts."""
    return lax.complex(parts[0], parts[1]) if len(parts) == 2 else parts[0]
