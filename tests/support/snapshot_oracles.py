"""Plain NumPy oracles of solvers of several snapshots, which may choose blocks of atoms.

Measurements are ``(m, L)``. A group is a list of atoms that are chosen together; by default each
atom is one. ``X`` is ``(n, L)``; supports are sets of atoms, or lists in the order of choice.
"""

import numpy as np


def groups_of(A, groups):
    return [[j] for j in range(A.shape[1])] if groups is None else groups


def unit(A):
    return A / np.linalg.norm(A, axis=0)


def best(C, groups, k, w, closed=()):
    """The atoms of the k groups whose weighted rows of C have the largest norms."""
    w = np.ones(len(C)) if w is None else w
    energies = np.array([np.sum(np.abs(w[g][:, None] * C[g]) ** 2) for g in groups])
    energies[list(closed)] = -1
    return np.argsort(-energies, kind="stable")[:k]


def members(groups, chosen):
    return [j for g in chosen for j in groups[g]]


def fitted(A, Y, atoms):
    X = np.zeros((A.shape[1], Y.shape[1]), np.result_type(A, Y))
    X[atoms] = np.linalg.lstsq(A[:, atoms], Y, rcond=None)[0]
    return X


def omp(A, Y, k, groups=None, w=None):
    groups, chosen, X = groups_of(A, groups), [], np.zeros((A.shape[1], Y.shape[1]))
    for _ in range(k):
        C = unit(A).conj().T @ (Y - A @ X)
        chosen += best(C, groups, 1, w, chosen).tolist()
        X = fitted(A, Y, members(groups, chosen))
    return X, members(groups, chosen)


def iht(A, Y, k, num_steps, step_size, groups=None, w=None):
    groups, X = groups_of(A, groups), np.zeros((A.shape[1], Y.shape[1]))
    for _ in range(num_steps):
        U = X + step_size * A.conj().T @ (Y - A @ X)
        atoms = members(groups, best(U, groups, k, w))
        X = np.zeros_like(U)
        X[atoms] = U[atoms]
    return X, atoms


def htp(A, Y, k, num_steps, step_size, groups=None, w=None):
    groups, X = groups_of(A, groups), np.zeros((A.shape[1], Y.shape[1]))
    for _ in range(num_steps):
        U = X + step_size * A.conj().T @ (Y - A @ X)
        atoms = members(groups, best(U, groups, k, w))
        X = fitted(A, Y, atoms)
    return X, atoms


def merging(A, Y, k, num_steps, candidates, refits, groups=None, w=None):
    """CoSaMP (2 candidates, no refit) and subspace pursuit (1, refit): the best of all iterates."""
    groups = groups_of(A, groups)
    norms = np.linalg.norm(A, axis=0)[:, None]
    X, kept, found = np.zeros((A.shape[1], Y.shape[1])), [], None
    if refits:
        kept = best(unit(A).conj().T @ Y, groups, k, w).tolist()
        X = fitted(A, Y, members(groups, kept))
        found = np.linalg.norm(Y - A @ X), X, kept
    for _ in range(num_steps):
        C = unit(A).conj().T @ (Y - A @ X)
        merged = kept + [g for g in best(C, groups, candidates * k, w) if g not in kept]
        Z = fitted(A, Y, members(groups, merged))
        kept = best(norms * Z, groups, k, w).tolist()
        atoms = members(groups, kept)
        X = np.zeros_like(Z)
        X[atoms] = Z[atoms]
        X = fitted(A, Y, atoms) if refits else X
        left = np.linalg.norm(Y - A @ X)
        if found is None or left < found[0] * (1 - 1e-10):
            found = left, X, kept
    return found[1], members(groups, found[2])


def least_squares_path(A, Y, k):
    """Orthogonal least squares as defined: each step tries all atoms, and takes the best fit."""
    chosen = []
    for _ in range(k):
        left = [
            np.inf if j in chosen else np.linalg.norm(Y - A @ fitted(A, Y, [*chosen, j]))
            for j in range(A.shape[1])
        ]
        chosen.append(int(np.argmin(left)))
    return chosen


def rank_aware(A, Y, k, level):
    """RA-ORMP: directions of the residual by an SVD, those above ``level`` alone."""
    A, chosen = unit(A), []
    for _ in range(k):
        R = Y - A @ fitted(A, Y, chosen)
        U, singular, _ = np.linalg.svd(R, full_matrices=False)
        U = U[:, singular > level]
        rest = A - A @ fitted(A, A, chosen)
        lengths = np.linalg.norm(rest, axis=0)
        lengths[chosen] = np.inf
        chosen.append(int(np.argmax(np.linalg.norm(U.conj().T @ A, axis=0) / lengths)))
    return chosen
