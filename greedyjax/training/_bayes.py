"""Weights by sparse Bayesian learning: the prior that explains the measurements best."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import (
    abs_sq,
    eps,
    matmul,
    power_of_two,
    real_dtype,
    safe_inverse,
    safe_sqrt,
)


class Prior(NamedTuple):
    """Independent normal coefficients, one deviation per atom, and independent normal noise.

    Attributes:
        deviations: ``sqrt(E |x_j|^2)`` of each atom, shape ``(n,)``, in the units of ``x``.
        noise: ``sqrt(E |y_i - (A x)_i|^2)``, in the units of ``y``.
    """

    deviations: Float[Array, " n"]
    noise: Float[Array, ""]

    @property
    def weights(self) -> Float[Array, " n"]:
        """``sqrt(deviations / largest)``, to choose atoms by; ones where all deviations are 0.

        The square root is the exponent of `count_weights`, for the same reason: a prior of few
        signals is rough, and a weight that is far too small costs more than one too large.
        """
        largest = jnp.max(self.deviations)
        return jnp.where(largest > 0, safe_sqrt(self.deviations * safe_inverse(largest)), 1)

    @property
    def penalties(self) -> Float[Array, " n"]:
        """``(noise / deviations)^2``: ridge penalties that make a fit the posterior mean."""
        return jnp.square(self.noise * safe_inverse(self.deviations))


def sparse_bayes(
    A: Inexact[ArrayLike, "m n"],
    Y: Inexact[ArrayLike, "num m"],
    *,
    num_rounds: int = 300,
    noise: float | Float[ArrayLike, ""] | None = None,
) -> Prior:
    """A prior from measurements alone, by maximum likelihood: sparse Bayesian learning.

    If ``x_j`` is normal with mean 0 and variance ``v_j``, the same for all signals, then ``y`` is
    normal with covariance ``C = A diag(v) A* + noise^2 I``. Each round multiplies

    ``v_j`` by ``sqrt((a_j* C^-1 S C^-1 a_j) / (a_j* C^-1 a_j))``,  ``S = mean of y y*``,

    and ``noise^2`` by the same of the unit vectors taken together. No round lowers the likelihood,
    and variances that it does not need go to 0. One inverse of size ``m`` a round serves all
    signals, however many; no signal is recovered, and no sparsity is needed.

    For real signals measured by a complex ``A``, `greedyjax.stack_real` first: this prior is that
    of complex coefficients otherwise.

    Args:
        A: matrix, shape ``(m, n)``.
        Y: measurements, shape ``(num, m)``.
        num_rounds: static, at least 1.
        noise: standard deviation of an entry of the noise, > 0; None estimates it.

    Returns:
        A `Prior`. Its variances, the squares, are at least machine precision times the largest,
            and that of the noise at least ``m`` times machine precision times the mean of
            ``|y_i|^2``, so that all is finite. All deviations are 0 where ``Y`` is.

    Raises:
        TypeError: wrong kinds of argument.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.training import sparse_bayes
        >>> prior = sparse_bayes(jnp.eye(3), jnp.array([[0.0, 2.0, 0.0]]), noise=0.1)
        >>> prior.deviations.round(3).tolist()  # The middle one is sqrt(2^2 - 0.1^2).
        [0.001, 1.997, 0.001]

    References:
        Wipf and Rao, "An empirical Bayesian strategy for solving the simultaneous sparse
        approximation problem", IEEE Transactions on Signal Processing 55 (2007).
    """
    A = _checks.inexact("A", A, ndim=2)
    Y = _checks.inexact("Y", Y, ndim=2)
    if Y.shape[1] != A.shape[0] or len(Y) == 0:
        _checks.fail(ValueError, "Y", f"shape (num, {A.shape[0]})", f"shape {Y.shape}")
    num_rounds = _checks.static_int("num_rounds", num_rounds, minimum=1)
    dtype = jnp.result_type(A, Y)
    real, m = real_dtype(dtype), len(A)
    if noise is not None:
        noise = _checks.scalar("noise", noise, positive=True).astype(real)

    # Both at unit scale, so that no square overflows or vanishes.
    scales = power_of_two(A).astype(real), power_of_two(Y).astype(real)
    A, Y = A.astype(dtype) / scales[0], Y.astype(dtype) / scales[1]
    columns = jnp.sum(abs_sq(A), axis=0)
    identity = jnp.eye(m, dtype=dtype)
    S = matmul(Y.T, Y.conj()) / len(Y)
    energy = jnp.trace(S).real / m
    least = m * eps(real) * jnp.where(energy > 0, energy, 1)
    given = None if noise is None else jnp.maximum(jnp.square(noise / scales[1]), least)

    def ratio(up, down):
        return safe_sqrt(jnp.maximum(up, 0) * safe_inverse(down))

    def one_round(state, _):
        v, noise = state  # Variances.
        # So much that single precision can still factor the sum, whatever the atoms are.
        used = jnp.maximum(noise, 20 * eps(real) * jnp.sum(v * columns))
        C = matmul(A * v[None, :], A.conj().T) + used * identity
        inverse = cho_solve(cho_factor(C), identity)
        G = matmul(inverse, A)
        SG = matmul(S, G)
        # Rounding must not take a_j* C^-1 a_j below what it is at least.
        down = jnp.maximum(_products(A, G), columns / jnp.trace(C).real)
        v = v * ratio(_products(G, SG), down)
        if given is None:
            up = _products(inverse, matmul(S, inverse))
            noise = used * ratio(jnp.sum(up), jnp.trace(inverse).real)
            noise = jnp.maximum(noise, least)
        return (v, noise), None

    # Half of the energy to begin with is the atoms', each column's share the same.
    num_atoms = jnp.maximum(jnp.sum(columns > 0), 1)
    v = energy * m / 2 / num_atoms * safe_inverse(columns)
    start_noise = jnp.maximum(energy / 2, least) if given is None else given
    start = v.astype(real), start_noise.astype(real)
    (v, noise), _ = jax.lax.scan(one_round, start, length=num_rounds)
    deviations = safe_sqrt(jnp.maximum(v, eps(real) * jnp.max(v)))
    return Prior(scales[1] * deviations / scales[0], scales[1] * safe_sqrt(noise))


def _products(B: Inexact[Array, "m n"], C: Inexact[Array, "m n"]) -> Float[Array, " n"]:
    """``Re b_j* c_j`` of each pair of columns."""
    return jnp.sum((B.conj() * C).real, axis=0)
