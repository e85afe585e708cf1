"""Thresholds that white noise exceeds with a given probability: for its peak and its norm."""

from collections.abc import Callable
from math import pi

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import betainc, betaln, gammaincc, gammaln
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Inexact, Real

from greedyjax import _checks
from greedyjax._numerics import abs_sq, real_dtype, safe_sqrt
from greedyjax._precision import as_given, widened
from greedyjax._types import Scalar

_HALVINGS = 60  # A few more than the number of binary digits of float64.


def noise_norm(
    size: int,
    noise_variance: Real[ArrayLike, "*num"],
    *,
    false_alarm: Scalar,
    is_complex: bool = False,
) -> Float[Array, "*num"]:
    """The norm that white Gaussian noise exceeds with a stated probability.

    The norm is ``sqrt(noise_variance q)``, where ``q`` is an upper quantile. For real noise it is
    the quantile of a chi-square distribution with ``size`` degrees of freedom. For complex noise it
    is the quantile of half a chi-square variable with ``2 size`` degrees of freedom. Pass the norm
    as ``atol=`` to a solver on a grid. Then a signal of noise alone gets an atom with probability
    ``false_alarm``.

    Args:
        size: the number of measurements, static: ``m``, or ``m * L`` for ``L`` snapshots.
        noise_variance: ``E |e_i|^2`` of each measurement, positive, one number or one per signal;
            traced.
        false_alarm: the probability, at most 1/2; traced.
        is_complex: static; whether the noise is complex, with real and imaginary parts of equal
            variance.

    Returns:
        The norm, one for each variance.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, or is out of range.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> atol = gj.off_grid.noise_norm(32, 0.01, false_alarm=0.05)
        >>> y = 0.1 * jnp.ones(32)
        >>> float(atol), int(gj.omp(jnp.eye(32), y, sparsity=4, atol=atol).num_steps)
        (0.680, 0)
    """
    size = _checks.static_int("size", size, minimum=1)
    shape = jnp.shape(noise_variance)
    variance = checked_variance(noise_variance, shape[0] if shape else None)
    rate = checked_rate(false_alarm)
    per_number = share_of(_checks.flag("is_complex", is_complex))
    return as_given(_noise_norm(size * per_number, per_number, variance, rate), noise_variance)


@jax.jit
def _noise_norm(shape, per_number, variance, false_alarm):
    most = _beyond(shape, 1.0, false_alarm)
    quantile = _last(lambda u: gammaincc(shape, u) >= false_alarm, most)
    return jnp.sqrt(variance * (quantile / per_number).astype(variance.dtype))


def checked_rate(false_alarm) -> Array:
    """The checked probability, which has to be at most 1/2 for the formulas below."""
    rate = _checks.scalar("false_alarm", false_alarm, positive=True)
    if not _checks.is_traced(false_alarm) and (known := float(np.asarray(false_alarm))) > 0.5:
        _checks.fail(ValueError, "false_alarm", "a probability of at most 1/2", f"{known:g}")
    return rate.astype(jnp.result_type(rate.dtype, float))


def checked_variance(noise_variance, num: int | None) -> Array:
    """The checked variance of the noise, one number or one per signal."""
    if num is None or jnp.ndim(noise_variance) == 0:
        return _checks.scalar("noise_variance", noise_variance, positive=True)
    variance = _checks.real("noise_variance", noise_variance, ndim=1, shape=(num,))
    if not _checks.is_traced(noise_variance):
        _checks.positive("noise_variance", noise_variance)
    return widened(variance)


def share_of(is_complex: bool) -> float:
    """The shape parameter of the gamma distribution of ``|e_i|^2``.

    It is half of the real degrees of freedom.
    """
    return 1.0 if is_complex else 0.5


def thresholds(
    unit_atoms: Inexact[Array, "m n"],
    dtype,
    *,
    snapshots: int,
    sparsity: int,
    num_parameters: int,
    false_alarm: Array,
    known: bool,
) -> Float[Array, " sparsity"]:
    """The threshold for the energy of the next path, if ``k`` paths have been found before.

    In white noise, the largest energy ``F`` that one atom explains exceeds the threshold with
    probability ``false_alarm``. If the noise variance is ``known``, the threshold is in units of
    it. Otherwise it is in units of the energy of the residual, which estimates the noise.

    For one atom ``u = c F / variance`` has a gamma distribution of shape ``l = c L``, where ``c``
    is 1 for complex numbers and 1/2 for real numbers. ``t = F / ||R||^2`` has a beta distribution
    of shapes ``l`` and ``h - l``, where the residual has ``2 h`` degrees of freedom:
    ``h = c L (m - k) - k d / 2`` after ``k`` paths of ``d`` parameters each.

    Neighbouring atoms explain nearly the same noise, so the number of atoms says little. The unit
    atoms form a curve of length ``s``, with the angle between two atoms as their distance. The
    expected number of times that the energy along the curve rises above a level is Rice's formula:

        ``s u^(l - 1/2) exp(-u) / (sqrt(pi) Gamma(l))``,
        ``s t^(l - 1/2) (1 - t)^(h - l - 1/2) B(1/2, h) / (pi B(l, h - l + 1/2))``.

    Either the first atom exceeds the level, or the energy crosses it later, nearly as in a Poisson
    process. If the atoms of the grid are far apart, their probability to exceed the level is at
    most that of the same number of independent atoms. The smaller of the two probabilities is used.

    References:
        For known noise, Rice, "Mathematical analysis of random noise", Bell System Technical
        Journal 24 (1945). For unknown noise, Hotelling, "Tubes and spheres in n-spaces, and a class
        of statistical problems", American Journal of Mathematics 61 (1939): the part of a sphere
        that a tube around the curve covers.
    """
    m, n = unit_atoms.shape
    share = share_of(jnp.issubdtype(dtype, jnp.complexfloating))
    real = real_dtype(dtype)
    rate, l, s = false_alarm.astype(real), share * snapshots, length_of(unit_atoms).astype(real)

    def reached(above: Array, crossings: Array) -> Bool[Array, "..."]:
        """Whether noise exceeds a level with at least the given probability.

        ``above`` is the probability for one atom, and ``crossings`` the expected number of times
        that the energy rises above the level.
        """
        stays_below = jnp.log1p(-above)
        return jnp.maximum(n * stays_below, stays_below - crossings) <= jnp.log1p(-rate)

    if known:

        def by_gamma(u):
            crossings = s * jnp.exp((l - 0.5) * jnp.log(u) - u - gammaln(l)) / pi**0.5
            return reached(gammaincc(l, u), crossings)

        level = _last(by_gamma, _beyond(l, n * (1 + s), rate)) / share
        return jnp.broadcast_to(level, (sparsity,))

    k = jnp.arange(sparsity, dtype=real)
    h = l * (m - k) - k * num_parameters / 2
    left = h > l  # Otherwise nothing is left to tell noise from a path.
    rest = jnp.where(left, h - l, 1)

    def by_beta(t):
        powers = (l - 0.5) * jnp.log(t) + (rest - 0.5) * jnp.log1p(-t)
        crossings = s * jnp.exp(powers + betaln(0.5, l + rest) - betaln(l, rest + 0.5)) / pi
        return reached(betainc(rest, l, 1 - t), crossings)

    return jnp.where(left, _last(by_beta, jnp.ones(sparsity, real)), jnp.inf)


def length_of(unit_atoms: Inexact[Array, "m n"]) -> Float[Array, ""]:
    """The length of the curve through the atoms in their order: the sum of angles between them."""
    cosines = jnp.sum(unit_atoms[:, :-1].conj() * unit_atoms[:, 1:], axis=0)
    # For a small angle, arccos would lose half of the digits. So the remainder of an atom is used.
    rest = unit_atoms[:, 1:] - cosines[None, :] * unit_atoms[:, :-1]
    sines = safe_sqrt(jnp.sum(abs_sq(rest), axis=0))
    return jnp.sum(jnp.arctan2(sines, jnp.abs(cosines)))


def _beyond(shape, count, rate) -> Array:
    """A level that the largest of ``count`` gamma variables exceeds with probability below rate."""
    return 4 * (shape + jnp.log(count / rate) + 1)


def _last(holds: Callable[[Array], Array], most: Float[Array, "..."]) -> Float[Array, "..."]:
    """The number between 0 and ``most`` up to which ``holds`` is True, by bisection."""

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        up = holds(middle)
        return jnp.where(up, middle, low), jnp.where(up, high, middle)

    return lax.fori_loop(0, _HALVINGS, halve, (jnp.zeros_like(most), most))[0]
