"""Plain NumPy oracles of solvers that choose in levels, from their published formulas."""

import numpy as np

import fitting_oracles
from oracles import (
    Solution,
    column_norms,
    default_step_size,
    double,
    fit,
    hardsort,
    omp_scores,
    per_step,
    rounded_as,
    softsort,
    thresholding,
)


def sort_in_levels(scores, ids, counts, tau=None):
    """The first rows of a sort of each level, over all atoms; one level after the other."""
    found = [np.zeros((0, len(ids)))]
    for level, count in enumerate(counts):
        atoms = np.flatnonzero(ids == level)
        count = min(count, len(atoms))
        if count == 0:
            continue
        part = scores[atoms]
        rows = np.zeros((count, len(ids)))
        rows[:, atoms] = hardsort(part, count) if tau is None else softsort(part, tau, count)
        found.append(rows)
    return np.vstack(found)


def omp(A, y, ids, counts, weights=None, tau=None):
    """The best atom of the levels with room, until all are full; soft, scores times the room."""
    A, y = double(A), double(y)
    n = A.shape[1]
    w = np.ones(n) if weights is None else double(weights)
    norms = column_norms(A)
    scale = np.array([1 / norm if norm > 0 else 0.0 for norm in norms])
    P, z, r = np.zeros((0, n)), np.zeros(0, A.dtype), y
    while len(P) < sum(counts) and (tau is not None or np.linalg.norm(r) > 0):
        chosen = 1 - np.prod(1 - P, axis=0)
        room = np.zeros(n)
        for level, count in enumerate(counts):
            room[ids == level] = np.clip(count - chosen[ids == level].sum(), 0, 1)
        scores = omp_scores(A, r, w)
        if tau is None:
            scores[(chosen > 0) | (room == 0)] = -1
            row = hardsort(scores, 1)
        else:
            row = softsort(rounded_as(A, room * scores), tau, 1)
        P = np.vstack([P, row])
        z, r = fit((A * scale) @ P.T, y)
    support = np.full(sum(counts), -1)
    support[: len(P)] = np.argmax(P, axis=1)
    return Solution(scale * (P.T @ z), support, np.linalg.norm(r), len(P))


def iht(A, y, ids, counts, num_steps, step_size=None, weights=None, tau=None):
    """``x = H_{s,M}(x + eta A*(y - A x))``: of each level its largest entries."""
    select = lambda v, step: sort_in_levels(rounded_as(A, v), ids, counts, tau)
    eta = default_step_size(A) if step_size is None else step_size
    x, rows, _ = thresholding(A, y, num_steps, eta, weights, None, select)
    residual = np.linalg.norm(double(y) - double(A) @ x)
    return Solution(x, np.argmax(rows, axis=1), residual, num_steps)


def htp(A, y, ids, counts, num_steps, step_size=None, weights=None, tau=None):
    """The same, with least squares on those entries."""
    select = lambda v, step: sort_in_levels(v, ids, counts, tau)
    return fitting_oracles._thresholding(
        A, y, num_steps, num_steps, step_size, weights, None, select
    )


def _merging(A, y, ids, counts, num_steps, weights, tau, candidates, refits, debias):
    total = sum(counts)
    taus = None if tau is None else per_step(tau, num_steps)

    def select(atoms, scores, w, step, k):
        each = [-(-k // total) * count for count in counts]
        rows = sort_in_levels(w * scores, ids, each, None if taus is None else taus[step])
        return (
            rows if taus is not None else fitting_oracles.more_than_rounding(atoms, rows, scores, w)
        )

    settings = weights, None, select, candidates, refits, debias
    return fitting_oracles._merging(A, y, total, num_steps, *settings)


def cosamp(A, y, ids, counts, num_steps, weights=None, tau=None, debias=False):
    """Twice as many candidates of each level join those kept."""
    return _merging(A, y, ids, counts, num_steps, weights, tau, 2, False, debias)


def subspace_pursuit(A, y, ids, counts, num_steps, weights=None, tau=None):
    """As many candidates of each level join those kept, which are fitted again."""
    return _merging(A, y, ids, counts, num_steps, weights, tau, 1, True, False)
