"""Plain NumPy oracles: every definition written out as a loop, in double precision.

Nothing here is imported from the library or tuned for speed. Each function is the textbook
statement of what the library computes in another way, so that agreement means something.
"""

from typing import NamedTuple

import numpy as np


class Solution(NamedTuple):
    """What a solver found; the fields that `greedyjax.Recovery` shares."""

    x: np.ndarray
    support: np.ndarray
    residual_norm: float
    num_steps: int


def double(array):
    array = np.asanyarray(array)  # The arrays of rounding.py go on as what they are.
    return array.astype(np.promote_types(array.dtype, np.float64))


def eps(array):
    """The rounding of its numbers; the arrays of rounding.py say themselves what theirs is."""
    return getattr(array, "rounding", np.finfo(array.dtype).eps)


def rounded_as(A, scores):
    """The same scores, with the rounding that ``A`` says its numbers have."""
    same = scores.view(type(A))
    if hasattr(A, "rounding"):
        same.rounding = A.rounding
    return same


def softmax(v):
    e = np.exp(v - np.max(v))
    return e / np.sum(e)


def per_step(tau, num_steps):
    """One temperature per step, from a scalar or from one value per step."""
    return np.broadcast_to(np.asarray(tau, dtype=np.float64), (num_steps,))


def column_norms(A):
    return np.array([np.linalg.norm(A[:, j]) for j in range(A.shape[1])])


# --- Sorting -------------------------------------------------------------------------------------


def softsort(scores, tau, k=None):
    """Row i is softmax_j(-|v_(i) - v_j| / tau), v_(1) >= v_(2) >= ...; first k rows.

    Scores within rounding of each other are tied.
    """
    v = double(scores)
    tied = 4 * eps(v) * np.max(np.abs(v))
    n = v.size
    k = n if k is None else k
    descending = sorted(v, reverse=True)
    P = np.zeros((k, n))
    for i in range(k):
        distances = [abs(descending[i] - v[j]) for j in range(n)]
        P[i] = softmax(np.array([-d / tau if d > tied else 0.0 for d in distances]))
    return P


def hardsort(scores, k=None):
    """Row i is one-hot at the i-th largest score; of equal scores the lower index comes first."""
    v = double(scores)
    n = v.size
    k = n if k is None else k
    order = sorted(range(n), key=lambda j: (-v[j], j))
    P = np.zeros((k, n))
    for i in range(k):
        P[i, order[i]] = 1.0
    return P


def soft_topk_mask(scores, k, tau):
    """Column sums of the first k softsort rows, from the dense matrix."""
    return softsort(scores, tau, k).sum(axis=0)


def topk_mask(scores, k):
    """1 on the k largest scores, 0 elsewhere."""
    return hardsort(scores, k).sum(axis=0)


# --- Orthogonal matching pursuit -----------------------------------------------------------------


def omp_scores(A, r, weights):
    """|w_j a_j* r| / ||a_j||, and 0 for an atom that is all zeros."""
    scores = np.zeros(A.shape[1])
    for j in range(A.shape[1]):
        norm = np.linalg.norm(A[:, j])
        if norm > 0:
            scores[j] = abs(weights[j] * np.vdot(A[:, j], r)) / norm
    return scores


def fit(B, y, shortest=0.0):
    """Least squares of y over the columns of B: z, and the residual.

    A column within rounding of the span of those before it adds nothing: its coefficient is 0.
    Rounding is that of means of unit columns, whatever the length of the mean itself: of the column
    and of those before it, times the coefficients that it has over them. Nor does one that is no
    further than ``shortest`` from that span. A coefficient
    within the rounding of y is 0 as well: else a column orthogonal to y, which leaves the residual
    where it is, would have one or not by chance.
    """
    m, k = B.shape
    rounding, kept = 10 * eps(B) * np.sqrt(m), []
    for i in range(k):
        if len(kept) == m:  # They span everything.
            break
        rest, amplified = B[:, i], 1.0
        if kept:
            over = np.linalg.lstsq(B[:, kept], rest, rcond=None)[0]
            amplified = np.sqrt(1 + np.linalg.norm(over) ** 2)
            # By an orthonormal basis: coefficients over the columns may be large, and lose digits.
            Q = np.linalg.qr(B[:, kept])[0]
            for _ in range(2):
                rest = rest - Q @ (Q.conj().T @ rest)
        if np.linalg.norm(rest) > max(rounding * amplified, shortest):
            kept.append(i)
    z = np.zeros(k, np.result_type(B, y))
    z[kept] = np.linalg.lstsq(B[:, kept], y, rcond=None)[0]
    z[np.abs(z) * column_norms(B) <= rounding * np.linalg.norm(y)] = 0
    # By an orthonormal basis again: of large coefficients that cancel, B z has the errors.
    Q, r = np.linalg.qr(B[:, kept])[0], y
    for _ in range(2):
        r = r - Q @ (Q.conj().T @ r)
    return z, r


def omp_path(A, y, sparsity, weights, rtol):
    """The chosen atoms, their coefficients, and the residuals before each step and at the end."""
    residuals, chosen = [y], []
    norms = column_norms(A)
    norms[norms == 0] = 1.0
    z = np.zeros(0, A.dtype)
    for _ in range(sparsity):
        r = residuals[-1]
        if np.linalg.norm(r) <= rtol * np.linalg.norm(y):
            break
        scores = omp_scores(A, r, weights)
        scores[chosen] = -np.inf
        chosen.append(int(np.argmax(scores)))
        z, r = fit(A[:, chosen] / norms[chosen], y)
        residuals.append(r)
    return chosen, z / norms[chosen], residuals


def omp(A, y, sparsity, weights=None, rtol=0.0):
    """Weighted OMP: the best atom by normalised score, then least squares on all atoms so far."""
    A, y = double(A), double(y)
    n = A.shape[1]
    w = np.ones(n) if weights is None else double(weights)
    chosen, z, residuals = omp_path(A, y, sparsity, w, rtol)
    x = np.zeros(n, np.result_type(A, y))
    x[chosen] = z
    support = np.full(sparsity, -1)
    support[: len(chosen)] = chosen
    return Solution(x, support, np.linalg.norm(residuals[-1]), len(chosen))


def soft_omp(A, y, sparsity, tau, weights=None, sort=softsort):
    """Soft-OMP on normalised columns: B gains the column A p, p the first row of a soft sort.

    A column of zeros has a share of p, as its score is 0, and the coefficient 0.
    """
    A, y = double(A), double(y)
    n = A.shape[1]
    w = np.ones(n) if weights is None else double(weights)
    norms = column_norms(A)
    scale = np.array([1 / norm if norm > 0 else 0.0 for norm in norms])
    A = A * scale
    P = np.zeros((0, n))
    z = np.zeros(0, A.dtype)
    r = y
    for tau_k in per_step(tau, sparsity):
        scores = omp_scores(A, r, w)
        P = np.vstack([P, sort(rounded_as(A, scores), tau_k, 1)])
        z, r = fit(A @ P.T, y)
    support = np.array([int(np.argmax(p)) for p in P])
    return Solution(scale * (P.T @ z), support, np.linalg.norm(r), sparsity)


def root_lasso_scores(A, r, weights, level):
    """||r|| times the sine of how much nearer to r an atom lies than its level asks for."""
    length = np.linalg.norm(r)
    sines = omp_scores(A, r, np.ones(A.shape[1])) / length if length > 0 else np.zeros(A.shape[1])
    angles = np.arcsin(np.minimum(sines, 1)) - np.arcsin(level)
    return np.abs(weights) * length * np.sin(np.maximum(angles, 0))


def generalised_omp(A, y, sparsity, weights=None, tau=None, at_a_time=2, scores_of=omp_scores):
    """OMP that adds several atoms a step: the best that are left, or the first softsort rows."""
    A, y = double(A), double(y)
    n = A.shape[1]
    w = np.ones(n) if weights is None else double(weights)
    norms = column_norms(A)
    scale = np.array([1 / norm if norm > 0 else 0.0 for norm in norms])
    P, z, r = np.zeros((0, n)), np.zeros(0, A.dtype), y
    while len(P) < sparsity and (tau is not None or np.linalg.norm(r) > 0):
        scores = scores_of(A, r, w)
        if tau is None and not scores_of(A, r, np.ones(n)).any() and scores_of is not omp_scores:
            break
        if tau is None:
            scores[np.any(P > 0, axis=0)] = -1
        rows = hardsort(scores, at_a_time) if tau is None else softsort(scores, tau, at_a_time)
        P = np.vstack([P, rows[: sparsity - len(P)]])
        z, r = fit((A * scale) @ P.T, y)
    support = np.full(sparsity, -1)
    support[: len(P)] = np.argmax(P, axis=1)
    return Solution(scale * (P.T @ z), support, np.linalg.norm(r), len(P))


# --- Iterative hard thresholding -----------------------------------------------------------------


def default_step_size(A):
    """1 / ||A||^2; 1 for A = 0, where every step size gives the same iterates."""
    norm = np.linalg.norm(A, 2)
    return 1.0 / norm**2 if norm > 0 else 1.0


def thresholding(A, y, num_steps, step_size, weights, x0, select):
    """x <- gate * u with u = x + eta A*(y - A x); also every u, and the rows of the last gate."""
    A, y = double(A), double(y)
    n = A.shape[1]
    w = np.ones(n) if weights is None else double(weights)
    eta = default_step_size(A) if step_size is None else step_size
    x = np.zeros(n, np.result_type(A, y)) if x0 is None else double(x0)
    gradient_steps, rows = [], None
    for step in range(num_steps):
        u = x + eta * (A.conj().T @ (y - A @ x))
        rows = select(np.abs(w * u), step)
        x = rows.sum(axis=0) * u
        gradient_steps.append(u)
    return x, rows, gradient_steps


def _thresholding_solution(A, y, x, rows, sparsity, num_steps):
    # After no step at all nothing has been chosen.
    support = np.full(sparsity, -1) if rows is None else np.argmax(rows, axis=1)
    return Solution(x, support, np.linalg.norm(double(y) - double(A) @ x), num_steps)


def iht(A, y, sparsity, num_steps, step_size=None, weights=None, x0=None):
    """Weighted IHT: a gradient step, then only the `sparsity` largest |w_j u_j| are kept."""
    x, rows, _ = thresholding(
        A, y, num_steps, step_size, weights, x0, lambda v, step: hardsort(v, sparsity)
    )
    return _thresholding_solution(A, y, x, rows, sparsity, num_steps)


def soft_iht(A, y, sparsity, tau, num_steps, step_size=None, weights=None, x0=None, sort=softsort):
    """Soft-IHT: a gradient step, then the column sums of the first rows of a soft sort."""
    taus = per_step(tau, num_steps)
    select = lambda v, step: sort(v, taus[step], sparsity)
    x, rows, _ = thresholding(A, y, num_steps, step_size, weights, x0, select)
    return _thresholding_solution(A, y, x, rows, sparsity, num_steps)


def niht(A, y, sparsity, num_steps, weights=None, tau=None):
    """Normalised IHT: the length of a step is measured on the entries kept before.

    Where others are kept, it is halved until it is 0.99 times the longest that lowers the residual.
    """
    A, y = double(A), double(y)
    n = A.shape[1]
    w = np.ones(n) if weights is None else double(weights)
    energy = lambda z: np.sum(np.abs(z) ** 2)

    def gate(u):
        scores = rounded_as(A, np.abs(w * u))
        rows = hardsort(scores, sparsity) if tau is None else softsort(scores, tau, sparsity)
        return rows, rows.sum(axis=0)

    x, g = np.zeros(n, np.result_type(A, y)), A.conj().T @ y
    length = energy(A @ g)
    rows, mask = gate(energy(g) / length * g if length > 0 else g)
    for _ in range(num_steps):
        g = A.conj().T @ (y - A @ x)
        length = energy(A @ (mask * g))
        length = energy(mask * g) / length if length > 0 else 0.0
        for _ in range(41):
            u = x + length * g
            rows, new = gate(u)
            moved = new * u - x
            unchanged = np.array_equal(new > 0.5, mask > 0.5)
            if unchanged or length * energy(A @ moved) <= 0.99 * energy(moved):
                break
            length /= 2
        x, mask = new * u, new
    return _thresholding_solution(A, y, x, rows if num_steps else None, sparsity, num_steps)


# --- Derivatives ---------------------------------------------------------------------------------


def finite_difference(f, x, eps=1e-6):
    """Central differences of a real-valued function, in the convention of `jax.grad`.

    For real x the entries are df/dx_j. For complex x = a + ib they are df/da_j - i df/db_j, which
    is what `jax.grad` returns; its conjugate is the direction of steepest ascent.

    Args:
        f: Takes an array like x in double precision, returns a real scalar.
        x: Real or complex array of any shape.
        eps: Half the distance between the two points of each difference.
    """
    x = double(x)
    gradient = np.zeros_like(x)
    directions = (1.0, 1j) if np.iscomplexobj(x) else (1.0,)
    for index in np.ndindex(x.shape):
        for direction in directions:
            step = np.zeros_like(x)
            step[index] = eps * direction
            slope = (float(f(x + step)) - float(f(x - step))) / (2 * eps)
            gradient[index] += np.conj(direction) * slope
    return gradient
