"""A gate that depends only on the boundary between kept and other scores, not on their order."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from greedyjax._numerics import index_range
from greedyjax.sorting._hardsort import top_indices
from greedyjax.sorting._relaxation import logistic_loss


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BoundaryGate:
    """``d_j = s((v_j - theta) / tau)``, with the sigmoid ``s`` and a threshold ``theta``.

    ``theta`` lies halfway between the ``k``-th and the next score, whose distance is the gap
    ``g``. All entries are in (0, 1). No entry differs by more than ``exp(-g / (2 tau))`` from the
    mask of `topk_mask`, however close scores on one side of the boundary are to each other. The
    mask of softsort is so close only if all ``k`` gaps are wide. But the entries of this mask need
    not sum to ``k``: if all scores are equal, each entry is one half. It has no rows, so it serves
    only solvers that choose by masks, such as `soft_iht` and `IHTNet`.

    Attributes:
        tau: temperature > 0, in the units of the scores.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.sorting import BoundaryGate
        >>> BoundaryGate(jnp.array(0.25)).keep(jnp.array([1.0, 3.0, 2.0]), 2)[0].round(3).tolist()
        [0.119, 0.998, 0.881]

    References:
        The idea of a threshold between the scores: Struski, Bednarczyk, Podolak and Tabor,
        "LapSum - one method to differentiate them all", ICML 2025. The bound is this library's own.
    """

    tau: Any

    #: For a backward pass, storing the mask takes less time than computing it again.
    recomputed: ClassVar = False

    def keep(
        self, scores: Float[Array, " n"], k: int
    ) -> tuple[Float[Array, " n"], Int[Array, " k"]]:
        """The mask, and the indices of the ``k`` largest scores."""
        n = len(scores)
        if k == n:
            return jnp.ones_like(scores), top_indices(scores, k)
        # Without the barrier XLA sorts all scores on a CPU, not only the largest.
        order = lax.optimization_barrier(top_indices(scores, k + 1))
        place = index_range(n)
        edges = (place == order[k - 1]) | (place == order[k])
        theta = jnp.sum(jnp.where(edges, scores, 0)) / 2
        return jax.nn.sigmoid((scores - theta) / self.tau), order[:k]

    def kept_loss(
        self,
        scores: Float[Array, " n"],
        targets: Float[Array, " n"],
        threshold: Float[Array, ""],
        k: int,
    ) -> Float[Array, ""]:
        """``k sum_{j in S} t_j p(-z_j) + (k/n) sum_{j not in S} p(z_j)``, ``p`` softplus.

        With ``z = (scores - threshold) / tau`` this is a cross-entropy with the gate itself.
        """
        return logistic_loss((scores - lax.stop_gradient(threshold)) / self.tau, targets, k)
