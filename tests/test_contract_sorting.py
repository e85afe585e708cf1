"""The same table for sorting: every function keeps every promise, on ties and at all scales."""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
import oracles
from helpers import assert_close, jit, slow_but, tolerance

N = 6


class Sorting(NamedTuple):
    """A function of (scores, tau, k), and the same in plain NumPy."""

    function: Callable
    oracle: Callable


FUNCTIONS = {
    "softsort": Sorting(
        lambda v, tau, k: gj.softsort(v, tau=tau, k=k),
        lambda v, tau, k: oracles.softsort(v, tau, k),
    ),
    "hardsort": Sorting(
        lambda v, tau, k: gj.hardsort(v, k=k), lambda v, tau, k: oracles.hardsort(v, k)
    ),
    "soft_topk_mask": Sorting(
        lambda v, tau, k: gj.soft_topk_mask(v, k=k, tau=tau),
        lambda v, tau, k: oracles.soft_topk_mask(v, k, tau),
    ),
    "topk_mask": Sorting(
        lambda v, tau, k: gj.topk_mask(v, k=k), lambda v, tau, k: oracles.topk_mask(v, k)
    ),
}

SCORES = {
    "generic": [0.3, -1.2, 0.8, 0.1, 2.0, -0.4],
    "zeros": [0.0] * N,
    "zeros of either sign": [0.0, -0.0, 0.0, -0.0, 0.0, -0.0],
    "all equal": [2.0] * N,
    "a tie at the top": [3.0, 1.0, 3.0, 0.0, 3.0, -1.0],
    "a tie across the k-th": [3.0, 1.0, 1.0, 1.0, 1.0, 0.0],
    "in units of 1e-20": [3e-20, 1e-20, 3e-20, 0.0, 2e-20, -1e-20],
    "in units of 1e+20": [3e20, 1e20, 3e20, 0.0, 2e20, -1e20],
    "far apart": [1e20, 1.0, 1e-20, 0.0, -1e20, 1.0],
}
TAUS = [*10.0 ** np.arange(-8, 4), 1e-21, 1e20]

every_function = pytest.mark.parametrize("name", FUNCTIONS)
every_setting = pytest.mark.parametrize(
    ("dtype", "k"),
    slow_but(
        [(np.float64, 1), (np.float64, 3), (np.float32, N)],
        itertools.product([np.float32, np.float64], [1, 3, N]),
    ),
)


@functools.cache
def grid(dtype):
    """Every score vector at every temperature."""
    scores = np.array(list(SCORES.values()), dtype)
    taus = np.array(TAUS, dtype)
    return np.repeat(scores, len(taus), axis=0), np.tile(taus, len(scores))


@functools.cache
def results(name, dtype, k):
    """Values and derivatives over the grid: vmap of all of them, compiled."""

    def everything(v, tau):
        def loss(v, tau):
            value = FUNCTIONS[name].function(v, tau, k)
            cotangent = np.random.default_rng(0).standard_normal(value.shape)
            return jnp.vdot(cotangent.astype(dtype), value), value

        (_, value), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(v, tau)
        return value, gradients, jax.jvp(lambda *args: loss(*args)[0], (v, tau), (v, tau))[1]

    return jax.tree.map(np.asarray, jit(jax.vmap(everything))(*grid(dtype)))


@every_setting
@every_function
def test_values_agree_with_the_oracle(name, dtype, k):
    scores, taus = grid(dtype)
    values, _, _ = results(name, dtype, k)
    assert values.dtype == dtype
    assert np.all(np.isfinite(values))
    # Scores that are 0 against the largest are tied to soft functions, as rounding is.
    clear = np.repeat([name != "far apart" for name in SCORES], len(TAUS))
    scores, taus, values = scores[clear], taus[clear], values[clear]
    oracle = FUNCTIONS[name].oracle
    expected = [oracle(v, np.float64(tau), k) for v, tau in zip(scores, taus, strict=True)]
    assert_close(values, np.stack(expected))


@every_setting
@every_function
def test_derivatives_are_finite_and_forward_mode_equals_reverse_mode(name, dtype, k):
    scores, taus = grid(dtype)
    _, (by_scores, by_tau), forward = results(name, dtype, k)
    assert np.all(np.isfinite(by_scores))
    assert np.all(np.isfinite(by_tau))
    terms = np.column_stack([by_scores * scores, by_tau * taus]).astype(np.float64)
    # Scores and temperature share their units, so the derivative along both is 0, as a sum of
    # terms that are not.
    rtol = 10 * tolerance(dtype)[0]
    for derivative in (terms.sum(axis=1), forward):
        assert np.all(np.abs(derivative) <= rtol * np.abs(terms).sum(axis=1) + rtol)


@every_function
def test_eager_compiled_and_batched_calls_agree(name):
    values, _, _ = results(name, np.float64, 3)
    compiled = jit(lambda v, tau: FUNCTIONS[name].function(v, tau, 3))
    for i in range(0, len(values), 31):
        v, tau = (each[i] for each in grid(np.float64))
        assert_close(compiled(v, tau), values[i])
    assert_close(FUNCTIONS[name].function(v, tau, 3), values[i])
