"""The IHT family: a gradient step, then few entries are kept, or fitted."""

import abc
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from greedyjax import _checks
from greedyjax._numerics import eps, norm, promoted, times_atoms
from greedyjax._types import static
from greedyjax.linalg.checked import operator_dtype
from greedyjax.linalg.norms import step_size_of
from greedyjax.linalg.operators import split
from greedyjax.pursuit._method import Method
from greedyjax.pursuit._problem import Answer, Known, Problem, System
from greedyjax.pursuit.fits import LeastSquares, check_at_once
from greedyjax.sorting import HardSort, Indices, keep_only_order
from greedyjax.structures import Plain


class Estimate(NamedTuple):
    """The state of the iteration.

    Attributes:
        x: the signal, by parts.
        chosen: the mask of the kept entries, soft or 0-1; None if no policy reads it.
        support: indices of the kept entries; hard solvers have -1 where an entry is 0.
        stationary: whether the last step did not change ``x``.
    """

    x: Float[Array, "parts *snapshots n"]
    chosen: Any
    support: Int[Array, " sparsity"]
    stationary: Bool[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Thresholding(Method):
    """What the IHT family shares: the start, and how entries of ``x`` are kept.

    Attributes:
        sparsity: number of kept entries.
        num_steps: number of steps.
        step_size: size of a gradient step, > 0; each method says what None means.
        x0: the start, shape ``(n,)``; None means 0.
    """

    sparsity: int = static()
    num_steps: int = static()
    step_size: Any = None
    x0: Any = None

    uses_matrix = True

    def checked(self, shape: tuple[int, int], dtype) -> "Thresholding":
        """The method with its settings checked."""
        changes: dict[str, Any] = {
            "num_steps": _checks.static_int("num_steps", self.num_steps, minimum=0)
        }
        if self.step_size is not None:
            step_size = _checks.scalar("step_size", self.step_size, positive=True)
            changes["step_size"] = step_size
        if self.x0 is not None:
            ndim = 1 + self.structure.snapshots
            given = _checks.as_array("x0", self.x0)
            shape_of_x = (shape[1], *given.shape[1:ndim])
            x0 = changes["x0"] = _checks.inexact("x0", given, ndim=ndim, shape=shape_of_x)
            if jnp.iscomplexobj(x0) and not jnp.issubdtype(dtype, jnp.complexfloating):
                expected = f"real numbers, as A and y are {dtype}"
                _checks.fail(TypeError, "x0", expected, str(x0.dtype))
        return super().checked(shape, dtype)._with(**changes)

    def most(self, shape: tuple[int, int]) -> int:
        """The largest sparsity: the number of all entries, or blocks."""
        return self.structure.shape(shape[1])[0]

    def start(self, problem: Problem, turn) -> tuple[Array, Array, Array]:
        """``x0`` by parts, the 0-1 mask of its largest entries, and their indices."""
        n, dtype = problem.shape[1], problem.y.dtype
        start = problem.zeros()
        if self.x0 is not None:
            x0 = split(self.x0.T).astype(dtype) / problem.unit
            if x0.shape[1:] != start.shape[1:]:
                expected = f"shape {start.shape[:0:-1]}, a start for each snapshot"
                _checks.fail(ValueError, "x0", expected, f"shape {self.x0.shape}")
            start = self.structure.allowed(start.at[: len(x0)].set(x0))
        hard = turn._replace(selector=HardSort())
        if hard.weights is None or hard.weights.ndim != 1:
            hard = hard._replace(weights=jnp.ones(n, dtype))
        scores = hard.scores(start)
        mask, support = hard.kept(scores, self.sparsity, n)
        started = turn.structure.spread(scores, n) > 0
        return start, jnp.where(started, mask, 0), used_support(turn, start, support)

    def keep(self, problem: Problem, state: Any, u, turn):
        """Keeps the entries of ``u`` with the largest scores, and sets the others to 0."""

        def keep(u, chosen, x, turn):
            known = Known(lambda: chosen, lambda: problem.sizes(x))
            mask, support, choice = turn.keep(u, self.sparsity, known)
            return times_atoms(mask, self.structure.allowed(u)), mask, support, choice

        if not turn.is_hard and getattr(turn.selector, "recomputed", True):
            # For a backward pass, u and the order of its scores are stored, and the mask is
            # computed again. This takes less time than storing all arrays behind the mask, and a
            # tenth of the memory. A hard mask needs no such arrays. Also, checkify cannot check
            # indices inside a checkpoint.
            keep = jax.checkpoint(keep, prevent_cse=False, policy=keep_only_order)
        return keep(u, state.chosen, state.x, turn)

    def answer(self, problem: Problem, state: Any) -> Answer:
        """The last ``x``."""
        return Answer(
            x=problem.signal(state.x),
            residual=problem.residual(state.x),
            support=state.support,
            num_steps=self.num_steps,
            stationary=state.stationary,
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FixedSteps(Thresholding):
    """What IHT and HTP share: the gradient step ``u = x + eta A*(y - A x)``.

    Attributes:
        step_size: ``eta > 0``; None means ``1 / ||A||^2`` by power iteration.
        fit: the fit on the kept entries, if the method has a fit.
        unit_scale: whether ``step_size`` is for ``A`` divided by the power of two that brings it to
            unit scale. In other units the dtype may not be able to represent the step size.
    """

    fit: LeastSquares = LeastSquares()
    unit_scale: bool = static(default=False)

    def checked(self, shape: tuple[int, int], dtype) -> "Thresholding":
        """The method with its settings checked. Its fit must fit all atoms at once."""
        check_at_once(self._fit)
        return super().checked(shape, dtype)

    def at_unit_scale(self, step_size: Float[Array, ""]) -> "FixedSteps":
        """The method with a given step size for the matrix at unit scale."""
        return dataclasses.replace(self, step_size=step_size, unit_scale=True)

    def prepared(self, system: System) -> "FixedSteps":
        """The method with its own step size converted to the matrix at unit scale."""
        real = system.scale.dtype
        if self.step_size is None:
            step = step_size_of(system.A, promoted(operator_dtype(system.A), real))
        else:
            step = self.step_size.astype(real)
            if not self.unit_scale:
                step = step * system.scale * system.scale
        return dataclasses.replace(super().prepared(system), step_size=step)

    def init(self, problem: Problem, turn) -> Estimate:
        """The state at ``x0``, with the mask of its largest entries."""
        start, mask, support = self.start(problem, turn)
        chosen = None if turn.weighting.is_fixed else mask
        return Estimate(start, chosen, support, jnp.asarray(False))

    def step(self, problem: Problem, state: Estimate, turn):
        """One gradient step, and the choice of kept entries."""
        residual, dtype = problem.residual(state.x), problem.y.dtype
        if self.uses_columns:
            # A residual of rounding errors must not choose rows, so it counts as 0.
            nothing = norm(residual) <= 64 * eps(dtype) * norm(problem.y)
            residual = residual - lax.stop_gradient(jnp.where(nothing, residual, 0))
        u = state.x + self.step_size * problem.each(problem.system.A.adjoint_times)(residual)
        x, mask, support, choice = self.take(problem, state, u, turn)
        moved, length = lax.stop_gradient((norm(x - state.x), norm(x)))
        stationary = moved <= eps(dtype) ** 0.5 * length
        chosen = None if state.chosen is None else mask
        return Estimate(x, chosen, used_support(turn, x, support), stationary), (choice,)

    @abc.abstractmethod
    def take(self, problem: Problem, state: Estimate, u, turn) -> Any:
        """The next ``x``, the mask of its entries, their indices, and the choice."""

    def fitted(self, problem: Problem, state: Estimate, u, turn):
        """As `take`, but fits the entries of ``u`` with the largest scores by least squares."""
        known = Known(lambda: state.chosen, lambda: problem.sizes(state.x))
        # For a step size of 1 / ||A||^2 no column is longer than the inverse of its root.
        turn = turn._replace(error=turn.error * lax.stop_gradient(self.step_size) ** 0.5)
        rows, choice = turn.first(u, self.sparsity, known, again=True)
        x, _ = self.fit.solve(problem, rows)
        mask = rows.mask(problem.shape[1], problem.y.dtype)
        support = rows.support
        if isinstance(rows, Indices) and (
            not self.structure.is_plain or self.structure.nonnegative
        ):
            support = jnp.where(rows.is_first(), support, -1)
        return problem.over_columns(x), mask, support, choice


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class IHT(FixedSteps):
    """Iterative hard thresholding: each step keeps the entries with the largest scores.

    Attributes:
        debias: whether the last step fits its kept entries by least squares.
        structure: which atoms are kept together.
    """

    debias: bool = static(default=False)
    structure: Any = Plain()

    @property
    def uses_columns(self) -> bool:
        """Whether steps read columns of norm 1: only the last fit does."""
        return self.debias

    @property
    def uses_rows(self) -> bool:
        """Whether steps choose by rows: only the last fit does."""
        return self.debias

    def checked(self, shape: tuple[int, int], dtype) -> "Thresholding":
        """The method with its settings checked. A penalty needs ``debias``."""
        debias = _checks.flag("debias", self.debias)
        if self.fit.penalty is not None and not debias:
            _checks.fail(ValueError, "penalty", "None, as nothing is fitted", "a penalty")
        return super().checked(shape, dtype)

    def take(self, problem: Problem, state: Estimate, u, turn):
        """Keeps entries. With ``debias`` the last step fits them."""
        if not self.debias:
            return self.keep(problem, state, u, turn)
        return lax.cond(
            turn.step == self.num_steps - 1,
            lambda: self.fitted(problem, state, u, turn),
            lambda: self.keep(problem, state, u, turn),
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HTP(FixedSteps):
    """Hard thresholding pursuit: IHT in which every step ends with least squares.

    Attributes:
        structure: which atoms are kept together.
    """

    structure: Any = Plain()

    def footprint(self, shape: tuple[int, int]) -> int:
        """The numbers of the scores, and of a basis of the atoms."""
        atoms = self.sparsity * self.structure.shape(shape[1])[1]
        return 4 * shape[1] + 4 * atoms * (shape[0] + atoms)

    def take(self, problem: Problem, state: Estimate, u, turn):
        """Fits the entries with the largest scores."""
        return self.fitted(problem, state, u, turn)


def used_support(turn, x: Float[Array, "parts *snapshots n"], support: Int[Array, " sparsity"]):
    """The support, for a hard solver with -1 where ``x`` is 0; for a soft solver unchanged."""
    if not turn.is_hard:
        return support
    used = (support >= 0) & jnp.any(x[..., support] != 0, axis=tuple(range(x.ndim - 1)))
    return jnp.where(used, support, -1)
