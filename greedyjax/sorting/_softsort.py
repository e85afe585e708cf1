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

_BLOCK = 32  # The number of entries of the soft mask that are compared pair by pair.


def softsort(
    scores: Float[ArrayLike, " n"], *, tau: Scalar, k: int | None = None
) -> Float[Array, "k n"]:
    """First ``k`` rows of the soft permutation matrix that sorts ``scores`` in descending order.

    ``P[i, j] = softmax_j(-|v_(i) - v_j| / tau)`` with ``v_(i)`` the ``i``-th largest score. Rows
    sum to 1. As ``tau`` goes to 0 they tend to the rows of `hardsort`, wherever scores differ.
    Scores that are equal or differ only by rounding share a row's mass equally. Gradients are
    finite everywhere. Where scores tie, gradients assume the order in which `hardsort` puts them.

    Args:
        scores: real, shape ``(n,)``.
        tau: temperature > 0, in the units of ``scores``; traced.
        k: number of rows, static; all ``n`` if None.

    Returns:
        Shape ``(k, n)``, in the dtype of ``scores``.

    Raises:
        TypeError: ``scores`` are not real floating-point numbers, or ``k`` is not a static int.
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
        TypeError: ``scores`` are not real floating-point numbers, or ``k`` is not a static int.
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
    """The relaxation of the paper, and the default: the rows of `softsort` and their mask.

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
        # The largest score has e = 1, and its target is at least the floor. So no sum can vanish.
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
    """The size up to which a difference of scores is 0 or rounding."""
    return 4 * eps(scores.dtype) * jnp.max(jnp.abs(lax.stop_gradient(scores)))


def cooled(distance, tau, rounding):
    """``-distance / tau`` for distances >= 0, where distances within rounding count as ties.

    XLA may compute a score twice with different rounding, once for the sort and once for its use.
    So a distance within rounding, of either sign, has value 0. Its derivative is kept, unless the
    temperature is within rounding too. Then the derivative is 0, as in the hard limit. A slope of
    ``1 / tau`` would say nothing about scores that differ by more than rounding, and would overflow
    after a few steps.
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
    """``|v_(i) - v_j|`` for the ``k`` largest scores, shape ``(k, n)``."""
    largest, indices = top_values(scores, k)
    # The sign comes from the ranks, which rounding cannot change.
    above = rank_of(indices, len(scores))[None, :] < jnp.arange(k)[:, None]
    difference = largest[:, None] - scores[None, :]
    return jnp.where(above, -difference, difference)


def rank_of(indices, n: int):
    """The rank of each score in ``indices``; ``len(indices)`` for all other scores."""
    k = len(indices)
    ranks = jnp.full(n, k)
    return ranks.at[indices].set(jnp.arange(k), unique_indices=True, mode="promise_in_bounds")


def _rows(scores, k, tau):
    return jax.nn.softmax(cooled(distances(scores, k), tau, rounding_of(scores)))


def _soft_keep(scores, k, tau):
    # Let a_1 >= ... >= a_k be the largest scores, and Z_i the normaliser of row i. For v_j <= a_k,
    # exp(-(a_i - v_j)/tau) = exp(-(a_i - a_k)/tau) exp(-(a_k - v_j)/tau) is a product of factors
    # f_i and t_j. So the rows are never formed.
    a, indices = top_values(scores, k)
    rounding = rounding_of(scores)
    below = jnp.ones(scores.shape, bool)
    below = below.at[indices].set(False, unique_indices=True, mode="promise_in_bounds")

    decayed_sums = _decayed_sums(a, tau, rounding)
    f = jnp.exp(cooled(a - a[-1], tau, rounding))
    # The inner where ensures that exp never gets a positive argument from an entry above a_k.
    t = jnp.exp(cooled(jnp.where(below, a[-1] - scores, 0), tau, rounding))
    t = jnp.where(below, t, 0)
    inverse_Z = 1 / (decayed_sums(jnp.ones_like(a)) + f * jnp.sum(t))

    outside = t * jnp.sum(f * inverse_Z)
    inside = decayed_sums(inverse_Z)
    mask = outside.at[indices].set(inside, unique_indices=True, mode="promise_in_bounds")
    return mask, indices


def _decayed_sums(a: Float[Array, " k"], tau, rounding):
    """``b -> sum_l K_il b_l`` with ``K_il = exp(-|a_i - a_l| / tau)``, for falling ``a``.

    Within a block of 32 entries this is a product with ``K``. Of two different blocks, every entry
    of one is above every entry of the other. So ``exp`` is a product of three factors: from the
    entry to the end of its block, from there to the other block, and within the other block.
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
