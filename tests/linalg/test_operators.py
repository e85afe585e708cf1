"""Products, columns and column norms of matrices, and of operators without a matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.linalg import operators
from greedyjax.linalg.checked import as_operator, operator_dtype
from greedyjax.linalg.operators import dense, unit_columns
from helpers import EACH_DTYPE, assert_close, jit
from operator_kinds import Duck
from oracles import finite_difference

COMPLEX = {np.float32: np.complex64, np.float64: np.complex128}


def normal(*shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


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
@pytest.mark.parametrize("dtype", EACH_DTYPE)
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


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_columns_and_their_scale(dtype):
    matrix, scale = normal(5, 7, dtype=dtype), np.arange(1, 8).astype(np.finfo(dtype).dtype)
    A = dense(jnp.asarray(matrix))
    assert_close(A.matrix, matrix, rtol=0, atol=0)
    assert_close(A.column(jnp.asarray(3)), matrix[:, 3], rtol=0, atol=0)
    assert_close(A.scale_columns(jnp.asarray(scale)).matrix, matrix * scale)


# --- Column norms --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EACH_DTYPE)
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
# Of every kind: see `operators/test_kinds.py`.


def test_arrays_are_wrapped():
    matrix = normal(5, 7)
    for given in (matrix, jnp.asarray(matrix)):
        assert_close(as_operator(given).matrix, matrix, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_the_dtype_of_an_array_is_that_of_its_operator(dtype):
    assert operator_dtype(as_operator(normal(5, 7, dtype=dtype))) == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_norms_of_columns_that_are_computed_a_few_at_a_time(dtype, monkeypatch):
    """Blocks of three columns: the last one is not full."""
    monkeypatch.setattr(operators, "_BLOCK_NUMBERS", 21)
    matrix = (normal(5, 7, dtype=dtype) * np.logspace(-15, 15, 7)).astype(dtype)
    matrix[:, 4] = 0
    norms = np.linalg.norm(matrix.astype(np.result_type(dtype, np.float64)), axis=0)
    for A in (dense(jnp.asarray(matrix)), as_operator(Duck(jnp.asarray(matrix)))):
        assert_close(operators.column_norms_of(A), norms, dtype, atol=0)


def test_columns_that_are_computed_take_little_memory():
    """Each takes a vector of length n on the way, however short it is itself."""

    def norms(A):
        return gj.dictionary(Duck(A)).column_scale

    wide = jax.ShapeDtypeStruct((4, 16_384), np.float32)
    memory = jit(norms).lower(wide).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 16e6
