"""Plain NumPy oracles of dictionary learning, from codes with their zeros, one signal a column."""

import numpy as np


def mod(Y, X):
    """The dictionary of least ``||Y - A X||_F`` for signals (m, num) and codes (n, num)."""
    return np.linalg.lstsq(X.T, Y.T, rcond=None)[0].T


def ksvd_sweep(A, Y, X):
    """Approximate K-SVD: atoms in turn, one step of the power method each; and the new codes."""
    A, X = A.copy(), X.copy()
    for j in range(A.shape[1]):
        users = np.flatnonzero(X[j])
        if len(users) == 0:
            continue
        g = X[j, users]
        A[:, j] = 0
        errors = Y[:, users] - A @ X[:, users]
        d = errors @ g.conj()
        d /= np.linalg.norm(d)
        A[:, j], X[j, users] = d, d.conj() @ errors
    return A, X


def relative_error(A, Y, X):
    """``||Y - A X||_F^2 / ||Y||_F^2``."""
    return np.linalg.norm(Y - A @ X) ** 2 / np.linalg.norm(Y) ** 2
