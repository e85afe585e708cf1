"""Iterative hard thresholding, hard and soft, against NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from helpers import EACH_DTYPE, assert_close, random_problem, slow_but
from oracles import finite_difference
from oracles import iht as iht_oracle
from oracles import soft_iht as soft_iht_oracle

M, N, K, STEPS = 24, 32, 3, 12  # One shape for all, so that JAX compiles little.
ONES, ZEROS = np.ones(N), np.zeros(N)


@jax.jit
def _iht(A, y, w, step_size, x0):
    return gj.iht(A, y, sparsity=K, num_steps=STEPS, step_size=step_size, weights=w, x0=x0)


@jax.jit
def _soft_iht(A, y, w, step_size, x0, taus):
    return gj.soft_iht(
        A, y, sparsity=K, tau=taus, num_steps=STEPS, step_size=step_size, weights=w, x0=x0
    )


# One signature per dtype, so that JAX compiles once for each.
def iht(A, y, w=ONES, step_size=0.4, x0=ZEROS):
    real = np.finfo(A.dtype).dtype
    return _iht(A, y, w.astype(real), np.asarray(step_size, real), x0.astype(A.dtype))


def soft_iht(A, y, tau, w=ONES, step_size=0.4, x0=ZEROS):
    real = np.finfo(A.dtype).dtype
    taus = np.broadcast_to(tau, STEPS).astype(real)
    return _soft_iht(A, y, w.astype(real), np.asarray(step_size, real), x0.astype(A.dtype), taus)


@jax.jit
def default_step_iht(A, y):
    return gj.iht(A, y, sparsity=K, num_steps=STEPS)


@jax.jit
def long_iht(A, y):
    return gj.iht(A, y, sparsity=K, num_steps=400)


def weights_of(seed=0):
    return np.random.default_rng(seed).uniform(0.5, 1.5, N)


def assert_recoveries_close(actual, expected, dtype):
    """All that an oracle knows of a Recovery."""
    assert np.asarray(actual.support).tolist() == expected.support.tolist()
    assert_close(actual.x, expected.x, dtype)
    assert_close(actual.residual_norm, expected.residual_norm, dtype)
    assert actual.num_steps == expected.num_steps


# --- Hard ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_hard_equals_the_oracle(dtype):
    for seed in range(4):
        A, _, y = random_problem(seed, M, N, 3, dtype, noise=0.1)
        w = weights_of(seed)
        x0 = random_problem(seed + 10, M, N, 6, dtype)[1]
        found = iht(A, y, w, x0=x0)
        assert_recoveries_close(found, iht_oracle(A, y, K, STEPS, 0.4, w, x0), dtype)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_default_step_size_is_one_over_the_squared_norm(dtype):
    scale = np.array(7.0, np.finfo(dtype).dtype)
    A, _, y = random_problem(0, M, N, 3, dtype, noise=0.1)
    A = scale * A
    by_norm = 1 / np.linalg.norm(A, 2) ** 2
    found = default_step_iht(A, y)
    expected = iht_oracle(A, y, K, STEPS, by_norm)
    # The norm is good to eps^(2/3) over the gap of the singular values.
    rtol = 1e-6 if np.finfo(dtype).eps < 1e-10 else 5e-3
    assert_close(found.x, expected.x, dtype, rtol=rtol)
    assert np.asarray(found.support).tolist() == expected.support.tolist()


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_hard_recovers_sparse_signals_and_says_that_it_converged(dtype):
    A, x, y = random_problem(10, M, N, 3, dtype)
    found = long_iht(A, y)
    # It stops moving at sqrt(eps) of x, and contracts slowly.
    rtol = 1e-6 if np.finfo(dtype).eps < 1e-10 else 1e-3
    assert_close(found.x, x, rtol=rtol)
    assert found.converged
    assert not default_step_iht(A, y).converged


def test_weights_choose_entries_and_never_scale_them():
    A, _, y = random_problem(1, M, N, 3, np.float64, noise=0.1)
    # One step from 0 with identity gate: x is u = eta A* y on the support.
    one_step = jax.jit(lambda w: gj.iht(A, y, sparsity=K, num_steps=1, step_size=0.5, weights=w))
    w = weights_of()
    u = 0.5 * A.T @ y
    support = np.argsort(-np.abs(w * u))[:K]
    assert set(support) != set(np.argsort(-np.abs(u))[:K])
    for same in (w, -w, 1e6 * w):
        found = one_step(same)
        assert found.support.tolist() == support.tolist()  # By falling score.
        expected = np.zeros(N)
        expected[support] = u[support]
        assert_close(found.x, expected)


def test_starts_from_x0():
    A, x, y = random_problem(0, M, N, 3, np.float64)
    none = jax.jit(lambda x0: gj.iht(A, y, sparsity=K, num_steps=0, x0=x0))
    found = none(x)
    assert_close(found.x, x)
    assert_close(found.residual_norm, 0.0)
    assert found.num_steps == 0
    assert found.converged
    assert not found.stationary
    # The true signal is a fixed point.
    stays = iht(A, y, x0=x)
    assert_close(stays.x, x)
    assert stays.converged


def test_no_step_gives_zero():
    A, _, y = random_problem(0, M, N, 3, np.float64)
    hard = gj.iht(A, y, sparsity=K, num_steps=0)
    soft = gj.soft_iht(A, y, sparsity=K, tau=0.1, num_steps=0)
    for found in (hard, soft):
        assert np.all(found.x == 0)
        assert_close(found.residual_norm, np.linalg.norm(y))
        assert found.num_steps == 0
    assert hard.support.tolist() == [-1] * K


def test_zero_measurements():
    A = random_problem(0, M, N, 3, np.float64)[0]
    found = default_step_iht(A, np.zeros(M))
    assert np.all(found.x == 0)
    assert found.residual_norm == 0
    assert found.converged
    assert found.support.tolist() == [-1] * K


def test_unused_slots_are_minus_one():
    found = default_step_iht(np.eye(M, N), 2 * np.eye(M)[5])
    assert found.support.tolist() == [5, -1, -1]
    assert_close(found.x, 2 * np.eye(N)[5])


def test_ties_take_the_lowest_indices():
    found = default_step_iht(np.eye(M, N), np.r_[0, np.ones(M - 1)])
    assert found.support.tolist() == [1, 2, 3]
    assert_close(found.x, np.eye(N)[1:4].sum(axis=0))


# --- Soft ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_soft_equals_the_oracle(dtype):
    for seed in range(4):
        A, _, y = random_problem(seed, M, N, 3, dtype, noise=0.1)
        w = weights_of(seed)
        x0 = random_problem(seed + 10, M, N, 6, dtype)[1]
        found = soft_iht(A, y, 0.1, w, x0=x0)
        expected = soft_iht_oracle(A, y, K, 0.1, STEPS, 0.4, w, x0)
        assert_recoveries_close(found, expected, dtype)


def test_one_temperature_per_step():
    A, _, y = random_problem(0, M, N, 3, np.float64, noise=0.1)
    taus = np.geomspace(0.3, 0.03, STEPS)
    assert_close(soft_iht(A, y, taus).x, soft_iht_oracle(A, y, K, taus, STEPS, 0.4).x)
    scalar = jax.jit(
        lambda tau: gj.soft_iht(A, y, sparsity=K, tau=tau, num_steps=STEPS, step_size=0.4)
    )
    assert_close(scalar(0.1).x, soft_iht(A, y, 0.1).x)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_soft_tends_to_hard(dtype):
    A, _, y = random_problem(1, M, N, 3, dtype, noise=0.1)
    w = weights_of()
    hard, soft = iht(A, y, w), soft_iht(A, y, 1e-5, w)
    assert np.array_equal(soft.support, hard.support)
    assert_close(soft.x, hard.x)
    assert_close(soft.residual_norm, hard.residual_norm)


def test_at_a_tie_soft_shares_where_hard_takes_the_first():
    """Six equal entries, three to keep: each is kept by half, twelve times over.

    On an orthonormal dictionary with step 1 every u equals y, so x is y / 2.
    """
    y = np.r_[np.ones(6), np.zeros(M - 6)]
    found = soft_iht(np.eye(M, N), y, 1e-3, step_size=1.0)
    assert_close(found.x, np.r_[np.full(6, 0.5), np.zeros(N - 6)])
    assert_close(found.residual_norm, 0.5 * np.sqrt(6))


def test_units():
    """A in units of a and y in units of b give x in those of b / a, the temperature's own."""
    A, _, y = random_problem(0, M, N, 3, np.float64, noise=0.1)
    plain = soft_iht(A, y, 0.1).x
    for a, b in ((1e-6, 1.0), (1e6, 1.0), (1.0, 1e6), (1e-6, 1e6)):
        found = soft_iht(a * A, b * y, 0.1 * b / a, step_size=0.4 / a**2)
        assert_close(found.x * a / b, plain)


# --- Batches -------------------------------------------------------------------------------------


def test_vmap_over_every_argument_equals_a_loop():
    problems = [random_problem(seed, M, N, 3, np.float64, noise=0.1) for seed in range(3)]
    As, Ys = np.stack([A for A, _, _ in problems]), np.stack([y for _, _, y in problems])
    W, taus = np.stack([weights_of(seed) for seed in range(3)]), np.geomspace(0.05, 0.2, 3)
    steps, X0 = np.array([0.3, 0.4, 0.5]), np.random.default_rng(0).standard_normal((3, N))

    many = jax.vmap(_soft_iht)(As, Ys, W, steps, X0, np.repeat(taus[:, None], STEPS, axis=1))
    loop = [soft_iht(*args) for args in zip(As, Ys, taus, W, steps, X0, strict=True)]
    for field, *expected in zip(many, *loop, strict=True):
        assert_close(field, np.stack(expected))


def test_vmap_over_signals_and_over_matrices_equals_a_loop():
    """Where the step size is that of each matrix."""
    problems = [random_problem(seed, M, N, 3, np.float64, noise=0.1) for seed in range(3)]
    As, Ys = np.stack([A for A, _, _ in problems]), np.stack([y for _, _, y in problems])
    both = jax.vmap(jax.vmap(default_step_iht, (None, 0)), (0, None))(As, Ys)
    loop = np.stack([[default_step_iht(A, y).x for y in Ys] for A in As])
    assert_close(both.x, loop)


# --- Derivatives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", slow_but([np.complex128], [np.float64, np.complex128]))
def test_soft_gradients_equal_finite_differences_of_the_oracle(dtype):
    A, x, y = random_problem(3, 6, 9, 2, dtype, noise=0.3)
    rng = np.random.default_rng(5)
    w, c = rng.uniform(0.5, 1.5, 9), rng.standard_normal(9)
    tau, step_size = np.array([0.3, 0.2, 0.1, 0.1]), np.array(0.6)

    def loss(A, y, w, tau, step_size, x0):
        found = gj.soft_iht(
            A, y, sparsity=2, tau=tau, num_steps=4, step_size=step_size, weights=w, x0=x0
        )
        return jnp.real(jnp.vdot(c.astype(dtype), found.x))

    def oracle(A, y, w, tau, step_size, x0):
        return np.real(np.vdot(c, soft_iht_oracle(A, y, 2, tau, 4, step_size, w, x0).x))

    # Not the signal itself: an entry of u that is exactly 0 would sit on the kink of |u|.
    args = (A, y, w, tau, step_size, x + 0.1 * rng.standard_normal(9))
    gradients = jax.jit(jax.grad(loss, tuple(range(6))))(*args)
    for i, gradient in enumerate(gradients):
        moved = lambda value, i=i: oracle(*args[:i], value, *args[i + 1 :])
        # Central differences of step 1e-6 are good to about 1e-8 here.
        assert_close(gradient, finite_difference(moved, args[i]), rtol=1e-6, atol=1e-7)
    tangents = tuple(rng.standard_normal(a.shape).astype(a.dtype) for a in args)
    _, forward = jax.jit(lambda a, t: jax.jvp(loss, a, t))(args, tangents)
    both = zip(gradients, tangents, strict=True)
    assert_close(forward, sum(np.real(np.sum(g * t)) for g, t in both))


def test_gradient_of_the_default_step_size():
    A, _, y = random_problem(3, 6, 9, 2, np.float64, noise=0.3)
    c = np.random.default_rng(5).standard_normal(9)

    def loss(A):
        return c @ gj.soft_iht(A, y, sparsity=2, tau=0.2, num_steps=4).x

    gradient = jax.jit(jax.grad(loss))(A)
    expected = finite_difference(lambda A: c @ soft_iht_oracle(A, y, 2, 0.2, 4).x, A)
    # The singular vector of the norm is good to about 1e-5.
    assert_close(gradient, expected, rtol=1e-4, atol=1e-4)


def test_hard_gradients_are_those_on_the_support_kept():
    A, _, y = random_problem(3, 6, 9, 2, np.float64, noise=0.3)
    rng = np.random.default_rng(5)
    w, c = rng.uniform(0.5, 1.5, 9), rng.standard_normal(9)

    def loss(A, y, step_size, w):
        return c @ gj.iht(A, y, sparsity=2, num_steps=4, step_size=step_size, weights=w).x

    def oracle(A, y, step_size, w):
        return c @ iht_oracle(A, y, 2, 4, step_size, w).x

    args = (A, y, np.array(0.6), w)
    gradients = jax.jit(jax.grad(loss, (0, 1, 2, 3)))(*args)
    for i, gradient in enumerate(gradients):
        moved = lambda value, i=i: oracle(*args[:i], value, *args[i + 1 :])
        assert_close(gradient, finite_difference(moved, args[i]), rtol=1e-6, atol=1e-7)
    assert np.all(gradients[3] == 0)
