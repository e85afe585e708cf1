"""With good weights, HTP, CoSaMP and subspace pursuit reach the fit on the true support."""

import jax
import numpy as np
import pytest

import greedyjax as gj
from helpers import jit

M, N, K, LEVEL, NUM, NOISE = 24, 64, 5, 20, 64, 1e-3
SOLVERS = {
    "cosamp": lambda A, y, w: gj.cosamp(A, y, sparsity=K, num_steps=20, weights=w, debias=True),
    "subspace_pursuit": lambda A, y, w: gj.subspace_pursuit(
        A, y, sparsity=K, num_steps=20, weights=w
    ),
    "htp": lambda A, y, w: gj.htp(A, y, sparsity=K, num_steps=30, step_size=0.5, weights=w),
}


def problem():
    """Signals that live on the first `LEVEL` atoms, and least squares on their true supports."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((M, N))
    A /= np.linalg.norm(A, axis=0)
    X, best = np.zeros((NUM, N)), np.zeros((NUM, N))
    Y = np.zeros((NUM, M))
    for x, y, fit in zip(X, Y, best, strict=True):
        support = rng.choice(LEVEL, K, replace=False)
        x[support] = rng.choice([-1, 1], K) * rng.uniform(1, 2, K)
        y[:] = A @ x + NOISE * rng.standard_normal(M)
        fit[support] = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    return A, X, Y, best


@pytest.mark.parametrize("name", SOLVERS)
def test_good_weights_reach_least_squares_on_the_true_support(name):
    A, X, Y, best = problem()
    solve = jit(jax.vmap(SOLVERS[name], (None, 0, None)))
    learned = np.where(np.arange(N) < LEVEL, 1.0, 1e-3)
    found, plain = solve(A, Y, learned).x, solve(A, Y, np.ones(N)).x
    exact = np.abs(found - best).max(axis=1) < 1e-9
    # HTP never fits more than it keeps, and ends elsewhere on some: its median is what is right.
    assert np.mean(exact) >= (0.5 if name == "htp" else 0.97), np.mean(exact)
    assert np.median(np.sum((found - X) ** 2, axis=1)) < 20 * K * NOISE**2
    assert np.mean(np.sum((plain - X) ** 2, axis=1)) > 0.1
    omp = jit(jax.vmap(lambda y: gj.omp(A, y, sparsity=K, weights=learned)))(Y).x
    if name != "htp":
        assert np.mean(exact) >= np.mean(np.abs(omp - best).max(axis=1) < 1e-9)
