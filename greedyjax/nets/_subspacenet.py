"""Subspace-pursuit networks: the soft solver with trainable weights."""

from greedyjax.nets._unrolled import Solvers, Unrolled
from greedyjax.pursuit import soft_subspace_pursuit, subspace_pursuit
from greedyjax.pursuit._subspace import soft_subspace_layers, subspace_path


class SubspacePursuitNet(Unrolled):
    """Soft subspace pursuit unrolled into ``num_layers`` layers, with trainable weights.

    A layer takes ``sparsity`` new atoms and keeps the best of these and the old ones: weights
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
        penalty: of the least squares.

    Raises:
        TypeError: wrong kinds of argument.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import SubspacePursuitNet
        >>> net = SubspacePursuitNet(jnp.eye(3), sparsity=1, num_layers=2)
        >>> net.harden()(jnp.array([0.0, 2.0, 0.0])).tolist()
        [0.0, 2.0, 0.0]
    """

    _solvers = Solvers(soft_subspace_pursuit, subspace_pursuit, soft_subspace_layers, subspace_path)

    def _kept(self) -> tuple[int, ...]:
        return self.sparsity, self.sparsity

    def _settings(self):
        return {**super()._settings(), "num_steps": self.num_layers}
