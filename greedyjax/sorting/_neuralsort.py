"""NeuralSort (Grover, Wang, Zweig and Ermon, ICLR 2019)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from greedyjax.sorting._relaxation import Relaxation
from greedyjax.sorting._rows import SoftRows
from greedyjax.sorting._softsort import cooled, rank_of, rounding_of, top_values


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NeuralSort(Relaxation):
    """Row ``i`` is ``softmax(((n + 1 - 2 i) v_j - sum_l |v_j - v_l|) / tau)``.

    Let ``a`` be the scores in falling order, with gaps ``g_t = a_t - a_{t+1}``. Then row ``i`` is a
    softmax of ``-sum_{t=i}^{j-1} (2 (t - i) + 1) g_t / tau`` below the ``i``-th largest score, and
    likewise above. So the distance to the nearest score counts as in softsort, and a distance
    counts more if more scores lie in between. If all ``k`` gaps are positive, the rows tend to the
    rows of `hardsort` as ``tau`` goes to 0. Equal scores share a row's mass equally. A row costs a
    sort of all scores.

    Attributes:
        tau: temperature > 0, in the units of the scores.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.sorting import NeuralSort
        >>> NeuralSort(jnp.array(0.5)).first(jnp.array([1.0, 3.0, 2.0]), 1).weight.round(3).tolist()
        [[0.0, 0.881, 0.119]]

    References:
        Grover, Wang, Zweig and Ermon, "Stochastic optimization of sorting networks via continuous
        relaxations", ICLR 2019.
    """

    tau: Any

    def first(self, scores: Float[Array, " n"], k: int, chosen: Array | None = None) -> SoftRows:
        """The first ``k`` rows."""
        del chosen
        n = len(scores)
        a, order = top_values(scores, n)
        # Sums of gaps, plain and weighted by twice their place, in the order of falling scores.
        place = jnp.arange(n, dtype=a.dtype)
        weighted = jnp.pad(jnp.cumsum(2 * place[:-1] * (a[:-1] - a[1:])), (1, 0))
        ranks = rank_of(order, n)
        at = weighted.at[ranks].get(unique_indices=True, mode="promise_in_bounds")
        i = place[:k, None]
        distance = (at[None, :] - weighted[:k, None]) + (2 * i - 1) * (
            scores[None, :] - a[:k, None]
        )
        # Sums of k gaps have k times the rounding of a score.
        return SoftRows(jax.nn.softmax(cooled(distance, self.tau, 2 * k * rounding_of(scores))))
