"""Products, columns and column norms of matrices, and operators that have no matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.linalg.operators import (
    as_dense,
    as_operator,
    dense,
    operator_dtype,
    unit_columns,
)
from helpers import DTYPES, assert_close, random_problem
from oracles import finite_difference

COMPLEX = {np.float32: np.complex64, np.float64: np.complex128}


def normal(*shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


class MatrixFree:
    """Products with a matrix that the library cannot see; `dtype` is optional in the protocol."""

    def __init__(self, matrix):
        self.shape = matrix.shape
        self._matrix = jnp.asarray(matrix)

    def matvec(self, x):
        return self._matrix @ x

    def rmatvec(self, y):
        return self._matrix.conj().T @ y


# --- Products ------------------------------------------------------------------------------------


@jax.jit
def products(matrix, x, y):
    A = dense(matrix)
    return A.matvec(x), A.rmatvec(y)


@jax.jit
def columns(matrix):
    unit, scale = unit_columns(dense(matrix))
    return unit.matrix, scale


@pytest.mark.parametrize("vector_kind", ["real", "complex"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_equal_numpy(dtype, vector_kind):
    vector_dtype = np.finfo(dtype).dtype.type
    if vector_kind == "complex":
        vector_dtype = COMPLEX[vector_dtype]
    matrix = normal(5, 7, dtype=dtype)
    x, y = normal(7, dtype=vector_dtype, seed=1), normal(5, dtype=vector_dtype, seed=2)

    product, adjoint = products(matrix, x, y)
    assert dense(jnp.asarray(matrix)).shape == (5, 7)
    assert product.dtype == np.result_type(dtype, vector_dtype)
    assert_close(product, matrix @ x)
    # Where both are real, so is A* y; where either is complex, so is A* y.
    assert adjoint.dtype == np.result_type(dtype, vector_dtype)
    assert_close(adjoint, matrix.conj().T @ y)
    assert_close(np.vdot(y, product), np.vdot(adjoint, x), dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_batches_of_products_equal_numpy(dtype):
    matrix, X, Y = normal(5, 7, dtype=dtype), normal(3, 7, seed=1), normal(3, 5, seed=2)
    A = dense(jnp.asarray(matrix))
    assert_close(jax.vmap(A.matvec)(X), X @ matrix.T)
    assert_close(jax.vmap(A.rmatvec)(Y), Y @ matrix.conj())


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_and_their_scale(dtype):
    matrix, scale = normal(5, 7, dtype=dtype), np.arange(1, 8).astype(np.finfo(dtype).dtype)
    A = dense(jnp.asarray(matrix))
    assert_close(A.matrix, matrix, rtol=0, atol=0)
    assert_close(A.column(jnp.asarray(3)), matrix[:, 3], rtol=0, atol=0)
    assert_close(A.scale_columns(jnp.asarray(scale)).matrix, matrix * scale)


# --- Column norms --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_unit_columns(dtype):
    matrix = normal(5, 7, dtype=dtype) * np.logspace(-3, 3, 7)
    matrix[:, [1, 4]] = 0
    matrix = matrix.astype(dtype)
    unit, scale = columns(matrix)
    norms = np.linalg.norm(matrix, axis=0)
    expected = np.divide(1, norms, out=np.zeros(7), where=norms > 0)
    assert unit.dtype == dtype
    assert scale.dtype == np.finfo(dtype).dtype
    # Zero columns stay exactly zero, and so does their scale.
    assert_close(scale, expected, atol=0)
    assert_close(unit, matrix * expected, atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_unit_columns_of_any_norm(dtype):
    """Squares of 1e-20 and 1e20 do not exist in single precision; the columns' norms do."""
    matrix = normal(5, 41, dtype=np.promote_types(dtype, np.float64))
    matrix = matrix / np.linalg.norm(matrix, axis=0)
    norms = 10.0 ** np.arange(-20, 21)
    unit, scale = columns((matrix * norms).astype(dtype))
    assert_close(unit, matrix, dtype)
    assert_close(scale * norms.astype(np.float32), np.ones(41, np.float32))


def test_gradients_of_unit_columns():
    matrix, cotangent, weights = normal(3, 4), normal(3, 4, seed=1), normal(4, seed=2)

    def loss(matrix):
        unit, scale = unit_columns(dense(matrix))
        return jnp.vdot(cotangent, unit.matrix) + jnp.vdot(weights, scale)

    def oracle(matrix):
        norms = np.linalg.norm(matrix, axis=0)
        return np.vdot(cotangent, matrix / norms) + np.vdot(weights, 1 / norms)

    gradient = jax.jit(jax.grad(loss))
    # Central differences of step 1e-6 are good to about 1e-9.
    expected = finite_difference(oracle, matrix)
    assert_close(gradient(matrix), expected, rtol=1e-7, atol=1e-8)
    # A zero column has gradient 0, and does not disturb the others.
    with_zero = matrix.copy()
    with_zero[:, 1] = 0
    expected[:, 1] = 0
    assert_close(gradient(with_zero), expected, rtol=1e-7, atol=1e-8)


# --- Operators -----------------------------------------------------------------------------------


def test_operators_pass_through_and_arrays_are_wrapped():
    matrix = normal(5, 7)
    operator = MatrixFree(matrix)
    assert as_operator(operator).value is operator
    assert as_operator(as_operator(operator)) == as_operator(operator)
    assert_close(as_operator(matrix).matrix, matrix, rtol=0, atol=0)
    assert_close(as_operator(matrix.tolist()).matrix, matrix, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_operator_applied_to_the_identity_is_its_matrix(dtype):
    matrix = normal(5, 7, dtype=dtype)
    operator = MatrixFree(matrix)
    assert operator_dtype(operator) == dtype
    assert_close(as_dense(operator).matrix, matrix)
    assert operator_dtype(dense(jnp.asarray(matrix))) == dtype


def test_an_operators_own_dtype_wins():
    operator = MatrixFree(normal(5, 7, dtype=np.float32))
    operator.dtype = np.complex64
    assert operator_dtype(operator) == np.complex64


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize(
    "solver",
    [
        lambda A, y, w: gj.omp(A, y, sparsity=3, weights=w),
        lambda A, y, w: gj.soft_omp(A, y, sparsity=3, tau=0.05, weights=w),
        lambda A, y, w: gj.iht(A, y, sparsity=3, num_steps=10, weights=w),
        lambda A, y, w: gj.soft_iht(A, y, sparsity=3, tau=0.05, num_steps=10, weights=w),
    ],
    ids=["omp", "soft_omp", "iht", "soft_iht"],
)
def test_solvers_take_operators(solver, dtype):
    A, x, y = random_problem(0, 10, 16, 3, dtype, noise=0.05)
    A = (3 * A * np.linspace(0.8, 1.2, 16)).astype(dtype)
    w = np.linspace(0.5, 1.5, 16)

    @jax.jit
    def both(A, y, w):
        return solver(A, y, w), solver(MatrixFree(A), y, w)

    array, operator = both(A, y, w)
    assert np.linalg.norm(array.x) > 0.01
    # The operator's norm is not known beforehand, so the IHT family scales its problem otherwise,
    # and power iteration stops at another rounding: 1e-8 of the answer.
    for got, expected in zip(operator, array, strict=True):
        assert_close(got, expected, rtol=1e-8, atol=1e-8)
