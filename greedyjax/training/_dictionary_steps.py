"""One batch of dictionary learning: coded, its dictionary improved, lost atoms replaced."""

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

# Atoms are looked at once each has been used so often, on average.
MEAN_USES = 100
# Used less than this share of that, an atom is dead.
_DEAD_SHARE = 0.01
# Two atoms of this inner product or more are one.
_SAME = 0.99


class State(NamedTuple):
    """What learning changes.

    Attributes:
        A: columns of norm 1.
        update: what the update remembers.
        uses: of each atom, since atoms were last looked at.
        fresh: the atoms that were replaced after the last batch.
    """

    A: Inexact[Array, "m n"]
    update: Any
    uses: Int[Array, " n"]
    fresh: Bool[Array, " n"]


class Seen(NamedTuple):
    """What is known of a batch: squared error as coded, squared norm, and atoms replaced."""

    error: Float[Array, ""]
    energy: Float[Array, ""]
    replaced: Int[Array, ""]


@jax.jit
def start(update: DictionaryUpdate, A: Inexact[Array, "*d m n"]) -> State:
    """Before any batch."""

    def one(A):
        n = A.shape[1]
        A = in_units(A, power_of_two(A, axis=0)[None])  # Whose squares neither overflow nor vanish.
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
    """One batch, whose entries are of the size of ``unit``."""

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
    """``sum ||y - A x||^2 / sum ||y||^2``, and 0 where there is nothing to code."""

    def one(A, batch):
        codes = coded(A, batch.in_units(power_of_two(batch.Y)), sparsity)
        return energy_of(codes.residual) * safe_inverse(codes.energy)

    return _each(one, batch.Y.ndim == 3, A, batch)


def _each(function: Callable, stacked: bool, *args: Any) -> Any:
    """The function of the arguments, or of each of several sets of them, in turn.

    Not `jax.vmap`, under which a branch that is hardly ever taken is always computed, and a loop
    over the uses of an atom is as long as the longest of all sets.
    """
    if stacked:
        return lax.map(lambda each: function(*each), args)
    return function(*args)


def _unit_columns(A: Inexact[Array, "m n"], before: Inexact[Array, "m n"]):
    """Columns at norm 1; where there is none to scale, the column before."""
    norms = jnp.sqrt(jnp.sum(abs_sq(A), axis=0, keepdims=True))
    usable = (norms > 0) & jnp.isfinite(norms)
    return jnp.where(usable, times_real(safe_inverse(jnp.where(usable, norms, 1)), A), before)


def _dead(uses: Int[Array, " n"]) -> Bool[Array, " n"]:
    """Those hardly ever used."""
    counts = uses.astype(jnp.float32)
    return counts < _DEAD_SHARE * jnp.mean(counts)


def _duplicates(A: Inexact[Array, "m n"]) -> Bool[Array, " n"]:
    """The later ones of atoms that are the same up to a factor."""
    same = magnitude(matmul(A.conj().T, A)) >= _SAME
    return jnp.any(jnp.triu(same, 1), axis=0)


def _replaced(A, lost: Bool[Array, " n"], Y, residual):
    """The worst-coded signals in the place of lost atoms, and which atoms these are."""
    errors = jnp.sum(abs_sq(residual), axis=1)
    num = min(A.shape[1], len(Y))
    worst = lax.top_k(errors, num)[1]
    rank = jnp.cumsum(lost) - 1
    rows = worst[jnp.minimum(rank, num - 1)]
    # A signal that is coded without error has nothing to add.
    fresh = lost & (rank < num) & (errors[rows] > 0)
    return jnp.where(fresh[None], _unit_columns(Y[rows].T, A), A), fresh
