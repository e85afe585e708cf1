"""Normalised IHT: each step is as long as the kept entries allow."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from greedyjax._numerics import abs_sq, eps, norm, power_of_two, safe_inverse, times_atoms
from greedyjax.pursuit._problem import Known, Problem
from greedyjax.pursuit._thresholding import Thresholding, used_support
from greedyjax.structures import Plain

_ROOM = 0.01  # The constant c of the paper: a step is shorter than the longest stable step by c.
_MOST_HALVINGS = 40


class Normalised(NamedTuple):
    """The state of the iteration.

    Attributes:
        x: the signal, by parts.
        chosen: the mask of the kept entries, soft or 0-1; zeros before the first choice.
        support: indices of the kept entries; hard solvers have -1 where an entry is 0.
        stationary: whether the last step did not change ``x``.
        mask: the mask of the entries whose gradient determines the next step size.
        rounding: the norm up to which a gradient is rounding.
    """

    x: Float[Array, "parts *snapshots n"]
    chosen: Float[Array, " n"]
    support: Int[Array, " sparsity"]
    stationary: Bool[Array, ""]
    mask: Float[Array, " n"]
    rounding: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NIHT(Thresholding):
    """Normalised iterative hard thresholding: IHT that computes the size of each step.

    With ``d`` the mask of the kept entries and ``g = A*(y - A x)``, the step size is
    ``||d g||^2 / ||A (d g)||^2``, which is the best step size if the mask stays the same. If the
    mask changes, the step size is halved until it is at most
    ``0.99 ||x' - x||^2 / ||A (x' - x)||^2``, where ``x'`` is the next ``x``. Then the residual
    falls. The number of halvings is a constant to derivatives.

    Attributes:
        step_size: a factor on this step size; None means 1.
        structure: which atoms are kept together.
    """

    structure: Any = Plain()

    uses_columns = False
    uses_rows = False

    def init(self, problem: Problem, turn) -> Normalised:
        """The state at ``x0``. Without ``x0``, steepest descent determines the first mask."""
        start, kept, support = self.start(problem, turn)
        rounding = (
            64 * eps(kept.dtype) * norm(problem.each(problem.system.A.adjoint_times)(problem.y))
        )
        rounding = lax.stop_gradient(rounding)
        state = Normalised(start, kept, support, jnp.asarray(False), kept, rounding)
        if self.x0 is not None:
            return state
        everywhere = state._replace(mask=jnp.ones_like(kept))
        u = self.length(problem, everywhere) * self.gradient(problem, state)
        known = Known(lambda: kept, lambda: problem.sizes(start))
        return state._replace(mask=turn.keep(u, self.sparsity, known)[0])

    def step(self, problem: Problem, state: Normalised, turn):
        """One gradient step of the computed size, and the choice of kept entries."""
        dtype = problem.y.dtype
        length = self.length(problem, state)
        frozen: Any = lax.stop_gradient((self, problem, state, turn, length))
        size = length * NIHT.halved(*frozen)
        x, mask, support, choice = self.moved(problem, state, turn, size)
        step, whole = lax.stop_gradient((norm(x - state.x), norm(x)))
        stationary = step <= eps(dtype) ** 0.5 * whole
        support = used_support(turn, x, support)
        return Normalised(x, mask, support, stationary, mask, state.rounding), (choice,)

    def length(self, problem: Problem, state: Normalised) -> Float[Array, ""]:
        """``||d g||^2 / ||A (d g)||^2``, times the factor ``step_size``."""
        along = times_atoms(state.mask, self.gradient(problem, state))
        # If both are rounding, their ratio has no meaningful derivative.
        along = jnp.where(norm(along) > state.rounding, along, lax.stop_gradient(along))
        # The same ratio, whose derivative does not overflow.
        along = along / power_of_two(along)
        whole = _energy(along)
        measured = _energy(problem.each(problem.system.A.times)(along))
        nothing = measured <= (64 * eps(whole.dtype)) ** 2 * whole
        length = whole * safe_inverse(jnp.where(nothing, 0, measured))
        return length if self.step_size is None else self.step_size.astype(length.dtype) * length

    def gradient(self, problem: Problem, state: Normalised):
        """``A*(y - A x)`` by parts."""
        return problem.each(problem.system.A.adjoint_times)(problem.residual(state.x))

    def moved(self, problem: Problem, state: Normalised, turn, size: Float[Array, ""]):
        """The result of a step of this size: ``x``, the mask, its indices, and the choice."""
        return self.keep(problem, state, state.x + size * self.gradient(problem, state), turn)

    def halved(self, problem: Problem, state: Normalised, turn, length: Float[Array, ""]):
        """The first of the factors 1, 1/2, 1/4, ... for which the step is short enough."""

        def too_long(factor):
            x, mask, _, _ = self.moved(problem, state, turn, factor * length)
            same = jnp.all((mask > 0.5) == (state.mask > 0.5))
            if self.structure.nonnegative:
                # An entry that stops at 0 does not move along the gradient.
                stops = jnp.any(x <= 0, axis=tuple(range(x.ndim - 1)))
                same &= ~jnp.any((mask > 0.5) & stops)
            moved = x - state.x
            measured = problem.each(problem.system.A.times)(moved)
            allowed = (1 - _ROOM) * _energy(moved)
            return ~same & (factor * length * _energy(measured) > allowed)

        def halve(now):
            factor = now[0] / 2
            return factor, too_long(factor) & (factor > 2.0**-_MOST_HALVINGS)

        one = jnp.ones_like(length)
        return lax.while_loop(lambda now: now[1], halve, (one, too_long(one)))[0]


def _energy(z: Float[Array, "..."]) -> Float[Array, ""]:
    return jnp.sum(abs_sq(z))
