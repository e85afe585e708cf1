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
    """Coefficients over unit columns, by parts, what they leave, and the rows that chose them."""

    x: Float[Array, "parts *snapshots n"]
    residual: Float[Array, "parts *snapshots m"]
    rows: Any


class Iterates(NamedTuple):
    """Where the steps are, and the iterate of least residual so far."""

    now: Iterate
    best: Iterate
    stationary: Bool[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Merging(Method):
    """What the two share: each step merges candidates to the atoms kept, fits, and keeps the best.

    The answer is the first iterate of least residual; of residuals that differ by rounding the
    first is least. Weights can make a step raise the residual on the way to a better one, so that
    subspace pursuit is not stopped there, as it was first published to be.

    Attributes:
        sparsity: atoms kept.
        num_steps: number of steps.
        fit: of the merged atoms.
        structure: what is chosen together; atoms above are then candidates.
    """

    sparsity: int = static()
    num_steps: int = static()
    fit: LeastSquares = LeastSquares()
    structure: Any = Plain()

    #: How many atoms join those kept, for each atom kept.
    candidates = 1
    #: Whether the atoms kept are fitted again, or keep the coefficients they had among all merged.
    refits = True
    #: The same for the answer.
    refits_last = True

    def checked(self, shape: tuple[int, int], dtype) -> "_Merging":
        """At least one step."""
        check_at_once(self.fit)
        num_steps = _checks.static_int("num_steps", self.num_steps, minimum=1)
        return dataclasses.replace(super().checked(shape, dtype), num_steps=num_steps)

    def footprint(self, shape: tuple[int, int]) -> int:
        """Scores, and a basis of the merged atoms."""
        merged = (1 + self.candidates) * self.sparsity * self.structure.shape(shape[1])[1]
        return 3 * shape[1] + 4 * merged * (shape[0] + merged)

    def init(self, problem: Problem, turn) -> Iterates:
        """The atoms of the largest correlations, fitted if the steps do so."""
        n, x = problem.shape[1], problem.zeros()
        known = Known(lambda: jnp.zeros(n, x.dtype), lambda: problem.sizes(x))
        correlations = problem.correlations(problem.y)
        rows, _ = turn.first(correlations, self.sparsity, known, again=True, fewer=True)
        start = Iterate(x, problem.y, rows)
        if self.refits:
            start = Iterate(*self.fit.solve(problem, rows), rows)
        return Iterates(start, start, jnp.asarray(False))

    def step(self, problem: Problem, state: Iterates, turn):
        """Merges, fits and keeps."""
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
        # Not `>=`: a NaN must show.
        better = ~(norm(residual) >= norm(best.residual) - nothing)
        if not self.refits:
            better |= turn.step == 0  # In the first step there is no earlier iterate.
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), new, best)
        moved, size = lax.stop_gradient((norm(x - now.x), norm(x)))
        return Iterates(new, best, moved <= eps(dtype) ** 0.5 * size), (merging, keeping)

    def answer(self, problem: Problem, state: Iterates) -> Answer:
        """The iterate of least residual."""
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
    """Subspace pursuit: as many candidates as atoms are kept, which are then fitted again."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CoSaMP(_Merging):
    """CoSaMP: twice as many candidates, and the atoms kept keep the coefficients that they have.

    Attributes:
        debias: whether the answer fits them again.
    """

    debias: bool = static(default=False)

    candidates = 2
    refits = False

    @property
    def refits_last(self) -> bool:
        """At the end, if asked to."""
        return self.debias

    def checked(self, shape: tuple[int, int], dtype) -> "_Merging":
        """A flag is one."""
        _checks.flag("debias", self.debias)
        return super().checked(shape, dtype)
