"""Newtonised orthogonal matching pursuit of a block of signals."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from greedyjax._meshes import on_any_mesh, varying_like
from greedyjax._numerics import (
    abs_sq,
    eps,
    first_argmax,
    matmul,
    norm,
    power_of_two,
    real_dtype,
    safe_inverse,
    safe_sqrt,
)
from greedyjax.linalg.least_squares import least_squares
from greedyjax.linalg.operators import dense, join, split, unit_columns
from greedyjax.off_grid._false_alarm import thresholds
from greedyjax.off_grid._refinement import refined
from greedyjax.pursuit import in_blocks

_ROUNDING = 100  # Multiplies eps and the norm of the signal, as in `greedyjax.Recovery`.


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Settings:
    """The sizes of a pursuit."""

    sparsity: int
    num_newton: int
    num_cycles: int
    batch_size: int


class Family(NamedTuple):
    """Atoms as a function of their parameters, and the atoms of a grid.

    Attributes:
        function: maps the parameters of one atom to the atom, of any norm; a pytree.
        grid: the parameters of the candidates of a choice.
        scale: a power of two near the largest number in an atom of the grid.
        unit_atoms: the atoms of the grid at norm 1, as a `Dense`.
    """

    function: Any
    grid: Float[Array, "n d"]
    scale: Float[Array, ""]
    unit_atoms: Any

    def atom(self, theta: Float[Array, " d"]) -> Inexact[Array, " m"]:
        """The atom at unit scale."""
        return self.function(theta).astype(self.unit_atoms.dtype) / self.scale

    def unit_atom(self, theta: Float[Array, " d"]) -> Inexact[Array, " m"]:
        """The atom at norm 1, or zeros."""
        a = self.atom(theta)
        return a * safe_inverse(safe_sqrt(jnp.sum(abs_sq(a))))


class State(NamedTuple):
    """The state of one signal, at unit scale. Unused slots are zeros.

    Attributes:
        thetas: the parameters of each path.
        atoms: the atoms of the paths at norm 1.
        coefficients: the coefficients of these atoms, one column per snapshot.
        residuals: the signal minus all paths, one row per snapshot.
        count: the number of paths found.
        running: whether there may be more paths.
    """

    thetas: Float[Array, "sparsity d"]
    atoms: Inexact[Array, "sparsity m"]
    coefficients: Inexact[Array, "sparsity L"]
    residuals: Inexact[Array, "L m"]
    count: Int[Array, ""]
    running: Bool[Array, ""]


class Found(NamedTuple):
    """The answer for one signal: parameters, coefficients, number of paths, fit, residual."""

    thetas: Float[Array, "sparsity d"]
    coefficients: Inexact[Array, "sparsity L"]
    count: Int[Array, ""]
    fitted: Inexact[Array, "L m"]
    residual_norm: Float[Array, ""]


@jax.jit
@on_any_mesh(rows=(2, 3))
def pursued(
    function: Any, grid: Array, Y: Array, variance: Any, false_alarm: Any, settings: Settings
) -> Found:
    """The paths of all signals ``Y``, shape ``(num, L, m)``, in blocks.

    The fields of the result have a leading axis of ``num``.
    """
    family, limits = family_of(function, grid, Y.dtype), None
    if false_alarm is not None:
        limits = thresholds(
            lax.stop_gradient(family.unit_atoms.matrix),
            Y.dtype,
            snapshots=Y.shape[1],
            sparsity=settings.sparsity,
            num_parameters=grid.shape[1],
            false_alarm=lax.stop_gradient(false_alarm),
            known=variance is not None,
        )
    rows = (Y,) if variance is None else (Y, lax.stop_gradient(variance))
    one_block = lambda Y, variance=None: block(family, Y, variance, limits, settings)
    return in_blocks(one_block, settings.batch_size, *rows)


def family_of(function: Any, grid: Float[Array, "n d"], dtype) -> Family:
    """Prepares the atoms of a grid."""
    A = jax.vmap(function, out_axes=1)(grid).astype(dtype)
    scale = power_of_two(A)
    return Family(function, grid, scale, unit_columns(dense(A / scale))[0])


def block(family: Family, Y: Inexact[Array, "num L m"], variance, limits, settings) -> Found:
    """The paths of a block of signals, with rounds until all signals are done.

    Decisions are constants to derivatives. The last fit is differentiated.
    """
    units = power_of_two(Y, axis=(1, 2))
    scaled = Y / units[:, None, None]
    fixed = lax.stop_gradient((family, scaled))
    states = lax.stop_gradient(_paths(*fixed, variance, units, limits, settings))
    found = jax.vmap(partial(_answer, family))(scaled, states)
    times = lambda z: units.reshape(-1, *[1] * (z.ndim - 1)) * z
    return found._replace(
        coefficients=times(found.coefficients),
        fitted=times(found.fitted),
        residual_norm=times(found.residual_norm),
    )


def _paths(family: Family, Y, variance, units, limits, settings) -> State:
    """The paths of all signals, found in rounds that each add at most one path to a signal.

    All signals share the number of the round. So a round visits the same slots for all signals.
    """
    num, L, m = Y.shape
    K, d, real = settings.sparsity, family.grid.shape[1], real_dtype(Y.dtype)
    floor = jax.vmap(lambda Y: jnp.square(_ROUNDING * eps(real) * norm(Y)))(Y)
    if variance is not None:
        variance = variance.astype(real) / units / units

    def enough(k, states):
        if limits is None:
            return floor
        residuals = jnp.sum(abs_sq(states.residuals), axis=(1, 2))
        return jnp.maximum(floor, limits[k] * (residuals if variance is None else variance))

    def body(carry):
        k, states = carry
        least = enough(k, states)
        grown, energies = jax.vmap(partial(_candidate, family, k, settings))(states)
        running = states.running & (energies > least)

        def refit(states, grown):
            better = jax.vmap(partial(_all_refined, family, k, settings))(Y, grown)
            pick = lambda new, old: jnp.where(running.reshape(-1, *[1] * (new.ndim - 1)), new, old)
            return jax.tree.map(pick, better, states)

        # If all signals of a block are done, the last candidates need not be fitted.
        states = lax.cond(jnp.any(running), refit, lambda states, _: states, states, grown)
        return k + 1, states._replace(running=running)

    start = State(
        jnp.zeros((num, K, d), real),
        jnp.zeros((num, K, m), Y.dtype),
        jnp.zeros((num, K, L), Y.dtype),
        Y,
        jnp.zeros(num, jnp.int32),
        jnp.ones(num, bool),
    )
    goes_on = lambda carry: (carry[0] < K) & jnp.any(carry[1].running)
    carry = varying_like((jnp.zeros((), jnp.int32), start), Y, family.grid)
    return lax.while_loop(goes_on, body, carry)[1]


def _candidate(family: Family, k, settings: Settings, state: State) -> tuple[State, Array]:
    """The state with the best atom of the grid, refined alone, in slot ``k``; and its energy."""
    j = first_argmax(_scores(family.unit_atoms, state.residuals))
    grown = state._replace(thetas=state.thetas.at[k].set(family.grid[j]))
    grown = _visited(family, k, settings.num_newton, grown)
    return grown, jnp.sum(abs_sq(grown.coefficients[k]))


def _all_refined(family: Family, k, settings: Settings, Y, state: State) -> State:
    """The state with slots 0 to ``k`` refined in ``num_cycles`` cycles, and fitted together."""
    visit = lambda v, state: _visited(family, v % (k + 1), settings.num_newton, state)
    state = lax.fori_loop(0, settings.num_cycles * (k + 1), visit, state)
    C, R = _fitted(state.atoms, Y)
    return state._replace(coefficients=C, residuals=R, count=k + 1)


def _visited(family: Family, i, num_newton: int, state: State) -> State:
    """The state with one path refined and fitted on the signal minus all other paths."""
    rest = state.residuals + jnp.outer(state.coefficients[i], state.atoms[i])
    theta = refined(family.atom, state.thetas[i], rest, num_newton)
    a = family.unit_atom(theta)
    c = matmul(rest, a.conj())
    return state._replace(
        thetas=state.thetas.at[i].set(theta),
        atoms=state.atoms.at[i].set(a),
        coefficients=state.coefficients.at[i].set(c),
        residuals=rest - jnp.outer(c, a),
    )


def _scores(unit_atoms: Any, R: Inexact[Array, "L m"]) -> Float[Array, " n"]:
    """``sqrt(sum_l |a_j* r_l|^2)`` for the atoms of the grid."""
    correlations = jax.vmap(unit_atoms.adjoint_times, 1, 1)(split(R))
    return safe_sqrt(jnp.sum(abs_sq(correlations), axis=(0, 1)))


def _answer(family: Family, Y: Inexact[Array, "L m"], state: State) -> Found:
    """The last fit, differentiable in the signal and in all arrays that atoms depend on."""
    used = jnp.arange(len(state.thetas)) < state.count
    # Unused slots have no atom, although their parameters would give one.
    atoms = jax.vmap(family.atom)(state.thetas) * used[:, None]
    inverse = safe_inverse(safe_sqrt(jnp.sum(abs_sq(atoms), axis=1)))[:, None]
    C, R = _fitted(inverse * atoms, Y)
    C = inverse * C / family.scale
    return Found(state.thetas, C, state.count, Y - R, norm(R))


def _fitted(
    atoms: Inexact[Array, "k m"], Y: Inexact[Array, "L m"]
) -> tuple[Inexact[Array, "k L"], Inexact[Array, "L m"]]:
    """Least squares over all atoms: their coefficients, and the residuals."""
    parts = 2 if jnp.iscomplexobj(Y) else 1
    flat = jax.vmap(lambda z: split(z).ravel())
    B = flat(atoms)
    fit = jax.vmap(lambda y: least_squares(parts, B, y)[:2])(flat(Y))
    C, R = (jax.vmap(lambda z: join(z.reshape(parts, -1)))(rows) for rows in fit)
    return C.T, R
