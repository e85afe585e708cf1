"""Least squares by the Gram matrix, in which no step reads the ``m`` measurements.

Let ``q_i`` be the orthonormal basis of the chosen atoms. A step updates the correlations
``c = A* r`` by ``c <- c - alpha_i d_i``. Here ``d_i = A* q_i = (g_j - sum_l h_l d_l) / nu``, where
``g_j`` is a row of the Gram matrix, ``h_l = conj(d_l[j])``, and ``nu^2 = 1 + p_j - ||h||^2`` with
the penalty ``p``. Step ``i`` reads ``i n`` numbers per signal, whereas the residual form multiplies
``m n``. So the Gram form is faster while ``i`` is well below ``m``, as long as the ``d_l`` of a
block of signals stay in the processor's cache.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from greedyjax._numerics import (
    PRECISION,
    abs_sq,
    eps,
    magnitude_of,
    matmul,
    norm,
    times_real,
)
from greedyjax.linalg.operators import join, split
from greedyjax.pursuit._method import Method, scan
from greedyjax.pursuit._problem import Answer, Known, Problem
from greedyjax.pursuit._turns import Turns
from greedyjax.pursuit.fits._least_squares import LeastSquares
from greedyjax.sorting import Indices

_MIN_WIDTH, _MAX_BUFFERS = 8, 8


class Correlated(NamedTuple):
    """The state of the pursuit of one signal by a Gram matrix.

    Attributes:
        correlations: ``A* r``.
        rows: the ``d_l``, in up to eight buffers, of which the last is being filled. A step reads
            only these buffers, so little more than the filled rows.
        support: atoms in the order of choice; any atom where no step was taken.
        projections: ``q_i* y``.
        nu_sq: the squared length of each atom's part outside the span of earlier atoms.
        h: ``h_l`` of each atom, one row per atom.
        taken: which steps were taken before nothing was left to fit.
        chosen: which atoms have been chosen.
        count: the number of steps so far.
    """

    correlations: Inexact[Array, " n"]
    rows: tuple[Inexact[Array, "width n"], ...]
    support: Int[Array, " k"]
    projections: Inexact[Array, " k"]
    nu_sq: Float[Array, " k"]
    h: Inexact[Array, "k k"]
    taken: Bool[Array, " k"]
    chosen: Bool[Array, " n"]
    count: Int[Array, ""]

    @property
    def triangle(self) -> Inexact[Array, "k k"]:
        """Upper triangular ``R`` with ``A_S^T = R^T Q``, where each row of ``A_S^T`` is an atom."""
        guard = _guard(self.nu_sq.dtype)
        diagonal = jnp.where(self.taken, jnp.sqrt(jnp.maximum(self.nu_sq, guard)), 1)
        above = jnp.where(self.taken[None, :], self.h.T, 0)
        identity = jnp.eye(len(diagonal), dtype=bool)
        return jnp.where(identity, diagonal[:, None].astype(above.dtype), above)

    @property
    def accurate(self) -> Bool[Array, ""]:
        """Whether no chosen atom was close to the span of earlier atoms.

        A Gram matrix squares the effect of rounding, which may matter close to this span.
        """
        return jnp.all((self.nu_sq > _guard(self.nu_sq.dtype)) | ~self.taken)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GramMatrix(LeastSquares):
    """`LeastSquares` for hard rows, from the Gram matrix ``A* A``.

    It does not know the residual. So it stops only if no correlation exceeds the rounding of the
    first correlations. First derivatives are those of least squares on the chosen atoms.
    """

    uses_gram = True

    def start(self, problem: Problem, turn: Any, num: int) -> Correlated:
        """The state without atoms, with room for ``num`` atoms in one buffer."""
        if not turn.is_hard:
            raise ValueError("fit: expected LeastSquares for a soft solver, got GramMatrix")
        dtype, n = problem.system.gram.dtype, problem.shape[1]
        correlations = problem.projections
        if correlations is None:
            correlations = join(problem.atoms.adjoint_times(problem.y))
        real = problem.y.dtype
        return Correlated(
            correlations=lax.stop_gradient(correlations),
            rows=(jnp.zeros((num, n), dtype),),
            support=jnp.zeros(num, jnp.int32),
            projections=jnp.zeros(num, dtype),
            nu_sq=jnp.zeros(num, real),
            h=jnp.zeros((num, num), dtype),
            taken=jnp.zeros(num, bool),
            chosen=jnp.zeros(n, bool),
            count=jnp.zeros((), jnp.int32),
        )

    def grown(self, state: Correlated, width: int) -> Correlated:
        """The state with a new buffer for ``width`` more rows."""
        like = state.correlations
        return state._replace(rows=(*state.rows, jnp.zeros((width, len(like)), like.dtype)))

    def all_steps(self, method: Method, problem: Problem, turns: Turns) -> Correlated:
        """The last state, by one scan for each buffer of rows. It is a constant to derivatives."""
        problem = lax.stop_gradient(problem)
        method, turns = lax.stop_gradient((method, turns))
        state, start = self.start(problem, turns.first, turns.num_steps)._replace(rows=()), 0
        for width in widths(turns.num_steps):
            state = self.grown(state, width)
            state, *_ = scan(method, problem, turns.part(start, start + width), state)
            start += width
        return state

    def correlations(self, problem: Problem, state: Correlated) -> Float[Array, "parts n"]:
        """``a_j* r`` over columns of norm 1, by parts, and 0 for chosen atoms."""
        del problem
        return split(jnp.where(state.chosen, 0, state.correlations))

    def goes_on(self, problem: Problem, state: Correlated) -> Bool[Array, ""]:
        """Whether any correlation is more than rounding."""
        nothing = 8 * eps(problem.y.dtype) * norm(problem.y)
        # Not `>`, so that a NaN is passed on.
        return ~(jnp.max(magnitude_of(self.correlations(problem, state))) <= nothing)

    def add(self, problem: Problem, state: Correlated, row: Indices, active: Any) -> Correlated:
        """The state with one more atom."""
        j, slot, gram = row.index, state.count, problem.system.gram
        penalty = 0 if self.penalty is None else _entry(self.penalty, j)
        at_j = lambda buffer: buffer.at[:, j].get(mode="promise_in_bounds").conj()
        h = jnp.concatenate([at_j(buffer) for buffer in state.rows])
        # The values are read back from the stored array. Otherwise XLA would use all threads for
        # them, not one.
        kept = lax.optimization_barrier(state.h.at[slot, : len(h)].set(h))
        h = kept[slot, : len(h)]
        along, start = jnp.zeros_like(state.correlations), 0
        for buffer in state.rows:
            part = h[start : start + len(buffer)]
            along += jnp.einsum("l,ln->n", part, buffer, precision=PRECISION)
            start += len(buffer)
        nu_sq = 1 + penalty - jnp.sum(abs_sq(h))
        inverse = jnp.where(active, lax.rsqrt(jnp.maximum(nu_sq, _guard(nu_sq.dtype))), 0)

        d = times_real(inverse, gram.at[j].get(mode="promise_in_bounds") - along)
        place = slot - sum(len(buffer) for buffer in state.rows[:-1])
        # This value is read back from the stored array, because it would be computed twice
        # otherwise.
        last = lax.optimization_barrier(state.rows[-1].at[place].set(d))
        projection = times_real(inverse, _entry(state.correlations, j))
        return Correlated(
            correlations=state.correlations - projection * last[place],
            rows=(*state.rows[:-1], last),
            support=state.support.at[slot].set(j),
            projections=state.projections.at[slot].set(projection),
            nu_sq=state.nu_sq.at[slot].set(nu_sq),
            h=kept,
            taken=state.taken.at[slot].set(active),
            chosen=row.join(state.chosen, active),
            count=slot + 1,
        )

    def known(self, problem: Problem, state: Correlated) -> Known:
        """The atoms that have been chosen, and their coefficients over columns of norm 1."""

        def coefficients():
            z = jnp.where(jnp.arange(len(state.taken)) < state.count, state.projections, 0)
            return jnp.zeros(problem.shape[1], z.dtype).at[state.support].add(_solve(state, z))

        return Known(lambda: state.chosen, coefficients)

    def answer(self, problem: Problem, state: Correlated) -> Answer:
        """Least squares on the chosen atoms, refined once by residuals.

        The refinement corrects the rounding errors of the Gram matrix. It is a step of Newton's
        method from a constant. So it also has the derivative of least squares,
        ``(B* B + p)^-1 (dB* r + B* (dy - dB z) - dp z)``, although ``z`` and the triangle are
        constants.
        """
        found = lax.stop_gradient(state)
        support, y = found.support, join(problem.y)
        B = problem.system.columns(support).astype(y.dtype).T
        z = _solve(found, found.projections)
        gradient = matmul(B.conj().T, y - matmul(B, z))
        if self.penalty is not None:
            gradient -= times_real(_entry(self.penalty, support), z)
        z = z + _solve(found, _solve(found, jnp.where(found.taken, gradient, 0), adjoint=True))
        scale = problem.system.column_scale.at[support].get(mode="promise_in_bounds")
        x = jnp.zeros(problem.shape[1], z.dtype)
        return Answer(
            x=x.at[support].add(times_real(scale, z), mode="promise_in_bounds"),
            residual=split(y - matmul(B, z)),
            support=jnp.where(found.taken, support, -1),
            num_steps=jnp.sum(found.taken, dtype=jnp.int32),
        )


def widths(sparsity: int) -> list[int]:
    """The widths of the buffers, which together hold ``sparsity`` rows."""
    width = max(_MIN_WIDTH, -(-sparsity // _MAX_BUFFERS))
    return [min(width, sparsity - start) for start in range(0, sparsity, width)]


def rows_read(sparsity: int) -> int:
    """The rows that ``sparsity`` steps read together: each those of all buffers so far."""
    sizes = widths(sparsity)
    return sum(sum(sizes[: i + 1]) * width for i, width in enumerate(sizes))


def _guard(dtype) -> float:
    """The least accepted ``nu^2``. Its error is ``eps``, so a larger ``nu^2`` has enough digits."""
    return eps(dtype) ** (1 / 3)


def _entry(values: Array, j: Int[Array, "*k"]) -> Array:
    return values.at[j].get(mode="promise_in_bounds")


def _solve(state: Correlated, b: Inexact[Array, " k"], adjoint: bool = False):
    return lax.linalg.triangular_solve(
        state.triangle, b[:, None], left_side=True, transpose_a=adjoint, conjugate_a=adjoint
    )[:, 0]
