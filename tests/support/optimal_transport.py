"""Sorting by optimal transport, as somebody outside of the package would write it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp

from greedyjax.sorting import Relaxation, SoftRows


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OptimalTransport(Relaxation):
    """Entropic transport of scores to ranks: each of the first k takes one, a last one the rest."""

    tau: Any

    def first(self, scores, k, chosen=None):
        num = min(k, len(scores) - 1)  # Of n ranks the last one takes the one that is left.
        largest = lax.top_k(scores, num + 1)[0]
        excess = (scores[None, :] - (largest[:-1, None] + largest[1:, None]) / 2) / self.tau
        z = jnp.pad(lax.cumsum(excess, reverse=True), ((0, 1), (0, 0)))
        mass = jnp.log(jnp.ones(num + 1, z.dtype).at[num].set(len(scores) - num))
        by_score = lambda f: -logsumexp(z + f[:, None], axis=0)
        by_rank = lambda g: mass - logsumexp(z + g[None, :], axis=1)
        f = lax.fori_loop(0, 20, lambda _, f: by_rank(by_score(f)), jnp.zeros_like(mass))
        return SoftRows(jax.nn.softmax(z + by_score(f)[None, :])[:k])
