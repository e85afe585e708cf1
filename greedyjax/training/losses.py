"""Losses for `greedyjax.training.fit`: functions of ``(net, Y, X)``.

A loss is the mean over a batch of a loss per signal. ``X`` is None if the signals are not known.
"""

from collections.abc import Callable
from functools import lru_cache, partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._folds import row_folds
from greedyjax._meshes import on_any_mesh
from greedyjax._numerics import abs_sq, safe_inverse
from greedyjax._precision import as_given, widened
from greedyjax.linalg.checked import as_operator, restrict
from greedyjax.metrics import squared_error
from greedyjax.nets import Unrolled
from greedyjax.pursuit import recover

__all__ = [
    "deep_supervision",
    "hard_reconstruction",
    "hidden_rows",
    "reconstruction",
    "residual",
    "selection",
    "straight_through",
]


def _in_single(loss: Any) -> Any:
    """Computes a loss in single precision or better, and returns the dtype of the arguments."""

    @wraps(loss)
    def door(net, Y, X=None):
        given = [getattr(net, "A", None), Y] + ([] if X is None else [X])
        return as_given(loss(net, *widened((Y, X))), *given)

    return door


@_in_single
def reconstruction(
    net: Unrolled,
    Y: Inexact[ArrayLike, "batch m *snapshots"],
    X: Inexact[ArrayLike, "batch n *snapshots"] | None,
) -> Float[Array, ""]:
    """Batch mean of ``||x_hat - x||_2^2``, the paper's loss. If ``X`` is real, of ``Re(x_hat)``.

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
    X = _signals(X)
    return _error(net(Y), X)


@_in_single
def residual(
    net: Unrolled, Y: Inexact[ArrayLike, "batch m *snapshots"], X: Any = None
) -> Float[Array, ""]:
    """Batch mean of ``||y - A x_hat||_2^2``, which needs no true signal.

    It is the loss for a learned dictionary, `greedyjax.nets.Atoms`. If the matrix is fixed, little
    can be learned from it: least squares has a small residual on almost any atoms.

    Args:
        net: maps ``Y`` to recovered signals.
        Y: measurements, shape ``(batch, m)``.
        X: ignored.

    Returns:
        A scalar in the squared units of ``Y``.

    Raises:
        ValueError: ``Y`` has another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax import nets
        >>> from greedyjax.training import losses
        >>> net = nets.OMPNet(nets.Atoms(jnp.eye(2), learned=True), sparsity=1, tau=1e-3)
        >>> float(losses.residual(net, jnp.array([[3.0, 1.0]])))
        1.0
    """
    X_hat, shape = net(Y), jnp.shape(Y)
    snapshots = net.method.structure.snapshots
    if len(shape) != 2 + snapshots:
        wanted = f"(batch, {net.A.shape[0]}{', L' if snapshots else ''})"
        _checks.fail(ValueError, "Y", f"shape {wanted}; one signal is Y[None]", f"shape {shape}")
    residuals = jnp.asarray(Y) - _measured(net.A, X_hat)
    return jnp.mean(jnp.sum(abs_sq(residuals.reshape(len(residuals), -1)), axis=1))


@_in_single
def deep_supervision(
    net: Unrolled,
    Y: Inexact[ArrayLike, "batch m *snapshots"],
    X: Inexact[ArrayLike, "batch n *snapshots"] | None,
) -> Float[Array, ""]:
    """Mean of `reconstruction` over the answers after each layer, ``net.layers(Y)``.

    The first layers learn from their own errors, and not only through later layers. Arguments,
    result and errors are the same as for `reconstruction`.

    References:
        Lee, Xie, Gallagher, Zhang and Tu, "Deeply-supervised nets", AISTATS 2015.
    """
    X = _signals(X)
    return jnp.mean(jax.vmap(_error, (1, None))(net.layers(Y), X))


@_in_single
def straight_through(
    net: Unrolled,
    Y: Inexact[ArrayLike, "batch m *snapshots"],
    X: Inexact[ArrayLike, "batch n *snapshots"] | None,
) -> Float[Array, ""]:
    """`hard_reconstruction`, with the derivative of the network in place of the hard solver's.

    The value is the error of the hard solver's answer, and derivatives are taken through the soft
    answer. Arguments, result and errors are the same as for `reconstruction`.

    References:
        Bengio, Leonard and Courville, "Estimating or propagating gradients through stochastic
        neurons for conditional computation", arXiv 1308.3432.
    """
    X = _signals(X)
    frozen = lax.stop_gradient((net.method, net.A, net.policy))
    method, A, policy = frozen
    # A batch has few signals and this is compiled into every step of a training, so it does not use
    # the solver for very many signals.
    hard = jax.vmap(lambda y: recover(method, A, y, weights=policy).x)(Y)
    soft = net(Y)
    return _error(hard + (soft - lax.stop_gradient(soft)), X)


@_in_single
def hard_reconstruction(
    net: Unrolled,
    Y: Inexact[ArrayLike, "batch m *snapshots"],
    X: Inexact[ArrayLike, "batch n *snapshots"] | None,
) -> Float[Array, ""]:
    """`reconstruction` of the hard solver with the network's weights: a ``val_loss`` for `fit`.

    Its gradient with respect to the weights is 0. Arguments, result and errors are the same as for
    `reconstruction`.
    """
    X = _signals(X)
    return _error(net.harden()(Y), X)


@_in_single
def selection(
    net: Unrolled,
    Y: Inexact[ArrayLike, "batch m *snapshots"],
    X: Inexact[ArrayLike, "batch n *snapshots"] | None = None,
) -> Float[Array, ""]:
    """Compares every choice of the hard solver with the true signal.

    The hard solver runs with the current weights, and no derivative passes through it. The loss is
    low if, at each step, the weights prefer the atoms that carry the signal's energy,
    ``t_j = |x_j|^2 / ||x||^2``. For OMP-Net the loss of a choice is
    ``-log sum_j p_j (t_j + 1e-6)`` with ``p = softmax(|w_j a_j* r| / tau)``, over the atoms that
    are not chosen yet. For IHT-Net it is a logistic loss on either side of the threshold. These are
    the losses of `greedyjax.sorting.SoftSort`; another relaxation may have its own. The gradient of
    each choice depends on that choice alone, and is bounded. The gradient of `reconstruction`
    passes through every later choice.

    Without ``X`` the targets come from the solver's own answers, held constant. Wrong atoms differ
    from signal to signal, while right atoms occur again and again. So the weights of the right
    atoms grow.

    Args:
        net: its ``tau`` is the temperature of the choices, in the units of their scores. A learned
            temperature falls as the choices become more certain, whatever its start, and stays
            above 0 while some choices are wrong. Without ``X`` the solver judges its own answers,
            so the temperature falls too far, and mistakes become permanent. Keep it fixed then.
        Y: measurements, shape ``(batch, m)``.
        X: signals, shape ``(batch, n)``, or None to learn from the measurements alone.

    Returns:
        A scalar without units.
    """
    num, _, *snapshots = jnp.shape(Y)
    wanted = (num, net.A.shape[1], *snapshots)
    if X is not None and jnp.shape(X) != wanted:
        _checks.fail(ValueError, "X", f"shape {wanted}", f"shape {jnp.shape(X)}")

    # Signal by signal, so that the choices of a whole batch need not be rearranged in memory.
    def one(y, x):
        choices = net.choices(y)
        energy = abs_sq(choices.x if x is None else x)
        energy = jnp.sum(energy.reshape(len(energy), -1), axis=1)  # Of all snapshots.
        targets = lax.stop_gradient(energy * safe_inverse(jnp.sum(energy)))
        return net.choice_loss(choices, targets)

    return jnp.mean(jax.vmap(one)(Y, None if X is None else jnp.asarray(X)))


@lru_cache
def hidden_rows(*, folds: int = 10) -> Callable[..., Float[Array, ""]]:
    """Makes a loss that needs no true signal: the network predicts measurements that are hidden.

    The measurements are cut into ``folds`` folds. The signal at place ``i`` of a batch is recovered
    without the measurements of fold ``i`` modulo ``folds``. Its loss is the squared error of the
    prediction ``A x_hat`` of these measurements. The error is divided by ``||y||^2`` and by the
    share of hidden measurements, so that the prediction 0 has a loss of 1. Batches are shuffled, so
    that over the epochs every fold of a signal is hidden.

    Args:
        folds: number of folds, at least 2; with fewer folds, more measurements are hidden.

    Returns:
        A function of ``(net, Y, X)`` that ignores ``X``; the same function for the same ``folds``.

    Raises:
        TypeError: ``folds`` is not an int.
        ValueError: ``folds`` is below 2; the returned loss raises it if there are more folds than
            measurements.

    Example:
        >>> import jax
        >>> from greedyjax import nets, problems
        >>> from greedyjax.training import losses
        >>> A, Y, *_ = problems.sparse_in_levels(jax.random.key(0), num_signals=40)
        >>> net = nets.OMPNet(A, sparsity=10, tau=0.1)
        >>> loss = losses.hidden_rows(folds=10)
        >>> bool(loss(net, Y) > 0)
        True

    References:
        Yaman et al., "Self-supervised learning of physics-guided reconstruction neural networks
        without fully sampled reference data", Magnetic Resonance in Medicine 84 (2020).
    """
    folds = _checks.static_int("folds", folds, minimum=2)

    @_in_single
    def loss(
        net: Unrolled, Y: Inexact[ArrayLike, "batch m *snapshots"], X=None
    ) -> Float[Array, ""]:
        num, m = jnp.shape(Y)[0], net.A.shape[0]
        if folds > m:
            _checks.fail(ValueError, "folds", f"at most the {m} rows of net.A", str(folds))
        graph, state = nnx.split(net)

        @on_any_mesh()
        def mean(state, Y):
            net = nnx.merge(graph, state)
            hidden, kept = map(jnp.asarray, row_folds(m, folds))
            # Signals of zeros fill up the last places, and add 0 to the loss.
            filled = jnp.pad(Y, [(0, -num % len(hidden))] + [(0, 0)] * (Y.ndim - 1))
            parts = filled.reshape(-1, len(hidden), *Y.shape[1:]).swapaxes(0, 1)
            return jnp.sum(jax.vmap(partial(one_fold, net))(hidden, kept, parts)) / num

        def one_fold(net, hidden, kept, Y):
            X_hat = net.rebuild(A=restrict(net.A, kept))(Y[:, kept])
            energy = lambda Z: jnp.sum(abs_sq(Z.reshape(len(Z), -1)), axis=1)
            errors = energy(Y[:, hidden] - _measured(restrict(net.A, hidden), X_hat))
            return errors * safe_inverse(len(hidden) / m * energy(Y))

        return mean(state, jnp.asarray(Y))

    return loss


@on_any_mesh(rows=(1,))
def _measured(
    A: Any, X: Inexact[Array, "batch n *snapshots"]
) -> Inexact[Array, "batch m *snapshots"]:
    """``A x`` of each signal."""
    matvec = as_operator(A).matvec
    return jax.vmap(matvec if X.ndim == 2 else jax.vmap(matvec, 1, 1))(X)


def _error(X_hat: Array, X: Any) -> Float[Array, ""]:
    """The mean over the signals of ``||x_hat - x||^2``, over all entries of each."""
    if jnp.shape(X_hat) == jnp.shape(X):  # For other shapes `squared_error` raises.
        X_hat, X = (jnp.reshape(each, (len(each), -1)) for each in (X_hat, jnp.asarray(X)))
    return jnp.mean(squared_error(X_hat, X))


def _signals(
    X: Inexact[ArrayLike, "batch n *snapshots"] | None,
) -> Inexact[ArrayLike, "batch n *snapshots"]:
    if X is None:
        raise ValueError(
            "X: expected the true signals, got None; losses.selection learns from Y alone"
        )
    return X
