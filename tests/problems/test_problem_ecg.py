"""The real recordings, against their files, PyWavelets, SciPy and known numbers."""

import functools
import socket
import sys
from pathlib import Path

import jax
import numpy as np
import pydicom
import pydicom.data
import pytest
import pywt
from scipy.signal import decimate, resample
from sklearn.linear_model import orthogonal_mp

from greedyjax.problems import ECG, ecg, second_ecg

EPS = float(np.finfo(np.float32).eps)
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


@functools.cache
def problem() -> ECG:
    return ecg(jax.random.key(0))


def double(array):
    return np.asarray(array, np.float64)


@functools.cache
def recording_mv():
    """The recording at 1 kHz, from the file's integers: 1.25 uV each."""
    path = Path(pydicom.__file__).parent / "data" / "test_files" / "waveform_ecg.dcm"
    group = pydicom.dcmread(path).WaveformSequence[0]
    return np.frombuffer(group.WaveformData, "<i2").reshape(10000, 12) * 1.25e-3


def snr_db(X, X_hat):
    """-10 log10 of the mean squared error of unit-norm signals, the number of the table."""
    return -10 * np.log10(np.mean(np.sum((X - X_hat) ** 2, axis=1)))


def test_shapes_types_and_counts():
    p = problem()
    shapes = {
        "A": (64, 256),
        "synthesis": (256, 256),
        "X_train": (1092, 256),
        "Y_train": (1092, 64),
        "X_test": (108, 256),
        "Y_test": (108, 64),
        "scale_train": (1092,),
        "scale_test": (108,),
    }
    for name, shape in shapes.items():
        field = getattr(p, name)
        assert (field.shape, str(field.dtype)) == (shape, "float32"), name
    assert str(p.levels.dtype) == "int32"
    assert p.sampling_rate == 250.0
    assert (len(p.lead_train), len(p.lead_test)) == (1092, 108)


def test_columns_windows_and_coefficients_have_norm_one():
    p = problem()
    np.testing.assert_allclose(np.linalg.norm(double(p.A), axis=0), 1, rtol=8 * EPS)
    for X in (p.X_train, p.X_test):
        np.testing.assert_allclose(np.linalg.norm(double(X), axis=1), 1, rtol=8 * EPS)


def test_synthesis_is_orthonormal_and_the_wavelet_basis():
    p = problem()
    synthesis = double(p.synthesis)
    # Entries rounded to float32: 256 of them in each inner product, none larger than 1.
    np.testing.assert_allclose(synthesis.T @ synthesis, np.eye(256), atol=16 * EPS)

    window = np.random.default_rng(0).standard_normal(256)
    bands = pywt.wavedec(window, "db4", mode="periodization", level=5)
    np.testing.assert_allclose(
        synthesis.T @ window, np.concatenate(bands), atol=16 * EPS * np.linalg.norm(window)
    )
    np.testing.assert_array_equal(p.levels, np.repeat(range(6), [len(band) for band in bands]))
    np.testing.assert_array_equal(np.bincount(p.levels), [8, 8, 16, 32, 64, 128])


@pytest.mark.parametrize(
    ("part", "at_1khz", "stride"), [("train", slice(6800), 16), ("test", slice(6800, None), 64)]
)
def test_windows_are_the_recording_in_mv(part, at_1khz, stride):
    p = problem()
    X, scale = double(getattr(p, f"X_{part}")), double(getattr(p, f"scale_{part}"))
    windows = scale[:, None] * (X @ double(p.synthesis).T)
    signals = decimate(recording_mv()[at_1khz], 4, axis=0)
    row = 0
    for start in range(0, len(signals) - 255, stride):
        for lead, name in enumerate(LEADS):
            assert getattr(p, f"lead_{part}")[row] == name
            expected = signals[start : start + 256, lead]
            np.testing.assert_allclose(windows[row], expected, atol=16 * EPS * scale[row])
            row += 1
    assert row == len(windows)


def test_millivolts_are_those_of_a_heart():
    """The R wave of V5 rises to 1.96 mV; the file says so in uV, at 1.25 uV a step."""
    signals = recording_mv()
    dataset = pydicom.dcmread(pydicom.data.get_testdata_file("waveform_ecg.dcm", download=False))
    np.testing.assert_allclose(signals * 1000, dataset.waveform_array(0))
    channel = dataset.WaveformSequence[0].ChannelDefinitionSequence[10]
    assert channel.ChannelSensitivityUnitsSequence[0].CodeValue == "uV"
    assert channel.ChannelSourceSequence[0].CodeMeaning == "Lead V5"
    np.testing.assert_allclose(signals[:, 10].max(), 1.9625)

    p = problem()
    of_v5 = [i for i, lead in enumerate(p.lead_train) if lead == "V5"]
    windows = double(p.scale_train)[of_v5, None] * (
        double(p.X_train)[of_v5] @ double(p.synthesis).T
    )
    # The low-pass rounds off the peak.
    assert 1.7 < windows.max() < 2.0


def test_measurements_are_A_x():
    p = problem()
    A = double(p.A)
    np.testing.assert_allclose(p.Y_train, double(p.X_train) @ A.T, atol=16 * EPS)
    np.testing.assert_allclose(p.Y_test, double(p.X_test) @ A.T, atol=16 * EPS)


def test_key_changes_the_matrix_and_nothing_else():
    again, other = ecg(jax.random.key(0)), ecg(jax.random.key(1))
    for name, value in problem()._asdict().items():
        if name in ("sampling_rate", "lead_train", "lead_test"):
            assert value == getattr(again, name) == getattr(other, name)
            continue
        np.testing.assert_array_equal(value, getattr(again, name), err_msg=name)
        changes = name in ("A", "Y_train", "Y_test")
        assert np.array_equal(value, getattr(other, name)) != changes, name


def test_default_width_of_jax_is_no_part_of_the_problem():
    with jax.enable_x64(False):
        narrow = ecg(jax.random.key(5), num_measurements=8)
    with jax.enable_x64(True):
        wide = ecg(jax.random.key(5), num_measurements=8)
    assert narrow.A.shape == (8, 256)
    np.testing.assert_array_equal(narrow.A, wide.A)


@pytest.mark.filterwarnings("ignore:.*Orthogonal matching pursuit.*:RuntimeWarning")
def test_baselines_are_the_known_ones():
    """m = 64: OMP with 20 atoms 5.1 dB and linear MMSE 9.1 to 10.0 dB on other matrices.

    Over 24 matrices they average 5.1 and 10.0 dB, with deviations of 0.33 and 0.31 dB: the mean of
    three is held to 3 deviations of such a mean.
    """
    omp_db, mmse_db = [], []
    for seed in range(3):
        p = ecg(jax.random.key(seed))
        A, Y, X, X_train = map(double, (p.A, p.Y_test, p.X_test, p.X_train))
        omp_db.append(snr_db(X, orthogonal_mp(A, Y.T, n_nonzero_coefs=20).T))
        covariance = X_train.T @ X_train / len(X_train)
        estimator = np.linalg.solve(A @ covariance @ A.T, A @ covariance)
        mmse_db.append(snr_db(X, Y @ estimator))
    np.testing.assert_allclose(np.mean(omp_db), 5.1, atol=0.6)
    np.testing.assert_allclose(np.mean(mmse_db), 10.0, atol=0.6)


def test_nothing_is_downloaded(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("ecg opened a network connection")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert ecg(jax.random.key(0), num_measurements=2).Y_test.shape == (108, 2)


def test_missing_recording_is_reported(monkeypatch):
    def lookup(name, read=False, download=True):
        assert not download, "may download"

    monkeypatch.setattr(pydicom.data, "get_testdata_file", lookup)
    with pytest.raises(FileNotFoundError, match=r"waveform_ecg.dcm.*expected.*got none in pydicom"):
        ecg(jax.random.key(0))


def test_other_recording_is_refused(monkeypatch):
    """Group 1 of the file is a median beat of 1200 samples: not what the windows are cut from."""
    read = pydicom.dcmread

    def read_other(path):
        dataset = read(path)
        dataset.WaveformSequence = dataset.WaveformSequence[1:]
        return dataset

    monkeypatch.setattr(pydicom, "dcmread", read_other)
    with pytest.raises(ValueError, match=r"expected 10000 samples.*got shape \(1200, 12\)"):
        ecg(jax.random.key(0))


@pytest.mark.parametrize("missing", ["pydicom", "pywt"])
def test_missing_dependency_names_the_extra(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "greedyjax\[demo\]"'):
        ecg(jax.random.key(0))


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "num_measurements.*between 1 and 256.*got 0"),
        (257, ValueError, "num_measurements.*between 1 and 256.*got 257"),
        (64.0, TypeError, "num_measurements.*int.*got 64.0"),
    ],
)
def test_bad_num_measurements_is_named(value, error, message):
    with pytest.raises(error, match=message):
        ecg(jax.random.key(0), num_measurements=value)


def test_second_recording_is_the_file_at_another_rate():
    p = second_ecg(jax.random.key(0))
    synthesis = double(p.synthesis)
    for half, X, scale in ((0, p.X_train, p.scale_train), (1, p.X_test, p.scale_test)):
        assert X.shape == (26, 256)
        np.testing.assert_allclose(np.linalg.norm(double(X), axis=1), 1, rtol=8 * EPS)
        windows = double(scale)[:, None] * (double(X) @ synthesis.T)
        # Each starts 4 samples after the one before it.
        np.testing.assert_allclose(windows[1:, :-4], windows[:-1, 4:], rtol=0, atol=1e-3)
        # By Fourier series, once the line between its ends, which is not periodic, is taken off.
        signal = double(pywt.data.ecg())[512 * half : 512 * (half + 1)]
        line = np.linspace(signal[0], signal[-1], 512)
        at = np.arange(256) * 360 / 250
        ours = np.interp(at, np.arange(0, 512, 0.125), resample(signal - line, 4096))
        ours += np.interp(at, np.arange(512), line)
        # Other filters near half the rate, other ends: 1 % of the window's norm.
        error = np.linalg.norm(windows[0] - ours) / np.linalg.norm(ours)
        assert error < 0.01, (half, error)
    np.testing.assert_allclose(p.Y_test, double(p.X_test) @ double(p.A).T, atol=16 * EPS)
    assert (p.sampling_rate, p.lead_train) == (250.0, ("unnamed",) * 26)


def test_both_recordings_share_matrix_and_wavelets():
    p, other = problem(), second_ecg(jax.random.key(0))
    for name in ("A", "synthesis", "levels"):
        np.testing.assert_array_equal(getattr(p, name), getattr(other, name), err_msg=name)


def test_another_second_recording_is_refused(monkeypatch):
    monkeypatch.setattr(pywt.data, "ecg", lambda: np.arange(1024))
    with pytest.raises(ValueError, match=r"expected 1024 samples from -112.*from 0 to 1023"):
        second_ecg(jax.random.key(0))
