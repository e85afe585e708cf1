"""The operator norm by power iteration, against NumPy's singular values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from greedyjax.linalg.norms import operator_norm_sq, step_size_of
from greedyjax.linalg.operators import dense
from helpers import EACH_DTYPE, assert_close
from oracles import finite_difference

# The estimate stops once stationary to eps^(2/3); slow convergence multiplies that by 1 / gap.
RTOL = {np.float32: 1e-3, np.complex64: 1e-3, np.float64: 1e-7, np.complex128: 1e-7}

norm_sq = jax.jit(lambda A: operator_norm_sq(dense(A), A.dtype))
step_size = jax.jit(lambda A: step_size_of(dense(A), A.dtype))
norm_sq_and_gradient = jax.jit(jax.value_and_grad(lambda A: operator_norm_sq(dense(A), A.dtype)))


def normal(*shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def with_singular_values(values, n, dtype=np.float64):
    U, _ = np.linalg.qr(normal(len(values), len(values), dtype=dtype, seed=1))
    V, _ = np.linalg.qr(normal(n, n, dtype=dtype, seed=2))
    return ((U * values) @ V[: len(values)]).astype(dtype)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_values_equal_numpy(dtype):
    for seed in range(8):
        A = normal(8, 20, dtype=dtype, seed=seed)
        got = norm_sq(A)
        assert got.dtype == np.finfo(dtype).dtype
        assert_close(got, np.linalg.norm(A, 2) ** 2, rtol=RTOL[dtype], atol=0)
    A = normal(20, 8, dtype=dtype)
    assert_close(norm_sq(A), np.linalg.norm(A, 2) ** 2, rtol=RTOL[dtype], atol=0)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_close_and_repeated_singular_values(dtype):
    """Directions that power iteration cannot tell apart have nearly the same norm."""
    for second in (1.0, 1 - 1e-6, 1 - 1e-3, 0.99):
        A = with_singular_values([1.0, second, 0.5, 0.1], 20, dtype)
        # 0.999^2 = 0.998 is what the second direction gives; single precision may stop between.
        assert_close(norm_sq(A), 1.0, dtype, rtol=2e-3, atol=0)


def test_step_size():
    A = normal(8, 20)
    assert_close(step_size(A), 1 / np.linalg.norm(A, 2) ** 2, rtol=1e-7, atol=0)
    assert step_size(np.zeros((8, 20))) == 1
    assert norm_sq(np.zeros((8, 20))) == 0


def test_no_matrix_is_taken_for_its_second_direction():
    """As one start alone does about once in 2,000 of these, in single precision."""
    batch = normal(10_000, 8, 16, dtype=np.float32)
    expected = np.linalg.norm(batch, 2, axis=(1, 2)) ** 2
    assert_close(jax.vmap(norm_sq)(batch), expected, rtol=3e-3, atol=0)  # sqrt(eps^(2/3) / 2)


def test_vmap_over_matrices_equals_a_loop():
    batch = np.stack([normal(8, 20, seed=seed) for seed in range(3)])
    expected = [np.linalg.norm(A, 2) ** 2 for A in batch]
    assert_close(jax.vmap(norm_sq)(batch), expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_gradient_equals_finite_differences(dtype):
    A = with_singular_values([1.0, 0.6, 0.5], 5, dtype)
    value, gradient = norm_sq_and_gradient(A)
    assert_close(value, 1.0, rtol=1e-9, atol=0)
    expected = finite_difference(lambda A: np.linalg.norm(A, 2) ** 2, A)
    # The value is stationary to 1e-10, so its vector, and with it the gradient, to 1e-5.
    assert_close(gradient, expected, rtol=1e-4, atol=1e-4)

    tangent = normal(3, 5, dtype=dtype, seed=3)
    _, forward = jax.jvp(norm_sq, (A,), (tangent,))
    assert_close(forward, np.real(np.sum(gradient * tangent)))


@pytest.mark.parametrize("matrix", [np.zeros((3, 5)), np.eye(3, 5), np.ones((3, 5))])
def test_gradient_is_finite_where_the_norm_is_not_smooth(matrix):
    value, gradient = norm_sq_and_gradient(matrix)
    # Also an element of the subdifferential: <gradient, A> = 2 ||A||^2, as for any such element.
    assert np.all(np.isfinite(gradient))
    assert_close(jnp.vdot(gradient, matrix), 2 * np.linalg.norm(matrix, 2) ** 2)
    assert_close(value, np.linalg.norm(matrix, 2) ** 2)
