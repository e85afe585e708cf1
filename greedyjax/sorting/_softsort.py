"""Softsort (Prillo and Eisenschlos, ICML 2020), its top-k mask, and its selector."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from greedyjax import _checks
from greedyjax._numerics import eps, matmul, power_of_two
from greedyjax._precision import as_given
from greedyjax._types import Scalar
from greedyjax.sorting._hardsort import check_scores, top_indices
from greedyjax.sorting._relaxation import _FLOOR, Relaxation, temperature
from greedyjax.sorting._rows import SoftRows

_BLOCK = 32  # Entries of the soft mask that are compared with each other one by one.


def softsort(
    scores: Float[ArrayLike, " n"], *, tau: Scalar, k: int | None = None
) -> Float[Array, "k n"]:
    """First ``k`` rows of the soft permutation matrix that sorts ``scores`` in descending order.

    ``P[i, j] = softmax_j(-|v_(i) - v_j| / tau)`` with ``v_(i)`` the ``i``-th largest score. Rows
    sum to 1 and tend to those of `hardsort` as ``tau`` goes to 0 where scores differ; equal scores
    share a row's mass equally, as do scores that differ by rounding. Gradients are finite
    everywhere; where scores tie, they are those of the order in which `hardsort` puts them.

    Args:
        scores: real, shape ``(n,)``.
        tau: temperature > 0, in the units of ``scores``; traced.
        k: number of rows, static; all ``n`` if None.

    Returns:
        Shape ``(k, n)``, in the dtype of ``scores``.

    Raises:
        TypeError: ``scores`` are not real floating-point numbers, or ``k`` is no static int.
        ValueError: ``scores`` are not of shape ``(n,)``, hold NaN or infinity, ``tau`` is not
            positive, or ``k`` is not between 1 and ``n``.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> gj.softsort(jnp.array([1.0, 3.0, 2.0]), tau=0.1, k=1).round(3).tolist()
        [[0.0, 1.0, 0.0]]

    References:
        Prillo and Eisenschlos, "SoftSort: a continuous relaxation for the argsort operator", 2020.
    """
    given = scores
    scores, k = check_scores(scores, k)
    return as_given(_softsort(scores, _checks.scalar("tau", tau, positive=True), k), given)


def soft_topk_mask(scores: Float[ArrayLike, " n"], *, k: int, tau: Scalar) -> Float[Array, " n"]:
    """Column sums of the first ``k`` rows of `softsort`, without building them.

    ``d_j = sum_{i<=k} softmax_j(-|v_(i) - v_j| / tau)``, in ``O(n + 32 k + (k / 32)^2)`` time and
    memory after the top-k. The entries sum to ``k``, and tend to `topk_mask` as ``tau`` goes to 0,
    where scores differ. An entry can exceed 1 if three or more of the largest scores nearly tie.

    Args:
        scores: real, shape ``(n,)``.
        k: number of entries to keep, static.
        tau: temperature > 0, in the units of ``scores``; traced.

    Returns:
        Shape ``(n,)``, in the dtype of ``scores``.

    Raises:
        TypeError: ``scores`` are not real floating-point numbers, or ``k`` is no static int.
        ValueError: ``scores`` are not of shape ``(n,)``, hold NaN or infinity, ``tau`` is not
            positive, or ``k`` is not between 1 and ``n``.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> gj.soft_topk_mask(jnp.array([1.0, 3.0, 2.0]), k=2, tau=0.1).round(3).tolist()
        [0.0, 1.0, 1.0]

    References:
        The soft gate of Soft-IHT: Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy
        unfolding", arXiv 2505.15661.
    """
    given = scores
    scores, k = check_scores(scores, k, all_by_default=False)
    return as_given(_soft_topk_mask(scores, _checks.scalar("tau", tau, positive=True), k), given)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SoftSort(Relaxation):
    """The relaxation of the paper, and the default: rows of `softsort`, and its mask.

    Attributes:
        tau: temperature > 0, in the units of the scores.
    """

    tau: Any

    def next(self, scores: Float[Array, " n"], chosen: Array | None = None) -> SoftRows:
        """The first row of softsort: ``-|max v - v_j|`` shifts to ``v_j``, so it is a softmax."""
        del chosen
        distance = lax.stop_gradient(jnp.max(scores)) - scores
        return SoftRows(jax.nn.softmax(cooled(distance, self.tau, rounding_of(scores))))

    def first(self, scores: Float[Array, " n"], k: int, chosen: Array | None = None) -> SoftRows:
        """The first ``k`` rows of softsort."""
        del chosen
        return SoftRows(_rows(scores, k, self.tau))

    def keep(
        self, scores: Float[Array, " n"], k: int
    ) -> tuple[Float[Array, " n"], Int[Array, " k"]]:
        """The soft mask of the ``k`` largest scores, and their indices."""
        return _soft_keep(scores, k, self.tau)

    def next_loss(
        self, scores: Float[Array, " n"], targets: Float[Array, " n"]
    ) -> Float[Array, ""]:
        """``-log sum_j p_j (t_j + 1e-6)`` with ``p = softmax(scores / tau)``."""
        # The largest score has e = 1 and at least the floor for a target: neither sum can vanish.
        e = jnp.exp((scores - lax.stop_gradient(jnp.max(scores))) / self.tau)
        return jnp.log(jnp.sum(e)) - jnp.log(jnp.sum(e * (targets + _FLOOR)))


@partial(jax.jit, static_argnames="k")
def _softsort(scores, tau, k):
    scale = power_of_two(scores)
    return _rows(scores / scale, k, temperature(tau, scale))


@partial(jax.jit, static_argnames="k")
def _soft_topk_mask(scores, tau, k):
    scale = power_of_two(scores)
    return _soft_keep(scores / scale, k, temperature(tau, scale))[0]


def rounding_of(scores):
    """Differences of scores up to this are rounding, or none at all."""
    return 4 * eps(scores.dtype) * jnp.max(jnp.abs(lax.stop_gradient(scores)))


def cooled(distance, tau, rounding):
    """``-distance / tau`` for distances >= 0, where those within rounding count as ties.

    XLA may compute a score twice, rounded differently, where it is sorted and where it is used. So
    a distance within rounding, of either sign, has value 0. Its derivative is kept, but at a
    temperature within rounding too: there it is flat, the hard limit. A slope of ``1 / tau`` would
    say nothing about any score that can be told from these, and overflow after a few steps.
    """
    tied = distance <= rounding
    flat = tied & (tau <= rounding)
    distance = jnp.where(flat, lax.stop_gradient(distance), distance)
    return (lax.stop_gradient(jnp.where(tied, distance, 0)) - distance) / tau


def top_values(scores, k):
    # top_k's own derivative is a scatter that XLA runs one element at a time on a CPU. Telling it
    # that the indices are distinct and in bounds makes it a hundred times faster.
    indices = top_indices(scores, k)
    return scores.at[indices].get(unique_indices=True, mode="promise_in_bounds"), indices


def distances(scores, k):
    """``|v_(i) - v_j|`` for the ``k`` largest, shape ``(k, n)``."""
    largest, indices = top_values(scores, k)
    # With its sign from the ranks, which rounding cannot change.
    above = rank_of(indices, len(scores))[None, :] < jnp.arange(k)[:, None]
    difference = largest[:, None] - scores[None, :]
    return jnp.where(above, -difference, difference)


def rank_of(indices, n: int):
    """The place of each score among the largest, ``indices``; the number of those elsewhere."""
    k = len(indices)
    ranks = jnp.full(n, k)
    return ranks.at[indices].set(jnp.arange(k), unique_indices=True, mode="promise_in_bounds")


def _rows(scores, k, tau):
    return jax.nn.softmax(cooled(distances(scores, k), tau, rounding_of(scores)))


def _soft_keep(scores, k, tau):
    # With a_1 >= ... >= a_k the largest scores, Z_i the normaliser of row i and j below them all,
    # exp(-(a_i - v_j)/tau) = exp(-(a_i - a_k)/tau) exp(-(a_k - v_j)/tau) separates, so the rows
    # are never formed: f_i and t_j are those factors.
    a, indices = top_values(scores, k)
    rounding = rounding_of(scores)
    below = jnp.ones(scores.shape, bool)
    below = below.at[indices].set(False, unique_indices=True, mode="promise_in_bounds")

    decayed_sums = _decayed_sums(a, tau, rounding)
    f = jnp.exp(cooled(a - a[-1], tau, rounding))
    # Inside the where, so that an entry above a_k never reaches exp with a positive argument.
    t = jnp.exp(cooled(jnp.where(below, a[-1] - scores, 0), tau, rounding))
    t = jnp.where(below, t, 0)
    inverse_Z = 1 / (decayed_sums(jnp.ones_like(a)) + f * jnp.sum(t))

    outside = t * jnp.sum(f * inverse_Z)
    inside = decayed_sums(inverse_Z)
    mask = outside.at[indices].set(inside, unique_indices=True, mode="promise_in_bounds")
    return mask, indices


def _decayed_sums(a: Float[Array, " k"], tau, rounding):
    """``b -> sum_l K_il b_l`` with ``K_il = exp(-|a_i - a_l| / tau)``, for falling ``a``.

    Within blocks of 32 entries that is a product with ``K``. Between two blocks every entry of one
    is above every entry of the other, so that ``exp`` separates there, as it does below all ``k``:
    into what is left at the end of the block, from there to the other, and within that.
    """
    k = len(a)
    size = min(k, _BLOCK)
    blocks = jnp.pad(a, (0, -k % size), mode="edge").reshape(-1, size)
    before = jnp.arange(size)[None, :] < jnp.arange(size)[:, None]
    difference = blocks[:, :, None] - blocks[:, None, :]
    distance = jnp.where(before[None], -difference, difference)
    K = jnp.exp(cooled(distance, tau, rounding))
    if len(blocks) == 1:
        return lambda b: matmul(K[0], b)

    to_tail = jnp.exp(cooled(blocks - blocks[:, -1:], tau, rounding))
    from_head = jnp.exp(cooled(blocks[:, :1] - blocks, tau, rounding))
    above = jnp.arange(len(blocks))[None, :] < jnp.arange(len(blocks))[:, None]
    gaps = jnp.where(above, blocks[None, :, -1] - blocks[:, None, 0], 0)
    between = jnp.where(above, jnp.exp(cooled(gaps, tau, rounding)), 0)

    def sums(b):
        b = jnp.pad(b, (0, -k % size)).reshape(-1, size)
        within = matmul(K, b[:, :, None])[:, :, 0]
        from_above = matmul(between, jnp.sum(b * to_tail, axis=1))
        from_below = matmul(between.T, jnp.sum(b * from_head, axis=1))
        total = within + from_head * from_above[:, None] + to_tail * from_below[:, None]
        return total.ravel()[:k]

    return sums
