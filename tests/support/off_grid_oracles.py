"""Newtonised OMP in plain NumPy, its closed-form derivatives, and false alarms by SciPy.

Atoms are steering vectors of a line of antennas, ``exp(2 pi i k f)``, and pulses ``exp(-(t - c)^2 /
(2 w^2))``. Measurements are ``(m, L)``. Nothing here is shared with the library.
"""

import numpy as np
from scipy import optimize, special


def steering(m, f):
    """The atom, its first and its second derivative."""
    k = 2j * np.pi * np.arange(m)
    a = np.exp(k * f)
    return a, k * a, k * k * a


def pulse(m, c, width=1.5):
    t = np.arange(m) - c
    a = np.exp(-0.5 * (t / width) ** 2)
    return a, a * t / width**2, a * (t**2 / width**4 - 1 / width**2)


def energy(family, m, theta, R):
    """``sum_l |a* r_l|^2 / ||a||^2`` with two derivatives, by the rule of quotients."""
    a, b, c = family(m, theta)
    N = np.sum(np.abs(a.conj() @ R) ** 2)
    dN = 2 * np.sum((a.conj() @ R).conj() * (b.conj() @ R)).real
    ddN = 2 * np.sum(np.abs(b.conj() @ R) ** 2 + ((a.conj() @ R).conj() * (c.conj() @ R)).real)
    D, dD = np.vdot(a, a).real, 2 * np.vdot(a, b).real
    ddD = 2 * (np.vdot(b, b) + np.vdot(a, c)).real
    F = N / D
    dF = dN / D - N * dD / D**2
    ddF = ddN / D - 2 * dN * dD / D**2 - N * ddD / D**2 + 2 * N * dD**2 / D**3
    return F, dF, ddF


def newton(family, m, theta, R, num_newton=1):
    for _ in range(num_newton):
        F, dF, ddF = energy(family, m, theta, R)
        if ddF < 0 and energy(family, m, theta - dF / ddF, R)[0] >= F * (1 - 1e-15):
            theta = theta - dF / ddF
    return theta


def newtonised_omp(family, grid, Y, sparsity, limits=None, num_newton=1, num_cycles=3):
    """Parameters, coefficients and what is fitted; ``limits`` of energy stop it."""
    m, thetas = len(Y), []
    C, R = np.zeros((0, Y.shape[1])), Y

    def fit():
        B = np.stack([family(m, theta)[0] for theta in thetas], axis=1)
        C = np.linalg.lstsq(B, Y, rcond=None)[0]
        return C, Y - B @ C

    for k in range(sparsity):
        scores = [energy(family, m, theta, R)[0] for theta in grid]
        theta = newton(family, m, grid[int(np.argmax(scores))], R, num_newton)
        if limits is not None and energy(family, m, theta, R)[0] <= limits(k, R):
            break
        a = family(m, theta)[0]
        c = a.conj() @ R / np.vdot(a, a).real
        thetas, C = [*thetas, theta], np.concatenate([C, c[None]])
        R = R - np.outer(a, c)
        for _ in range(num_cycles):
            for i, theta in enumerate(thetas):
                rest = R + np.outer(family(m, theta)[0], C[i])
                thetas[i] = newton(family, m, theta, rest, num_newton)
                a = family(m, thetas[i])[0]
                C[i] = a.conj() @ rest / np.vdot(a, a).real
                R = rest - np.outer(a, C[i])
        C, R = fit()
    return np.array(thetas), C, Y - R


def peak_level(m, n, length, L, k, false_alarm, is_complex, known):
    """The energy that noise reaches with a probability, by SciPy and a root: see `thresholds`."""
    share = 1.0 if is_complex else 0.5
    shape = share * L
    if known:
        chance = lambda u: special.gammaincc(shape, u)
        crossings = lambda u: length * u ** (shape - 0.5) * np.exp(-u) / special.gamma(shape)
        crossings_of = lambda u: crossings(u) / np.pi**0.5
        last = 4 * (shape + np.log(n / false_alarm) + 1)
    else:
        half = shape * (m - k) - k / 2
        chance = lambda t: special.betainc(half - shape, shape, 1 - t)
        crossings_of = lambda t: (
            length / np.pi * t ** (shape - 0.5) * (1 - t) ** (half - shape - 0.5)
            * special.beta(0.5, half) / special.beta(shape, half - shape + 0.5)
        )  # fmt: skip
        last = 1 - 1e-12

    def excess(level):
        one = chance(level)
        many = min(1 - (1 - one) ** n, 1 - (1 - one) * np.exp(-crossings_of(level)))
        return many - false_alarm

    # From above: at low levels, where it says nothing, the formula need not fall.
    levels = np.linspace(last, 0, 2001)[:-1]
    first = next(i for i, level in enumerate(levels) if excess(level) > 0)
    root = optimize.brentq(excess, levels[first], levels[first - 1], xtol=1e-15)
    return root / share if known else root
