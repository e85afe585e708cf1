"""The base class of methods, with `init`, `step` and `answer`, and the scan that runs them."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from greedyjax import _checks
from greedyjax._meshes import varying_like
from greedyjax.pursuit._problem import Answer, Problem, System
from greedyjax.pursuit._turns import Choice, Turn, Turns
from greedyjax.structures import Plain, Structure, check_structure

# This stands for `typing.Self`. The tests check functions with beartype, which understands
# `typing.Self` only in classes.
Own = TypeVar("Own", bound="Method")


class Method(abc.ABC):
    """A greedy algorithm as a value: a frozen dataclass that JAX knows as a pytree.

    Settings that determine shapes or code are static fields, and numbers are leaves. An algorithm
    defines three functions: `init`, `step` and `answer`. The hard solver, its soft twin, the
    network, the losses and the batch functions are all made from them. Two equal methods share one
    compilation.
    """

    #: The number of steps, and the largest number of atoms: static fields, or properties.
    num_steps: int
    sparsity: int

    @abc.abstractmethod
    def init(self, problem: Problem, turn: Turn) -> Any:
        """The state before the first step, a pytree of arrays. ``turn`` is the first turn."""

    @abc.abstractmethod
    def step(self, problem: Problem, state: Any, turn: Turn) -> tuple[Any, tuple[Choice, ...]]:
        """The next state, of the same form, and the choices that the step made."""

    @abc.abstractmethod
    def answer(self, problem: Problem, state: Any) -> Answer:
        """The answer that the state stands for."""

    # Everything below has a default that most methods keep.

    #: Norm of the residual at which a signal stops: relative to ``y``, and absolute; None means 0.
    rtol: Any = None
    atol: Any = None
    #: Whether steps multiply by ``A`` itself, which is then brought to unit scale.
    uses_matrix = False
    #: Whether steps read columns of norm 1. A matrix-free operator then has to know its norms.
    uses_columns = True
    #: Whether steps choose by rows. If they choose only by masks, a gate is enough.
    uses_rows = True
    #: Which atoms are chosen together; a field, if a method has this setting.
    structure: Any = Plain()

    @property
    def uses_gram(self) -> bool:
        """Whether steps read the Gram matrix of these columns, as the field ``fit`` says."""
        return getattr(self._fit, "uses_gram", False)

    def most(self, shape: tuple[int, int]) -> int:
        """The largest sparsity for a matrix, which has no more independent atoms than rows."""
        num, width = self.structure.shape(shape[1])
        return min(num, max(shape[0] // width, 1))

    def checked(self: Own, shape: tuple[int, int], dtype) -> Own:
        """The method with its settings checked for a problem, before anything is traced."""
        _checks.instance("fit", self._fit, object, "greedyjax.pursuit.Fit")
        _checks.instance("structure", self.structure, Structure, "greedyjax.structures.Structure")
        missing = [name for name in ("checked", "prepared") if not hasattr(self._fit, name)]
        if self._fit is not None and missing:
            got = f"{type(self._fit).__name__}, which has no {missing[0]}"
            _checks.fail(TypeError, "fit", "a greedyjax.pursuit.Fit", got)
        own = self._with(structure=self.structure.checked(shape[1]))
        if not isinstance(self.structure, Plain):
            check_structure(own.structure, shape[1])
        most, why = own.most(shape), f" for A of shape {tuple(shape)}"
        if most < own.structure.shape(shape[1])[0]:
            why += ", as no more atoms than measurements can be independent"
        sparsity = _checks.static_int("sparsity", self.sparsity, minimum=1, maximum=most, why=why)
        wanted = own.structure.sparsity
        if wanted is not None and sparsity != wanted:
            expected = f"{wanted}, the sum of the structure's local sparsities"
            _checks.fail(ValueError, "sparsity", expected, str(sparsity))
        fit = self._fit
        if own.structure.nonnegative:
            fit = _for_nonnegative(fit, dtype)
        return own._with(sparsity=sparsity, fit=fit and fit.checked(shape[1]))

    def prepared(self: Own, system: System) -> Own:
        """The method with everything that depends only on the matrix, computed once."""
        if self._fit is None or not self.uses_columns:
            return self
        return self._with(fit=self._fit.prepared(system))

    def within(self: Own, shape: tuple[int, int]) -> Own:
        """The method for a smaller matrix, with no more atoms than that matrix allows."""
        return self._with(sparsity=min(self.sparsity, self.most(shape)))

    @property
    def _fit(self) -> Any:
        return getattr(self, "fit", None)

    def _with(self: Own, **changes: Any) -> Own:
        """The method with other values, for the given fields that it has."""
        fields = {field.name for field in dataclasses.fields(self)}  # pyright: ignore[reportArgumentType]
        known = {name: value for name, value in changes.items() if name in fields}
        return dataclasses.replace(self, **known)  # pyright: ignore[reportArgumentType]

    def footprint(self, shape: tuple[int, int]) -> int:
        """About how many numbers a step reads and writes for one signal, to size blocks."""
        return 4 * shape[1]

    def all_steps(self, problem: Problem, turns: Turns) -> tuple[Any, Any] | None:
        """The last state, and the stacked states after each step, with a derivative of its own.

        None means that steps are scanned, and differentiated by JAX.
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
    """Runs all steps of a method on one signal.

    Args:
        method: the method, checked and prepared.
        problem: the problem of one signal.
        turns: the turns of all steps.
        of_states: function from the state after a step to what is recorded of it, or None.
        of_choices: function from the choices of a step to what is recorded of them, or None.

    Returns:
        The last state, and both records, stacked over the steps. A record without a function is
        None.
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
    """As `run`, by a scan over the steps, which starts from ``state`` if it is given."""
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

    # Records are carried. If the scan stacked them, vmap would put the steps before the batch.
    recorded = None, None
    if of_states or of_choices:
        like = jax.eval_shape(lambda state: record(*method.step(problem, state, first)), state)
        recorded = jax.tree.map(
            lambda leaf: jnp.zeros((turns.num_steps, *leaf.shape), leaf.dtype), like
        )
    start = varying_like((state, recorded), method, problem, turns, state)
    steps = jnp.arange(turns.num_steps, dtype=jnp.int32)
    (state, recorded), _ = lax.scan(step, start, (steps, turns.each), length=turns.num_steps)
    return state, *recorded


def _for_nonnegative(fit: Any, dtype) -> Any:
    """The fit with coefficients that are at least 0, or None if nothing is fitted.

    Raises:
        TypeError: numbers are complex, or the fit has no non-negative form.
    """
    if jnp.issubdtype(dtype, jnp.complexfloating):
        expected = "real numbers, as the structure is NonNegative; see greedyjax.stack_real"
        _checks.fail(TypeError, "A and y", expected, str(dtype))
    if fit is None:
        return None
    if not hasattr(fit, "for_nonnegative"):
        expected = "LeastSquares(), as the structure is NonNegative"
        _checks.fail(TypeError, "fit", expected, type(fit).__name__)
    return fit.for_nonnegative()


def _same_form(method: Method, before: Any, after: Any) -> None:
    """Raises a TypeError if a step changes the form of its state, which a scan cannot carry."""

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
