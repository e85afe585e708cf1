"""OMP-Net: Soft-OMP with trainable weights."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import magnitude
from greedyjax.nets._unrolled import Choices, Unrolled
from greedyjax.pursuit import omp, omp_batch, soft_omp
from greedyjax.pursuit._omp import omp_path
from greedyjax.sorting._choice import next_choice_loss


class OMPNet(Unrolled):
    """Soft-OMP unrolled into ``sparsity`` layers that share one weight per atom.

    Maps measurements ``(..., m)`` to signals ``(..., n)``. The matrix and the temperature are
    fixed; take gradients with respect to ``nnx.Param``, or train with `greedyjax.training.fit`.

    Args:
        A: matrix, shape ``(m, n)``.
        sparsity: number of layers, static, between 1 and ``min(m, n)``.
        tau: temperature > 0 in the units of the measurements; one, or one per layer.
        weights: initial weights, real, shape ``(n,)``. None means ones.

    Attributes:
        weights: ``nnx.Param`` of shape ``(n,)``; only magnitudes matter.
        tau: may be set to another temperature at any time, a scalar or one per layer.

    Raises:
        TypeError: wrong kinds of argument.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import OMPNet
        >>> net = OMPNet(jnp.eye(3), sparsity=1)
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
        tau: Any = 1e-3,
        weights: Float[Array, " n"] | None = None,
    ) -> None:
        shape = _checks.inexact("A", A, ndim=2).shape
        sparsity = _checks.static_int(
            "sparsity", sparsity, minimum=1, maximum=min(shape), why=f" for A of shape {shape}"
        )
        tau = _checks.scalar_or_steps("tau", tau, sparsity)
        super().__init__(A, sparsity=sparsity, tau=tau, weights=weights)

    def rebuild(self, *, A: Array | None = None, weights: Array | None = None) -> "OMPNet":
        """The same network on another matrix or with other weights; fewer layers if it must."""
        A = self.A if A is None else A
        weights = self.weights[...] if weights is None else weights
        sparsity = min(self.sparsity, *A.shape)
        return OMPNet(
            A, sparsity=sparsity, tau=self._taus(self.sparsity)[:sparsity], weights=weights
        )

    def choice_loss(self, choices: Choices, targets: Float[Array, " n"]) -> Float[Array, ""]:
        """Mean of `next_choice_loss` over the steps of one signal."""
        taus = self._taus(len(choices.scores))
        return jnp.mean(jax.vmap(next_choice_loss, (0, None, 0))(choices.scores, targets, taus))

    def _soft(self, y):
        weights = self.weights[...]
        return soft_omp(self.A, y, sparsity=self.sparsity, tau=self.tau, weights=weights).x

    def _hard(self, y):
        return omp(self.A, y, sparsity=self.sparsity, weights=self.weights[...]).x

    def _hard_batch(self, Y):
        return omp_batch(self.A, Y, sparsity=self.sparsity, weights=self.weights[...]).x

    def _choices(self, y):
        weights = self.weights[...]
        frozen = lax.stop_gradient(weights)
        path = lax.stop_gradient(omp_path(self.A, y, sparsity=self.sparsity, weights=frozen))
        return Choices(magnitude(weights)[None, :] * path.correlations, path.x)
