"""The steps of the IHT family: a gradient step, then few entries are kept, or fitted."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from greedyjax import _checks
from greedyjax._numerics import eps, magnitude_of, norm, power_of_two
from greedyjax._types import Operator, Recovery
from greedyjax.linalg.norms import step_size_of
from greedyjax.linalg.operators import (
    Dense,
    adjoint_times,
    as_dense,
    as_operator,
    join,
    split,
    times,
    unit_columns,
)
from greedyjax.pursuit._driver import Arguments, arguments, run, soft_selectors, turns_of
from greedyjax.pursuit._fitting import Atoms, used
from greedyjax.sorting import HardSort
from greedyjax.sorting._choice import halfway
from greedyjax.sorting._hardsort import keep_only_order


class Problem(NamedTuple):
    """The problem at unit scale: ``A / matrix_scale`` and ``y / scale``, with its own step size.

    Its solution is ``matrix_scale / scale`` times that of the problem given.

    Attributes:
        A: the matrix at unit scale.
        matrix_scale: a power of two.
        args: measurements and weights.
        step_size: that of the matrix at unit scale.
        x0: the start.
        atoms: what steps fit on, where any do.
        column_scale: the factors that brought those to norm 1.
    """

    A: Operator
    matrix_scale: Float[Array, ""]
    args: Arguments
    step_size: Float[Array, ""]
    x0: Inexact[Array, " n"]
    atoms: Atoms | None = None
    column_scale: Float[Array, " n"] | None = None


class State(NamedTuple):
    """``x`` by real and imaginary part: compilers are better at real numbers than at pairs."""

    x: Float[Array, "parts n"]
    support: Int[Array, " sparsity"]
    stationary: Bool[Array, ""]


class Recorded(NamedTuple):
    """What hard steps met.

    Attributes:
        x: the last ``x``, shape ``(n,)``.
        proposals: ``|u|`` before each thresholding, shape ``(num_steps, n)``; weights times them
            are the scores it chose by.
        thresholds: halfway between the scores kept and those not kept, shape ``(num_steps,)``.
    """

    x: Inexact[Array, " n"]
    proposals: Float[Array, "num_steps n"]
    thresholds: Float[Array, " num_steps"]


def prepare(
    A, y, weights, sparsity, num_steps, step_size, x0=None, *, fits: bool, penalty=None
) -> tuple[Problem, int, int]:
    """Checks the arguments that the family shares, and brings them to unit scale."""
    A = as_operator(A)
    n = A.shape[1]
    sparsity = _checks.static_int(
        "sparsity", sparsity, minimum=1, maximum=n, why=f" for A of shape {tuple(A.shape)}"
    )
    num_steps = _checks.static_int("num_steps", num_steps, minimum=0)
    args = arguments(A, y, weights, num_steps=num_steps)
    dtype = args.y.dtype
    if penalty is not None:
        if not fits:
            _checks.fail(ValueError, "penalty", "None, as nothing is fitted", "a penalty")
        penalty = _checks.penalty(penalty, n)
    A, matrix_scale = at_unit_scale(A, args.scale.dtype)
    step = unit_step(A, matrix_scale, step_size, dtype)

    if x0 is None:
        start = jnp.zeros(n, dtype)
    else:
        start = _checks.inexact("x0", x0, ndim=1, shape=(n,))
        if jnp.iscomplexobj(start) and not jnp.issubdtype(dtype, jnp.complexfloating):
            _checks.fail(TypeError, "x0", f"real numbers, as A and y are {dtype}", str(start.dtype))
        start = start.astype(dtype) * (matrix_scale / args.scale)
    problem = Problem(A, matrix_scale, args, step, start)
    if not fits:
        return problem, sparsity, num_steps
    unit, column_scale = unit_columns(as_dense(A))
    if penalty is not None:
        penalty = penalty.astype(column_scale.dtype) * (column_scale / matrix_scale) ** 2
    return (
        problem._replace(atoms=Atoms(unit, penalty), column_scale=column_scale),
        sparsity,
        num_steps,
    )


def at_unit_scale(A: Operator, real) -> tuple[Operator, Float[Array, ""]]:
    """``A / scale`` with entries of at most 1, and ``scale``; an operator is left as it is."""
    if not isinstance(A, Dense):
        return A, jnp.ones((), real)
    scale = power_of_two(A.parts).astype(real)
    return Dense(A.parts.astype(real) / scale), scale


def unit_step(A: Operator, scale: Float[Array, ""], step_size, dtype) -> Float[Array, ""]:
    """The step size for ``A``, given that for ``scale A``."""
    if step_size is None:
        return step_size_of(A, dtype)
    given = _checks.scalar("step_size", step_size, positive=True)
    return given.astype(scale.dtype) * scale * scale


def selectors_of(problem: Problem, tau, num_steps: int):
    """Soft selectors, their temperature in the units of the problem at unit scale."""
    return soft_selectors(tau, num_steps, problem.args.scale / problem.matrix_scale)


def threshold(
    problem: Problem,
    selectors,
    sparsity: int,
    num_steps: int,
    num_fitted: int,
    *,
    record: bool = False,
    layers: bool = False,
) -> tuple[State, Any, Any]:
    """All steps; each one's ``|u|`` and threshold if asked to record them, and each one's ``x``.

    The last ``num_fitted`` put least squares on the entries kept in place of ``u`` itself.
    """
    A, _, args, step_size, x0, atoms, column_scale = problem
    tolerance = eps(args.y.dtype) ** 0.5
    y, start = split(args.y), split(x0)
    turns = turns_of(selectors, args.weights)

    def keep(u, turn):
        size = magnitude_of(u)
        scores = turn.scores(args.weights, size)
        mask, support = turn.selector.keep(scores, sparsity)
        return mask[None, :] * u, support, (size, halfway(scores, mask)) if record else None

    if not isinstance(selectors, HardSort):
        # A backward pass keeps u and the order of its scores, and computes the mask again: that
        # takes less time than to store all it is made of, and a tenth of the memory. A hard mask
        # is made of nothing; and checkify cannot look for bad indices inside of a checkpoint.
        keep = jax.checkpoint(keep, prevent_cse=False, policy=keep_only_order)

    def fit(u, turn):
        assert atoms is not None
        assert column_scale is not None
        size = magnitude_of(u)
        scores = turn.scores(args.weights, size)
        rows = turn.selector.first(scores, sparsity)
        x, _ = atoms.fit(turn.selector, rows, y)
        met = (size, _between(scores, sparsity)) if record else None
        return column_scale[None, :] * x, turn.selector.support(rows), met

    def step(carry, inputs, take):
        state, recorded, all_x = carry
        i, turn = inputs
        u = state.x + step_size * adjoint_times(A, y - times(A, state.x))
        x, support, met = take(u, turn)
        moved, length = lax.stop_gradient((norm(x - state.x), norm(x)))
        recorded = jax.tree.map(lambda all, one: all.at[i].set(one), recorded, met)
        all_x = all_x.at[i].set(x) if layers else None
        return (State(x, support, moved <= tolerance * length), recorded, all_x), None

    # Before the first step the support is that of x0.
    of_start = 1 if args.weights.ndim == 2 else args.weights
    support = HardSort().keep(of_start * magnitude_of(start), sparsity)[1]
    # Carried, not stacked by the scan, which under vmap would put the steps before the batch.
    empty = [jnp.zeros((num_steps, *shape), y.dtype) for shape in ((A.shape[1],), ())]
    all_x = jnp.zeros((num_steps, *start.shape), y.dtype) if layers else None
    carry = State(start, support, jnp.asarray(False)), tuple(empty) if record else None, all_x
    num_kept = max(num_steps - num_fitted, 0)
    for first, last, take in ((0, num_kept, keep), (num_kept, num_steps, fit)):
        if first < last:
            some = jax.tree.map(lambda leaf, a=first, b=last: leaf[a:b], turns)
            one = lambda carry, inputs, take=take: step(carry, inputs, take)
            carry, _ = run(one, carry, some, last - first, first)
    return carry


def _between(scores, k: int):
    """Halfway from the smallest score kept to the largest that is not."""
    return halfway(scores, HardSort().keep(scores, k)[0])


def record(problem: Problem, sparsity: int, num_steps: int, num_fitted: int) -> Recorded:
    """What hard steps chose from, for losses that score the choice itself."""
    final, met, _ = threshold(problem, HardSort(), sparsity, num_steps, num_fitted, record=True)
    scale = problem.args.scale / problem.matrix_scale
    return Recorded(*(scale * each for each in (join(final.x), *met)))


def layers(problem: Problem, tau, sparsity: int, num_steps: int, num_fitted: int):
    """The soft answers after each step, shape ``(num_steps, n)``, from one run."""
    selectors = selectors_of(problem, tau, num_steps)
    *_, all_x = threshold(problem, selectors, sparsity, num_steps, num_fitted, layers=True)
    return problem.args.scale / problem.matrix_scale * jax.vmap(join)(all_x)


def recovery(problem: Problem, final: State, num_steps: int, *, only_used=False) -> Recovery:
    """The result in the units of the arguments; -1 for entries of 0 where only those used count."""
    A, matrix_scale, args, *_ = problem
    return Recovery(
        x=(args.scale / matrix_scale) * join(final.x),
        support=used(final.x, final.support) if only_used else final.support,
        residual_norm=args.scale * norm(split(args.y) - times(A, final.x)),
        num_steps=jnp.asarray(num_steps, jnp.int32),
        converged=final.stationary,
    )
