"""Orthogonal matching pursuit with any selector, and the derivative of all its steps."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero, zero_from_primal
from jaxtyping import Array, Float

from greedyjax import _checks
from greedyjax._meshes import varying_like
from greedyjax._numerics import index_range, matmul
from greedyjax._types import static
from greedyjax.linalg.basis import basis_derivative
from greedyjax.linalg.operators import times_i
from greedyjax.pursuit._method import Method, scan
from greedyjax.pursuit._problem import Answer, Problem
from greedyjax.pursuit._turns import Turns
from greedyjax.pursuit.fits import GramMatrix, LeastSquares, Span
from greedyjax.structures import Plain


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OMP(Method):
    """Orthogonal matching pursuit: each step adds the atom with the largest score to the fit.

    Attributes:
        sparsity: largest number of atoms, or of blocks of atoms.
        rtol: relative tolerance. The hard solver stops once ``||r|| <= max(rtol ||y||, atol)``. In
            a batch it is one number, or one per signal. None means 0: the solver stops once nothing
            is left to fit. Soft solvers never stop, so that gradients at ``r = 0`` are right.
        atol: absolute tolerance, in the units of ``y``.
        fit: the fit on the chosen atoms.
        remat: whether a backward pass computes soft rows again, so that they are not stored.
        structure: which atoms are chosen together.
    """

    sparsity: int = static()
    rtol: Any = None
    atol: Any = None
    fit: Any = LeastSquares()
    remat: bool = static(default=False)
    structure: Any = Plain()

    @property
    def num_steps(self) -> int:
        """The number of steps: one for each atom, or block."""
        return self.sparsity

    def checked(self, shape: tuple[int, int], dtype) -> "OMP":
        """The method with its settings checked. A Gram matrix needs the structure `Plain`."""
        own = super().checked(shape, dtype)
        if isinstance(own.fit, GramMatrix) and not isinstance(own.structure, Plain):
            expected = "Plain(), as GramMatrix() adds atoms one by one; LeastSquares() takes others"
            _checks.fail(ValueError, "structure", expected, type(own.structure).__name__)
        return own

    def init(self, problem: Problem, turn) -> Any:
        """The state without atoms."""
        _, width = self.structure.shape(problem.shape[1])
        return self.fit.start(problem, turn, self.sparsity * width)

    def step(self, problem: Problem, state, turn):
        """Chooses one candidate, and adds its atoms to the fit."""
        fit = self.fit
        active = fit.goes_on(problem, state) if turn.is_hard else True
        correlations = fit.correlations(problem, state)
        row, choice = turn.next(correlations, fit.known(problem, state))
        if self.structure.is_plain:
            return fit.add(problem, state, row, active), (choice,)

        def add(state, each):
            row, exists = each
            return fit.add(problem, state, row, active & exists), None

        return lax.scan(add, state, self.structure.expand(row, problem.shape[1]))[0], (choice,)

    def answer(self, problem: Problem, state) -> Answer:
        """The answer of the fit, with the number of steps taken."""
        answer = self.fit.answer(problem, state)
        taken = jnp.any(answer.support.reshape(self.sparsity, -1) >= 0, axis=1)
        return answer._replace(num_steps=jnp.sum(taken, dtype=jnp.int32))

    def all_steps(self, problem: Problem, turns: Turns):
        """The states, with the derivative below if scores do not depend on the chosen atoms."""
        if isinstance(self.fit, GramMatrix):
            return self.fit.all_steps(self, problem, turns), None
        plain = type(self.fit) is LeastSquares and isinstance(self.structure, Plain)
        fixed = turns.weighting.is_fixed and self.structure.sparsity is None
        if not (plain and fixed):
            return _scan_again(self, problem, turns) if self.remat else None
        final, after = _take_steps(self, problem, turns)

        def upto(last):
            """The state after the step with index ``last``."""
            done = index_range(self.sparsity) <= last
            along = jnp.where(done[:, None], final.along, 0)
            return final._replace(
                residual=after[last], along=along, taken=final.taken & done, x=None
            )

        return final, jax.vmap(upto)(index_range(self.sparsity))


def _scan_again(method: OMP, problem: Problem, turns: Turns):
    """The last state. For a backward pass only the arguments are stored."""

    @partial(jax.checkpoint, prevent_cse=False)
    def steps(method, problem, turns):
        return scan(method, problem, turns)[0]

    return steps(dataclasses.replace(method, remat=False), problem, turns), None


@jax.custom_jvp
def _take_steps(method: OMP, problem: Problem, turns: Turns) -> tuple[Span, Array]:
    """The last state, with coefficients over all atoms, and the residual after each step."""
    fit, first = method.fit, turns.first
    state = fit.start(problem, first, method.sparsity, keep_rows=not method.remat)
    final, after, _ = scan(method, problem, turns, state, of_states=lambda state: state.residual)
    z = final.basis.coefficients(final.along)
    return final._replace(x=_spread(method, problem, turns, after, final.rows, z)), after


def _before(problem: Problem, after: Float[Array, "k row"]) -> Float[Array, "k row"]:
    """The residual before each step, from the residuals after each step."""
    parts, m = problem.y.shape
    y = jnp.pad(problem.y, ((0, 0), (0, after.shape[1] // parts - m))).ravel()
    return jnp.concatenate([y[None], after[:-1]])


def _spread(method: OMP, problem: Problem, turns: Turns, after, rows, z: Float[Array, " column"]):
    """``P^T z`` by parts. Rows that were not stored are computed again from the residuals."""
    n, parts = problem.shape[1], len(problem.y)
    z = z.reshape(parts, -1)
    if rows is not None:
        return rows.combine(z, n)

    @partial(jax.checkpoint, prevent_cse=False)
    def add(x, inputs):
        each, residual, z = inputs
        turn = turns.turn(jnp.zeros((), jnp.int32), each)
        correlations = problem.correlations(method.fit.measured(problem, residual))
        row = turn.selector.next(turn.scores(correlations))
        return x + z[:, None] * row.weight[None, :], None

    inputs = turns.each, _before(problem, after), z.T
    start = varying_like(jnp.zeros((parts, n), z.dtype), method, problem, inputs)
    return lax.scan(add, start, inputs)[0]


# With B the atoms as rows, Q = T B their basis, z the coefficients and r the residual of y after
# any step, least squares differentiates to
#
#     s = dy - B'^T z,    e = conj(B') r,    g = conj(Q) s + conj(T) e,
#     dr = s - Q^T g,     dz = T^T g,
#
# with B' = dB, because B^+ = T^T conj(Q). So the derivative of all steps needs only the residuals
# and the last basis, of which step i uses the first i rows. These are O(k (m + k)) numbers. If JAX
# differentiated the steps, it would store a basis for each step. The carry of the scan, dr and dB,
# enters linearly. So the transpose of the scan, which is reverse mode, stores nothing more.
@partial(_take_steps.defjvp, symbolic_zeros=True)
def _differentiate(primals, tangents):
    method, problem, turns = primals
    final, after = _take_steps(method, problem, turns)
    basis, parts, sparsity = final.basis, len(problem.y), method.sparsity
    length = after.shape[1] // parts
    before = _before(problem, after)
    hard = turns.selectors.rows.constant

    dy = tangents[1].y
    dy = jnp.zeros_like(problem.y) if isinstance(dy, SymbolicZero) else dy
    dy = jnp.pad(dy, ((0, 0), (0, length - dy.shape[1]))).ravel()
    d_next, own = _next_moves(primals, tangents, length)

    def step(state, inputs):
        dr, dB, _, dx = state
        slot, before, after, z, z_of_slot, *own = inputs
        d_atom, d_row = d_next(dr, slot, before, *own)
        dB = dB.at[slot].set(d_atom)
        moved = matmul(z, dB)
        s, sides = dy - moved[0], after[None]
        if parts == 2:
            s, sides = s - times_i(moved[1]), jnp.stack([after, -times_i(after)])
        e = matmul(sides, dB.T).ravel()
        g = basis.along(s) + basis.along_atoms(e)
        g = jnp.where(index_range(sparsity)[:, None] <= slot, g, 0)
        if not hard:
            dx = dx + z_of_slot[:, None] * d_row.weight[None, :]
        outputs = dr, None if hard or final.rows is None else d_row
        return (s - basis.span(g), dB, g, dx), outputs

    z = basis.coefficients(final.along)
    inputs = (
        index_range(sparsity), before, after, _path(final),
        z.reshape(parts, sparsity).T, final.rows, *own,
    )  # fmt: skip
    state = (dy, jnp.zeros_like(before), jnp.zeros_like(final.along), jnp.zeros_like(final.x))
    (d_residual, dB, g, dx), (d_before, d_rows) = lax.scan(step, state, inputs)
    dz = basis.coefficients(g)
    d_basis = basis_derivative(basis, dB)
    d_after = jnp.concatenate([d_before[1:], d_residual[None]])
    # All other fields are locally constant, or integers.
    d_final = zero_from_primal(final, symbolic_zeros=True)._replace(
        residual=d_residual,
        along=_products(d_basis.vectors, before) + _products(basis.vectors, d_before),
        basis=d_basis,
        x=dx + _spread(method, problem, turns, after, final.rows, dz),
    )
    if d_rows is not None:
        d_final = d_final._replace(rows=d_rows)
    return (final, after), (d_final, d_after)


def _next_moves(primals, tangents, length: int):
    """The derivative of the next atom and its row in the residual and all other arguments.

    Returns:
        The derivative, as a function of the inputs of a step; and the stacked inputs of all steps
        that are not part of the state.
    """
    method, problem, turns = primals
    hard = turns.selectors.rows.constant
    # The entries of turns differ from step to step. All other arguments are the same for all steps.
    shared = method, problem, dataclasses.replace(turns, selectors=None, of_steps=None)
    d_shared = *tangents[:2], dataclasses.replace(tangents[2], selectors=None, of_steps=None)
    changing, d_changing, with_changed = _changing(shared, d_shared)
    changing_each, d_each, with_each = _changing(turns.each, tangents[2].each)

    def d_next(dr, slot, before, row, each, changing_each, d_each):
        """The derivative of the next atom and its row."""

        def next_atom(residual, changing, changing_each):
            method, problem, rest = with_changed(shared, changing)
            turn = rest.turn(slot, with_each(each, changing_each))
            again = row
            if not hard:
                residual = method.fit.measured(problem, residual)
                again = turn.selector.next(turn.scores(problem.correlations(residual)))
            return method.fit.atom(problem, again, slot, length), again

        arguments = before, changing, changing_each
        return jax.jvp(next_atom, arguments, (dr, d_changing, d_each))[1]

    if not hard:
        # A backward pass computes the soft rows again. This takes less time than storing all
        # arrays that they are computed from. A hard row is stored.
        d_next = jax.checkpoint(d_next, prevent_cse=False)
    return d_next, (turns.each, changing_each, d_each)


def _path(final: Span) -> Float[Array, "k parts k"]:
    """The least-squares coefficients after each step, by parts."""
    k, parts = final.along.shape
    added = jnp.sum(final.along[:, :, None] * final.basis.transform, axis=1)
    return jnp.cumsum(added, axis=0).reshape(k, parts, k)


def _changing(primal, tangent):
    """The leaves that have a tangent, their tangents, and a function that replaces these leaves.

    Without this, products with tangents that are known to be zero would be computed too.
    """
    leaves, tree = jax.tree.flatten(primal)
    directions = tree.flatten_up_to(tangent)
    which = [i for i, d in enumerate(directions) if not isinstance(d, SymbolicZero)]

    def put(whole, values):
        leaves = tree.flatten_up_to(whole)
        for i, value in zip(which, values, strict=True):
            leaves[i] = value
        return tree.unflatten(leaves)

    return [leaves[i] for i in which], [directions[i] for i in which], put


def _products(vectors: Float[Array, "k parts row"], y: Float[Array, "k row"]):
    """``q_i* y_i`` for each ``i``."""
    return jnp.sum(vectors * y[:, None, :], axis=-1)
