"""The protocols of a selector and of a gate, which solvers use."""

from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int

from greedyjax.sorting._rows import Rows


@runtime_checkable
class Gate(Protocol):
    """Chooses many entries at once, by a mask. Enough for iterative hard thresholding.

    Scores are real and not negative, shape ``(n,)``. A soft gate is made of a temperature and
    scores alone: ``Gate(tau)``. One whose mask is cheap to keep for a backward pass says so by
    ``recomputed = False``; else the mask is made again there. One that says ``stepwise = True``
    gets scores whose derivatives are those in weights alone.
    """

    def keep(
        self, scores: Float[Array, " n"], k: int
    ) -> tuple[Float[Array, " n"], Int[Array, " k"]]:
        """A mask that is largest at the ``k`` largest scores, and the indices of these."""
        ...

    def kept_loss(
        self,
        scores: Float[Array, " n"],
        targets: Float[Array, " n"],
        threshold: Float[Array, ""],
        k: int,
    ) -> Float[Array, ""]:
        """How far a mask is from keeping the ``k`` largest targets; soft gates alone have it."""
        ...


@runtime_checkable
class Selector(Gate, Protocol):
    """Chooses atoms one after the other, by rows of a permutation matrix, hard or soft.

    Attributes:
        rows: the type of the rows that it chooses, `Indices` or `SoftRows`.
    """

    rows: ClassVar[type[Rows]]

    def next(self, scores: Float[Array, " n"], chosen: Array | None) -> Rows:
        """The first row. ``chosen`` are the atoms of before, which a hard selector leaves out."""
        ...

    def first(self, scores: Float[Array, " n"], k: int, chosen: Array | None = None) -> Rows:
        """The first ``k`` rows; a hard selector puts atoms ``chosen`` before last."""
        ...

    def next_loss(
        self, scores: Float[Array, " n"], targets: Float[Array, " n"]
    ) -> Float[Array, ""]:
        """How far the first row is from the largest targets; soft selectors alone have it."""
        ...
