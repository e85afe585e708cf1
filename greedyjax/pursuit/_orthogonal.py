"""The steps of orthogonal matching pursuit, whatever chooses the atoms, and their derivative."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float, Int

from greedyjax._numerics import magnitude_of, matmul, norm, penalty_root
from greedyjax.linalg.basis import Basis, basis_derivative, empty_basis, extend
from greedyjax.linalg.operators import Dense, times_i
from greedyjax.pursuit._driver import Turn, run
from greedyjax.sorting import HardSort


class Steps(NamedTuple):
    """What the steps leave behind; vectors are `flat`, and of the length of atoms.

    Attributes:
        before: the residual before each step.
        residual: the last one.
        along: what each step took from it, ``q_i* r``.
        coefficients: of least squares over the atoms.
        basis: of the atoms.
        x: the coefficients spread as the rows say, by real and imaginary part.
        rows: as the selector has them, one per step; None where they were not to be kept.
        support: the atom that each row points at.
        taken: which steps were taken before the stop.
        correlations: `Choice.correlations` before each step, if they were to be recorded.
    """

    before: Float[Array, "k row"]
    residual: Float[Array, " row"]
    along: Float[Array, "k parts"]
    coefficients: Float[Array, " column"]
    basis: Basis
    x: Float[Array, "parts n"]
    rows: Any
    support: Int[Array, " k"]
    taken: Bool[Array, " k"]
    correlations: Float[Array, "k n"] | None

    @property
    def after(self) -> Float[Array, "k row"]:
        """The residual after each step."""
        return jnp.concatenate([self.before[1:], self.residual[None]])

    @property
    def path(self) -> Float[Array, "k parts k"]:
        """The coefficients of least squares after each step, by parts."""
        k, parts = self.along.shape
        added = jnp.sum(self.along[:, :, None] * self.basis.transform, axis=1)
        return jnp.cumsum(added, axis=0).reshape(k, parts, k)


class Choice(NamedTuple):
    """What the next atom depends on beside the residual: columns of norm 1, weights >= 0.

    A penalty makes least squares a ridge regression, ``||y - A x||^2 + sum_j penalty_j |x_j|^2``
    with ``x = P^T z``. That is least squares of longer vectors: below ``A p`` an atom has the
    entries ``sqrt(penalty_j) p_j``, of those atoms that rows can select, and ``y`` has 0 there.

    Attributes:
        A: the columns.
        weights: of the scores, shape ``(n,)`` or one row per step.
        penalty: None for none.
    """

    A: Dense
    weights: Float[Array, "*k n"]
    penalty: Float[Array, " n"] | None = None

    def length(self, selector, num: int) -> int:
        """The length of each part of an atom, where so many are selected."""
        m, n = self.A.shape
        return m if self.penalty is None else m + selector.room(num, n)

    def correlations(self, residual: Float[Array, " row"], parts: int) -> Float[Array, " n"]:
        """``|a_j* r|``, for a `flat` residual; weights times them are the scores."""
        measured = residual.reshape(parts, -1)[:, : self.A.shape[0]]
        return magnitude_of(self.A.adjoint_times(measured))

    def atom(self, selector, row, slot, parts: int, length: int) -> Float[Array, " row"]:
        """The atom of a row, `flat`; of two parts where ``y`` is complex and ``A`` is not."""
        atom, m = selector.atom(self.A, row), self.A.shape[0]
        atom = jnp.pad(atom, ((0, parts - len(atom)), (0, length - m)))
        if self.penalty is not None:
            extra = selector.scaled(penalty_root(self.penalty), row, slot, length - m)
            atom = atom.at[0, m:].set(extra)
        return atom.ravel()


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def take_steps(
    sparsity: int, keep_rows: bool, record: bool, choice: Choice, turns: Turn, y, threshold
) -> Steps:
    """All steps from the residual ``y``, by parts; a ``threshold`` of None never stops them."""
    m, n = choice.A.shape
    parts, length = len(y), choice.length(turns.selector, sparsity)
    selectors = turns.selector
    y = jnp.pad(y, ((0, 0), (0, length - m))).ravel()

    def step(state, inputs):
        residual, basis, rows, met, memory = state
        slot, turn = inputs
        # Not `>`: a NaN must run to the end and show, not look like a signal that has converged.
        left = residual.reshape(parts, -1)[:, :m]
        active = jnp.asarray(True) if threshold is None else ~(norm(left) <= threshold)
        correlations = choice.correlations(residual, parts)
        row, memory = turn.selector.next(turn.scores(choice.weights, correlations), memory)
        atom = choice.atom(turn.selector, row, slot, parts, length)
        basis, q = extend(basis, atom, slot, active)
        along = matmul(q, residual)
        after = residual - matmul(along, q)
        rows = rows.at[slot].set(row) if keep_rows else None
        met = met.at[slot].set(correlations) if record else None
        outputs = residual, along, turn.selector.support(row), active
        return (after, basis, rows, met, memory), outputs

    # Carried, not stacked by the scan, which under vmap would put the steps before the batch.
    rows = selectors.empty_rows(sparsity, n) if keep_rows else None
    met = jnp.zeros((sparsity, n), y.dtype) if record else None
    state = (y, empty_basis(sparsity, length, parts, y.dtype), rows, met, selectors.start(n))
    (residual, basis, rows, met, _), outputs = run(step, state, turns, sparsity)
    before, along, support, taken = outputs
    z = basis.coefficients(along)
    x = _spread(choice, turns, before, rows, z)
    return Steps(before, residual, along, z, basis, x, rows, support, taken, met)


def _spread(choice: Choice, turns: Turn, before, rows, z: Float[Array, " column"]):
    """``P^T z`` by parts; where no rows were kept, each is made again from the residual."""
    n, sparsity = choice.A.shape[1], len(before)
    z = z.reshape(-1, sparsity)
    if rows is not None:
        return turns.selector.combine(rows, z, n)

    @partial(jax.checkpoint, prevent_cse=False)
    def add(x, inputs):
        turn, residual, z = inputs
        correlations = choice.correlations(residual, len(z))
        row = turn.selector.again(turn.scores(choice.weights, correlations))
        return x + z[:, None] * row[None, :], None

    return lax.scan(add, jnp.zeros((len(z), n), z.dtype), (turns, before, z.T))[0]


# With B the atoms as rows, Q = T B their basis, z the coefficients and r the residual of y after
# any step, least squares differentiates to
#
#     s = dy - B'^T z,    e = conj(B') r,    g = conj(Q) s + conj(T) e,
#     dr = s - Q^T g,     dz = T^T g,
#
# with B' = dB, because B^+ = T^T conj(Q). So the derivative of all steps needs the last basis
# alone, of which step i sees the first i rows, and the residuals: O(k (m + k)) numbers, where
# differentiating the steps as they stand keeps a basis for each. What it carries, dr and dB,
# enters linearly; so its transpose, which is the reverse mode, keeps nothing more.
@partial(take_steps.defjvp, symbolic_zeros=True)
def _differentiate(sparsity: int, keep_rows: bool, record: bool, primals, tangents):
    choice, turns, y, threshold = primals
    d_choice, d_turns, dy, _ = tangents
    steps = take_steps(sparsity, keep_rows, record, choice, turns, y, threshold)
    basis, parts = steps.basis, len(y)
    length = choice.length(turns.selector, sparsity)
    if isinstance(dy, SymbolicZero):
        dy = jnp.zeros_like(y)
    dy = jnp.pad(dy, ((0, 0), (0, length - y.shape[1]))).ravel()
    changing_choice, d_choice, with_choice = _changing(choice, d_choice)
    changing_turns, d_turns, with_turn = _changing(turns, d_turns)

    def d_next(dr, slot, before, row, turn, changing_turn, d_turn):
        """How the next atom, its row and the correlations move."""

        def next_atom(residual, changing_choice, changing_turn):
            at = with_choice(choice, changing_choice)
            by = with_turn(turn, changing_turn)
            correlations = at.correlations(residual, parts)
            again = by.selector.again(by.scores(at.weights, correlations), row)
            return at.atom(by.selector, again, slot, parts, length), again, correlations

        arguments = before, changing_choice, changing_turn
        return jax.jvp(next_atom, arguments, (dr, d_choice, d_turn))[1]

    if not isinstance(turns.selector, HardSort):
        # A backward pass makes the soft rows again: that takes less time than to keep all they are
        # made of. A hard row is kept.
        d_next = jax.checkpoint(d_next, prevent_cse=False)

    def step(state, inputs):
        dr, dB, _, dx = state
        slot, before, after, z, z_of_slot, row, *turn = inputs
        d_atom, d_row, d_correlations = d_next(dr, slot, before, row, *turn)
        dB = dB.at[slot].set(d_atom)
        moved = matmul(z, dB)
        s, sides = dy - moved[0], after[None]
        if parts == 2:
            s, sides = s - times_i(moved[1]), jnp.stack([after, -times_i(after)])
        e = matmul(sides, dB.T).ravel()
        g = basis.along(s) + basis.along_atoms(e)
        g = jnp.where(jnp.arange(sparsity)[:, None] <= slot, g, 0)
        if jnp.issubdtype(d_row.dtype, jnp.floating):
            dx = dx + z_of_slot[:, None] * d_row[None, :]
        else:
            d_row = None
        outputs = dr, d_row if keep_rows else None, d_correlations if record else None
        return (s - basis.span(g), dB, g, dx), outputs

    kept = steps.rows if keep_rows else None
    inputs = (
        jnp.arange(sparsity), steps.before, steps.after, steps.path,
        steps.coefficients.reshape(parts, sparsity).T, kept, turns, changing_turns, d_turns,
    )  # fmt: skip
    state = (dy, jnp.zeros_like(steps.before), jnp.zeros_like(steps.along), jnp.zeros_like(steps.x))
    (d_residual, dB, g, dx), (d_before, d_rows, d_correlations) = lax.scan(step, state, inputs)
    dz = basis.coefficients(g)
    d_basis = basis_derivative(basis, dB)
    return steps, Steps(
        before=d_before,
        residual=d_residual,
        along=_products(d_basis.vectors, steps.before) + _products(basis.vectors, d_before),
        coefficients=dz,
        basis=d_basis,
        x=dx + _spread(choice, turns, steps.before, steps.rows, dz),
        rows=_no_derivative(steps.rows) if keep_rows and d_rows is None else d_rows,
        support=_no_derivative(steps.support),
        taken=_no_derivative(steps.taken),
        correlations=d_correlations,
    )


def _changing(primal, tangent):
    """The leaves that have a tangent, those tangents, and a way to put others in their place.

    A product with a tangent that is known to be zero would be computed all the same.
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


def _no_derivative(values) -> Any:
    return np.zeros(values.shape, jax.dtypes.float0)
