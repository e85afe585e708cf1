"""Signals whose entries are at least 0."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from greedyjax import _checks
from greedyjax.structures._around import Around
from greedyjax.structures._structure import Plain, Structure


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NonNegative(Around):
    """Answers whose entries are at least 0.

    The score of an atom is ``max(a_j* r, 0) / ||a_j||``, because only atoms with a positive
    correlation can lower the residual. `greedyjax.omp` adds atoms as long as some atom has a
    positive correlation. `greedyjax.omp`, `greedyjax.htp`, `greedyjax.cosamp` and
    `greedyjax.subspace_pursuit` fit the chosen atoms by non-negative least squares, where some
    coefficients may be 0. `greedyjax.iht` and `greedyjax.niht` keep the largest positive entries.
    A soft solver fits its soft rows by non-negative least squares, or multiplies the positive
    entries by a soft mask.

    ``A`` and ``y`` have to be real; `greedyjax.stack_real` turns a complex system into a real
    system. Negative entries of ``x0`` count as 0.

    Attributes:
        inner: the structure of the atoms, such as `Blocks` or `SharedSupport`.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> y = jnp.array([1.0, -3.0, 2.0])
        >>> found = gj.omp(jnp.eye(3), y, sparsity=3, structure=gj.structures.NonNegative())
        >>> found.x.tolist(), found.support.tolist()
        ([1.0, 0.0, 2.0], [2, 0, -1])

    References:
        Bruckstein, Elad and Zibulevsky, "On the uniqueness of nonnegative sparse solutions to
        underdetermined systems of equations", IEEE Transactions on Information Theory 54 (2008).
        Nguyen, Idier, Soussen and Djermoune, "Non-negative orthogonal greedy algorithms", IEEE
        Transactions on Signal Processing 67 (2019).
    """

    inner: Any = Plain()

    nonnegative = True

    @property
    def snapshots(self) -> bool:
        """Whether there are several snapshots, as the inner structure says."""
        # An `inner` that is not a structure is an error in `checked`.
        return isinstance(self.inner, Structure) and self.inner.snapshots

    def checked(self, num_atoms: int) -> "NonNegative":
        """The same, with the inner structure checked."""
        name = "structure.inner"
        _checks.instance(name, self.inner, Structure, "greedyjax.structures.Structure")
        if self.inner.nonnegative:
            got = f"another {type(self.inner).__name__}"
            _checks.fail(TypeError, name, "a structure that allows negative entries", got)
        return dataclasses.replace(self, inner=self.inner.checked(num_atoms))

    def magnitudes(self, correlations: Float[Array, "parts *snapshots n"]) -> Float[Array, " n"]:
        """The magnitudes of the inner structure, with negative correlations replaced by 0."""
        return self.inner.magnitudes(self.allowed(correlations))

    def allowed(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """``max(values, 0)``, whose derivative at 0 is 0."""
        return jnp.where(values <= 0, 0, values)  # Not `>`, so that a NaN is passed on.
