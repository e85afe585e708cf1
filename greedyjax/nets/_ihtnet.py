"""IHT-Net: Soft-IHT with trainable weights."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import magnitude, real_dtype
from greedyjax.linalg.norms import step_size_of
from greedyjax.linalg.operators import dense
from greedyjax.nets._unrolled import Choices, Unrolled
from greedyjax.pursuit import iht, soft_iht
from greedyjax.pursuit._iht import iht_path
from greedyjax.sorting._choice import kept_choice_loss


class IHTNet(Unrolled):
    """Soft-IHT unrolled into ``num_layers`` layers that share one weight per atom.

    Maps measurements ``(..., m)`` to signals ``(..., n)``. The matrix, the temperature and the
    step size are fixed; take gradients with respect to ``nnx.Param``, or train with
    `greedyjax.training.fit`.

    Args:
        A: matrix, shape ``(m, n)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_layers: number of layers, static, at least 1.
        tau: temperature > 0 in the units of the signals; one, or one per layer.
        step_size: > 0; None means ``1 / ||A||^2`` by power iteration, computed once.
        weights: initial weights, real, shape ``(n,)``. None means ones.

    Attributes:
        weights: ``nnx.Param`` of shape ``(n,)``; only magnitudes matter.
        tau: array; may be set to another temperature at any time.
        step_size: array.

    Raises:
        TypeError: wrong kinds of argument.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import IHTNet
        >>> net = IHTNet(jnp.eye(3), sparsity=1, num_layers=5)
        >>> net(jnp.array([[0.0, 2.0, 0.0]])).shape, net.harden()(jnp.array([0.0, 2.0, 0.0])).shape
        ((1, 3), (3,))

    References:
        Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy unfolding", arXiv 2505.15661.
    """

    def __init__(
        self,
        A: Inexact[Array, "m n"],
        *,
        sparsity: int,
        num_layers: int,
        tau: Any = 1e-3,
        step_size: Any = None,
        weights: Float[Array, " n"] | None = None,
    ) -> None:
        A = _checks.inexact("A", A, ndim=2)
        sparsity = _checks.static_int(
            "sparsity", sparsity, minimum=1, maximum=A.shape[1], why=f" for A of shape {A.shape}"
        )
        self.num_layers = _checks.static_int("num_layers", num_layers, minimum=1)
        tau = _checks.scalar_or_steps("tau", tau, self.num_layers)
        super().__init__(A, sparsity=sparsity, tau=tau, weights=weights)
        if step_size is None:
            step_size = step_size_of(dense(A), A.dtype)
        step_size = _checks.scalar("step_size", step_size, positive=True)
        self.step_size = step_size.astype(real_dtype(A.dtype))

    def __call__(self, Y: Inexact[Array, "*batch m"]) -> Inexact[Array, "*batch n"]:
        """Recovers one signal or a batch of any shape with the soft solver."""

        def solve(y):
            return soft_iht(
                self.A,
                y,
                sparsity=self.sparsity,
                tau=self.tau,
                num_steps=self.num_layers,
                step_size=self.step_size,
                weights=self.weights[...],
            ).x

        return self._over_batch(solve, Y)

    def harden(self) -> Callable[[Inexact[Array, "*batch m"]], Inexact[Array, "*batch n"]]:
        """Hard IHT with the weights as they are now: same shapes in and out as the network."""
        A, weights, sparsity = self.A, self.weights[...], self.sparsity
        settings = {"num_steps": self.num_layers, "step_size": self.step_size}

        def solve(y):
            return iht(A, y, sparsity=sparsity, weights=weights, **settings).x

        return lambda Y: self._over_batch(solve, Y)

    def choices(self, Y: Inexact[Array, "*batch m"]) -> Choices:
        """The scores ``|w_j u_j|`` before each thresholding of hard IHT with current weights."""
        weights = self.weights[...]

        def solve(y):
            path = iht_path(
                self.A,
                y,
                sparsity=self.sparsity,
                num_steps=self.num_layers,
                step_size=self.step_size,
                weights=lax.stop_gradient(weights),
            )
            path = lax.stop_gradient(path)
            return Choices(jnp.abs(weights) * magnitude(path.proposals), path.x)

        return self._over_batch(solve, Y)

    def choice_loss(
        self, scores: Float[Array, "steps n"], targets: Float[Array, " n"]
    ) -> Float[Array, ""]:
        """Mean loss of the choices of one signal; ``targets`` are its atoms' energy fractions."""
        tau = jnp.broadcast_to(self.tau, len(scores))
        losses = jax.vmap(kept_choice_loss, (0, None, 0, None))(scores, targets, tau, self.sparsity)
        return jnp.mean(losses)
