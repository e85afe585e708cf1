"""A matrix with what solvers make of it once: unit columns, and their Gram matrix."""

from typing import Any, NamedTuple

from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax._numerics import matmul
from greedyjax.linalg.operators import Dense, as_dense, unit_columns


class Dictionary(NamedTuple):
    """A matrix prepared for many calls of `omp` or `omp_batch`, which take it in place of ``A``.

    It is a pytree, so it passes into jitted functions as any array does.

    Attributes:
        A: the matrix as given.
        unit: ``A diag(column_scale)``, with columns of norm 1.
        column_scale: shape ``(n,)``; 0 where a column is 0.
        gram: ``gram[j, i] = a_i* a_j`` over the unit columns, shape ``(n, n)``, or None.
    """

    A: Dense
    unit: Dense
    column_scale: Float[Array, " n"]
    gram: Inexact[Array, "n n"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        return self.A.shape

    def matvec(self, x: Inexact[ArrayLike, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x``."""
        return self.A.matvec(x)

    def rmatvec(self, y: Inexact[ArrayLike, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``."""
        return self.A.rmatvec(y)


def dictionary(A: Any, *, gram: bool = True) -> Dictionary:
    """Prepares a matrix for many calls of `omp` or `omp_batch`.

    Without it every call scales the columns and, where `omp_batch` uses it, computes the Gram
    matrix again: worth while for many signals that come in several batches.

    Args:
        A: matrix of shape ``(m, n)``, real or complex, or an operator with ``shape``, ``matvec``
            and ``rmatvec``.
        gram: whether to compute the Gram matrix, of ``n^2`` numbers.

    Returns:
        A `Dictionary`.

    Raises:
        TypeError: integers, or no array at all.
        ValueError: not two axes, no rows or columns, or NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax, jax.numpy as jnp
        >>> A = gj.dictionary(jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]]))
        >>> solve = jax.jit(gj.omp_batch, static_argnames="sparsity")
        >>> solve(A, jnp.array([[0.0, 2.0], [3.0, 4.0]]), sparsity=1).support.tolist()
        [[1], [2]]
    """
    prepared = as_dictionary(A)
    if gram and prepared.gram is None:
        prepared = prepared._replace(gram=gram_of(prepared.unit))
    return prepared


def as_dictionary(A: Any) -> Dictionary:
    """Returns ``A`` if it is a `Dictionary`, and one without Gram matrix if not."""
    if isinstance(A, Dictionary):
        return A
    dense = as_dense(A)
    return Dictionary(dense, *unit_columns(dense))


def gram_of(unit: Dense) -> Inexact[Array, "n n"]:
    """``gram[j, i] = a_i* a_j``."""
    matrix = unit.matrix
    return matmul(matrix.T, matrix.conj())
