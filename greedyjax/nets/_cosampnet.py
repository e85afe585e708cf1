"""CoSaMP-Net: Soft-CoSaMP with trainable weights."""

from typing import Any

from jaxtyping import Array, Float, Inexact, Int

from greedyjax import _checks
from greedyjax.nets._unrolled import Solvers, Unrolled
from greedyjax.pursuit import cosamp, soft_cosamp
from greedyjax.pursuit._cosamp import cosamp_path, soft_cosamp_layers


class CoSaMPNet(Unrolled):
    """Soft-CoSaMP unrolled into ``num_layers`` layers, with trainable weights.

    A layer takes twice ``sparsity`` new atoms and keeps the best of these and the old ones: weights
    choose both times.

    Args:
        A: matrix, shape ``(m, n)``.
        sparsity: atoms of a signal, static, between 1 and ``min(m, n)``.
        num_layers: number of layers, static, at least 1.
        tau: temperature > 0 in the units of the measurements; one, or one per layer.
        weights: initial weights, and so are all other arguments as in `OMPNet`.
        per_layer: whether each layer has weights of its own.
        groups: the group of each atom, whose atoms share a weight.
        positive: whether to train the logarithms of the weights.
        learn_tau: whether to train the temperature.
        debias: whether least squares on the atoms kept ends the last layer.
        penalty: of the least squares.

    Raises:
        TypeError: wrong kinds of argument.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import CoSaMPNet
        >>> net = CoSaMPNet(jnp.eye(3), sparsity=1, num_layers=2)
        >>> net.harden()(jnp.array([0.0, 2.0, 0.0])).tolist()
        [0.0, 2.0, 0.0]
    """

    _solvers = Solvers(soft_cosamp, cosamp, soft_cosamp_layers, cosamp_path)

    def __init__(
        self,
        A: Inexact[Array, "m n"],
        *,
        sparsity: int,
        num_layers: int,
        tau: Any = 1e-3,
        weights: Float[Array, "..."] | None = None,
        per_layer: bool = False,
        groups: Int[Array, " n"] | None = None,
        positive: bool = False,
        learn_tau: bool = False,
        debias: bool = False,
        penalty: Float[Array, " n"] | None = None,
    ) -> None:
        super().__init__(
            A,
            sparsity=sparsity,
            num_layers=num_layers,
            tau=tau,
            weights=weights,
            per_layer=per_layer,
            groups=groups,
            positive=positive,
            learn_tau=learn_tau,
            penalty=penalty,
        )
        self.debias = _checks.flag("debias", debias)

    def _kept(self) -> tuple[int, ...]:
        return min(2 * self.sparsity, self.A.shape[1]), self.sparsity

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "num_steps": self.num_layers, "debias": self.debias}
