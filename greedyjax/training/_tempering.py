"""Learned weights, raised to the power that predicts hidden measurements best."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._folds import row_folds
from greedyjax._precision import as_given
from greedyjax.metrics import hidden_measurement_error
from greedyjax.nets import Unrolled


def temper_weights(
    net: Unrolled,
    Y: Inexact[ArrayLike, "num m"],
    learn: Callable[[Inexact[Array, "part m"]], Float[Array, " n"]],
    *,
    powers: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    folds: int = 4,
) -> Float[Array, " n"]:
    """Weights from measurements alone, raised to the power that predicts hidden measurements best.

    Weights that were learned without true signals can be worse than no weights, if signals have no
    common structure, or if there are too few signals to find it. So the signals are cut into folds.
    For each fold, ``learn`` learns weights from the other folds. With each power of these weights,
    the hard solver of ``net`` predicts hidden measurements of the fold, as in
    `greedyjax.metrics.hidden_measurement_error`.

    A power replaces an earlier power of the list if it predicts better in every fold. The result is
    the final power of the weights that ``learn`` learns from all of ``Y``. The power 0 is
    ``w = 1``, so ``w = 1`` is kept unless the evidence for the weights is clear.

    Args:
        net: the network whose hard solver will use the weights; its own weights do not matter.
        Y: measurements, shape ``(num, m)``.
        learn: function from measurements ``(part, m)`` to weights as ``net`` takes them, of either
            sign; called ``folds + 1`` times.
        powers: at least one power, each >= 0, the preferred ones first.
        folds: number of parts of ``Y``, between 2 and ``num``.

    Returns:
        Weights of the shape that ``learn`` returns, not negative.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax
        >>> from greedyjax import nets, problems, training
        >>> A, Y, X, support = problems.sparse_in_levels(
        ...     jax.random.key(0), num_signals=64, matrix=problems.gaussian, num_measurements=36)
        >>> weights = training.temper_weights(
        ...     nets.OMPNet(A, sparsity=10), Y, lambda Y: training.sparse_bayes(A, Y).weights)
        >>> bool((jax.numpy.argsort(-weights)[:20].sort() == support).all())
        True
    """
    if not isinstance(net, Unrolled):
        _checks.fail(TypeError, "net", "a network of greedyjax.nets", type(net).__name__)
    given, Y = Y, _checks.inexact("Y", Y, ndim=2)
    _checks.inexact("Y", Y, ndim=2, shape=(len(Y), net.A.shape[0]))
    _checks.function("learn", learn)
    folds = _checks.static_int("folds", folds, minimum=2, maximum=len(Y), why=" signals")
    if not isinstance(powers, Sequence) or len(powers) == 0:
        _checks.fail(TypeError, "powers", "a list of at least one number", repr(powers))
    for i, power in enumerate(powers):
        _checks.scalar(f"powers[{i}]", power, positive=False)
    exponents = jnp.asarray(powers, jnp.float32)

    errors = []
    for hidden, kept in zip(*row_folds(len(Y), folds), strict=True):
        weights = _learned(learn, Y[kept])
        errors.append(_hidden_errors(net, Y[hidden], weights, exponents))
    least, best = jnp.stack(errors)[:, 0], exponents[0]
    for of_power, exponent in zip(jnp.stack(errors).T, exponents, strict=True):
        better = jnp.all(of_power < least)
        least, best = jnp.where(better, of_power, least), jnp.where(better, exponent, best)
    return as_given(_learned(learn, Y) ** best.astype(weights.dtype), net.A, given)


def _learned(learn, Y) -> Array:
    weights = _checks.as_array("learn(Y)", learn(Y))
    return jnp.abs(_checks.inexact("learn(Y)", weights, ndim=weights.ndim))


@jax.jit
def hidden_error(net: Unrolled, Y: Inexact[Array, "num m"], weights) -> Float[Array, ""]:
    """`hidden_measurement_error` of the hard solver of a network with given weights."""

    def recover(A, Y):
        return net.rebuild(A=A, weights=weights).harden()(Y)

    return hidden_measurement_error(net.A, Y, recover)


@jax.jit
def _hidden_errors(net, Y, weights, exponents) -> Float[Array, " num_exponents"]:
    """`hidden_error` of each power of the weights."""
    exponents = exponents.astype(weights.dtype)
    return jax.lax.map(lambda exponent: hidden_error(net, Y, weights**exponent), exponents)
