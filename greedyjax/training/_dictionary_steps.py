"""One step of dictionary learning: code a batch, improve the dictionary, replace lost atoms."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from greedyjax._numerics import (
    abs_sq,
    in_units,
    magnitude,
    matmul,
    power_of_two,
    safe_inverse,
    times_real,
)
from greedyjax.training._dictionary_coding import Batch, coded, completed
from greedyjax.training._dictionary_updates import DictionaryUpdate, energy_of

# Atoms are checked whenever they have been used this many times on average.
MEAN_USES = 100
# An atom that is used less than this share of the average is dead.
_DEAD_SHARE = 0.01
# Two atoms with this inner product or more count as the same atom.
_SAME = 0.99


class State(NamedTuple):
    """The state of dictionary learning.

    Attributes:
        A: the dictionary, with columns of norm 1.
        update: the state of the update.
        uses: the number of uses of each atom since atoms were last checked.
        fresh: which atoms were replaced after the last batch.
    """

    A: Inexact[Array, "m n"]
    update: Any
    uses: Int[Array, " n"]
    fresh: Bool[Array, " n"]


class Seen(NamedTuple):
    """The record of a batch: its squared coding error, squared norm, and replaced atoms."""

    error: Float[Array, ""]
    energy: Float[Array, ""]
    replaced: Int[Array, ""]


@jax.jit
def start(update: DictionaryUpdate, A: Inexact[Array, "*d m n"]) -> State:
    """The state before the first batch."""

    def one(A):
        n = A.shape[1]
        A = in_units(A, power_of_two(A, axis=0)[None])  # Now squares neither overflow nor vanish.
        A = _unit_columns(A, A)
        return State(A, update.init(A), jnp.zeros(n, jnp.int32), jnp.zeros(n, bool))

    return _each(one, A.ndim == 3, A)


@partial(jax.jit, static_argnames="sparsity")
def step(
    update: DictionaryUpdate,
    state: State,
    batch: Batch,
    unit: Float[Array, "*d"],
    *,
    sparsity: int,
) -> tuple[State, Seen]:
    """The step for one batch, whose entries are of the order of ``unit``."""

    def one(state, batch, unit):
        batch = batch.in_units(unit)
        codes = coded(state.A, batch, sparsity)
        memory, A = update.step(state.update, state.A, codes, state.fresh)
        A = _unit_columns(A, state.A)
        uses = state.uses.at[codes.support].add((codes.support >= 0).astype(jnp.int32))
        look = jnp.sum(uses) >= MEAN_USES * A.shape[1]
        lost = look & (_dead(uses) | _duplicates(A))
        A, fresh = _replaced(A, lost, completed(state.A, batch, codes), codes.residual)
        seen = Seen(energy_of(codes.residual), codes.energy, jnp.sum(fresh))
        return State(A, memory, jnp.where(look, 0, uses), fresh), seen

    return _each(one, batch.Y.ndim == 3, state, batch, unit)


@partial(jax.jit, static_argnames="sparsity")
def error(A: Inexact[Array, "*d m n"], batch: Batch, *, sparsity: int):
    """``sum ||y - A x||^2 / sum ||y||^2``, and 0 if all signals are 0."""

    def one(A, batch):
        codes = coded(A, batch.in_units(power_of_two(batch.Y)), sparsity)
        return energy_of(codes.residual) * safe_inverse(codes.energy)

    return _each(one, batch.Y.ndim == 3, A, batch)


def _each(function: Callable, stacked: bool, *args: Any) -> Any:
    """Applies a function to its arguments; or, if they are stacked, to one set after the other.

    This does not use `jax.vmap`, which would compute a rarely taken branch each time. It would also
    make a loop over the uses of an atom as long as the longest such loop of all sets.
    """
    if stacked:
        return lax.map(lambda each: function(*each), args)
    return function(*args)


def _unit_columns(A: Inexact[Array, "m n"], before: Inexact[Array, "m n"]):
    """The columns scaled to norm 1. If a norm is 0 or not finite, the column of ``before``."""
    norms = jnp.sqrt(jnp.sum(abs_sq(A), axis=0, keepdims=True))
    usable = (norms > 0) & jnp.isfinite(norms)
    return jnp.where(usable, times_real(safe_inverse(jnp.where(usable, norms, 1)), A), before)


def _dead(uses: Int[Array, " n"]) -> Bool[Array, " n"]:
    """Which atoms are hardly ever used."""
    counts = uses.astype(jnp.float32)
    return counts < _DEAD_SHARE * jnp.mean(counts)


def _duplicates(A: Inexact[Array, "m n"]) -> Bool[Array, " n"]:
    """Which atoms equal an earlier atom up to a factor."""
    same = magnitude(matmul(A.conj().T, A)) >= _SAME
    return jnp.any(jnp.triu(same, 1), axis=0)


def _replaced(A, lost: Bool[Array, " n"], Y, residual):
    """Puts the signals with the largest errors in place of lost atoms; which atoms are new."""
    errors = jnp.sum(abs_sq(residual), axis=1)
    num = min(A.shape[1], len(Y))
    worst = lax.top_k(errors, num)[1]
    rank = jnp.cumsum(lost) - 1
    rows = worst[jnp.minimum(rank, num - 1)]
    # A signal that is coded without error has nothing to add.
    fresh = lost & (rank < num) & (errors[rows] > 0)
    return jnp.where(fresh[None], _unit_columns(Y[rows].T, A), A), fresh
