"""Operators without a matrix in memory, which are known only by their products."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact, Int

from greedyjax._numerics import index_range, promoted, real_dtype
from greedyjax._precision import as_given, computing_dtype, widened
from greedyjax._types import exportable, static
from greedyjax.linalg.operators import (
    Dense,
    Scaled,
    column_norms_of,
    inverse_norms,
    join,
    split,
    unit_columns,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Products:
    """An operator that is known by its two products: a user's own, or a sparse matrix.

    Attributes:
        operator: has ``shape``, ``matvec`` and ``rmatvec``, and optionally ``dtype``, ``column``
            and ``column_norms``. JAX knows it as a pytree, or it is a `ByIdentity`.
        found: the dtype of its products, if the operator has no ``dtype``.
        real: the real dtype of the problem, which may be more precise than the operator. Columns
            are then computed with vectors of this dtype.
    """

    operator: Any
    found: Any = static(default=None)
    real: Any = static(default=None)

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        m, n = self.operator.shape
        return m, n

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the operator in the precision that JAX is set to, or of its products."""
        own = getattr(self.operator, "dtype", None)
        return jax.dtypes.canonicalize_dtype(self.found if own is None else own)

    @property
    def has_norms(self) -> bool:
        """Whether the operator knows the norms of its columns. This computes no norms."""
        known = getattr(self.operator, "has_norms", None)
        return self.column_norms is not None if known is None else known

    @property
    def column_norms(self) -> Float[Array, " n"] | None:
        """The norms of the columns, or None if the operator does not know them."""
        return getattr(self.operator, "column_norms", None)

    def matvec(self, x: Inexact[ArrayLike, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x``."""
        return as_given(join(self.widened().times(split(widened(jnp.asarray(x))))), self, x)

    def rmatvec(self, y: Inexact[ArrayLike, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``."""
        return as_given(join(self.widened().adjoint_times(split(widened(jnp.asarray(y))))), self, y)

    def times(self, x: Float[Array, "parts_of_x n"]) -> Float[Array, "parts_of_Ax m"]:
        """The parts of ``A x`` from the parts of ``x``."""
        return self._apply(self.operator.matvec, x)

    def adjoint_times(self, y: Float[Array, "parts_of_y m"]) -> Float[Array, "parts_of_Ay n"]:
        """The parts of ``A* y`` from the parts of ``y``."""
        return self._apply(self.operator.rmatvec, y)

    def column(self, j: Int[Array, ""]) -> Inexact[Array, " m"]:
        """Returns atom ``j``."""
        return join(self.column_parts(j))

    def column_parts(self, j: Int[Array, ""]) -> Float[Array, "parts m"]:
        """Returns the parts of atom ``j``."""
        dtype = computing_dtype(self.dtype)
        if self.real is not None:
            dtype = promoted(dtype, self.real)
        if getattr(self.operator, "column", None) is not None:
            return split(jnp.asarray(self.operator.column(j)).astype(dtype))
        return self.times((index_range(self.shape[1]) == j).astype(real_dtype(dtype))[None])

    def astype(self, real: Any) -> "Products":
        """The same with columns of a real dtype. Products have the dtype of the vector."""
        operator = widened(self.operator)
        if isinstance(operator, (SomeRows, RealRows)):
            operator = operator.astype(real)
        return Products(operator, self.found, real)

    def widened(self) -> "Products":
        """The same, with the operator's arrays of half precision converted to single precision."""
        return Products(widened(self.operator), self.found, self.real)

    def scale_columns(self, scale: Float[Array, " n"]) -> "Scaled":
        """Returns ``A diag(scale)``."""
        return Scaled(self, scale)

    def rows(self, rows: Int[Array, " k"]) -> "Products":
        """The operator of the given rows."""
        return Products(SomeRows(self, rows))

    def _apply(self, product: Any, z: Float[Array, "parts l"]) -> Float[Array, "parts_of_Az k"]:
        dtype = promoted(z.dtype, computing_dtype(self.dtype))
        if not jnp.issubdtype(dtype, jnp.complexfloating):
            return jnp.stack([product(part).astype(dtype) for part in z])
        return split(product(join(z)).astype(dtype))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SomeRows:
    """Some rows of an operator. Each product computes all rows."""

    A: Products
    kept: Int[Array, " k"]

    @property
    def shape(self) -> tuple[int, int]:
        """``(k, n)``."""
        return len(self.kept), self.A.shape[1]

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the operator."""
        return self.A.dtype

    @property
    def column_norms(self) -> Float[Array, " n"] | None:
        """The norms of the columns of these rows, computed if those of all rows are known."""
        return column_norms_of(Products(self)) if self.has_norms else None

    @property
    def has_norms(self) -> bool:
        """Whether the column norms of all rows are known."""
        return self.A.has_norms

    def matvec(self, x: Inexact[Array, " n"]) -> Inexact[Array, " k"]:
        """Returns the kept rows of ``A x``."""
        return self.A.matvec(x)[self.kept]

    def rmatvec(self, y: Inexact[Array, " k"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``, where ``y`` is 0 in the other rows."""
        whole = jnp.zeros(self.A.shape[0], y.dtype)
        return self.A.rmatvec(whole.at[self.kept].set(y, unique_indices=True))

    def column(self, j: Int[Array, ""]) -> Inexact[Array, " k"]:
        """Returns the kept rows of atom ``j``."""
        return self.A.column(j)[self.kept]

    def astype(self, real: Any) -> "SomeRows":
        """The same with columns of the real dtype ``real``."""
        return SomeRows(self.A.astype(real), self.kept)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RealRows:
    """``[Re A; Im A]`` for real vectors, where ``A`` is an operator of any type."""

    A: Any

    @property
    def shape(self) -> tuple[int, int]:
        """``(2 m, n)``."""
        m, n = self.A.shape
        return 2 * m, n

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the real parts."""
        return real_dtype(self.A.dtype)

    @property
    def column_norms(self) -> Float[Array, " n"] | None:
        """The column norms of ``A``, which are the same."""
        return self.A.column_norms

    @property
    def has_norms(self) -> bool:
        """Whether the column norms of ``A`` are known."""
        return self.A.has_norms

    def matvec(self, x: Float[Array, " n"]) -> Float[Array, " two_m"]:
        """Returns ``[Re A x; Im A x]``."""
        return _stacked(self.A.matvec(x))

    def rmatvec(self, y: Float[Array, " two_m"]) -> Float[Array, " n"]:
        """Returns ``Re A* (y_1 + i y_2)``."""
        parts = y.reshape(2, -1)
        if not jnp.issubdtype(self.A.dtype, jnp.complexfloating):
            return self.A.rmatvec(parts[0])
        return self.A.rmatvec(join(parts)).real

    def column(self, j: Int[Array, ""]) -> Float[Array, " two_m"]:
        """Returns atom ``j``."""
        return _stacked(self.A.column(j))

    def astype(self, real: Any) -> "RealRows":
        """The same with columns of the real dtype ``real``."""
        if isinstance(self.A, Dictionary):
            return RealRows(self.A._replace(A=self.A.A.astype(real)))
        return RealRows(self.A.astype(real))


def _stacked(z: Inexact[Array, " m"]) -> Float[Array, " two_m"]:
    """``[Re z; Im z]``."""
    parts = split(z)
    return jnp.pad(parts, ((0, 2 - len(parts)), (0, 0))).ravel()


@exportable
class Dictionary(NamedTuple):
    """A matrix prepared for many calls. Every solver takes it in place of ``A``.

    It is a pytree, so it can be passed to jitted functions like an array.

    Attributes:
        A: the operator.
        unit: ``A diag(column_scale)``, with columns of norm 1.
        column_scale: the inverse norms of the columns, shape ``(n,)``; 0 where a column is 0.
        gram: ``gram[j, i] = a_i* a_j`` over the unit columns, shape ``(n, n)``, or None.
    """

    A: Any
    unit: Any
    column_scale: Float[Array, " n"]
    gram: Inexact[Array, "n n"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        return self.A.shape

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the operator."""
        return self.A.dtype

    @property
    def column_norms(self) -> Float[Array, " n"]:
        """The norms of the columns."""
        return inverse_norms(self.column_scale)

    has_norms = True

    def matvec(self, x: Inexact[ArrayLike, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x``."""
        return self.A.matvec(x)

    def rmatvec(self, y: Inexact[ArrayLike, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``."""
        return self.A.rmatvec(y)

    def column(self, j: Int[Array, ""]) -> Inexact[Array, " m"]:
        """Returns atom ``j``."""
        return self.A.column(j)

    def astype(self, real: Any) -> Any:
        """The operator ``A`` in the real dtype ``real``."""
        return self.A.astype(real)

    def rows(self, rows: Int[Array, " k"]) -> Any:
        """The given rows, prepared again if column norms have to be computed."""
        some = self.A.rows(rows)
        return some if isinstance(some, Dense) else prepared(some)


def prepared(A: Any) -> Dictionary:
    """Scales the columns of a `Dense` or `Products` to norm 1; unknown norms are computed."""
    wide = A.widened()
    if isinstance(A, Products) and not A.has_norms:
        scale = inverse_norms(column_norms_of(wide))
        return Dictionary(A, wide.scale_columns(scale), scale)
    return Dictionary(A, *unit_columns(wide))
