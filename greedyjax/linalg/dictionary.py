"""A matrix prepared once for many calls: unit columns, and their Gram matrix."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact

from greedyjax import _checks
from greedyjax._numerics import matmul
from greedyjax._types import Matrix
from greedyjax.linalg.checked import as_operator, operator_dtype
from greedyjax.linalg.operators import Dense, Scaled, in_memory, join
from greedyjax.linalg.products import Dictionary, prepared

GRAM_BYTES = 2**30  # A larger Gram matrix is formed only on request.


def dictionary(A: Matrix | Dictionary, *, gram: bool | None = None) -> Dictionary:
    """Prepares a matrix for many calls of any solver.

    Without this, every call computes the norms of the columns again, and in `omp_batch` also the
    Gram matrix. So prepare a matrix that you use in several calls. If a solver scales columns, an
    operator has to be prepared, unless it has ``column_norms``. To prepare it, all columns are
    computed, a few at a time.

    Args:
        A: matrix of shape ``(m, n)``, real or complex, or an operator with ``shape``, ``matvec``
            and ``rmatvec``.
        gram: whether to compute the Gram matrix, which has ``n^2`` numbers. None means True if
            ``A`` is an array and the Gram matrix takes at most 1 GiB.

    Returns:
        A `Dictionary`.

    Raises:
        TypeError: ``A`` holds integers, or is neither an array nor an operator.
        ValueError: ``A`` does not have two axes, has no rows or columns, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax, jax.numpy as jnp
        >>> A = gj.dictionary(jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]]))
        >>> solve = jax.jit(gj.omp_batch, static_argnames="sparsity")
        >>> solve(A, jnp.array([[0.0, 2.0], [3.0, 4.0]]), sparsity=1).support.tolist()
        [[1], [2]]
    """
    if gram is not None:
        gram = _checks.flag("gram", gram)
    A = as_operator(A)
    made = A if isinstance(A, Dictionary) else _shared(A, _prepared(A))
    if gram is None:
        n, itemsize = made.shape[1], operator_dtype(made).itemsize
        gram = isinstance(made.A, Dense) and n * n * itemsize <= GRAM_BYTES
    if gram and made.gram is None:
        made = made._replace(gram=gram_of(made.unit))
    return made


_prepared = jax.jit(prepared)


def _shared(A: Any, made: Dictionary) -> Dictionary:
    """The same with one copy of a large matrix; a compiled function returns two copies."""
    if isinstance(made.unit, Scaled) and isinstance(A, Dense) and made.unit.A.dtype == A.dtype:
        return made._replace(A=A, unit=Scaled(A, made.column_scale))
    return made


@jax.jit
def gram_of(unit: Any) -> Inexact[Array, "n n"]:
    """``gram[j, i] = a_i* a_j``."""
    unit = in_memory(unit)
    if isinstance(unit, Dense):
        matrix = unit.matrix
        return matmul(matrix.T, matrix.conj())
    row = lambda j: join(unit.adjoint_times(unit.column_parts(j)))  # a_i* a_j for each i.
    return lax.map(row, jnp.arange(unit.shape[1]), batch_size=64)
