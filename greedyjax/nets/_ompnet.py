"""OMP-Net: Soft-OMP with trainable weights."""

from typing import Any

from jaxtyping import Array, Float, Inexact, Int

from greedyjax.nets._unrolled import Solvers, Unrolled
from greedyjax.pursuit import omp, omp_batch, soft_omp
from greedyjax.pursuit._omp import omp_path, soft_omp_layers


class OMPNet(Unrolled):
    """Soft-OMP unrolled into ``sparsity`` layers, with trainable weights.

    Maps measurements ``(..., m)`` to signals ``(..., n)``. The matrix is fixed, and so is the
    temperature unless ``learn_tau``; take gradients with respect to ``nnx.Param``, or train with
    `greedyjax.training.fit`.

    Args:
        A: matrix, shape ``(m, n)``.
        sparsity: number of layers, static, between 1 and ``min(m, n)``.
        tau: temperature > 0 in the units of the measurements; one, or one per layer.
        weights: initial weights, real, shape ``(n,)``, or one per group, ``(G,)``; with
            ``per_layer`` for all layers alike, or one row per layer. None means ones.
        per_layer: whether each layer has weights of its own, which then have a row per layer.
        groups: integers, shape ``(n,)``, naming the group of each atom by an id from 0 to
            ``G - 1``. Atoms of one group share one weight. None means that each has its own.
        positive: whether to train the logarithms of the weights, which must begin > 0. Else
            they have either sign, only magnitudes matter, and a step across 0 lets one rise again.
        learn_tau: whether to train ``tau``, or each of its layers if it was given per layer, as the
            parameter ``log_tau``. Under `losses.selection` see there for what it comes to.
        penalty: of the least squares, as in the solvers, real and >= 0, shape ``(n,)``.

    Attributes:
        weights: ``nnx.Param``: shape ``(n,)`` or ``(G,)``, with a leading axis of layers where they
            have their own; logarithms if ``positive``.
        atom_weights: the weights that these mean, shape ``(n,)`` or ``(num_layers, n)``.
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
        >>> OMPNet(jnp.eye(3), sparsity=1, groups=jnp.array([0, 1, 1])).weights.shape
        (2,)

    References:
        Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy unfolding", arXiv 2505.15661.
    """

    _solvers = Solvers(soft_omp, omp, soft_omp_layers, omp_path, omp_batch)

    def __init__(
        self,
        A: Inexact[Array, "m n"],
        *,
        sparsity: int,
        tau: Any = 1e-3,
        weights: Float[Array, "..."] | None = None,
        per_layer: bool = False,
        groups: Int[Array, " n"] | None = None,
        positive: bool = False,
        learn_tau: bool = False,
        penalty: Float[Array, " n"] | None = None,
    ) -> None:
        super().__init__(
            A,
            sparsity=sparsity,
            num_layers=sparsity,
            tau=tau,
            weights=weights,
            per_layer=per_layer,
            groups=groups,
            positive=positive,
            learn_tau=learn_tau,
            penalty=penalty,
        )

    def _layers_left(self) -> int:
        return self.sparsity
