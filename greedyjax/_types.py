"""Array aliases and the result type that every solver returns."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from jaxtyping import Array, Bool, Float, Inexact, Int

Scalar: TypeAlias = Float[Array, ""] | float


class Operator(Protocol):
    """A linear map given by its products; a matrix-free stand-in for a matrix ``A``."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        ...

    def matvec(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x``."""
        ...

    def rmatvec(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``, with the conjugate transpose of ``A``."""
        ...


Matrix: TypeAlias = Inexact[Array, "m n"] | Operator


class Recovery(NamedTuple):
    """What a solver found for one signal; under ``jax.vmap`` every field gains a batch axis.

    Attributes:
        x: the recovered signal, shape ``(n,)``, in the promoted dtype of ``A`` and ``y``.
        support: indices of the atoms, shape ``(sparsity,)``, int32. The OMP family lists them in
            the order in which they were chosen, the IHT family by falling score. Hard solvers mark
            an unused slot with -1; soft solvers give the largest entry of each soft row.
        residual_norm: ``||y - A x||_2``, in the units of ``y``.
        num_steps: how many steps were taken, int32.
        converged: OMP family: ``residual_norm <= rtol * ||y||``. IHT family: the last step moved
            ``x`` by at most ``sqrt(eps) * ||x||``.
    """

    x: Inexact[Array, " n"]
    support: Int[Array, " sparsity"]
    residual_norm: Float[Array, ""]
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]


Solver: TypeAlias = Callable[..., Recovery]
