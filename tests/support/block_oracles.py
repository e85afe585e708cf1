"""Plain NumPy oracles of solvers that choose blocks of atoms, from the lists of their members."""

import numpy as np

from oracles import (
    Solution,
    column_norms,
    default_step_size,
    double,
    fit,
    hardsort,
    omp_scores,
    rounded_as,
    softsort,
)


def pooled(scores, blocks):
    """The norm of the scores of each block."""
    return np.array([np.sqrt(np.sum(scores[members] ** 2)) for members in blocks])


def block_omp(A, y, blocks, sparsity, weights=None, tau=None):
    """Block OMP: the block of the largest norm of scores, then least squares on all atoms so far.

    Soft, a row p over blocks adds as many atoms as its best block has: number w is the mean of the
    atoms number w of all blocks, each with the entry of its block.
    """
    A, y = double(A), double(y)
    n = A.shape[1]
    w = np.ones(n) if weights is None else double(weights)
    norms = column_norms(A)
    scale = np.array([1 / norm if norm > 0 else 0.0 for norm in norms])
    P, z, r, steps = np.zeros((0, n)), np.zeros(0, A.dtype), y, 0
    closed, width, support = [], max(map(len, blocks)), []
    for _ in range(sparsity):
        if tau is None and np.linalg.norm(r) == 0:
            break
        scores = rounded_as(A, pooled(omp_scores(A, r, w), blocks))
        if tau is None:
            scores[closed] = -1
            p = hardsort(scores, 1)[0]
        else:
            p = softsort(scores, tau, 1)[0]
        best = int(np.argmax(p))
        closed.append(best)
        for place in range(width):
            row = np.zeros(n)
            for b, members in enumerate(blocks):
                if place < len(members):
                    row[members[place]] = p[b]
            exists = place < len(blocks[best])
            support.append(blocks[best][place] if exists else -1)
            if exists:
                P = np.vstack([P, row])
        z, r = fit((A * scale) @ P.T, y)
        steps += 1
    support += [-1] * (sparsity * width - len(support))
    return Solution(scale * (P.T @ z), np.array(support), np.linalg.norm(r), steps)


def block_iht(A, y, blocks, sparsity, num_steps, step_size=None, weights=None, tau=None):
    """IHT that keeps the blocks of the largest norms, or multiplies each by its soft mask."""
    A, y = double(A), double(y)
    n = A.shape[1]
    w = np.ones(n) if weights is None else double(weights)
    eta = default_step_size(A) if step_size is None else step_size
    x = np.zeros(n, np.result_type(A, y))
    for _ in range(num_steps):
        u = x + eta * (A.conj().T @ (y - A @ x))
        scores = rounded_as(A, pooled(np.abs(w * u), blocks))
        rows = hardsort(scores, sparsity) if tau is None else softsort(scores, tau, sparsity)
        gate = np.zeros(n)
        for b, members in enumerate(blocks):
            gate[members] = rows.sum(axis=0)[b]
        x = gate * u
    return Solution(x, np.array([]), np.linalg.norm(y - A @ x), num_steps)
