"""Several snapshots that share their support."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from greedyjax import _checks
from greedyjax._numerics import abs_sq, safe_sqrt
from greedyjax.sorting import Rows
from greedyjax.structures._structure import Plain, Structure


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SharedSupport(Structure):
    """Several snapshots, measured at once, whose signals have nonzeros at the same atoms.

    The measurements of one problem are a matrix, ``y`` of shape ``(m, L)`` for ``L`` snapshots, and
    so is the answer, ``x`` of shape ``(n, L)``. The score of an atom is the norm of its
    correlations with all snapshots. A batch has shape ``(num, m, L)``.

    Attributes:
        inner: what is chosen together besides, such as `Blocks`.

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
        """With the inner structure checked."""
        name = "structure.inner"
        _checks.instance(name, self.inner, Structure, "greedyjax.structures.Structure")
        if self.inner.snapshots:
            got = f"another {type(self.inner).__name__}"
            _checks.fail(TypeError, name, "a structure of atoms", got)
        return dataclasses.replace(self, inner=self.inner.checked(num_atoms))

    def magnitudes(self, correlations: Float[Array, "parts *snapshots n"]) -> Float[Array, " n"]:
        """The norm of each atom's correlations with all snapshots."""
        return safe_sqrt(jnp.sum(abs_sq(correlations), axis=tuple(range(correlations.ndim - 1))))

    # Everything else is a matter of atoms, and as the inner structure has it.

    @property
    def is_plain(self) -> bool:
        """Whether each atom is a candidate of its own."""
        return self.inner.is_plain

    def members(self, num_atoms: int) -> Int[Array, "candidates width"]:
        """The inner structure's."""
        return self.inner.members(num_atoms)

    def shape(self, num_atoms: int) -> tuple[int, int]:
        """The inner structure's."""
        return self.inner.shape(num_atoms)

    def pool(self, scores: Float[Array, " n"]) -> Float[Array, " candidates"]:
        """The inner structure's."""
        return self.inner.pool(scores)

    def total(self, values: Float[Array, " n"]) -> Float[Array, " candidates"]:
        """The inner structure's."""
        return self.inner.total(values)

    def spread(self, values: Float[Array, " candidates"], num_atoms: int) -> Float[Array, " n"]:
        """The inner structure's."""
        return self.inner.spread(values, num_atoms)

    @property
    def sparsity(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner structure's."""
        return self.inner.sparsity

    def choosing(self, selector: Any) -> Any:
        """The inner structure's."""
        return self.inner.choosing(selector)

    def closed(self, chosen: Array | None) -> Array | None:
        """The inner structure's."""
        return self.inner.closed(chosen)

    def threshold(self, scores: Float[Array, " candidates"], k: int) -> Float[Array, "*levels"]:
        """The inner structure's."""
        return self.inner.threshold(scores, k)

    def met(self, chosen: Array | None) -> Array | None:
        """The inner structure's."""
        return self.inner.met(chosen)

    def atoms(
        self, candidates: Int[Array, " k"], num_atoms: int
    ) -> tuple[Int[Array, " places"], Bool[Array, " places"]]:
        """The inner structure's."""
        return self.inner.atoms(candidates, num_atoms)

    def expand(self, rows: Rows, num_atoms: int) -> tuple[Rows, Bool[Array, " places"]]:
        """The inner structure's."""
        return self.inner.expand(rows, num_atoms)
