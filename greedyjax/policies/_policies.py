"""What a policy is, what it sees, and the two that arrays of weights stand for."""

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Inexact, Int


class Context(NamedTuple):
    """What is known before a choice.

    Attributes:
        step: the number of the step, from 0 on.
        chosen: how far each atom has been chosen before, between 0 and 1, real, shape ``(n,)``. In
            hard solvers it is 0 or 1; after soft rows ``p_i`` it is ``1 - prod_i (1 - p_i)``. In
            IHT and HTP it is the mask of the last step. In CoSaMP and subspace pursuit it is the
            atoms kept when new ones are chosen, and all the merged ones when some of them are kept.
        coefficients: of those atoms, shape ``(n,)``, complex where the problem is. Atoms that were
            not chosen have 0. They are over columns of norm 1 and in the unit of ``y`` that makes
            its largest entry lie between 1 and 2; in IHT and HTP they are the last ``x`` in the
            units that the step works in. Their ratios are what matters.
    """

    step: Int[Array, ""]
    chosen: Float[Array, " n"]
    coefficients: Inexact[Array, " n"]


@runtime_checkable
class Policy(Protocol):
    """Called before each choice. Only the magnitudes of what it returns matter.

    A policy is a pytree, such as a dataclass registered by `jax.tree_util.register_dataclass`: its
    arrays can be learned, and two policies that differ in their arrays alone share one compilation.
    What it does not look at is not computed.

    Example:
        >>> import dataclasses, jax, jax.numpy as jnp, greedyjax as gj
        >>> @jax.tree_util.register_dataclass
        ... @dataclasses.dataclass(frozen=True)
        ... class AfterNeighbour:  # An atom is open at first, or once the one before it is chosen.
        ...     def __call__(self, context):
        ...         begun = jnp.roll(context.chosen, 1)
        ...         return jnp.where(context.step == 0, jnp.ones_like(begun), begun)
        >>> y = jnp.array([0.0, 2.0, 1.0, 1.5])
        >>> gj.omp(jnp.eye(4), y, sparsity=2, weights=AfterNeighbour()).support.tolist()
        [1, 2]
    """

    def __call__(self, context: Context) -> Float[Array, " n"]:
        """One number for each atom."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PerAtom:
    """One weight for each atom, the same in every step.

    Attributes:
        weights: real, shape ``(n,)``.
    """

    weights: Any

    def __call__(self, context: Context) -> Float[Array, " n"]:
        """The weights."""
        del context
        return self.weights


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PerStep:
    """One weight for each atom and step.

    Attributes:
        weights: real, shape ``(num_steps, n)``.
    """

    weights: Any

    def __call__(self, context: Context) -> Float[Array, " n"]:
        """The weights of this step."""
        return self.weights[context.step]
