"""What a network can be trained to do: functions of ``(net, Y, X)`` for `greedyjax.training.fit`.

A loss is the mean over a batch of a loss per signal; ``X`` is None where no signals are known.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import abs_sq, safe_inverse
from greedyjax.metrics import squared_error
from greedyjax.nets._unrolled import Unrolled

__all__ = ["hard_reconstruction", "reconstruction", "selection"]


def reconstruction(
    net: Unrolled, Y: Inexact[Array, "batch m"], X: Inexact[Array, "batch n"] | None
) -> Float[Array, ""]:
    """Batch mean of ``||x_hat - x||_2^2``, the paper's loss; of ``Re(x_hat)`` where ``X`` is real.

    Args:
        net: maps ``Y`` to recovered signals.
        Y: measurements, shape ``(batch, m)``.
        X: signals, shape ``(batch, n)``.

    Returns:
        A scalar in the squared units of ``X``.

    Raises:
        ValueError: ``X`` is None.

    References:
        Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy unfolding", arXiv 2505.15661.
    """
    if X is None:
        raise ValueError(
            "X: expected the true signals, got None; losses.selection learns from Y alone"
        )
    return jnp.mean(squared_error(net(Y), X))


def hard_reconstruction(
    net: Unrolled, Y: Inexact[Array, "batch m"], X: Inexact[Array, "batch n"] | None
) -> Float[Array, ""]:
    """`reconstruction` of the hard solver with the network's weights: a ``val_loss`` for `fit`.

    It has no gradient in the weights. Arguments, result and errors are those of `reconstruction`.
    """
    if X is None:
        raise ValueError("X: expected the true signals, got None")
    return jnp.mean(squared_error(net.harden()(Y), X))


def selection(
    net: Unrolled, Y: Inexact[Array, "batch m"], X: Inexact[Array, "batch n"] | None = None
) -> Float[Array, ""]:
    """Scores every choice of the hard solver, instead of what it leads to.

    The hard solver runs with the current weights, and nothing differentiates it. At each of its
    steps the weights should prefer the atoms that carry the signal's energy,
    ``t_j = |x_j|^2 / ||x||^2``: for OMP-Net ``-log sum_j p_j (t_j + 1e-6)`` with
    ``p = softmax(|w_j a_j* r| / tau)``, for IHT-Net a logistic loss on either side of the
    threshold. The gradient is local and bounded, where that of `reconstruction` passes through
    every later choice.

    Without ``X`` the targets are the energies of the solver's own answers, held constant: wrong
    atoms scatter over the signals, right ones recur, so the weights sharpen themselves.

    Args:
        net: its ``tau`` is the temperature of the choices, in the units of their scores. Where it
            is learned, it becomes how sure the choices are, whatever it begins at: it falls while
            they get better and stays above 0 while some are wrong. Without ``X`` they are judged by
            what they led to, so that it falls further and locks accidents in: better fix it there.
        Y: measurements, shape ``(batch, m)``.
        X: signals, shape ``(batch, n)``, or None to learn from the measurements alone.

    Returns:
        A scalar without units.
    """
    wanted = (*jnp.shape(Y)[:-1], net.A.shape[1])
    if X is not None and jnp.shape(X) != wanted:
        _checks.fail(ValueError, "X", f"shape {wanted}", f"shape {jnp.shape(X)}")

    # Signal by signal, so that no choices of a whole batch are brought into order in memory.
    def one(y, x):
        choices = net.choices(y)
        energy = abs_sq(choices.x if x is None else x)
        targets = lax.stop_gradient(energy * safe_inverse(jnp.sum(energy)))
        return net.choice_loss(choices, targets)

    return jnp.mean(jax.vmap(one)(Y, None if X is None else jnp.asarray(X)))
