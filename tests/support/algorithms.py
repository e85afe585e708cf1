"""Every algorithm of the library, one line each: what the contract and the invariances run over."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

import block_oracles
import fitting_oracles
import greedyjax as gj
import nonnegative_oracles
import oracles
import relaxation_oracles
import rounding
from generalised_omp import GeneralisedOMP
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.sorting import BoundaryGate, NeuralSort, SparseSort
from greedyjax.structures import Blocks, NonNegative
from operators_of import (
    filters_of,
    fourier_matrix_of,
    fourier_of,
    stacked,
    wavelet_matrix_of,
    wavelets_of,
)
from optimal_transport import OptimalTransport
from pairs import Pairs
from ready_operators import convolution_matrix

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


def representable(dtype, tau, a=1.0, b=1.0, choices=1):
    """Whether a slope of 1 / tau in every choice is a number of this precision, in units a and b.

    The scores are of size 1 to 10. Near a tie that persists, derivatives are that large.
    """
    units = np.max([1, 1 / a, b / a, b / a / a])
    growth = (choices * STEPS + 1) * np.maximum(np.log(10 / np.asarray(tau, np.float64)), 0)
    return growth + np.log(units) < np.log(np.finfo(dtype).max)


def x_of(answer) -> jax.Array:
    """The signal, from a `Recovery` or from the bare answer of a network."""
    return answer.x if isinstance(answer, gj.Recovery) else answer


_omp = functools.partial(
    Algorithm, oracle=lambda A, y, w, tau, k: oracles.omp(A, y, k, w), fits=True
)
_soft_omp = functools.partial(
    Algorithm,
    oracle=lambda A, y, w, tau, k: oracles.soft_omp(A, y, k, tau, w),
    tau_units=lambda a, b: b,
    fits=True,
)
_iht = functools.partial(
    Algorithm, oracle=lambda A, y, w, tau, k: oracles.iht(A, y, k, STEPS, _step_size(A), w)
)
_soft_iht = functools.partial(
    Algorithm,
    oracle=lambda A, y, w, tau, k: oracles.soft_iht(A, y, k, tau, STEPS, _step_size(A), w),
    tau_units=lambda a, b: b / a,
)
_htp = functools.partial(
    Algorithm,
    oracle=lambda A, y, w, tau, k: fitting_oracles.htp(A, y, k, STEPS, _step_size(A), w),
)
_soft_htp = functools.partial(
    Algorithm,
    oracle=lambda A, y, w, tau, k: fitting_oracles.soft_htp(A, y, k, tau, STEPS, _step_size(A), w),
    tau_units=lambda a, b: b / a,
)


def _merging(solve, oracle, **settings):
    """CoSaMP or subspace pursuit."""
    return Algorithm(
        lambda A, y, w, tau, k: solve(A, y, sparsity=k, num_steps=MERGES, weights=w, **settings),
        lambda A, y, w, tau, k: oracle(A, y, k, MERGES, w, **settings),
        fits=True,
    )


def _soft_merging(solve, oracle, **settings):
    return Algorithm(
        lambda A, y, w, tau, k: solve(
            A, y, sparsity=k, tau=tau, num_steps=MERGES, weights=w, **settings
        ),
        lambda A, y, w, tau, k: oracle(A, y, k, tau, MERGES, w, **settings),
        tau_units=lambda a, b: b,
        fits=True,
    )


def _step_size(A):
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


def first(recovery):
    """The only one of a batch."""
    return jax.tree.map(lambda leaf: leaf[0], recovery)


def _omp_net(A, w, tau, k):
    return OMPNet(A, sparsity=k, tau=tau, weights=w)


def _iht_net(A, w, tau, k):
    return IHTNet(A, sparsity=k, num_layers=STEPS, tau=tau, weights=w)


def _recover(A, y, w, tau, k):
    return gj.recover(GeneralisedOMP(k), A, y, weights=w, tau=tau)


_generalised_omp = functools.partial(
    Algorithm, oracle=lambda A, y, w, tau, k: oracles.generalised_omp(A, y, k, w), fits=True
)
_soft_generalised_omp = functools.partial(
    Algorithm,
    oracle=lambda A, y, w, tau, k: oracles.generalised_omp(A, y, k, w, tau),
    tau_units=lambda a, b: b,
    fits=True,
)


def _soft_omp_by(relaxation, sort):
    """Soft-OMP by another relaxation."""
    return Algorithm(
        lambda A, y, w, tau, k: gj.soft_omp(
            A, y, sparsity=k, tau=tau, weights=w, relaxation=relaxation
        ),
        lambda A, y, w, tau, k: oracles.soft_omp(A, y, k, tau, w, sort=sort),
        tau_units=lambda a, b: b,
        fits=True,
    )


def _soft_iht_by(relaxation, sort):
    """Soft-IHT by another relaxation."""
    return Algorithm(
        lambda A, y, w, tau, k: gj.soft_iht(
            A, y, sparsity=k, tau=tau, num_steps=STEPS, weights=w, relaxation=relaxation
        ),
        lambda A, y, w, tau, k: oracles.soft_iht(A, y, k, tau, STEPS, _step_size(A), w, sort=sort),
        tau_units=lambda a, b: b / a,
    )


def _blocks_omp(structure, blocks, soft=False):
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


def _blocks_iht(structure, blocks, soft=False):
    """Blocks kept together."""

    def solve(A, y, w, tau, k):
        settings = {"sparsity": min(k, 4), "num_steps": STEPS, "weights": w}
        if soft:
            return gj.soft_iht(A, y, tau=tau, structure=structure, **settings)
        return gj.iht(A, y, structure=structure, **settings)

    def oracle(A, y, w, tau, k):
        settings = min(k, 4), STEPS, _step_size(A), w, tau if soft else None
        return block_oracles.block_iht(A, y, blocks, *settings)

    return Algorithm(solve, oracle, (lambda a, b: b / a) if soft else None)


def _nonnegative_by_gram(A, y, w, k):
    structure = NonNegative()
    return gj.omp_batch(gj.dictionary(A), y[None], sparsity=k, weights=w, structure=structure)


def _nonnegative(name, units=None, **settings):
    """A solver of real systems whose answers are not negative, hard or soft."""
    oracle, soft = getattr(nonnegative_oracles, name), units is not None
    solver = getattr(gj, f"soft_{name}" if soft else name)

    def solve(A, y, w, tau, k):
        A, y = gj.stack_real(A, y)
        more = settings | ({"tau": tau} if soft else {})
        return solver(A, y, sparsity=k, weights=w, structure=NonNegative(), **more)

    def found(A, y, w, tau, k):
        A, y = nonnegative_oracles.real(A, y)
        more = settings | ({"step_size": _step_size(A)} if name in ("iht", "htp") else {})
        return oracle(A, y, k, weights=w, tau=tau if soft else None, **more)

    return Algorithm(solve, found, units, fits=name not in ("iht", "htp"), signed=False)


def _by_fourier(iht, A, y, w, k):
    matrix = fourier_matrix_of(A)
    return iht(matrix, y, k, STEPS, _step_size(matrix), w)


def _by_filters(A, y, w, k):
    matrix = convolution_matrix(filters_of(A), A.shape[:1])
    return oracles.iht(matrix, y, k, STEPS, _step_size(matrix), w)


# Of 16 atoms; their members in the order of their ids.
UNEQUAL = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 5, 2, 4, 6, 7])
BLOCKS = [np.flatnonzero(i == UNEQUAL) for i in range(8)]
PAIRS = [np.array([2 * i, 2 * i + 1]) for i in range(8)]

ALGORITHMS = {
    "omp": _omp(lambda A, y, w, tau, k: gj.omp(A, y, sparsity=k, weights=w)),
    "soft_omp": _soft_omp(
        lambda A, y, w, tau, k: gj.soft_omp(A, y, sparsity=k, tau=tau, weights=w)
    ),
    "iht": _iht(lambda A, y, w, tau, k: gj.iht(A, y, sparsity=k, num_steps=STEPS, weights=w)),
    "soft_iht": _soft_iht(
        lambda A, y, w, tau, k: gj.soft_iht(A, y, sparsity=k, tau=tau, num_steps=STEPS, weights=w)
    ),
    "niht": Algorithm(
        lambda A, y, w, tau, k: gj.niht(A, y, sparsity=k, num_steps=STEPS, weights=w),
        lambda A, y, w, tau, k: oracles.niht(A, y, k, STEPS, w),
    ),
    "soft_niht": Algorithm(
        lambda A, y, w, tau, k: gj.soft_niht(A, y, sparsity=k, tau=tau, num_steps=STEPS, weights=w),
        lambda A, y, w, tau, k: oracles.niht(A, y, k, STEPS, w, tau),
        tau_units=lambda a, b: b / a,
        choices=2,
    ),
    "htp": _htp(lambda A, y, w, tau, k: gj.htp(A, y, sparsity=k, num_steps=STEPS, weights=w)),
    "soft_htp": _soft_htp(
        lambda A, y, w, tau, k: gj.soft_htp(A, y, sparsity=k, tau=tau, num_steps=STEPS, weights=w)
    ),
    "subspace_pursuit": _merging(gj.subspace_pursuit, fitting_oracles.subspace_pursuit),
    "soft_subspace_pursuit": _soft_merging(
        gj.soft_subspace_pursuit, fitting_oracles.soft_subspace_pursuit
    ),
    "cosamp": _merging(gj.cosamp, fitting_oracles.cosamp),
    "soft_cosamp": _soft_merging(gj.soft_cosamp, fitting_oracles.soft_cosamp, debias=True),
    "omp_batch": _omp(
        lambda A, y, w, tau, k: first(gj.omp_batch(A, y[None], sparsity=k, weights=w))
    ),
    "omp_batch, Gram": _omp(
        lambda A, y, w, tau, k: first(
            gj.omp_batch(gj.dictionary(A), y[None], sparsity=k, weights=w)
        )
    ),
    "iht_batch": _iht(
        lambda A, y, w, tau, k: first(
            gj.iht_batch(A, y[None], sparsity=k, num_steps=STEPS, weights=w)
        )
    ),
    # From outside of the package: a line for the hard solver, a line for its soft twin.
    "generalised OMP": _generalised_omp(lambda A, y, w, tau, k: _recover(A, y, w, None, k)),
    "soft generalised OMP": _soft_generalised_omp(_recover),
    "soft_omp, NeuralSort": _soft_omp_by(NeuralSort, relaxation_oracles.neuralsort),
    "soft_omp, SparseSort": _soft_omp_by(SparseSort, relaxation_oracles.sparsesort),
    "soft_iht, NeuralSort": _soft_iht_by(NeuralSort, relaxation_oracles.neuralsort),
    "soft_iht, SparseSort": _soft_iht_by(SparseSort, relaxation_oracles.sparsesort),
    "soft_iht, BoundaryGate": _soft_iht_by(BoundaryGate, relaxation_oracles.boundary_gate),
    "soft_omp, transport": _soft_omp_by(OptimalTransport, relaxation_oracles.transport),
    "omp, pairs": _blocks_omp(Pairs(), PAIRS),
    "soft_omp, pairs": _blocks_omp(Pairs(), PAIRS, soft=True),
    "iht, masked FFT": _iht(
        lambda A, y, w, tau, k: gj.iht(fourier_of(A), y, sparsity=k, num_steps=STEPS, weights=w),
        oracle=lambda A, y, w, tau, k: _by_fourier(oracles.iht, A, y, w, k),
    ),
    "omp, wavelets": _omp(
        lambda A, y, w, tau, k: gj.omp(wavelets_of(A), y, sparsity=k, weights=w),
        oracle=lambda A, y, w, tau, k: oracles.omp(wavelet_matrix_of(A), y, k, w),
    ),
    "iht, convolution": _iht(
        lambda A, y, w, tau, k: gj.iht(
            gj.operators.Convolution(filters_of(A), A.shape[0]),
            y,
            sparsity=k,
            num_steps=STEPS,
            weights=w,
        ),
        oracle=lambda A, y, w, tau, k: _by_filters(A, y, w, k),
    ),
    "soft_omp, stacks": _soft_omp(
        lambda A, y, w, tau, k: gj.soft_omp(stacked(A), y, sparsity=k, tau=tau, weights=w)
    ),
    "iht, blocks": _blocks_iht(Blocks(UNEQUAL), BLOCKS),
    "soft_iht, blocks": _blocks_iht(Blocks(UNEQUAL), BLOCKS, soft=True),
    "omp, nonnegative": _nonnegative("omp"),
    "omp_batch, Gram, nonnegative": _nonnegative("omp")._replace(
        solve=lambda A, y, w, tau, k: first(_nonnegative_by_gram(*gj.stack_real(A, y), w, k))
    ),
    "soft_omp, nonnegative": _nonnegative("omp", lambda a, b: b),
    "iht, nonnegative": _nonnegative("iht", num_steps=STEPS),
    "soft_iht, nonnegative": _nonnegative("iht", lambda a, b: b / a, num_steps=STEPS),
    "htp, nonnegative": _nonnegative("htp", num_steps=STEPS),
    "subspace_pursuit, nonnegative": _nonnegative("subspace_pursuit", num_steps=MERGES),
    "OMPNet": _soft_omp(lambda A, y, w, tau, k: _omp_net(A, w, tau, k)(y)),
    "OMPNet, hardened": _omp(lambda A, y, w, tau, k: _omp_net(A, w, tau, k).harden()(y)),
    "IHTNet": _soft_iht(lambda A, y, w, tau, k: _iht_net(A, w, tau, k)(y)),
    "IHTNet, hardened": _iht(lambda A, y, w, tau, k: _iht_net(A, w, tau, k).harden()(y)),
}
# With code of their own: networks, and batches by residuals, call these.
SOLVERS = [
    "omp", "soft_omp", "iht", "soft_iht", "niht", "soft_niht", "omp_batch, Gram", "htp", "soft_htp",
    "subspace_pursuit", "soft_subspace_pursuit", "cosamp", "soft_cosamp",
    "generalised OMP", "soft generalised OMP",
]  # fmt: skip


# Relaxations, structures and operators, from inside and outside of the package, in a solver.
PARTS = [
    name for name in ALGORITHMS if name.startswith(("omp, ", "soft_omp, ", "iht, ", "soft_iht, "))
]
# Their atoms have places of their own, so that other columns in those places are another problem.
PLACED = [
    name
    for name in PARTS
    if name.endswith(("pairs", "blocks", "FFT", "wavelets", "convolution", "stacks"))
]
# One of each kind of code, where all of them would take too long.
KINDS = ["omp", "soft_omp", "soft_iht", "soft_cosamp"]


class Problem(NamedTuple):
    """The arguments of an algorithm; the arrays may have a leading axis of problems."""

    A: np.ndarray
    y: np.ndarray
    w: np.ndarray
    tau: np.ndarray

    def astype(self, dtype) -> "Problem":
        """In one precision: weights and temperatures in that of its parts."""
        real = np.finfo(dtype).dtype
        A, y, w, tau = self
        return Problem(A.astype(dtype), y.astype(dtype), w.astype(real), np.asarray(tau, real))
