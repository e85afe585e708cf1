"""`softsort` and `soft_topk_mask`, against NumPy, a dense definition and finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from helpers import assert_close, slow_but
from oracles import finite_difference
from oracles import hardsort as hardsort_oracle
from oracles import soft_topk_mask as mask_oracle
from oracles import softsort as softsort_oracle
from oracles import topk_mask as topk_mask_oracle


@functools.cache
def softsort(k):
    return jax.jit(lambda scores, tau: gj.softsort(scores, tau=tau, k=k))


@functools.cache
def soft_mask(k):
    return jax.jit(lambda scores, tau: gj.soft_topk_mask(scores, k=k, tau=tau))


@functools.cache
def soft_rows_and_mask_gradients(k):
    """Both functions' gradients with respect to scores and tau, at fixed cotangents, batched."""

    def rows(v, tau):
        return jnp.vdot(normal(k * len(v)).astype(v.dtype), gj.softsort(v, tau=tau, k=k).ravel())

    def mask(v, tau):
        return jnp.vdot(normal(len(v)).astype(v.dtype), gj.soft_topk_mask(v, k=k, tau=tau))

    def gradients(v, tau):
        return jax.grad(rows, (0, 1))(v, tau), jax.grad(mask, (0, 1))(v, tau)

    return jax.jit(jax.vmap(gradients, (0, None)))


def normal(n, seed=7):
    return np.random.default_rng(seed).standard_normal(n)


def dense_mask(scores, k, tau):
    """The definition: column sums of the k x n matrix."""
    largest = jnp.sort(scores)[::-1][:k]
    gaps = jnp.abs(jnp.expand_dims(largest, 1) - jnp.expand_dims(scores, 0))
    return jnp.sum(jax.nn.softmax(-gaps / tau, axis=1), axis=0)


# --- Values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "dtype"),
    slow_but(
        [(1, np.float64), (7, np.float32)],
        [(1, np.float64), (2, np.float64), (7, np.float32), (40, np.float64)],
    ),
)
def test_values_equal_the_oracle(n, dtype):
    scores = normal(n).astype(dtype)
    P = softsort(None)(scores, 0.3)
    assert P.dtype == dtype
    assert_close(P, softsort_oracle(scores, 0.3))
    assert_close(P.sum(axis=1), np.ones(n), dtype)
    for k in {1, (n + 1) // 2, n}:
        mask = soft_mask(k)(scores, 0.3)
        assert mask.dtype == dtype
        assert_close(mask, mask_oracle(scores, k, 0.3))
        assert_close(mask.sum(), k, dtype)


@pytest.mark.parametrize("k", [1, 3])
def test_k_rows_are_the_first_rows(k):
    scores = normal(7)
    assert_close(softsort(k)(scores, 0.3), softsort_oracle(scores, 0.3)[:k])


def test_small_temperatures_give_the_hard_limit():
    scores = normal(12)
    tau = 1e-2 * np.diff(np.sort(scores)).min()
    assert_close(softsort(None)(scores, tau), hardsort_oracle(scores))
    for k in (1, 5, 12):
        assert_close(soft_mask(k)(scores, tau), topk_mask_oracle(scores, k))


def test_what_a_row_loses_is_bounded_by_its_gap():
    """math.md 2.1, both sides: e/(1+e) <= q <= (n-1) e, with e = exp(-gap / tau)."""
    n = 12
    scores = normal(n)
    descending = np.sort(scores)[::-1]
    order = np.argsort(-scores)
    gaps = np.array([np.delete(np.abs(v - descending), i).min() for i, v in enumerate(descending)])
    for tau in (1e-2, 1e-1, 1.0, 10.0):
        P = np.array(softsort(None)(scores, tau))
        P[np.arange(n), order] = 0  # What is left is q, without the cancellation of 1 - p.
        q, e = P.sum(axis=1), np.exp(-gaps / tau)
        assert np.all(q <= (n - 1) * e * (1 + 1e-9))
        assert np.all(q >= e / (1 + e) * (1 - 1e-9))


def test_ties_share_the_mass_equally():
    scores = np.array([1.0, 3.0, 0.0, 3.0, 3.0])
    third = 1 / 3
    rows = np.array([[0, third, 0, third, third]] * 3 + [[1, 0, 0, 0, 0]])
    assert_close(softsort(4)(scores, 1e-3), rows)
    assert_close(soft_mask(1)(scores, 1e-3), rows[0])
    assert_close(soft_mask(2)(scores, 1e-3), 2 * rows[0])
    assert_close(soft_mask(3)(np.zeros(5), 1e-3), np.full(5, 0.6))


def test_mask_exceeds_one_at_an_internal_near_tie():
    """math.md 1: three kept scores one tau apart, everything else far below."""
    tau = 1e-2
    mask = soft_mask(3)(np.array([5.0, 5.0 + tau, -3.0, 5.0 - tau, 0.0]), tau)
    e = np.exp(-1)
    middle = 2 * e / (1 + e + e**2) + 1 / (1 + 2 * e)
    assert middle > 1.06
    assert_close(mask, [middle, (3 - middle) / 2, 0, (3 - middle) / 2, 0])


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_scores_and_temperature_share_their_units(scale):
    scores = normal(9).astype(np.float32)
    scaled = scores * np.float32(scale)
    assert_close(softsort(4)(scaled, np.float32(0.2 * scale)), softsort_oracle(scores, 0.2, 4))
    assert_close(soft_mask(4)(scaled, np.float32(0.2 * scale)), mask_oracle(scores, 4, 0.2))


def test_vmap_over_scores_and_temperatures_equals_a_loop():
    batch, taus = normal(21).reshape(3, 7), np.array([0.03, 0.3, 3.0])
    rows = jax.vmap(softsort(3))(batch, taus)
    loop = [softsort_oracle(v, tau, 3) for v, tau in zip(batch, taus, strict=True)]
    assert_close(rows, np.stack(loop))
    masks = jax.vmap(soft_mask(3))(batch, taus)
    assert_close(masks, np.stack(loop).sum(axis=1))


# --- Derivatives ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "k"), slow_but([(40, 5), (40, 40)], [(40, 1), (40, 5), (40, 40), (100, 90)])
)
def test_mask_and_its_derivatives_equal_the_dense_form(n, k):
    scores, cotangent, tau = normal(n), normal(n, seed=8), 0.3

    @jax.jit
    def both(v, tau):
        def loss(mask):
            return lambda v, tau: jnp.vdot(cotangent, mask(v, tau))

        fast = loss(lambda v, tau: gj.soft_topk_mask(v, k=k, tau=tau))
        dense = loss(lambda v, tau: dense_mask(v, k, tau))
        return [jax.value_and_grad(f, (0, 1))(v, tau) for f in (fast, dense)]

    (value, gradients), (dense_value, dense_gradients) = both(scores, tau)
    assert_close(value, dense_value, rtol=1e-12, atol=1e-12)
    for gradient, dense_gradient in zip(gradients, dense_gradients, strict=True):
        assert_close(gradient, dense_gradient, rtol=1e-12, atol=1e-12)


def test_gradients_equal_finite_differences_of_the_oracle():
    """Of a compiled batch, where XLA may round v_(i) and the v_j that it equals differently."""
    n, k, tau = 8, 3, 0.4
    batch = normal(5 * n, seed=3).reshape(5, n)
    row_cotangent, mask_cotangent = normal(k * n), normal(n)

    def row_loss(v, tau):
        return row_cotangent @ softsort_oracle(v, tau, k).ravel()

    def mask_loss(v, tau):
        return mask_cotangent @ mask_oracle(v, k, tau)

    gradients = soft_rows_and_mask_gradients(k)(batch, tau)
    for (by_scores, by_tau), loss in zip(gradients, (row_loss, mask_loss), strict=True):
        for i, scores in enumerate(batch):
            # Central differences of step 1e-6 are good to about 1e-9.
            expected = finite_difference(lambda v, f=loss: f(v, tau), scores)
            assert_close(by_scores[i], expected, rtol=1e-7, atol=1e-8)
            at = functools.partial(loss, scores)
            expected = finite_difference(at, np.array(tau))
            assert_close(by_tau[i], expected, rtol=1e-7, atol=1e-8)


def test_ties_at_the_boundary_of_a_batch_are_shared_at_every_temperature():
    """Compiled for a batch, XLA may round the two sides of a tie differently."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.1, 1, (500, 6)) * 10 ** rng.uniform(-3, 3, (500, 1))
    scores[:, :3] = 2 * scores[:, 3:].max(axis=1, keepdims=True)
    scores = scores.astype(np.float32)
    masks = jax.jit(jax.vmap(lambda v, tau: gj.soft_topk_mask(v, k=2, tau=tau), (0, None)))
    expected = np.tile([2 / 3, 2 / 3, 2 / 3, 0, 0, 0], (len(scores), 1))
    for tau in (1e-6, 1e-8, 1e-10):
        assert_close(masks(scores, np.float32(tau)), expected)


@pytest.mark.parametrize("k", slow_but([3], [1, 3, 6]))
def test_gradients_are_finite_at_ties_and_every_temperature(k):
    scores = np.float32(
        [
            [0, 0, 0, 0, 0, 0],
            [2, 2, 2, 2, 2, 2],
            [1, 1, 0, 0, 0, 0],
            [3, 1, 1, 1, 1, 0],
            [1e-30, 0, 0, 1e-30, 0, 0],
            [1e30, 1e30, 1, 0, -1e30, 1],
            normal(6),
        ]
    )
    for tau in 10.0 ** np.arange(-8, 4):
        tau = np.float32(tau)
        masks = jax.vmap(soft_mask(k), (0, None))(scores, tau)
        assert_close(masks.sum(axis=1), np.full(len(scores), k))
        for leaf in jax.tree.leaves(soft_rows_and_mask_gradients(k)(scores, tau)):
            assert np.all(np.isfinite(leaf)), tau


def test_gradient_at_a_tie_treats_the_tied_scores_alike():
    """By symmetry: with |.| flat at 0, tied scores get the same gradient from equal cotangents."""
    scores, cotangent = np.array([2.0, 1.0, 2.0, 0.0]), np.array([1.0, 3.0, 1.0, -2.0])
    by_scores = jax.jit(jax.grad(lambda v: cotangent @ gj.softsort(v, tau=0.5, k=1)[0]))
    gradient = by_scores(scores)
    assert_close(gradient[0], gradient[2])

    # Row 1 is softmax(v / tau); away from the tie its Jacobian is (diag p - p p^T) / tau.
    scores[2] = 1.9
    p = softsort_oracle(scores, 0.5, 1)[0]
    assert_close(by_scores(scores), (p * cotangent - p * (p @ cotangent)) / 0.5)


def test_forward_mode_equals_reverse_mode():
    batch = np.stack([normal(7), np.array([1.0, 3, 3, 0, 1, 3, 0])])

    @jax.jit
    @jax.vmap
    def both(v):
        def f(v):
            return gj.softsort(v, tau=0.4, k=3), gj.soft_topk_mask(v, k=3, tau=0.4)

        return jax.jacfwd(f)(v), jax.jacrev(f)(v)

    for forward, reverse in zip(*both(batch), strict=True):
        assert np.linalg.norm(reverse) > 0.1
        assert_close(forward, reverse)


def test_second_derivatives():
    scores, cotangent = normal(7), normal(7, seed=8)

    def curvature(mask):
        return jax.jit(jax.hessian(lambda v: jnp.vdot(cotangent, mask(v, 3, 0.4))))

    hessian = curvature(lambda v, k, tau: gj.soft_topk_mask(v, k=k, tau=tau))
    assert_close(hessian(scores), curvature(dense_mask)(scores))
    for tied in (np.zeros(7), np.array([1.0, 3, 3, 0, 1, 3, 0])):
        assert np.all(np.isfinite(hessian(tied)))
