"""Problems to recover: signal models, measurement matrices and real recordings."""

from greedyjax.problems._ecg import ECG, ecg, second_ecg
from greedyjax.problems._levels import Levels, sparse_in_levels
from greedyjax.problems._matrices import gaussian, partial_fourier

__all__ = ["ECG", "Levels", "ecg", "gaussian", "partial_fourier", "second_ecg", "sparse_in_levels"]
