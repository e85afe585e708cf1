"""Hard thresholding pursuit against its oracle; a few steps are exact where IHT is not."""

import functools

import jax
import numpy as np
import pytest

import fitting_oracles
import greedyjax as gj
from helpers import EACH_DTYPE, assert_close, random_problem

M, N, K, STEPS, STEP = 16, 24, 3, 4, 0.3
htp = jax.jit(functools.partial(gj.htp, sparsity=K, num_steps=STEPS, step_size=STEP))


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_equals_the_oracle(dtype):
    weights = np.random.default_rng(0).uniform(0.5, 1.5, N)
    for seed in range(4):
        A, _, y = random_problem(seed, M, N, K, dtype, noise=0.2)
        found = htp(A, y, weights=weights.astype(np.finfo(dtype).dtype))
        expected = fitting_oracles.htp(A, y, K, STEPS, STEP, weights)
        assert_close(found.x, expected.x, dtype)
        assert_close(found.residual_norm, expected.residual_norm, dtype)


def test_a_few_steps_are_exact_where_iht_is_still_on_its_way():
    A, x, y = random_problem(0, M, N, K, np.float64)
    found, slow = htp(A, y), gj.iht(A, y, sparsity=K, num_steps=STEPS, step_size=STEP)
    assert_close(found.x, x)
    assert found.converged
    assert np.linalg.norm(slow.x - x) > 0.1
    assert not slow.converged


def test_the_residual_is_orthogonal_to_the_atoms_kept():
    A, _, y = random_problem(1, M, N, K, np.float64, noise=0.3)
    found = htp(A, y)
    assert_close(A[:, found.support].T @ (y - A @ found.x), np.zeros(K))


def test_no_step_gives_zero_and_unused_slots_are_minus_one():
    A, _, y = random_problem(0, M, N, K, np.float64)
    none = gj.htp(A, y, sparsity=K, num_steps=0)
    assert not none.x.any()
    assert none.support.tolist() == [-1] * K
    one = htp(np.eye(M, N), 2 * np.eye(M)[5])
    assert one.support.tolist() == [5, -1, -1]
    assert_close(one.x, 2 * np.eye(N)[5])


def test_a_penalty_shrinks_the_fit():
    """On an orthonormal dictionary a ridge divides by 1 + penalty."""
    y = np.zeros(M)
    y[[1, 4, 7]] = 3.0, -2.0, 1.0
    penalty = np.linspace(0, 1, M)
    found = gj.htp(np.eye(M), y, sparsity=3, num_steps=1, step_size=1.0, penalty=penalty)
    assert_close(found.x, y / (1 + penalty))
