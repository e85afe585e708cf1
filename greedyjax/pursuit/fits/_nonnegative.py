"""Least squares on rows, hard or soft, with coefficients that are at least 0.

It uses residuals, or for hard rows the Gram matrix. Non-negative least squares needs only the
correlations ``c = A* y`` and a few rows of ``G = A* A``, so no step reads the ``m`` measurements.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from greedyjax._numerics import eps, matmul, norm
from greedyjax.linalg.nonnegative import nonnegative_least_squares, positive_coefficients
from greedyjax.pursuit._problem import Answer, Known, Problem
from greedyjax.pursuit.fits._least_squares import LeastSquares
from greedyjax.sorting import Indices, Rows


class Cone(NamedTuple):
    """The atoms added so far, and a fit with coefficients that are at least 0.

    Attributes:
        residual: the residual of ``y``, with a leading axis if there are several snapshots.
        coefficients: the coefficient of each atom.
        atoms: the atoms as flat vectors, like the residual; 0 in unused places.
        rows: the rows that chose the atoms.
        support: the atom that each row selects.
        taken: which rows were added before the solver stopped.
        chosen: the record of added atoms; None if no choice depends on it.
        count: the number of steps so far.
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
    """`LeastSquares` with ``z >= 0``, for the structure `greedyjax.structures.NonNegative`.

    A new atom may send coefficients of earlier atoms to 0. So each step fits all atoms again, and
    starts from their present coefficients. Rows have no negative entries, so ``x = P^T z >= 0``
    too.

    Attributes:
        penalty: as in `LeastSquares`.
    """

    def for_nonnegative(self) -> "LeastSquares":
        """The fit itself."""
        return self

    def start(self, problem: Problem, turn: Any, num: int, *, keep_rows: bool = True) -> Cone:
        """The state without atoms, with room for ``num`` atoms."""
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

    def goes_on(self, problem: Problem, state: Any) -> Bool[Array, ""]:
        """Whether anything is left to fit, and an atom has a positive correlation with it."""
        nothing = 8 * eps(problem.y.dtype) * norm(problem.y)
        best = jnp.max(self.correlations(problem, state))
        # Not `>`, so that a NaN is passed on.
        return super().goes_on(problem, state) & ~(best <= nothing)

    def add(self, problem: Problem, state: Cone, row: Rows, active: Any) -> Cone:
        """The state with one more atom."""
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
        """The non-negative coefficients of a target over atoms, and the residual."""
        del parts  # It is 1, because all numbers are real.
        found = nonnegative_least_squares(atoms, target, jnp.zeros(len(atoms), target.dtype))
        return found.coefficients, found.residual


class Correlated(NamedTuple):
    """The state of the pursuit of one signal by a Gram matrix.

    Attributes:
        projections: ``A* y``.
        correlations: ``A* r``.
        coefficients: the coefficient of each atom.
        support: atoms in the order of choice.
        taken: which atoms were added before the solver stopped.
        chosen: which atoms have been added.
        count: the number of steps so far.
    """

    projections: Float[Array, " n"]
    correlations: Float[Array, " n"]
    coefficients: Float[Array, " k"]
    support: Int[Array, " k"]
    taken: Bool[Array, " k"]
    chosen: Bool[Array, " n"]
    count: Int[Array, ""]

    @property
    def accurate(self) -> Bool[Array, ""]:
        """Always True, because the form by residuals uses the same Gram matrix."""
        return jnp.asarray(True)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NonNegativeGram(NonNegativeLeastSquares):
    """`NonNegativeLeastSquares` for hard rows, from the Gram matrix ``A* A``.

    The steps are constants to derivatives. The answer fits the chosen atoms again, by residuals.
    """

    uses_gram = True

    def start(self, problem: Problem, turn: Any, num: int, *, keep_rows: bool = True) -> Correlated:
        """The state without atoms, with room for ``num`` atoms."""
        del turn, keep_rows
        n, dtype = problem.shape[1], problem.y.dtype
        projections = problem.projections
        if projections is None:
            projections = problem.correlations(problem.y)[0]
        projections = lax.stop_gradient(projections)
        return Correlated(
            projections=projections,
            correlations=projections,
            coefficients=jnp.zeros(num, dtype),
            support=jnp.zeros(num, jnp.int32),
            taken=jnp.zeros(num, bool),
            chosen=jnp.zeros(n, bool),
            count=jnp.zeros((), jnp.int32),
        )

    def correlations(self, problem: Problem, state: Correlated) -> Float[Array, "parts n"]:
        """``a_j* r`` over columns of norm 1."""
        del problem
        return state.correlations[None]

    def goes_on(self, problem: Problem, state: Correlated) -> Bool[Array, ""]:
        """Whether an atom has a positive correlation with the residual."""
        nothing = 8 * eps(problem.y.dtype) * norm(problem.y)
        # Not `>`, so that a NaN is passed on.
        return lax.stop_gradient(~(jnp.max(state.correlations) <= nothing))

    def add(self, problem: Problem, state: Correlated, row: Indices, active: Any) -> Correlated:
        """The state with one more atom."""
        slot, y = state.count, lax.stop_gradient(problem.y)
        support = state.support.at[slot].set(row.index)
        taken = state.taken.at[slot].set(active)
        of_atoms = lambda z: z.at[support].get(mode="promise_in_bounds")
        rows = jnp.where(taken[:, None], of_atoms(lax.stop_gradient(problem.system.gram)), 0)
        gram = jnp.where(taken[:, None], of_atoms(rows.T), 0)
        along = jnp.where(taken, of_atoms(state.projections), 0)
        if self.penalty is not None:
            gram = gram + jnp.diag(jnp.where(taken, of_atoms(lax.stop_gradient(self.penalty)), 0))
        nothing = 8 * eps(y.dtype) * norm(y)
        z, inverse = positive_coefficients(gram, along, state.coefficients, nothing)
        z = z + matmul(inverse, along - matmul(gram, z))
        z = jnp.where(z <= 0, 0, z)
        return Correlated(
            projections=state.projections,
            correlations=state.projections - matmul(z, rows),
            coefficients=z,
            support=support,
            taken=taken,
            chosen=row.join(state.chosen, active),
            count=slot + 1,
        )

    def known(self, problem: Problem, state: Correlated) -> Known:
        """The atoms that have been added, and their coefficients over columns of norm 1."""
        rows, n = Indices(state.support), problem.shape[1]
        return Known(lambda: state.chosen, lambda: rows.combine(state.coefficients[None], n)[0])

    def answer(self, problem: Problem, state: Correlated) -> Answer:
        """The fit of the chosen atoms. The first atom is repeated in unused places."""
        support, taken = state.support, state.taken
        x, residual = self.solve(problem, Indices(jnp.where(taken, support, support[0])))
        return Answer(
            x=problem.signal(problem.over_columns(x)),
            residual=residual,
            support=jnp.where(taken, support, -1),
            num_steps=jnp.sum(taken, dtype=jnp.int32),
        )
