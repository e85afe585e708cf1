"""Least squares on rows, hard or soft, by an orthonormal basis of their atoms."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from greedyjax import _checks
from greedyjax._numerics import matmul, norm, penalty_root
from greedyjax.linalg.basis import Basis, empty_basis, extend
from greedyjax.linalg.least_squares import least_squares
from greedyjax.linalg.operators import join
from greedyjax.pursuit._problem import Answer, Known, Problem, System
from greedyjax.sorting import Rows


class Span(NamedTuple):
    """The atoms added so far; vectors are flat, by parts, and of the length of atoms.

    Attributes:
        residual: what is left of ``y``.
        along: what each atom took from it, ``q_i* r``.
        basis: of the atoms.
        rows: that chose them; None where they are not kept.
        support: the atom that each row points at.
        taken: which were added before the stop.
        chosen: which atoms have been added; None where nobody asks.
        count: how many.
        x: the coefficients spread over all atoms, by parts, where they are known already.
    """

    residual: Float[Array, " row"]
    along: Float[Array, "k parts"]
    basis: Basis
    rows: Any
    support: Int[Array, " k"]
    taken: Bool[Array, " k"]
    chosen: Any
    count: Int[Array, ""]
    x: Any = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """Least squares on the chosen atoms, grown by one step of Gram-Schmidt an atom.

    A penalty makes it a ridge regression, ``||y - A x||^2 + sum_j penalty_j |x_j|^2`` with
    ``x = P^T z``. That is least squares of longer vectors: below ``A p`` an atom has the entries
    ``sqrt(penalty_j) p_j``, of those atoms that rows can select, and ``y`` has 0 there.

    Attributes:
        penalty: real and >= 0, shape ``(n,)``, in the units of ``A^2``; None for none.
    """

    penalty: Any = None

    uses_gram = False

    def checked(self, num_atoms: int) -> "LeastSquares":
        """With a penalty that is none checked."""
        if self.penalty is None:
            return self
        return dataclasses.replace(self, penalty=_checks.penalty(self.penalty, num_atoms))

    def prepared(self, system: System) -> "LeastSquares":
        """With the penalty of coefficients over columns of norm 1."""
        if self.penalty is None:
            return self
        scale = system.column_scale
        penalty = self.penalty.astype(scale.dtype) * (scale / system.scale) ** 2
        return dataclasses.replace(self, penalty=penalty)

    # --- Atoms one by one ------------------------------------------------------------------------

    def start(self, problem: Problem, turn: Any, num: int, *, keep_rows: bool = True) -> Span:
        """Nothing added yet, and room for ``num`` atoms."""
        parts, m = problem.y.shape
        n, dtype = problem.shape[1], problem.y.dtype
        kind = turn.selector.rows
        length = self.length(kind, m, num, n)
        seen = kind.constant or not turn.weighting.is_fixed
        return Span(
            residual=jnp.pad(problem.y, ((0, 0), (0, length - m))).ravel(),
            along=jnp.zeros((num, parts), dtype),
            basis=empty_basis(num, length, parts, dtype),
            rows=kind.empty(num, n, dtype) if keep_rows else None,
            support=jnp.zeros(num, jnp.int32),
            taken=jnp.zeros(num, bool),
            chosen=kind.none_chosen(n, dtype) if seen else None,
            count=jnp.zeros((), jnp.int32),
        )

    def correlations(self, problem: Problem, state: Span) -> Float[Array, "parts n"]:
        """``a_j* r`` over columns of norm 1, by parts."""
        return problem.correlations(self.measured(problem, state.residual))

    def goes_on(self, problem: Problem, state: Span) -> Bool[Array, ""]:
        """``||r|| > problem.enough``, or 0 where that is None."""
        # Not `>`: a NaN must run to the end and show, not look like a signal that has converged.
        left = norm(self.measured(problem, state.residual))
        return ~(left <= (0 if problem.enough is None else problem.enough))

    def add(self, problem: Problem, state: Span, row: Rows, active: Any) -> Span:
        """The fit on one atom more."""
        slot, parts = state.count, len(problem.y)
        atom = self.atom(problem, row, slot, len(state.residual) // parts)
        basis, q = extend(state.basis, atom, slot, active)
        along = matmul(q, state.residual)
        return Span(
            residual=state.residual - matmul(along, q),
            along=state.along.at[slot].set(along),
            basis=basis,
            rows=None if state.rows is None else state.rows.put(slot, row),
            support=state.support.at[slot].set(row.support),
            taken=state.taken.at[slot].set(active),
            chosen=None if state.chosen is None else row.join(state.chosen, active),
            count=slot + 1,
        )

    def known(self, problem: Problem, state: Span) -> Known:
        """The atoms that have been added, and their coefficients over columns of norm 1."""
        return Known(lambda: state.chosen, lambda: join(self.spread(problem, state)))

    def spread(self, problem: Problem, state: Span) -> Float[Array, "parts n"]:
        """The coefficients over columns of norm 1, by parts."""
        if state.x is not None:
            return state.x
        z = state.basis.coefficients(state.along).reshape(len(problem.y), -1)
        return state.rows.combine(z, problem.shape[1])

    def answer(self, problem: Problem, state: Span) -> Answer:
        """What the fit means."""
        return Answer(
            x=problem.system.column_scale * join(self.spread(problem, state)),
            residual=self.measured(problem, state.residual),
            support=jnp.where(state.taken, state.support, -1),
            num_steps=jnp.sum(state.taken, dtype=jnp.int32),
        )

    def measured(self, problem: Problem, residual: Float[Array, " row"]) -> Array:
        """The entries of a flat residual that are measurements, by parts."""
        parts, m = problem.y.shape
        return residual.reshape(parts, -1)[:, :m]

    def length(self, kind: type[Rows], m: int, num: int, num_atoms: int) -> int:
        """The length of each part of an atom, where so many are selected."""
        return m if self.penalty is None else m + kind.room(num, num_atoms)

    def atom(self, problem: Problem, row: Rows, slot, length: int) -> Float[Array, " row"]:
        """The atom of a row, flat; of two parts where ``y`` is complex and ``A`` is not."""
        parts, m = problem.y.shape
        atom = row.atom(problem.atoms)
        atom = jnp.pad(atom, ((0, parts - len(atom)), (0, length - m)))
        if self.penalty is not None:
            extra = row.scaled(penalty_root(self.penalty), slot, length - m)
            atom = atom.at[0, m:].set(extra)
        return atom.ravel()

    # --- All atoms at once -----------------------------------------------------------------------

    def solve(
        self, problem: Problem, rows: Rows
    ) -> tuple[Float[Array, "parts n"], Float[Array, "parts m"]]:
        """``x = P^T z`` with ``z`` the coefficients of ``y`` over the atoms ``A P^T``.

        Returns:
            ``x`` over columns of norm 1 and the residual ``y - A x``, by parts.
        """
        parts, m = problem.y.shape
        slots = rows.slots()
        length = self.length(type(rows), m, len(slots), problem.shape[1])
        atoms = jax.vmap(lambda row, slot: self.atom(problem, row, slot, length))
        target = jnp.pad(problem.y, ((0, 0), (0, length - m))).ravel()
        found = least_squares(parts, atoms(rows, slots), target)
        x = rows.combine(found.coefficients.reshape(parts, -1), problem.shape[1])
        return x, self.measured(problem, found.residual)
