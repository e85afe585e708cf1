"""Wavelets against PyWavelets: every filter, signals shorter than the filter, and the tree."""

import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import pywt

import greedyjax as gj
from greedyjax.operators import Wavelet
from helpers import assert_close, jit

ORTHOGONAL = [
    name
    for name in pywt.wavelist(kind="discrete")
    if pywt.Wavelet(name).orthogonal and name != "dmey"
]
SETTINGS = [
    ((32,), 1), ((32,), 5), ((48,), 4), ((8, 4), 2), ((32, 16), 3), ((12, 20), 2), ((4, 8, 4), 2),
    ((2, 2, 2), 1),
]  # fmt: skip


def by_pywt(image, wavelet, num_levels):
    """The pyramid, as one array."""
    with warnings.catch_warnings():  # Of filters longer than the approximation.
        warnings.simplefilter("ignore")
        pyramid = pywt.wavedecn(image, wavelet, mode="periodization", level=num_levels)
    return pywt.coeffs_to_array(pyramid)


def image_of(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(
    ("wavelet", "shape", "num_levels"),
    [
        # Each filter meets two of the shapes, or one, and each shape one filter: the rest is slow.
        pytest.param(wavelet, *setting, marks=() if j % 5 == i else pytest.mark.slow)
        for i, wavelet in enumerate(["haar", "db4", "sym5", "coif2", "db10"])
        for j, setting in enumerate(SETTINGS)
    ],
)
def test_coefficients_are_those_of_pywavelets(wavelet, shape, num_levels):
    image, A = image_of(shape), Wavelet(shape, wavelet, num_levels)
    wanted, slices = by_pywt(image, wavelet, num_levels)
    other = image_of(shape, 1)
    both = jit(lambda image, other: (A.rmatvec(image), A.matvec(other)))
    found, back = both(image.ravel(), other.ravel())
    assert_close(found.reshape(shape), wanted)
    # Of what they are the coefficients of, by the inverse of PyWavelets.
    settings = {"wavelet": wavelet, "mode": "periodization"}
    pyramid = pywt.array_to_coeffs(other, slices)
    assert_close(back.reshape(shape), pywt.waverecn(pyramid, **settings))


@pytest.mark.slow
@pytest.mark.parametrize("wavelet", ORTHOGONAL)
def test_every_orthogonal_filter(wavelet):
    image, A = image_of((24, 16)), Wavelet((24, 16), wavelet, 2)
    found = jit(A.rmatvec)(image.ravel())
    assert_close(found.reshape(24, 16), by_pywt(image, wavelet, 2)[0])
    # Some filters, sym3 among them, are orthonormal to eleven digits.
    assert_close(jit(A.matvec)(found), image.ravel(), rtol=1e-9, atol=1e-9)


def test_there_are_many_orthogonal_filters():
    assert len(ORTHOGONAL) > 70
    for wavelet in ORTHOGONAL:
        Wavelet(2, wavelet, 1)


def test_filters_of_your_own():
    haar = types.SimpleNamespace(dec_lo=[0.6, 0.8], dec_hi=[-0.8, 0.6])
    A = Wavelet(4, haar, 1)
    M = jax.vmap(A.matvec)(jnp.eye(4)).T
    assert_close(M[:, 0], [0.8, 0.6, 0, 0], np.float32)
    assert_close(M[:, 3], [0, 0, 0.6, -0.8], np.float32)
    same = pywt.Wavelet("db4")
    assert jax.tree.structure(Wavelet(8, same, 1)) == jax.tree.structure(Wavelet(8, "db4", 1))


# --- The tree ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "num_levels"), SETTINGS)
def test_levels_are_those_of_pywavelets(shape, num_levels):
    pyramid = by_pywt(np.zeros(shape), "haar", num_levels)[1]
    wanted = np.full(shape, -1)
    wanted[pyramid[0]] = 0
    for level, bands in enumerate(pyramid[1:], start=1):
        for band in bands.values():
            wanted[band] = level
    found = Wavelet(shape, "haar", num_levels).levels
    assert found.dtype == np.int32
    assert np.array_equal(found, wanted.ravel())


@pytest.mark.parametrize(("shape", "num_levels"), SETTINGS)
def test_haar_wavelets_lie_within_those_of_their_parents(shape, num_levels):
    """And have a quarter of their pixels in two dimensions, but for the parents in the corner."""
    A = Wavelet(shape, "haar", num_levels)
    levels, parents = np.asarray(A.levels), np.asarray(A.parents)
    supports = np.abs(np.asarray(jit(jax.vmap(A.matvec))(jnp.eye(A.shape[1])))) > 1e-6
    assert parents.dtype == np.int32
    assert np.array_equal(parents == -1, levels == 0)
    children = np.flatnonzero(levels > 0)
    above = parents[children]
    assert np.array_equal(levels[above], levels[children] - 1)
    assert np.all(supports[above] | ~supports[children])
    sizes = supports.sum(axis=1)
    ratio = np.where(levels[children] == 1, 1, 2 ** len(shape))
    assert np.array_equal(sizes[above], ratio * sizes[children])


def test_parents_keep_the_orientation():
    """In each dimension a detail's ancestors are details or approximations, as it is."""
    A = Wavelet((16, 8), "db2", 3)
    _, slices = by_pywt(np.zeros((16, 8)), "db2", 3)
    orientation = np.full((16, 8), "  ")
    for bands in slices[1:]:
        for name, band in bands.items():
            orientation[band] = name
    orientation, parents, levels = orientation.ravel(), np.asarray(A.parents), np.asarray(A.levels)
    finer = np.flatnonzero(levels > 1)
    assert np.array_equal(orientation[finer], orientation[parents[finer]])
    counts = np.bincount(parents[parents >= 0], minlength=A.shape[1])
    assert np.all(counts[levels == 0] == 3)
    assert np.all(counts[(levels > 0) & (levels < 3)] == 4)


# --- In use --------------------------------------------------------------------------------------


def test_an_image_that_is_sparse_in_wavelets_is_recovered_from_frequencies():
    """The oracle is the signal itself."""
    A = gj.operators.Product(
        [gj.operators.MaskedFFT(np.flatnonzero(np.random.default_rng(0).random(256) < 0.5), 256)]
        + [Wavelet(256, "db4", 3)]
    )
    x = np.zeros(256)
    x[[3, 17, 40, 90]] = 2.0, -1.5, 1.0, 3.0
    found = gj.omp(gj.dictionary(A), jit(A.matvec)(x), sparsity=4)
    assert_close(found.x, x)
