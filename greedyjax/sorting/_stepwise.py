"""Derivatives that do not pass from one choice to the next."""

import dataclasses
from typing import Any, ClassVar

import jax
from jaxtyping import Array, Float, Int

from greedyjax import _checks
from greedyjax.sorting._rows import SoftRows
from greedyjax.sorting._selector import Selector


@dataclasses.dataclass(frozen=True)
class Stepwise:
    """Another relaxation, whose choices have derivatives only in their own weights and temperature.

    The choices are the same as those of the other relaxation. Derivatives treat the correlations as
    constants, so they pass from step to step only through coefficients, as in a hard solver with
    fixed choices. For one step the derivative is exact. For several steps it is only a direction.

    In the full derivative, each step multiplies by up to a coefficient divided by ``tau``. Thirty
    steps of `soft_iht` at a low temperature overflow single precision. Long before that, the
    derivative is valid only in a neighbourhood smaller than a training step. Use `Stepwise` with
    many steps, or if `greedyjax.training.fit` skips steps.

    Attributes:
        relaxation: a class that is called with ``tau``, such as `SoftSort` or `BoundaryGate`.

    Example:
        >>> import jax, jax.numpy as jnp, greedyjax as gj
        >>> from greedyjax.sorting import SoftSort, Stepwise
        >>> A = jax.random.normal(jax.random.key(0), (20, 40)) / 20**0.5
        >>> def loss(weights, relaxation):
        ...     found = gj.soft_iht(A, A[:, 0], sparsity=4, num_steps=60, tau=1e-4,
        ...                         weights=weights, relaxation=relaxation)
        ...     return jnp.sum(found.x**2)
        >>> def gradient(relaxation):
        ...     return jax.grad(loss)(jnp.ones(40), relaxation)
        >>> bool(jnp.isfinite(gradient(Stepwise(SoftSort))).all())
        True

    References:
        Stopped derivatives, and the growth that they prevent: Williams and Peng, "An efficient
        gradient-based algorithm for on-line training of recurrent network trajectories", Neural
        Computation 2 (1990). Which part is stopped is this library's own choice.
    """

    relaxation: Any

    def __post_init__(self) -> None:
        """Raises a TypeError if the argument is not a class, such as a temperature in its place."""
        if not callable(self.relaxation):
            got = type(self.relaxation).__name__
            expected = "a class that is called with tau: Stepwise(SoftSort)"
            _checks.fail(TypeError, "Stepwise", expected, got)

    def __call__(self, tau: Float[Array, "*steps"]) -> "_StepwiseGate":
        """The selector, or the gate, for a temperature."""
        made = self.relaxation(tau)
        return (_StepwiseSelector if isinstance(made, Selector) else _StepwiseGate)(made)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _StepwiseGate:
    """A gate that asks for scores in which correlations are constants to derivatives."""

    made: Any

    stepwise: ClassVar = True

    @property
    def tau(self) -> Any:
        return self.made.tau

    @property
    def recomputed(self) -> bool:
        return getattr(self.made, "recomputed", True)

    def keep(
        self, scores: Float[Array, " n"], k: int
    ) -> tuple[Float[Array, " n"], Int[Array, " k"]]:
        return self.made.keep(scores, k)

    def kept_loss(self, scores, targets, threshold, k: int) -> Float[Array, ""]:
        return self.made.kept_loss(scores, targets, threshold, k)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _StepwiseSelector(_StepwiseGate):
    """The same for a selector."""

    rows: ClassVar = SoftRows

    def next(self, scores: Float[Array, " n"], chosen: Array | None = None) -> SoftRows:
        return self.made.next(scores, chosen)

    def first(self, scores: Float[Array, " n"], k: int, chosen: Array | None = None) -> SoftRows:
        return self.made.first(scores, k, chosen)

    def next_loss(self, scores, targets) -> Float[Array, ""]:
        return self.made.next_loss(scores, targets)
