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
from greedyjax.pursuit._problem import Answer, Known, Problem, System
from greedyjax.sorting import Rows


class Span(NamedTuple):
    """The atoms added so far. Vectors are flat, as in `Basis`, and have the length of atoms.

    Attributes:
        residual: the residual of ``y``, with a leading axis if there are several snapshots.
        along: the component of the residual along each new basis vector, ``q_i* r``.
        basis: an orthonormal basis of the atoms.
        rows: the rows that chose the atoms; None if they are not stored.
        support: the atom that each row selects.
        taken: which rows were added before the solver stopped.
        chosen: the record of added atoms; None if no choice depends on it.
        count: the number of steps so far.
        x: the coefficients over all atoms, by parts, if they are known already; else None.
        lengths_sq: the squared length of each atom's part outside the basis, if a fit needs it.
    """

    residual: Float[Array, "*snapshots row"]
    along: Float[Array, "k *snapshots parts"]
    basis: Basis
    rows: Any
    support: Int[Array, " k"]
    taken: Bool[Array, " k"]
    chosen: Any
    count: Int[Array, ""]
    x: Any = None
    lengths_sq: Any = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """Least squares on the chosen atoms, with one step of Gram-Schmidt per atom.

    A penalty makes it a ridge regression, ``||y - A x||^2 + sum_j penalty_j |x_j|^2`` with
    ``x = P^T z``. This is least squares with longer vectors. Below ``A p``, an atom has the entries
    ``sqrt(penalty_j) p_j`` for the atoms that rows can select, and ``y`` has zeros there.

    Attributes:
        penalty: ridge penalty, real and >= 0, shape ``(n,)``, in the units of ``A^2``; None means
            no penalty.
    """

    penalty: Any = None

    uses_gram = False
    #: Whether all atoms can be fitted at once, because no score depends on earlier atoms.
    at_once = True

    def checked(self, num_atoms: int) -> "LeastSquares":
        """The fit with a checked penalty."""
        if self.penalty is None:
            return self
        return dataclasses.replace(self, penalty=_checks.penalty(self.penalty, num_atoms))

    def prepared(self, system: System) -> "LeastSquares":
        """The fit with the penalty for coefficients over columns of norm 1."""
        if self.penalty is None:
            return self
        scale = system.column_scale
        penalty = self.penalty.astype(scale.dtype) * (scale / system.scale) ** 2
        return dataclasses.replace(self, penalty=penalty)

    # --- Atoms one by one ------------------------------------------------------------------------

    def start(self, problem: Problem, turn: Any, num: int, *, keep_rows: bool = True) -> Span:
        """The state without atoms, with room for ``num`` atoms."""
        parts, (m, n), dtype = problem.parts, problem.shape, problem.y.dtype
        kind = turn.selector.rows
        length = self.length(kind, m, num, n)
        has_room = turn.structure.sparsity is not None  # The room depends on the chosen atoms.
        seen = kind.constant or has_room or not turn.weighting.is_fixed
        return Span(
            residual=self.target(problem, length),
            along=jnp.zeros((num, *problem.y.shape[1:-1], parts), dtype),
            basis=empty_basis(num, length, parts, dtype),
            rows=kind.empty(num, n, dtype) if keep_rows else None,
            support=jnp.zeros(num, jnp.int32),
            taken=jnp.zeros(num, bool),
            chosen=kind.none_chosen(n, dtype) if seen else None,
            count=jnp.zeros((), jnp.int32),
        )

    def correlations(self, problem: Problem, state: Any) -> Float[Array, "parts *snapshots n"]:
        """``a_j* r`` over columns of norm 1, by parts."""
        return problem.correlations(self.measured(problem, state.residual))

    def goes_on(self, problem: Problem, state: Any) -> Bool[Array, ""]:
        """Whether ``||r|| > problem.enough``, where None means 0."""
        # Not `>`, so that a signal with NaN runs to the end and does not seem to have converged.
        left = norm(self.measured(problem, state.residual))
        return ~(left <= (0 if problem.enough is None else problem.enough))

    def add(self, problem: Problem, state: Span, row: Rows, active: Any) -> Span:
        """The state with one more atom."""
        slot, length = state.count, state.residual.shape[-1] // problem.parts
        atom = self.atom(problem, row, slot, length)
        basis, q = extend(state.basis, atom, slot, active)
        along = matmul(state.residual, q.T)
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

    def known(self, problem: Problem, state: Any) -> Known:
        """The atoms that have been added, and their coefficients over columns of norm 1."""
        return Known(lambda: state.chosen, lambda: problem.sizes(self.spread(problem, state)))

    def spread(self, problem: Problem, state: Span) -> Float[Array, "parts *snapshots n"]:
        """The coefficients over columns of norm 1, by parts."""
        if state.x is not None:
            return state.x

        def one(along):
            z = state.basis.coefficients(along).reshape(problem.parts, -1)
            return state.rows.combine(z, problem.shape[1])

        return problem.each(one)(state.along)

    def answer(self, problem: Problem, state: Any) -> Answer:
        """The answer that the state stands for."""
        return Answer(
            x=problem.signal(problem.over_columns(self.spread(problem, state))),
            residual=self.measured(problem, state.residual),
            support=jnp.where(state.taken, state.support, -1),
            num_steps=jnp.sum(state.taken, dtype=jnp.int32),
        )

    def measured(self, problem: Problem, residual: Float[Array, "*snapshots row"]) -> Array:
        """The entries of a flat residual that are measurements, by parts."""
        one = lambda residual: residual.reshape(problem.parts, -1)[:, : problem.shape[0]]
        return jax.vmap(one, 0, 1)(residual) if problem.has_snapshots else one(residual)

    def length(self, kind: type[Rows], m: int, num: int, num_atoms: int) -> int:
        """The length of each part of an atom, if ``num`` rows are selected."""
        return m if self.penalty is None else m + kind.room(num, num_atoms)

    def atom(self, problem: Problem, row: Rows, slot, length: int) -> Float[Array, " row"]:
        """The atom of a row as a flat vector, with two parts if ``y`` or ``A`` is complex."""
        parts, m = problem.parts, problem.shape[0]
        atom = row.atom(problem.atoms)
        atom = jnp.pad(atom, ((0, parts - len(atom)), (0, length - m)))
        if self.penalty is not None:
            extra = row.scaled(penalty_root(self.penalty), slot, length - m)
            atom = atom.at[0, m:].set(extra)
        return atom.ravel()

    # --- All atoms at once -----------------------------------------------------------------------

    def solve(
        self, problem: Problem, rows: Rows
    ) -> tuple[Float[Array, "parts *snapshots n"], Float[Array, "parts *snapshots m"]]:
        """``x = P^T z``, where ``z`` has the coefficients of ``y`` over the atoms ``A P^T``.

        Returns:
            ``x`` over columns of norm 1, and the residual ``y - A x``, by parts.
        """
        parts, (m, n) = problem.parts, problem.shape
        slots = rows.slots()
        length = self.length(type(rows), m, len(slots), n)
        atoms = jax.vmap(lambda row, slot: self.atom(problem, row, slot, length))(rows, slots)

        def one(target):
            z, residual = self.fitted(parts, atoms, target)
            return rows.combine(z.reshape(parts, -1), n), residual

        target = self.target(problem, length)
        if problem.has_snapshots:
            x, residual = jax.vmap(one, 0, (1, 0))(target)
        else:
            x, residual = one(target)
        return x, self.measured(problem, residual)

    def fitted(self, parts: int, atoms: Float[Array, "k row"], target: Float[Array, " row"]):
        """The coefficients of a target over atoms, and the residual, all as flat vectors."""
        found = least_squares(parts, atoms, target)
        return found.coefficients, found.residual

    def target(self, problem: Problem, length: int) -> Float[Array, "*snapshots row"]:
        """``y`` of each snapshot as a flat vector, each part padded with zeros to ``length``."""
        y = problem.y
        padded = jnp.pad(y, [(0, 0)] * (y.ndim - 1) + [(0, length - y.shape[-1])])
        return jnp.moveaxis(padded, 0, -2).reshape(*y.shape[1:-1], -1)

    # --- Signs -----------------------------------------------------------------------------------

    def for_nonnegative(self) -> "LeastSquares":
        """The fit with coefficients that are at least 0.

        Raises:
            ValueError: a subclass of this fit has no non-negative form.
        """
        from greedyjax.pursuit.fits._nonnegative import NonNegativeLeastSquares

        if type(self) is not LeastSquares:
            expected = "LeastSquares(), as the structure is NonNegative"
            _checks.fail(ValueError, "fit", expected, type(self).__name__)
        return NonNegativeLeastSquares(self.penalty)


def check_at_once(fit: Any) -> None:
    """Raises a ValueError if ``fit`` cannot fit all atoms at once."""
    if not getattr(fit, "at_once", True):
        got = f"{type(fit).__name__}, which scores atoms one by one, for OMP"
        _checks.fail(ValueError, "fit", "LeastSquares()", got)
