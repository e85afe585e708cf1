"""OMP stops at relative and absolute tolerances, for one signal and for each of a batch."""

import functools

import jax
import numpy as np
import pytest
from sklearn.linear_model import orthogonal_mp

import greedyjax as gj
from greedyjax import streaming
from helpers import assert_close, slow_but
from oracles import omp as omp_oracle

M, N, K, NUM = 16, 32, 8, 12
RNG = np.random.default_rng(0)
A = RNG.standard_normal((M, N)) / np.sqrt(M)
Y = RNG.standard_normal((NUM, M)) * np.geomspace(0.1, 10, NUM)[:, None]
SIZES = np.linalg.norm(Y, axis=1)
RTOL, ATOL = np.linspace(0.05, 0.6, NUM), np.linspace(0.02, 2, NUM)

omp = jax.jit(functools.partial(gj.omp, sparsity=K))
batch = jax.jit(functools.partial(gj.omp_batch, sparsity=K))


ALONE = [{"atol": 0.5}, {"rtol": 0.3}, {"rtol": 0.1, "atol": 0.5}]
OF_EACH = [{"rtol": RTOL}, {"atol": ATOL}, {"rtol": RTOL, "atol": 0.5}]


@pytest.mark.parametrize("settings", slow_but(ALONE[2:], ALONE))
@pytest.mark.parametrize("batched", [False, True])
def test_the_larger_tolerance_stops_each_signal(settings, batched):
    found = batch(A, Y, **settings) if batched else jax.vmap(lambda y: omp(A, y, **settings))(Y)
    counts = set()
    for i, y in enumerate(Y):
        enough = max(settings.get("rtol", 0) * SIZES[i], settings.get("atol", 0))
        expected = omp_oracle(A, y, K, rtol=enough / SIZES[i])
        assert_close(found.x[i], expected.x)
        np.testing.assert_array_equal(found.support[i], expected.support)
        reached = found.residual_norm[i] <= enough
        assert reached == (found.status[i] == gj.Recovery.RESIDUAL_REACHED)
        counts.add(int(found.num_steps[i]))
    assert len(counts) > 2, "signals stop at different steps"


@pytest.mark.parametrize("which", slow_but([2], range(3)), ids=["rtol", "atol", "both"])
def test_each_signal_of_a_batch_may_have_its_own(which):
    settings = OF_EACH[which]
    compiled, eager = batch(A, Y, **settings), gj.omp_batch(A, Y, sparsity=K, **settings)
    alone = [
        omp(A, y, **{name: np.broadcast_to(value, NUM)[i] for name, value in settings.items()})
        for i, y in enumerate(Y)
    ]
    for found in (compiled, eager, gj.omp_batch(A, Y, sparsity=K, batch_size=5, **settings)):
        np.testing.assert_array_equal(found.support, [one.support for one in alone])
        np.testing.assert_array_equal(found.status, [one.status for one in alone])
        assert_close(found.x, np.stack([one.x for one in alone]))


def test_equals_scikit_learn_where_more_than_its_tolerance_is_left():
    tol = 0.25
    signals = Y[tol < SIZES**2]
    unit = A / np.linalg.norm(A, axis=0)  # Which it asks for.
    expected = orthogonal_mp(unit, signals.T, tol=tol).T
    found = gj.omp_batch(unit, signals, sparsity=M, atol=np.sqrt(tol))
    assert 0 < len(signals) < NUM
    assert_close(found.x, expected, atol=1e-9)


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_is_in_the_units_of_the_measurements(unit):
    found = gj.omp_batch((A / unit).astype(np.float32), (Y * unit).astype(np.float32), sparsity=K,
                         atol=np.float32(0.5 * unit))  # fmt: skip
    np.testing.assert_array_equal(found.num_steps, batch(A, Y, atol=0.5).num_steps)


def test_streaming_hands_on_one_for_each_signal():
    solve = lambda Y, atol: batch(A, Y, atol=atol)
    found = streaming.recover(solve, Y, ATOL, batch_size=5, num_threads=1)
    np.testing.assert_array_equal(found.support, batch(A, Y, atol=ATOL).support)


def test_no_tolerance_and_none_that_is_known_compile_the_same():
    """So that a Gram matrix serves where somebody writes the default out."""
    D = gj.dictionary(A, gram=True)

    def solve(**settings):
        return str(jax.make_jaxpr(lambda Y: gj.omp_batch(D, Y, sparsity=2, **settings))(Y))

    assert solve() == solve(rtol=0, atol=0.0)
    assert solve() != solve(atol=1.0)


BAD = [
    (gj.omp, Y[0], {"atol": -1.0}, ValueError, "atol: expected a finite number >= 0, got -1"),
    (gj.omp, Y[0], {"atol": None}, TypeError, "atol: expected a number >= 0, got NoneType"),
    (gj.omp, Y[0], {"rtol": RTOL}, ValueError, r"rtol: expected a scalar, got shape \(12,\)"),
    (gj.omp_batch, Y, {"rtol": RTOL[1:]}, ValueError,
     r"rtol: expected shape \(12,\), got shape \(11,\)"),
    (gj.omp_batch, Y, {"atol": -ATOL}, ValueError, "atol: expected numbers >= 0"),
    (gj.omp_batch, Y, {"atol": 1j * ATOL}, TypeError, "atol: expected real numbers"),
]  # fmt: skip


@pytest.mark.wrong_types
@pytest.mark.parametrize(("solve", "y", "settings", "error", "message"), BAD)
def test_bad_tolerances_are_named(solve, y, settings, error, message):
    with pytest.raises(error, match=f"^{message}"):
        solve(A, y, sparsity=K, **settings)


def test_streaming_names_an_array_of_another_length():
    with pytest.raises(ValueError, match=r"^others\[0\]: expected 12 rows, as Y has, got shape"):
        streaming.recover(lambda Y, atol: Y, Y, ATOL[1:])
