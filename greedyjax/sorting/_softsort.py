"""Softsort (Prillo and Eisenschlos, ICML 2020), its top-k mask, and the soft selector."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from greedyjax import _checks
from greedyjax._numerics import eps, matmul, power_of_two
from greedyjax._types import Scalar
from greedyjax.sorting._hardsort import check_scores, top_indices
from greedyjax.sorting._rows import SoftRows

_BLOCK = 32  # Entries of the soft mask that are compared with each other one by one.
_FLOOR = 1e-6  # Keeps the loss of a step that can choose nothing right finite.


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
    scores, k = check_scores(scores, k)
    return _softsort(scores, _checks.scalar("tau", tau, positive=True), k)


def soft_topk_mask(scores: Float[ArrayLike, " n"], *, k: int, tau: Scalar) -> Float[Array, " n"]:
    """Column sums of the first ``k`` rows of `softsort`, without building them.

    ``d_j = sum_{i<=k} softmax_j(-|v_(i) - v_j| / tau)``, in ``O(n + 32 k + (k / 32)^2)`` time and
    memory after the top-k. The
    entries sum to ``k`` and tend to `topk_mask` as ``tau`` goes to 0 where scores differ. An entry
    can exceed 1 near a tie of three or more of the largest scores, as the dense sum does.

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
    scores, k = check_scores(scores, k, all_by_default=False)
    return _soft_topk_mask(scores, _checks.scalar("tau", tau, positive=True), k)


class SoftSort(NamedTuple):
    """The selector of the soft solvers: rows of `softsort`, and its mask."""

    tau: Float[Array, ""]

    rows = SoftRows

    def next(self, scores: Float[Array, " n"], chosen: Array | None = None) -> SoftRows:
        """The first row of softsort: ``-|max v - v_j|`` shifts to ``v_j``, so it is a softmax.

        An atom chosen before may be chosen again.
        """
        del chosen
        distance = lax.stop_gradient(jnp.max(scores)) - scores
        return SoftRows(jax.nn.softmax(_cooled(distance, self.tau, _rounding(scores))))

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
        """``-log sum_j p_j (t_j + 1e-6)`` with ``p = softmax(scores / tau)``.

        The loss of choosing one atom next, where ``targets`` say how much of the signal's energy
        each atom carries.
        """
        # The largest score has e = 1 and at least the floor for a target: neither sum can vanish.
        e = jnp.exp((scores - lax.stop_gradient(jnp.max(scores))) / self.tau)
        return jnp.log(jnp.sum(e)) - jnp.log(jnp.sum(e * (targets + _FLOOR)))

    def kept_loss(
        self,
        scores: Float[Array, " n"],
        targets: Float[Array, " n"],
        threshold: Float[Array, ""],
        k: int,
    ) -> Float[Array, ""]:
        """``-k sum_{j in S} t_j log s(z_j) - (k/n) sum_{j not in S} log s(-z_j)``.

        The loss of keeping the ``k`` scores above a threshold, which is a constant to derivatives.
        ``z = (scores - threshold) / tau``, ``s`` is the sigmoid, and ``S`` holds the ``k`` largest
        nonzero targets.
        """
        n = len(scores)
        z = (scores - lax.stop_gradient(threshold)) / self.tau
        chosen = lax.top_k(targets, k)[1]
        wanted = jnp.zeros(n, bool).at[chosen].set(True, unique_indices=True) & (targets > 0)
        gain = _log_sigmoid(jnp.where(wanted, z, -z))
        return -k * jnp.sum(jnp.where(wanted, targets, 1 / n) * gain)


def temperature(tau: Float[Array, "..."], scale: Float[Array, ""]) -> Float[Array, "..."]:
    """``tau / scale``, kept where its inverse square is finite.

    For scores of unit scale that is far below their rounding, the hard limit, or far above them;
    there the derivative with respect to ``tau`` is 0.
    """
    smallest = jnp.finfo(scale.dtype).tiny ** 0.4
    # From above before the division, which would overflow, and forward derivatives with it.
    tau = jnp.minimum(tau.astype(scale.dtype), scale / smallest)
    return jnp.maximum(tau / scale, smallest)


def _log_sigmoid(z: Float[Array, "..."]) -> Float[Array, "..."]:
    # Half the operations of jax.nn.log_sigmoid, which also cares for infinite z.
    return jnp.minimum(z, 0) - jnp.log1p(jnp.exp(-jnp.abs(z)))


@partial(jax.jit, static_argnames="k")
def _softsort(scores, tau, k):
    scale = power_of_two(scores)
    return _rows(scores / scale, k, temperature(tau, scale))


@partial(jax.jit, static_argnames="k")
def _soft_topk_mask(scores, tau, k):
    scale = power_of_two(scores)
    return _soft_keep(scores / scale, k, temperature(tau, scale))[0]


def _rounding(scores):
    """Differences of scores up to this are rounding, or none at all."""
    return 4 * eps(scores.dtype) * jnp.max(jnp.abs(lax.stop_gradient(scores)))


def _cooled(distance, tau, rounding):
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


def _top_values(scores, k):
    # top_k's own derivative is a scatter that XLA runs one element at a time on a CPU. Telling it
    # that the indices are distinct and in bounds makes it a hundred times faster.
    indices = top_indices(scores, k)
    return scores.at[indices].get(unique_indices=True, mode="promise_in_bounds"), indices


def _rows(scores, k, tau):
    largest, indices = _top_values(scores, k)
    # |v_(i) - v_j| with its sign from the ranks, which rounding cannot change.
    rank = (
        jnp.full(len(scores), k)
        .at[indices]
        .set(jnp.arange(k), unique_indices=True, mode="promise_in_bounds")
    )
    above = rank[None, :] < jnp.arange(k)[:, None]
    difference = largest[:, None] - scores[None, :]
    distance = jnp.where(above, -difference, difference)
    return jax.nn.softmax(_cooled(distance, tau, _rounding(scores)))


def _soft_keep(scores, k, tau):
    # With a_1 >= ... >= a_k the largest scores, Z_i the normaliser of row i and j below them all,
    # exp(-(a_i - v_j)/tau) = exp(-(a_i - a_k)/tau) exp(-(a_k - v_j)/tau) separates, so the rows
    # are never formed: f_i and t_j are those factors.
    a, indices = _top_values(scores, k)
    rounding = _rounding(scores)
    below = jnp.ones(scores.shape, bool)
    below = below.at[indices].set(False, unique_indices=True, mode="promise_in_bounds")

    decayed_sums = _decayed_sums(a, tau, rounding)
    f = jnp.exp(_cooled(a - a[-1], tau, rounding))
    # Inside the where, so that an entry above a_k never reaches exp with a positive argument.
    t = jnp.exp(_cooled(jnp.where(below, a[-1] - scores, 0), tau, rounding))
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
    K = jnp.exp(_cooled(distance, tau, rounding))
    if len(blocks) == 1:
        return lambda b: matmul(K[0], b)

    to_tail = jnp.exp(_cooled(blocks - blocks[:, -1:], tau, rounding))
    from_head = jnp.exp(_cooled(blocks[:, :1] - blocks, tau, rounding))
    above = jnp.arange(len(blocks))[None, :] < jnp.arange(len(blocks))[:, None]
    gaps = jnp.where(above, blocks[None, :, -1] - blocks[:, None, 0], 0)
    between = jnp.where(above, jnp.exp(_cooled(gaps, tau, rounding)), 0)

    def sums(b):
        b = jnp.pad(b, (0, -k % size)).reshape(-1, size)
        within = matmul(K, b[:, :, None])[:, :, 0]
        from_above = matmul(between, jnp.sum(b * to_tail, axis=1))
        from_below = matmul(between.T, jnp.sum(b * from_head, axis=1))
        total = within + from_head * from_above[:, None] + to_tail * from_below[:, None]
        return total.ravel()[:k]

    return sums
