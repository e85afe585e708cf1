"""The turn of a step: its number, its selector, its weights, and the choices it can make."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from greedyjax._numerics import eps, norm, promoted
from greedyjax._types import static
from greedyjax.policies import Context, Weighting, as_weighting
from greedyjax.pursuit._problem import Known, Problem
from greedyjax.sorting import HardSort, Indices, Relaxed, Rows
from greedyjax.structures import Structure


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Choice:
    """The record of one choice of a step, for losses that score the choice itself.

    Attributes:
        magnitudes: the numbers that weights multiply, shape ``(n,)``, in the units of the problem.
        scores: the scores of the candidates.
        context: the context that the policy saw.
        closed: the mask of candidates that were excluded; None if there were none.
        kept: the number of candidates to choose; 0 for a choice of the next candidate alone.
    """

    magnitudes: Any
    scores: Any
    context: Context
    closed: Any = None
    kept: int = static(default=0)


class Turn(NamedTuple):
    """The number of a step, its selector and its weights.

    Attributes:
        step: the number of the step, counted from 0.
        selector: makes the choices of this step, hard or soft.
        weights: the weights of this step, shape ``(n,)``; None if the policy computes them.
        weighting: the policy.
        structure: turns correlations into scores of candidates.
        error: the rounding of a correlation. Scores that differ by no more tie.
    """

    step: Int[Array, ""]
    selector: Any
    weights: Any
    weighting: Weighting
    structure: Structure
    error: Any = 0

    @property
    def is_hard(self) -> bool:
        """Whether rows are indices, so that no derivative passes through a choice."""
        return isinstance(self.selector, HardSort)

    def next(
        self, correlations: Float[Array, "parts *snapshots n"], known: Known
    ) -> tuple[Rows, Choice]:
        """The row of the next candidate, and the record of the choice.

        Args:
            correlations: ``a_j* r`` of each atom, by parts, or other numbers whose magnitudes
                are compared.
            known: the atoms chosen before, which a hard selector leaves out.
        """
        choice, weights = self._choice(correlations, known)
        chosen = self.structure.met(known.chosen())
        row = self._selector(weights).next(choice.scores, chosen)
        closed = self.structure.closed(chosen) if self.is_hard else None
        return row, dataclasses.replace(choice, closed=closed)

    def first(
        self,
        correlations: Float[Array, "parts *snapshots n"],
        k: int,
        known: Known,
        *,
        again: bool = False,
        fewer: bool = False,
    ) -> tuple[Rows, Choice]:
        """The rows of the atoms of the ``k`` best candidates, and the record of the choice.

        Args:
            correlations: as for `next`.
            k: the number of candidates.
            known: the atoms chosen before.
            again: whether a hard selector may choose these atoms again.
            fewer: whether a hard selector leaves out candidates whose score is 0 or rounding. The
                first candidate is repeated in their places.
        """
        choice, weights = self._choice(correlations, known, k)
        chosen = None if again else self.structure.met(known.chosen())
        rows = self._selector(weights).first(choice.scores, k, chosen)
        if isinstance(rows, Indices) and (fewer or self.structure.nonnegative):
            # With answers that are not negative, only candidates with a positive score are fitted.
            values, least = self.structure.pool(choice.magnitudes)[rows.index], 0
            if fewer:
                values = choice.scores[rows.index]
                least = (self.error * self.structure.pool(weights))[rows.index]
            # Not `>`, so that a NaN is passed on.
            rows = Indices(jnp.where(values <= least, rows.index[0], rows.index))
        rows, _ = self.structure.expand(rows, correlations.shape[-1])
        return rows, dataclasses.replace(choice, closed=chosen if self.is_hard else None)

    def keep(
        self, values: Float[Array, "parts *snapshots n"], k: int, known: Known
    ) -> tuple[Float[Array, " n"], Int[Array, " places"], Choice]:
        """The mask of the atoms of the ``k`` best candidates, their indices, and the record.

        The indices have -1 where a candidate has fewer atoms than others.
        """
        choice, _ = self._choice(values, known, k)
        return *self.kept(choice.scores, k, values.shape[-1]), choice

    def kept(self, scores: Float[Array, " candidates"], k: int, num_atoms: int):
        """The mask of the atoms of the ``k`` best candidates, and their indices."""
        mask, candidates = self.structure.choosing(self.selector).keep(scores, k)
        atoms, exist = self.structure.atoms(candidates, num_atoms)
        return self.structure.spread(mask, num_atoms), jnp.where(exist, atoms, -1)

    def scores(
        self, correlations: Float[Array, "parts *snapshots n"]
    ) -> Float[Array, " candidates"]:
        """The scores of the candidates, if the weights are known beforehand."""
        magnitudes = self._given(self.structure.magnitudes(correlations))
        return self.structure.pool(self.weights * magnitudes)

    def _selector(self, weights: Array) -> Any:
        """The selector. A hard selector gets the rounding within which scores tie."""
        selector = self.selector
        if self.is_hard:
            ones = self.weighting.is_ones
            selector = HardSort(self.error, None if ones else self.structure.pool(weights))
        return self.structure.choosing(selector)

    def _given(self, values: Array) -> Array:
        """The values, as a constant to derivatives if the selector has ``stepwise = True``."""
        return lax.stop_gradient(values) if getattr(self.selector, "stepwise", False) else values

    def _choice(self, correlations, known: Known, kept: int = 0) -> tuple[Choice, Array]:
        """The record of a choice, and the weights of the atoms."""
        magnitudes = self._given(self.structure.magnitudes(correlations))
        chosen = lambda: self._given(jnp.asarray(known.chosen(), magnitudes.dtype))
        coefficients = lambda: self._given(known.coefficients())
        context = self.weighting.context(self.step, chosen, coefficients)
        weights = self.weights
        if weights is None:
            weights = self.weighting(context).astype(magnitudes.dtype)
        scores = self.structure.pool(weights * magnitudes)
        return Choice(magnitudes, scores, context, kept=kept), weights


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Turns:
    """The turns of all steps.

    Attributes:
        selectors: one selector for each step, stacked.
        shared: weights that all steps share, or None.
        of_steps: weights of each step, or None.
        weighting: the policy.
        structure: which atoms are chosen together.
        error: the rounding of a correlation.
        num_steps: the number of steps.
        start: the number of the first step.
    """

    selectors: Any
    shared: Any
    of_steps: Any
    weighting: Weighting
    structure: Structure
    error: Any
    num_steps: int = static()
    start: int = static(default=0)

    @property
    def each(self) -> tuple:
        """The stacked parts of turns that differ from step to step."""
        return self.selectors, self.of_steps

    def turn(self, step: Int[Array, ""], each: tuple) -> Turn:
        """The turn of a step, from its entry of ``each``."""
        selector, weights = each
        weights = self.shared if weights is None else weights
        return Turn(step, selector, weights, self.weighting, self.structure, self.error)

    @property
    def first(self) -> Turn:
        """The first turn. It also exists if there are no steps."""
        of_step = lambda leaf: leaf[0] if len(leaf) else leaf
        return self.turn(jnp.asarray(self.start, jnp.int32), jax.tree.map(of_step, self.each))

    def part(self, start: int, stop: int) -> "Turns":
        """The turns of the steps from ``start`` to ``stop``."""
        selectors, of_steps = jax.tree.map(lambda leaf: leaf[start:stop], self.each)
        return dataclasses.replace(
            self,
            selectors=selectors,
            of_steps=of_steps,
            num_steps=stop - start,
            start=self.start + start,
        )


def turns_of(problem: Problem, weights: Any, relaxed: Relaxed | None, method: Any) -> Turns:
    """The turns of a soft solver, with temperatures in the user's units, or of a hard solver.

    ``weights`` are as in `greedyjax.recover`.
    """
    n, dtype, num_steps = problem.shape[1], problem.y.dtype, method.num_steps
    full = dtype if len(problem.y) == 1 else promoted(dtype, jnp.complex64)
    weighting = as_weighting(weights, n, num_steps, full)
    selectors = relaxed.selectors(problem.unit, num_steps) if relaxed else HardSort()
    shared, of_steps = weighting.magnitudes(n, num_steps, dtype)
    if weighting.is_fixed:
        weighting = weighting.spoken()
    # The residual is y minus the fit, so its correlations contain the rounding of y.
    error = 4 * eps(dtype) * norm(lax.stop_gradient(problem.y))
    return Turns(selectors, shared, of_steps, weighting, method.structure, error, num_steps)
