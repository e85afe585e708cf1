"""Hard OMP on a block of signals by the Gram matrix: no step touches the ``m`` measurements.

With ``q_i`` the orthonormal basis of the atoms chosen, the correlations ``c = A* r`` obey
``c <- c - alpha_i d_i`` with ``d_i = A* q_i = (g_j - sum_l h_l d_l) / nu``, ``g_j`` a row of the
Gram matrix, ``h_l = conj(d_l[j])`` and ``nu^2 = 1 + p_j - ||h||^2`` with ``p`` the penalty. A
step reads ``i n`` numbers per signal, where the residual form multiplies ``m n``: it wins while
``i`` is well below ``m``, as long as the ``d_l`` of a block of signals stay in the processor's
cache.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from greedyjax._numerics import PRECISION, abs_sq, eps, magnitude, matmul, norm, real_dtype, tie_of
from greedyjax._types import Recovery
from greedyjax.linalg.dictionary import Dictionary, gram_of
from greedyjax.linalg.operators import Dense
from greedyjax.pursuit._driver import Arguments

_MIN_WIDTH, _MAX_BUFFERS = 8, 8
_BLOCK = 32  # Of scores, whose maxima are compared first.
_TAKEN = -1  # In place of a weight.


class GramPursuit(NamedTuple):
    """The end of the pursuits of a block of signals.

    Attributes:
        support: atoms in the order of choice; any atom where no step was taken.
        projections: ``q_i* y``.
        triangle: upper triangular ``R`` with ``A_S^T = R^T Q``, one atom a row.
        taken: which steps were taken before nothing was left to fit.
        accurate: whether no atom chosen was so close to the span of those before it that rounding,
            which a Gram matrix squares, may have mattered.
    """

    support: Int[Array, "batch k"]
    projections: Inexact[Array, "batch k"]
    triangle: Inexact[Array, "batch k k"]
    taken: Bool[Array, "batch k"]
    accurate: Bool[Array, ""]


class GramProblem(NamedTuple):
    """What the steps read: columns of norm 1 as rows, and products of them.

    Filled up with zero columns, marked as taken, to a number that divides into blocks of scores.
    """

    gram: Inexact[Array, "n n"]
    weights: Float[Array, " n"]
    atoms: Inexact[Array, "n m"]
    column_scale: Float[Array, " n"]
    penalty: Float[Array, " n"]
    size: int

    def correlations(self, y: Inexact[Array, "batch m"]) -> Inexact[Array, "batch n"]:
        """``A* y`` of many signals, a constant to derivatives."""
        return lax.stop_gradient(matmul(y, self.atoms.conj().T))


def gram_problem(
    A: Dictionary, args: Arguments, penalty: Float[Array, " n"] | None = None
) -> GramProblem:
    """Prepares a dictionary, in the dtype of the signals; the penalty is of its unit columns."""
    n, dtype = A.shape[1], args.y.dtype
    room = (0, -n % _BLOCK)
    unit = Dense(A.unit.parts.astype(real_dtype(dtype)))
    gram = A.gram
    if gram is None or gram.dtype != dtype:
        gram = gram_of(unit)
    return GramProblem(
        gram=lax.stop_gradient(jnp.pad(gram, (room, room)).astype(dtype)),
        weights=jnp.pad(args.weights, room, constant_values=_TAKEN),
        atoms=jnp.pad(unit.matrix.T, (room, (0, 0))).astype(dtype),
        column_scale=jnp.pad(A.column_scale, room),
        penalty=jnp.zeros(n + room[1], unit.parts.dtype)
        if penalty is None
        else jnp.pad(penalty, room),
        size=n,
    )


def gram_pursuit(
    problem: GramProblem,
    correlations: Inexact[Array, "batch n"],
    size: Float[Array, " batch"],
    sparsity: int,
) -> GramPursuit:
    """Chooses atoms for a block of signals from ``A* A``, ``A* y`` and the norms of ``y``.

    Nothing is left to fit once no correlation exceeds the rounding of the first ones.

    The rows ``d_l`` are kept in up to eight buffers: a step reads those that are begun, so little
    more than what is filled, and there are few to compile.
    """
    gram, penalty = problem.gram, lax.stop_gradient(problem.penalty)
    batch, n = correlations.shape
    atoms = jnp.arange(n, dtype=jnp.int32)[None, :]
    guard = eps(gram.dtype) ** (1 / 3)  # Of nu^2, good to eps: leaves a step most of its digits.
    nothing = 8 * eps(gram.dtype) * size

    def step(state, slot, finished):
        c, weights, rows = state
        left = jnp.where(weights < 0, 0, magnitude(c))
        j = _first_argmax(jnp.where(weights < 0, _TAKEN, weights * left))
        taken = ~(jnp.max(left, axis=1) <= nothing)  # Not `>`: a NaN must show.

        parts, along = [], jnp.zeros_like(c)
        for buffer in (*finished, rows):
            part = jnp.take_along_axis(buffer, j[:, None, None], axis=2, mode="promise_in_bounds")
            parts.append(part[:, :, 0].conj())
            along += jnp.einsum("bl,bln->bn", parts[-1], buffer, precision=PRECISION)
        h = jnp.concatenate(parts, axis=1)
        nu_sq = 1 + penalty.at[j].get(mode="promise_in_bounds") - jnp.sum(abs_sq(h), axis=1)
        inverse = jnp.where(taken, lax.rsqrt(jnp.maximum(nu_sq, guard)), 0)

        d = (gram.at[j].get(mode="promise_in_bounds") - along) * inverse[:, None]
        # Read back from where it is kept, or it would be computed twice.
        rows = lax.optimization_barrier(rows.at[:, slot].set(d))
        projection = _entries(c, j) * inverse
        c = c - projection[:, None] * rows[:, slot]
        weights = jnp.where(atoms == j[:, None], _TAKEN, weights)
        return (c, weights, rows), (j, projection, taken, nu_sq, h)

    state = correlations, jnp.broadcast_to(problem.weights, (batch, n))
    finished: list[Array] = []
    outputs = []
    for width in widths(sparsity):
        rows = jnp.zeros((batch, width, n), gram.dtype)
        one = partial(step, finished=tuple(finished))
        (*state, rows), output = lax.scan(one, (*state, rows), jnp.arange(width))
        finished.append(rows)
        outputs.append(output)
    *vectors, h = zip(*outputs, strict=True)
    support, projections, taken, nu_sq = (jnp.concatenate(each).T for each in vectors)
    padded = [jnp.pad(each, ((0, 0), (0, 0), (0, sparsity - each.shape[2]))) for each in h]
    diagonal = jnp.where(taken, jnp.sqrt(jnp.maximum(nu_sq, guard)), 1)
    above = jnp.where(taken[:, None, :], jnp.concatenate(padded).transpose(1, 2, 0), 0)
    identity = jnp.eye(sparsity, dtype=bool)[None]
    triangle = jnp.where(identity, diagonal[:, :, None].astype(gram.dtype), above)
    accurate = jnp.all((nu_sq > guard) | ~taken)
    return GramPursuit(support, projections, triangle, taken, accurate)


def widths(sparsity: int) -> list[int]:
    """Widths of the buffers, which hold ``sparsity`` rows together."""
    width = max(_MIN_WIDTH, -(-sparsity // _MAX_BUFFERS))
    return [min(width, sparsity - start) for start in range(0, sparsity, width)]


def fit_on(problem: GramProblem, args: Arguments, found: GramPursuit) -> Recovery:
    """Least squares on the atoms found, refined once by residuals.

    The refinement restores what the Gram matrix lost to rounding. As a step of Newton's method
    from a constant it also has the derivative of least squares, ``(B* B + p)^-1 (dB* r + B*
    (dy - dB z) - dp z)``, though ``z`` and the triangle are constants.
    """
    found = lax.stop_gradient(found)
    support, taken = found.support, found.taken
    penalty = problem.penalty.at[support].get(mode="promise_in_bounds")
    atoms = problem.atoms.at[support].get(mode="promise_in_bounds")

    def solve(b, adjoint=False):
        return lax.linalg.triangular_solve(
            found.triangle, b[:, :, None], left_side=True, transpose_a=adjoint, conjugate_a=adjoint
        )[:, :, 0]

    def residual(z):
        return args.y - jnp.einsum("bk,bkm->bm", z, atoms, precision=PRECISION)

    z = solve(found.projections)
    gradient = jnp.einsum("bkm,bm->bk", atoms.conj(), residual(z), precision=PRECISION)
    gradient = gradient - penalty * z
    z = z + solve(solve(jnp.where(taken, gradient, 0), adjoint=True))
    residual_norm = jax.vmap(norm)(residual(z))
    scaled = args.scale[:, None] * problem.column_scale[support] * z
    signal = jnp.arange(len(z))[:, None]
    x = jnp.zeros((len(z), problem.size), z.dtype)
    return Recovery(
        x=x.at[signal, support].add(scaled, mode="promise_in_bounds"),
        support=jnp.where(taken, support, -1),
        residual_norm=args.scale * residual_norm,
        num_steps=jnp.sum(taken, axis=1, dtype=jnp.int32),
        converged=residual_norm == 0,
    )


def _first_argmax(scores: Float[Array, "batch n"]) -> Int[Array, " batch"]:
    """`first_argmax` of each row, of a length that is a multiple of `_BLOCK`.

    The maxima of blocks, the first block that has the largest, and the first of that inside.
    Indices are floats, as XLA's reductions of floats are faster on a CPU than those of integers.
    """
    blocks = scores.reshape(len(scores), -1, _BLOCK)
    best = jnp.max(blocks, axis=2)
    least = tie_of(jnp.max(best, axis=1, keepdims=True))
    block = _first(best >= least, scores.dtype)
    inside = jnp.take_along_axis(blocks, block[:, None, None], axis=1, mode="promise_in_bounds")
    return block * _BLOCK + _first(inside[:, 0] >= least, scores.dtype)


def _first(holds: Bool[Array, "batch n"], dtype) -> Int[Array, " batch"]:
    """The first index where something holds, the last index where it never does."""
    n = holds.shape[1]
    countdown = n - 1 - jnp.arange(n, dtype=dtype)[None, :]
    return n - 1 - jnp.max(jnp.where(holds, countdown, 0), axis=1).astype(jnp.int32)


def _entries(rows: Array, j: Int[Array, " batch"]) -> Array:
    return jnp.take_along_axis(rows, j[:, None], axis=1, mode="promise_in_bounds")[:, 0]
