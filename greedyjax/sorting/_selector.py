"""The protocols of a selector and of a gate, which solvers use."""

from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int

from greedyjax.sorting._rows import Rows


@runtime_checkable
class Gate(Protocol):
    """Chooses many entries at once, by a mask. This is enough for iterative hard thresholding.

    Scores are real and not negative, shape ``(n,)``. A soft gate is made from a temperature,
    ``Gate(tau)``, and depends only on this temperature and the scores. A backward pass computes the
    mask again, unless the gate has ``recomputed = False``, which means that storing the mask is
    cheaper. If a gate has ``stepwise = True``, it gets scores that have derivatives only with
    respect to weights.
    """

    def keep(
        self, scores: Float[Array, " n"], k: int
    ) -> tuple[Float[Array, " n"], Int[Array, " k"]]:
        """A mask that is largest at the ``k`` largest scores, and the indices of these scores."""
        ...

    def kept_loss(
        self,
        scores: Float[Array, " n"],
        targets: Float[Array, " n"],
        threshold: Float[Array, ""],
        k: int,
    ) -> Float[Array, ""]:
        """How far the mask is from keeping the ``k`` largest targets. Only soft gates have it."""
        ...


@runtime_checkable
class Selector(Gate, Protocol):
    """Chooses atoms one after the other, by rows of a permutation matrix, hard or soft.

    Attributes:
        rows: the type of the rows that the selector returns, `Indices` or `SoftRows`.
    """

    rows: ClassVar[type[Rows]]

    def next(self, scores: Float[Array, " n"], chosen: Array | None) -> Rows:
        """The first row. A hard selector leaves out atoms that were ``chosen`` before."""
        ...

    def first(self, scores: Float[Array, " n"], k: int, chosen: Array | None = None) -> Rows:
        """The first ``k`` rows. In a hard selector, atoms that were ``chosen`` before come last."""
        ...

    def next_loss(
        self, scores: Float[Array, " n"], targets: Float[Array, " n"]
    ) -> Float[Array, ""]:
        """How far the first row is from the largest targets. Only soft selectors have it."""
        ...
