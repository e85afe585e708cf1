"""Signals on a random background, against the formulas of linear estimation in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from helpers import assert_close, slow_but

M, N = 6, 10


def problem(dtype, diagonal):
    rng = np.random.default_rng(0)
    normal = lambda *shape: (
        rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        if np.issubdtype(dtype, np.complexfloating)
        else rng.standard_normal(shape)
    ).astype(dtype)
    A, root, Y, X = normal(M, N), normal(N, N), normal(2, 3, M), normal(2, 3, N)
    C = rng.uniform(0.1, 1, N).astype(np.finfo(dtype).dtype) if diagonal else root @ root.conj().T
    return A, C, Y, X


@pytest.mark.parametrize(
    ("dtype", "diagonal"),
    slow_but(
        [(np.complex128, True), (np.float64, False)],
        itertools.product([np.float64, np.complex128], [True, False]),
    ),
)
def test_equals_the_formulas(dtype, diagonal):
    A, C, Y, X = problem(dtype, diagonal)
    full = np.diag(C) if diagonal else C
    R = A @ full @ A.conj().T + 0.09 * np.eye(M)
    whitened = gj.whiten(A, C, noise=0.3)
    assert_close(whitened.factor, np.linalg.cholesky(R))
    assert_close(whitened.A, np.linalg.solve(np.linalg.cholesky(R), A))
    left = np.linalg.solve(np.linalg.cholesky(R), Y[1, 2])
    assert_close(whitened.measurements(Y)[1, 2], left)
    assert_close(whitened.measurements(Y[1, 2]), left)
    gain = full @ A.conj().T @ np.linalg.inv(R)
    expected = X[1, 2] + gain @ (Y[1, 2] - A @ X[1, 2])
    assert_close(whitened.complete(Y, X)[1, 2], expected)
    assert_close(whitened.complete(Y[1, 2], X[1, 2]), expected)


def test_a_background_without_noise_is_measured_exactly():
    """The completed signal explains the measurements, whatever the sparse part was."""
    A, C, Y, X = problem(np.float64, diagonal=False)
    x = gj.whiten(A, C).complete(Y, X)
    assert_close(x @ A.T, Y, rtol=1e-8)


def test_derivative_is_that_of_the_formula():
    A, C, Y, X = problem(np.float64, diagonal=True)

    @jax.jit
    def loss(A, C):
        whitened = gj.whiten(A, C, noise=0.3)
        return jnp.sum(whitened.complete(Y, X) ** 2) + jnp.sum(whitened.measurements(Y) ** 3)

    gradients = jax.grad(loss, (0, 1))(A, C)
    rng = np.random.default_rng(1)
    for i, value in enumerate((A, C)):
        along = rng.standard_normal(value.shape)
        args = [[A, C], [A, C]]
        args[0][i], args[1][i] = value + 1e-6 * along, value - 1e-6 * along
        slope = (loss(*args[0]) - loss(*args[1])) / 2e-6
        assert_close(np.sum(gradients[i] * along), slope, rtol=1e-6)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (np.ones(3), r"covariance: expected shape \(10,\) or \(10, 10\), got shape \(3,\)"),
        (-np.eye(N), "covariance: expected no negative eigenvalues"),
        (np.zeros(N), "covariance: expected no negative eigenvalues, and measurements that vary"),
        (np.full(N, np.nan), "covariance: expected finite numbers, got NaN or infinity"),
    ],
)
def test_bad_covariance(covariance, message):
    with pytest.raises(ValueError, match=message):
        gj.whiten(np.ones((M, N)), covariance)
