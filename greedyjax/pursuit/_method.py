"""What a method is: `init`, `step` and `answer`, and the one scan that runs them all."""

import abc
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from greedyjax import _checks
from greedyjax.policies import Context, Weighting, as_weighting
from greedyjax.pursuit._problem import Answer, Known, Problem, System
from greedyjax.sorting import HardSort, Rows, SoftSort, temperature, threshold_of

static = partial(dataclasses.field, metadata={"static": True})

# What `typing.Self` says, which beartype reads in classes alone, and the tests check functions.
Own = TypeVar("Own", bound="Method")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Choice:
    """One choice that a step met, for losses that score the choice itself.

    Attributes:
        magnitudes: what the policy multiplied, shape ``(n,)``, in the units of the problem.
        scores: what was chosen by, shape ``(n,)``.
        context: what the policy saw.
        closed: the atoms that were not to be chosen, a mask; None where all were open, or the
            choice was that of the next atom alone.
        kept: how many atoms were to be chosen; 0 where it was the next one alone.
    """

    magnitudes: Any
    scores: Any
    context: Context
    closed: Any = None
    kept: int = static(default=0)

    @property
    def threshold(self) -> Float[Array, ""] | None:
        """Halfway between the scores chosen and the others; None where it was the next one."""
        return threshold_of(self.scores, self.kept) if self.kept else None


class Turn(NamedTuple):
    """One step's number, its selector, and its weights.

    Attributes:
        step: the number of the step, from 0 on.
        selector: makes the choices of this step, hard or soft.
        weights: multiply magnitudes in this step, ``(n,)``; None where the policy has to be asked.
        weighting: the policy.
    """

    step: Int[Array, ""]
    selector: Any
    weights: Any
    weighting: Weighting

    @property
    def is_hard(self) -> bool:
        """Whether rows are indices, so that no derivative passes a choice."""
        return self.selector.rows.constant

    def next(self, magnitudes: Float[Array, " n"], known: Known) -> tuple[Rows, Choice]:
        """The next atom, and the choice as it was met.

        Args:
            magnitudes: one number for each atom, not negative.
            known: the atoms of before, which a hard selector leaves out.
        """
        choice = self._choice(magnitudes, known)
        return self.selector.next(choice.scores, known.chosen()), choice

    def first(
        self, magnitudes: Float[Array, " n"], k: int, known: Known, *, again: bool = False
    ) -> tuple[Rows, Choice]:
        """The rows of the ``k`` largest scores, and the choice as it was met.

        Args:
            magnitudes: one number for each atom, not negative.
            k: how many.
            known: the atoms of before.
            again: whether a hard selector may choose those again.
        """
        choice = self._choice(magnitudes, known, k)
        if again:
            return self.selector.first(choice.scores, k), choice
        chosen = known.chosen()
        rows = self.selector.first(choice.scores, k, chosen)
        return rows, dataclasses.replace(choice, closed=chosen if self.is_hard else None)

    def keep(
        self, magnitudes: Float[Array, " n"], k: int, known: Known
    ) -> tuple[Float[Array, " n"], Int[Array, " k"], Choice]:
        """The mask of the ``k`` largest scores, their indices, and the choice as it was met."""
        choice = self._choice(magnitudes, known, k)
        return *self.selector.keep(choice.scores, k), choice

    def scores(self, magnitudes: Float[Array, " n"]) -> Float[Array, " n"]:
        """What atoms are chosen by, where the weights are known beforehand."""
        return self.weights * magnitudes

    def _choice(self, magnitudes, known: Known, kept: int = 0) -> Choice:
        chosen = lambda: jnp.asarray(known.chosen(), magnitudes.dtype)
        context = self.weighting.context(self.step, chosen, known.coefficients)
        weights = self.weights
        if weights is None:
            weights = self.weighting(context).astype(magnitudes.dtype)
        return Choice(magnitudes, weights * magnitudes, context, kept=kept)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Turns:
    """The turns of all steps.

    Attributes:
        selectors: one selector for each step, stacked.
        shared: weights of all steps alike, or None.
        of_steps: weights of each step, or None.
        weighting: the policy.
        num_steps: how many.
        start: the number of the first.
    """

    selectors: Any
    shared: Any
    of_steps: Any
    weighting: Weighting
    num_steps: int = static()
    start: int = static(default=0)

    @property
    def each(self) -> tuple:
        """What the turns are made of that differs from step to step, stacked."""
        return self.selectors, self.of_steps

    def turn(self, step: Int[Array, ""], each: tuple) -> Turn:
        """The turn that one entry of ``each`` makes."""
        selector, weights = each
        return Turn(step, selector, self.shared if weights is None else weights, self.weighting)

    @property
    def first(self) -> Turn:
        """The first turn. Where there are no steps, it can say how they would choose."""
        of_step = lambda leaf: leaf[0] if len(leaf) else leaf
        return self.turn(jnp.asarray(self.start, jnp.int32), jax.tree.map(of_step, self.each))

    def part(self, start: int, stop: int) -> "Turns":
        """Some of them."""
        selectors, of_steps = jax.tree.map(lambda leaf: leaf[start:stop], self.each)
        return dataclasses.replace(
            self,
            selectors=selectors,
            of_steps=of_steps,
            num_steps=stop - start,
            start=self.start + start,
        )


def turns_of(problem: Problem, weights: Any, tau: Any, num_steps: int) -> Turns:
    """The turns of a soft solver at temperatures in the user's units, or of a hard one.

    ``weights`` and ``tau`` are those of `greedyjax.recover`.
    """
    dtype = problem.y.dtype
    dtype = dtype if len(problem.y) == 1 else jnp.result_type(dtype, jnp.complex64)
    weighting = as_weighting(weights, problem.shape[1], num_steps, dtype)
    selectors: Any = HardSort()
    if tau is not None:
        tau = jnp.broadcast_to(jnp.asarray(tau), (num_steps,))
        selectors = SoftSort(temperature(tau, problem.unit))
    shared, of_steps = weighting.magnitudes(problem.shape[1], num_steps, problem.y.dtype)
    if weighting.is_fixed:
        weighting = Weighting(None, weighting.sees)  # It has said all that it says.
    return Turns(selectors, shared, of_steps, weighting, num_steps)


class Method(abc.ABC):
    """A greedy algorithm as a value: a frozen dataclass that JAX knows as a pytree.

    Settings that set shapes or choose code are static fields, numbers are leaves. Three functions
    make an algorithm, `init`, `step` and `answer`; the hard solver, its soft twin, the network, the
    losses and the batch are all made from them. Two equal methods share one compilation.
    """

    #: How many steps there are, and how many atoms at most: static fields, or properties.
    num_steps: int
    sparsity: int

    @abc.abstractmethod
    def init(self, problem: Problem, turn: Turn) -> Any:
        """The state before any step: a pytree of arrays. ``turn`` is that of the first step."""

    @abc.abstractmethod
    def step(self, problem: Problem, state: Any, turn: Turn) -> tuple[Any, tuple[Choice, ...]]:
        """The next state, of the same form, and the choices that were made on the way."""

    @abc.abstractmethod
    def answer(self, problem: Problem, state: Any) -> Answer:
        """What the state means."""

    # What follows has defaults that most methods keep.

    #: The relative residual that counts as an answer; None means rounding.
    rtol: Any = None
    #: Whether steps multiply by ``A`` itself, which is then brought to unit scale.
    uses_matrix = False
    #: Whether steps read columns at norm 1, which a matrix-free operator then has to give.
    uses_columns = True

    @property
    def uses_gram(self) -> bool:
        """Whether steps read the Gram matrix of those columns: what the field ``fit`` does."""
        return getattr(self._fit, "uses_gram", False)

    def most(self, shape: tuple[int, int]) -> int:
        """The largest sparsity for a matrix: no more atoms can be independent than it has rows."""
        return min(shape)

    def checked(self: Own, shape: tuple[int, int], dtype) -> Own:
        """The method with its settings checked for a problem, before anything is traced."""
        del dtype
        sparsity = _checks.static_int(
            "sparsity",
            self.sparsity,
            minimum=1,
            maximum=self.most(shape),
            why=f" for A of shape {tuple(shape)}",
        )
        fit = self._fit
        if isinstance(fit, type):
            got = f"the class {fit.__name__}; make one: {fit.__name__}()"
            _checks.fail(TypeError, "fit", "a greedyjax.pursuit.Fit", got)
        missing = [name for name in ("checked", "prepared") if not hasattr(fit, name)]
        if fit is not None and missing:
            got = f"{type(fit).__name__}, which has no {missing[0]}"
            _checks.fail(TypeError, "fit", "a greedyjax.pursuit.Fit", got)
        return self._with(sparsity, None if fit is None else fit.checked(shape[1]))

    def prepared(self: Own, system: System) -> Own:
        """The method with what depends on the matrix alone, once for all signals."""
        if self._fit is None or not self.uses_columns:
            return self
        return self._with(self.sparsity, self._fit.prepared(system))

    def within(self: Own, shape: tuple[int, int]) -> Own:
        """The method for a smaller matrix, with no more atoms than that allows."""
        return self._with(min(self.sparsity, self.most(shape)), self._fit)

    @property
    def _fit(self) -> Any:
        return getattr(self, "fit", None)

    def _with(self: Own, sparsity: int, fit: Any) -> Own:
        changes = {"sparsity": sparsity} | ({} if fit is None else {"fit": fit})
        return dataclasses.replace(self, **changes)  # pyright: ignore[reportArgumentType]

    def footprint(self, shape: tuple[int, int]) -> int:
        """About how many numbers a step reads and writes for one signal, to size blocks by."""
        return 4 * shape[1]

    def all_steps(self, problem: Problem, turns: Turns) -> tuple[Any, Any] | None:
        """The last state, and the state after each step, stacked, by a derivative of its own.

        None means that steps are scanned, and differentiated as they stand.
        """
        del problem, turns


def run(
    method: Method,
    problem: Problem,
    turns: Turns,
    *,
    of_states: Callable[[Any], Any] | None = None,
    of_choices: Callable[[tuple[Choice, ...]], Any] | None = None,
) -> tuple[Any, Any, Any]:
    """All steps of a method on one signal.

    Args:
        method: checked and prepared.
        problem: one signal's.
        turns: of its steps.
        of_states: what to record of the state after each step.
        of_choices: what to record of the choices of each step.

    Returns:
        The last state, and both records, stacked over the steps; None for one not asked for.
    """
    if of_choices is None:
        known = method.all_steps(problem, turns)
        if known is not None:
            final, states = known
            return final, None if of_states is None else jax.vmap(of_states)(states), None
    return scan(method, problem, turns, of_states=of_states, of_choices=of_choices)


def scan(
    method: Method,
    problem: Problem,
    turns: Turns,
    state: Any = None,
    *,
    of_states: Callable[[Any], Any] | None = None,
    of_choices: Callable[[tuple[Choice, ...]], Any] | None = None,
) -> tuple[Any, Any, Any]:
    """As `run`, by a scan over the steps, from ``state`` if there is one."""
    first = turns.first
    if state is None:
        state = method.init(problem, first)

    def record(state, choices):
        return (
            of_states(state) if of_states else None,
            of_choices(choices) if of_choices else None,
        )

    def step(carry, inputs):
        state, recorded = carry
        i, each = inputs
        new, choices = method.step(problem, state, turns.turn(turns.start + i, each))
        _same_form(method, state, new)
        recorded = jax.tree.map(lambda all, one: all.at[i].set(one), recorded, record(new, choices))
        return (new, recorded), None

    # Carried, not stacked by the scan, which under vmap would put the steps before the batch.
    recorded = None, None
    if of_states or of_choices:
        like = jax.eval_shape(lambda state: record(*method.step(problem, state, first)), state)
        recorded = jax.tree.map(
            lambda leaf: jnp.zeros((turns.num_steps, *leaf.shape), leaf.dtype), like
        )
    steps = jnp.arange(turns.num_steps, dtype=jnp.int32)
    (state, recorded), _ = lax.scan(
        step, (state, recorded), (steps, turns.each), length=turns.num_steps
    )
    return state, *recorded


def _same_form(method: Method, before: Any, after: Any) -> None:
    """Raises where a step changes the form of its state, which no scan can carry."""

    def forms(state):
        return {
            jax.tree_util.keystr(path): (jnp.shape(leaf), jnp.result_type(leaf))
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        }

    old, new = forms(before), forms(after)
    for path in [*old, *new]:
        if old.get(path) != new.get(path):
            show = lambda form: "nothing" if form is None else f"{form[1]} of shape {form[0]}"
            raise TypeError(
                f"{type(method).__name__}.step: expected a state of the form that init returns, "
                f"with state{path} {show(old.get(path))}, got {show(new.get(path))}; make room in "
                "init for all that steps add, and keep its dtype"
            )
