"""OMP, hard and soft, against NumPy loops and scikit-learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import orthogonal_mp

import greedyjax as gj
from helpers import EACH_DTYPE, assert_close, random_problem, slow_but
from oracles import finite_difference
from oracles import omp as omp_oracle
from oracles import soft_omp as soft_omp_oracle

M, N, K = 16, 32, 5  # One shape for all, so that JAX compiles little.
ONES = np.ones(N)


@functools.cache
def _omp(batch):
    def solve(A, y, w, rtol):
        return gj.omp(A, y, sparsity=K, weights=w, rtol=rtol)

    return jax.jit(jax.vmap(solve, (None, 0, None, None)) if batch else solve)


@jax.jit
def _soft_omp(A, y, taus, w):
    return gj.soft_omp(A, y, sparsity=K, tau=taus, weights=w)


# One signature per dtype, so that JAX compiles once for each.
def omp(A, y, w=ONES, rtol=0.0, batch=False):
    real = np.finfo(A.dtype).dtype
    return _omp(batch)(A, y, w.astype(real), np.asarray(rtol, real))


def soft_omp(A, y, tau, w=ONES):
    real = np.finfo(A.dtype).dtype
    return _soft_omp(A, y, np.broadcast_to(tau, K).astype(real), w.astype(real))


def weights_of(seed=0):
    return np.random.default_rng(seed).uniform(0.2, 2, N)


def assert_recoveries_close(actual, expected, dtype):
    """All that an oracle knows of a Recovery."""
    assert np.asarray(actual.support).tolist() == expected.support.tolist()
    assert_close(actual.x, expected.x, dtype)
    assert_close(actual.residual_norm, expected.residual_norm, dtype)
    assert actual.num_steps == expected.num_steps


# --- Hard ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_hard_equals_the_oracle(dtype):
    for seed in range(6):
        A, _, y = random_problem(seed, M, N, 4, dtype, noise=0.2)
        w = weights_of(seed)
        found = omp(A, y, w)
        assert_recoveries_close(found, omp_oracle(A, y, K, w), dtype)
        assert not found.converged


def test_hard_equals_scikit_learn():
    for seed in range(6):
        A, _, y = random_problem(seed, M, N, 4, np.float64, noise=0.2)
        assert_close(omp(A, y).x, orthogonal_mp(A, y, n_nonzero_coefs=K))


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_hard_recovers_sparse_signals(dtype):
    A, x, y = random_problem(0, M, N, 2, dtype)
    found = omp(A, y)
    assert_close(found.x, x)
    assert found.converged  # With only rounding left, whatever rtol is.


def test_weights_choose_atoms_and_never_enter_the_fit():
    A, _, y = random_problem(1, M, N, 4, np.float64, noise=0.2)
    w = weights_of()
    plain, weighted = omp(A, y), omp(A, y, w)
    assert set(np.asarray(plain.support)) != set(np.asarray(weighted.support))
    support = np.asarray(weighted.support)
    fit = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    assert_close(weighted.x[support], fit)

    signs = np.where(np.arange(N) % 2, 1, -1)
    for same in (-w, signs * w, 1e6 * w, 1e-6 * w):
        other = omp(A, y, same)
        assert np.array_equal(other.support, support)
        assert_close(other.x, weighted.x)


def test_an_atom_of_weight_zero_is_not_chosen():
    A, _, y = random_problem(1, M, N, 4, np.float64, noise=0.2)
    w = ONES.copy()
    w[np.asarray(omp(A, y).support)] = 0
    found = omp(A, y, w)
    assert np.all(w[np.asarray(found.support)] == 1)
    assert_recoveries_close(found, omp_oracle(A, y, K, w), np.float64)


def test_columns_need_not_have_norm_one():
    A, _, y = random_problem(1, M, N, 4, np.float64, noise=0.2)
    scale = np.logspace(-1, 1, N)
    plain, scaled = omp(A, y), omp(A * scale, y)
    assert np.array_equal(scaled.support, plain.support)
    assert_close(scaled.x * scale, plain.x)


def test_each_signal_of_a_batch_stops_on_its_own():
    sparsities = np.array([0, 1, 2, 3, K])
    A = random_problem(0, M, N, 1, np.float64)[0]
    signals = np.zeros((5, N))
    for row, count in enumerate(sparsities):
        signals[row, 3 * np.arange(count) + row] = 1.5 + np.arange(count)
    Y = signals @ A.T
    Y[4] += 0.2 * np.random.default_rng(0).standard_normal(M)  # Never reaches the tolerance.
    rtol = 1e-9
    found = omp(A, Y, ONES, rtol, batch=True)

    assert found.num_steps.tolist() == sparsities.tolist()
    assert found.converged.tolist() == [True] * 4 + [False]
    for i, y in enumerate(Y):
        one = jax.tree.map(lambda field, i=i: field[i], found)
        assert_recoveries_close(one, omp_oracle(A, y, K, rtol=rtol), np.float64)
        assert np.all(one.support[sparsities[i] :] == -1)
        loop = omp(A, y, ONES, rtol)
        for field, expected in zip(one, loop, strict=True):
            assert_close(field, expected)
    assert_close(found.x[:4], signals[:4])


def test_rtol_one_takes_no_step():
    A, _, y = random_problem(1, M, N, 4, np.float64)
    found = omp(A, y, ONES, 1.0)
    assert found.support.tolist() == [-1] * K
    assert found.num_steps == 0
    assert found.converged
    assert np.all(found.x == 0)
    assert_close(found.residual_norm, np.linalg.norm(y))


def test_no_atom_is_chosen_twice():
    # Every atom twice, and more steps than the signal needs.
    A, x, y = random_problem(2, M, N // 2, 2, np.float64)
    A = np.repeat(A, 2, axis=1)
    found = omp(A, y)
    support = np.asarray(found.support)
    assert len(set(support[support >= 0])) == found.num_steps
    assert_close(np.asarray(found.x).reshape(-1, 2).sum(axis=1), x)
    assert_close(A @ found.x, y)

    exact = omp(np.eye(M, N), np.eye(M)[3])  # The residual is exactly 0 after one step.
    assert exact.support.tolist() == [3] + [-1] * (K - 1)
    assert exact.num_steps == 1
    assert exact.converged


def test_zero_measurements():
    A = random_problem(0, M, N, 4, np.float64)[0]
    found = omp(A, np.zeros(M))
    assert np.all(found.x == 0)
    assert found.residual_norm == 0
    assert found.converged
    assert found.support.tolist() == [-1] * K


def test_ties_take_the_lowest_index():
    found = omp(np.eye(M, N), np.r_[0, np.ones(7), np.zeros(8)])
    assert found.support.tolist() == [1, 2, 3, 4, 5]


# --- Soft ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_soft_equals_the_oracle(dtype):
    scale = np.linspace(0.5, 2, N)
    for seed in range(4):
        A, _, y = random_problem(seed, M, N, 4, dtype, noise=0.2)
        A, w = (A * scale).astype(dtype), weights_of(seed)
        found = soft_omp(A, y, 0.1, w)
        expected = soft_omp_oracle(A, y, K, 0.1, w)
        # The soft atoms are means of the same columns, so their least squares multiplies
        # rounding by up to about 100.
        assert_close(found.x, expected.x, dtype, rtol=1e-8 if np.finfo(dtype).eps < 1e-10 else 1e-2)
        assert_close(found.residual_norm, expected.residual_norm, dtype)
        assert np.asarray(found.support).tolist() == expected.support.tolist()
        assert found.num_steps == K


def test_one_temperature_per_step():
    A, _, y = random_problem(0, M, N, 4, np.float64, noise=0.2)
    taus = np.geomspace(0.3, 0.03, K)
    assert_close(soft_omp(A, y, taus).x, soft_omp_oracle(A, y, K, taus).x, rtol=1e-8)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_soft_tends_to_hard(dtype):
    A, _, y = random_problem(1, M, N, 4, dtype, noise=0.2)
    w = weights_of()
    hard, soft = omp(A, y, w), soft_omp(A, y, 1e-5, w)
    assert np.array_equal(soft.support, hard.support)
    assert_close(soft.x, hard.x)
    assert_close(soft.residual_norm, hard.residual_norm)


def test_at_a_tie_soft_shares_where_hard_takes_the_first():
    """Four equal atoms of an orthonormal dictionary are one soft atom, their mean."""
    A, y = np.eye(M, N), np.r_[np.ones(4), np.zeros(M - 4)]
    soft = soft_omp(A, y, 1e-3)
    assert_close(soft.x, np.r_[np.ones(4), np.zeros(N - 4)])
    assert_close(soft.residual_norm, 0.0)
    # Two atoms that are one another's copy share its coefficient.
    A[:, 5], y = A[:, 2], 3 * np.eye(M)[2]
    assert_close(soft_omp(A, y, 1e-3).x, 1.5 * (np.eye(N)[2] + np.eye(N)[5]))


def test_temperature_has_the_units_of_y():
    A, _, y = random_problem(0, M, N, 4, np.float64, noise=0.2)
    plain = soft_omp(A, y, 0.1).x
    for scale in (1e-6, 1e6):
        assert_close(soft_omp(A, scale * y, scale * 0.1).x / scale, plain, rtol=1e-8)


# --- Batches -------------------------------------------------------------------------------------


def test_vmap_over_every_argument_equals_a_loop():
    """Over y alone, see `test_each_signal_of_a_batch_stops_on_its_own`."""
    problems = [random_problem(seed, M, N, 4, np.float64, noise=0.2) for seed in range(3)]
    As, Ys = np.stack([A for A, _, _ in problems]), np.stack([y for _, _, y in problems])
    W, taus = np.stack([weights_of(seed) for seed in range(3)]), np.geomspace(0.05, 0.2, 3)

    hard = jax.vmap(_omp(batch=False), (0, 0, 0, None))(As, Ys, W, 0.0)
    assert_close(hard.x, np.stack([omp(*args).x for args in zip(As, Ys, W, strict=True)]))
    soft = jax.vmap(_soft_omp)(As, Ys, np.repeat(taus[:, None], K, axis=1), W)
    loop = [soft_omp(*args).x for args in zip(As, Ys, taus, W, strict=True)]
    assert_close(soft.x, np.stack(loop), rtol=1e-8)  # As in test_soft_equals_the_oracle.


def test_a_scalar_temperature_is_that_of_every_step():
    A, _, y = random_problem(0, M, N, 4, np.float64, noise=0.2)
    scalar = jax.jit(lambda tau: gj.soft_omp(A, y, sparsity=K, tau=tau))
    assert_close(scalar(0.1).x, soft_omp(A, y, 0.1).x, rtol=1e-8)


# --- Derivatives ---------------------------------------------------------------------------------


def small_problem(dtype):
    A, _, y = random_problem(3, 6, 9, 2, dtype, noise=0.3)
    rng = np.random.default_rng(5)
    A = A * rng.uniform(0.5, 2, 9)
    w, c = rng.uniform(0.5, 1.5, 9), rng.standard_normal(9)
    return A, y, w, c.astype(dtype) if np.dtype(dtype).kind == "f" else c * np.exp(1j * c)


def directional(gradients, tangents):
    """What forward mode gives along `tangents`, from the gradients of reverse mode."""
    return sum(np.real(np.sum(g * t)) for g, t in zip(gradients, tangents, strict=True))


# Central differences of step 1e-6, through a least squares of condition about 10.
FINITE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.mark.parametrize("dtype", slow_but([np.complex128], [np.float64, np.complex128]))
def test_soft_gradients_equal_finite_differences_of_the_oracle(dtype):
    A, y, w, c = small_problem(dtype)
    tau = np.array([0.3, 0.2, 0.1])

    def loss(A, y, w, tau):
        return jnp.real(jnp.vdot(c, gj.soft_omp(A, y, sparsity=3, tau=tau, weights=w).x))

    def oracle(A, y, w, tau):
        return np.real(np.vdot(c, soft_omp_oracle(A, y, 3, tau, w).x))

    args = (A, y, w, tau)
    gradients = jax.jit(jax.grad(loss, (0, 1, 2, 3)))(*args)
    for i, gradient in enumerate(gradients):
        moved = lambda value, i=i: oracle(*args[:i], value, *args[i + 1 :])
        assert_close(gradient, finite_difference(moved, args[i]), **FINITE)
    tangents = [
        np.random.default_rng(i).standard_normal(a.shape).astype(a.dtype)
        for i, a in enumerate(args)
    ]
    _, forward = jax.jit(lambda a, t: jax.jvp(loss, a, t))(args, tuple(tangents))
    assert_close(forward, directional(gradients, tangents), rtol=1e-8)


@pytest.mark.parametrize("dtype", slow_but([np.complex128], [np.float64, np.complex128]))
def test_hard_gradients_are_those_of_the_fit(dtype):
    A, y, w, c = small_problem(dtype)

    def loss(A, y, w):
        return jnp.real(jnp.vdot(c, gj.omp(A, y, sparsity=3, weights=w).x))

    def oracle(A, y):
        return np.real(np.vdot(c, omp_oracle(A, y, 3, w).x))

    by_A, by_y, by_w = jax.jit(jax.grad(loss, (0, 1, 2)))(A, y, w)
    assert_close(by_A, finite_difference(lambda A: oracle(A, y), A), **FINITE)
    assert_close(by_y, finite_difference(lambda y: oracle(A, y), y), **FINITE)
    assert np.all(by_w == 0)
