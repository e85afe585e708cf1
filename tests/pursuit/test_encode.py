"""Sparse answers equal dense answers without their zeros, in every form of the steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax import streaming
from greedyjax.pursuit import HTP, IHT, OMP, CoSaMP, OrderRecursive, SubspacePursuit
from greedyjax.structures import Blocks, SharedSupport
from helpers import assert_close, jit, random_problem, slow_but

M, N, K, NUM = 24, 50, 6, 37


def signals(dtype, num=NUM, snapshots=()):
    """A dictionary, and sparse signals with noise; the first is 0, so that its slots are unused."""
    A, rng = random_problem(0, M, N, K, dtype)[0], np.random.default_rng(1)
    X = np.zeros((num, N, *snapshots))
    for x in X[1:]:
        x[rng.choice(N, K, replace=False)] = rng.standard_normal((K, *snapshots))
    Y = np.einsum("mn,i n...->im...", A, X) + 0.01 * rng.standard_normal((num, M, *snapshots))
    Y[0] = 0
    return A, Y.astype(dtype)


def scattered(codes, n):
    """By a plain loop."""
    X = np.zeros((len(codes.support), n, *codes.coefficients.shape[2:]), codes.coefficients.dtype)
    for x, places, values in zip(
        X, *map(np.asarray, (codes.support, codes.coefficients)), strict=True
    ):
        for place, value in zip(places, values, strict=True):
            if place >= 0:
                x[place] = value
    return X


METHODS = {
    "OMP": OMP(K),
    "OMP, tolerance": OMP(20, atol=0.03),
    "OMP, order-recursive": OMP(K, fit=OrderRecursive()),
    "OMP, blocks": OMP(3, structure=Blocks(np.arange(N) // 2)),
    "IHT": IHT(K, 20),
    "IHT, debiased": IHT(K, 20, debias=True),
    "HTP": HTP(K, 5),
    "CoSaMP": CoSaMP(K, 5),
    "subspace pursuit": SubspacePursuit(K, 5),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    slow_but(
        [
            ("OMP, tolerance", np.float64),
            ("OMP", np.complex64),
        ],
        [*((name, np.float64) for name in METHODS), ("OMP", np.complex64)],
    ),
)
def test_codes_are_the_nonzeros_of_the_dense_answers(name, dtype):
    method, (A, Y) = METHODS[name], signals(dtype)
    dense, codes = (jit(partial(solve, method))(A, Y) for solve in (gj.recover_batch, gj.encode))
    assert codes.coefficients.shape == codes.support.shape == dense.support.shape
    assert codes.coefficients.dtype == dense.x.dtype
    np.testing.assert_array_equal(codes.support, dense.support)
    np.testing.assert_array_equal(scattered(codes, N), dense.x)
    np.testing.assert_array_equal(codes.dense(N), dense.x)
    np.testing.assert_array_equal(codes.coefficients[codes.support < 0], 0)
    for field in ("residual_norm", "num_steps", "status", "converged", "stationary"):
        np.testing.assert_array_equal(getattr(codes, field), getattr(dense, field))


@pytest.mark.slow
def test_codes_by_the_gram_matrix_have_the_derivatives_of_the_dense_answers():
    A, Y = signals(np.float64)
    weights = np.random.default_rng(2).standard_normal((NUM, N))

    def total(Y, solve):
        return jnp.sum(weights * solve(OMP(K), gj.dictionary(A), Y))

    gradient = jit(jax.grad(total), static_argnums=1)
    by_codes = gradient(Y, lambda *args: gj.encode(*args).dense(N))
    by_dense = gradient(Y, lambda *args: gj.recover_batch(*args).x)
    np.testing.assert_allclose(by_codes, by_dense, rtol=0, atol=1e-12)
    assert np.abs(by_dense).max() > 0.1


@pytest.mark.slow
def test_snapshots_have_a_coefficient_each():
    A, Y = signals(np.float64, num=5, snapshots=(3,))
    method = OMP(K, structure=SharedSupport())
    codes = gj.encode(method, A, Y)
    assert codes.coefficients.shape == (5, K, 3)
    np.testing.assert_array_equal(codes.dense(N), gj.recover_batch(method, A, Y).x)


def test_each_of_several_dictionaries_codes_its_own_signals():
    pairs = [signals(np.float64, num=4), signals(np.float64, num=4)]
    A, Y = (np.stack(each) for each in zip(*pairs, strict=True))
    A[1] = A[1][:, ::-1]
    codes = jax.vmap(partial(gj.encode, OMP(K)))(A, Y)
    for i in range(2):
        alone = gj.encode(OMP(K), A[i], Y[i])
        np.testing.assert_array_equal(codes.support[i], alone.support)
        np.testing.assert_allclose(codes.coefficients[i], alone.coefficients, rtol=1e-9, atol=1e-12)
    assert not np.array_equal(codes.support[0], codes.support[1])


@pytest.mark.slow
def test_half_precision_comes_back_in_half_precision():
    A, Y = signals(np.float32)
    A, Y = jnp.asarray(A, jnp.bfloat16), jnp.asarray(Y, jnp.bfloat16)
    codes = gj.encode(OMP(K), A, Y)
    assert codes.coefficients.dtype == jnp.bfloat16
    np.testing.assert_array_equal(codes.support, gj.omp_batch(A, Y, sparsity=K).support)


@pytest.mark.slow
def test_streams_of_signals_are_stored_as_codes():
    A, Y = signals(np.float32)
    codes = streaming.recover(jax.jit(partial(gj.encode, OMP(K), A)), Y, batch_size=8)
    assert isinstance(codes, gj.Codes)
    assert codes.coefficients.shape == (NUM, K)
    assert_close(codes.dense(N), gj.omp_batch(A, Y, sparsity=K).x)


@pytest.mark.slow
@pytest.mark.parametrize("method", slow_but([OMP(8)], [OMP(8), OMP(30, atol=0.1)]))
def test_nothing_has_the_shape_of_all_dense_answers(method):
    num, m, n = 65_536, 64, 2048
    shapes = jax.ShapeDtypeStruct((m, n), jnp.float32), jax.ShapeDtypeStruct((num, m), jnp.float32)
    solve = lambda coded: jax.jit(partial(gj.encode if coded else gj.recover_batch, method))
    text = {coded: solve(coded).lower(*shapes).compile().as_text() for coded in (True, False)}
    assert f"[{num},{n}]" in text[False]
    assert f"[{num},{n}]" not in text[True]
    memory = solve(True).lower(*shapes).compile().memory_analysis()
    assert memory.temp_size_in_bytes < num * n * 4 / 8


def test_fewer_atoms_than_the_codes_have_are_refused():
    codes = gj.encode(OMP(1), np.eye(4), np.eye(4)[3:])
    with pytest.raises(ValueError, match="num_atoms: expected more than 3"):
        codes.dense(3)


@pytest.mark.wrong_types
def test_one_signal_is_sent_to_recover():
    A, Y = signals(np.float32)
    with pytest.raises(ValueError, match=r"^Y: .* 2 axes, got shape \(24,\); for one signal, use"):
        gj.encode(OMP(K), A, Y[1])


# --- Bad signals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", slow_but(["OMP"], ["OMP", "OMP, tolerance", "IHT, debiased"]))
@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
def test_a_bad_signal_is_listed_and_the_others_are_coded(name, wrap):
    A, Y = signals(np.float32)
    good = gj.encode(METHODS[name], A, Y)
    assert len(good.bad) == 0
    broken = Y.copy()
    broken[3, 1], broken[8, :] = np.nan, np.inf
    codes = wrap(partial(gj.encode, METHODS[name]))(A, broken)
    assert codes.bad.tolist() == [3, 8]
    assert np.all(np.asarray(codes.num_steps)[[3, 8]] == -1)
    assert np.all(np.asarray(codes.support)[[3, 8]] == -1)
    assert not np.any(scattered(codes, N)[[3, 8]])
    others = np.setdiff1d(np.arange(NUM), [3, 8])
    jax.tree.map(lambda one, other: assert_close(one[others], other[others]), codes, good)


@pytest.mark.slow
def test_bad_signals_among_snapshots():
    A, Y = signals(np.float64, snapshots=(2,))
    Y[5, 0, 1] = np.nan
    codes = gj.encode(OMP(K, structure=SharedSupport()), A, Y)
    assert codes.bad.tolist() == [5]
    assert np.isfinite(codes.coefficients).all()


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
def test_a_residual_that_overflows_makes_no_signal_bad(wrap):
    A = np.eye(M, dtype=np.float32)[:, :K]
    Y = np.full((3, M), [[1.0], [1.6e38], [2.0]], np.float32)
    codes = wrap(partial(gj.encode, OMP(2)))(A, Y)
    assert codes.bad.tolist() == []
    assert np.isinf(codes.residual_norm).tolist() == [False, True, False]
