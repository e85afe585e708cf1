"""Weights by sparse Bayesian learning: the prior that explains the measurements best."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import (
    abs_sq,
    eps,
    in_units,
    matmul,
    power_of_two,
    promoted,
    real_dtype,
    safe_inverse,
    safe_sqrt,
    times_real,
)
from greedyjax._precision import as_given


class Prior(NamedTuple):
    """Independent normal coefficients, with one deviation per atom, and independent normal noise.

    Attributes:
        deviations: ``sqrt(E |x_j|^2)`` of each atom, shape ``(n,)``, in the units of ``x``.
        noise: ``sqrt(E |y_i - (A x)_i|^2)``, in the units of ``y``.
    """

    deviations: Float[Array, " n"]
    noise: Float[Array, ""]

    @property
    def weights(self) -> Float[Array, " n"]:
        """Weights for the choice of atoms, ``sqrt(deviations / largest)``; ones if all are 0.

        The square root corresponds to the exponent of `count_weights`. A prior from few signals is
        inaccurate, and a weight that is too small does more harm than a weight that is too large.
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

    and ``noise^2`` by the same factor for all unit vectors together. No round lowers the
    likelihood, and the variances of atoms that are not needed go to 0. A round inverts one matrix
    of size ``m``, whatever the number of signals. No signal is recovered, and no sparsity is
    needed.

    For real signals measured by a complex ``A``, call `greedyjax.stack_real` first. Otherwise the
    prior is for complex coefficients.

    Args:
        A: matrix, shape ``(m, n)``.
        Y: measurements, shape ``(num, m)``.
        num_rounds: static, at least 1.
        noise: standard deviation of an entry of the noise, > 0. None estimates it. With more than
            ``m`` signals, if the smallest eigenvalues of ``S`` differ only by chance, they give the
            estimate. Otherwise the noise is estimated together with the variances. A dictionary
            with high coherence can explain white noise as well as signals, so the likelihood alone
            would estimate far too little noise.

    Returns:
        A `Prior`. So that all results are finite, each variance (the square of a deviation) is at
            least machine precision times the largest variance. The variance of the noise is at
            least ``m`` times machine precision times the mean of ``|y_i|^2``. If ``Y`` is 0, all
            deviations are 0.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.training import sparse_bayes
        >>> prior = sparse_bayes(jnp.eye(3), jnp.array([[0.0, 2.0, 0.0]]), noise=0.1)
        >>> prior.deviations.round(3).tolist()  # The middle one is sqrt(2^2 - 0.1^2).
        [0.001, 1.997, 0.001]

    References:
        Wipf and Rao, "An empirical Bayesian strategy for solving the simultaneous sparse
        approximation problem", IEEE Transactions on Signal Processing 55 (2007). The eigenvalues:
        Wax and Kailath, "Detection of signals by information theoretic criteria", IEEE
        Transactions on Acoustics, Speech, and Signal Processing 33 (1985).
    """
    arguments = A, Y
    A = _checks.inexact("A", A, ndim=2)
    Y = _checks.inexact("Y", Y, ndim=2)
    if Y.shape[1] != A.shape[0] or len(Y) == 0:
        _checks.fail(ValueError, "Y", f"shape (num, {A.shape[0]})", f"shape {Y.shape}")
    num_rounds = _checks.static_int("num_rounds", num_rounds, minimum=1)
    dtype = promoted(A, Y)
    real, m = real_dtype(dtype), len(A)
    if noise is not None:
        noise = _checks.scalar("noise", noise, positive=True).astype(real)

    # Both at unit scale, so that no square overflows or vanishes.
    scales = power_of_two(A).astype(real), power_of_two(Y).astype(real)
    A, Y = (in_units(z.astype(dtype), unit) for z, unit in zip((A, Y), scales, strict=True))
    columns = jnp.sum(abs_sq(A), axis=0)
    identity = jnp.eye(m, dtype=dtype)
    S = matmul(Y.T, Y.conj()) / len(Y)
    energy = jnp.trace(S).real / m
    least = m * eps(real) * jnp.where(energy > 0, energy, 1)
    if noise is not None:
        fixed, known = jnp.maximum(jnp.square(noise / scales[1]), least), True
    elif len(Y) > m:
        fixed, known = _floor(jnp.maximum(jnp.linalg.eigvalsh(S), least), len(Y), dtype)
    else:
        fixed, known = energy / 2, False

    def ratio(up, down):
        return safe_sqrt(jnp.maximum(up, 0) * safe_inverse(down))

    def one_round(state, _):
        v, noise = state  # Variances.
        # Large enough that the sum has a Cholesky factor in single precision, for any atoms.
        used = jnp.maximum(noise, 20 * eps(real) * jnp.sum(v * columns))
        C = matmul(times_real(v[None, :], A), A.conj().T) + times_real(used, identity)
        inverse = cho_solve(cho_factor(C), identity)
        G = matmul(inverse, A)
        SG = matmul(S, G)
        # A lower bound of a_j* C^-1 a_j, which rounding must not cross.
        down = jnp.maximum(_products(A, G), columns / jnp.trace(C).real)
        v = v * ratio(_products(G, SG), down)
        up = _products(inverse, matmul(S, inverse))
        likelier = used * ratio(jnp.sum(up), jnp.trace(inverse).real)
        return (v, jnp.where(known, noise, jnp.maximum(likelier, least))), None

    # At the start the atoms have half of the energy, in equal shares, and the noise has the rest.
    num_atoms = jnp.maximum(jnp.sum(columns > 0), 1).astype(real)
    v = energy * m / 2 / num_atoms * safe_inverse(columns)
    start = v.astype(real), jnp.where(known, fixed, jnp.maximum(energy / 2, least)).astype(real)
    (v, noise), _ = jax.lax.scan(one_round, start, length=num_rounds)
    deviations = safe_sqrt(jnp.maximum(v, eps(real) * jnp.max(v)))
    prior = Prior(scales[1] * deviations / scales[0], scales[1] * safe_sqrt(noise))
    return as_given(prior, *arguments)


def _floor(
    eigenvalues: Float[Array, " m"], num: int, dtype
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """The variance of white noise, from the smallest eigenvalues of a covariance, if alike.

    Let ``num`` signals lie in ``k`` directions, with white noise. Then ``m - k`` eigenvalues of
    their covariance differ only by chance: the arithmetic mean of these is hardly above their
    geometric mean. The number ``k`` has the minimum description length, which is minus the log
    likelihood, plus half of ``log(num)`` for each free parameter.

    Signals without structure can look the same, if they are too few to tell their covariance from
    that of white noise. So the second value says whether the eigenvalues are taken for noise: at
    least a quarter of them are alike, and these hold at most a quarter of the energy.
    """
    m, independent = len(eigenvalues), 1 if jnp.issubdtype(dtype, jnp.complexfloating) else 0.5
    alike = jnp.arange(m, 0, -1)  # m - k, for k = 0, 1, ...
    mean = jnp.cumsum(eigenvalues)[::-1] / alike
    misfit = alike * jnp.log(mean) - jnp.cumsum(jnp.log(eigenvalues))[::-1]
    directions = jnp.arange(m) * (2 * m - jnp.arange(m))
    length = independent * (num * misfit + directions * jnp.log(num))
    best = jnp.argmin(length)
    enough = 4 * alike[best] >= m
    return mean[best], enough & (4 * alike[best] * mean[best] <= jnp.sum(eigenvalues))


def _products(B: Inexact[Array, "m n"], C: Inexact[Array, "m n"]) -> Float[Array, " n"]:
    """``Re b_j* c_j`` of each pair of columns."""
    return jnp.sum((B.conj() * C).real, axis=0)
