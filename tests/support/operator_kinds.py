"""One matrix in every form that the library takes for it, and problems to solve with them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.experimental import sparse

import greedyjax as gj
from helpers import random_problem

M, N, K = 10, 16, 3
#: Of a matrix and its measurements.
PAIRS = {
    "complex": (np.complex128, np.complex128),
    "real": (np.float64, np.float64),
    "real A, complex y": (np.float64, np.complex128),
    "complex A, real y": (np.complex128, np.float64),
}


def problem(pair="complex", seed=0):
    """A matrix with columns of many norms, noisy measurements, and weights."""
    dtype, of_y = PAIRS[pair]
    A, _, y = random_problem(seed, M, N, K, np.complex128, noise=0.05)
    # With any of its rows left out its entries are of one binary order, as step sizes of networks
    # are held relative to that.
    A = 2.4 * A * np.linspace(0.8, 1.2, N)
    A, y = (z if np.dtype(kind).kind == "c" else z.real for z, kind in ((A, dtype), (y, of_y)))
    return A, y, np.linspace(0.5, 1.5, N)


class Duck:
    """An operator of somebody else's, of which JAX knows nothing; it has what it must, and no more.

    Options give it `dtype`, `column_norms` and `column`.
    """

    def __init__(self, matrix, *, dtype=False, norms=False, columns=False):
        self._matrix, self.shape = matrix, matrix.shape
        if dtype:
            self.dtype = matrix.dtype
        if norms:
            self.column_norms = norms_of(matrix)
        if columns:
            self.column = lambda j: matrix[:, j]

    def matvec(self, x):
        return jnp.asarray(self._matrix) @ x

    def rmatvec(self, y):
        return jnp.asarray(self._matrix).conj().T @ y


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Registered:
    """An operator of somebody else's that JAX knows as a pytree."""

    matrix: Any

    @property
    def shape(self):
        return self.matrix.shape

    @property
    def dtype(self):
        return self.matrix.dtype

    @property
    def column_norms(self):
        return norms_of(self.matrix)

    def matvec(self, x):
        return self.matrix @ x

    def rmatvec(self, y):
        return self.matrix.conj().T @ y


def norms_of(matrix):
    return jnp.sqrt(jnp.sum(jnp.abs(matrix) ** 2, axis=0))


def times(x, matrix):
    return matrix @ x


def adjoint_times(y, matrix):
    return matrix.conj().T @ y


def matrix_free(matrix, *, norms=True):
    """Two functions of this module, so that another matrix does not compile again."""
    return gj.operators.MatrixFree(
        times, adjoint_times, shape=matrix.shape, dtype=matrix.dtype, params=(matrix,),
        column_norms=norms_of(matrix) if norms else None,
    )  # fmt: skip


def bcoo(matrix):
    """With an entry at each place, so that it can be made of a traced matrix as well."""
    rows, columns = map(np.ravel, np.indices(matrix.shape))
    places = jnp.stack([jnp.asarray(rows), jnp.asarray(columns)], axis=1)
    return sparse.BCOO((jnp.ravel(matrix), places), shape=matrix.shape)


#: Ways to make an operator of a matrix, which may be traced.
TRACED = {
    "array": lambda A: A,
    "MatrixFree": matrix_free,
    "MatrixFree, prepared": lambda A: gj.dictionary(matrix_free(A, norms=False)),
    "a duck without dtype, prepared": lambda A: gj.dictionary(Duck(A)),
    "a duck with norms": lambda A: Duck(A, dtype=True, norms=True),
    "a duck with columns, prepared": lambda A: gj.dictionary(Duck(A, columns=True)),
    "a registered pytree": Registered,
    "BCOO": bcoo,
    "as_operator of an array": gj.operators.as_operator,
    "as_operator of MatrixFree": lambda A: gj.operators.as_operator(matrix_free(A)),
    "as_operator of BCOO": lambda A: gj.operators.as_operator(bcoo(A)),
    "dictionary of an array": gj.dictionary,
    "dictionary of MatrixFree": lambda A: gj.dictionary(matrix_free(A)),
    "dictionary of a registered pytree": lambda A: gj.dictionary(Registered(A)),
    "dictionary of BCOO": lambda A: gj.dictionary(bcoo(A)),
}
#: Ways to make one of a matrix that is known.
KNOWN = {
    "csr": scipy.sparse.csr_array,
    "csc": scipy.sparse.csc_matrix,
    "coo": scipy.sparse.coo_matrix,
    "BCSR": sparse.BCSR.fromdense,
    "as_operator of csr": lambda A: gj.operators.as_operator(scipy.sparse.csr_array(A)),
    "as_operator of a duck": lambda A: gj.operators.as_operator(Duck(A, norms=True)),
    "dictionary of csr": lambda A: gj.dictionary(scipy.sparse.csr_array(A)),
}
