"""The functions of benchmarks/denoising.py, on a small part of a photograph."""

import numpy as np
import pytest
from sklearn.linear_model import orthogonal_mp

from helpers import benchmark


@pytest.fixture(scope="module")
def denoising():
    return benchmark("denoising")


@pytest.fixture(scope="module")
def image(denoising):
    return denoising.region("temple")[100:120, 100:121]


@pytest.mark.parametrize("shape", [(12, 30), (9, 8), (16, 15)])
def test_patches_are_averaged_with_the_noisy_image(denoising, shape):
    rng = np.random.default_rng(0)
    noisy, weight = rng.standard_normal(shape), 0.7
    corners = [(i, j) for i in range(shape[0] - 7) for j in range(shape[1] - 7)]
    estimates = rng.standard_normal((len(corners), 64))
    total, counts = weight * noisy, np.full(shape, weight)
    for (i, j), patch in zip(corners, estimates, strict=True):
        total[i : i + 8, j : j + 8] += patch.reshape(8, 8)
        counts[i : i + 8, j : j + 8] += 1
    got = denoising.averaged(estimates, noisy, weight)
    np.testing.assert_allclose(got, total / counts, rtol=1e-12)


def test_patches_and_means_make_the_image(denoising, image):
    Y, means = denoising.patches(image)
    assert Y.shape == (13 * 14, 64)
    np.testing.assert_allclose(Y.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(denoising.averaged(Y + means, image, 0.0), image, rtol=1e-5)


def test_every_patch_is_coded_to_the_limit_with_the_atoms_of_scikit_learn(denoising, image):
    A, limit = denoising.cosines(), 60.0
    Y, _ = denoising.patches(denoising.with_noise(image, 10, seed=0))
    estimates, atoms = denoising.coded(A, Y, limit)
    flat = np.linalg.norm(Y, axis=1) <= limit
    assert atoms[~flat].min() > 0
    assert not atoms[flat].any()
    assert np.linalg.norm(Y - estimates, axis=1).max() <= limit * (1 + 1e-5)
    by_them, their_atoms = denoising.coded_by_them(A, Y, limit)
    np.testing.assert_array_equal(atoms, their_atoms)
    np.testing.assert_allclose(estimates, by_them, atol=2e-2)  # Single precision, up to 255.
    some = np.flatnonzero(~flat)[:5]  # And by the function that needs no Gram matrix.
    X = orthogonal_mp(A.astype(float), Y[some].T.astype(float), tol=limit**2)
    np.testing.assert_allclose(estimates[some], (A @ X).T, atol=2e-2)


def test_noise_has_its_deviation_and_decibels_are_those_of_the_definition(denoising):
    image = np.zeros((200, 200), np.float32)
    noisy = denoising.with_noise(image, 25, seed=3)
    assert noisy.dtype == np.float32
    np.testing.assert_allclose(noisy.std(), 25, rtol=2e-2)
    expected = 10 * np.log10(255**2 / np.mean(noisy.astype(float) ** 2))
    np.testing.assert_allclose(denoising.decibels(noisy, image), expected, rtol=1e-5)


def test_atoms_are_drawn_apart_from_each_other(denoising):
    tiles = denoising.mosaic(denoising.cosines())
    assert tiles.shape == (16 * 9 - 1, 16 * 9 - 1)
    assert np.all(tiles[8::9] == 1)
    assert np.abs(tiles).max() <= 1 + 1e-6


@pytest.mark.slow  # It compiles K-SVD.
def test_each_method_has_a_row_and_removes_noise(denoising, monkeypatch):
    monkeypatch.setattr(denoising, "find_spec", lambda name: None)  # Without scikit-image.
    monkeypatch.setattr(denoising, "FROM_OTHER", {"sparsity": 2, "patches": 700})
    monkeypatch.setattr(denoising, "SPARSITY", {25: 2})
    larger = denoising.region("temple")[60:92, 60:92]
    rows = denoising.measured((25,), (0, 1), {"temple": larger})
    names = ["noisy", denoising.OWN, denoising.OTHER, denoising.FIXED, denoising.THEIRS]
    assert [(row["seed"], row["method"]) for row in rows] == [
        (seed, name) for seed in (0, 1) for name in names
    ]
    for before, *after in (rows[:5], rows[5:]):
        np.testing.assert_allclose(before["psnr_db"], 20.17, atol=0.4)
        for row in after:
            assert row["psnr_db"] > before["psnr_db"] + 1, row
            assert row["code_s"] > 0
            assert 0 < row["atoms"] < denoising.MOST
    limit = denoising.GAIN * 25 * 8
    Y, _ = denoising.patches(denoising.with_noise(larger, 25, seed=0))
    A = np.asarray(denoising.learned_to_limit(Y, limit, num_epochs=2))
    np.testing.assert_allclose(np.linalg.norm(A, axis=0), 1, rtol=1e-5)
    fewer = [denoising.coded(each, Y, limit)[1].sum() for each in (A, denoising.cosines())]
    assert fewer[0] < fewer[1]


@pytest.mark.slow  # It compiles K-SVD several times.
def test_choices_are_measured_for_each_setting(denoising, monkeypatch):
    small = denoising.region("trees")[200:232, 200:232]
    monkeypatch.setattr(denoising, "find_spec", lambda name: None)
    monkeypatch.setattr(denoising, "SPARSITY", {25: 2})
    monkeypatch.setattr(denoising, "region", lambda name: small)
    rows = denoising.choices((25,))
    whats = [row["what"] for row in rows]
    assert whats == ["gain, cosines"] * 5 + ["sparsity"] * 3 + ["to the limit"] + ["alpha"] * 3
    assert len({row["psnr_db"] for row in rows}) == len(rows)
    noise = denoising.decibels(denoising.with_noise(small, 25, denoising.CHOOSING_SEED), small)
    assert min(row["psnr_db"] for row in rows) > noise
