"""Plain NumPy oracles of solvers whose answers are not negative, with every fit by SciPy's `nnls`.

A score is that of a positive number; that of a negative one is 0. With ``tau`` rows are those of
softsort. Real systems alone: `real` makes one of a complex one.
"""

import numpy as np
import scipy.optimize

from oracles import (
    Solution,
    column_norms,
    default_step_size,
    double,
    eps,
    hardsort,
    rounded_as,
    softsort,
)


def real(A, y):
    """The real system of a complex one, in double precision."""
    A, y = double(A), double(y)
    if not (np.iscomplexobj(A) or np.iscomplexobj(y)):
        return A, y
    # By products, so that the arrays of rounding.py go on as what they are.
    above, below = (np.eye(2 * len(y), len(y), -place) for place in (0, len(y)))
    return tuple(above @ each.real + below @ each.imag for each in (A, y))


def nnls(B, y, first=()):
    """Coefficients >= 0 of least squares over the columns of B.

    By SciPy where columns are independent. Where they are not, by the definition: of columns within
    ``8 sqrt(eps)`` of the span of those that are fitted, none is added. The columns ``first`` are
    fitted before the others, where that makes them positive.
    """
    # Times 1, as that is rounded where everything is; at unit scale, as nnls knows no other.
    shortest = 8 * np.sqrt(eps(B))
    B, y, size = np.asarray(B * 1), np.asarray(y * 1), np.linalg.norm(y)
    if size == 0 or B.shape[1] == 0:
        return np.zeros(B.shape[1])
    y = y / np.asarray(size)
    singular = np.linalg.svd(B, compute_uv=False)
    if B.shape[1] <= B.shape[0] and singular[-1] > 100 * shortest:
        return np.asarray(size) * scipy.optimize.nnls(B, y, maxiter=30 * B.shape[1])[0]
    return np.asarray(size) * _lawson_hanson(B, y, shortest, first)


def _lawson_hanson(B, y, shortest, first):
    """The column of the largest positive correlation enters; those at 0 leave."""
    z, fitted = np.zeros(B.shape[1]), []
    start = np.linalg.lstsq(B[:, first], y, rcond=None)[0] if len(first) else np.zeros(0)
    if len(first) and np.all(start > 0):
        z[first], fitted = start, list(first)
    for _ in range(3 * len(z) + 3):
        correlations = B.T @ (y - B @ z)
        Q = np.linalg.qr(B[:, fitted])[0]
        left = np.linalg.norm(B - Q @ (Q.T @ B), axis=0)
        may_enter = (left > shortest) & (correlations > 8 * np.finfo(float).eps)
        may_enter[fitted] = False
        if not may_enter.any():
            break
        fitted.append(int(np.argmax(np.where(may_enter, correlations, 0))))
        while fitted:
            target = np.linalg.lstsq(B[:, fitted], y, rcond=None)[0]
            if np.all(target > 0):
                z[fitted] = target
                break
            blocks = [i for i in range(len(fitted)) if target[i] <= 0]
            steps = [z[fitted[i]] / max(z[fitted[i]] - target[i], 1e-300) for i in blocks]
            z[fitted] += min(steps) * (target - z[fitted])
            z[fitted[blocks[int(np.argmin(steps))]]] = 0
            fitted.remove(fitted[blocks[int(np.argmin(steps))]])
    return z


class _Atoms:
    """Columns brought to norm 1, those of zeros aside."""

    def __init__(self, A, y, weights):
        self.A, self.y = real(A, y)
        self.n = self.A.shape[1]
        norms = column_norms(self.A)
        self.scale = np.array([1 / norm if norm > 0 else 0.0 for norm in norms])
        self.unit = self.A * self.scale
        self.w = np.ones(self.n) if weights is None else np.abs(double(weights))

    def scores(self, values):
        """Weighted, those of negative values 0."""
        return rounded_as(self.A, self.w * np.maximum(values, 0))

    def correlations(self, r):
        return self.unit.T @ r

    def fit(self, rows, first=()):
        """``x = P^T z`` over unit columns, what it leaves, and ``z``."""
        rows = np.asarray(rows).reshape(-1, self.n)
        z = nnls(self.unit @ rows.T, self.y, first)
        x = rows.T @ z
        return x, self.y - self.unit @ x, z

    def solution(self, x, support, num_steps):
        return Solution(x, support, np.linalg.norm(self.y - self.A @ x), num_steps)


def _rows(scores, k, tau):
    return hardsort(scores, k) if tau is None else softsort(scores, tau, k)


def _to_fit(values, scores, k, tau):
    """The rows of the largest scores; hard, those alone whose values are positive, or the first."""
    rows = _rows(scores, k, tau)
    if tau is None:
        kept = [row for row in rows if values[int(np.argmax(row))] > 0]
        rows = np.array(kept) if kept else rows[:1]
    return rows


def omp(A, y, sparsity, weights=None, tau=None):
    """Each step adds the atom of the largest positive correlation; hard, as long as there is one.

    Every fit is of all atoms so far, those first that were in the fit before.
    """
    atoms = _Atoms(A, y, weights)
    x, r, z, rows, chosen = np.zeros(atoms.n), atoms.y, np.zeros(0), [], []
    nothing = 8 * eps(atoms.y) * np.linalg.norm(atoms.y)
    for _ in range(sparsity):
        correlations = atoms.correlations(r)
        if tau is None and np.max(correlations) <= nothing:
            break
        scores = atoms.scores(correlations)
        if tau is None:
            scores[chosen] = -1
        rows.append(_rows(scores, 1, tau)[0])
        chosen.append(int(np.argmax(rows[-1])))
        x, r, z = atoms.fit(rows, np.flatnonzero(z > 0))
    return atoms.solution(atoms.scale * x, np.array(chosen, int), len(chosen))


def iht(A, y, sparsity, num_steps, step_size=None, weights=None, tau=None):
    """A gradient step, and the positive entries of the largest scores, or these times a gate."""
    atoms = _Atoms(A, y, weights)
    eta, x = default_step_size(atoms.A) if step_size is None else step_size, np.zeros(atoms.n)
    for _ in range(num_steps):
        u = x + eta * (atoms.A.T @ (atoms.y - atoms.A @ x))
        rows = _rows(atoms.scores(u), sparsity, tau)
        x = rows.sum(axis=0) * np.maximum(u, 0)
    return atoms.solution(x, np.argmax(rows, axis=1), num_steps)


def niht(A, y, sparsity, num_steps):
    """Each step as long as is best along the entries kept, halved until the residual surely falls.

    That is, unless it keeps the same entries and stops none of them at 0.
    """
    atoms = _Atoms(A, y, None)
    A, y, x, kept = atoms.A, atoms.y, np.zeros(atoms.n), None
    best = lambda g: (g @ g) / np.sum((A @ g) ** 2)
    top = lambda u: hardsort(atoms.scores(u), sparsity).sum(axis=0) > 0
    kept = top(best(A.T @ y) * (A.T @ y))
    for _ in range(num_steps):
        g = A.T @ (y - A @ x)
        length = best(np.where(kept, g, 0))
        while True:
            u = x + length * g
            mask = top(u)
            new = np.where(mask, np.maximum(u, 0), 0)
            moved = np.sum((new - x) ** 2)
            same = np.array_equal(mask, kept) and np.all(new[mask] > 0)
            if same or length * np.sum((A @ (new - x)) ** 2) <= 0.99 * moved:
                break
            length /= 2
        x, kept = new, mask
    return atoms.solution(x, np.flatnonzero(x), num_steps)


def htp(A, y, sparsity, num_steps, step_size=None, weights=None, tau=None):
    """A gradient step, and a fit of the entries of the largest scores."""
    atoms = _Atoms(A, y, weights)
    eta, x = default_step_size(atoms.A) if step_size is None else step_size, np.zeros(atoms.n)
    nothing = 64 * eps(atoms.y) * np.linalg.norm(atoms.y)
    for _ in range(num_steps):
        r = atoms.y - atoms.A @ x
        u = x + eta * (atoms.A.T @ (r if np.linalg.norm(r) > nothing else 0 * r))
        rows = _to_fit(u, atoms.scores(u), sparsity, tau)
        x = atoms.scale * atoms.fit(rows)[0]
    return atoms.solution(x, np.argmax(rows, axis=1), num_steps)


def _to_merge(atoms, values, k, tau):
    """Likewise, hard those alone whose scores are more than rounding."""
    if tau is None:
        values = np.where(values > 4 * eps(atoms.y) * np.linalg.norm(atoms.y), values, 0)
    return _to_fit(atoms.w * values, atoms.scores(values), k, tau)


def _merging(A, y, sparsity, num_steps, weights, tau, candidates, refits):
    atoms = _Atoms(A, y, weights)
    kept, r, best = np.zeros((0, atoms.n)), atoms.y, None
    nothing = 64 * eps(atoms.y) * np.linalg.norm(atoms.y)
    if refits:
        kept = _to_merge(atoms, atoms.correlations(r), sparsity, tau)
        x, r, _ = atoms.fit(kept)
        best = np.linalg.norm(r), x, kept
    for _ in range(num_steps):
        most = min(candidates * sparsity, atoms.n)
        joining = _to_merge(atoms, atoms.correlations(r), most, tau)
        new = [row for row in joining if not any(np.array_equal(row, old) for old in kept)]
        v, _, _ = atoms.fit([*kept, *new])
        kept = _to_merge(atoms, v, sparsity, tau)
        x = kept.sum(axis=0) * v
        r = atoms.y - atoms.unit @ x
        if refits:
            x, r, _ = atoms.fit(kept)
        if best is None or np.linalg.norm(r) < best[0] - nothing:
            best = np.linalg.norm(r), x, kept
    _, x, kept = best
    return atoms.solution(atoms.scale * x, np.argmax(kept, axis=1), num_steps)


def subspace_pursuit(A, y, sparsity, num_steps, weights=None, tau=None):
    """As many candidates as atoms are kept, which are fitted again."""
    return _merging(A, y, sparsity, num_steps, weights, tau, 1, True)


def cosamp(A, y, sparsity, num_steps, weights=None, tau=None):
    """Twice as many; those kept keep their coefficients."""
    return _merging(A, y, sparsity, num_steps, weights, tau, 2, False)
