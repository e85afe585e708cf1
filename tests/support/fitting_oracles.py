"""Plain NumPy oracles of the solvers that fit again and again, of ridge fits and weights per step.

Written as loops from the definitions in the docstrings, as `oracles.py` is, whose sorting and least
squares they stand on. Everywhere ``weights`` may have one row per step, and ``penalty`` adds
``sum_j penalty_j |x_j|^2`` to what the fits minimise.
"""

import numpy as np

from oracles import (
    Solution,
    column_norms,
    default_step_size,
    double,
    eps,
    fit,
    hardsort,
    per_step,
    softsort,
)


class Atoms:
    """Columns brought to norm 1, those of zeros aside, and fits over means of them."""

    def __init__(self, A, y, penalty):
        norms = column_norms(A)
        self.y, self.norms = y, norms
        self.scale = np.array([1 / norm if norm > 0 else 0.0 for norm in norms])
        self.unit = A * self.scale
        # Of coefficients over unit columns, which are norms times those over the columns given.
        self.penalty = None if penalty is None else double(penalty) * self.scale**2
        self.n = A.shape[1]

    def scores(self, r):
        """|a_j* r| / ||a_j||, a loop over atoms."""
        return np.array([np.abs(np.vdot(self.unit[:, j], r)) for j in range(self.n)])

    def fit(self, rows):
        """``x = P^T z``, z least squares of y over the mean atoms, and the residual.

        A hard row selects its column.

        A ridge is least squares of longer vectors, by sqrt(penalty_j) x_j for each atom j, where y
        has 0.
        """
        rows = np.asarray(rows).reshape(-1, self.n)
        hard = np.all((rows == 0) | (rows == 1))
        chosen = np.argmax(rows, axis=1)
        B = self.unit[:, chosen] if hard else self.unit @ rows.T
        y = self.y
        if self.penalty is not None:
            added = np.sqrt(self.penalty)[:, None] * rows.T
            B = np.vstack([B, added])
            y = np.append(y, np.zeros(len(added)))
        # Closer to the span of others than this, a column has no derivative to speak of.
        z, r = fit(B, y, np.sqrt(eps(B)))
        return rows.T @ z, r[: len(self.y)]


def _weights(weights, num_steps, n):
    rows = np.ones(n) if weights is None else np.abs(double(weights))
    return rows if rows.ndim == 2 else [rows] * num_steps


def _solution(A, y, x, support, num_steps):
    return Solution(x, support, np.linalg.norm(y - A @ x), num_steps)


# --- Orthogonal matching pursuit -----------------------------------------------------------------


def omp(A, y, sparsity, weights=None, penalty=None):
    """OMP, every fit a ridge, step i choosing by the weights of its own."""
    A, y = double(A), double(y)
    atoms, r, rows = Atoms(A, y, penalty), y, []
    x = np.zeros(atoms.n, y.dtype)
    for w in _weights(weights, sparsity, atoms.n):
        scores = w * atoms.scores(r)
        scores[[int(np.argmax(row)) for row in rows]] = -1
        rows.append(np.eye(atoms.n)[int(np.argmax(scores))])
        x, r = atoms.fit(rows)
    return _solution(A, y, atoms.scale * x, np.argmax(rows, axis=1), sparsity)


def soft_omp(A, y, sparsity, tau, weights=None, penalty=None):
    """Soft-OMP likewise."""
    A, y = double(A), double(y)
    atoms, r, rows = Atoms(A, y, penalty), y, []
    x = np.zeros(atoms.n, y.dtype)
    for w, tau_k in zip(_weights(weights, sparsity, atoms.n), per_step(tau, sparsity), strict=True):
        rows.append(softsort(w * atoms.scores(r), tau_k, 1)[0])
        x, r = atoms.fit(rows)
    return _solution(A, y, atoms.scale * x, np.argmax(rows, axis=1), sparsity)


# --- Thresholding that fits ----------------------------------------------------------------------


def _thresholding(A, y, num_steps, num_fitted, step_size, weights, penalty, select):
    """u = x + eta A*(y - A x); x is u times the gate or, the last ``num_fitted`` times, a fit."""
    A, y = double(A), double(y)
    atoms = Atoms(A, y, penalty)
    eta = default_step_size(A) if step_size is None else step_size
    x, support = np.zeros(atoms.n, np.result_type(A, y)), None
    for step, w in enumerate(_weights(weights, num_steps, atoms.n)):
        u = x + eta * (A.conj().T @ (y - A @ x))
        rows = select(w * np.abs(u), step)
        fits = step >= num_steps - num_fitted
        x = atoms.scale * atoms.fit(rows)[0] if fits else rows.sum(axis=0) * u
        support = np.argmax(rows, axis=1)
    return _solution(A, y, x, support, num_steps)


def htp(A, y, sparsity, num_steps, step_size=None, weights=None, penalty=None, num_fitted=None):
    """Hard thresholding pursuit; with ``num_fitted=1``, IHT with its last step fitted."""
    fitted = num_steps if num_fitted is None else num_fitted
    select = lambda scores, step: hardsort(scores, sparsity)
    return _thresholding(A, y, num_steps, fitted, step_size, weights, penalty, select)


def soft_htp(
    A, y, sparsity, tau, num_steps, step_size=None, weights=None, penalty=None, num_fitted=None
):
    """The same with rows of softsort."""
    fitted = num_steps if num_fitted is None else num_fitted
    taus = per_step(tau, num_steps)
    select = lambda scores, step: softsort(scores, taus[step], sparsity)
    return _thresholding(A, y, num_steps, fitted, step_size, weights, penalty, select)


# --- Merging -------------------------------------------------------------------------------------


def _merging(A, y, sparsity, num_steps, weights, penalty, select, candidates, refits, debias):
    """Each step: merge candidates to the rows kept, fit, keep the best; of least residual.

    A row that is merged twice is one row. A hard row joins, and is kept, if its score is more than
    rounding. One residual is less than another if by more than rounding; the start counts where it
    is a fit.
    """
    A, y = double(A), double(y)
    atoms = Atoms(A, y, penalty)
    num_candidates = min(candidates * sparsity, atoms.n)
    per_step = _weights(weights, num_steps, atoms.n)
    kept, r, best = np.zeros((0, atoms.n)), y, None
    if refits:
        kept = select(atoms, atoms.scores(y), per_step[0], 0, sparsity)
        x, r = atoms.fit(kept)
        best = np.linalg.norm(r), x, kept
    for step in range(num_steps):
        w = per_step[step]
        joining = select(atoms, atoms.scores(r), w, step, num_candidates)
        new = [row for row in joining if not any(np.array_equal(row, old) for old in kept)]
        v, _ = atoms.fit([*kept, *new])
        kept = select(atoms, np.abs(v), w, step, sparsity)
        if refits:
            x, r = atoms.fit(kept)
        else:
            x = kept.sum(axis=0) * v
            r = y - atoms.unit @ x
        length = np.linalg.norm(r)
        if best is None or length < best[0] - 64 * eps(y) * np.linalg.norm(y):
            best = length, x, kept
    _, x, kept = best
    if debias:
        x, _ = atoms.fit(kept)
    return _solution(A, y, atoms.scale * x, np.argmax(kept, axis=1), num_steps)


def more_than_rounding(atoms, rows, scores, w):
    """The hard rows whose weighted scores are, or the first."""
    counts = (rows @ scores > 4 * eps(atoms.y) * np.linalg.norm(atoms.y)) & (rows @ w > 0)
    return rows[counts] if counts.any() else rows[:1]


def _hard(atoms, scores, w, step, k):
    return more_than_rounding(atoms, hardsort(w * scores, k), scores, w)


def _soft(tau, num_steps):
    taus = per_step(tau, num_steps)
    return lambda atoms, scores, w, step, k: softsort(w * scores, taus[step], k)


def subspace_pursuit(A, y, sparsity, num_steps, weights=None, penalty=None):
    """Starts from the atoms of largest scores; as many join; those kept are fitted again."""
    return _merging(A, y, sparsity, num_steps, weights, penalty, _hard, 1, True, False)


def soft_subspace_pursuit(A, y, sparsity, tau, num_steps, weights=None, penalty=None):
    """The same with rows of softsort."""
    select = _soft(tau, num_steps)
    return _merging(A, y, sparsity, num_steps, weights, penalty, select, 1, True, False)


def cosamp(A, y, sparsity, num_steps, weights=None, debias=False, penalty=None):
    """Starts from nothing; twice as many join; those kept keep their coefficients."""
    return _merging(A, y, sparsity, num_steps, weights, penalty, _hard, 2, False, debias)


def soft_cosamp(A, y, sparsity, tau, num_steps, weights=None, debias=False, penalty=None):
    """The same with rows of softsort."""
    select = _soft(tau, num_steps)
    return _merging(A, y, sparsity, num_steps, weights, penalty, select, 2, False, debias)
