"""The computations of networks: soft answers, the answers of each layer, and recorded choices.

Each function is compiled once, for one signal ``(m,)`` or for many signals, ``(num, m)``.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
from jaxtyping import Array, Inexact

from greedyjax._meshes import on_any_mesh
from greedyjax._numerics import promoted, times_real
from greedyjax._types import static
from greedyjax.linalg.checked import operator_dtype
from greedyjax.policies import Weighting
from greedyjax.pursuit._method import Method, run
from greedyjax.pursuit._problem import Problem, problem_of
from greedyjax.pursuit._recover import solve, system_for
from greedyjax.pursuit._turns import Choice, turns_of
from greedyjax.sorting import Relaxed


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Met:
    """The record of all choices of one kind in a hard solver. A step may make several kinds.

    Attributes:
        scores: shape ``(..., steps, candidates)``, in the units of the user's problem. Each atom is
            a candidate, unless a structure says otherwise. Scores are differentiable only in the
            weights.
        threshold: the middle between the chosen scores and the others, shape ``(..., steps)``, or
            ``(..., steps, levels)`` for a structure with levels; a constant. None if a step takes
            only the largest score.
        closed: the mask of candidates that were excluded, of the same shape, or None.
        kept: the number of atoms that a step takes; 0 if it takes only the next atom.
    """

    scores: Any
    threshold: Any
    closed: Any
    kept: int = static(default=0)


class Choices(NamedTuple):
    """The choices of the hard solver with given weights, for losses that score choices.

    Attributes:
        met: one `Met` for each kind of choice that a step makes, in their order.
        x: the hard solver's answers, shape ``(..., n)``. They are constants to derivatives.
    """

    met: tuple[Met, ...]
    x: Inexact[Array, "*batch n"]


@jax.jit
@on_any_mesh(rows=(2,))
def recover_soft(method: Method, A: Any, Y: Array, weighting: Weighting, relaxed: Relaxed) -> Array:
    """The answers of the soft solver."""
    return _each(method, A, Y, lambda method, problem: solve(method, problem, weighting, relaxed).x)


@jax.jit
@on_any_mesh(rows=(2,))
def recover_layers(
    method: Method, A: Any, Y: Array, weighting: Weighting, relaxed: Relaxed
) -> Array:
    """The answers of the soft solver after each of its steps."""

    def one(method, problem):
        turns = turns_of(problem, weighting, relaxed, method)
        x = lambda state: method.answer(problem, state).x
        return times_real(problem.unit, run(method, problem, turns, of_states=x)[1])

    return _each(method, A, Y, one)


@jax.jit
@on_any_mesh(rows=(2,))
def recorded_choices(method: Method, A: Any, Y: Array, weighting: Weighting) -> Choices:
    """The choices of the hard solver, and its answers.

    The path is a constant to derivatives. Only the weights in the scores are differentiated.
    """
    frozen, A, Y = lax.stop_gradient((method, A, Y))
    path_weighting = lax.stop_gradient(weighting)

    def one(method, problem):
        turns = turns_of(problem, path_weighting, None, method)
        kept: list[int] = []

        def threshold(choice: Choice) -> Array | None:
            return method.structure.threshold(choice.scores, choice.kept) if choice.kept else None

        def seen(choices: tuple[Choice, ...]):
            kept[:] = [choice.kept for choice in choices]
            return [(c.magnitudes, threshold(c), c.closed, c.context) for c in choices]

        state, _, met = run(method, problem, turns, of_choices=seen)
        x = times_real(problem.unit, method.answer(problem, state).x)
        met, x = lax.stop_gradient((met, x))
        pairs = zip(met, kept, strict=True)
        each = [_met(method, weighting, problem, one, k) for one, k in pairs]
        return Choices(tuple(each), x)

    return _each(frozen, A, Y, one)


def _met(method: Method, weighting: Weighting, problem: Problem, seen: tuple, kept: int) -> Met:
    magnitudes, threshold, closed, context = seen
    if weighting.is_fixed:
        num_steps, n = magnitudes.shape
        shared, of_steps = weighting.magnitudes(n, num_steps, magnitudes.dtype)
        weights = of_steps if shared is None else shared[None, :]
    else:
        weights = jax.vmap(weighting)(context)
    pool = jax.vmap(method.structure.pool)
    scores = problem.unit * pool(weights.astype(magnitudes.dtype) * magnitudes)
    return Met(scores, None if threshold is None else problem.unit * threshold, closed, kept)


def _each(method: Method, A: Any, Y: Array, one: Callable[[Method, Problem], Any]) -> Any:
    """Applies a function of a prepared method and a problem to one signal, or to each of many."""
    dtype = promoted(operator_dtype(A), Y)
    Y = Y.astype(dtype)
    system = system_for(method, A, dtype)
    prepared = method.prepared(system)
    of_signal = lambda y: one(prepared, problem_of(system, y))
    of_one = 1 + method.structure.snapshots
    return of_signal(Y) if Y.ndim == of_one else jax.vmap(of_signal)(Y)
