"""Operators that have no matrix in memory: known by their products, and made of others."""

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
        operator: has ``shape``, ``matvec`` and ``rmatvec``, and maybe ``dtype``, ``column`` and
            ``column_norms``. JAX knows it as a pytree, or it is a `ByIdentity`.
        found: the dtype of its products, where it does not say.
        real: the real dtype of what it is used with, which may be more precise: columns are then
            products with a vector of that dtype.
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
        """What the operator says, as JAX holds it, or that of its products."""
        own = getattr(self.operator, "dtype", None)
        return jax.dtypes.canonicalize_dtype(self.found if own is None else own)

    @property
    def has_norms(self) -> bool:
        """Whether the operator knows the norms of its columns, of which none is computed here."""
        known = getattr(self.operator, "has_norms", None)
        return self.column_norms is not None if known is None else known

    @property
    def column_norms(self) -> Float[Array, " n"] | None:
        """The norms of the columns, where the operator knows them."""
        return getattr(self.operator, "column_norms", None)

    def matvec(self, x: Inexact[ArrayLike, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x``."""
        return as_given(join(self.widened().times(split(widened(jnp.asarray(x))))), self, x)

    def rmatvec(self, y: Inexact[ArrayLike, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``."""
        return as_given(join(self.widened().adjoint_times(split(widened(jnp.asarray(y))))), self, y)

    def times(self, x: Float[Array, "parts_of_x n"]) -> Float[Array, "parts_of_Ax m"]:
        """The parts of ``A x`` from those of ``x``."""
        return self._apply(self.operator.matvec, x)

    def adjoint_times(self, y: Float[Array, "parts_of_y m"]) -> Float[Array, "parts_of_Ay n"]:
        """The parts of ``A* y`` from those of ``y``."""
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
        """With columns of a real dtype; products have the dtype of what they multiply."""
        operator = widened(self.operator)
        if isinstance(operator, (SomeRows, RealRows)):
            operator = operator.astype(real)
        return Products(operator, self.found, real)

    def widened(self) -> "Products":
        """With the arrays of half precision that the operator holds in single precision."""
        return Products(widened(self.operator), self.found, self.real)

    def scale_columns(self, scale: Float[Array, " n"]) -> "Scaled":
        """Returns ``A diag(scale)``."""
        return Scaled(self, scale)

    def rows(self, rows: Int[Array, " k"]) -> "Products":
        """Some of the rows."""
        return Products(SomeRows(self, rows))

    def _apply(self, product: Any, z: Float[Array, "parts l"]) -> Float[Array, "parts_of_Az k"]:
        dtype = promoted(z.dtype, computing_dtype(self.dtype))
        if not jnp.issubdtype(dtype, jnp.complexfloating):
            return jnp.stack([product(part).astype(dtype) for part in z])
        return split(product(join(z)).astype(dtype))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SomeRows:
    """Some of the rows of an operator, which all have to be computed."""

    A: Products
    kept: Int[Array, " k"]

    @property
    def shape(self) -> tuple[int, int]:
        """``(k, n)``."""
        return len(self.kept), self.A.shape[1]

    @property
    def dtype(self) -> jnp.dtype:
        """That of the operator."""
        return self.A.dtype

    @property
    def column_norms(self) -> Float[Array, " n"] | None:
        """Computed where those of all rows are known, so that somebody has asked for them."""
        return column_norms_of(Products(self)) if self.has_norms else None

    @property
    def has_norms(self) -> bool:
        """Where those of all rows are known."""
        return self.A.has_norms

    def matvec(self, x: Inexact[Array, " n"]) -> Inexact[Array, " k"]:
        """Returns those rows of ``A x``."""
        return self.A.matvec(x)[self.kept]

    def rmatvec(self, y: Inexact[Array, " k"]) -> Inexact[Array, " n"]:
        """Returns ``A* y`` with 0 for the other rows."""
        whole = jnp.zeros(self.A.shape[0], y.dtype)
        return self.A.rmatvec(whole.at[self.kept].set(y, unique_indices=True))

    def column(self, j: Int[Array, ""]) -> Inexact[Array, " k"]:
        """Returns those rows of atom ``j``."""
        return self.A.column(j)[self.kept]

    def astype(self, real: Any) -> "SomeRows":
        """With columns of a real dtype."""
        return SomeRows(self.A.astype(real), self.kept)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RealRows:
    """``[Re A; Im A]`` for real vectors, of an operator of any kind."""

    A: Any

    @property
    def shape(self) -> tuple[int, int]:
        """``(2 m, n)``."""
        m, n = self.A.shape
        return 2 * m, n

    @property
    def dtype(self) -> jnp.dtype:
        """That of the real parts."""
        return real_dtype(self.A.dtype)

    @property
    def column_norms(self) -> Float[Array, " n"] | None:
        """The same."""
        return self.A.column_norms

    @property
    def has_norms(self) -> bool:
        """The same."""
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
        """With columns of a real dtype."""
        if isinstance(self.A, Dictionary):
            return RealRows(self.A._replace(A=self.A.A.astype(real)))
        return RealRows(self.A.astype(real))


def _stacked(z: Inexact[Array, " m"]) -> Float[Array, " two_m"]:
    """``[Re z; Im z]``."""
    parts = split(z)
    return jnp.pad(parts, ((0, 2 - len(parts)), (0, 0))).ravel()


@exportable
class Dictionary(NamedTuple):
    """A matrix prepared for many calls of any solver, which take it in place of ``A``.

    It is a pytree, so it passes into jitted functions as any array does.

    Attributes:
        A: the operator.
        unit: ``A diag(column_scale)``, with columns of norm 1.
        column_scale: shape ``(n,)``; 0 where a column is 0.
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
        """That of the operator."""
        return self.A.dtype

    @property
    def column_norms(self) -> Float[Array, " n"]:
        """The norms of the columns, which had to be known."""
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
        """The operator in a real dtype, as that of its kind."""
        return self.A.astype(real)

    def rows(self, rows: Int[Array, " k"]) -> Any:
        """Some of the rows, prepared again where the norms of columns have to be computed."""
        some = self.A.rows(rows)
        return some if isinstance(some, Dense) else prepared(some)


def prepared(A: Any) -> Dictionary:
    """A `Dense` or `Products` with its columns at norm 1, whose norms are computed if need be."""
    wide = A.widened()
    if isinstance(A, Products) and not A.has_norms:
        scale = inverse_norms(column_norms_of(wide))
        return Dictionary(A, wide.scale_columns(scale), scale)
    return Dictionary(A, *unit_columns(wide))
