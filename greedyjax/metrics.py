"""Errors of a recovery, with true signals or without them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._folds import row_folds
from greedyjax._numerics import abs_sq, safe_inverse, safe_sqrt
from greedyjax._precision import as_given, widened
from greedyjax._types import Matrix
from greedyjax.linalg.checked import as_operator, checked_matrix, restrict

__all__ = ["hidden_measurement_error", "nmse", "snr_db", "squared_error"]


def squared_error(
    X_hat: Inexact[ArrayLike, "..."], X: Inexact[ArrayLike, "..."], *, snapshots: bool = False
) -> Float[Array, "*batch"]:
    """``||x_hat - x||_2^2`` of each signal. If ``X`` is real, ``Re(x_hat)`` is compared with it.

    Args:
        X_hat: recovered signals, shape ``(..., n)``.
        X: true signals, of the same shape.
        snapshots: static; True means that signals have shape ``(..., n, L)``, with one error for
            all snapshots together.

    Returns:
        Shape ``(...)``, in the squared units of ``X``.

    Raises:
        TypeError: an argument is not an array of numbers.
        ValueError: shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.metrics import squared_error
        >>> squared_error(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0]])).tolist()
        [4.0]
    """
    given = X_hat, X
    X_hat, X = _pair(X_hat, X, snapshots)
    if not jnp.iscomplexobj(X):
        X_hat = X_hat.real
    return as_given(_energy(X_hat - X, snapshots), *given)


def nmse(
    X_hat: Inexact[ArrayLike, "..."], X: Inexact[ArrayLike, "..."], *, snapshots: bool = False
) -> Float[Array, "*batch"]:
    """Normalised squared error ``||x_hat - x||^2 / ||x||^2`` of each signal; 0 if ``x = 0``.

    Arguments are the same as for `squared_error`. The result has no units.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.metrics import nmse
        >>> nmse(jnp.array([[1.0, 2.0]]), jnp.array([[2.0, 2.0]])).tolist()
        [0.125]
    """
    given = X_hat, X
    X_hat, X = _pair(X_hat, X, snapshots)
    error = squared_error(X_hat, X, snapshots=snapshots) * safe_inverse(_energy(X, snapshots))
    return as_given(error, *given)


def snr_db(
    X_hat: Inexact[ArrayLike, "..."], X: Inexact[ArrayLike, "..."], *, snapshots: bool = False
) -> Float[Array, ""]:
    """Signal-to-noise ratio of a set, ``-10 log10`` of its mean `nmse`, in dB.

    The mean is taken before the logarithm. So a few failures lower the ratio as much as they raise
    the mean error.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.metrics import snr_db
        >>> float(snr_db(jnp.array([[0.9, 0.0]]), jnp.array([[1.0, 0.0]])).round(3))
        20.0
    """
    ratios = nmse(*_pair(X_hat, X, snapshots), snapshots=snapshots)
    return as_given(-10 * jnp.log10(jnp.mean(ratios)), X_hat, X)


def hidden_measurement_error(
    A: Matrix,
    Y: Inexact[ArrayLike, "num m *snapshots"],
    recover: Callable[[Any, Inexact[Array, "num kept *snapshots"]], Array],
) -> Float[Array, ""]:
    """Relative error of predicting measurements that are hidden from the solver.

    This check needs no true signal. It hides a tenth of the measurements, recovers the signals from
    the others, and compares ``A x_hat`` with the hidden measurements. It does this for each tenth
    in turn. A remainder of fewer measurements is never hidden. A solver that only fits the
    measurements it gets has an error near 1 or above.

    Args:
        A: matrix, shape ``(m, n)`` with ``m >= 2``, or an operator. ``recover`` gets a matrix or an
            operator with fewer rows.
        Y: measurements, shape ``(num, m)``, or ``(num, m, L)`` for snapshots.
        recover: function from the kept rows ``(A, Y)`` to signals ``(num, n)``, or ``(num, n, L)``.
            JAX traces it.

    Returns:
        ``sqrt(sum |y_hidden - A_hidden x_hat|^2 / sum |y_hidden|^2)``, a scalar without units.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, NaN or infinity.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from greedyjax import metrics, omp
        >>> A = jax.random.normal(jax.random.key(0), (20, 30))
        >>> Y = 2 * A.T[:8]  # Eight signals of one atom each.
        >>> recover = lambda A, Y: jax.vmap(lambda y: omp(A, y, sparsity=1).x)(Y)
        >>> bool(metrics.hidden_measurement_error(A, Y, recover) < 1e-5)
        True
    """
    matrix: Any = checked_matrix(A)
    given, Y = Y, _checks.inexact("Y", Y, ndim=3 if jnp.ndim(Y) == 3 else 2)
    _checks.function("recover", recover)
    m = matrix.shape[0]
    if m < 2:
        _checks.fail(
            ValueError, "A", "at least 2 rows, to hide one of them", f"shape {matrix.shape}"
        )
    if Y.shape[1] != m:
        _checks.fail(ValueError, "Y", f"shape (num, {m})", f"shape {Y.shape}")
    hidden, kept = row_folds(m)

    def one_fold(rows):
        hidden, kept = rows
        X_hat = recover(restrict(matrix, kept), Y[:, kept])
        X_hat = widened(_checks.as_array("recover(A, Y)", X_hat))
        wanted = (len(Y), matrix.shape[1], *Y.shape[2:])
        if X_hat.shape != wanted:
            _checks.fail(ValueError, "recover(A, Y)", f"shape {wanted}", f"shape {X_hat.shape}")
        predict = as_operator(restrict(matrix, hidden)).matvec
        predict = jax.vmap(predict, 1, 1) if Y.ndim == 3 else predict
        predicted = jax.vmap(predict)(X_hat)
        return jnp.sum(abs_sq(Y[:, hidden] - predicted)), jnp.sum(abs_sq(Y[:, hidden]))

    errors, energies = jax.lax.map(one_fold, (jnp.asarray(hidden), jnp.asarray(kept)))
    error = safe_sqrt(jnp.sum(errors) * safe_inverse(jnp.sum(energies)))
    return as_given(error, matrix, given)


def _energy(X: Array, snapshots: bool) -> Array:
    """``||x||^2`` of each signal, over all its snapshots."""
    return jnp.sum(abs_sq(X), axis=(-2, -1) if snapshots else -1)


def _pair(X_hat, X, snapshots: bool) -> tuple[Array, Array]:
    """Recovered and true signals, which have to have the same shape. They may contain NaN."""
    _checks.flag("snapshots", snapshots)
    arrays = _checks.as_array("X_hat", X_hat), _checks.as_array("X", X)
    for name, array in zip(("X_hat", "X"), arrays, strict=True):
        if not jnp.issubdtype(array.dtype, jnp.number):
            _checks.fail(TypeError, name, "numbers", f"dtype {array.dtype}")
        if array.ndim < 1 + snapshots:
            expected = "shape (..., n, L)" if snapshots else "shape (..., n)"
            _checks.fail(ValueError, name, expected, f"shape {array.shape}")
    if arrays[0].shape != arrays[1].shape:
        got = f"shape {arrays[1].shape}"
        _checks.fail(ValueError, "X", f"shape {arrays[0].shape} as X_hat has", got)
    return widened(arrays)
