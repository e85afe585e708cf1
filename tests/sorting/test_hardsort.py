"""`hardsort`, `topk_mask` and the hard selector, against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import greedyjax as gj
from greedyjax.sorting import HardSort, Indices
from helpers import assert_close
from oracles import hardsort as hardsort_oracle
from oracles import topk_mask as topk_mask_oracle

hardsort = functools.cache(lambda k: jax.jit(functools.partial(gj.hardsort, k=k)))
topk_mask = functools.cache(lambda k: jax.jit(functools.partial(gj.topk_mask, k=k)))


def scores_of(n, seed=0):
    """Signed, distinct scores."""
    return np.random.default_rng(seed).standard_normal(n)


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_values_equal_the_oracle(n):
    scores = scores_of(n)
    for k in {1, (n + 1) // 2, n}:
        assert_close(hardsort(k)(scores), hardsort_oracle(scores, k), rtol=0, atol=0)
        assert_close(topk_mask(k)(scores), topk_mask_oracle(scores, k), rtol=0, atol=0)
    assert_close(gj.hardsort(scores), hardsort_oracle(scores), rtol=0, atol=0)


# Few distinct values, so that nearly every example has ties; one shape, so that JAX compiles once.
@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([-2.0, 0.0, 1.0, 1e300]), min_size=6, max_size=6))
def test_sorts_any_scores_stably(scores):
    scores = np.array(scores)
    P = np.asarray(hardsort(6)(scores))
    assert np.array_equal(P @ P.T, np.eye(6))
    order = P.argmax(axis=1)
    assert np.array_equal(scores[order], np.sort(scores)[::-1])
    for first, second in zip(order, order[1:], strict=False):
        assert scores[first] > scores[second] or first < second


def test_ties_keep_the_lowest_index():
    scores = np.array([0.0, 2.0, 1.0, 2.0, 1.0])
    assert hardsort(4)(scores).argmax(axis=1).tolist() == [1, 3, 2, 4]
    assert topk_mask(1)(scores).tolist() == [0, 1, 0, 0, 0]
    assert topk_mask(3)(scores).tolist() == [0, 1, 1, 1, 0]
    assert topk_mask(3)(np.zeros(5)).tolist() == [1, 1, 1, 0, 0]


def test_minus_zero_ties_with_zero():
    """They are equal, and a product of scores with a sign gives either."""
    assert topk_mask(1)(np.array([-0.0, 0.0])).tolist() == [1, 0]
    assert hardsort(2)(np.array([-0.0, 0.0])).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keeps_the_dtype(dtype):
    scores = scores_of(7).astype(dtype)
    assert gj.hardsort(scores, k=2).dtype == dtype
    assert gj.topk_mask(scores, k=2).dtype == dtype


def test_is_constant_to_derivatives():
    @jax.jit
    def derivatives(v):
        f = lambda v: (gj.hardsort(v, k=3), gj.topk_mask(v, k=3))
        return jax.jacfwd(f)(v), jax.jacrev(f)(v)

    for by_rows, by_mask in derivatives(scores_of(7)):
        assert_close(by_rows, np.zeros((3, 7, 7)), rtol=0, atol=0)
        assert_close(by_mask, np.zeros((7, 7)), rtol=0, atol=0)


def test_vmap_equals_a_loop():
    batch = np.stack([scores_of(7, seed) for seed in range(4)])
    rows = jax.vmap(hardsort(3))(batch)
    assert_close(rows, np.stack([hardsort_oracle(v, 3) for v in batch]), rtol=0, atol=0)
    masks = jax.vmap(topk_mask(3))(batch)
    assert_close(masks, np.stack([topk_mask_oracle(v, 3) for v in batch]), rtol=0, atol=0)


def test_selector_goes_through_the_scores_in_order_and_never_repeats():
    scores = jnp.array([0.0, 3.0, 1.0, 3.0, 0.0])
    selector = HardSort()
    chosen, rows = selector.rows.none_chosen(5, scores.dtype), []
    for _ in range(5):
        row = selector.next(scores, chosen)
        chosen = row.join(chosen)
        rows.append(int(row.support))
    assert rows == [1, 3, 2, 0, 4]
    some = selector.rows.none_chosen(5, scores.dtype).at[jnp.array([1, 2])].set(True)
    assert selector.first(scores, 2, some).support.tolist() == [3, 0]


def test_selector_puts_coefficients_where_its_rows_point():
    parts = jnp.array([[5.0, 1.0], [0.0, 2.0]])
    re, im = Indices(jnp.array([3, 1])).combine(parts, 5)
    assert re.tolist() == [0, 1, 0, 5, 0]
    assert im.tolist() == [0, 2, 0, 0, 0]


def test_selector_keeps_what_the_mask_keeps_largest_first():
    scores = jnp.array([0.5, 3.0, 1.0, 4.0])
    mask, support = HardSort().keep(scores, 3)
    assert mask.tolist() == [0, 1, 1, 1]
    assert support.tolist() == [3, 1, 2]
