"""Non-negative least squares over rows, some linearly dependent, and its own derivative rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from greedyjax.linalg.nonnegative import nonnegative_least_squares
from helpers import assert_close, jit, slow_but
from oracles import finite_difference

K, M = 6, 9
REAL = (np.float32, np.float64)


def problems(num, k=K, m=M, seed=0, coherent=0.0):
    """Rows of norm 1 that may share a direction, and what is fitted."""
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((num, k, m)) + coherent * rng.standard_normal((num, 1, m))
    B /= np.linalg.norm(B, axis=2, keepdims=True)
    y = np.einsum("bkm,bk->bm", B, rng.standard_normal((num, k)))
    return B, y + 0.3 * rng.standard_normal((num, m))


def fit(B, y, start=None):
    B, y = jnp.asarray(B), jnp.asarray(y)
    return nonnegative_least_squares(B, y, jnp.zeros(len(B), B.dtype) if start is None else start)


alone, each = jit(fit), jit(jax.vmap(lambda B, y: fit(B, y)))
each_from = jit(jax.vmap(fit))


def scipy_of(B, y):
    pairs = zip(B, y, strict=True)
    return np.stack([scipy.optimize.nnls(rows.T, one, maxiter=1000)[0] for rows, one in pairs])


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("coherent", [0.0, 3.0])
def test_equals_scipy(dtype, coherent):
    B, y = (each.astype(dtype) for each in problems(300, coherent=coherent))
    expected, found = scipy_of(*map(np.float64, (B, y))), each(B, y)
    assert found.coefficients.dtype == found.residual.dtype == dtype
    # Coherent rows amplify rounding, as often as their Gram matrix has it. Small coefficients carry
    # the rounding of the large ones, which are of the size of 1.
    rtol = {} if coherent == 0 else {"rtol": 1e-3 if dtype == np.float32 else 1e-9}
    atol = 0.1 * rtol.get("rtol", 1e-5 if dtype == np.float32 else 1e-6)
    assert_close(found.coefficients, expected, **rtol, atol=atol)
    assert 0.1 < np.mean(expected == 0) < 0.9
    residual = y - np.einsum("bkm,bk->bm", B, np.asarray(found.coefficients))
    assert_close(found.residual, residual, atol=1e-5 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("k", slow_but([1, 40], [1, 2, 20, 40]))
def test_any_number_of_rows(k):
    """Also more than there are entries, where many coefficients are 0."""
    B, y = problems(50, k=k, m=30)
    assert_close(each(B, y).coefficients, scipy_of(B, y), rtol=1e-8, atol=1e-8)


def test_the_start_does_not_matter():
    B, y = problems(200)
    expected = np.asarray(each(B, y).coefficients)
    rng = np.random.default_rng(1)
    for start in (np.ones((200, K)), rng.uniform(0, 3, (200, K)), -expected, 1.1 * expected):
        assert_close(each_from(B, y, jnp.asarray(start)).coefficients, expected)


def test_where_every_row_points_away_nothing_is_fitted():
    B, _ = problems(1)
    y = -np.sum(np.abs(B[0]), axis=0)
    found = alone(np.abs(B[0]), y)
    assert np.all(found.coefficients == 0)
    np.testing.assert_array_equal(found.residual, y)


def test_rows_that_depend_on_others_have_no_coefficient():
    B, y = problems(1)
    B, y = B[0], y[0]
    expected = scipy_of(B[None], y[None])[0]
    first = int(np.argmax(expected))
    wide = np.vstack([B, B[first : first + 1], 0 * B[:1]])
    found = alone(wide, y).coefficients
    assert_close(found, np.append(expected, [0, 0]))


def test_a_nan_shows():
    B, y = problems(1)
    assert np.isnan(alone(B[0], np.where(np.arange(M) == 0, np.nan, y[0])).residual).any()


# --- Derivatives ---------------------------------------------------------------------------------

COTANGENT = np.sin(np.arange(K + M) + 1.0)


def loss(B, y):
    found = fit(B, y)
    return jnp.dot(COTANGENT, jnp.concatenate([found.coefficients, found.residual]))


gradients_of, value = jit(jax.grad(loss, (0, 1))), jit(loss)


@pytest.mark.slow
def test_gradients_are_those_of_finite_differences():
    B, y = problems(1, seed=3)
    B, y = B[0], y[0]
    assert 0 < np.sum(fit(B, y).coefficients > 0) < K
    gradients = gradients_of(B, y)
    assert_close(gradients[0], finite_difference(lambda B: value(B, y), B), rtol=1e-6, atol=1e-7)
    assert_close(gradients[1], finite_difference(lambda y: value(B, y), y), rtol=1e-6, atol=1e-7)


def test_second_derivatives_are_those_of_finite_differences():
    B, y = problems(1, seed=3)
    B, y = B[0], y[0]
    direction = np.cos(np.arange(B.size)).reshape(B.shape)
    along = jit(lambda B, y: jax.jvp(lambda B: loss(B, y), (B,), (direction,))[1])
    second = jit(jax.grad(lambda B, y: jnp.vdot(jax.grad(loss)(B, y), direction), (0, 1)))(B, y)
    assert_close(second[0], finite_difference(lambda B: along(B, y), B), rtol=1e-5, atol=1e-6)
    assert_close(second[1], finite_difference(lambda y: along(B, y), y), rtol=1e-5, atol=1e-6)


def test_forward_mode_equals_reverse_mode_in_a_batch():
    B, y = problems(20)
    rng = np.random.default_rng(2)
    dB, dy = rng.standard_normal(B.shape), rng.standard_normal(y.shape)

    def both(B, y, dB, dy):
        forward = jax.jvp(loss, (B, y), (dB, dy))[1]
        in_B, in_y = jax.grad(loss, (0, 1))(B, y)
        return forward, jnp.vdot(in_B, dB) + jnp.vdot(in_y, dy)

    forward, reverse = jit(jax.vmap(both))(B, y, dB, dy)
    assert_close(forward, reverse)


@pytest.mark.parametrize("case", ["y = 0", "B = 0", "equal rows", "in the cone of no row"])
def test_derivatives_are_finite(case):
    B, y = problems(1)
    B, y = B[0], y[0]
    if case == "y = 0":
        y = 0 * y
    elif case == "B = 0":
        B = 0 * B
    elif case == "equal rows":
        B = np.repeat(B[:1], K, axis=0)
    else:
        B, y = np.abs(B), -np.abs(y)
    gradients = gradients_of(B, y)
    assert all(np.all(np.isfinite(each)) for each in gradients)
