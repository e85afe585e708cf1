"""Batches that stop at a tolerance: few steps for all signals, and more where they are needed."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Inexact

from greedyjax._meshes import num_parts, varying_like
from greedyjax._numerics import norm
from greedyjax._types import Codes, Recovery
from greedyjax.policies import Weighting
from greedyjax.pursuit._cutting import batch_that_fits, in_blocks
from greedyjax.pursuit._method import run
from greedyjax.pursuit._orthogonal import OMP
from greedyjax.pursuit._problem import System, Tolerance, problem_of
from greedyjax.pursuit._recover import recovery, solve, without_zeros
from greedyjax.pursuit._turns import turns_of

# The number of atoms in the first round. Each round has three times as many as the round before.
_FIRST, _TIMES = 8, 3
_MIXING = 2654435761  # Odd, so that multiples of it are different modulo 2^32; Knuth's choice.


def sizes_of_rounds(sparsity: int) -> list[int]:
    """The largest number of atoms in each round. The last round allows all atoms."""
    sizes, size = [], _FIRST
    while 2 * size <= sparsity:
        sizes.append(size)
        size *= _TIMES
    return [*sizes, sparsity]


def serve(method: OMP, Y: Any) -> bool:
    """Whether rounds can be used: more than one round, one device, a known number of signals."""
    several = len(sizes_of_rounds(method.sparsity)) > 1
    return several and isinstance(Y.shape[0], int) and num_parts(Y) == 1


def in_rounds(
    method: OMP, system: System, Y: Inexact[Array, "num m"], tolerance: Tolerance,
    weighting: Weighting, size: int, dense: bool,
) -> Recovery | Codes:  # fmt: skip
    """The answers of a prepared ``method`` to signals that each stop at their tolerance.

    At first all signals get few steps, whose passes over the chosen atoms are short. Signals that
    are not done start again, with room for three times as many atoms, and so on. Signals that are
    done cost nothing more. If more than three quarters of a block are not done, the round ends
    there, and the last round comes next. ``size`` is the number of signals in a block of the last
    round. Answers contain their zeros if ``dense``.
    """
    return _in_rounds((size, dense), method, system, Y, tolerance, weighting)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _in_rounds(settings: tuple[int, bool], method: OMP, system: System, Y, tolerance, weighting):
    size, dense = settings
    num, rounds = Y.shape[0], sizes_of_rounds(method.sparsity)

    def of_round(sparsity: int):
        """The function that solves a block with so many atoms, and the size of the block."""
        less = dataclasses.replace(method, sparsity=sparsity)
        one = partial(_with_atoms, less, method, system, weighting, dense)
        fits = size if sparsity == method.sparsity else batch_that_fits(
            3 * system.shape[1] + 4 * system.shape[0] * sparsity, Y.dtype
        )  # fmt: skip
        return jax.vmap(one), min(fits, num)

    shapes = jax.eval_shape(of_round(rounds[0])[0], Y, tolerance)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    # A round is useful if at least a quarter of each block is done at its end. The last round
    # always runs.
    (found, done), serves = varying_like((zeros, jnp.asarray(True)), Y, tolerance)
    for sparsity in rounds:
        solved, fits = of_round(sparsity)
        last = sparsity == method.sparsity
        now = (found, done), serves | last
        (found, done), serves = _round(solved, fits, last, (Y, tolerance), now)
    return found


def _round(solved: Callable, fits: int, last: bool, rows: Any, now: tuple) -> tuple:
    """Solves the signals that are not done, ``fits`` at a time, as long as this is useful."""
    (_, done), serves = now
    num = len(done)
    # Signals that are not done come first. Neighbours are often alike, so they go to different
    # blocks. Places past the last signal are empty.
    mixed = jnp.arange(num, dtype=jnp.uint32) * jnp.uint32(_MIXING)
    order = jnp.pad(jnp.lexsort((mixed, done)), (0, fits), constant_values=num)
    left = num - jnp.sum(done)

    def block(now):
        start, whole, _ = now
        places = lax.dynamic_slice_in_dim(order, start, fits)
        some = solved(*jax.tree.map(lambda z: z.at[places].get(mode="clip"), rows))
        whole = jax.tree.map(lambda all, one: all.at[places].set(one, mode="drop"), whole, some)
        wanted = jnp.arange(fits) < left - start
        serves = last | (4 * jnp.sum(some[1] & wanted) >= jnp.sum(wanted))
        return start + fits, whole, serves

    begin = varying_like(0 * left, rows), *now
    return lax.while_loop(lambda now: (now[0] < left) & now[2], block, begin)[1:]


@_in_rounds.defjvp
def _derivative(settings: tuple[int, bool], primals, tangents):
    """The derivative of the same answers without rounds, whose loop has an unknown length."""
    size, dense = settings

    def plain(method, system, Y, tolerance, weighting):
        def one(y, tolerance):
            found = solve(method, problem_of(system, y, tolerance=tolerance), weighting)
            return found if dense else without_zeros(found)

        return in_blocks(jax.vmap(one), size, Y, tolerance)

    return jax.jvp(plain, primals, tangents)


def _with_atoms(
    less: OMP, method: OMP, system: System, weighting: Weighting, dense: bool, y, tolerance
) -> tuple[Recovery | Codes, Bool[Array, ""]]:
    """The answer after the first steps of a method, in full shape, and whether it is done."""
    problem = problem_of(system, y, tolerance=tolerance)
    turns = turns_of(problem, weighting, None, method).part(0, less.sparsity)
    state, *_ = run(less, problem, turns)
    answer = less.answer(problem, state)
    found = recovery(less, problem, answer)
    width = len(found.support) // less.sparsity
    fill = (0, (method.sparsity - less.sparsity) * width)
    support = jnp.pad(found.support, fill, constant_values=-1)
    found = found._replace(support=support)
    # Not `>`, so that a signal with NaN runs to the end, and its answer is NaN.
    done = norm(answer.residual) <= problem.enough
    return found if dense else without_zeros(found), done
