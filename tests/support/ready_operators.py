"""The ready-made operators, each with the matrix that its definition gives, in plain NumPy."""

import warnings
from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pylops
import pywt

from greedyjax import operators


class Ready(NamedTuple):
    """An operator and its oracle.

    Attributes:
        make: of a real dtype, and of the arrays that it is made of.
        matrix: of the same arrays, in double precision.
        arrays: what it is made of, where that is differentiated.
        norms: whether it knows the norms of its columns.
    """

    make: Callable
    matrix: Callable
    arrays: tuple = ()
    norms: bool = True


def grid(shape):
    """The places of an image, one a row."""
    return np.stack([each.ravel() for each in np.indices(shape)], axis=1)


def fourier_matrix(kept, shape):
    """From the definition of the transform."""
    places = grid(shape)
    turns = (places[kept] / np.array(shape)) @ places.T
    return np.exp(-2j * np.pi * turns) / np.sqrt(len(places))


def _cosines(length):
    k, i = np.arange(length), np.arange(length)
    columns = np.cos(np.pi * np.outer(2 * i + 1, k) / (2 * length)) * np.sqrt(2 / length)
    columns[:, 0] /= np.sqrt(2)
    return columns


def cosine_matrix(shape):
    """Cosines of norm 1, from their definition."""
    return reduce(np.kron, map(_cosines, shape))


def wavelet_matrix(shape, wavelet, num_levels):
    """What PyWavelets makes of each unit vector."""
    settings = {"wavelet": wavelet, "mode": "periodization"}
    with warnings.catch_warnings():  # Of filters longer than the approximation.
        warnings.simplefilter("ignore")
        coefficients = pywt.wavedecn(np.zeros(shape), level=num_levels, **settings)
    _, slices = pywt.coeffs_to_array(coefficients)
    n = np.prod(shape)
    columns = []
    for unit in np.eye(n):
        pyramid = pywt.array_to_coeffs(unit.reshape(shape), slices)
        columns.append(pywt.waverecn(pyramid, **settings).ravel())
    return np.stack(columns, axis=1)


def convolution_matrix(filters, shape):
    """Each filter, from each place on."""
    columns = []
    for each in filters:
        atom = np.zeros(shape, np.result_type(filters, np.float64))
        atom[tuple(map(slice, each.shape))] = each
        axes = tuple(range(len(shape)))
        columns += [np.roll(atom, place, axes).ravel() for place in grid(shape)]
    return np.stack(columns, axis=1)


def steering_matrix(antennas, directions):
    """From the definition of a steering vector, and Kronecker products."""
    one = lambda m, n: np.exp(2j * np.pi * np.outer(np.arange(m), np.arange(n)) / n) / np.sqrt(m)
    return reduce(np.kron, map(one, antennas, directions))


def _normal(seed, *shape, imaginary=False):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    return values + 1j * rng.standard_normal(shape) if imaginary else values


_DIFFERENCE = pylops.FirstDerivative(12, kind="forward", dtype="float64")
PYLOPS = pylops.JaxOperator(_DIFFERENCE)

KEPT = np.array([7, 0, 11, 3, 4, 9])
PLACES = np.array([5, 0, 23, 8, 13, 2, 19])
REAL, IMAGINARY = _normal(0, 2, 3), _normal(1, 2, 3, 2, imaginary=True)
LEFT, RIGHT = _normal(2, 8, 12), _normal(3, 8, 12, imaginary=True)

READY = {
    "MaskedFFT": Ready(
        lambda dtype: operators.MaskedFFT(KEPT, 12, jnp.result_type(dtype, jnp.complex64)),
        lambda: fourier_matrix(KEPT, (12,)),
    ),
    "MaskedFFT of volumes": Ready(
        lambda dtype: operators.MaskedFFT(PLACES, (2, 3, 4), jnp.result_type(dtype, jnp.complex64)),
        lambda: fourier_matrix(PLACES, (2, 3, 4)),
    ),
    "DCT": Ready(lambda dtype: operators.DCT(12, dtype), lambda: cosine_matrix((12,))),
    "DCT of volumes": Ready(
        lambda dtype: operators.DCT((2, 3, 4), dtype), lambda: cosine_matrix((2, 3, 4))
    ),
    "Steering": Ready(
        lambda dtype: operators.Steering(6, 16, jnp.result_type(dtype, jnp.complex64)),
        lambda: steering_matrix([6], [16]),
    ),
    "Steering of a plane": Ready(
        lambda dtype: operators.Steering((3, 2), (5, 4), jnp.result_type(dtype, jnp.complex64)),
        lambda: steering_matrix([3, 2], [5, 4]),
    ),
    "Wavelet": Ready(
        lambda dtype: operators.Wavelet(16, "db2", 3, dtype),
        lambda: wavelet_matrix((16,), "db2", 3),
    ),
    "Wavelet of images": Ready(
        lambda dtype: operators.Wavelet((4, 8), "sym5", 2, dtype),
        lambda: wavelet_matrix((4, 8), "sym5", 2),
    ),
    "Convolution": Ready(
        lambda dtype, h: operators.Convolution(h, 8),
        lambda h: convolution_matrix(h, (8,)),
        (REAL,),
    ),
    "Convolution of images": Ready(
        lambda dtype, h: operators.Convolution(h, (4, 3)),
        lambda h: convolution_matrix(h, (4, 3)),
        (IMAGINARY,),
    ),
    "Product": Ready(
        lambda dtype, A: operators.Product([A, operators.DCT(12, dtype)]),
        lambda A: A @ cosine_matrix((12,)),
        (LEFT,),
        norms=False,
    ),
    "Product of three": Ready(
        lambda dtype, A, h: operators.Product(
            [A, operators.MaskedFFT(np.arange(12), 12), operators.Convolution(h, 12)]
        ),
        lambda A, h: A @ fourier_matrix(np.arange(12), (12,)) @ convolution_matrix(h, (12,)),
        (LEFT, REAL),
        norms=False,
    ),
    "Sum": Ready(
        lambda dtype, A, B: operators.Sum([A, B, operators.MaskedFFT(np.arange(8), 12)]),
        lambda A, B: A + B + fourier_matrix(np.arange(8), (12,)),
        (LEFT, RIGHT),
        norms=False,
    ),
    "HStack": Ready(
        lambda dtype, A, h: operators.HStack(
            [A, operators.DCT(8, dtype), operators.Convolution(h, 8)]
        ),
        lambda A, h: np.hstack([A, cosine_matrix((8,)), convolution_matrix(h, (8,))]),
        (LEFT, REAL),
    ),
    "VStack": Ready(
        lambda dtype, A: operators.VStack(
            [A, operators.MaskedFFT(KEPT, 12, jnp.result_type(dtype, jnp.complex64))]
        ),
        lambda A: np.vstack([A, fourier_matrix(KEPT, (12,))]),
        (RIGHT,),
    ),
    "stack without norms": Ready(
        lambda dtype, A: operators.VStack([operators.Product([A]), operators.DCT(12, dtype)]),
        lambda A: np.vstack([A, cosine_matrix((12,))]),
        (LEFT,),
        norms=False,
    ),
    "from PyLops": Ready(
        lambda dtype: operators.from_pylops(PYLOPS), lambda: _DIFFERENCE.todense(), norms=False
    ),
}


def made(name, dtype=np.float64):
    """The operator, its arrays in the precision of a real dtype."""
    ready = READY[name]
    return ready.make(dtype, *in_precision(ready.arrays, dtype))


def in_precision(arrays, dtype):
    """Real arrays in a dtype, complex ones in the complex dtype of that precision."""
    return [
        jnp.asarray(each, jnp.result_type(dtype, jnp.complex64) if np.iscomplexobj(each) else dtype)
        for each in arrays
    ]


def matrix_of(name):
    """Its matrix in double precision."""
    return READY[name].matrix(*READY[name].arrays)
