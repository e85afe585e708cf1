"""The operators that the contract table makes of a matrix, and the matrices they stand for."""

import jax.numpy as jnp
import numpy as np

import greedyjax as gj
from masked_fft import masked_fft
from ready_operators import wavelet_matrix

KEPT = np.random.default_rng(5).permutation(16)  # Of the frequencies of 4 x 4 pixels.


def fourier_of(A):
    """The first frequencies, with the first row of A for the gains of the pixels."""
    return masked_fft(jnp.asarray(KEPT[: A.shape[0]]), A[0], (4, 4))


def fourier_matrix_of(A):
    """The same as a matrix, from the definition of the transform."""
    place = np.arange(4)
    F = np.exp(-2j * np.pi * np.outer(place, place) / 4) / 2
    return np.kron(F, F)[KEPT[: A.shape[0]]] * A[0]


def wavelets_of(A):
    """Images of 4 x 4 pixels that are sparse in wavelets, measured by A."""
    return gj.dictionary(gj.operators.Product([A, gj.operators.Wavelet((4, 4), "haar", 2)]))


def wavelet_matrix_of(A):
    return A @ wavelet_matrix((4, 4), "haar", 2)


def stacked(A):
    """A itself, put together of four parts."""
    rows = [gj.operators.HStack([each[:, :7], each[:, 7:]]) for each in (A[:3], A[3:])]
    return gj.operators.VStack(rows)


def filters_of(A):
    """Two filters, from the rows of A."""
    return A[:2, :5]
