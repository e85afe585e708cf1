"""Sparse signals that share one hidden level: the structure that learned weights can find."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, Int, PRNGKeyArray

from greedyjax import _checks
from greedyjax._numerics import matmul, norm, real_dtype
from greedyjax.problems._matrices import partial_fourier


class Levels(NamedTuple):
    """Signals with a common hidden level, and their measurements.

    Attributes:
        A: measurement matrix, shape ``(m, n)``.
        Y: measurements, one signal per row, shape ``(num, m)``, in the dtype of ``A``.
        X: the signals, real and of norm 1, shape ``(num, n)``.
        support: the hidden level, sorted, shape ``(level_size,)``, int32. The support of every
            signal lies in it; weights that are 1 on it and small elsewhere are the oracle's.
    """

    A: Inexact[Array, "m n"]
    Y: Inexact[Array, "num m"]
    X: Float[Array, "num n"]
    support: Int[Array, " level_size"]


def sparse_in_levels(
    key: PRNGKeyArray,
    *,
    num_signals: int = 1536,
    num_atoms: int = 256,
    num_measurements: int = 20,
    sparsity: int = 10,
    level_size: int = 20,
    noise: float = 1e-3,
    matrix: Callable[[PRNGKeyArray, int, int], Inexact[Array, "m n"]] = partial_fourier,
) -> Levels:
    """Draws a matrix, a hidden level, and signals whose support lies in that level.

    One set of ``level_size`` of the ``num_atoms`` indices is drawn uniformly. Each signal ``x``
    has ``sparsity`` distinct indices of that set, again drawn uniformly, with independent
    ``N(0, 1)`` values, and is scaled to norm 1. Its measurements are ``y = A x + e``, where the
    entries of ``e`` are independent, normal (circular complex normal for a complex ``A``) and of
    variance ``noise**2 / m``, so that ``||e||`` is about ``noise``.

    The signals are independent of each other, so slices of ``Y`` and ``X`` can be the training,
    validation and test sets for one matrix and one level. The defaults are the paper's problem for
    OMP-Net, in the paper's order: 1024 signals to train on, then 512 to validate. The paper's
    problem for IHT-Net has ``num_measurements=36``.

    Args:
        key: random key.
        num_signals: number of signals ``num``.
        num_atoms: length ``n`` of a signal.
        num_measurements: number of measurements ``m`` of a signal.
        sparsity: number of nonzeros of a signal, at most ``level_size``.
        level_size: size of the hidden level, at most ``num_atoms``.
        noise: root mean square of ``||e||``, in units of ``||x|| = 1``; at least 0.
        matrix: function ``(key, m, n)`` that draws ``A``, such as `partial_fourier` or `gaussian`.
            Its precision is that of the whole problem; for float64, pass
            ``functools.partial(gaussian, dtype=jnp.float64)``.

    Returns:
        The problem, as `Levels`.

    Raises:
        TypeError: ``key`` is not a random key, a size is not a static int, ``noise`` is not a real
            number, or ``matrix`` is not a function.
        ValueError: a size or ``noise`` is out of bounds, or ``matrix`` does not return finite
            numbers of shape ``(m, n)``.

    Example:
        >>> import jax
        >>> from greedyjax.problems import sparse_in_levels
        >>> problem = sparse_in_levels(jax.random.key(0))
        >>> problem.A.shape, problem.Y.shape, problem.X.shape, problem.support.shape
        ((20, 256), (1536, 20), (1536, 256), (20,))
        >>> train = (problem.Y[:1024], problem.X[:1024])
        >>> val = (problem.Y[1024:], problem.X[1024:])

    Source: the data of the experiments in Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy
    unfolding", arXiv:2505.15661 (2025).
    """
    key = _checks.prng_key("key", key)
    _checks.function("matrix", matrix)
    num_signals = _checks.static_int("num_signals", num_signals, minimum=1)
    num_atoms = _checks.static_int("num_atoms", num_atoms, minimum=1)
    num_measurements = _checks.static_int("num_measurements", num_measurements, minimum=1)
    level_size = _checks.static_int(
        "level_size", level_size, minimum=1, maximum=num_atoms, why=" (num_atoms)"
    )
    sparsity = _checks.static_int(
        "sparsity", sparsity, minimum=1, maximum=level_size, why=" (level_size)"
    )
    noise_norm = _checks.scalar("noise", noise, positive=False)

    matrix_key, level_key, signals_key = jax.random.split(key, 3)
    A = _checks.inexact(
        "matrix(key, m, n)",
        matrix(matrix_key, num_measurements, num_atoms),
        ndim=2,
        shape=(num_measurements, num_atoms),
    )
    sizes = (num_signals, level_size, sparsity)
    return _drawn(level_key, signals_key, A, noise_norm, sizes)


@partial(jax.jit, static_argnames="sizes")
def _drawn(level_key, signals_key, A, noise_norm, sizes: tuple[int, int, int]) -> Levels:
    """The level, the signals in it, and their measurements."""
    num_signals, level_size, sparsity = sizes
    num_measurements, num_atoms = A.shape
    atoms = jnp.arange(num_atoms, dtype=jnp.int32)
    support = jnp.sort(jax.random.permutation(level_key, atoms)[:level_size])
    # The real and the imaginary part of a complex normal share its variance. So E|e_k|^2 is the
    # same for real and for complex noise.
    spread = (noise_norm / num_measurements**0.5).astype(A.dtype)

    def draw(key):
        support_key, values_key, noise_key = jax.random.split(key, 3)
        chosen = jax.random.permutation(support_key, support)[:sparsity]
        values = jax.random.normal(values_key, (sparsity,), real_dtype(A.dtype))
        x = jnp.zeros(num_atoms, values.dtype).at[chosen].set(values / norm(values))
        return x, spread * jax.random.normal(noise_key, (num_measurements,), A.dtype)

    X, E = jax.vmap(draw)(jax.random.split(signals_key, num_signals))
    return Levels(A, matmul(X.astype(A.dtype), A.T) + E, X, support)
