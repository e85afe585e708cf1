"""Operators in the place of a matrix: your own, sparse ones, and a test of their adjoints.

Every solver, network, loss and metric takes an array, a BCOO matrix of `jax.experimental.sparse`, a
sparse matrix of SciPy, a `MatrixFree`, or any object with ``shape``, ``matvec`` and ``rmatvec``.
"""

from greedyjax.linalg.checked import as_operator
from greedyjax.linalg.matrix_free import MatrixFree
from greedyjax.operators._adjoint import check_adjoint

__all__ = ["MatrixFree", "as_operator", "check_adjoint"]
