"""Real electrocardiograms, compressed: windows that are sparse in a wavelet basis."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from greedyjax import _checks
from greedyjax._numerics import matmul
from greedyjax.linalg.operators import dense, unit_columns

_FILE = "waveform_ecg.dcm"
_DECIMATION = 4  # 1 kHz -> 250 Hz
_WINDOW = 256  # samples, 1.024 s: about one heartbeat
_BOUNDARY = 1700  # samples: 6.8 s to train on, the 3.2 s after them to test on
_TRAIN_STRIDE, _TEST_STRIDE = 16, 64
_WAVELET, _DEPTH = "db4", 5
_SECOND_RATE, _SECOND_STRIDE = 360, 4


class ECG(NamedTuple):
    """Windows of an electrocardiogram, their wavelet coefficients and their measurements.

    A window of norm 1 is ``synthesis @ x``; in mV it is ``scale * (synthesis @ x)``. The shapes
    below are for `ecg`. `second_ecg` has 26 windows of each kind, in the units of its recording.

    Attributes:
        A: measurement matrix acting on coefficients, unit columns, shape ``(m, 256)``. On samples
            it acts as ``A @ synthesis.T``.
        synthesis: orthonormal wavelet basis, one wavelet per column, shape ``(256, 256)``.
        X_train: coefficients of the training windows, norm 1, shape ``(1092, 256)``.
        Y_train: their measurements ``A x``, shape ``(1092, m)``.
        X_test: coefficients of the test windows, norm 1, shape ``(108, 256)``.
        Y_test: their measurements, shape ``(108, m)``.
        levels: wavelet level of each coefficient, shape ``(256,)``, int32: 0 the coarse
            approximation, 1 the coarsest details, up to 5 the finest. Levels 0 to 5 have 8, 8, 16,
            32, 64 and 128 coefficients.
        scale_train: norm of each training window in mV, shape ``(1092,)``.
        scale_test: norm of each test window in mV, shape ``(108,)``.
        sampling_rate: samples per second, 250.
        lead_train: lead of each training window, "I" to "V6", 1092 of them.
        lead_test: lead of each test window, 108 of them.
    """

    A: Float[Array, "m n"]
    synthesis: Float[Array, "n n"]
    X_train: Float[Array, "train n"]
    Y_train: Float[Array, "train m"]
    X_test: Float[Array, "test n"]
    Y_test: Float[Array, "test m"]
    levels: Int[Array, " n"]
    scale_train: Float[Array, " train"]
    scale_test: Float[Array, " test"]
    sampling_rate: float
    lead_train: tuple[str, ...]
    lead_test: tuple[str, ...]


def ecg(key: PRNGKeyArray, *, num_measurements: int = 64) -> ECG:
    """Compressed sensing of a real 10 s electrocardiogram with random measurements.

    The recording has 12 leads and is one of the test files in pydicom, so nothing is downloaded.
    It is low-passed, decimated from 1 kHz to 250 Hz and cut into windows of 256 samples. Training
    windows start every 16 samples of the first 6.8 s, and test windows every 64 samples of the
    3.2 s that follow. The two parts are filtered separately, so no test sample reaches a training
    window. Windows come in order of time and, at each time, in order of the leads. Each window is
    scaled to norm 1 and written as ``synthesis @ x`` in an orthonormal basis of periodised db4
    wavelets with 5 levels.

    The measurements are ``y = A x`` without noise, where ``A = Phi @ synthesis`` with its columns
    scaled to norm 1 and the entries of ``Phi`` are independent ``N(0, 1/m)``. Only ``A`` depends
    on ``key``.

    There is only one patient. Training and test windows are seconds apart in one person's
    recording. Training windows overlap by 94 %, and four of the twelve leads are combinations of
    the others. So a model that does well here may have learned only this heart.

    The low-pass prevents aliasing. 0.03 to 2 % of a lead's variance lies above 125 Hz. It would
    become noise if every fourth sample were taken without the low-pass.

    Args:
        key: random key, for ``Phi``.
        num_measurements: number of measurements ``m`` of a window, at most 256.

    Returns:
        The problem, as `ECG`; all its arrays are float32 except ``levels``.

    Raises:
        TypeError: ``key`` is not a random key, or ``num_measurements`` is not a static int.
        ValueError: ``num_measurements`` is out of bounds, or the file is not the expected
            recording.
        ImportError: pydicom or PyWavelets is missing.
        FileNotFoundError: the installed pydicom does not carry the recording.

    Example:
        >>> import jax
        >>> from greedyjax.problems import ecg
        >>> problem = ecg(jax.random.key(0), num_measurements=64)
        >>> problem.A.shape, problem.X_train.shape, problem.X_test.shape
        ((64, 256), (1092, 256), (108, 256))
        >>> window_mv = problem.scale_test[0] * problem.synthesis @ problem.X_test[0]
        >>> problem.lead_test[0], window_mv.shape
        ('I', (256,))

    Source: Mamaghanian, Khaled, Atienza and Vandergheynst, "Compressed sensing for real-time
    energy-efficient ECG compression on wireless body sensor nodes", IEEE Transactions on
    Biomedical Engineering 58 (2011), for the application. The recording and how it is used are this
    library's choice.
    """
    key, num_measurements = _checked(key, num_measurements)
    millivolts, leads, recorded_rate = _recording()
    boundary = _BOUNDARY * _DECIMATION
    train = _windows(_decimate(millivolts[:boundary]), _TRAIN_STRIDE)
    test = _windows(_decimate(millivolts[boundary:]), _TEST_STRIDE)
    return _measured(key, num_measurements, train, test, leads, recorded_rate / _DECIMATION)


def second_ecg(key: PRNGKeyArray, *, num_measurements: int = 64) -> ECG:
    """`ecg` with another person's recording, to test weights that were learned on the first.

    The recording has 1024 samples of one lead and is a part of PyWavelets, so nothing is
    downloaded. Its sampling rate and its units are not known. A rate of 360 Hz is assumed, at which
    this heart beats 66 times per minute. The first half of the recording is for training and its
    second half for testing. Each half is converted to 250 Hz separately, and cut into 26 windows of
    256 samples, which start every 4 samples.

    Windows, wavelets and measurements are made as in `ecg`, and the same ``key`` gives the same
    ``A``. So weights and estimators learned on one recording can be used on the other.
    ``scale_train`` and ``scale_test`` are in the units of the recording.

    The recording is short. Each half is 1.4 s long and has one or two heartbeats, so all windows of
    a half are shifts of one piece of signal.

    Args:
        key: random key, for the matrix.
        num_measurements: number of measurements ``m`` of a window, at most 256.

    Returns:
        The problem, as `ECG`; all its arrays are float32 except ``levels``.

    Raises:
        TypeError: ``key`` is not a random key, or ``num_measurements`` is not a static int.
        ValueError: ``num_measurements`` is out of bounds, or the recording is not the expected
            one.
        ImportError: pydicom or PyWavelets is missing.

    Example:
        >>> import jax
        >>> from greedyjax.problems import second_ecg
        >>> problem = second_ecg(jax.random.key(0), num_measurements=64)
        >>> problem.A.shape, problem.X_train.shape, problem.X_test.shape
        ((64, 256), (26, 256), (26, 256))
    """
    key, num_measurements = _checked(key, num_measurements)
    halves = np.split(_second_recording(), 2)
    train, test = (_windows(_resample(half), _SECOND_STRIDE) for half in halves)
    rate = 1000.0 / _DECIMATION
    return _measured(key, num_measurements, train, test, ("unnamed",), rate)


def _checked(key, num_measurements) -> tuple[PRNGKeyArray, int]:
    """Checks the arguments and that the needed packages are installed, before any work."""
    key = _checks.prng_key("key", key)
    num_measurements = _checks.static_int(
        "num_measurements", num_measurements, minimum=1, maximum=_WINDOW
    )
    try:
        # The helpers below use them. A missing package is thus named before any work.
        import pydicom  # noqa: F401
        import pywt  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "the electrocardiograms need pydicom and PyWavelets, and one of them is missing: "
            'pip install "greedyjax[demo]"'
        ) from error
    return key, num_measurements


def _measured(
    key: PRNGKeyArray,
    num_measurements: int,
    train: np.ndarray,
    test: np.ndarray,
    leads: tuple[str, ...],
    rate: float,
) -> ECG:
    """The problem that has these windows, which come from the leads in turn."""
    basis, levels = _wavelet_basis()
    (X_train, scale_train), (X_test, scale_test) = (
        _unit_coefficients(windows, basis) for windows in (train, test)
    )
    synthesis = jnp.asarray(basis, jnp.float32)
    Phi = jax.random.normal(key, (num_measurements, _WINDOW), jnp.float32) / num_measurements**0.5
    A = unit_columns(dense(matmul(Phi, synthesis)))[0].matrix
    return ECG(
        A=A,
        synthesis=synthesis,
        X_train=X_train,
        Y_train=matmul(X_train, A.T),
        X_test=X_test,
        Y_test=matmul(X_test, A.T),
        levels=jnp.asarray(levels, jnp.int32),
        scale_train=scale_train,
        scale_test=scale_test,
        sampling_rate=rate,
        lead_train=leads * (len(train) // len(leads)),
        lead_test=leads * (len(test) // len(leads)),
    )


def _recording() -> tuple[np.ndarray, tuple[str, ...], float]:
    """The recording in mV, shape (10000, 12), the names of its leads and its rate in Hz."""
    import pydicom
    from pydicom.data import get_testdata_file

    path = get_testdata_file(_FILE, download=False)
    if not isinstance(path, str):
        raise FileNotFoundError(
            f"{_FILE}: expected among the test files that pydicom carries, got none in pydicom "
            f"{pydicom.__version__}; a pip-installed pydicom 3 has it"
        )
    dataset = pydicom.dcmread(path)
    group = dataset.WaveformSequence[0]  # group 1 is one averaged heartbeat, at the same rate
    channels = group.ChannelDefinitionSequence
    rate = float(group.SamplingFrequency)
    # Integers times the channels' sensitivities, plus their baselines: physical units.
    signals = dataset.waveform_array(0)
    units = {channel.ChannelSensitivityUnitsSequence[0].CodeValue for channel in channels}
    if signals.shape != (10000, 12) or rate != 1000.0 or units != {"uV"}:
        _checks.fail(
            ValueError,
            _FILE,
            "10000 samples of 12 leads at 1000 Hz in uV",
            f"shape {signals.shape} at {rate:g} Hz in {', '.join(sorted(units))}",
        )
    # "Lead I (Einthoven)" -> "I"
    names = (channel.ChannelSourceSequence[0].CodeMeaning for channel in channels)
    return signals / 1000, tuple(name.split()[1] for name in names), rate


def _second_recording() -> np.ndarray:
    """The other recording, shape (1024, 1), in unknown units."""
    import pywt.data

    signal = np.asarray(pywt.data.ecg(), np.float64)
    if signal.shape != (1024,) or (signal.min(), signal.max()) != (-112, 250):
        _checks.fail(
            ValueError,
            "pywt.data.ecg()",
            "1024 samples from -112 to 250",
            f"shape {signal.shape} from {signal.min():g} to {signal.max():g}",
        )
    return signal[:, None]


def _resample(signals: np.ndarray) -> np.ndarray:
    """From 360 to 250 Hz along axis 0; beyond its ends the signal continues as a straight line."""
    from scipy.signal import resample_poly

    return resample_poly(signals, 1000 // _DECIMATION, _SECOND_RATE, axis=0, padtype="line")


def _decimate(signals: np.ndarray) -> np.ndarray:
    """Every fourth sample along axis 0, after a zero-phase low-pass against aliasing."""
    from scipy.signal import decimate

    return decimate(signals, _DECIMATION, axis=0)


def _windows(signals: np.ndarray, stride: int) -> np.ndarray:
    """Windows of (time, leads) signals, shape (num, 256): the leads of one time side by side."""
    windows = np.lib.stride_tricks.sliding_window_view(signals, _WINDOW, axis=0)[::stride]
    return windows.reshape(-1, _WINDOW)


def _wavelet_basis() -> tuple[np.ndarray, np.ndarray]:
    """The orthonormal synthesis matrix (256, 256) and the wavelet level of each column."""
    import pywt

    sizes = [_WINDOW >> _DEPTH] + [_WINDOW >> depth for depth in range(_DEPTH, 0, -1)]
    levels = np.repeat(np.arange(_DEPTH + 1), sizes)
    unit_vectors = np.split(np.eye(_WINDOW), np.cumsum(sizes)[:-1])
    basis = pywt.waverec(unit_vectors, _WAVELET, mode="periodization", axis=0)
    return basis, levels


def _unit_coefficients(
    windows: np.ndarray, basis: np.ndarray
) -> tuple[Float[Array, "num n"], Float[Array, " num"]]:
    """Coefficients of the windows scaled to norm 1, and the norms they had, in mV."""
    scale = np.linalg.norm(windows, axis=1, keepdims=True)
    X = (windows / scale) @ basis  # the inverse of an orthonormal basis is its transpose
    return jnp.asarray(X, jnp.float32), jnp.asarray(scale[:, 0], jnp.float32)
