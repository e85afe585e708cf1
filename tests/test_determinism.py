"""A choice depends on the scores alone, and where scores tie, the lowest index is chosen."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
import oracles
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.pursuit import OMP, GramMatrix
from greedyjax.sorting import HardSort
from helpers import DTYPES, slow_but

# --- Ties ----------------------------------------------------------------------------------------

# Two orthonormal bases, one after the other and then both again: columns j and j + 8 are equal,
# and Hadamard's are scaled by a power of two, so that every score is exact and ties are ties.
SIGNS = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
TWICE = np.hstack([np.eye(4), SIGNS] * 2)
N, K = 16, 3
Y = np.array(
    [[4.0, 4.0, 4.0, 0.0], [0.0, 2.0, 2.0, 2.0], [8.0, 4.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
)
STEPS = {"num_steps": 1, "step_size": 1.0}
SUPPORTS = {
    "omp": lambda A, y: gj.omp(A, y, sparsity=K).support,
    "soft_omp": lambda A, y: gj.soft_omp(A, y, sparsity=K, tau=1e-3).support,
    "soft_omp, hot": lambda A, y: gj.soft_omp(A, y, sparsity=K, tau=10.0).support,
    "iht": lambda A, y: gj.iht(A, y, sparsity=K, **STEPS).support,
    "soft_iht": lambda A, y: gj.soft_iht(A, y, sparsity=K, tau=1e-3, **STEPS).support,
    "soft_iht, hot": lambda A, y: gj.soft_iht(A, y, sparsity=K, tau=10.0, **STEPS).support,
    "same_path": lambda A, y: gj.certificates.same_path(A, y, sparsity=K, tau=1e-3).same_path,
}


def first_two(y):
    """The first two atoms of OMP; all of it is exact here, and later steps are not."""
    first = int(np.argmax(np.abs(TWICE.T @ y)))
    residual = y - TWICE[:, first] * (TWICE[:, first] @ y)
    scores = np.abs(TWICE.T @ residual)
    scores[first] = -1
    return [first, int(np.argmax(scores)) if residual.any() else -1]


def first_of_largest(scores, k):
    """Indices of the k largest, the lowest first where they tie, by Python's stable sort."""
    return sorted(range(len(scores)), key=lambda j: -scores[j])[:k]


@pytest.mark.parametrize("dtype", slow_but([np.complex64], DTYPES))
def test_ties_go_to_the_lowest_index(dtype):
    A = TWICE.astype(dtype)
    turned = Y * (1j if np.dtype(dtype).kind == "c" else -1)
    every = jax.jit(lambda y: {name: choose(A, y) for name, choose in SUPPORTS.items()})
    batch = jax.jit(jax.vmap(every))(turned.astype(dtype))
    for i, y in enumerate(turned):
        kept = first_of_largest(np.abs(TWICE.T @ y), K)
        # As far as scores are exact: two steps of OMP, and one where a soft atom was taken.
        expected = dict.fromkeys(SUPPORTS, kept) | {
            "omp": first_two(y),
            "soft_omp": kept[:1],
            "soft_omp, hot": kept[:1],
            "same_path": False,  # A tie proves nothing.
        }
        alone = every(y.astype(dtype))
        for name, atoms in expected.items():
            for found in (batch[name][i], alone[name]):
                exact = found[: len(atoms)] if np.ndim(found) else found
                assert exact.tolist() == atoms, name


@pytest.mark.parametrize("dtype", slow_but([np.complex128], [np.float32, np.complex128]))
def test_networks_choose_as_their_solvers_do(dtype):
    A, signals = TWICE.astype(dtype), Y.astype(dtype)
    omp_net = OMPNet(A, sparsity=2, tau=1e-3)
    iht_net = IHTNet(A, sparsity=K, num_layers=1, step_size=1.0, tau=1e-3)

    @jax.jit
    def answers(signals):
        return [net.harden()(signals) for net in (omp_net, iht_net)] + [
            net.choices(signals).x for net in (omp_net, iht_net)
        ]

    found = answers(signals)
    for i, y in enumerate(Y):
        kept = first_of_largest(np.abs(TWICE.T @ y), K)
        expected = np.where(np.isin(np.arange(N), kept), TWICE.T @ y, 0)
        for of_omp, of_iht in (found[:2], found[2:]):
            np.testing.assert_allclose(of_omp[i], oracles.omp(TWICE, y, 2).x, atol=1e-5)
            np.testing.assert_array_equal(of_iht[i], expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_what_differs_by_rounding_ties(dtype, scale):
    """Equal columns, summed in another order: that decides nothing, a real difference does."""
    eps = np.finfo(dtype).eps
    choose = lambda *scores: int(
        HardSort().next(scale * jnp.array(scores, dtype), jnp.array([False, True, False, False]))[0]
    )
    assert choose(1, 9, 1 + eps, 1 + 2 * eps) == 0
    assert choose(1, 9, 1 + 16 * eps, 1) == 2
    assert choose(1 - 16 * eps, 9, 1, 1 + eps) == 2
    assert choose(0, 9, 0, 0) == 0
    assert choose(1, 9, np.inf, 1) == 2


def test_soft_rows_share_what_ties():
    """The other side of a tie: the hard choice is one of equals, the soft one all of them."""
    found = gj.soft_omp(TWICE, Y[3], sparsity=1, tau=1e-6)
    tied = np.abs(TWICE.T @ Y[3])
    expected = np.where(tied == tied.max(), 1.0 / np.sum(tied == tied.max()), 0)
    np.testing.assert_allclose(found.x / found.x.sum(), expected, atol=1e-12)
    assert found.support.tolist() == [int(np.argmax(tied))]


# --- Threads -------------------------------------------------------------------------------------

CHILD = """
import json, pathlib, sys
sys.path.insert(0, {tests!r})
import jax, numpy as np
import greedyjax as gj
from greedyjax.problems import gaussian

A = np.asarray(gaussian(jax.random.key(0), 128, 512))
rng = np.random.default_rng(0)
X = np.zeros((256, 512), np.float32)
for x in X:
    # Well separated: no two coefficients are closer than a tenth.
    values = rng.permutation(np.arange(10, 18)) * rng.choice([-1, 1], 8)
    x[rng.choice(512, 8, replace=False)] = values
Y = X @ A.T
solvers = {{
    "omp": lambda y: gj.omp(A, y, sparsity=8),
    "soft_omp": lambda y: gj.soft_omp(A, y, sparsity=8, tau=1e-3),
    "htp": lambda y: gj.htp(A, y, sparsity=8, num_steps=10, step_size=0.5),
    "cosamp": lambda y: gj.cosamp(A, y, sparsity=8, num_steps=10),
    "subspace_pursuit": lambda y: gj.subspace_pursuit(A, y, sparsity=8, num_steps=10),
    "iht": lambda y: gj.iht(A, y, sparsity=8, num_steps=60, step_size=0.5),
    "soft_iht": lambda y: gj.soft_iht(A, y, sparsity=8, num_steps=60, step_size=0.5, tau=1e-3),
}}
found = {{name: jax.jit(jax.vmap(solve))(Y) for name, solve in solvers.items()}}
tasks = pathlib.Path("/proc/self/task").glob("*/comm")
threads = sum("XLAEigen" in path.read_text() for path in tasks)
print(json.dumps({{
    "threads": threads,
    "supports": {{name: np.sort(one.support).tolist() for name, one in found.items()}},
    "right": {{
        name: float(np.mean(np.sort(one.support) == np.nonzero(X)[1].reshape(256, 8)))
        for name, one in found.items()
    }},
}}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight", [None, 1e-6, 1e6])
def test_scores_tie_by_the_rounding_of_the_measurements(dtype, weight):
    """On paper two scores are equal after two steps; what is left of y carries the rounding of y.

    The first step takes the last atom, the second e4, and then e2 and e3 tie. In blocks of scores,
    with columns of zeros in between, they lie in two of them.
    """
    for gap in (0, 60):
        places = np.array([0, 1, 2 + gap, 3 + gap, 4 + gap])
        A = np.zeros((4, 160 if gap else 5), dtype)
        A[:, places] = np.array(
            [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0.5**0.5], [0, 0, 1, 0, 0.5**0.5], [0, 0, 0, 1, 0]]
        )
        y = np.array([0, 2, 1, 1], dtype)
        weights = None if weight is None else np.full(A.shape[1], weight, dtype)
        expected = places[[4, 3, 1]].tolist()
        options = {"sparsity": 3, "weights": weights}
        assert gj.omp(A, y, **options).support.tolist() == expected
        by_gram = gj.recover(OMP(3, fit=GramMatrix()), A, y, weights=weights)
        assert by_gram.support.tolist() == expected
        assert gj.omp_batch(A, y[None], **options).support.tolist() == [expected]


@pytest.mark.parametrize(
    ("solve", "weight"),
    slow_but(
        [(gj.htp, None), (gj.subspace_pursuit, 1e-6), (gj.cosamp, 1e6)],
        itertools.product([gj.htp, gj.subspace_pursuit, gj.cosamp], [None, 1e-6, 1e6]),
    ),
)
def test_of_many_that_are_chosen_the_first_of_those_that_tie_by_rounding(solve, weight):
    """On paper three entries of an orthonormal matrix tie for the third place; here no two do."""
    x = np.zeros(16)
    x[[1, 4, 5, 8, 11]] = 4, -2, 1, -1, 1
    weights = None if weight is None else np.full(16, weight, np.float32)
    rotations = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 16, 16)))[0]
    Y = (rotations @ x).astype(np.float32)
    one = lambda A, y: solve(A, y, sparsity=3, num_steps=4, weights=weights).support
    supports = jax.vmap(one)(rotations.astype(np.float32), Y)
    np.testing.assert_array_equal(np.sort(supports), np.tile([1, 4, 5], (40, 1)))


@pytest.mark.slow  # Each process compiles seven solvers.
def test_the_number_of_threads_changes_no_choice():
    """XLA's pool for CPUs takes its size from NPROC, and splits products and sums by it."""
    tests = str(Path(__file__).parent)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD.format(tests=tests)],
            env={**os.environ, "JAX_PLATFORMS": "cpu", "NPROC": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in (1, 3)
    ]
    one, *more = (json.loads(child.communicate(timeout=300)[0]) for child in children)
    assert min(one["right"].values()) > 0.99, one["right"]
    for other in more:
        assert other["threads"] != one["threads"], "it did not take the number"
        assert other["supports"] == one["supports"]
