"""A policy as the solvers hold it: checked, in one dtype, with the context fields it reads."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from greedyjax import _checks
from greedyjax._numerics import magnitude, real_dtype
from greedyjax._types import ByIdentity, static
from greedyjax.policies._policies import Context, PerAtom, PerStep


class Magnitudes(NamedTuple):
    """The weights that are known before the first step.

    Attributes:
        shared: weights that are the same in all steps, shape ``(n,)``, or None.
        of_steps: weights of each step, shape ``(num_steps, n)``, or None. Both are None if the
            weights depend on the choices.
    """

    shared: Any
    of_steps: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Weighting:
    """A policy, and which fields of a `Context` it reads.

    Attributes:
        policy: a `greedyjax.policies.Policy`, or None for ones.
        sees: the names of the fields that the policy reads.
        has_spoken: whether the policy was dropped, because the weights of all steps are known.
    """

    policy: Any
    sees: frozenset[str] = dataclasses.field(default=frozenset(), metadata={"static": True})
    has_spoken: bool = static(default=False)

    @property
    def is_ones(self) -> bool:
        """Whether there are no weights."""
        return self.policy is None and not self.has_spoken

    def spoken(self) -> "Weighting":
        """The same without the policy, for use once the weights of all steps are known."""
        return Weighting(None, self.sees, has_spoken=not self.is_ones)

    @property
    def is_fixed(self) -> bool:
        """Whether the weights of all steps are known before the first."""
        return self.sees <= {"step"}

    def magnitudes(self, num_atoms: int, num_steps: int, dtype) -> Magnitudes:
        """The weights of all steps in a real dtype, if they are known before the first step."""
        if self.policy is None:
            return Magnitudes(jnp.ones(num_atoms, dtype), None)
        return jax.tree.map(lambda leaf: leaf.astype(dtype), self._known(num_steps))

    def _known(self, num_steps: int) -> Magnitudes:
        if not self.is_fixed:
            return Magnitudes(None, None)
        if isinstance(self.policy, PerStep):
            return Magnitudes(None, magnitude(self.policy.weights))
        one = lambda step: self(self.context(step))
        if not self.sees:
            return Magnitudes(one(jnp.zeros((), jnp.int32)), None)
        return Magnitudes(None, jax.vmap(one)(jnp.arange(num_steps, dtype=jnp.int32)))

    def context(self, step: Any, chosen: Any = None, coefficients: Any = None) -> Context:
        """The context of a step. Only fields that the policy reads are computed; others are None.

        Args:
            step: the number of the step.
            chosen: function without arguments that computes the field ``chosen``.
            coefficients: function without arguments that computes the field ``coefficients``.
        """
        seen: list[Any] = [
            chosen() if "chosen" in self.sees else None,
            coefficients() if "coefficients" in self.sees else None,
        ]
        return Context(step, *seen)

    def __call__(self, context: Context) -> Float[Array, " n"]:
        """The magnitudes of what the policy returns."""
        return magnitude(self.policy(context))


def as_weighting(
    weights: Any, num_atoms: int, num_steps: int, dtype, *, name: str = "weights"
) -> Weighting:
    """Checks the argument ``weights`` of a solver, and casts arrays to the precision of ``dtype``.

    Raises:
        TypeError: ``weights`` is neither an array nor a callable, or is complex.
        ValueError: ``weights`` has a wrong shape, NaN or infinity.
    """
    real = real_dtype(dtype)
    if weights is None:
        return Weighting(None)
    if isinstance(weights, Weighting):
        return weights
    if isinstance(weights, (PerAtom, PerStep)):
        weights = weights.weights
    if not callable(weights):
        if dataclasses.is_dataclass(weights):
            kind = type(weights).__name__
            got = f"{kind}, which is neither; of nets.Weights pass the values, or pass net.policy"
            _checks.fail(
                TypeError, name, "an array, or a policy that is called with a context", got
            )
        steps = num_steps
        array = _checks.real_or_steps(name, weights, length=num_atoms, num_steps=steps)
        array = array.astype(real)
        fixed = PerAtom(array) if array.ndim == 1 else PerStep(array)
        return Weighting(fixed, frozenset() if array.ndim == 1 else frozenset({"step"}))
    if isinstance(weights, type):
        got = f"the class {weights.__name__}; make one: {weights.__name__}(...)"
        _checks.fail(TypeError, name, "an array or a policy", got)
    sees = _what_it_sees(name, weights, num_atoms, dtype)
    return Weighting(ByIdentity.unless_pytree(weights), sees)


class _Watched:
    """A context that records which of its fields are read."""

    def __init__(self, context: Context) -> None:
        self._context, self.read = context, set()

    def __getattr__(self, field: str) -> Any:
        value = getattr(self._context, field)
        self.read.add(field)
        return value

    def __iter__(self):
        return (getattr(self, field) for field in Context._fields)

    def __getitem__(self, i):
        return getattr(self, Context._fields[i])


def _what_it_sees(name: str, policy: Callable, num_atoms: int, dtype) -> frozenset[str]:
    """Which fields a policy reads. Calls it on abstract values, and checks what it returns."""
    real = real_dtype(dtype)
    read: set[str] = set()

    def call(policy, context):
        watched = _Watched(context)
        result = policy(watched)
        read.update(watched.read)
        return result

    like = jax.ShapeDtypeStruct
    fields: Any = like((), jnp.int32), like((num_atoms,), real), like((num_atoms,), dtype)
    context = Context(*fields)
    found = jax.eval_shape(call, ByIdentity.unless_pytree(policy), context)
    got = getattr(found, "shape", type(found).__name__)
    if got != (num_atoms,):
        expected = f"a policy that returns one number per atom, shape ({num_atoms},)"
        _checks.fail(ValueError, name, expected, f"one that returns shape {got}")
    if not jnp.issubdtype(found.dtype, jnp.floating):
        expected = "a policy that returns real floating-point numbers"
        _checks.fail(TypeError, name, expected, f"one that returns {found.dtype}")
    return frozenset(read)
