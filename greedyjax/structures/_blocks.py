"""Blocks of atoms that are chosen together."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from greedyjax import _checks
from greedyjax.structures._structure import Structure


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Blocks(Structure):
    """Blocks of atoms, of equal or unequal sizes. A solver chooses ``sparsity`` blocks.

    The score of a block is the norm of the weighted correlations of its atoms.

    Attributes:
        ids: integers, shape ``(n,)``, the block of each atom, counted from 0. Not traced, because
            it sets shapes.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> blocks = gj.structures.Blocks(jnp.array([0, 0, 1, 1]))
        >>> y = jnp.array([2.0, 2.0, 2.5, 0.0])
        >>> gj.omp(jnp.eye(4), y, sparsity=1, structure=blocks).support.tolist()
        [0, 1]

    References:
        Eldar, Kuppinger and Bölcskei, "Block-sparse signals: uncertainty relations and efficient
        recovery", IEEE Transactions on Signal Processing 58 (2010).
    """

    ids: Any
    _members: Any = dataclasses.field(default=None, repr=False)

    def checked(self, num_atoms: int) -> "Blocks":
        """The same, with a table of the atoms of each block."""
        if self._members is not None and self._members.size >= num_atoms == len(self.ids):
            return self  # Checked before; ids may be traced by now.
        ids, num = _checks.ids("structure.ids", self.ids, num_atoms, "block")
        sizes = np.bincount(ids, minlength=num)
        table = np.full((num, sizes.max()), num_atoms)
        order = np.argsort(ids, kind="stable")
        place = np.arange(num_atoms) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        table[ids[order], place] = order
        table = jnp.asarray(table, jnp.int32)
        return dataclasses.replace(self, ids=jnp.asarray(ids, jnp.int32), _members=table)

    def members(self, num_atoms: int) -> Int[Array, "candidates width"]:
        """The atoms of each block."""
        del num_atoms
        return self._members

    def spread(self, values: Float[Array, " candidates"], num_atoms: int) -> Float[Array, " n"]:
        """For each atom the value of its block."""
        del num_atoms
        return values.at[self.ids].get(mode="promise_in_bounds")
