"""Least squares over rows, some linearly dependent, and its own derivative rule."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from greedyjax.linalg.least_squares import least_squares
from greedyjax.linalg.operators import join, split
from helpers import EACH_DTYPE, assert_close, jit, slow_but
from oracles import finite_difference

K, M = 4, 7


def normal(*shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def fit(B, y):
    """Coefficients and residual, as the arrays that their parts stand for."""
    B, y = jnp.asarray(B), jnp.asarray(y)
    parts = len(split(y))
    rows = jnp.moveaxis(split(B), 0, 1).reshape(len(B), -1)
    found = least_squares(parts, rows, split(y).ravel())
    return [join(v.reshape(parts, -1)) for v in (found.coefficients, found.residual)]


fitted = jit(fit)


def dependent(dtype):
    """Rows 1 and 3 depend on those before them, and row 2 is 0."""
    B = normal(K + 1, M, dtype=dtype)
    B[1], B[2], B[3] = -0.5 * B[0], 0, B[0]
    return B, np.array([0, 4])


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_equals_lstsq(dtype):
    B, y = normal(K, M, dtype=dtype), normal(M, dtype=dtype, seed=1)
    z, residual = fitted(B, y)
    expected = np.linalg.lstsq(B.T, y, rcond=None)[0]
    assert z.dtype == residual.dtype == dtype
    assert_close(z, expected)
    assert_close(residual, y - B.T @ expected)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_a_dependent_row_has_no_coefficient(dtype):
    (B, kept), y = dependent(dtype), normal(M, dtype=dtype, seed=1)
    z, residual = fitted(B, y)
    expected = np.zeros(K + 1, dtype)
    expected[kept] = np.linalg.lstsq(B[kept].T, y, rcond=None)[0]
    assert_close(z, expected)
    assert_close(residual, y - B.T @ expected)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_a_row_too_close_to_another_has_no_coefficient(dtype):
    """Its derivative, of the size of the inverse square of the distance, would have no digit."""
    a, d = normal(2, M, dtype=dtype)
    y = normal(M, dtype=dtype, seed=1)
    for power, taken in ((0.4, True), (0.6, False)):
        near = np.stack([a, a + np.finfo(dtype).eps ** power * d]) / np.linalg.norm(a)
        assert (fitted(near.astype(dtype), y)[0][1] != 0) == taken


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_large_coefficients_cancel(dtype):
    """Two pairs of rows 1e-5 apart: what B^T z misses grows with that once, not twice."""
    a, b, d, e = normal(4, M, dtype=dtype)
    B, y = np.stack([a, a + 1e-5 * d, b, b + 1e-5 * e]), d - 2 * e
    z, residual = fitted(B, y)
    assert np.abs(z).max() > 1e4
    assert np.linalg.norm(residual) < 1e-10
    assert np.linalg.norm(y - B.T @ z) < 1e-9


@pytest.mark.parametrize(
    ("dtype", "rows"),
    slow_but(
        [(np.complex128, "independent"), (np.float64, "dependent")],
        itertools.product([np.float64, np.complex128], ["independent", "dependent"]),
    ),
)
def test_derivatives(dtype, rows):
    """Forward, reverse and second order; rows that depend do not move."""
    y, c = normal(M, dtype=dtype, seed=1), normal(M, dtype=dtype, seed=3)
    B, kept = (normal(K, M, dtype=dtype), np.arange(K))
    if rows == "dependent":
        B, kept = dependent(dtype)
    a = normal(len(B), dtype=dtype, seed=2)

    def loss(B, y):
        z, residual = fit(B, y)
        return jnp.real(jnp.vdot(a, z) + jnp.vdot(c, residual) + jnp.vdot(z, z) * 0.5)

    def oracle(B_kept, y):
        z = np.linalg.lstsq(B_kept.T, y, rcond=None)[0]
        return np.real(np.vdot(a[kept], z) + np.vdot(c, y - B_kept.T @ z) + np.vdot(z, z) * 0.5)

    along = np.zeros_like(B)
    along[kept] = normal(len(kept), M, dtype=dtype, seed=4)
    directions = along, normal(M, dtype=dtype, seed=5)

    @jit
    def everything(B, y):
        gradient = jax.grad(loss, (0, 1))
        reverse_twice = lambda B, y: sum(
            jnp.real(jnp.sum(g * d)) for g, d in zip(gradient(B, y), directions, strict=True)
        )
        return (
            gradient(B, y),
            jax.jvp(loss, (B, y), directions)[1],
            jax.jvp(gradient, (B, y), directions)[1],
            jax.grad(reverse_twice, (0, 1))(B, y),
        )

    (by_B, by_y), forward, curvature, reverse = everything(B, y)
    expected = np.zeros_like(B)
    expected[kept] = finite_difference(lambda B: oracle(B, y), B[kept])
    # Central differences of step 1e-6.
    assert_close(by_B, expected, rtol=1e-6, atol=1e-7)
    assert_close(by_y, finite_difference(lambda y: oracle(B[kept], y), y), rtol=1e-6, atol=1e-7)
    products = [np.sum(g * d) for g, d in zip((by_B, by_y), directions, strict=True)]
    assert_close(forward, np.real(sum(products)))
    h = 1e-6
    ahead, behind = (everything(B + s * along, y + s * directions[1])[0] for s in (h, -h))
    # A row that depends would not, moved: only those that do not are.
    for i, pick in enumerate((kept, slice(None))):
        quotient = (np.asarray(ahead[i]) - np.asarray(behind[i])) / (2 * h)
        if rows == "independent":
            assert_close(np.asarray(curvature[i])[pick], quotient[pick], rtol=1e-6, atol=1e-6)
        assert_close(reverse[i], curvature[i], rtol=1e-8, atol=1e-9)
