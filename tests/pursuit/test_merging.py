"""CoSaMP and subspace pursuit against their oracles; both can drop an atom chosen by mistake."""

import functools

import jax
import numpy as np
import pytest

import fitting_oracles
import greedyjax as gj
from helpers import EACH_DTYPE, assert_close, jit, random_problem, slow_but

M, N, K, STEPS = 18, 24, 3, 4
SOLVERS = {
    "subspace_pursuit": (gj.subspace_pursuit, fitting_oracles.subspace_pursuit, {}),
    "cosamp": (gj.cosamp, fitting_oracles.cosamp, {}),
    "cosamp, debiased": (gj.cosamp, fitting_oracles.cosamp, {"debias": True}),
}
every_solver = pytest.mark.parametrize("name", SOLVERS)


def solver(name):
    solve, _, settings = SOLVERS[name]
    return functools.partial(solve, sparsity=K, num_steps=STEPS, **settings)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
@every_solver
def test_equals_the_oracle(name, dtype):
    _, oracle, settings = SOLVERS[name]
    weights = np.random.default_rng(0).uniform(0.5, 1.5, N)
    solve = jax.jit(functools.partial(solver(name), weights=weights))
    for seed in range(3):
        A, _, y = random_problem(seed, M, N, K, dtype, noise=0.2)
        found, expected = solve(A, y), oracle(A, y, K, STEPS, weights, **settings)
        assert_close(found.x, expected.x, dtype)
        assert_close(found.residual_norm, expected.residual_norm, dtype)


@every_solver
def test_drops_an_atom_that_omp_keeps(name):
    """An atom close to the sum of two others looks best at first, and is none of the true ones."""
    A = np.eye(6, 7)
    A[[0, 1, 4], 6] = np.array([2, 2, 1]) / 3
    y = np.array([2.0, 1.9, 0.0, 0.5, 0.0, 0.0])
    assert 6 in gj.omp(A, y, sparsity=3).support.tolist()
    found = solver(name)(A, y)
    assert sorted(found.support.tolist()) == [0, 1, 3]
    assert_close(found.x, np.r_[y, 0])
    assert found.converged


def test_cosamp_keeps_the_coefficients_it_had_among_all_unless_it_debiases():
    A, _, y = random_problem(1, M, N, 6, np.float64, noise=0.3)
    kept, fitted = solver("cosamp")(A, y), solver("cosamp, debiased")(A, y)
    assert kept.support.tolist() == fitted.support.tolist()
    best = np.linalg.lstsq(A[:, kept.support], y, rcond=None)[0]
    assert_close(fitted.x[fitted.support], best)
    assert np.abs(kept.x[kept.support] - best).max() > 1e-3


@every_solver
def test_unused_slots_are_minus_one(name):
    found = solver(name)(np.eye(M, N), 2 * np.eye(M)[5])
    assert found.support.tolist() == [5, -1, -1]
    nothing = solver(name)(np.eye(M, N), np.zeros(M))
    assert nothing.support.tolist() == [-1] * K
    assert nothing.converged


@pytest.mark.slow
@pytest.mark.parametrize("dtype", EACH_DTYPE)
@every_solver
def test_what_scores_nothing_is_not_merged(name, dtype):
    """Of fewer atoms with a weight than are kept, these alone are fitted, and no rounding decides.

    Were an atom of weight 0 merged, it would change the coefficients by which others are kept.
    """
    weights = np.zeros(N)
    weights[[4, 9]] = 0.5, 2
    solve = jax.jit(functools.partial(solver(name), weights=weights))
    for seed in range(5):
        A, _, y = random_problem(seed, M, N, 6, dtype, noise=0.3)
        found = solve(A, y)
        assert sorted(found.support.tolist()) == [-1, 4, 9]
        best = np.linalg.lstsq(A[:, [4, 9]], y, rcond=None)[0]
        assert_close(found.x[np.array([4, 9])], best, dtype)
        assert np.count_nonzero(found.x) == 2


def test_atoms_kept_do_not_hang_on_one_of_weight_zero():
    """Three atoms have a weight and two are kept: the fourth candidate would be one without."""
    A = np.eye(6, 5)
    A[:, 3] = np.array([3.0, 2.9, 0, 0, 0, 1]) / np.linalg.norm([3.0, 2.9, 1])
    y = np.array([3.0, 2.9, 2.8, 0, 0, 0.9])
    weights = np.array([1.0, 1, 1, 0, 0])
    for solve in (gj.subspace_pursuit, gj.cosamp):
        found = solve(A, y, sparsity=2, num_steps=3, weights=weights)
        assert sorted(found.support.tolist()) == [0, 1]
        assert_close(found.x, [3, 2.9, 0, 0, 0])


@pytest.mark.slow
def test_the_answer_is_the_iterate_of_least_residual():
    Y = np.stack([random_problem(seed, M, N, 6, np.float64, noise=0.3)[2] for seed in range(32)])
    A = random_problem(0, M, N, 6, np.float64)[0]

    @jit
    @jax.vmap
    def residuals(y):
        return [
            [solve(A, y, sparsity=K, num_steps=steps).residual_norm for steps in (1, 2, 6)]
            for solve in (gj.cosamp, gj.subspace_pursuit)
        ]

    for of_solver in residuals(Y):
        falls = np.diff(np.stack(of_solver), axis=0)
        assert np.all(falls <= 1e-12)
        assert np.any(falls < -0.01)


@pytest.mark.slow
@pytest.mark.parametrize("soft", slow_but([True], [False, True]), ids=["hard", "soft"])
def test_residuals_that_are_rounding_decide_nothing(soft):
    """With as many rows as measurements all fits are exact: the first is the answer."""
    rng = np.random.default_rng(0)
    A, Y = rng.standard_normal((8, 16)), rng.standard_normal((64, 8))
    solve = functools.partial(gj.soft_subspace_pursuit, tau=0.1) if soft else gj.subspace_pursuit

    @jit
    @jax.vmap
    def after(y):
        return [solve(A, y, sparsity=8, num_steps=steps).x for steps in (1, 6)]

    first, last = after(Y)
    np.testing.assert_array_equal(first, last)
    if soft:
        # Nor does a rotation of the measurements, but for errors of the fits: rounding, over how
        # close the rows are to dependent.
        Q = np.linalg.qr(rng.standard_normal((8, 8)))[0]
        turned = jit(jax.vmap(lambda y: solve(Q @ A, Q @ y, sparsity=8, num_steps=6).x))(Y)
        off = np.linalg.norm(turned - last, axis=1) / np.linalg.norm(last, axis=1)
        assert np.max(off) < 1e-8
