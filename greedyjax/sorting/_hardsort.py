"""Sorting as a 0-1 matrix, and the selector of the hard solvers."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name, checkpoint_policies
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from greedyjax import _checks
from greedyjax._meshes import num_parts
from greedyjax._numerics import first_argmax, index_range, tie_of
from greedyjax._precision import as_given
from greedyjax.sorting._rows import Indices

# For `jax.checkpoint`: the order of scores is stored, and everything else is computed again.
_ORDER = "order of the scores"
keep_only_order = checkpoint_policies.save_only_these_names(_ORDER)


def hardsort(scores: Float[ArrayLike, " n"], *, k: int | None = None) -> Float[Array, "k n"]:
    """First ``k`` rows of the permutation matrix that sorts ``scores`` in descending order.

    Row ``i`` is one-hot at the ``i``-th largest score. Equal scores keep their order. The matrix is
    the limit of `softsort` as ``tau`` goes to 0, and its derivative is 0.

    Args:
        scores: real, shape ``(n,)``.
        k: number of rows, static; all ``n`` if None.

    Returns:
        Shape ``(k, n)``, in the dtype of ``scores``.

    Raises:
        TypeError: ``scores`` are not real floating-point numbers, or ``k`` is not a static int.
        ValueError: ``scores`` are not of shape ``(n,)``, hold NaN or infinity, or ``k`` is not
            between 1 and ``n``.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> gj.hardsort(jnp.array([1.0, 3.0, 2.0]), k=2).tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    given = scores
    scores, k = check_scores(scores, k)
    return as_given(_hardsort(scores, k), given)


def topk_mask(scores: Float[ArrayLike, " n"], *, k: int) -> Float[Array, " n"]:
    """1 at the ``k`` largest scores, 0 elsewhere; of equal scores the first are kept.

    Args:
        scores: real, shape ``(n,)``.
        k: number of entries to keep, static.

    Returns:
        Shape ``(n,)``, in the dtype of ``scores``: the column sums of `hardsort`.

    Raises:
        TypeError: ``scores`` are not real floating-point numbers, or ``k`` is not a static int.
        ValueError: ``scores`` are not of shape ``(n,)``, hold NaN or infinity, or ``k`` is not
            between 1 and ``n``.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> gj.topk_mask(jnp.array([1.0, 3.0, 2.0]), k=2).tolist()
        [0.0, 1.0, 1.0]
    """
    given = scores
    scores, k = check_scores(scores, k, all_by_default=False)
    return as_given(_topk_mask(scores, k), given)


class HardSort(NamedTuple):
    """The selector of the hard solvers: a row is an index, a mask is 0 or 1.

    Attributes:
        error: the rounding of the numbers from which scores are computed, for a weight of 1. Scores
            that differ by no more tie, and the first of them is chosen. None means that scores tie
            only by their own rounding.
        weights: the weights of the candidates, shape ``(n,)``; None means ones.
    """

    error: Any = None
    weights: Any = None

    rows = Indices

    def next(self, scores: Float[Array, " n"], chosen: Bool[Array, " n"] | None) -> Indices:
        """The first atom with the largest score among atoms not yet chosen."""
        return Indices(first_argmax(_open(scores, chosen), self.error, self.weights))

    def first(
        self, scores: Float[Array, " n"], k: int, chosen: Bool[Array, " n"] | None = None
    ) -> Indices:
        """The atoms of the ``k`` largest scores; atoms chosen before come last."""
        scores = _open(scores, chosen)
        if self.error is None or k == len(scores):
            return Indices(top_indices(scores, k))
        return Indices(_first_of_ties(scores, k, self.error, self.weights))

    def keep(
        self, scores: Float[Array, " n"], k: int
    ) -> tuple[Float[Array, " n"], Int[Array, " k"]]:
        """The 0-1 mask of the ``k`` largest scores, and their indices.

        Only equal scores tie. A search for ties by rounding would take a third of a step of IHT.
        """
        return _keep(scores, k)


@partial(jax.jit, static_argnames="k")
def _hardsort(scores, k):
    order = top_indices(scores, k)
    return (order[:, None] == index_range(len(scores))[None, :]).astype(scores.dtype)


@partial(jax.jit, static_argnames="k")
def _topk_mask(scores, k):
    return _keep(scores, k)[0]


def threshold_of(scores: Float[Array, " n"], k: int) -> Float[Array, ""]:
    """The middle between the smallest of the ``k`` largest scores and the largest other score.

    Scores are at least 0. If all are kept, the largest other score counts as 0. The threshold is a
    constant to derivatives.
    """
    scores = lax.stop_gradient(scores)
    kept = _keep(scores, k)[0] > 0
    smallest = jnp.min(jnp.where(kept, scores, jnp.inf))
    return (smallest + jnp.max(jnp.where(kept, 0, scores))) / 2


def _open(scores, chosen):
    """The scores, with -1 for atoms that are chosen already, which is below all other scores."""
    if chosen is None:
        return scores
    # Scores are at least 0. Without jnp.abs, XLA on a CPU makes branches, which are eight times as
    # slow.
    return jnp.where(chosen, -1, jnp.abs(scores))


def check_scores(
    scores, k: int | None, *, all_by_default: bool = True
) -> tuple[Float[Array, " n"], int]:
    """The argument checks that every sorting function shares."""
    scores = _checks.real("scores", scores, ndim=1)
    n = len(scores)
    if n == 0:
        _checks.fail(ValueError, "scores", "at least one score", f"shape {scores.shape}")
    if k is None and all_by_default:
        return scores, n
    return scores, _checks.static_int("k", k, minimum=1, maximum=n)


def top_indices(scores: Float[Array, " n"], k: int) -> Int[Array, " k"]:
    """Indices of the ``k`` largest scores in falling order; if scores tie, lowest index first."""
    scores = lax.stop_gradient(scores)
    # top_k sorts by bits, and would put -0 below 0.
    scores = jnp.where(scores == 0, 0, scores)
    parts = num_parts(scores)
    order = lax.top_k(scores, k)[1] if parts == 1 else _top_of_spread(scores, k, parts)
    return checkpoint_name(order, _ORDER)


def _top_of_spread(scores: Float[Array, " n"], k: int, parts: int = 1) -> Int[Array, " k"]:
    """`lax.top_k` for scores that are spread over devices, without gathering them.

    Either the signals of a batch are spread, or the atoms of each signal. In the second case the
    atoms are cut into equal parts. Each device finds the largest scores of its part, and the
    largest scores of all are among these.
    """
    if parts == 1 or len(scores) % parts:
        return _top_of_batch(scores, k)
    of_parts = scores.reshape(parts, -1)
    each = of_parts.shape[1]
    places = jax.vmap(lambda row: _top_of_batch(row, min(k, each)))(of_parts)
    candidates = jnp.take_along_axis(of_parts, places, axis=1).ravel()
    places = (places + each * jnp.arange(parts, dtype=places.dtype)[:, None]).ravel()
    return places[_top_of_batch(candidates, k)]


def _top_of_batch(scores: Float[Array, " n"], k: int) -> Int[Array, " k"]:
    """`lax.top_k` for the signals of a batch, each on its own device.

    The compiler can split ``approx_max_k`` over devices. It is exact at a recall of 1, but does not
    specify the order of scores that tie.
    """
    n = len(scores)

    def largest(numbers):
        # Without the barrier XLA sorts all scores on a CPU, not only the largest.
        return lax.optimization_barrier(lax.approx_max_k(numbers, k, recall_target=1.0))

    scores = jnp.where(jnp.isnan(scores), jnp.inf, scores)
    least = largest(scores)[0][-1]
    # Scores above the least come first, then scores that tie with it, lowest index first. No two
    # of these numbers are equal.
    level = jnp.where(scores > least, 2 * n, jnp.where(scores == least, n, 0))
    places = largest((level - jnp.arange(n)).astype(jnp.float32))[1]
    values = scores[places]
    before = jnp.arange(k)[None, :] < jnp.arange(k)[:, None]
    larger, equal = values[None, :] > values[:, None], values[None, :] == values[:, None]
    ranks = jnp.sum(larger | (equal & before), axis=1)
    return jnp.zeros_like(places).at[ranks].set(places, unique_indices=True)


def _first_of_ties(scores: Float[Array, " n"], k: int, error: Any, weights: Any):
    """`top_indices`, but scores that tie with the ``k``-th largest come in order of their indices.

    It considers ties among the ``2 k`` largest scores only.
    """
    order = top_indices(scores, min(2 * k, len(scores)))
    values, last = lax.stop_gradient(scores)[order], order[k - 1]
    least = values[k - 1]
    error = jnp.maximum(error if weights is None else error * weights[last], least - tie_of(least))
    above, tied = values > least + error, jnp.abs(values - least) <= error
    before = jnp.sum(tied[None, :] & (order[None, :] < order[:, None]), axis=1)
    places = jnp.where(tied, jnp.sum(above) + before, jnp.arange(len(order)))
    at_place = places[None, :] == jnp.arange(k)[:, None]
    return jnp.sum(jnp.where(at_place, order[None, :], 0), axis=1, dtype=order.dtype)


def _keep(scores, k):
    indices = top_indices(scores, k)
    mask = jnp.zeros_like(lax.stop_gradient(scores))
    ones = jnp.ones(k, scores.dtype)
    return mask.at[indices].set(ones, unique_indices=True, mode="promise_in_bounds"), indices
