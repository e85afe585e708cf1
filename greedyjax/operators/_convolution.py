"""Circular convolution with one filter or more."""

import dataclasses
from math import prod
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, Int

from greedyjax import _checks
from greedyjax._numerics import abs_sq, in_units, power_of_two, safe_sqrt
from greedyjax._precision import as_given, widened
from greedyjax._types import static
from greedyjax.operators._ready import Ready, axes, registered


@registered
@dataclasses.dataclass(frozen=True)
class Convolution(Ready):
    """Circular convolution with one or several filters: a shift-invariant dictionary.

    ``A x = sum_f h_f * x_f``, where ``x`` has the coefficients ``x_f`` of all filters, one filter
    after another. With ``N`` samples, column ``f N + t`` is filter ``f``, shifted circularly to
    begin at position ``t``. With a single filter the operator is a blur. Products use fast Fourier
    transforms of length ``N``.

    Attributes:
        filters: shape ``(num_filters, ...)``, real or complex, with one more axis for each axis of
            ``image_shape``, and no longer than it. They are traced and differentiated.
        image_shape: the lengths of one to three axes, or one int.

    Raises:
        TypeError: ``filters`` is not an array, or holds integers.
        ValueError: axes do not fit together, a filter is longer than the signal, or a filter has
            NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = gj.operators.Convolution(jnp.array([[1.0, 1.0, 0.0], [1.0, -2.0, 1.0]]), 6)
        >>> A.matvec(jnp.eye(12)[3]).tolist()
        [0.0, 0.0, 0.0, 1.0, 1.0, 0.0]
        >>> gj.omp(A, jnp.array([3.0, 0, 0, 0, 3, -6]), sparsity=1).support.tolist()
        [10]

    Source: Mailhé, Lesage, Gribonval, Bimbot and Vandergheynst, "Shift-invariant dictionary
    learning for sparse representations: extending K-SVD", EUSIPCO 2008.
    """

    filters: Any
    image_shape: Any = static()

    def __post_init__(self) -> None:
        lengths = axes("image_shape", self.image_shape)
        shape = _checks.as_array("filters", self.filters).shape
        if len(shape) != 1 + len(lengths) or 0 in shape:
            expected = (
                f"shape (num_filters, {', '.join(['...'] * len(lengths))}), one filter per row"
            )
            _checks.fail(ValueError, "filters", expected, f"shape {shape}")
        if any(width > length for width, length in zip(shape[1:], lengths, strict=True)):
            expected = f"filters no longer than image_shape, {lengths}"
            _checks.fail(ValueError, "filters", expected, f"shape {shape}")
        filters = _checks.numbers("filters", self.filters, ndim=len(shape))
        self._set(filters=filters, image_shape=lengths)

    @property
    def shape(self) -> tuple[int, int]:
        """``(N, num_filters N)``."""
        length = prod(self.image_shape)
        return length, len(self.filters) * length

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the filters."""
        return self.filters.dtype

    @property
    def column_norms(self) -> Float[Array, " n"]:
        """The norm of each filter, for each of its shifts."""
        filters = widened(self.filters).reshape(len(self.filters), -1)
        scale = power_of_two(filters, axis=1)
        norms = scale * safe_sqrt(jnp.sum(abs_sq(in_units(filters, scale[:, None])), axis=1))
        return as_given(jnp.repeat(norms, prod(self.image_shape)), self)

    def column(self, j: Int[Array, ""]) -> Inexact[Array, " m"]:
        """Returns atom ``j``, a filter shifted circularly to its position."""
        which, *start = jnp.unravel_index(j, (len(self.filters), *self.image_shape))
        longer = [(0, n - k) for k, n in zip(self.filters.shape[1:], self.image_shape, strict=True)]
        atom = jnp.pad(self.filters[which], longer)
        return jnp.roll(atom, jnp.stack(start), axis=tuple(range(atom.ndim))).ravel()

    def _times(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        maps = x.reshape(-1, *self.image_shape)
        spectra = self._spectra(maps.dtype)
        spectrum = jnp.sum(spectra * self._transform(maps, maps.dtype), axis=0)
        return self._back(spectrum, maps.dtype).ravel()

    def _adjoint_times(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        spectra = self._spectra(y.dtype)
        spectrum = self._transform(y.reshape(1, *self.image_shape), y.dtype)
        return self._back(spectra.conj() * spectrum, y.dtype).ravel()

    def _spectra(self, dtype: Any) -> Inexact[Array, "filters ..."]:
        """The Fourier transform of each filter."""
        return self._transform(self.filters.astype(dtype), dtype)

    def _transform(self, z: Inexact[Array, "..."], dtype: Any) -> Inexact[Array, "..."]:
        """The Fourier transform over the axes of the image.

        Shorter arrays are padded with zeros. For real numbers it is half the spectrum.
        """
        which = tuple(range(-len(self.image_shape), 0))
        if jnp.issubdtype(dtype, jnp.complexfloating):
            return jnp.fft.fftn(z, s=self.image_shape, axes=which)
        return jnp.fft.rfftn(z, s=self.image_shape, axes=which)

    def _back(self, z: Inexact[Array, "..."], dtype: Any) -> Inexact[Array, "..."]:
        which = tuple(range(-len(self.image_shape), 0))
        if jnp.issubdtype(dtype, jnp.complexfloating):
            return jnp.fft.ifftn(z, axes=which)
        return jnp.fft.irfftn(z, s=self.image_shape, axes=which)
