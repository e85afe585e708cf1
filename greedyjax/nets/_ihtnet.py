"""IHT-Net: Soft-IHT with trainable weights."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import magnitude, power_of_two
from greedyjax.linalg.norms import step_size_of
from greedyjax.linalg.operators import dense
from greedyjax.nets._unrolled import Choices, Unrolled
from greedyjax.pursuit import iht, iht_batch, soft_iht
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
        tau: may be set to another temperature at any time, a scalar or one per layer.
        step_size: array, in the units of ``1 / A^2``.

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
        # In the units of A the step may be too large or too small a number for single precision:
        # it is kept for A / unit, whose entries are at most 1.
        # Said to be data: under jit a constant does not look like it.
        self.unit = nnx.data(power_of_two(A))
        if step_size is None:
            unit_step = step_size_of(dense(A / self.unit), A.dtype)
        else:
            step_size = _checks.scalar("step_size", step_size, positive=True)
            unit_step = step_size.astype(self.unit.dtype) * self.unit * self.unit
        self.unit_step = nnx.data(unit_step)

    @property
    def step_size(self) -> Float[Array, ""]:
        """The step size in the units of the matrix given."""
        return self.unit_step / self.unit / self.unit

    def rebuild(self, *, A: Array | None = None, weights: Array | None = None) -> "IHTNet":
        """The same network on another matrix or with other weights; the step size stays."""
        net = IHTNet(
            self.A if A is None else A,
            sparsity=self.sparsity,
            num_layers=self.num_layers,
            tau=self.tau,
            step_size=1.0,
            weights=self.weights[...] if weights is None else weights,
        )
        net.unit, net.unit_step = self.unit, self.unit_step
        return net

    def choice_loss(self, choices: Choices, targets: Float[Array, " n"]) -> Float[Array, ""]:
        """Mean of `kept_choice_loss` over the layers for one signal."""
        scores, _, thresholds = choices
        assert thresholds is not None
        loss = jax.vmap(kept_choice_loss, (0, None, 0, 0, None))
        taus = self._taus(len(scores))
        return jnp.mean(loss(scores, targets, taus, thresholds, self.sparsity))

    def _soft(self, y):
        return soft_iht(*self._problem(y), tau=self.tau, **self._settings()).x

    def _hard(self, y):
        return iht(*self._problem(y), **self._settings()).x

    def _hard_batch(self, Y):
        return iht_batch(*self._problem(Y), **self._settings()).x

    def _choices(self, y):
        weights = self.weights[...]
        settings = {**self._settings(), "weights": lax.stop_gradient(weights)}
        path = lax.stop_gradient(iht_path(*self._problem(y), **settings))
        scores = magnitude(weights)[None, :] * path.proposals
        return Choices(scores, path.x, path.thresholds)

    def _problem(self, y):
        """The same problem, in the units that the step size is for."""
        return self.A / self.unit, y / self.unit

    def _settings(self) -> dict[str, Any]:
        """What soft, hard and recorded IHT are all called with."""
        return {
            "sparsity": self.sparsity,
            "num_steps": self.num_layers,
            "step_size": self.unit_step,
            "weights": self.weights[...],
        }
