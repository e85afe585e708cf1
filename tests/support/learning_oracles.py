"""Plain NumPy oracles of what is learned: losses of choices, counting, sparse Bayes."""

import numpy as np

from oracles import (
    column_norms,
    double,
    hardsort,
    omp,
    omp_path,
    omp_scores,
    softmax,
    thresholding,
    topk_mask,
)


def _energy_fractions(x):
    energy = np.abs(x) ** 2
    total = energy.sum()
    return energy / total if total > 0 else energy


def omp_selection_loss(A, Y, X, weights, sparsity, tau, path_weights=None):
    """Mean over signals of -(1/K) sum_i log sum_j p_ij (t_j + 1e-6) along the hard OMP path.

    t_j = |x_j|^2 / ||x||^2 and p_i = softmax(score(r_{i-1}) / tau), both 0 for the atoms chosen
    before.

    Args:
        A: Dictionary (m, n).
        Y: Measurements (num, m).
        X: Signals (num, n), or None to take them from OMP's own answers.
        weights: The weights (n,) that score each choice.
        sparsity: Number of steps K.
        tau: Temperature.
        path_weights: The weights that drive the hard path; `weights` by default. Held fixed while
            `weights` moves, they make finite differences the gradient that the library defines,
            even where a moving path would jump.
    """
    A, Y, w = double(A), double(Y), double(weights)
    path_w = w if path_weights is None else double(path_weights)
    losses = []
    for i, y in enumerate(Y):
        chosen, _, residuals = omp_path(A, y, sparsity, path_w, 0.0)
        # A path that has reached r = 0 goes on with r = 0: K choices are scored in any case.
        residuals += [residuals[-1]] * (sparsity + 1 - len(residuals))
        x = omp(A, y, sparsity, path_w).x if X is None else double(X[i])
        t = _energy_fractions(x)
        total = 0.0
        for step, r in enumerate(residuals[:sparsity]):
            open_ = np.setdiff1d(np.arange(len(t)), chosen[:step])
            p = softmax(omp_scores(A, r, w)[open_] / tau)
            total += np.log(np.sum(p * (t[open_] + 1e-6)))
        losses.append(-total / sparsity)
    return np.mean(losses)


def iht_selection_loss(
    A, Y, X, weights, sparsity, tau, num_layers, step_size=None, path_weights=None
):
    """Mean over signals and hard IHT layers of the weighted logistic loss of keeping S.

    -s sum_{j in S} t_j log sigma(z_j) - (s/n) sum_{j not in S} log sigma(-z_j), where
    z = (|w u| - theta) / tau, theta lies halfway between the s-th and the (s+1)-th largest |w u|,
    S holds the s largest entries of x (fewer if x has fewer that are nonzero), and
    t_j = |x_j|^2 / ||x||^2.

    Args:
        A: Dictionary (m, n).
        Y: Measurements (num, m).
        X: Signals (num, n), or None to take them from IHT's own answers.
        weights: The weights (n,) that score each layer.
        sparsity: Number of entries kept, below n.
        tau: Temperature.
        num_layers: Number of IHT steps.
        step_size: Of the gradient step; 1/||A||^2 by default.
        path_weights: The weights that drive the path and set theta, both of which the library
            holds constant; `weights` by default.
    """
    A, Y, w = double(A), double(Y), double(weights)
    n = A.shape[1]
    path_w = w if path_weights is None else double(path_weights)
    losses = []
    for i, y in enumerate(Y):
        answer, _, gradient_steps = thresholding(
            A, y, num_layers, step_size, path_w, None, lambda v, step: hardsort(v, sparsity)
        )
        x = answer if X is None else double(X[i])
        t = _energy_fractions(x)
        in_S = (topk_mask(np.abs(x), sparsity) == 1) & (x != 0)
        total = 0.0
        for u in gradient_steps:
            descending = sorted(np.abs(path_w * u), reverse=True)
            theta = (descending[sparsity - 1] + descending[sparsity]) / 2
            for j in range(n):
                z = (abs(w[j] * u[j]) - theta) / tau
                # log sigma(z) = -log(1 + e^-z), which logaddexp computes without overflow.
                if in_S[j]:
                    total += sparsity * t[j] * np.logaddexp(0.0, -z)
                else:
                    total += sparsity / n * np.logaddexp(0.0, z)
        losses.append(total / num_layers)
    return np.mean(losses)


def count_weights(A, Y, sparsity, num_rounds=8, exponent=0.25, floor=1e-4):
    """w_j = (mean energy fraction of atom j in OMP's answers + floor)^exponent, repeated from 1."""
    n = np.shape(A)[1]
    w = np.ones(n)
    for _ in range(num_rounds):
        counts = np.zeros(n)
        for y in Y:
            counts += _energy_fractions(omp(A, y, sparsity, w).x)
        w = (counts / len(Y) + floor) ** exponent
    return w


def sparse_bayes(A, Y, num_rounds, noise=None):
    """Prior variances and noise by posterior means and covariances, signal by signal.

    From M = (A* A / noise + diag(1/v))^-1 and means mu = M A* y / noise the update of v_j is
    v_j sqrt(mean |mu_j|^2 / (v_j - M_jj)), and noise's the root of that of residuals over the
    degrees of freedom that the atoms leave.
    """
    A, Y = double(A), double(Y)
    m, n = A.shape
    energy = np.mean(np.abs(Y) ** 2)
    v = np.array([energy * m / 2 / n / norm**2 for norm in column_norms(A)])
    variance = energy / 2 if noise is None else noise**2
    for _ in range(num_rounds):
        M = np.linalg.inv(A.conj().T @ A / variance + np.diag(1 / v))
        means = [M @ A.conj().T @ y / variance for y in Y]
        power = np.mean([np.abs(mu) ** 2 for mu in means], axis=0)
        explained = 1 - np.diag(M).real / v
        if noise is None:
            pairs = zip(Y, means, strict=True)
            left = np.mean([np.sum(np.abs(y - A @ mu) ** 2) for y, mu in pairs])
            variance = np.sqrt(variance * left / (m - explained.sum()))
        v = np.sqrt(v * power / explained)
    return v, variance
