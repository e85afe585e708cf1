"""OMP with a policy, in plain NumPy."""

import numpy as np


def omp_oracle(A, y, policy, sparsity, tau=None):
    """OMP and Soft-OMP with a policy, as loops; complex where the problem is."""
    norms = np.linalg.norm(A, axis=0)
    unit, P, z, r = A / norms, np.zeros((0, A.shape[1])), np.zeros(0), y
    scale = 2.0 ** np.floor(np.log2(max(np.abs(y.real).max(), np.abs(y.imag).max())))
    for step in range(sparsity):
        chosen, x = 1 - np.prod(1 - P, axis=0), P.T @ z / scale
        scores = np.abs(policy(step, chosen, x)) * np.abs(unit.conj().T @ r)
        if tau is None:
            scores = np.where(chosen > 0, -1, scores)
            row = (np.arange(len(scores)) == np.argmax(scores)).astype(float)
        else:
            row = np.exp((scores - scores.max()) / tau)
            row = row / row.sum()
        P = np.vstack([P, row])
        z = np.linalg.lstsq(unit @ P.T, y, rcond=None)[0]
        r = y - unit @ (P.T @ z)
    return P.T @ z / norms
