"""Operators in place of a matrix: ready-made ones, your own, and a test of the adjoint.

Every solver, network, loss and metric takes an operator in place of the matrix. An operator is one
of this module, a BCOO matrix of `jax.experimental.sparse`, a sparse matrix of SciPy, or any object
with ``shape``, ``matvec`` and ``rmatvec``.
"""

from greedyjax.linalg.checked import as_operator
from greedyjax.linalg.matrix_free import MatrixFree
from greedyjax.operators._adjoint import check_adjoint
from greedyjax.operators._combined import HStack, Product, Sum, VStack
from greedyjax.operators._convolution import Convolution
from greedyjax.operators._fourier import DCT, MaskedFFT, Steering
from greedyjax.operators._pylops import from_pylops
from greedyjax.operators._wavelets import Wavelet

__all__ = [
    "Convolution",
    "DCT",
    "HStack",
    "MaskedFFT",
    "MatrixFree",
    "Product",
    "Steering",
    "Sum",
    "VStack",
    "Wavelet",
    "as_operator",
    "check_adjoint",
    "from_pylops",
]
