"""CoSaMP and subspace pursuit: merge candidates, fit, and keep the best."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from greedyjax import _checks
from greedyjax._numerics import eps, norm, times_atoms
from greedyjax._types import static
from greedyjax.pursuit._method import Method
from greedyjax.pursuit._problem import Answer, Known, Problem
from greedyjax.pursuit.fits import LeastSquares, check_at_once
from greedyjax.sorting import Indices
from greedyjax.structures import Plain


class Iterate(NamedTuple):
    """Coefficients over unit columns, by parts, their residual, and the rows that chose them."""

    x: Float[Array, "parts *snapshots n"]
    residual: Float[Array, "parts *snapshots m"]
    rows: Any


class Iterates(NamedTuple):
    """The present iterate, and the iterate with the smallest residual so far."""

    now: Iterate
    best: Iterate
    stationary: Bool[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Merging(Method):
    """What both share: each step merges candidates with the kept atoms, fits, and keeps the best.

    The answer is the first iterate with the smallest residual. Of residuals that differ by
    rounding, the first counts as the smallest. With weights, a step can raise the residual on the
    way to a better answer. So subspace pursuit does not stop there, unlike the published algorithm.

    Attributes:
        sparsity: number of kept atoms, or of kept candidates if there is a structure.
        num_steps: number of steps.
        fit: fit of the merged atoms.
        structure: which atoms are chosen together.
    """

    sparsity: int = static()
    num_steps: int = static()
    fit: LeastSquares = LeastSquares()
    structure: Any = Plain()

    #: The number of merged candidates for each kept atom.
    candidates = 1
    #: Whether kept atoms are fitted again. If not, they keep their coefficients from the fit of all
    #: merged atoms.
    refits = True
    #: Whether the atoms of the answer are fitted again.
    refits_last = True

    def checked(self, shape: tuple[int, int], dtype) -> "_Merging":
        """The method with its settings checked; it has at least one step."""
        check_at_once(self.fit)
        num_steps = _checks.static_int("num_steps", self.num_steps, minimum=1)
        return dataclasses.replace(super().checked(shape, dtype), num_steps=num_steps)

    def footprint(self, shape: tuple[int, int]) -> int:
        """The numbers of the scores, and of a basis of the merged atoms."""
        merged = (1 + self.candidates) * self.sparsity * self.structure.shape(shape[1])[1]
        return 3 * shape[1] + 4 * merged * (shape[0] + merged)

    def init(self, problem: Problem, turn) -> Iterates:
        """The state with the atoms of the largest correlations, fitted if steps fit kept atoms."""
        n, x = problem.shape[1], problem.zeros()
        known = Known(lambda: jnp.zeros(n, x.dtype), lambda: problem.sizes(x))
        correlations = problem.correlations(problem.y)
        rows, _ = turn.first(correlations, self.sparsity, known, again=True, fewer=True)
        start = Iterate(x, problem.y, rows)
        if self.refits:
            start = Iterate(*self.fit.solve(problem, rows), rows)
        return Iterates(start, start, jnp.asarray(False))

    def step(self, problem: Problem, state: Iterates, turn):
        """Merges candidates, fits all merged atoms, and keeps the best."""
        n, dtype = problem.shape[1], problem.y.dtype
        now, best, _ = state
        known = Known(lambda: now.rows.union(n, dtype), lambda: problem.sizes(now.x))
        candidates = min(self.candidates * self.sparsity, self.structure.shape(n)[0])
        correlations = problem.correlations(now.residual)
        found, merging = turn.first(correlations, candidates, known, again=True, fewer=True)
        merged = jax.tree.map(lambda *rows: jnp.concatenate(rows), now.rows, found)
        z, _ = self.fit.solve(problem, merged)
        known = Known(lambda: merged.union(n, dtype), lambda: problem.sizes(z))
        rows, keeping = turn.first(z, self.sparsity, known, again=True, fewer=True)
        if self.refits:
            x, residual = self.fit.solve(problem, rows)
        else:
            x = times_atoms(rows.mask(n, dtype), z)
            residual = problem.y - problem.each(problem.atoms.times)(x)
        new = Iterate(x, residual, rows)
        # If the rows span all measurements, residuals are rounding, and must not decide.
        nothing = 64 * eps(dtype) * norm(problem.y)
        # Not `>=`, so that a NaN is passed on.
        better = ~(norm(residual) >= norm(best.residual) - nothing)
        if not self.refits:
            better |= turn.step == 0  # In the first step there is no earlier iterate.
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), new, best)
        moved, size = lax.stop_gradient((norm(x - now.x), norm(x)))
        return Iterates(new, best, moved <= eps(dtype) ** 0.5 * size), (merging, keeping)

    def answer(self, problem: Problem, state: Iterates) -> Answer:
        """The iterate with the smallest residual."""
        x, residual, rows = state.best
        if self.refits_last and not self.refits:
            x, residual = self.fit.solve(problem, rows)
        support = rows.support
        if isinstance(rows, Indices):
            used = jnp.any(x[..., support] != 0, axis=tuple(range(x.ndim - 1)))
            support = jnp.where(used & rows.is_first(), support, -1)
        return Answer(
            x=problem.signal(problem.over_columns(x)),
            residual=residual,
            support=support,
            num_steps=self.num_steps,
            stationary=state.stationary,
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SubspacePursuit(_Merging):
    """Subspace pursuit: as many candidates as kept atoms, and kept atoms are fitted again."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CoSaMP(_Merging):
    """CoSaMP: twice as many candidates, and kept atoms keep their coefficients.

    Attributes:
        debias: whether the answer fits the kept atoms again.
    """

    debias: bool = static(default=False)

    candidates = 2
    refits = False

    @property
    def refits_last(self) -> bool:
        """Whether the atoms of the answer are fitted again: with ``debias``."""
        return self.debias

    def checked(self, shape: tuple[int, int], dtype) -> "_Merging":
        """The method with its settings checked."""
        _checks.flag("debias", self.debias)
        return super().checked(shape, dtype)
