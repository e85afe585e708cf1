"""Derivatives of `Stepwise`: against fixed masks, finite differences, and a line search."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.sorting import BoundaryGate, NeuralSort, SoftSort, SparseSort, Stepwise
from greedyjax.training.losses import selection
from helpers import assert_close, slow_but

M, N, K, STEPS, ETA, TAU = 12, 20, 4, 5, 0.4, 0.3


def problem(num=None, m=M, n=N, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, n))
    A /= np.linalg.norm(A, axis=0)
    size = (n,) if num is None else (num, n)
    X = rng.standard_normal(size) * rng.permutation(1 / np.arange(1, n + 1))
    return A, X @ A.T, X


def soft_iht(A, y, weights, relaxation):
    return gj.soft_iht(
        A, y, sparsity=K, num_steps=STEPS, step_size=ETA, tau=TAU, weights=weights,
        relaxation=relaxation,
    ).x  # fmt: skip


RELAXATIONS = [SoftSort, NeuralSort, SparseSort, BoundaryGate]


@pytest.mark.parametrize("relaxation", slow_but([SoftSort, BoundaryGate], RELAXATIONS))
def test_choices_are_those_of_the_relaxation(relaxation):
    A, y, _ = problem()
    w = np.linspace(0.5, 2, N)
    assert_close(soft_iht(A, y, w, Stepwise(relaxation)), soft_iht(A, y, w, relaxation))


@pytest.mark.parametrize("relaxation", slow_but([BoundaryGate], [SoftSort, BoundaryGate]))
def test_of_several_steps_it_is_the_derivative_with_all_other_masks_held_fixed(relaxation):
    """In the weights of each step by differences of that step's mask alone; in y by masks alone."""
    A, y, _ = problem()
    W = np.linspace(0.5, 2, STEPS * N).reshape(STEPS, N)

    def masks_and_answer(W, y, masks=None, free=None):
        """The steps; of those with masks given, ``free`` alone makes its own from what it meets."""
        x, made = np.zeros(N), []
        for t in range(STEPS):
            u = x + ETA * A.T @ (y - A @ x)
            mask = np.asarray(relaxation(jnp.asarray(TAU)).keep(jnp.asarray(W[t] * abs(u)), K)[0])
            mask = mask if masks is None or t == free else masks[t]
            made.append(mask)
            x = mask * u
        return made, x

    masks, x = masks_and_answer(W, y)
    by = jax.jit(partial(soft_iht, relaxation=Stepwise(relaxation)))
    assert_close(by(A, y, W), x)
    target = np.linspace(-1, 1, N)
    gradient = jax.grad(lambda W, y: jnp.vdot(target, by(A, y, W)), argnums=(0, 1))(W, y)
    h = 1e-6
    for t in range(STEPS):
        for j in range(0, N, 7):
            up, down = W.copy(), W.copy()
            up[t, j], down[t, j] = W[t, j] + h, W[t, j] - h
            ends = [masks_and_answer(w, y, masks, t)[1] for w in (up, down)]
            assert_close(gradient[0][t, j], target @ (ends[0] - ends[1]) / (2 * h), atol=1e-7)
    # With all masks fixed x is linear in y.
    columns = np.stack([masks_and_answer(W, e, masks)[1] for e in np.eye(M)], axis=1)
    assert_close(gradient[1], target @ columns)


def test_passes_through_the_fits_of_omp():
    """The last choice's own weights: by differences, as no later step could carry them on."""
    A, y, _ = problem()
    W = np.linspace(0.5, 2, K * N).reshape(K, N)

    def answer(W, relaxation):
        return gj.soft_omp(A, y, sparsity=K, tau=TAU, weights=W, relaxation=relaxation).x

    target = np.linspace(-1, 1, N)
    of = lambda relaxation: jax.grad(lambda W: jnp.vdot(target, answer(W, relaxation)))(W)
    within, through = of(Stepwise(SoftSort)), of(SoftSort)
    assert_close(within[-1], np.asarray(through[-1]))
    assert np.abs(within[0] - through[0]).max() > 1e-3, "earlier choices reach later ones"


@pytest.mark.slow  # Ten problems of thirty steps.
def test_thirty_cold_steps_lower_the_loss_where_the_whole_derivative_explodes():
    """Signals that decay slowly: many entries lie at the boundary, and each step asks for it."""
    m, n, num = 128, 512, 8
    rng = np.random.default_rng(0)
    A = 2 * np.linalg.qr(rng.standard_normal((n, n)))[0][:m].astype(np.float32)
    profile = rng.permutation(1 / np.arange(1, n + 1))

    def loss(weights, X, relaxation):
        net = IHTNet(
            A, sparsity=32, num_layers=30, tau=1e-3, step_size=0.5, weights=weights,
            relaxation=relaxation,
        )  # fmt: skip
        return jnp.mean(jnp.sum((net(X @ A.T) - X) ** 2, axis=1))

    compiled = jax.jit(loss, static_argnames="relaxation")
    gradient = jax.jit(jax.grad(loss), static_argnames="relaxation")
    ones, lower = jnp.ones(n, jnp.float32), 0
    for seed in range(10):
        X = np.random.default_rng(seed).standard_normal((num, n)) * profile
        X = jnp.asarray(X / np.linalg.norm(X, axis=1, keepdims=True), jnp.float32)
        if seed == 0:
            assert not jnp.linalg.norm(gradient(ones, X, SoftSort)) < 1e10
        g = gradient(ones, X, Stepwise(SoftSort))
        assert jnp.linalg.norm(g) < 1
        sizes = np.geomspace(0.3, 1e-4, 8) / np.abs(g).max()
        losses = [compiled(ones - size * g, X, SoftSort) for size in sizes]
        lower += min(losses) < compiled(ones, X, SoftSort) * (1 - 1e-3)
    assert lower >= 9


def test_is_a_value_that_compiles_once_and_prints():
    assert Stepwise(SoftSort) == Stepwise(SoftSort)
    assert hash(Stepwise(SoftSort)) == hash(Stepwise(SoftSort))
    assert "SoftSort" in repr(Stepwise(SoftSort))


def test_a_gate_stays_a_gate():
    A, y, _ = problem()
    with pytest.raises(TypeError, match="relaxation: expected a greedyjax.sorting.Selector"):
        gj.soft_omp(A, y, sparsity=K, tau=TAU, relaxation=Stepwise(BoundaryGate))


def test_has_the_losses_of_the_relaxation():
    A, Y, X = problem(num=3)
    for make in (OMPNet, partial(IHTNet, num_layers=STEPS, step_size=ETA)):
        net, again = (
            make(A, sparsity=K, tau=TAU, relaxation=each) for each in (SoftSort, Stepwise(SoftSort))
        )
        both = jax.jit(jax.value_and_grad(lambda net: selection(net, Y, X)))
        for got, expected in zip(*map(jax.tree.leaves, (both(again), both(net))), strict=True):
            assert_close(got, np.asarray(expected))


@pytest.mark.wrong_types
@pytest.mark.parametrize("wrong", [Stepwise, lambda: Stepwise(SoftSort(jnp.array(0.1)))])
def test_what_is_no_relaxation_is_named(wrong):
    A, y, _ = problem()
    with pytest.raises(TypeError, match=r"Stepwise: expected .* tau: Stepwise\(SoftSort\), got"):
        soft_iht(A, y, np.ones(N), wrong if wrong is Stepwise else wrong())
