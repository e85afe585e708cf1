"""Random measurement matrices with unit columns."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from greedyjax import _checks
from greedyjax.linalg.operators import dense, unit_columns

# Up to this size (frequency * column) fits in int32, the default integer type of JAX.
_LARGEST_FOURIER_SIZE = 2**16


def partial_fourier(
    key: PRNGKeyArray,
    num_measurements: int,
    num_atoms: int,
    *,
    dtype: Any = jnp.float32,
) -> Complex[Array, "m n"]:
    """Random rows of the discrete Fourier transform.

    Entry ``(k, j)`` is ``exp(-2 pi i f_k j / n) / sqrt(m)``. The frequencies ``f_1 < ... < f_m``
    are drawn without replacement from the integers strictly between ``-n/2`` and ``n/2``, each
    equally likely. Every column has norm 1.

    Args:
        key: random key.
        num_measurements: number of rows ``m``, at most the number of such frequencies, which is
            ``n`` for odd ``n`` and ``n - 1`` for even ``n``.
        num_atoms: number of columns ``n``, at most 65536.
        dtype: float32 or float64, the precision of the real and imaginary parts.

    Returns:
        The matrix, shape ``(m, n)``; complex64 for float32, complex128 for float64.

    Raises:
        TypeError: ``key`` is not a random key, a size is not a static int, or ``dtype`` is not
            float32 or float64.
        ValueError: a size is out of bounds.

    Example:
        >>> import jax
        >>> from greedyjax.problems import partial_fourier
        >>> A = partial_fourier(jax.random.key(0), 20, 256)
        >>> A.shape, str(A.dtype)
        ((20, 256), 'complex64')

    Source: the matrix of the experiments in Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep
    greedy unfolding", arXiv:2505.15661 (2025).
    """
    key = _checks.prng_key("key", key)
    num_atoms = _checks.static_int("num_atoms", num_atoms, minimum=1, maximum=_LARGEST_FOURIER_SIZE)
    highest = (num_atoms - 1) // 2
    num_measurements = _checks.static_int(
        "num_measurements",
        num_measurements,
        minimum=1,
        maximum=2 * highest + 1,
        why=f" (the frequencies below n/2 for num_atoms = {num_atoms})",
    )
    return _rows_of_dft(key, num_measurements, num_atoms, _real_dtype(dtype))


@partial(jax.jit, static_argnums=(1, 2, 3))
def _rows_of_dft(key, num_measurements: int, num_atoms: int, dtype) -> Complex[Array, "m n"]:
    highest = (num_atoms - 1) // 2
    frequencies = jnp.arange(-highest, highest + 1, dtype=jnp.int32)
    frequencies = jnp.sort(jax.random.permutation(key, frequencies)[:num_measurements])
    columns = jnp.arange(num_atoms, dtype=jnp.int32)
    # Integer arithmetic drops whole turns exactly. Hundreds of turns would cost float32 three
    # digits of the angle.
    turns = jnp.mod(frequencies[:, None] * columns[None, :], num_atoms).astype(dtype) / num_atoms
    angle = -2 * jnp.pi * turns
    return lax.complex(jnp.cos(angle), jnp.sin(angle)) / num_measurements**0.5


def gaussian(
    key: PRNGKeyArray,
    num_measurements: int,
    num_atoms: int,
    *,
    dtype: Any = jnp.float32,
) -> Float[Array, "m n"]:
    """Independent normal entries, every column then scaled to norm 1.

    Args:
        key: random key.
        num_measurements: number of rows ``m``.
        num_atoms: number of columns ``n``.
        dtype: float32 or float64.

    Returns:
        The matrix, shape ``(m, n)``, of type ``dtype``.

    Raises:
        TypeError: ``key`` is not a random key, a size is not a static int, or ``dtype`` is not
            float32 or float64.
        ValueError: a size is smaller than 1.

    Example:
        >>> import jax
        >>> from greedyjax.problems import gaussian
        >>> A = gaussian(jax.random.key(0), 20, 256)
        >>> A.shape, str(A.dtype)
        ((20, 256), 'float32')

    Source: the standard ensemble of compressed sensing; Foucart and Rauhut, "A Mathematical
    Introduction to Compressive Sensing" (2013), chapter 9.
    """
    key = _checks.prng_key("key", key)
    num_measurements = _checks.static_int("num_measurements", num_measurements, minimum=1)
    num_atoms = _checks.static_int("num_atoms", num_atoms, minimum=1)
    shape = (num_measurements, num_atoms)
    return _unit_normal(key, shape, _real_dtype(dtype))


@partial(jax.jit, static_argnums=(1, 2))
def _unit_normal(key, shape: tuple[int, int], dtype) -> Float[Array, "m n"]:
    return unit_columns(dense(jax.random.normal(key, shape, dtype)))[0].matrix


def _real_dtype(dtype) -> jnp.dtype:
    for allowed in (jnp.dtype(jnp.float32), jnp.dtype(jnp.float64)):
        # NumPy takes None for float64.
        if dtype is not None and allowed == dtype:
            return allowed
    return _checks.fail(
        TypeError, "dtype", "float32 or float64", getattr(dtype, "__name__", str(dtype))
    )
