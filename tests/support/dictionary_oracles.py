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


def masked_omp(A, y, observed, k):
    """OMP of one signal by the rows of ``A`` that it has entries for; a code with its zeros.

    The energy of atoms in the other rows has a penalty of a tenth.
    """
    penalty = 0.1 * np.sum(np.abs(A[~observed]) ** 2, axis=0)
    A, y = A[observed], y[observed]
    norms = np.linalg.norm(A, axis=0)
    x, chosen, residual = np.zeros(A.shape[1], A.dtype), [], y
    for _ in range(k):
        scores = np.abs(A.conj().T @ residual) / np.where(norms > 0, norms, np.inf)
        scores[chosen] = -1
        chosen.append(int(np.argmax(scores)))
        B = A[:, chosen]
        gram = B.conj().T @ B + np.diag(penalty[chosen])
        x[chosen] = np.linalg.solve(gram, B.conj().T @ y)
        residual = y - A @ x
    return x


def masked_ksvd_sweep(A, Y, X, observed):
    """K-SVD where entries are missing: each number by least squares on the entries there are."""
    A, X = A.copy(), X.copy()
    for j in range(A.shape[1]):
        errors = Y - np.delete(A, j, axis=1) @ np.delete(X, j, axis=0)
        for p in range(len(A)):
            there = observed[p] & (X[j] != 0)
            if there.any():
                A[p, j] = np.linalg.lstsq(X[j, there][:, None], errors[p, there], rcond=None)[0][0]
        A[:, j] /= np.linalg.norm(A[:, j])
        for i in np.flatnonzero(X[j]):
            there = observed[:, i]
            X[j, i] = np.linalg.lstsq(A[there, j, None], errors[there, i], rcond=None)[0][0]
    return A, X
