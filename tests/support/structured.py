"""What an algorithm of the contract is, and those whose structure is not plain."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import block_oracles
import greedyjax as gj
import nonnegative_oracles
import oracles
import rounding
from greedyjax.structures import Levels, NonNegative, SharedSupport

STEPS = 6  # Of the IHT family.
MERGES = 3  # Of CoSaMP and subspace pursuit.


class Algorithm(NamedTuple):
    """A way to solve, and what has to be known of it.

    Attributes:
        solve: of (A, y, w, tau, sparsity); a `Recovery`, or the bare answer of a network.
        oracle: the same in plain NumPy, with a field ``x``.
        tau_units: of the units of A and of y, those of the temperature; None for hard algorithms.
        choices: how often the answer of a step depends on a choice: that of what is kept, and that
            of the length of the step.
        signed: whether the sign or the phase of y and of columns goes over to the answer.
        fits: whether it scores atoms at unit norm and fits by least squares, as the OMP family
            does: the norms of columns do not matter, and there are at most m atoms.
    """

    solve: Callable
    oracle: Callable
    tau_units: Callable[[float, float], float] | None = None
    fits: bool = False
    choices: int = 1
    signed: bool = True

    @property
    def hard(self) -> bool:
        """Whether it has no temperature."""
        return self.tau_units is None

    def tau(self, tau: float, a: float, b: float) -> float:
        """A temperature at unit scale, in the units of a problem with A in ``a`` and y in ``b``."""
        return tau if self.tau_units is None else tau * self.tau_units(a, b)


def step_size(A):
    """1 / ||A||^2, as well as power iteration finds it.

    The estimate comes closer by (1 - g)^2 a step, g the gap between the two largest eigenvalues of
    A* A, relatively. It stops once it moves by less than eps^(2/3), after 300 steps at most, and
    may have started with a component of 1/10 in the right direction; the second eigenvalue is g
    away.
    """
    first, second = np.append(np.linalg.svd(rounding.double(A), compute_uv=False), 0)[:2]
    gap = 1 - (second / first) ** 2 if first > 0 else 1

    def error(eps):
        stopped = 2 * eps ** (2 / 3) / gap if gap > 0 else np.inf
        return min(gap, stopped + 100 * gap * np.exp(-600 * gap))

    return oracles.default_step_size(A) * rounding.error_in(A, error)


def blocks_omp(structure, blocks, soft=False):
    """Blocks of two chosen together: one for each two atoms asked for."""

    def solve(A, y, w, tau, k):
        num = max(k // 2, 1)
        if soft:
            return gj.soft_omp(A, y, sparsity=num, tau=tau, weights=w, structure=structure)
        return gj.omp(A, y, sparsity=num, weights=w, structure=structure)

    def oracle(A, y, w, tau, k):
        found = block_oracles.block_omp
        return found(A, y, blocks, max(k // 2, 1), w, tau if soft else None)

    return Algorithm(solve, oracle, (lambda a, b: b) if soft else None, fits=True)


def blocks_iht(structure, blocks, soft=False):
    """Blocks kept together."""

    def solve(A, y, w, tau, k):
        settings = {"sparsity": min(k, 4), "num_steps": STEPS, "weights": w}
        if soft:
            return gj.soft_iht(A, y, tau=tau, structure=structure, **settings)
        return gj.iht(A, y, structure=structure, **settings)

    def oracle(A, y, w, tau, k):
        settings = min(k, 4), STEPS, step_size(A), w, tau if soft else None
        return block_oracles.block_iht(A, y, blocks, *settings)

    return Algorithm(solve, oracle, (lambda a, b: b / a) if soft else None)


# The level of each of 16 atoms, and how many of each to choose for a sparsity.
LEVELS = np.array([1, 0, 2, 2, 0, 1, 1, 2, 0, 2, 0, 2, 1, 2, 1, 2])
LOCAL = {1: (0, 1, 0), 3: (1, 2, 0), 8: (2, 3, 3)}


def in_levels(solve, oracle, *steps, soft=None, fits=False, **settings):
    """Levels whose local sparsities are those of the sparsity asked for."""
    named = {"num_steps": steps[0]} if steps else {}

    def run(A, y, w, tau, k):
        given = named | settings | ({"tau": tau} if soft else {})
        return solve(A, y, sparsity=k, weights=w, structure=Levels(LEVELS, LOCAL[k]), **given)

    def expected(A, y, w, tau, k):
        given = settings | ({"step_size": step_size(A)} if steps and not fits else {})
        tau = tau if soft else None
        return oracle(A, y, LEVELS, LOCAL[k], *steps, weights=w, tau=tau, **given)

    return Algorithm(run, expected, soft, fits=fits)


def equal_snapshots(solver, *, soft=False, **settings):
    """Four equal snapshots of half the size, which together are one signal."""

    def solve(A, y, w, tau, k):
        Y = jnp.broadcast_to(y[:, None] / 2, (len(y), 4))
        given = settings | ({"tau": tau} if soft else {})
        found = solver(A, Y, sparsity=k, weights=w, structure=SharedSupport(), **given)
        return found._replace(x=2 * found.x[:, 0])

    return solve


def nonnegative_by_gram(A, y, w, k):
    structure = NonNegative()
    return gj.omp_batch(gj.dictionary(A), y[None], sparsity=k, weights=w, structure=structure)


def nonnegative(name, units=None, **settings):
    """A solver of real systems whose answers are not negative, hard or soft."""
    oracle, soft = getattr(nonnegative_oracles, name), units is not None
    solver = getattr(gj, f"soft_{name}" if soft else name)

    def solve(A, y, w, tau, k):
        A, y = gj.stack_real(A, y)
        more = settings | ({"tau": tau} if soft else {})
        return solver(A, y, sparsity=k, weights=w, structure=NonNegative(), **more)

    def found(A, y, w, tau, k):
        A, y = nonnegative_oracles.real(A, y)
        more = settings | ({"step_size": step_size(A)} if name in ("iht", "htp") else {})
        return oracle(A, y, k, weights=w, tau=tau if soft else None, **more)

    return Algorithm(solve, found, units, fits=name not in ("iht", "htp"), signed=False)
