"""IHT-Net: Soft-IHT with trainable weights."""

from typing import Any

from jaxtyping import Array, Float, Inexact, Int

from greedyjax import _checks
from greedyjax.nets._stepping import Stepping
from greedyjax.nets._unrolled import Solvers
from greedyjax.pursuit import iht, iht_batch, soft_iht
from greedyjax.pursuit._iht import iht_path, soft_iht_layers


class IHTNet(Stepping):
    """Soft-IHT unrolled into ``num_layers`` layers, with trainable weights.

    Maps measurements ``(..., m)`` to signals ``(..., n)``. The matrix is fixed, and so are
    temperature and step size unless they are to be learned; take gradients with respect to
    ``nnx.Param``, or train with `greedyjax.training.fit`.

    Args:
        A: matrix, shape ``(m, n)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_layers: number of layers, static, at least 1.
        tau: temperature > 0 in the units of the signals; one, or one per layer.
        step_size: > 0; None means ``1 / ||A||^2`` by power iteration, computed once.
        weights: initial weights, real, shape ``(n,)``, or one per group, ``(G,)``; with
            ``per_layer`` for all layers alike, or one row per layer. None means ones.
        per_layer: whether each layer has weights of its own, which then have a row per layer.
        groups: integers, shape ``(n,)``, naming the group of each atom by an id from 0 to
            ``G - 1``. Atoms of one group share one weight. None means that each has its own.
        positive: whether to train the logarithms of the weights, which must begin > 0. Else
            they have either sign, only magnitudes matter, and a step across 0 lets one rise again.
        learn_tau: whether to train ``tau``, or each of its layers if it was given per layer, as the
            parameter ``log_tau``. Under `losses.selection` see there for what it comes to.
        learn_step_size: whether to train the step size, as the parameter ``log_step``.
        debias: whether least squares on the entries kept ends the last layer.
        penalty: of those, as in the solvers, real and >= 0, shape ``(n,)``.

    Attributes:
        weights: ``nnx.Param``: shape ``(n,)`` or ``(G,)``, with a leading axis of layers where they
            have their own; logarithms if ``positive``.
        atom_weights: the weights that these mean, shape ``(n,)`` or ``(num_layers, n)``.
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
        >>> IHTNet(jnp.eye(3), sparsity=1, num_layers=5, per_layer=True).weights.shape
        (5, 3)

    References:
        Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy unfolding", arXiv 2505.15661.
    """

    _solvers = Solvers(soft_iht, iht, soft_iht_layers, iht_path, iht_batch)

    def __init__(
        self,
        A: Inexact[Array, "m n"],
        *,
        sparsity: int,
        num_layers: int,
        tau: Any = 1e-3,
        step_size: Any = None,
        weights: Float[Array, "..."] | None = None,
        per_layer: bool = False,
        groups: Int[Array, " n"] | None = None,
        positive: bool = False,
        learn_tau: bool = False,
        learn_step_size: bool = False,
        debias: bool = False,
        penalty: Float[Array, " n"] | None = None,
    ) -> None:
        super().__init__(
            A,
            sparsity=sparsity,
            num_layers=num_layers,
            tau=tau,
            step_size=step_size,
            weights=weights,
            per_layer=per_layer,
            groups=groups,
            positive=positive,
            learn_tau=learn_tau,
            learn_step_size=learn_step_size,
            penalty=penalty,
        )
        self.debias = _checks.flag("debias", debias)
        if penalty is not None and not self.debias:
            _checks.fail(ValueError, "penalty", "None, as nothing is fitted", "one without debias")

    @classmethod
    def _most(cls, shape):
        return shape[1]

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "debias": self.debias}
