"""The results of selectors: rows of a permutation matrix, as indices or as dense vectors.

All relaxations share these two types. Both types hold one row or several rows, and have the same
functions. So code outside of this file need not know the type of a row, except to leave out
derivatives, which an index does not have.
"""

from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from greedyjax._numerics import first_argmax, index_range, matmul


class Indices(NamedTuple):
    """One-hot rows, each stored as the index of its 1, so that selecting an atom is a gather.

    Attributes:
        index: the atom of a single row, or one atom for each row.
    """

    index: Int[Array, "*k"]

    constant = True  # Indices are constant almost everywhere, so no derivative passes.

    @staticmethod
    def none_chosen(num_atoms: int, dtype) -> Bool[Array, " n"]:
        """The record ``chosen`` before the first choice."""
        del dtype
        return jnp.zeros(num_atoms, bool)

    @classmethod
    def empty(cls, num: int, num_atoms: int, dtype) -> "Indices":
        """Room for ``num`` rows."""
        del num_atoms, dtype
        return cls(jnp.zeros(num, jnp.int32))

    def join(self, chosen: Bool[Array, " n"], active: Any = True) -> Bool[Array, " n"]:
        """The record ``chosen`` with this row added, if it is ``active``."""
        return chosen | (index_range(len(chosen)) == jnp.where(active, self.index, -1))

    def put(self, slot: Int[Array, ""], row: Any) -> "Indices":
        """These rows, with ``row`` in place ``slot``."""
        return Indices(self.index.at[slot].set(row.index))

    def row(self, i: int) -> "Indices":
        """Row ``i`` of several rows."""
        return Indices(self.index[i])

    def atom(self, A: Any) -> Float[Array, "parts m"]:
        """The parts of the column that one row selects."""
        # Kept, or a GPU would collect it again for each of the atoms it is compared with.
        return lax.optimization_barrier(A.column_parts(self.index))

    @staticmethod
    def room(num: int, num_atoms: int) -> int:
        """The length of `scaled` rows, if there are ``num`` rows."""
        del num_atoms
        return num

    def slots(self) -> Int[Array, " k"]:
        """For each row the first row that selects the same atom."""
        rows = self.index
        same = rows[:, None] == rows[None, :]
        place = jnp.arange(len(rows), dtype=jnp.int32)[None, :]
        return jnp.min(jnp.where(same, place, len(rows) - 1), axis=1)

    def is_first(self) -> Bool[Array, " k"]:
        """For each row, whether no earlier row selects the same atom; such rows fill up groups."""
        return self.slots() == index_range(len(self.index))

    def scaled(
        self, factors: Float[Array, " n"], slot: Int[Array, ""], room: int
    ) -> Float[Array, " room"]:
        """One row times a factor per atom, in a space with one axis for each selected atom."""
        factor = factors.at[self.index].get(mode="promise_in_bounds")
        return jnp.where(index_range(room) == slot, factor, 0)

    def combine(
        self, coefficients: Float[Array, "parts k"], num_atoms: int
    ) -> Float[Array, "parts n"]:
        """``P^T z``: the coefficients at the selected atoms, added up where rows coincide."""
        x = jnp.zeros((len(coefficients), num_atoms), coefficients.dtype)
        return x.at[:, self.index].add(coefficients, mode="promise_in_bounds")

    def expanded(self, atoms: Int[Array, " k"], exist, members, num_atoms: int) -> "Indices":
        """Rows over groups of atoms, turned into rows over the atoms of these groups."""
        del exist, members, num_atoms
        return Indices(atoms)

    @property
    def support(self) -> Int[Array, "*k"]:
        """The atoms that the rows select."""
        return self.index

    def mask(self, num_atoms: int, dtype) -> Float[Array, " n"]:
        """The column sums of the rows, which are distinct."""
        ones = jnp.ones(len(self.index), dtype)
        zeros = jnp.zeros(num_atoms, dtype)
        return zeros.at[self.index].set(ones, mode="promise_in_bounds")

    def union(self, num_atoms: int, dtype) -> Float[Array, " n"]:
        """1 for atoms that any of the rows selects, 0 for all others."""
        return self.mask(num_atoms, dtype)


class SoftRows(NamedTuple):
    """Dense rows, each of which spreads a choice over all atoms.

    Attributes:
        weight: shape ``(n,)`` or, for several rows, ``(k, n)``; not negative, with sum 1.
    """

    weight: Float[Array, "*k n"]

    constant = False

    @staticmethod
    def none_chosen(num_atoms: int, dtype) -> Float[Array, " n"]:
        """The record ``chosen`` before the first choice."""
        return jnp.zeros(num_atoms, dtype)

    @classmethod
    def empty(cls, num: int, num_atoms: int, dtype) -> "SoftRows":
        """Room for ``num`` rows."""
        return cls(jnp.zeros((num, num_atoms), dtype))

    def join(self, chosen: Float[Array, " n"], active: Any = True) -> Float[Array, " n"]:
        """``1 - prod_i (1 - p_i)`` with this row among the ``p_i``, if it is ``active``."""
        joined = 1 - (1 - chosen) * (1 - self.weight)
        return joined if active is True else jnp.where(active, joined, chosen)

    def put(self, slot: Int[Array, ""], row: Any) -> "SoftRows":
        """These rows, with ``row`` in place ``slot``."""
        return SoftRows(self.weight.at[slot].set(row.weight))

    def row(self, i: int) -> "SoftRows":
        """Row ``i`` of several rows."""
        return SoftRows(self.weight[i])

    def atom(self, A: Any) -> Float[Array, "parts m"]:
        """The parts of ``A p``, the mean of the atoms under one row."""
        return A.times(self.weight[None])

    @staticmethod
    def room(num: int, num_atoms: int) -> int:
        """The length of `scaled` rows."""
        del num
        return num_atoms

    def slots(self) -> Int[Array, " k"]:
        """The places of the rows, which `scaled` does not use."""
        return jnp.arange(len(self.weight))

    def scaled(
        self, factors: Float[Array, " n"], slot: Int[Array, ""], room: int
    ) -> Float[Array, " n"]:
        """One row times a factor for each atom."""
        del slot, room
        return factors * self.weight

    def combine(
        self, coefficients: Float[Array, "parts k"], num_atoms: int
    ) -> Float[Array, "parts n"]:
        """``P^T z``: the coefficients spread over atoms by the rows."""
        del num_atoms
        return matmul(coefficients, self.weight)

    def expanded(
        self,
        atoms: Int[Array, " k"],
        exist: Bool[Array, " k"],
        members: Int[Array, "groups width"],
        num_atoms: int,
    ) -> "SoftRows":
        """Rows over groups of atoms, each expanded into one row for every place in a group.

        A row is 0 beyond the end of a group. An entry ``num_atoms`` of ``members`` is not an atom.
        """
        del atoms
        weight = jnp.atleast_2d(self.weight)
        k, (_, width) = len(weight), members.shape
        places = jnp.arange(width)[:, None]
        each = jnp.broadcast_to(weight[:, None, :], (k, width, weight.shape[1]))
        spread = jnp.zeros((k, width, num_atoms), weight.dtype)
        spread = spread.at[:, places, members.T].set(each, mode="drop").reshape(-1, num_atoms)
        return SoftRows(jnp.where(exist[:, None], spread, 0))

    @property
    def support(self) -> Int[Array, "*k"]:
        """The index of the largest entry of each row; -1 for a row of zeros."""
        return jnp.where(jnp.any(self.weight != 0, axis=-1), first_argmax(self.weight), -1)

    def mask(self, num_atoms: int, dtype) -> Float[Array, " n"]:
        """The column sums of the rows."""
        del num_atoms, dtype
        return jnp.sum(self.weight, axis=0)

    def union(self, num_atoms: int, dtype) -> Float[Array, " n"]:
        """``1 - prod_i (1 - p_i)`` over the rows."""
        del num_atoms, dtype
        return 1 - jnp.prod(1 - self.weight, axis=0)


Rows: TypeAlias = Indices | SoftRows
"""The return type of a selector: the indices of atoms, or a soft row for each choice."""
