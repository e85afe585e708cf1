"""Sparse matrices of JAX and SciPy as operators."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import abs_sq, in_units, power_of_two, promoted, safe_sqrt
from greedyjax._precision import computing_dtype


def is_sparse(A: Any) -> bool:
    """Whether ``A`` is a sparse matrix of SciPy or JAX."""
    return hasattr(A, "todense") and type(A).__module__.partition(".")[0] in ("scipy", "jax")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SparseMatrix:
    """A matrix that stores only some of its entries.

    Attributes:
        matrix: a BCOO matrix of `jax.experimental.sparse`.
    """

    matrix: Any

    @classmethod
    def of(cls, A: Any) -> "SparseMatrix":
        """Makes it from a BCOO or SciPy sparse matrix, which is checked."""
        from jax.experimental import sparse  # Imported here: most programs do not need it.

        if not isinstance(A, sparse.BCOO):
            if hasattr(A, "tocsr"):
                A = _of_scipy(A)
            elif hasattr(A, "to_bcoo"):
                A = A.to_bcoo()
            else:
                expected = "a BCOO matrix, or a sparse matrix of SciPy"
                _checks.fail(TypeError, "A", expected, type(A).__name__)
        _check_axes(A.shape)
        if A.n_batch or A.n_dense:
            got = f"n_batch={A.n_batch} and n_dense={A.n_dense}"
            _checks.fail(ValueError, "A", "a BCOO matrix with two sparse axes", got)
        _checks.inexact("A.data", A.data, ndim=1)
        return cls(A)

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        return self.matrix.shape

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the entries."""
        return self.matrix.dtype

    @property
    def column_norms(self) -> Float[Array, " n"]:
        """The norms of the columns. Entries with the same indices are added first."""
        matrix = self.matrix
        if not matrix.unique_indices:
            matrix = matrix.sum_duplicates(nse=matrix.nse)
        data, columns = matrix.data, matrix.indices[:, 1]
        scale = power_of_two(data)
        squares = jnp.zeros(self.shape[1], scale.dtype)
        return scale * safe_sqrt(
            squares.at[columns].add(abs_sq(in_units(data, scale)), mode="drop")
        )

    has_norms = True

    def matvec(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x``."""
        matrix, x = self._promoted(x)
        return matrix @ x

    def rmatvec(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``."""
        matrix, y = self._promoted(y)
        return (y.conj() @ matrix).conj()

    def _promoted(self, z: Inexact[Array, " l"]) -> tuple[Any, Inexact[Array, " l"]]:
        """The matrix and ``z`` in one dtype; JAX cannot differentiate products of mixed dtypes."""
        dtype = promoted(computing_dtype(self.dtype), z.dtype)
        return self.matrix.astype(dtype), z.astype(dtype)


def _of_scipy(A: Any) -> Any:
    """The BCOO matrix of a SciPy sparse matrix, with at most one entry per position."""
    from jax.experimental import sparse

    _check_axes(A.shape)
    A = A.tocsr()
    if not A.has_canonical_format:
        A = A.copy()
        A.sum_duplicates()
    A = A.tocoo()
    data = _checks.as_array("A.data", A.data)
    places = jnp.stack([jnp.asarray(A.row, jnp.int32), jnp.asarray(A.col, jnp.int32)], axis=1)
    return sparse.BCOO((data, places), shape=A.shape, indices_sorted=True, unique_indices=True)


def _check_axes(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or 0 in shape:
        _checks.fail(ValueError, "A", "a sparse matrix of shape (m, n)", f"shape {tuple(shape)}")
