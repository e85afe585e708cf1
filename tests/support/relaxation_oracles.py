"""Plain NumPy oracles of the relaxations: rows and masks of ``(scores, tau, k)`` by definition."""

import itertools

import numpy as np

from oracles import double, eps, softmax


def neuralsort(scores, tau, k):
    """Row i is softmax_j(((n + 1 - 2 i) v_j - sum_l |v_j - v_l|) / tau), i from 1 on.

    Scores tie with the best of a row where its logits are within the rounding of k scores.
    """
    v = double(scores)
    n, plain = v.size, np.asarray(v)
    tied = 8 * k * eps(v) * np.max(np.abs(plain))
    away = np.array([sum(abs(plain[j] - plain[l]) for l in range(n)) for j in range(n)])
    P = np.zeros((k, n))
    for i in range(k):
        logits = (n + 1 - 2 * (i + 1)) * plain - away
        behind = logits.max() - logits
        P[i] = softmax(-np.where(behind > tied, behind, 0) / tau)
    return P


def simplex_projection(z):
    """The nearest point of the simplex, found by trying every support of falling entries."""
    order = np.argsort(-z)
    for size in range(len(z), 0, -1):
        theta = (z[order[:size]].sum() - 1) / size
        if z[order[size - 1]] > theta:
            return np.maximum(z - theta, 0)
    raise AssertionError("no support is right")


def sparsesort(scores, tau, k):
    """Row i is the projection of -|v_(i) - v_j| / tau; scores within rounding are tied."""
    v = double(scores)
    plain = np.asarray(v)
    tied = 4 * eps(v) * np.max(np.abs(plain))
    rows = []
    for value in sorted(plain, reverse=True)[:k]:
        distances = np.abs(value - plain)
        rows.append(simplex_projection(-np.where(distances > tied, distances, 0) / tau))
    return np.stack(rows)


def boundary_gate(scores, tau, k):
    """The sigmoid of the distance to the middle between the k-th and the next score, as one row."""
    v = np.asarray(double(scores))
    if k == v.size:
        return np.ones((1, k))
    ordered = np.sort(v)[::-1]
    z = (v - ordered[k - 1 : k + 1].mean()) / tau
    return np.exp(-np.logaddexp(0, -z))[None]


def transport(scores, tau, k, num_rounds=20):
    """The first k of k + 1 rows of an entropic transport plan, by Sinkhorn's matrix scaling.

    Of the masses of n scores the first k ranks take one each and a last one takes the rest.
    """
    v = np.asarray(double(scores))
    n = v.size
    num = min(k, n - 1)
    ordered = np.sort(v)[::-1]
    middles = (ordered[:num] + ordered[1 : num + 1]) / 2
    # Between rank i and the next, a score gains by its distance from the middle.
    gain = np.zeros((num + 1, n))
    for i in range(num - 1, -1, -1):
        gain[i] = gain[i + 1] + (v - middles[i]) / tau
    mass = np.append(np.ones(num), n - num)
    log_sum = lambda a, axis: np.logaddexp.reduce(a, axis=axis)
    f = np.zeros(num + 1)
    for _ in range(num_rounds):
        g = -log_sum(gain + f[:, None], 0)
        f = np.log(mass) - log_sum(gain + g[None, :], 1)
    plan = gain - log_sum(gain + f[:, None], 0)[None, :]
    plan = np.exp(plan - log_sum(plan, 1)[:, None])
    return plan[:k]


def brute_force_transport(scores, k):
    """The hard limit: the assignment of k scores to ranks of the largest total, by trying all."""
    n = len(scores)
    best = max(
        itertools.permutations(range(n), k),
        key=lambda chosen: sum((k - i) * scores[j] for i, j in enumerate(chosen)),
    )
    return np.eye(n)[list(best)]
