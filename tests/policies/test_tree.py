"""The policy `Tree`: supports grow from the roots, and fewer measurements are enough."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax import nets
from greedyjax.policies import Context, Tree
from greedyjax.training import losses
from helpers import assert_close, random_problem
from policy_oracles import omp_oracle

N = 31  # A binary tree of five levels, in the order of a heap.
PARENTS = (np.arange(N) - 1) // 2
PARENTS[0] = -1


def rooted_signals(rng, num, sparsity):
    """Signals whose nonzeros are the root and children of nonzeros."""
    X = np.zeros((num, N))
    for x in X:
        x[0] = rng.standard_normal()
        for _ in range(sparsity - 1):
            open_ = np.flatnonzero((x == 0) & (x[PARENTS] != 0) & (PARENTS >= 0))
            x[rng.choice(open_)] = rng.standard_normal()
    return X


def in_numpy(tree):
    def policy(step, chosen, coefficients):
        del step, coefficients
        parents = np.asarray(tree.parents)
        begun = np.array([1.0 if p < 0 else chosen[p] for p in parents])
        opened = begun + (1 - begun) * float(tree.closed)
        return opened if tree.weights is None else opened * tree.weights

    return policy


@pytest.mark.parametrize("closed", [0.0, 0.3])
def test_omp_and_its_twin_follow_the_tree(closed):
    A, _, y = random_problem(0, 14, N, 4, np.float64, noise=0.1)
    tree = Tree(PARENTS, closed, np.linspace(0.5, 1.5, N))
    assert_close(gj.omp(A, y, sparsity=5, weights=tree).x, omp_oracle(A, y, in_numpy(tree), 5))
    soft = gj.soft_omp(A, y, sparsity=5, tau=0.1, weights=tree)
    assert_close(soft.x, omp_oracle(A, y, in_numpy(tree), 5, 0.1), rtol=1e-8)


def test_what_omp_chooses_hangs_together():
    rng = np.random.default_rng(1)
    A = rng.standard_normal((16, N)) / 4
    Y = rooted_signals(rng, 12, 6) @ A.T + 0.05 * rng.standard_normal((12, 16))
    for support in np.asarray(gj.omp_batch(A, Y, sparsity=6, weights=Tree(PARENTS)).support):
        assert support[0] == 0
        assert all(PARENTS[j] in support[:i] for i, j in enumerate(support) if i > 0)
    plain = np.asarray(gj.omp_batch(A, Y, sparsity=6).support)
    assert any(PARENTS[j] not in support for support in plain for j in support if j > 0)


def test_fewer_measurements_do_for_signals_on_a_tree():
    rng = np.random.default_rng(0)
    X = rooted_signals(rng, 200, 6)
    A = rng.standard_normal((14, N)) / 14**0.5
    Y, tree = X @ A.T, Tree(PARENTS)
    found = lambda x: np.mean(np.sum((np.asarray(x) - X) ** 2, 1) < 1e-6 * np.sum(X**2, 1))
    plain, grown = (gj.omp_batch(A, Y, sparsity=6, weights=w).x for w in (None, tree))
    assert found(grown) > found(plain) + 0.1


def test_how_closed_an_atom_is_can_be_learned():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((14, N)) / 14**0.5
    X = rooted_signals(rng, 64, 6)
    Y = X @ A.T + 0.02 * rng.standard_normal((64, 14))

    @jax.jit
    def loss(closed):
        net = nets.OMPNet(A, sparsity=6, tau=0.1, weights=Tree(jnp.asarray(PARENTS), closed))
        return losses.selection(net, Y, X)

    slope = jax.grad(loss)(0.5)
    difference = (loss(0.5 + 1e-5) - loss(0.5 - 1e-5)) / 2e-5
    assert_close(slope, difference, rtol=1e-4)
    assert abs(slope) > 0.1


def test_wavelets_bring_their_tree():
    wavelet = gj.operators.Wavelet((8, 8), "haar", 2)
    chosen = np.zeros(64)
    chosen[np.asarray(wavelet.parents) < 0] = 1
    weights = Tree(wavelet.parents)(Context(jnp.asarray(0), jnp.asarray(chosen), None))
    levels = np.asarray(wavelet.levels)
    assert np.asarray(weights)[levels == 2].tolist() == [0] * 48


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("parents", "error", "message"),
    [
        (np.full(N, 99), ValueError, "parents: expected indices from 0 to 30, and -1 .*, got 99"),
        (np.full(N, -2), ValueError, "parents: expected indices .*, got -2"),
        (np.full(N, -1.0), TypeError, "parents: expected indices of atoms, got dtype float64"),
    ],
)
def test_bad_parents_are_named(parents, error, message):
    with pytest.raises(error, match=message):
        gj.omp(np.ones((4, N)), np.ones(4), sparsity=2, weights=Tree(parents))
