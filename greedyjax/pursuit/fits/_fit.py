"""The protocol of a fit."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float

from greedyjax.pursuit._problem import Answer, Known, Problem, System
from greedyjax.sorting import Rows


@runtime_checkable
class Fit(Protocol):
    """Computes coefficients over the atoms added so far. It is a frozen dataclass and a pytree."""

    uses_gram: bool

    def checked(self, num_atoms: int) -> "Fit":
        """The fit with its settings checked."""
        ...

    def prepared(self, system: System) -> "Fit":
        """The fit with everything that depends only on the matrix."""
        ...

    def start(self, problem: Problem, turn: Any, num: int) -> Any:
        """The state without atoms, with room for ``num`` atoms."""
        ...

    def correlations(self, problem: Problem, state: Any) -> Float[Array, "parts n"]:
        """``a_j* r`` with the residual ``r`` of the fit, over columns of norm 1, by parts."""
        ...

    def goes_on(self, problem: Problem, state: Any) -> Bool[Array, ""]:
        """Whether anything is left to fit: ``||r|| > problem.enough``."""
        ...

    def add(self, problem: Problem, state: Any, row: Rows, active: Any) -> Any:
        """The state with one more atom. If not ``active``, the fit does not change."""
        ...

    def known(self, problem: Problem, state: Any) -> Known:
        """The atoms that have been added, and their coefficients over columns of norm 1."""
        ...

    def answer(self, problem: Problem, state: Any) -> Answer:
        """The answer that the state stands for."""
        ...
