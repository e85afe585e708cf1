"""Sparse matrices of SciPy and JAX give the same answers as dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.experimental import sparse

import greedyjax as gj
import oracles
from helpers import assert_close, jit, random_problem
from operator_kinds import K, bcoo

M, N = 12, 20


def thinned(dtype=np.complex128):
    """A matrix of which most entries are 0, and measurements of three of its columns."""
    A, x, _ = random_problem(0, M, N, K, dtype)
    A = A * (np.random.default_rng(1).random((M, N)) < 0.4)
    return A, A @ x + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [pytest.param(np.float64, marks=pytest.mark.slow), np.complex128])
def test_solvers_take_sparse_matrices(dtype):
    A, y = thinned(dtype)
    formats = [
        scipy.sparse.csr_array(A),
        scipy.sparse.coo_matrix(A),
        sparse.BCOO.fromdense(jnp.asarray(A), nse=M * N),  # With room to spare.
    ]

    @jit
    def solve(y):
        return [
            (gj.omp(matrix, y, sparsity=K).x, gj.iht(matrix, y, sparsity=K, num_steps=5).x)
            for matrix in formats
        ]

    expected = oracles.omp(A, y, K).x, oracles.iht(A, y, K, 5).x
    for found in solve(y):
        assert_close(found[0], expected[0])
        # Power iteration stops at a change of 1e-10, relatively.
        assert_close(found[1], expected[1], rtol=1e-6, atol=1e-8)


def repeated(matrix):
    """Each entry in two parts, as when a matrix is assembled from pieces, and their places."""
    rows, columns = np.nonzero(matrix)
    values = matrix[rows, columns]
    values = np.concatenate([3 * values, -2 * values])
    return values, (np.tile(rows, 2), np.tile(columns, 2))


def test_entries_in_one_place_are_added():
    A, y = thinned()
    values, places = repeated(A)
    pairs = jnp.asarray(np.stack(places, axis=1))
    of_scipy = scipy.sparse.coo_matrix((values, places), shape=A.shape)
    of_jax = sparse.BCOO((jnp.asarray(values), pairs), shape=A.shape)
    norms = np.linalg.norm(A, axis=0)

    @jit
    def of_both(y):
        return [
            (gj.dictionary(matrix).column_scale, gj.operators.as_operator(matrix).rmatvec(y))
            for matrix in (of_scipy, of_jax)
        ]

    for scale, product in of_both(y):
        assert_close(scale, 1 / norms)
        assert_close(product, A.conj().T @ y)
    # What was given is left as it was.
    assert of_scipy.nnz == len(values)


def test_repeated_entries_of_a_row_format_are_added():
    matrix = scipy.sparse.csr_array((np.array([1.0, 2.0, 5.0]), [1, 1, 0], [0, 2, 3]), shape=(2, 2))
    assert_close(gj.dictionary(matrix).column_scale, np.array([1 / 5, 1 / 3]))
    assert matrix.nnz == 3


def test_norms_of_columns_are_right_at_any_scale():
    A, _ = thinned(np.float32)
    norms = np.linalg.norm(A.astype(float), axis=0)
    for scale in (1e-30, 1e30):
        found = gj.dictionary(scipy.sparse.csr_array((scale * A).astype(np.float32))).column_scale
        assert_close(found * np.float32(scale), 1 / norms)


def test_an_empty_column_is_never_chosen():
    A, y = thinned()
    A[:, :10] = 0
    matrix = scipy.sparse.csr_array(A)
    found = jit(lambda y: gj.omp(matrix, y, sparsity=K))(y)
    assert_close(found.x, oracles.omp(A, y, K).x)
    assert (found.support >= 10).all()


@pytest.mark.slow
@pytest.mark.parametrize("with_repeats", [pytest.param(False, marks=pytest.mark.slow), True])
def test_derivatives_in_the_entries(with_repeats):
    """Of an answer and of the norms of columns, which a fit of penalised columns has in it."""
    A, y = thinned(np.float64)
    values, places = repeated(A) if with_repeats else (A[np.nonzero(A)], np.nonzero(A))
    pairs = jnp.asarray(np.stack(places, axis=1))
    probe = np.linspace(-1, 1, N)

    def loss(values):
        matrix = sparse.BCOO((values, pairs), shape=A.shape)
        scale = gj.dictionary(matrix).column_scale
        return jnp.vdot(probe, gj.omp(matrix, y, sparsity=K).x) + jnp.vdot(probe, scale)

    def oracle(values):
        matrix = np.zeros(A.shape)
        np.add.at(matrix, places, values)
        scale = 1 / np.linalg.norm(matrix, axis=0)
        return np.vdot(probe, oracles.omp(matrix, y, K).x) + np.vdot(probe, scale)

    expected = oracles.finite_difference(oracle, values)
    # Central differences of step 1e-6 are good to about 1e-9.
    assert_close(jit(jax.grad(loss))(jnp.asarray(values)), expected, rtol=1e-6, atol=1e-7)


def test_other_entries_do_not_compile_again():
    A, y = thinned()
    traces = []

    @jit
    def solve(matrix, y):
        traces.append(1)
        return gj.iht(matrix, y, sparsity=K, num_steps=2, step_size=0.3).x

    for factor in (1, 2):
        operator = gj.operators.as_operator(scipy.sparse.csr_array(factor * A))
        assert_close(solve(operator, y), oracles.iht(factor * A, y, K, 2, 0.3).x)
    assert len(traces) == 1


# --- What is wrong with them ---------------------------------------------------------------------

A, y = thinned(np.float64)
ints = (A > 0).astype(int)
with_nan = np.where(A > 0, np.nan, A)

# Made when they are tested: JAX compiles for some of them.
WRONG = {
    "integers of SciPy": (
        lambda: scipy.sparse.csr_array(ints),
        TypeError,
        "A.data: .* got dtype int64",
    ),
    "booleans of SciPy": (
        lambda: scipy.sparse.csr_array(A > 0),
        TypeError,
        "A.data: .* got dtype bool",
    ),
    "integers of JAX": (lambda: bcoo(jnp.asarray(ints)), TypeError, "A.data: .* got dtype int64"),
    "extended precision": (
        lambda: scipy.sparse.csr_array(A.astype(np.longdouble)),
        TypeError,
        "A.data: expected an array that JAX can hold",
    ),
    "NaN of SciPy": (
        lambda: scipy.sparse.csr_array(with_nan),
        ValueError,
        "A.data: expected finite num",
    ),
    "NaN of JAX": (
        lambda: bcoo(jnp.asarray(with_nan)),
        ValueError,
        "A.data: expected finite numbers",
    ),
    "one axis": (
        lambda: scipy.sparse.coo_array(A[0]),
        ValueError,
        r"A: expected a sparse matrix of shape \(m, n\), got shape \(20,\)",
    ),
    "three axes": (
        lambda: sparse.BCOO.fromdense(jnp.ones((2, 3, 4))),
        ValueError,
        r"A: expected a sparse matrix of shape \(m, n\), got shape \(2, 3, 4\)",
    ),
    "no columns": (lambda: scipy.sparse.csr_array((3, 0)), ValueError, r"A: .* got shape \(3, 0\)"),
    "an axis of batches": (
        lambda: sparse.BCOO.fromdense(jnp.asarray(A), n_batch=1),
        ValueError,
        "A: expected a BCOO matrix with two sparse axes, got n_batch=1 and n_dense=0",
    ),
    "a dense axis": (
        lambda: sparse.BCOO.fromdense(jnp.asarray(A), n_dense=1),
        ValueError,
        "A: expected a BCOO matrix with two sparse axes, got n_batch=0 and n_dense=1",
    ),
    "another kind of JAX": (
        lambda: sparse.COO.fromdense(jnp.asarray(A)),
        TypeError,
        "A: expected a BCOO matrix, or a sparse matrix of SciPy, got COO",
    ),
}


@pytest.mark.wrong_types
@pytest.mark.parametrize("name", WRONG)
def test_a_sparse_matrix_that_cannot_be_taken_is_named(name):
    make, error, message = WRONG[name]
    matrix = make()
    for call in (
        lambda: gj.iht(matrix, y, sparsity=1, num_steps=1),
        lambda: gj.dictionary(matrix),
        lambda: gj.operators.as_operator(matrix),
    ):
        with pytest.raises(error, match=f"^{message}"):
            call()
