"""Pairs of neighbouring atoms, as somebody outside of the package would write them."""

import dataclasses

import jax
import jax.numpy as jnp

from greedyjax.structures import Structure


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pairs(Structure):
    """Atoms 2 i and 2 i + 1 are chosen together; of an odd number the last one stands alone."""

    def members(self, num_atoms):
        return jnp.arange(num_atoms + num_atoms % 2, dtype=jnp.int32).reshape(-1, 2)
