"""What every unrolled network shares: its parameters, and batches of any shape."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import real_dtype


class Choices(NamedTuple):
    """What the hard solver met with a network's weights, for losses that score the choice itself.

    Attributes:
        scores: shape ``(..., steps, n)``; differentiable in the weights and in nothing else.
        x: the hard solver's answers, shape ``(..., n)``; constants.
        thresholds: of the scores kept at each step, shape ``(..., steps)``; constants. None where
            a step takes the largest score alone.
    """

    scores: Float[Array, "*batch steps n"]
    x: Inexact[Array, "*batch n"]
    thresholds: Float[Array, "*batch steps"] | None = None


class Unrolled(nnx.Module):
    """A solver unrolled into weight-tied layers; ``weights`` is its one trainable parameter.

    A network adds its solver for one signal, soft (`_soft`) and hard (`_hard`, for many
    `_hard_batch`), and how its choices are scored (`_choices`, `choice_loss`).
    """

    def __init__(self, A: Inexact[Array, "m n"], *, sparsity: int, tau: Any, weights: Any) -> None:
        self.A = _checks.inexact("A", A, ndim=2)
        self.sparsity = sparsity
        n = self.A.shape[1]
        real = real_dtype(self.A.dtype)
        if weights is None:
            weights = jnp.ones(n, real)
        # A copy: training one network must not touch the array of another.
        weights = jnp.array(_checks.real("weights", weights, ndim=1, shape=(n,)), real)
        self.weights = nnx.Param(weights)
        self.tau = jnp.asarray(tau, real)

    def __call__(self, Y: Inexact[Array, "*batch m"]) -> Inexact[Array, "*batch n"]:
        """Recovers one signal or a batch of any shape with the soft solver."""
        return self._over_batch(self._soft, Y)

    def harden(self) -> Callable[[Inexact[Array, "*batch m"]], Inexact[Array, "*batch n"]]:
        """The hard solver with the weights as they are now: same shapes in and out."""
        now = self.rebuild()
        return lambda Y: now._over_batch(now._hard, Y, now._hard_batch)

    def choices(self, Y: Inexact[Array, "*batch m"]) -> Choices:
        """The scores before each choice of the hard solver with the current weights."""
        return self._over_batch(self._choices, Y)

    def _taus(self, num_steps: int) -> Float[Array, " steps"]:
        """The temperature of each step, whatever shape it was set in."""
        return jnp.broadcast_to(jnp.asarray(self.tau, real_dtype(self.A.dtype)), (num_steps,))

    @abstractmethod
    def rebuild(self, *, A: Array | None = None, weights: Array | None = None) -> Self:
        """The same network on another matrix or with other weights."""

    @abstractmethod
    def choice_loss(self, choices: Choices, targets: Float[Array, " n"]) -> Float[Array, ""]:
        """Mean loss of the choices of one signal; ``targets`` are its atoms' energy fractions."""

    @abstractmethod
    def _soft(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]: ...

    @abstractmethod
    def _hard(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]: ...

    @abstractmethod
    def _hard_batch(self, Y: Inexact[Array, "num m"]) -> Inexact[Array, "num n"]: ...

    @abstractmethod
    def _choices(self, y: Inexact[Array, " m"]) -> Choices: ...

    def _over_batch(self, solve, Y: Inexact[Array, "*batch m"], solve_all=None):
        """Applies ``solve`` to each signal of a batch of any shape, as one flat batch.

        That is a vmap, where there is no ``solve_all`` that does it better.
        """
        Y = _checks.as_array("Y", Y)
        m = self.A.shape[0]
        if Y.ndim == 0 or Y.shape[-1] != m:
            _checks.fail(ValueError, "Y", f"shape (..., {m})", f"shape {Y.shape}")
        Y = _checks.inexact("Y", Y, ndim=Y.ndim)
        if Y.ndim == 1:
            return solve(Y)
        batch = Y.shape[:-1]
        out = (solve_all or jax.vmap(solve))(Y.reshape(-1, m))
        return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), out)
