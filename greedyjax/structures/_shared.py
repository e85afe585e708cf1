"""Several snapshots that share their support."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from greedyjax import _checks
from greedyjax._numerics import abs_sq, safe_sqrt
from greedyjax.structures._around import Around
from greedyjax.structures._structure import Plain, Structure


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SharedSupport(Around):
    """Several snapshots, whose signals have nonzeros at the same atoms.

    For ``L`` snapshots, ``y`` has shape ``(m, L)``, and the answer ``x`` has shape ``(n, L)``.
    The score of an atom is the norm of its correlations with all snapshots. A batch has shape
    ``(num, m, L)``.

    Attributes:
        inner: the structure of the atoms, such as `Blocks`.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> y = jnp.array([[2.0, 2.0], [0.0, 0.0], [0.0, 2.5]])
        >>> found = gj.omp(jnp.eye(3), y, sparsity=1, structure=gj.structures.SharedSupport())
        >>> found.support.tolist(), found.x[0].tolist()
        ([0], [2.0, 2.0])

    References:
        Tropp, Gilbert and Strauss, "Algorithms for simultaneous sparse approximation. Part I:
        greedy pursuit", Signal Processing 86 (2006). Blanchard, Cermak, Hanle and Jing, "Greedy
        algorithms for joint sparse recovery", IEEE Transactions on Signal Processing 62 (2014).
    """

    inner: Any = Plain()

    snapshots = True

    def checked(self, num_atoms: int) -> "SharedSupport":
        """The same, with the inner structure checked."""
        name = "structure.inner"
        _checks.instance(name, self.inner, Structure, "greedyjax.structures.Structure")
        if self.inner.snapshots:
            got = f"another {type(self.inner).__name__}"
            _checks.fail(TypeError, name, "a structure of atoms", got)
        if self.inner.nonnegative:
            kind = type(self.inner).__name__
            got = f"{kind}; write {kind}(SharedSupport())"
            _checks.fail(TypeError, name, "a structure that allows negative entries", got)
        return dataclasses.replace(self, inner=self.inner.checked(num_atoms))

    def magnitudes(self, correlations: Float[Array, "parts *snapshots n"]) -> Float[Array, " n"]:
        """The norm of each atom's correlations with all snapshots."""
        return safe_sqrt(jnp.sum(abs_sq(correlations), axis=tuple(range(correlations.ndim - 1))))
