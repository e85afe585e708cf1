"""What the parameters of a network stand for: weights of atoms from raw numbers, and back.

Temperatures and step sizes are positive and matter by their ratios, so they are learned as
logarithms.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from greedyjax import _checks


def atom_weights(
    raw: Float[Array, "*layers groups"], groups: Int[Array, " n"] | None, *, positive: bool
) -> Float[Array, "*layers n"]:
    """One weight per atom, as solvers take them, from what is trained.

    Positive weights are ``exp(raw)``, not softplus: choices compare products of weights and
    magnitudes, so what matters of a weight is its ratio to others. A step of ``raw`` changes that
    by the same factor wherever the weight is, and a weight of 1 is exactly ``raw = 0``.
    """
    weights = jnp.exp(raw) if positive else raw
    return weights if groups is None else weights[..., groups]


def raw_weights(
    weights: Any, *, num_layers: int | None, size: int, positive: bool, dtype
) -> Float[Array, "*layers groups"]:
    """What is trained, from the weights to begin with; None means ones.

    Args:
        weights: shape ``(size,)`` or, where there are layers, ``(num_layers, size)``.
        num_layers: None where all layers share their weights.
        size: number of atoms, or of their groups.
        positive: as for `atom_weights`; weights must then be positive.
        dtype: of the result, which is a copy: training a network must not touch another's array.
    """
    shape = (size,) if num_layers is None else (num_layers, size)
    weights = np.ones(size) if weights is None else weights
    given = _checks.real_or_steps("weights", weights, length=size, num_steps=num_layers)
    if positive:
        _checks.positive("weights", weights)
        given = jnp.log(given)
    return jnp.array(jnp.broadcast_to(given, shape), dtype)


def checked_groups(groups: Any, n: int) -> tuple[Int[Array, " n"], int]:
    """The group of each atom and the number of groups, which the ids from 0 on all name."""
    if _checks.is_traced(groups):
        _checks.fail(TypeError, "groups", "an array that is not traced", "a traced value")
    _checks.as_array("groups", groups)
    ids = np.asarray(groups)  # Not what JAX holds, which under jit has no values.
    if not np.issubdtype(ids.dtype, np.integer):
        _checks.fail(TypeError, "groups", "integers, a group for each atom", f"dtype {ids.dtype}")
    if ids.shape != (n,):
        _checks.fail(
            ValueError, "groups", f"shape {(n,)}, a group for each atom", f"shape {ids.shape}"
        )
    used = np.unique(ids)
    if used[0] < 0 or used[-1] != len(used) - 1:
        missing = np.setdiff1d(np.arange(n), used)  # Fewer than n ids are used, or all are right.
        got = str(used[0]) if used[0] < 0 else f"no {missing[0]} beside {used[-1]}"
        _checks.fail(ValueError, "groups", "all ids from 0 to the largest", got)
    return jnp.asarray(ids, jnp.int32), len(used)
