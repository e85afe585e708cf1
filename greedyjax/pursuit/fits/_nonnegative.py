"""Least squares on rows, hard or soft, with coefficients that are at least 0."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from greedyjax._numerics import eps, norm
from greedyjax.linalg.nonnegative import nonnegative_least_squares
from greedyjax.pursuit._problem import Problem
from greedyjax.pursuit.fits._least_squares import LeastSquares
from greedyjax.sorting import Rows


class Cone(NamedTuple):
    """The atoms added so far, and what is fitted with coefficients that are at least 0.

    Attributes:
        residual: what is left of ``y``, with a leading axis for snapshots where there are several.
        coefficients: of each atom.
        atoms: flat, as the residual; 0 where none was added.
        rows: that chose them.
        support: the atom that each row points at.
        taken: which were added before the stop.
        chosen: which atoms have been added; None where nobody asks.
        count: how many.
    """

    residual: Float[Array, "*snapshots row"]
    coefficients: Float[Array, "*snapshots k"]
    atoms: Float[Array, "k row"]
    rows: Any
    support: Int[Array, " k"]
    taken: Bool[Array, " k"]
    chosen: Any
    count: Int[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NonNegativeLeastSquares(LeastSquares):
    """`LeastSquares` with ``z >= 0``, for signals that a structure keeps from being negative.

    Each atom may send coefficients of earlier ones to 0, so all are fitted again in each step, from
    where they were. A row has no negative entries, so ``x = P^T z >= 0`` too.

    Attributes:
        penalty: as in `LeastSquares`.
    """

    def for_nonnegative(self) -> "LeastSquares":
        """Itself."""
        return self

    def start(self, problem: Problem, turn: Any, num: int, *, keep_rows: bool = True) -> Cone:
        """Nothing added yet, and room for ``num`` atoms."""
        span = super().start(problem, turn, num, keep_rows=keep_rows)
        dtype, row = span.residual.dtype, span.residual.shape[-1]
        return Cone(
            residual=span.residual,
            coefficients=jnp.zeros((*span.residual.shape[:-1], num), dtype),
            atoms=jnp.zeros((num, row), dtype),
            rows=span.rows,
            support=span.support,
            taken=span.taken,
            chosen=span.chosen,
            count=span.count,
        )

    def goes_on(self, problem: Problem, state: Cone) -> Bool[Array, ""]:
        """Whether anything is left to fit, and an atom correlates with it positively."""
        nothing = 8 * eps(problem.y.dtype) * norm(problem.y)
        best = jnp.max(self.correlations(problem, state))
        # Not `>`: a NaN must show.
        return super().goes_on(problem, state) & ~(best <= nothing)

    def add(self, problem: Problem, state: Cone, row: Rows, active: Any) -> Cone:
        """The fit on one atom more."""
        slot, length = state.count, state.residual.shape[-1]
        atom = self.atom(problem, row, slot, length)
        atoms = state.atoms.at[slot].set(jnp.where(active, atom, 0))
        one = lambda target, start: nonnegative_least_squares(atoms, target, start)
        each = jax.vmap(one) if problem.has_snapshots else one
        found = each(self.target(problem, length), state.coefficients)
        return Cone(
            residual=found.residual,
            coefficients=found.coefficients,
            atoms=atoms,
            rows=state.rows.put(slot, row),
            support=state.support.at[slot].set(row.support),
            taken=state.taken.at[slot].set(active),
            chosen=None if state.chosen is None else row.join(state.chosen, active),
            count=slot + 1,
        )

    def spread(self, problem: Problem, state: Cone) -> Float[Array, "parts *snapshots n"]:
        """The coefficients over columns of norm 1, by parts."""
        n = problem.shape[1]
        combine = lambda z: state.rows.combine(z, n)
        return problem.each(combine)(state.coefficients[None])

    def fitted(self, parts: int, atoms: Float[Array, "k row"], target: Float[Array, " row"]):
        """The coefficients >= 0 of a target over atoms, and the residual."""
        del parts  # One, as all is real.
        found = nonnegative_least_squares(atoms, target, jnp.zeros(len(atoms), target.dtype))
        return found.coefficients, found.residual
