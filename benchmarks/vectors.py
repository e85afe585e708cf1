"""Many vectors of few atoms, made without anything of shape ``(num, n)``."""

import numpy as np


def vectors(m: int, n: int, k: int, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Gaussian dictionary of unit columns, the atoms of each vector, and the vectors, float32."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((m, n), np.float32)
    A /= np.linalg.norm(A, axis=0)
    # Sorted, and then moved apart, so that no atom comes twice.
    support = np.sort(rng.integers(0, n - k + 1, (num, k)), axis=1) + np.arange(k)
    Y = np.zeros((num, m), np.float32)
    for atoms in support.T:
        Y += rng.standard_normal((num, 1), np.float32) * A.T[atoms]
    return A, support, Y
