"""The base class of structures that change one property of another structure."""

from typing import Any

from jaxtyping import Array, Bool, Float, Int

from greedyjax.sorting import Rows
from greedyjax.structures._structure import Structure


class Around(Structure):
    """A structure with the candidates of an inner structure."""

    inner: Any

    @property
    def is_plain(self) -> bool:
        """Whether each atom is a candidate of its own."""
        return self.inner.is_plain

    def members(self, num_atoms: int) -> Int[Array, "candidates width"]:
        """As in the inner structure."""
        return self.inner.members(num_atoms)

    def shape(self, num_atoms: int) -> tuple[int, int]:
        """As in the inner structure."""
        return self.inner.shape(num_atoms)

    def pool(self, scores: Float[Array, " n"]) -> Float[Array, " candidates"]:
        """As in the inner structure."""
        return self.inner.pool(scores)

    def total(self, values: Float[Array, " n"]) -> Float[Array, " candidates"]:
        """As in the inner structure."""
        return self.inner.total(values)

    def spread(self, values: Float[Array, " candidates"], num_atoms: int) -> Float[Array, " n"]:
        """As in the inner structure."""
        return self.inner.spread(values, num_atoms)

    @property
    def sparsity(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As in the inner structure."""
        return self.inner.sparsity

    def choosing(self, selector: Any) -> Any:
        """As in the inner structure."""
        return self.inner.choosing(selector)

    def closed(self, chosen: Array | None) -> Array | None:
        """As in the inner structure."""
        return self.inner.closed(chosen)

    def threshold(self, scores: Float[Array, " candidates"], k: int) -> Float[Array, "*levels"]:
        """As in the inner structure."""
        return self.inner.threshold(scores, k)

    def met(self, chosen: Array | None) -> Array | None:
        """As in the inner structure."""
        return self.inner.met(chosen)

    def atoms(
        self, candidates: Int[Array, " k"], num_atoms: int
    ) -> tuple[Int[Array, " places"], Bool[Array, " places"]]:
        """As in the inner structure."""
        return self.inner.atoms(candidates, num_atoms)

    def expand(self, rows: Rows, num_atoms: int) -> tuple[Rows, Bool[Array, " places"]]:
        """As in the inner structure."""
        return self.inner.expand(rows, num_atoms)
