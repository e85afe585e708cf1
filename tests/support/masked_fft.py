"""A masked 2-D FFT, as somebody outside of the package would write it."""

import jax.numpy as jnp

from greedyjax.operators import MatrixFree


def _measure(x, kept, gains):
    return jnp.fft.fft2(gains * x.reshape(gains.shape), norm="ortho").ravel()[kept]


def _adjoint(y, kept, gains):
    spectrum = jnp.zeros(gains.size, y.dtype).at[kept].add(y).reshape(gains.shape)
    return (gains.conj() * jnp.fft.ifft2(spectrum, norm="ortho")).ravel()


def masked_fft(kept, gains, image_shape):
    """Some frequencies of an image, each of whose pixels has a gain."""
    m, n, dtype = len(kept), len(gains), jnp.result_type(gains, jnp.complex64)
    norms, gains = jnp.sqrt(m / n) * jnp.abs(gains), gains.reshape(image_shape)
    return MatrixFree(
        _measure, _adjoint, shape=(m, n), dtype=dtype, params=(kept, gains), column_norms=norms
    )
