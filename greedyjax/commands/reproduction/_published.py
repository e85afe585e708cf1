"""The published numbers of the paper's experiments, for comparison with ours.

Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy unfolding", arXiv 2505.15661. The values
come from the result files that its authors released. The settings of figure 1 were not published.
"""

from typing import Any

# Figure 2, recovery error against tau: geometric means over 50 draws, by noise level.
RECOVERY: dict[str, Any] = {
    "omp": {
        "hard": {1e-5: 2.91e-6, 1e-3: 2.96e-4, 1e-1: 3.96e-2},
        "soft": {
            1e-4: {1e-5: 3.14e-6, 1e-3: 2.84e-4, 1e-1: 3.94e-2},
            1e-3: {1e-5: 3.53e-5, 1e-3: 5.18e-4, 1e-1: 3.98e-2},
            1e-2: {1e-5: 2.07e-2, 1e-3: 1.95e-2, 1e-1: 6.07e-2},
            1e-1: {1e-5: 0.40, 1e-3: 0.40, 1e-1: 0.41},
            1.0: {1e-5: 1.09, 1e-3: 1.09, 1e-1: 1.03},
            10**1.5: {1e-5: 1.54, 1e-3: 1.50, 1e-1: 1.51},
        },
    },
    "iht": {
        "hard": {1e-5: 4.36e-6, 1e-3: 3.02e-4, 1e-1: 3.59e-2},
        "soft": {
            1e-4: {1e-5: 4.28e-6, 1e-3: 2.80e-4, 1e-1: 3.59e-2},
            1e-3: {1e-5: 1.56e-4, 1e-3: 8.30e-4, 1e-1: 3.56e-2},
            1e-2: {1e-5: 9.05e-2, 1e-3: 9.05e-2, 1e-1: 9.47e-2},
            1e-1: {1e-5: 0.946, 1e-3: 0.946, 1e-1: 0.945},
            1.0: {1e-5: 0.971, 1e-3: 0.971, 1e-1: 0.971},
        },
    },
}

# Figure 2, relative difference to the hard iterates, by number of steps and then by tau: geometric
# means over 50 draws for OMP and 100 for IHT, with 1e-12 added before the logarithm.
_TAUS = (1e-8, 1e-6, 1e-5, 1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2, 1e-1)


def _by_tau(*values: float) -> dict[float, float]:
    return dict(zip(_TAUS, values, strict=True))


DIFFERENCE: dict[str, dict[int, dict[float, float]]] = {
    "omp": {
        5: _by_tau(1e-12, 1e-12, 1.7e-12, 2.7e-12, 1.9e-11, 4.0e-8, 6.2e-5, 3.9e-2, 0.39),
        15: _by_tau(1e-12, 3.9e-12, 2.6e-11, 9.8e-11, 3.7e-9, 1.0e-6, 9.7e-4, 2.3e-2, 0.40),
        30: _by_tau(6.4e-12, 3.1e-4, 7.7e-4, 1.2e-3, 1.1e-3, 1.1e-3, 2.1e-3, 2.0e-2, 0.40),
    },
    "iht": {
        1: _by_tau(1e-12, 1.4e-12, 8.3e-12, 6.5e-6, 5.5e-3, 4.6e-2, 0.11, 0.23, 0.92),
        10: _by_tau(1e-12, 1.6e-12, 7.9e-11, 4.6e-5, 1.0e-3, 4.6e-3, 1.8e-2, 9.1e-2, 0.95),
        30: _by_tau(1e-12, 8.0e-12, 1.9e-10, 1.6e-7, 2.6e-6, 1.8e-4, 1.4e-2, 9.3e-2, 0.95),
    },
}

# Figure 3, for one draw of the problem, on the 512 signals that also chose the epoch: mean squared
# error, median relative error, and share of the signals with an error below 1e-2.
LEARNING: dict[str, dict[str, tuple[float, float, float | None]]] = {
    "omp": {
        "hard, w = 1": (0.3300, 0.364, 0.35),
        "soft, w = 1": (0.334, 0.374, 0.21),
        "network, the paper's training": (4.71e-3, 7.78e-4, 0.87),
        "hard, the paper's training": (5.23e-3, 6.8e-4, 0.88),
        "hard, oracle weights": (3.91e-3, 6.6e-4, 0.92),
        "soft, oracle weights": (4.19e-3, 8.4e-4, 0.86),
        "least squares on the true support": (4.5e-7, 6.3e-4, None),
    },
    "iht": {
        "hard, w = 1": (5.04e-2, 5.81e-2, 0.16),
        "soft, w = 1": (4.92e-2, 4.94e-2, 0.20),
        "network, the paper's training": (4.87e-4, 2.08e-3, 0.90),
        "hard, the paper's training": (4.44e-4, 1.89e-3, 0.88),
        "hard, oracle weights": (5.80e-4, 1.72e-3, 0.90),
        "soft, oracle weights": (2.43e-4, 2.22e-3, 0.93),
        "least squares on the true support": (1.9e-7, 4.1e-4, None),
    },
}
PUBLISHED_EPOCH = {"omp": 580, "iht": 420}
