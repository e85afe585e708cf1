"""What a fit is."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float

from greedyjax.pursuit._problem import Answer, Known, Problem, System
from greedyjax.sorting import Rows


@runtime_checkable
class Fit(Protocol):
    """Coefficients over the atoms that have been added so far. A frozen dataclass, a pytree."""

    uses_gram: bool

    def checked(self, num_atoms: int) -> "Fit":
        """The fit with its settings checked."""
        ...

    def prepared(self, system: System) -> "Fit":
        """The fit with what depends on the matrix alone."""
        ...

    def start(self, problem: Problem, turn: Any, num: int) -> Any:
        """Nothing added yet, and room for ``num`` atoms."""
        ...

    def correlations(self, problem: Problem, state: Any) -> Float[Array, "parts n"]:
        """``a_j* r`` of what the fit leaves of ``y``, over columns of norm 1, by parts."""
        ...

    def goes_on(self, problem: Problem, state: Any) -> Bool[Array, ""]:
        """Whether anything is left to fit: ``||r|| > problem.enough``."""
        ...

    def add(self, problem: Problem, state: Any, row: Rows, active: Any) -> Any:
        """The fit on one atom more; where not ``active``, a step that changes nothing."""
        ...

    def known(self, problem: Problem, state: Any) -> Known:
        """The atoms that have been added, and their coefficients over columns of norm 1."""
        ...

    def answer(self, problem: Problem, state: Any) -> Answer:
        """What the fit means."""
        ...
