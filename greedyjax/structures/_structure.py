"""The base class of structures, and the structure in which each atom is its own candidate."""

import abc
import dataclasses
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from greedyjax import _checks
from greedyjax._numerics import abs_sq, magnitude_of, safe_sqrt
from greedyjax.sorting import Rows, threshold_of

Own = TypeVar("Own", bound="Structure")


def check_structure(structure: Any, num_atoms: int) -> None:
    """Checks that ``structure`` is a structure whose candidates are disjoint groups of atoms.

    Raises:
        TypeError: JAX does not know ``structure`` as a pytree.
        ValueError: ``members`` does not return a table of atoms, or ``pool`` returns a wrong shape.
    """
    name = type(structure).__name__
    if jax.tree_util.all_leaves([structure]):
        expected = "a dataclass registered by jax.tree_util.register_dataclass"
        _checks.fail(TypeError, "structure", expected, f"{name}, which is not registered")
    members = structure.members(num_atoms)
    shape = jnp.shape(members)
    if len(shape) != 2 or 0 in shape or not jnp.issubdtype(jnp.result_type(members), jnp.integer):
        expected = "integers of shape (candidates, width)"
        got = f"{jnp.result_type(members)} of shape {shape}"
        _checks.fail(ValueError, "structure.members(n)", expected, got)
    if not _checks.is_traced(members):
        table = np.asarray(members)
        atoms = table[table != num_atoms]
        if atoms.size and (atoms.min() < 0 or atoms.max() > num_atoms):
            expected = f"atoms from 0 to {num_atoms - 1}, and {num_atoms} to fill up"
            got = f"{atoms.min() if atoms.min() < 0 else atoms.max()}"
            _checks.fail(ValueError, "structure.members(n)", expected, got)
        values, counts = np.unique(atoms, return_counts=True)
        if counts.size and counts.max() > 1:
            got = f"atom {values[counts.argmax()]} {counts.max()} times"
            _checks.fail(ValueError, "structure.members(n)", "each atom at most once", got)
        if np.any(table[:, 0] == num_atoms):
            expected = "at least one atom in each row, the first in the first place"
            got = f"none in row {int(np.flatnonzero(table[:, 0] == num_atoms)[0])}"
            _checks.fail(ValueError, "structure.members(n)", expected, got)
    pooled = jax.eval_shape(structure.pool, jax.ShapeDtypeStruct((num_atoms,), jnp.float32))
    if getattr(pooled, "shape", None) != shape[:1]:
        got = f"shape {getattr(pooled, 'shape', type(pooled).__name__)}"
        expected = f"shape ({shape[0]},), one score for each candidate"
        _checks.fail(ValueError, "structure.pool(scores)", expected, got)


class Structure(abc.ABC):
    """Which atoms are chosen together. The candidates of a choice are disjoint groups of atoms.

    A structure is a frozen dataclass that JAX knows as a pytree. A subclass defines `members`, and
    `pool` if the score of a group is not the norm of its atoms' scores. Weights multiply the
    magnitudes of atoms: ``scores = pool(weights * magnitudes(correlations))``.
    """

    #: Whether a problem has several snapshots, ``y`` of shape ``(m, L)``, that share their support.
    snapshots = False
    #: The sparsity that a solver has to have; None if the structure allows any.
    sparsity: int | None = None
    #: Whether the entries of signals are at least 0. `allowed` and the fit ensure this.
    nonnegative = False

    @abc.abstractmethod
    def members(self, num_atoms: int) -> Int[Array, "candidates width"]:
        """The atoms of each candidate. The number ``num_atoms`` fills up shorter candidates."""

    @property
    def is_plain(self) -> bool:
        """Whether each atom is a candidate of its own, so that there is nothing to expand."""
        return isinstance(self, Plain)

    def shape(self, num_atoms: int) -> tuple[int, int]:
        """The number of candidates, and the number of atoms of the largest candidate."""
        num, width = jax.eval_shape(lambda: self.table(num_atoms)).shape
        return num, width

    def checked(self: Own, num_atoms: int) -> Own:
        """The structure for this number of atoms, with its settings checked."""
        del num_atoms
        return self

    def magnitudes(self, correlations: Float[Array, "parts *snapshots n"]) -> Float[Array, " n"]:
        """Turns the correlations ``a_j* r`` into one number per atom, which is not negative.

        ``correlations[0]`` has the real parts. If the problem is complex, ``correlations[1]`` has
        the imaginary parts.
        """
        return magnitude_of(correlations)

    def pool(self, scores: Float[Array, " n"]) -> Float[Array, " candidates"]:
        """The score of each candidate: the norm of the scores of its atoms."""
        return safe_sqrt(self.total(abs_sq(scores)))

    def allowed(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """The allowed entries of a signal that are nearest to ``values``, part by part."""
        return values

    # The functions below are the same for most structures.

    def table(self, num_atoms: int) -> Int[Array, "candidates width"]:
        """The members, as int32 indices."""
        return jnp.asarray(self.members(num_atoms), jnp.int32)

    def total(self, values: Float[Array, " n"]) -> Float[Array, " candidates"]:
        """For each candidate the sum of the values of its atoms."""
        members = self.table(len(values))
        return jnp.sum(values.at[members].get(mode="fill", fill_value=0), axis=1)

    def spread(self, values: Float[Array, " candidates"], num_atoms: int) -> Float[Array, " n"]:
        """For each atom the value of its candidate; 0 for an atom without a candidate."""
        members = self.table(num_atoms)
        each = jnp.broadcast_to(values[:, None], members.shape)
        return jnp.zeros(num_atoms, values.dtype).at[members].set(each, mode="drop")

    def met(self, chosen: Array | None) -> Array | None:
        """Which candidates have been chosen, from a mask of atoms."""
        if chosen is None:
            return None
        return chosen.at[self.table(len(chosen))[:, 0]].get(mode="fill", fill_value=0)

    def choosing(self, selector: Any) -> Any:
        """The selector that chooses among the candidates: the given selector, or one around it."""
        return selector

    def closed(self, chosen: Array | None) -> Array | None:
        """Which candidates a hard selector leaves out: by default the chosen candidates."""
        return chosen

    def threshold(self, scores: Float[Array, " candidates"], k: int) -> Float[Array, "*levels"]:
        """The middle between the ``k`` chosen scores and the others."""
        return threshold_of(scores, k)

    def atoms(
        self, candidates: Int[Array, " k"], num_atoms: int
    ) -> tuple[Int[Array, " places"], Bool[Array, " places"]]:
        """The atoms of candidates, one candidate after the other, and which of these places exist.

        If a candidate has fewer atoms than others, its first atom fills up the places.
        """
        members = self.table(num_atoms)[candidates]
        exist = members < num_atoms
        return jnp.where(exist, members, members[:, :1]).ravel(), exist.ravel()

    def expand(self, rows: Rows, num_atoms: int) -> tuple[Rows, Bool[Array, " places"]]:
        """Turns rows over candidates into rows over atoms, and says which of these exist.

        A hard row becomes one row for each atom of its candidate. A soft row with entries ``p_b``
        becomes as many rows as the largest candidate has atoms. Row ``w`` has ``p_b`` at atom
        number ``w`` of each candidate ``b``. So soft rows depend on the order of atoms inside
        candidates, and their limit does not. The candidate with the largest entry decides how many
        rows exist; all other rows are 0.
        """
        atoms, exist = self.atoms(jnp.atleast_1d(rows.support), num_atoms)
        return rows.expanded(atoms, exist, self.table(num_atoms), num_atoms), exist


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Plain(Structure):
    """Each atom is a candidate of its own."""

    def members(self, num_atoms: int) -> Int[Array, "candidates width"]:
        """The atoms."""
        return jnp.arange(num_atoms)[:, None]

    def shape(self, num_atoms: int) -> tuple[int, int]:
        """As many candidates as atoms."""
        return num_atoms, 1

    def pool(self, scores: Float[Array, " n"]) -> Float[Array, " candidates"]:
        """The scores, unchanged."""
        return scores

    def total(self, values: Float[Array, " n"]) -> Float[Array, " candidates"]:
        """The values, unchanged."""
        return values

    def spread(self, values: Float[Array, " candidates"], num_atoms: int) -> Float[Array, " n"]:
        """The values, unchanged."""
        del num_atoms
        return values

    def met(self, chosen: Array | None) -> Array | None:
        """The mask, unchanged."""
        return chosen

    def atoms(
        self, candidates: Int[Array, " k"], num_atoms: int
    ) -> tuple[Int[Array, " places"], Bool[Array, " places"]]:
        """The candidates, unchanged."""
        del num_atoms
        return candidates, jnp.ones(len(candidates), bool)

    def expand(self, rows: Rows, num_atoms: int) -> tuple[Rows, Bool[Array, " places"]]:
        """The rows, unchanged."""
        del num_atoms
        return rows, jnp.ones(jnp.shape(rows.support) or (1,), bool)
