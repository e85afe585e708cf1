"""Batches that stop at a tolerance, solved in rounds, give the answers of single signals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import greedyjax as gj
from greedyjax.pursuit._rounds import sizes_of_rounds
from greedyjax.structures import Blocks
from helpers import assert_close, slow_but

M, N, K, NUM = 56, 80, 48, 50
RNG = np.random.default_rng(0)
A = RNG.standard_normal((M, N)) / np.sqrt(M)
X = np.zeros((NUM, N))
for i, x in enumerate(X):
    x[RNG.choice(N, i % 20, replace=False)] = 1
# Some are done at once, some in each round, and some never.
Y = X @ A.T + 0.01 * RNG.standard_normal((NUM, M))
ATOL = np.where(np.arange(NUM) % 7 == 0, 1e-9, 0.1)


@pytest.mark.parametrize(
    ("sparsity", "rounds"),
    [(8, [8]), (15, [15]), (16, [8, 16]), (34, [8, 34]), (48, [8, 24, 48]), (64, [8, 24, 64])],
)
def test_rounds_have_three_times_the_atoms(sparsity, rounds):
    assert sizes_of_rounds(sparsity) == rounds


def one_by_one(**settings):
    return jax.jit(jax.vmap(lambda y, atol: gj.omp(A, y, sparsity=K, atol=atol, **settings)))


PLAIN = one_by_one()


SETTINGS = {
    "plain": {},
    "weights": {"weights": np.linspace(0.5, 2, N)},
    "weights of steps": {"weights": np.linspace(0.5, 2, K * N).reshape(K, N)},
    "penalty": {"penalty": np.linspace(0, 1e-3, N)},
}


@pytest.mark.parametrize("name", slow_but(["plain", "weights of steps"], SETTINGS))
def test_answers_are_those_of_each_signal_alone(name):
    settings = SETTINGS[name]
    expected = (one_by_one(**settings) if settings else PLAIN)(Y, ATOL)
    found = gj.omp_batch(A, Y, sparsity=K, atol=ATOL, batch_size=8, **settings)
    counts = np.asarray(found.num_steps)
    assert all(
        ((low <= counts) & (counts <= high)).any() for low, high in ((0, 8), (9, 24), (25, K))
    )
    np.testing.assert_array_equal(found.support, expected.support)
    np.testing.assert_array_equal(found.status, expected.status)
    np.testing.assert_array_equal(counts, expected.num_steps)
    assert_close(found.x, expected.x, atol=1e-9)
    assert_close(found.residual_norm, expected.residual_norm, atol=1e-9)


@pytest.mark.parametrize("atol", [1e-9, 1e3], ids=["nobody is done", "all are"])
def test_rounds_that_serve_nobody_are_left_out(atol):
    found = gj.omp_batch(A, Y, sparsity=K, atol=atol)
    expected = PLAIN(Y, np.full(NUM, atol))
    np.testing.assert_array_equal(found.support, expected.support)
    assert_close(found.x, expected.x, atol=1e-9)


def test_blocks_come_whole():
    structure = Blocks(np.arange(N) // 2)
    settings = {"sparsity": 16, "structure": structure}
    found = gj.omp_batch(A, Y, atol=0.1, **settings)
    expected = jax.vmap(lambda y: gj.omp(A, y, atol=0.1, **settings))(Y)
    np.testing.assert_array_equal(found.support, expected.support)
    assert_close(found.x, expected.x, atol=1e-9)


def test_derivatives_are_those_of_each_signal_alone():
    def of(solve):
        return jax.jit(jax.grad(lambda A, Y: jnp.sum(solve(A, Y) ** 3), argnums=(0, 1)))(A, Y)

    batch = lambda A, Y: gj.omp_batch(A, Y, sparsity=K, atol=0.1).x
    alone = lambda A, Y: jax.vmap(lambda y: gj.omp(A, y, sparsity=K, atol=0.1).x)(Y)
    for found, expected in zip(of(batch), of(alone), strict=True):
        assert_close(found, np.asarray(expected), atol=1e-8)


def test_a_signal_that_is_not_finite_shows():
    Z = Y.copy()
    Z[3, 0] = np.nan
    found = jax.jit(lambda Y: gj.omp_batch(A, Y, sparsity=K, atol=0.1))(Z)
    assert not np.isfinite(found.residual_norm[3])
    rest = np.arange(NUM) != 3
    assert np.isfinite(found.residual_norm[rest]).all()


@pytest.mark.parametrize("kind", slow_but([AxisType.Explicit], [AxisType.Explicit, AxisType.Auto]))
def test_signals_on_two_devices_have_the_same_answers_where_they_lie(kind):
    mesh = jax.make_mesh((2,), ("signals",), axis_types=(kind,), devices=jax.devices("cpu")[:2])
    by_signal, everywhere = (NamedSharding(mesh, spec) for spec in (P("signals"), P()))
    spread = jax.device_put(Y, by_signal), jax.device_put(ATOL, by_signal)
    found = gj.omp_batch(jax.device_put(A, everywhere), spread[0], sparsity=16, atol=spread[1])
    expected = gj.omp_batch(A, Y, sparsity=16, atol=ATOL)
    assert found.x.sharding.spec[0] == "signals"
    np.testing.assert_array_equal(found.support, expected.support)
    assert_close(found.x, np.asarray(expected.x), atol=1e-9)
