"""Sparse signals on a random background: whitening, and an estimate of the background."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import eps, matmul, promoted
from greedyjax._precision import as_given, widened
from greedyjax._types import Scalar


class Whitened(NamedTuple):
    """A problem in which background and noise have become white noise of variance 1.

    Attributes:
        A: the matrix for the sparse part, ``L^-1 A``, shape ``(m, n)``.
        factor: ``L`` with ``L L* = A C A* + noise^2 I``, lower triangular, shape ``(m, m)``.
        gain: ``C A* (L L*)^-1``, which estimates a background from its measurements, shape
            ``(n, m)``.
        given: the argument ``A`` of `whiten`.
    """

    A: Inexact[Array, "m n"]
    factor: Inexact[Array, "m m"]
    gain: Inexact[Array, "n m"]
    given: Inexact[Array, "m n"]

    def measurements(self, Y: Inexact[ArrayLike, "*batch m"]) -> Inexact[Array, "*batch m"]:
        """``L^-1 y``: the measurements to recover the sparse part from."""
        rows = jnp.moveaxis(jnp.atleast_2d(widened(Y)), -1, 0)
        solved = _solve(widened(self.factor), rows.reshape(len(rows), -1)).reshape(rows.shape)
        return as_given(jnp.moveaxis(solved, 0, -1).reshape(jnp.shape(Y)), self.given, Y)

    def complete(
        self, Y: Inexact[ArrayLike, "*batch m"], X: Inexact[ArrayLike, "*batch n"]
    ) -> Inexact[Array, "*batch n"]:
        """The sum of the sparse part ``x`` and the best linear estimate of the background.

        It is ``x + C A* (L L*)^-1 (y - A x)``. With ``x = 0`` it is the linear estimate of least
        mean squared error. ``Y`` has the original measurements ``y``.
        """
        given, gain, wide_Y, wide_X = widened((self.given, self.gain, Y, X))
        left = jnp.subtract(wide_Y, matmul(wide_X, given.T))
        return as_given(jnp.add(wide_X, matmul(left, gain.T)), self.given, Y, X)


def whiten(
    A: Inexact[ArrayLike, "m n"],
    covariance: Inexact[ArrayLike, "n n"] | Float[ArrayLike, " n"],
    *,
    noise: Scalar = 0.0,
) -> Whitened:
    """Prepares the recovery of sparse coefficients on a random background.

    Real signals are rarely sparse: they have a few large coefficients ``x``, and many small
    coefficients ``b``, the background. In the measurements ``y = A (x + b) + e`` the background is
    noise that is not white. If ``b`` has covariance ``C``, `whiten` turns the measurements into
    ``L^-1 y``, which is ``(L^-1 A) x`` plus white noise of variance 1. Any solver can recover ``x``
    from these, best with the penalty ``1 / E|x_j|^2``. Then ``complete`` adds the best linear
    estimate of ``b``::

        problem = whiten(A, 0.3 * covariance_of_the_training_signals)
        x = omp(problem.A, problem.measurements(y), sparsity=s, penalty=1 / mean_squares).x
        x = problem.complete(y, x)

    Args:
        A: matrix, shape ``(m, n)``.
        covariance: covariance of the background, shape ``(n, n)``, or its diagonal, ``(n,)``. It
            has no negative eigenvalues.
        noise: standard deviation of each entry of ``e``, >= 0, traced.

    Returns:
        A `Whitened`.

    Raises:
        TypeError: an argument holds integers, or is not an array.
        ValueError: shapes do not fit together, or an argument has NaN or infinity; the covariance
            has negative eigenvalues; or without noise, the measurements of the background have
            variance 0 in some direction.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> problem = gj.whiten(A, jnp.array([0.1, 0.1, 0.0]), noise=0.1)
        >>> y = jnp.array([0.0, 2.0])
        >>> x = gj.omp(problem.A, problem.measurements(y), sparsity=1).x
        >>> problem.complete(y, x).round(3).tolist()
        [0.0, 2.0, 0.0]

    Source: this library's own use of the generalised least squares of Aitken, 1936.
    """
    arguments = A, covariance
    A = _checks.inexact("A", A, ndim=2)
    m, n = A.shape
    given = covariance
    covariance = _checks.inexact(
        "covariance", covariance, ndim=1 if jnp.ndim(covariance) == 1 else 2
    )
    if covariance.shape not in ((n,), (n, n)):
        expected = f"shape ({n},) or ({n}, {n})"
        _checks.fail(ValueError, "covariance", expected, f"shape {covariance.shape}")
    variance = jnp.square(_checks.scalar("noise", noise, positive=False))

    dtype = promoted(A, covariance)
    A = A.astype(dtype)
    columns = A.conj().T
    back = covariance.astype(dtype)
    back = back[:, None] * columns if back.ndim == 1 else matmul(back, columns)
    measured = matmul(A, back)
    # Rounding must not make a variance of 0 negative.
    level = jnp.mean(jnp.diag(measured).real) * m * eps(dtype) + variance
    identity = jnp.eye(m, dtype=dtype)
    factor = jnp.linalg.cholesky(measured + level.astype(dtype) * identity)
    if not _checks.is_traced((A, given, noise)) and not jnp.isfinite(factor).all():
        expected = "no negative eigenvalues, and measurements that vary in every direction"
        _checks.fail(ValueError, "covariance", expected, "no Cholesky factor")
    inverse = _solve(factor, identity)
    gain = matmul(matmul(back, inverse.conj().T), inverse)
    return as_given(Whitened(_solve(factor, A), factor, gain, A), *arguments)


def _solve(factor, rows):
    return lax.linalg.triangular_solve(
        factor, rows.astype(promoted(factor, rows)), left_side=True, lower=True
    )
