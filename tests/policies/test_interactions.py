"""The policy `Interactions`: its formula in solvers, its simplest case, and its training."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.policies import Context, Interactions
from helpers import assert_close, random_problem
from policy_oracles import omp_oracle

M, N, K, RANK = 10, 16, 4, 3
A = random_problem(0, M, N, K, np.float64)[0] * np.linspace(0.5, 2, N)  # Columns of other norms.
Y = np.stack([random_problem(i, M, N, K, np.float64, noise=0.2)[2] for i in range(5)])


def interactions(coefficients=False):
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((2 * N if coefficients else N, RANK))
    return Interactions(rng.standard_normal(N), seen, rng.standard_normal((RANK, N)))


def formula(policy):
    def weights(step, c, z):
        size = np.abs(z)
        f = np.concatenate([c, np.sqrt(size / max(size.max(), 1e-300))])[: len(policy.seen)]
        return np.exp(policy.bias + f @ policy.seen @ policy.calls)

    return weights


@pytest.mark.parametrize("coefficients", [False, True])
@pytest.mark.parametrize("tau", [None, 0.1])
def test_solvers_weigh_by_the_formula(coefficients, tau):
    policy = interactions(coefficients)
    found = gj.omp(A, Y[0], sparsity=K, weights=policy)
    if tau is not None:
        found = gj.soft_omp(A, Y[0], sparsity=K, weights=policy, tau=tau)
    assert_close(found.x, omp_oracle(A, Y[0], formula(policy), K, tau))


def test_with_rank_0_it_is_one_weight_per_atom():
    weights = np.exp(np.random.default_rng(1).standard_normal(N))
    policy = Interactions.initial(jax.random.key(0), N, rank=0, weights=weights)
    one = gj.omp_batch(A, Y, sparsity=K, weights=policy)
    other = gj.omp_batch(A, Y, sparsity=K, weights=weights)
    assert_close(one.x, other.x)
    assert np.array_equal(one.support, other.support)
    assert not np.array_equal(other.support, gj.omp_batch(A, Y, sparsity=K).support)


def test_the_matrix_says_what_an_atom_adds():
    policy = interactions()
    one = np.eye(N)[5]
    weights = [policy(Context(jnp.zeros((), jnp.int32), c, c)) for c in (0 * one, one)]
    assert_close(np.log(weights[1] / weights[0]), policy.matrix[5])
    assert policy.matrix.shape == (N, N)


def test_gradients_are_finite_where_nothing_is_chosen_yet():
    context = lambda z: Context(jnp.zeros((), jnp.int32), jnp.zeros(N), z)
    for z in (jnp.zeros(N), jnp.zeros(N, complex), jnp.eye(N)[0]):
        grads = jax.grad(lambda p, z=z: jnp.sum(p(context(z))))(interactions(True))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_begins_as_the_weights_given():
    policy = Interactions.initial(
        jax.random.key(0), N, weights=-2.0 * np.ones(N), coefficients=True
    )
    assert policy.seen.shape == (2 * N, 32)
    got = policy(Context(jnp.zeros((), jnp.int32), jnp.ones(N), jnp.ones(N)))
    assert_close(got, 2.0 * np.ones(N))


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rank": -1}, ValueError, "rank: expected an int >= 0"),
        ({"num_atoms": 2.0}, TypeError, "num_atoms: expected an int"),
        ({"weights": np.zeros(N)}, ValueError, "weights: expected positive"),
        ({"weights": np.ones(3)}, ValueError, "weights: expected shape (16,)"),
        ({"key": 0}, TypeError, "key: expected"),
        ({"coefficients": 1}, TypeError, "coefficients: expected"),
    ],
)
def test_bad_calls_say_what_is_wrong(changes, error, message):
    given = {"key": jax.random.key(0), "num_atoms": N}
    with pytest.raises(error, match=re.escape(message)):
        Interactions.initial(**{**given, **changes})
