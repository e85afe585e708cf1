"""Fourier and cosine transforms, and the steering vectors of antennas."""

import dataclasses
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.fft
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import matmul, real_dtype
from greedyjax._types import static
from greedyjax.operators._ready import (
    Ready,
    axes,
    by_parts,
    complex_numbers,
    orthogonal,
    real_numbers,
    registered,
)


@registered
@dataclasses.dataclass(frozen=True)
class MaskedFFT(Ready):
    """Some frequencies of the orthonormal Fourier transform of a signal, an image or a volume.

    ``(A x)_i = n^(-1/2) sum_p x_p exp(-2 pi i <k_i, p / image_shape>)``, where ``k_i`` is the
    ``i``-th frequency that is kept. Each column has norm ``sqrt(m / n)``.

    Attributes:
        kept: indices of the frequencies in the flattened transform, integers of shape ``(m,)``. For
            a mask with the shape of the image they are ``jnp.flatnonzero(mask)``. They are traced:
            the same number of other frequencies does not compile again.
        image_shape: the lengths of one to three axes, or one int.
        dtype: complex. A vector of higher precision is multiplied in its own dtype.

    Raises:
        TypeError: ``kept`` or ``image_shape`` does not hold integers, or ``dtype`` is not complex.
        ValueError: more than three axes, no frequency, or a frequency out of range.

    Example:
        >>> import greedyjax as gj, jax, jax.numpy as jnp
        >>> mask = jax.random.bernoulli(jax.random.key(0), 0.5, (16, 16))
        >>> A = gj.operators.MaskedFFT(jnp.flatnonzero(mask), (16, 16))
        >>> image = jnp.zeros((16, 16)).at[3, 5].set(2.0).at[9, 1].set(-1.0)
        >>> gj.omp(A, A.matvec(image.ravel()), sparsity=2).support.tolist()
        [53, 145]

    Source: Candès, Romberg and Tao, "Robust uncertainty principles: exact signal reconstruction
    from highly incomplete frequency information", IEEE Transactions on Information Theory 52
    (2006).
    """

    kept: Any
    image_shape: Any = static()
    dtype: Any = static(default=jnp.complex64)

    def __post_init__(self) -> None:
        lengths = axes("image_shape", self.image_shape)
        self._set(
            kept=_frequencies(self.kept, prod(lengths)),
            image_shape=lengths,
            dtype=complex_numbers(self.dtype),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``: the numbers of kept frequencies and of pixels."""
        return self.kept.shape[0], prod(self.image_shape)

    @property
    def column_norms(self) -> Float[Array, " n"]:
        """``sqrt(m / n)`` for every column."""
        m, n = self.shape
        return jnp.full(n, (m / n) ** 0.5, real_dtype(self.dtype))

    def _times(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        return jnp.fft.fftn(x.reshape(self.image_shape), norm="ortho").ravel()[self.kept]

    def _adjoint_times(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        spectrum = jnp.zeros(self.shape[1], y.dtype).at[self.kept].add(y)
        return jnp.fft.ifftn(spectrum.reshape(self.image_shape), norm="ortho").ravel()


def _frequencies(kept: Any, n: int) -> Array:
    """Checked indices below ``n``."""
    array = _checks.as_array("kept", kept)
    if array.dtype == bool:
        got = "a mask; jnp.flatnonzero(mask) gives its indices"
        _checks.fail(TypeError, "kept", "indices of frequencies", got)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        _checks.fail(TypeError, "kept", "indices of frequencies", f"dtype {array.dtype}")
    if array.ndim != 1 or array.shape[0] == 0:
        expected = "indices of at least one frequency, with one axis"
        _checks.fail(ValueError, "kept", expected, f"shape {array.shape}")
    if not _checks.is_traced(kept):
        values = np.asarray(kept)
        if values.min() < 0 or values.max() >= n:
            worst = values.min() if values.min() < 0 else values.max()
            _checks.fail(ValueError, "kept", f"indices from 0 to {n - 1}", str(worst))
    return array


@registered
@dataclasses.dataclass(frozen=True)
class DCT(Ready):
    """The orthonormal discrete cosine transform, as synthesis: coefficients to an image.

    ``A* y`` is the transform of type 2 along one to three axes, and ``A x`` is its inverse. Columns
    are cosines of norm 1. Along an axis of length ``N``, column ``k`` has the entries
    ``cos(pi k (2 i + 1) / (2 N))`` times ``sqrt(2 / N)``, or ``sqrt(1 / N)`` for ``k = 0``.

    Attributes:
        image_shape: the lengths of one to three axes, or one int.
        dtype: real. A complex vector, or one of higher precision, is multiplied in its own dtype.

    Raises:
        TypeError: ``image_shape`` does not hold integers, or ``dtype`` is not real.
        ValueError: no axis, more than three axes, or an axis of length 0.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = gj.operators.DCT(8)
        >>> y = 3 * jnp.cos(jnp.pi * 2 * (2 * jnp.arange(8) + 1) / 16)
        >>> gj.omp(A, y, sparsity=1).support.tolist()
        [2]

    Source: Ahmed, Natarajan and Rao, "Discrete cosine transform", IEEE Transactions on Computers
    C-23 (1974).
    """

    image_shape: Any = static()
    dtype: Any = static(default=jnp.float32)

    def __post_init__(self) -> None:
        lengths = axes("image_shape", self.image_shape)
        self._set(image_shape=lengths, dtype=real_numbers(self.dtype))

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, n)``."""
        n = prod(self.image_shape)
        return n, n

    @property
    def column_norms(self) -> Float[Array, " n"]:
        """Ones."""
        return jnp.ones(self.shape[1], self.dtype)

    def _times(self, x: Inexact[Array, " n"]) -> Inexact[Array, " n"]:
        return by_parts(lambda x: self._flat(_synthesis, _analysis, x), x)

    def _adjoint_times(self, y: Inexact[Array, " n"]) -> Inexact[Array, " n"]:
        return by_parts(lambda y: self._flat(_analysis, _synthesis, y), y)

    def _flat(self, times: Any, inverse: Any, z: Float[Array, " n"]) -> Float[Array, " n"]:
        return orthogonal(times, inverse, z.reshape(self.image_shape)).ravel()


def _synthesis(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.scipy.fft.idctn(x, norm="ortho")


def _analysis(y: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.scipy.fft.dctn(y, norm="ortho")


@registered
@dataclasses.dataclass(frozen=True)
class Steering(Ready):
    """Steering vectors of a uniform array, on a grid of directions: an oversampled DFT.

    ``A[k, j] = m^(-1/2) exp(2 pi i k j / n)`` for the antennas ``k = 0, ..., m - 1`` of a line and
    the directions ``j = 0, ..., n - 1``. Each column has norm 1. If antennas are half a wavelength
    apart, a direction of frequency ``f`` has the angle ``arcsin(2 f)``. The same columns are the
    tones of line spectral estimation. For an array with two or three axes, rows and columns are
    flattened, and the columns are Kronecker products.

    Attributes:
        antennas: the number of antennas on each of one to three axes, or one int.
        directions: the number of directions on each axis, at least the number of antennas.
        dtype: complex. A vector of higher precision is multiplied in its own dtype.

    Raises:
        TypeError: ``antennas`` or ``directions`` does not hold integers, or ``dtype`` is not
            complex.
        ValueError: more than three axes, different numbers of axes, or fewer directions than
            antennas.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = gj.operators.Steering(antennas=16, directions=64)
        >>> y = 2 * A.matvec(jnp.eye(64)[5]) + A.matvec(jnp.eye(64)[40])
        >>> found = gj.omp(A, y, sparsity=2).support
        >>> found.tolist(), A.frequencies[found].tolist()
        ([5, 40], [[0.078125], [-0.375]])

    Source: Malioutov, Çetin and Willsky, "A sparse signal reconstruction perspective for source
    localization with sensor arrays", IEEE Transactions on Signal Processing 53 (2005).
    """

    antennas: Any = static()
    directions: Any = static()
    dtype: Any = static(default=jnp.complex64)

    def __post_init__(self) -> None:
        antennas = axes("antennas", self.antennas)
        directions = axes("directions", self.directions)
        if len(antennas) != len(directions):
            expected = f"{len(antennas)} axes, as antennas"
            _checks.fail(ValueError, "directions", expected, str(directions))
        if any(n < m for m, n in zip(antennas, directions, strict=True)):
            expected = f"at least as many as antennas, {antennas}"
            _checks.fail(ValueError, "directions", expected, str(directions))
        dtype = complex_numbers(self.dtype)
        self._set(antennas=antennas, directions=directions, dtype=dtype)

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``: the numbers of antennas and of directions."""
        return prod(self.antennas), prod(self.directions)

    @property
    def column_norms(self) -> Float[Array, " n"]:
        """Ones."""
        return jnp.ones(self.shape[1], real_dtype(self.dtype))

    @property
    def frequencies(self) -> Float[Array, "n axes"]:
        """The frequency of each direction on each axis, in cycles per antenna, in [-1/2, 1/2)."""
        grid = np.meshgrid(*map(np.fft.fftfreq, self.directions), indexing="ij")
        flat = np.stack([each.ravel() for each in grid], axis=1)
        return jnp.asarray(flat, real_dtype(self.dtype))

    def atom(self, frequencies: Float[ArrayLike, " axes"]) -> Inexact[Array, " m"]:
        """The steering vector of any direction, on the grid or off it, of norm 1.

        Args:
            frequencies: one for each axis, in cycles from one antenna to the next. Frequencies
                that differ by an integer give the same vector.

        Raises:
            ValueError: the numbers of frequencies and of axes differ.
        """
        given = _checks.real("frequencies", frequencies, ndim=1, shape=(len(self.antennas),))
        places = np.stack(np.indices(self.antennas), axis=-1).reshape(self.shape[0], -1)
        phases = 2 * np.pi * matmul(jnp.asarray(places, given.dtype), given)
        wave = lax.complex(jnp.cos(phases), jnp.sin(phases)) / self.shape[0] ** 0.5
        return wave.astype(jnp.result_type(self.dtype, wave.dtype))

    def _times(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        waves = jnp.fft.ifftn(x.reshape(self.directions), norm="forward")
        return waves[tuple(map(slice, self.antennas))].ravel() / self.shape[0] ** 0.5

    def _adjoint_times(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        y = y.reshape(self.antennas) / self.shape[0] ** 0.5
        short = zip(self.antennas, self.directions, strict=True)
        return jnp.fft.fftn(jnp.pad(y, [(0, n - m) for m, n in short])).ravel()
