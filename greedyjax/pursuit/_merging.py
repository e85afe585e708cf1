"""The steps of CoSaMP and subspace pursuit: merge candidates, fit, and keep the best."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import eps, magnitude_of, norm
from greedyjax._types import Recovery
from greedyjax.linalg.operators import join, split
from greedyjax.pursuit._driver import Turn, run, soft_selectors, turns_of
from greedyjax.pursuit._fitting import Atoms, used
from greedyjax.pursuit._omp import OMPProblem
from greedyjax.pursuit._omp import prepare as prepare_omp
from greedyjax.sorting import HardSort
from greedyjax.sorting._choice import halfway


class Rule(NamedTuple):
    """What tells the two algorithms apart. All static.

    Attributes:
        candidates: how many atoms join those kept, per atom kept.
        refits: whether the atoms kept are fitted again, or keep the coefficients they had among
            all those merged.
        refits_last: the same for what is returned.
    """

    candidates: int
    refits: bool
    refits_last: bool


class Iterate(NamedTuple):
    """Coefficients over unit columns, by parts, what they leave, and the rows that chose them."""

    x: Float[Array, "parts n"]
    residual: Float[Array, "parts m"]
    rows: Any


class State(NamedTuple):
    """Where a step is, and the iterate of least residual so far; a start of 0 is none."""

    now: Iterate
    best: Iterate
    stationary: Bool[Array, ""]


class Recorded(NamedTuple):
    """What hard steps met: at each step two choices, of candidates and of those to keep.

    Attributes:
        x: the answer, shape ``(n,)``.
        correlations: ``|a_j* r| / ||a_j||``, shape ``(num_steps, n)``.
        coefficients: ``|z_j| ||a_j||`` of the merged atoms, shape ``(num_steps, n)``.
        thresholds: halfway between the scores kept and those not, of correlations and of
            coefficients, shape ``(2, num_steps)``.
    """

    x: Inexact[Array, " n"]
    correlations: Float[Array, "num_steps n"]
    coefficients: Float[Array, "num_steps n"]
    thresholds: Float[Array, "2 num_steps"]


def prepare(A, y, weights, sparsity, num_steps, penalty) -> tuple[OMPProblem, int, int]:
    """Checks the arguments; columns and ``y`` are at unit scale, as for OMP."""
    num_steps = _checks.static_int("num_steps", num_steps, minimum=1)
    problem, sparsity = prepare_omp(A, y, weights, sparsity, penalty, num_steps=num_steps)
    return problem, sparsity, num_steps


def solve_hard(rule: Rule, A, y, weights, sparsity, num_steps, penalty) -> Recovery:
    """The hard algorithm that a rule describes."""
    problem, sparsity, num_steps = prepare(A, y, weights, sparsity, num_steps, penalty)
    found = _merge(rule, problem, HardSort(), sparsity, num_steps)
    return _recovery(problem, found, used(found.best.x, found.best.rows), num_steps)


def solve_soft(rule: Rule, A, y, weights, sparsity, num_steps, penalty, tau) -> Recovery:
    """Its soft twin."""
    problem, sparsity, num_steps = prepare(A, y, weights, sparsity, num_steps, penalty)
    selectors = soft_selectors(tau, num_steps, problem.args.scale)
    found = _merge(rule, problem, selectors, sparsity, num_steps)
    return _recovery(problem, found, found.last.support(found.best.rows), num_steps)


def layers(rule: Rule, A, y, weights, sparsity, num_steps, penalty, tau):
    """The best soft answers up to each step, shape ``(num_steps, n)``, from one run."""
    problem, sparsity, num_steps = prepare(A, y, weights, sparsity, num_steps, penalty)
    selectors = soft_selectors(tau, num_steps, problem.args.scale)
    found = _merge(rule, problem, selectors, sparsity, num_steps, layers=True)
    return problem.args.scale * (problem.column_scale[None, :] * jax.vmap(join)(found.layers))


def record(rule: Rule, A, y, weights, sparsity, num_steps, penalty) -> Recorded:
    """What hard steps chose from, for losses that score the choice itself."""
    problem, sparsity, num_steps = prepare(A, y, weights, sparsity, num_steps, penalty)
    found = _merge(rule, problem, HardSort(), sparsity, num_steps, record=True)
    scale = problem.args.scale
    x = scale * (problem.column_scale * join(found.best.x))
    correlations, coefficients, thresholds = (scale * each for each in found.met)
    return Recorded(x, correlations, coefficients, thresholds.T)


class _Merged(NamedTuple):
    best: Iterate
    stationary: Bool[Array, ""]
    last: Any  # The last selector.
    met: Any  # By every step, if recorded.
    layers: Any  # The best after every step, if asked for.


def _merge(
    rule: Rule,
    problem: OMPProblem,
    selectors,
    sparsity: int,
    num_steps: int,
    *,
    record: bool = False,
    layers: bool = False,
) -> _Merged:
    """All steps: the first iterate of least residual, and whether the last step moved at all.

    Of residuals that differ by rounding the first is least. Weights can make a step raise the
    residual on the way to a better one, so that subspace pursuit is not stopped there, as it was
    first published to be.
    """
    A, _, args, penalty = problem
    n, y, atoms = A.shape[1], split(args.y), Atoms(A, penalty)
    tolerance = eps(args.y.dtype) ** 0.5
    # Where rows span everything all residuals are rounding, and decide nothing.
    nothing = 64 * eps(args.y.dtype) * norm(y)
    num_candidates = min(rule.candidates * sparsity, n)
    turns = turns_of(selectors, args.weights)

    def choose(turn: Turn, residual, k):
        size = magnitude_of(A.adjoint_times(residual))
        scores = turn.scores(args.weights, size)
        return turn.selector.first(scores, k), size, scores

    def step(carry, inputs):
        state, met, all_x = carry
        i, turn = inputs
        now, select = state.now, turn.selector
        found, correlations, first_scores = choose(turn, now.residual, num_candidates)
        merged = jax.tree.map(lambda *rows: jnp.concatenate(rows), now.rows, found)
        z, _ = atoms.fit(select, merged, y)
        coefficients = magnitude_of(z)
        scores = turn.scores(args.weights, coefficients)
        rows = select.first(scores, sparsity)
        if rule.refits:
            x, residual = atoms.fit(select, rows, y)
        else:
            x = select.mask(rows, n, z.dtype)[None, :] * z
            residual = y - A.times(x)
        new = Iterate(x, residual, rows)
        # Not `>=`: a NaN must show.
        better = ~(norm(residual) >= norm(state.best.residual) - nothing)
        if not rule.refits:
            better |= i == 0  # There is none to compare with: the start is 0.
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), new, state.best)
        moved, size = lax.stop_gradient((norm(x - now.x), norm(x)))
        if record:
            kinds = (first_scores, num_candidates), (scores, sparsity)
            thresholds = jnp.stack([_threshold(*kind) for kind in kinds])
            each = correlations, coefficients, thresholds
            met = jax.tree.map(lambda all, one: all.at[i].set(one), met, each)
        all_x = all_x.at[i].set(best.x) if layers else None
        return (State(new, best, moved <= tolerance * size), met, all_x), None

    first = jax.tree.map(lambda leaf: leaf[0], turns)
    rows, *_ = choose(first, y, sparsity)
    x, residual = jnp.zeros((len(y), n), y.dtype), y
    if rule.refits:
        x, residual = atoms.fit(first.selector, rows, y)
    start = Iterate(x, residual, rows)
    state = State(start, start, jnp.asarray(False))
    # Carried, not stacked by the scan, which under vmap would put the steps before the batch.
    empty = [jnp.zeros((num_steps, *shape), y.dtype) for shape in ((n,), (n,), (2,), x.shape)]
    carry = state, tuple(empty[:3]) if record else None, empty[3] if layers else None
    (final, met, all_x), _ = run(step, carry, turns, num_steps)
    last = jax.tree.map(lambda leaf: leaf[-1], turns).selector
    best = final.best
    if rule.refits_last and not rule.refits:
        best = Iterate(*atoms.fit(last, best.rows, y), best.rows)
    return _Merged(best, final.stationary, last, met, all_x)


def _threshold(scores, k):
    return lax.stop_gradient(halfway(scores, HardSort().keep(scores, k)[0]))


def _recovery(problem: OMPProblem, found: _Merged, support, num_steps: int) -> Recovery:
    args = problem.args
    return Recovery(
        x=args.scale * (problem.column_scale * join(found.best.x)),
        support=support,
        residual_norm=args.scale * norm(found.best.residual),
        num_steps=jnp.asarray(num_steps, jnp.int32),
        converged=found.stationary,
    )
