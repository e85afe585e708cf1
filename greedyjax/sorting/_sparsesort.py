"""Softsort with sparsemax in place of softmax: most entries of a row are exactly 0."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from greedyjax._meshes import varying_like
from greedyjax._numerics import safe_inverse
from greedyjax.sorting._relaxation import Relaxation, logistic_loss
from greedyjax.sorting._rows import SoftRows
from greedyjax.sorting._softsort import cooled, distances, rounding_of


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SparseSort(Relaxation):
    """Row ``i`` is ``sparsemax_j(-|v_(i) - v_j| / tau)``, the nearest point of the simplex.

    In row ``i``, a score further than ``tau`` from the ``i``-th largest has the entry 0. So if all
    gaps are above ``tau``, the rows equal the rows of `hardsort`, and their derivative is 0. A
    solver that misses an atom then has no gradient towards this atom. The losses of choices are the
    Fenchel-Young losses of sparsemax. Their gradient ``p - t`` is not 0 for a missed atom.

    Attributes:
        tau: temperature > 0, in the units of the scores.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.sorting import SparseSort
        >>> SparseSort(jnp.array(2.0)).first(jnp.array([1.0, 3.0, 2.0]), 1).weight.tolist()
        [[0.0, 0.75, 0.25]]

    References:
        Martins and Astudillo, "From softmax to sparsemax", ICML 2016; Prillo and Eisenschlos,
        "SoftSort", ICML 2020; Blondel, Martins and Niculae, "Learning with Fenchel-Young losses",
        JMLR 2020.
    """

    tau: Any

    def first(self, scores: Float[Array, " n"], k: int, chosen: Array | None = None) -> SoftRows:
        """The first ``k`` rows."""
        del chosen
        z = cooled(distances(scores, k), self.tau, rounding_of(scores))
        return SoftRows(jax.vmap(sparsemax)(z))

    def next_loss(
        self, scores: Float[Array, " n"], targets: Float[Array, " n"]
    ) -> Float[Array, ""]:
        """``(|t|^2 + |z|^2 - |p - z|^2) / 2 - <z, t>`` with ``p = sparsemax(z)``.

        Here ``z = scores / tau``, and ``t`` has the targets scaled to sum 1. If all targets are 0,
        the loss is 0.
        """
        z = (scores - lax.stop_gradient(jnp.max(scores))) / self.tau
        p = sparsemax(z)
        total = jnp.sum(targets)
        t = targets * safe_inverse(total)
        loss = jnp.sum((p - t) * z) - jnp.sum(p * p) / 2 + jnp.sum(t * t) / 2
        return jnp.where(total > 0, loss, 0)

    def kept_loss(
        self,
        scores: Float[Array, " n"],
        targets: Float[Array, " n"],
        threshold: Float[Array, ""],
        k: int,
    ) -> Float[Array, ""]:
        """`logistic_loss` with the sparse counterpart of softplus, whose slope is 0, then 1."""
        z = (scores - lax.stop_gradient(threshold)) / self.tau
        return logistic_loss(z, targets, k, jax.nn.sparse_plus)


def sparsemax(z: Float[Array, " n"]) -> Float[Array, " n"]:
    """The point of the simplex that is nearest to ``z``, whose largest entry is 0.

    It is ``max(z - theta, 0)`` with sum 1. Newton's method finds ``theta`` from below, and each of
    its steps removes entries from the support. Derivatives treat the support as fixed.
    """
    fixed = lax.stop_gradient(z)

    def mean_excess(inside):
        return (jnp.sum(jnp.where(inside, fixed, 0)) - 1) / jnp.sum(inside, dtype=z.dtype)

    def moving(state):
        return state[1]

    def refine(state):
        inside, _ = state
        fewer = inside & (fixed > mean_excess(inside))
        return fewer, jnp.any(fewer != inside)

    start = varying_like((fixed > -1, jnp.asarray(True)), fixed)
    inside, _ = lax.while_loop(moving, refine, start)
    theta = (jnp.sum(jnp.where(inside, z, 0)) - 1) / jnp.sum(inside, dtype=z.dtype)
    return jnp.where(inside, z - theta, 0)
