"""Every degenerate input that the design names, as one table."""

import functools
from typing import NamedTuple

import numpy as np
import scipy.fft

from algorithms import Algorithm, Problem
from helpers import random_problem

N = 16  # Atoms.


class Case(NamedTuple):
    """One input at unit scale, and the units to measure it in."""

    A: np.ndarray
    y: np.ndarray
    w: np.ndarray
    tau: float = 0.05
    units: tuple[float, float] = (1.0, 1.0)

    def problem(self, algorithm: Algorithm, dtype) -> Problem:
        """In its units, in one precision."""
        a, b = self.units
        tau = algorithm.tau(self.tau, a, b)
        return Problem(a * self.A, b * self.y, self.w, np.float64(tau)).astype(dtype)


def _wide(A):
    """Columns of zeros up to N."""
    return np.hstack([A, np.zeros((len(A), N - A.shape[1]))])


@functools.cache
def cases(dtype, m: int) -> dict[str, Case]:
    """By name, all of one shape: ``m`` measurements, `N` atoms."""
    rng = np.random.default_rng(1)
    A, _, y = random_problem(0, m, N, 3, dtype, noise=0.2)
    Q = np.linalg.qr(random_problem(2, N, N, 1, dtype)[0])[0]
    basis = _wide(np.linalg.qr(A[:, :m])[0])
    identity, dct = np.eye(m), scipy.fft.dct(np.eye(m), norm="ortho", axis=0)
    ones = np.ones(N)
    duplicates, zeros = A.copy(), A.copy()
    duplicates[:, [1, 5, 9]] = np.stack([A[:, 0], -A[:, 4], A[:, 0]], axis=1)
    copied = 2 * A[:, 0] + A[:, 4]
    zeros[:, [0, 3, 15]] = 0
    table = {
        "generic": Case(A, y, rng.uniform(0.5, 2, N)),
        "no weights": Case(A, y, ones),
        "y = 0": Case(A, 0 * y, ones),
        "A = 0": Case(0 * A, y, ones),
        "y orthogonal to every column": Case(np.vstack([0 * A[:1], A[1:]]), identity[0], ones),
        "duplicate columns": Case(duplicates, copied, ones),
        "all columns equal": Case(np.repeat(A[:, :1], N, axis=1), y, ones),
        "zero columns": Case(zeros, y, ones),
        "orthonormal columns": Case(basis, y, ones),
        "orthonormal columns at a low temperature": Case(basis, y, ones, tau=1e-3),
        "orthonormal rows": Case(Q[:m], y, ones),
        "identity and DCT": Case(_wide(np.hstack([identity, dct])), identity[0] + dct[:, -1], ones),
        "exact ties": Case(_wide(np.hstack([identity, identity])), np.ones(m), ones),
        "exact ties at a high temperature": Case(
            _wide(np.hstack([identity, identity])), np.ones(m), ones, tau=1e3
        ),
        "more steps than the signal has atoms": Case(A, 2 * A[:, 7], ones),
        "column norms 0.1 to 10": Case(A * np.logspace(-1, 1, N), y, ones),
        "weights 0": Case(A, y, 0 * ones),
        "some weights 0, some negative": Case(A, y, np.where(np.arange(N) % 3, -ones, 0)),
    }
    for apart in (1e-3, 1e-6, 1e-9):
        near = duplicates + apart * A[:, ::-1]
        table[f"near-duplicate columns, {apart:g} apart"] = Case(near, copied, ones)
    for a, b in ((1, 1e-20), (1, 1e20), (1e-20, 1e-20), (1e20, 1e20), (1e20, 1)):
        table[f"A in units of {a:g}, y in units of {b:g}"] = Case(A, y, ones, units=(a, b))
    return table
