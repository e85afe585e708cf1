"""Normalised IHT against a NumPy loop, and on problems where a fixed step size fails."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import greedyjax as gj
import oracles
from greedyjax import training
from greedyjax.nets import NIHTNet
from greedyjax.sorting import BoundaryGate
from greedyjax.structures import Blocks, SharedSupport
from helpers import assert_close, random_problem, slow_but

M, N, K = 20, 40, 4


def problem(dtype=np.float64, seed=0):
    A, _, y = random_problem(seed, M, N, 6, dtype, noise=0.1)
    return (A * np.linspace(0.5, 2, N)).astype(dtype), y, np.linspace(0.5, 1.5, N)


def signs(seed=0):
    """A Gaussian matrix of 200 x 500, and 40 nonzeros that are 1 or -1."""
    rng = np.random.default_rng(seed)
    x = np.zeros(500)
    x[rng.choice(500, 40, replace=False)] = rng.choice([-1.0, 1.0], 40)
    A = rng.standard_normal((200, 500)) / 200**0.5
    return A, x, A @ x


@pytest.mark.parametrize(
    ("dtype", "num_steps"),
    slow_but(
        [(np.float64, 9), (np.complex128, 4)],
        itertools.product([np.float64, np.complex128], [1, 4, 9]),
    ),
)
def test_equals_the_oracle(dtype, num_steps):
    for seed in range(3):
        A, y, w = problem(dtype, seed)
        found = gj.niht(A, y, sparsity=K, num_steps=num_steps, weights=w)
        expected = oracles.niht(A, y, K, num_steps, w)
        assert_close(found.x, expected.x)
        assert_close(found.residual_norm, expected.residual_norm)
        assert set(found.support.tolist()) == set(expected.support.tolist())
        soft = gj.soft_niht(A, y, sparsity=K, num_steps=num_steps, weights=w, tau=0.1)
        assert_close(soft.x, oracles.niht(A, y, K, num_steps, w, 0.1).x)


def test_it_finds_signs_where_a_step_of_fixed_length_stalls():
    """Blumensath and Davies, 2010: no step size of IHT serves a matrix of unit columns there."""
    for seed in range(3):
        A, x, y = signs(seed)
        found = gj.niht(A, y, sparsity=40, num_steps=300)
        assert_close(found.x, x, atol=1e-10)
        assert found.converged
    stalled = gj.iht(A, y, sparsity=40, num_steps=300)
    assert np.linalg.norm(stalled.x - x) > 0.1


def test_to_stand_still_far_from_the_measurements_is_no_success():
    A, _, y = signs(0)
    for stalled in (
        gj.iht(A, y, sparsity=40, num_steps=300),
        jax.tree.map(lambda z: z[0], gj.iht_batch(A, y[None], sparsity=40, num_steps=300)),
    ):
        assert stalled.residual_norm > 0.1 * np.linalg.norm(y)
        assert not stalled.converged


def test_the_residual_never_rises():
    A, _, y = signs()
    noisy = y + 0.1 * np.random.default_rng(1).standard_normal(200)
    norms = [
        float(gj.niht(A, noisy, sparsity=40, num_steps=steps).residual_norm)
        for steps in (0, 1, 2, 4, 8)
    ]
    assert norms[0] == pytest.approx(np.linalg.norm(noisy))
    assert all(after < before for before, after in zip(norms, norms[1:], strict=False))


def test_units_of_the_matrix_do_not_matter():
    A, y, _ = problem()
    plain = gj.niht(A, y, sparsity=K, num_steps=5).x
    for unit in (1e-30, 1e30):
        assert_close(unit * gj.niht(unit * A, y, sparsity=K, num_steps=5).x, np.asarray(plain))


def test_it_goes_on_from_a_start():
    A, y, _ = problem()
    first = gj.niht(A, y, sparsity=K, num_steps=3)
    more = gj.niht(A, y, sparsity=K, num_steps=4, x0=first.x)
    assert_close(more.x, np.asarray(gj.niht(A, y, sparsity=K, num_steps=7).x))


def test_a_batch_equals_its_signals_alone():
    A, y, _ = problem()
    Y = np.stack([y, -2 * y, problem(seed=1)[1]])
    found = gj.niht_batch(A, Y, sparsity=K, num_steps=6)
    for i in range(3):
        assert_close(found.x[i], np.asarray(gj.niht(A, Y[i], sparsity=K, num_steps=6).x))


def test_gradients_are_those_of_finite_differences():
    A, y, w = problem()
    along = np.cos(np.arange(N))

    def loss(A, y, w, tau):
        return along @ gj.soft_niht(A, y, sparsity=K, num_steps=4, weights=w, tau=tau).x

    compiled = jax.jit(loss)
    gradients = jax.jit(jax.grad(loss, (0, 1, 2, 3)))(A, y, w, 0.3)
    rng = np.random.default_rng(0)
    for i, value in enumerate((A, y, w, 0.3)):
        direction = rng.standard_normal(np.shape(value))
        moved = lambda by, i=i, d=direction: compiled(
            *(v + by * d if j == i else v for j, v in enumerate((A, y, w, 0.3)))
        )
        slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
        assert_close(np.sum(gradients[i] * direction), slope, rtol=1e-5)


def test_structures_and_gates():
    A, y, _ = problem()
    blocks = Blocks(np.arange(N) // 2)
    kept = gj.niht(A, y, sparsity=2, num_steps=9, structure=blocks)
    atoms = sorted(int(j) for j in kept.support if j >= 0)
    assert len(atoms) == 4
    assert {j // 2 for j in atoms} == {j // 2 for j in atoms[::2]}
    alone = gj.niht(A, y, sparsity=K, num_steps=5)
    shared = gj.niht(A, y[:, None], sparsity=K, num_steps=5, structure=SharedSupport())
    assert_close(shared.x[:, 0], np.asarray(alone.x))
    gate = gj.soft_niht(A, y, sparsity=K, num_steps=5, tau=1e-7, relaxation=BoundaryGate)
    assert_close(gate.x, np.asarray(alone.x))


def test_the_network_learns_where_signals_live():
    rng = np.random.default_rng(0)
    A = problem()[0].astype(np.float32)
    X = np.zeros((160, N), np.float32)
    for x in X:
        x[rng.choice(12, K, replace=False)] = rng.choice([-1, 1], K) * rng.uniform(1, 2, K)
    Y = X @ A.T
    net = NIHTNet(A, sparsity=K, num_layers=6, tau=0.1)
    fitted = training.fit(
        net,
        (Y[:120], X[:120]),
        (Y[120:], X[120:]),
        optimizer=optax.adam(3e-2),
        num_epochs=4,
        batch_size=12,
        key=jax.random.key(0),
        progress=False,
    )
    error = lambda net: float(jnp.mean(jnp.sum((net.harden()(Y[120:]) - X[120:]) ** 2, axis=1)))
    assert error(fitted.net) < 0.5 * error(net)
    weights = np.asarray(fitted.net.atom_weights)
    assert weights[:12].mean() > 1.2 * weights[12:].mean()
