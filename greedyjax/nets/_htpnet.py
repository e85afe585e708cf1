"""HTP-Net: soft hard-thresholding pursuit with trainable weights."""

from greedyjax.nets._stepping import Stepping
from greedyjax.nets._unrolled import Solvers
from greedyjax.pursuit import htp, soft_htp
from greedyjax.pursuit._htp import htp_path, soft_htp_layers


class HTPNet(Stepping):
    """Soft-HTP unrolled into ``num_layers`` layers, with trainable weights.

    As `IHTNet`, with least squares at the end of every layer: a few layers do.

    Args:
        A: matrix, shape ``(m, n)``.
        sparsity: number of entries, static, between 1 and ``n``.
        num_layers: number of layers, static, at least 1.
        tau: temperature > 0 in the units of the signals; one, or one per layer.
        step_size: > 0; None means ``1 / ||A||^2`` by power iteration, computed once.
        weights: initial weights, and so are all other arguments as in `IHTNet`.
        per_layer: whether each layer has weights of its own.
        groups: the group of each atom, whose atoms share a weight.
        positive: whether to train the logarithms of the weights.
        learn_tau: whether to train the temperature.
        learn_step_size: whether to train the step size.
        penalty: of the least squares.

    Raises:
        TypeError: wrong kinds of argument.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import HTPNet
        >>> net = HTPNet(jnp.eye(3), sparsity=1, num_layers=2)
        >>> net.harden()(jnp.array([0.0, 2.0, 0.0])).tolist()
        [0.0, 2.0, 0.0]
    """

    _solvers = Solvers(soft_htp, htp, soft_htp_layers, htp_path)

    @classmethod
    def _most(cls, shape: tuple[int, ...]) -> int:
        return shape[1]
