"""The protocol of a policy, its argument, and the policies that hold an array of weights."""

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Inexact, Int


class Context(NamedTuple):
    """The argument of a policy: what is known before a choice.

    Attributes:
        step: the number of the step, counted from 0.
        chosen: how far each atom has been chosen before, between 0 and 1, real, shape ``(n,)``. In
            hard solvers it is 0 or 1. In Soft-OMP, after soft rows ``p_i``, it is
            ``1 - prod_i (1 - p_i)``. In IHT and HTP it is the mask of the last step. CoSaMP and
            subspace pursuit choose twice per step: before they choose candidates it marks the kept
            atoms, and before they choose which atoms to keep it marks the merged atoms.
        coefficients: the coefficients of the chosen atoms, and 0 for all others, shape ``(n,)``;
            complex if the problem is. They belong to columns of norm 1, and to ``y`` scaled so that
            its largest entry lies between 1 and 2. In IHT and HTP they are the last ``x``, in the
            units of the step. So use only their ratios.
    """

    step: Int[Array, ""]
    chosen: Float[Array, " n"]
    coefficients: Inexact[Array, " n"]


@runtime_checkable
class Policy(Protocol):
    """Computes the weights of a choice. Only the magnitudes of the returned numbers matter.

    A policy is a pytree, such as a dataclass registered by `jax.tree_util.register_dataclass`. So
    its arrays can be learned, and two policies that differ only in their arrays share one
    compilation. Solvers compute only the fields of the context that the policy reads.

    Example:
        >>> import dataclasses, jax, jax.numpy as jnp, greedyjax as gj
        >>> @jax.tree_util.register_dataclass
        ... @dataclasses.dataclass(frozen=True)
        ... class AfterNeighbour:  # Any atom first, then right neighbours.
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
