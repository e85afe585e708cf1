"""Atoms that get their full weight once their parent has been chosen."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from greedyjax import _checks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tree:
    """A policy for trees: an atom gets its full weight once its parent has been chosen.

    Large wavelet coefficients form such trees. In OMP the support grows from the roots. The other
    solvers choose several atoms at once, and the policy sees the atoms of their last step. If fewer
    atoms than the solver needs have a chosen parent, the solver chooses other atoms too, and the
    support need not be a tree. So use ``closed`` between 0 and 1 in these solvers, which prefers
    the tree but does not require it.

    Attributes:
        parents: integers, shape ``(n,)``, the parent of each atom, and -1 for a root, such as
            ``greedyjax.operators.Wavelet.parents``.
        closed: the weight of an atom whose parent has not been chosen, between 0 and 1; it can be
            learned. An atom of weight 0 comes last, but is not forbidden.
        weights: the weights of atoms whose parent has been chosen, shape ``(n,)``; None means ones.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> tree = gj.policies.Tree(jnp.array([-1, 0, 0, 1]))
        >>> y = jnp.array([1.0, 2.0, 0.5, 3.0])
        >>> gj.omp(jnp.eye(4), y, sparsity=3, weights=tree).support.tolist()
        [0, 1, 3]

    References:
        Baraniuk, Cevher, Duarte and Hegde, "Model-based compressive sensing", IEEE Transactions on
        Information Theory 56 (2010).
    """

    parents: Any
    closed: Any = 0.0
    weights: Any = None

    def __post_init__(self) -> None:
        # JAX also calls the constructor with placeholders in place of arrays, which need no check.
        is_known = isinstance(self.parents, (np.ndarray, jax.Array, list, tuple))
        if not is_known or _checks.is_traced(self.parents):
            return
        parents = np.asarray(self.parents)
        least, most = parents.min(initial=-1), parents.max(initial=-1)
        if least < -1 or most >= parents.size:
            expected = f"indices from 0 to {parents.size - 1}, and -1 for a root"
            _checks.fail(ValueError, "parents", expected, str(least if least < -1 else most))

    def __call__(self, context: Any) -> Float[Array, " n"]:
        """The weights of a step, from its `Context`.

        They are 1 for roots and atoms whose parent has been chosen, and ``closed`` for all others.
        After soft rows they lie in between. ``weights`` multiplies them.
        """
        parents = _checks.as_array("parents", self.parents)
        if not jnp.issubdtype(parents.dtype, jnp.integer):
            _checks.fail(TypeError, "parents", "indices of atoms", f"dtype {parents.dtype}")
        of_parent = context.chosen.at[parents].get(mode="fill", fill_value=0)
        begun = jnp.where(parents < 0, 1, of_parent)
        opened = begun + (1 - begun) * self.closed
        return opened if self.weights is None else opened * self.weights
