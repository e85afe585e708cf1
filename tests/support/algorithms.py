"""Every algorithm of the library, one line each: what the contract and the invariances run over."""

import functools
from typing import NamedTuple

import jax
import numpy as np

import fitting_oracles
import greedyjax as gj
import level_oracles
import oracles
import relaxation_oracles
from generalised_omp import GeneralisedOMP
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.pursuit import OMP, RootLasso
from greedyjax.sorting import BoundaryGate, NeuralSort, SparseSort
from greedyjax.structures import Blocks
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
from structured import (
    MERGES,
    STEPS,
    Algorithm,
    blocks_iht,
    blocks_omp,
    equal_snapshots,
    in_levels,
    nonnegative,
    nonnegative_by_gram,
    step_size,
)


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
    Algorithm, oracle=lambda A, y, w, tau, k: oracles.iht(A, y, k, STEPS, step_size(A), w)
)
_soft_iht = functools.partial(
    Algorithm,
    oracle=lambda A, y, w, tau, k: oracles.soft_iht(A, y, k, tau, STEPS, step_size(A), w),
    tau_units=lambda a, b: b / a,
)
_htp = functools.partial(
    Algorithm,
    oracle=lambda A, y, w, tau, k: fitting_oracles.htp(A, y, k, STEPS, step_size(A), w),
)
_soft_htp = functools.partial(
    Algorithm,
    oracle=lambda A, y, w, tau, k: fitting_oracles.soft_htp(A, y, k, tau, STEPS, step_size(A), w),
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
        lambda A, y, w, tau, k: oracles.soft_iht(A, y, k, tau, STEPS, step_size(A), w, sort=sort),
        tau_units=lambda a, b: b / a,
    )


LEVEL = 0.2


def _root_lasso(A, y, w, tau, k):
    return gj.recover(OMP(k, fit=RootLasso(level=LEVEL)), A, y, weights=w, tau=tau)


def _root_lasso_oracle(A, y, w, tau, k):
    scores_of = functools.partial(oracles.root_lasso_scores, level=LEVEL)
    return oracles.generalised_omp(A, y, k, w, tau, at_a_time=1, scores_of=scores_of)


def _by_fourier(iht, A, y, w, k):
    matrix = fourier_matrix_of(A)
    return iht(matrix, y, k, STEPS, step_size(matrix), w)


def _by_filters(A, y, w, k):
    matrix = convolution_matrix(filters_of(A), A.shape[:1])
    return oracles.iht(matrix, y, k, STEPS, step_size(matrix), w)


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
    "omp, root LASSO": _omp(
        lambda A, y, w, tau, k: _root_lasso(A, y, w, None, k),
        oracle=lambda A, y, w, tau, k: _root_lasso_oracle(A, y, w, None, k),
    ),
    "soft_omp, root LASSO": _soft_omp(_root_lasso, oracle=_root_lasso_oracle),
    "omp, pairs": blocks_omp(Pairs(), PAIRS),
    "soft_omp, pairs": blocks_omp(Pairs(), PAIRS, soft=True),
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
    "iht, blocks": blocks_iht(Blocks(UNEQUAL), BLOCKS),
    "soft_iht, blocks": blocks_iht(Blocks(UNEQUAL), BLOCKS, soft=True),
    "omp, snapshots": _omp(equal_snapshots(gj.omp)),
    "soft_omp, snapshots": _soft_omp(equal_snapshots(gj.soft_omp, soft=True)),
    "iht, snapshots": _iht(equal_snapshots(gj.iht, num_steps=STEPS)),
    "soft_iht, snapshots": _soft_iht(equal_snapshots(gj.soft_iht, soft=True, num_steps=STEPS)),
    "omp, levels": in_levels(gj.omp, level_oracles.omp, fits=True),
    "soft_omp, levels": in_levels(gj.soft_omp, level_oracles.omp, soft=lambda a, b: b, fits=True),
    "iht, levels": in_levels(gj.iht, level_oracles.iht, STEPS),
    "soft_iht, levels": in_levels(gj.soft_iht, level_oracles.iht, STEPS, soft=lambda a, b: b / a),
    "cosamp, levels": in_levels(gj.cosamp, level_oracles.cosamp, MERGES, fits=True),
    "soft_cosamp, levels": in_levels(
        gj.soft_cosamp, level_oracles.cosamp, MERGES, soft=lambda a, b: b, fits=True, debias=True
    ),
    "omp, nonnegative": nonnegative("omp"),
    "omp_batch, Gram, nonnegative": nonnegative("omp")._replace(
        solve=lambda A, y, w, tau, k: first(nonnegative_by_gram(*gj.stack_real(A, y), w, k))
    ),
    "soft_omp, nonnegative": nonnegative("omp", lambda a, b: b),
    "iht, nonnegative": nonnegative("iht", num_steps=STEPS),
    "soft_iht, nonnegative": nonnegative("iht", lambda a, b: b / a, num_steps=STEPS),
    "htp, nonnegative": nonnegative("htp", num_steps=STEPS),
    "soft_htp, nonnegative": nonnegative("htp", lambda a, b: b / a, num_steps=STEPS),
    "subspace_pursuit, nonnegative": nonnegative("subspace_pursuit", num_steps=MERGES),
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
    name
    for name in ALGORITHMS
    if name.removeprefix("soft_").startswith(("omp, ", "iht, ", "cosamp, "))
]
# Their atoms have places of their own, so that other columns in those places are another problem.
PLACED = [
    name
    for name in PARTS
    if name.endswith(("pairs", "blocks", "levels", "FFT", "wavelets", "convolution", "stacks"))
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
