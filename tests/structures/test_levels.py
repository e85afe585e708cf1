"""Sparsity in levels, in every solver: against plain NumPy, at its limits, and its advantage."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
import level_oracles
from greedyjax import nets, problems
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.pursuit import OMP, GramMatrix
from greedyjax.sorting import BoundaryGate, NeuralSort
from greedyjax.structures import Levels, Plain, SharedSupport
from greedyjax.training import losses
from helpers import assert_close, jit, random_problem, slow_but
from oracles import softmax

M, N = 14, 18
IDS = np.array([0, 2, 1, 1, 2, 0, 2, 1, 2, 0, 2, 1, 2, 0, 2, 1, 2, 2])  # Of 4, 5 and 9 atoms.
LOCAL = (1, 2, 2)
LEVELS, K = Levels(IDS, LOCAL), 5
every_dtype = pytest.mark.parametrize(
    "dtype", [np.float64, pytest.param(np.complex128, marks=pytest.mark.slow)]
)
STEPS = {"num_steps": 5, "step_size": 0.3}
MERGES = {"num_steps": 3}
SOLVERS = {
    "omp": (gj.omp, gj.soft_omp, level_oracles.omp, {}),
    "iht": (gj.iht, gj.soft_iht, level_oracles.iht, STEPS),
    "htp": (gj.htp, gj.soft_htp, level_oracles.htp, STEPS),
    "subspace_pursuit": (
        gj.subspace_pursuit,
        gj.soft_subspace_pursuit,
        level_oracles.subspace_pursuit,
        MERGES,
    ),
    "cosamp": (gj.cosamp, gj.soft_cosamp, level_oracles.cosamp, MERGES),
}
every_solver = pytest.mark.parametrize("name", slow_but(["omp", "iht"], SOLVERS))


def problem(dtype, seed=0):
    A, _, y = random_problem(seed, M, N, 4, dtype, noise=0.1)
    A = (A * np.linspace(0.8, 1.3, N)).astype(dtype)
    return A, y, np.random.default_rng(1).uniform(0.5, 1.5, N)


def in_each_level(x, ids=IDS, num=3):
    """How many entries of each level are not 0."""
    return np.bincount(np.asarray(ids)[np.asarray(x) != 0], minlength=num).tolist()


# --- Values --------------------------------------------------------------------------------------


@every_dtype
@every_solver
def test_hard_solvers_are_those_of_the_loops(name, dtype):
    A, y, w = problem(dtype, seed=int(dtype is np.complex128))  # Levels matter in each of these.
    solve, _, oracle, steps = SOLVERS[name]
    found = solve(A, y, sparsity=K, weights=w, structure=LEVELS, **steps)
    expected = oracle(A, y, IDS, LOCAL, *steps.values(), weights=w)
    assert_close(found.x, expected.x)
    assert_close(found.residual_norm, expected.residual_norm)
    assert found.support.tolist() == expected.support.tolist()
    assert in_each_level(found.x) == list(LOCAL)
    plain = solve(A, y, sparsity=K, weights=w, **steps)
    assert in_each_level(plain.x) != list(LOCAL), "levels change nothing here"


@every_dtype
@every_solver
def test_soft_solvers_are_those_of_the_loops_and_tend_to_the_hard_ones(name, dtype):
    A, y, w = problem(dtype)
    hard, soft, oracle, steps = SOLVERS[name]
    settings = {"sparsity": K, "weights": w, "structure": LEVELS, **steps}
    solve = jit(lambda tau: soft(A, y, tau=tau, **settings))
    for tau in (0.03, 0.3):
        expected = oracle(A, y, IDS, LOCAL, *steps.values(), weights=w, tau=tau)
        assert_close(solve(tau).x, expected.x, rtol=1e-8, atol=1e-9)  # Soft atoms are dependent.
    cold, limit = solve(1e-5), hard(A, y, **settings)
    assert_close(cold.x, np.asarray(limit.x))
    assert cold.support.tolist() == limit.support.tolist()


@pytest.mark.slow  # Two loops to compile.
def test_niht_measures_its_steps_on_what_the_levels_keep():
    A, y, w = problem(np.float64)
    settings = {"sparsity": K, "num_steps": 4, "weights": w, "structure": LEVELS}
    found = gj.niht(A, y, **settings)
    g = A.T @ y
    scale = np.sum(g**2) / np.sum((A @ g) ** 2)
    keep = lambda u: level_oracles.sort_in_levels(np.abs(w * u), IDS, LOCAL).sum(axis=0)
    x, mask = np.zeros(N), keep(scale * g)
    for _ in range(4):
        g = A.T @ (y - A @ x)
        length = np.sum((mask * g) ** 2) / np.sum((A @ (mask * g)) ** 2)
        while True:
            u = x + length * g
            new, moved = keep(u), keep(u) * u - x
            longest = 0.99 * np.sum(moved**2) / np.sum((A @ moved) ** 2)
            if np.array_equal(new, mask) or length <= longest:
                break
            length /= 2
        x, mask = new * u, new
    assert_close(found.x, x)
    assert_close(gj.soft_niht(A, y, tau=1e-6, **settings).x, x)


@pytest.mark.slow  # Twenty programs.
def test_one_level_of_all_atoms_is_no_structure():
    A, y, w = problem(np.float64)
    one = Levels(np.zeros(N, int), (K,))
    for solve, soft, _, steps in SOLVERS.values():
        settings = {"sparsity": K, "weights": w, **steps}
        for mine, plain in zip(
            solve(A, y, structure=one, **settings), solve(A, y, **settings), strict=True
        ):
            assert_close(mine, np.asarray(plain))
        tau = 0.2
        mine, plain = (soft(A, y, tau=tau, structure=s, **settings).x for s in (one, Plain()))
        assert_close(mine, np.asarray(plain), rtol=1e-8, atol=1e-9)


def test_a_level_of_sparsity_0_is_never_chosen_and_a_full_one_always():
    A, y, _ = problem(np.float64)
    levels = Levels(IDS, (4, 0, 1))
    for solve in (gj.omp, lambda *args, **settings: gj.iht(*args, **settings, **STEPS)):
        assert in_each_level(solve(A, y, sparsity=5, structure=levels).x) == [4, 0, 1]
    soft = gj.soft_iht(A, y, sparsity=5, tau=0.2, structure=levels, **STEPS)
    assert not np.asarray(soft.x)[IDS == 1].any()


@pytest.mark.slow  # Five programs.
def test_ties_go_to_the_lowest_index_of_each_level():
    levels, ones = Levels(np.array([1, 0, 1, 0, 1, 0]), (1, 2)), np.ones(6)
    for solve, _, _, steps in SOLVERS.values():
        found = solve(np.eye(6), ones, sparsity=3, structure=levels, **steps)
        assert np.flatnonzero(found.x).tolist() == [0, 1, 2]


def test_what_omp_takes_first_is_the_best_of_all_levels():
    y = np.array([4.0, 5.0, 1.0, 3.0, 2.0])
    levels = Levels(np.array([0, 0, 1, 1, 1]), (1, 2))
    found = gj.omp(np.eye(5), y, sparsity=3, structure=levels)
    assert found.support.tolist() == [1, 3, 4]  # Not atom 0: its level is full.


# --- With everything else ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "relaxation", [pytest.param(NeuralSort, marks=pytest.mark.slow), BoundaryGate]
)
def test_each_level_is_sorted_by_the_relaxation(relaxation):
    A, y, w = problem(np.float64)
    tau = 0.2
    found = gj.soft_iht(
        A, y, sparsity=K, tau=tau, num_steps=1, step_size=0.3, weights=w, structure=LEVELS,
        relaxation=relaxation,
    ).x  # fmt: skip
    u = 0.3 * A.T @ y
    for level, count in enumerate(LOCAL):
        atoms = np.flatnonzero(level == IDS)
        mask, _ = relaxation(jnp.asarray(tau)).keep(jnp.asarray(np.abs(w * u)[atoms]), count)
        assert_close(np.asarray(found)[atoms], mask * u[atoms])


@pytest.mark.slow  # Thirty programs.
def test_batches_networks_and_vmap_agree_with_one_signal():
    A, y, w = problem(np.float64)
    Y = np.stack([y, y[::-1], 0 * y])
    one = {"sparsity": K, "weights": w, "structure": LEVELS}
    for name, (solve, soft, _, steps) in SOLVERS.items():
        each = np.stack([solve(A, y, **one, **steps).x for y in Y])
        batch = getattr(gj, f"{name}_batch")(A, Y, **one, **steps)
        assert_close(batch.x, each)
        assert batch.support.shape == (3, K)
        assert_close(jax.vmap(lambda y, s=solve, k=steps: s(A, y, **one, **k).x)(Y), each)
        layers = {k.replace("steps", "layers"): v for k, v in steps.items()}
        kind = {"omp": "OMPNet", "subspace_pursuit": "SubspacePursuitNet", "cosamp": "CoSaMPNet"}
        net = getattr(nets, kind.get(name, f"{name.upper()}Net"))(A, tau=0.1, **one, **layers)
        assert_close(net.harden()(Y), each)
        expected = np.stack([soft(A, y, tau=0.1, **one, **steps).x for y in Y])
        assert_close(net(Y), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.slow  # A batch of its own.
def test_omp_by_a_gram_matrix_fills_the_same_levels():
    A, y, w = problem(np.complex128)
    method = OMP(K, fit=GramMatrix(), structure=LEVELS)
    found = gj.recover(method, gj.dictionary(A), y, weights=w)
    expected = level_oracles.omp(A, y, IDS, LOCAL, weights=w)
    assert_close(found.x, expected.x)
    batch = gj.omp_batch(gj.dictionary(A), np.stack([y]), sparsity=K, weights=w, structure=LEVELS)
    assert_close(batch.x[0], expected.x)


@pytest.mark.slow  # Eleven programs.
def test_several_snapshots_share_their_levels():
    A, _, w = problem(np.float64)
    Y = np.random.default_rng(5).standard_normal((M, 3))
    settings = {"num_steps": 1, "step_size": 0.3, "weights": w}
    shared = SharedSupport(LEVELS)
    found = gj.iht(A, Y, sparsity=K, structure=shared, **settings)
    u = 0.3 * A.T @ Y
    scores = w * np.linalg.norm(u, axis=1)
    kept = level_oracles.sort_in_levels(scores, IDS, LOCAL).sum(axis=0)
    assert_close(found.x, kept[:, None] * u)
    for solve, soft, _, steps in SOLVERS.values():
        hard = solve(A, Y, sparsity=K, structure=shared, **steps).x
        assert in_each_level(hard[:, 0]) == list(LOCAL)
        cold = soft(A, Y, sparsity=K, tau=1e-5, structure=shared, **steps).x
        assert_close(cold, np.asarray(hard))


def test_a_policy_sees_what_levels_chose():
    A, y, _ = problem(np.float64)
    policy = lambda c: jnp.where(c.chosen > 0, 1.0, 1 / (1 + c.step))
    found = gj.omp(A, y, sparsity=K, structure=LEVELS, weights=policy)
    assert_close(found.x, level_oracles.omp(A, y, IDS, LOCAL).x)  # The same weight for all left.


def test_the_levels_of_wavelets_are_levels():
    W = gj.operators.Wavelet(16, "haar", 2, dtype=jnp.float64)
    signal = np.arange(16.0) ** 2
    levels = Levels(W.levels, (4, 1, 0))
    found = gj.iht(W, signal, sparsity=5, num_steps=1, step_size=1.0, structure=levels)
    details = np.asarray(W.rmatvec(signal))[4:8]
    expected = np.zeros(16)
    expected[:4] = np.asarray(W.rmatvec(signal))[:4]
    expected[4 + np.argmax(np.abs(details))] = np.abs(details).max() * np.sign(
        details[np.argmax(np.abs(details))]
    )
    assert_close(found.x, expected)


# --- Losses --------------------------------------------------------------------------------------


def test_the_selection_loss_of_iht_is_that_of_each_level():
    A, y, w = problem(np.float64)
    tau, x = 0.3, np.random.default_rng(3).standard_normal(N)
    net = IHTNet(A, sparsity=K, num_layers=2, step_size=0.3, weights=w, tau=tau, structure=LEVELS)
    energy, plus, expected = x**2 / np.sum(x**2), lambda z: np.log1p(np.exp(z)), []
    for step in range(2):
        path = level_oracles.iht(A, y, IDS, LOCAL, step, 0.3, w).x if step else np.zeros(N)
        scores = w * np.abs(path + 0.3 * A.T @ (y - A @ path))
        total = 0.0
        for level, count in enumerate(LOCAL):
            v, t = scores[level == IDS], energy[level == IDS]
            theta = np.mean(np.sort(v)[::-1][count - 1 : count + 1])
            wanted, z = np.zeros(len(v), bool), (v - theta) / tau
            wanted[np.argsort(-t)[:count]] = True
            total += count * np.sum(np.where(wanted, t, 1 / len(v)) * plus(z * (1 - 2 * wanted)))
        expected.append(total)
    assert_close(jit(losses.selection)(net, y[None], x[None]), np.mean(expected))


def test_the_selection_loss_of_omp_leaves_full_levels_out():
    A, y, w = problem(np.float64)
    tau, x = 0.3, np.random.default_rng(3).standard_normal(N)
    net = OMPNet(A, sparsity=K, weights=w, tau=tau, structure=LEVELS)
    energy, norms, expected = x**2 / np.sum(x**2), np.linalg.norm(A, axis=0), []
    order = level_oracles.omp(A, y, IDS, LOCAL, w).support
    for step in range(K):
        met = order[:step]
        full = [level for level in range(3) if np.sum(IDS[met] == level) == LOCAL[level]]
        open_ = ~np.isin(np.arange(N), met) & ~np.isin(IDS, full)
        z = np.linalg.lstsq(A[:, met], y, rcond=None)[0]
        scores = w * np.abs(A.T @ (y - A[:, met] @ z)) / norms
        expected.append(-np.log(softmax(scores[open_] / tau) @ (energy[open_] + 1e-6)))
    assert_close(jit(losses.selection)(net, y[None], x[None]), np.mean(expected))


# --- What it is for ------------------------------------------------------------------------------


@pytest.mark.slow  # Many steps.
def test_with_the_true_levels_iht_has_the_error_of_the_oracle():
    """The library's hidden level: its atoms are one level, and all others one without nonzeros."""
    key = jax.random.key(0)
    A, Y, X, support = problems.sparse_in_levels(key, num_signals=64, num_measurements=36)
    hidden = jnp.zeros(256, jnp.int32).at[support].set(1)
    settings = {"sparsity": 10, "num_steps": 300, "debias": True}
    levels = Levels(hidden, (0, 10))
    # 20 columns allow a longer step than all 256, for which this one diverges.
    found = gj.iht_batch(A, Y, step_size=0.7, structure=levels, **settings)
    normalised = gj.niht_batch(A, Y, sparsity=10, num_steps=100, structure=levels)
    plain = gj.niht_batch(A, Y, sparsity=10, num_steps=100)
    error = lambda X_hat: np.mean(np.sum(np.abs(np.asarray(X_hat) - np.asarray(X)) ** 2, axis=1))
    oracle = []
    for y, x in zip(np.asarray(Y), np.asarray(X), strict=True):
        atoms = np.flatnonzero(x)
        z = np.linalg.lstsq(np.asarray(A, np.complex128)[:, atoms], y, rcond=None)[0]
        oracle.append(np.sum(np.abs(z - x[atoms]) ** 2))
    for each in (found, normalised):  # In single precision, of signals of norm 1.
        np.testing.assert_allclose(error(each.x), np.mean(oracle), rtol=1e-3)
    assert error(plain.x) > 100 * np.mean(oracle)


# --- One object ----------------------------------------------------------------------------------


def test_two_equal_ones_compile_once_and_print_what_they_are():
    count = []

    @jax.jit
    def traced(method):
        count.append(0)
        return method

    for local in (LOCAL, list(LOCAL), np.array(LOCAL)):
        traced(OMP(K, structure=Levels(jnp.asarray(IDS), local)).checked((M, N), np.float64))
    assert len(count) == 1
    assert repr(Levels(IDS, [1, 2, 2])).endswith("sparsities=(1, 2, 2))")
    assert Levels(IDS, LOCAL).sparsity == SharedSupport(LEVELS).sparsity == K
    assert Plain().sparsity is None


ONES = np.ones(M)
BAD = {
    "another sum": (LEVELS, 4, ValueError, "sparsity: expected 5, the sum .* local .* got 4"),
    "too few levels": (Levels(IDS, (1, 2)), 3, ValueError, "structure.sparsities: expected 3, one"),
    "too many atoms": (Levels(IDS, (5, 0, 0)), 5, ValueError, "at most the 4 atoms of level 0"),
    "an id is missing": (Levels(IDS * 2, LOCAL), 5, ValueError, "structure.ids: .*4 without 1"),
    "none at all": (Levels(IDS, (0, 0, 0)), 1, ValueError, "structure.sparsities: .* at least one"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_levels_are_named(case):
    levels, sparsity, error, message = BAD[case]
    with pytest.raises(error, match=message):
        gj.omp(problem(np.float64)[0], ONES, sparsity=sparsity, structure=levels)


@pytest.mark.wrong_types
def test_bad_sparsities_are_named():
    with pytest.raises(ValueError, match="sparsities: expected an int >= 0, got -1"):
        Levels(IDS, (1, -1, 2))
    with pytest.raises(TypeError, match="sparsities: expected an int, got 1.5"):
        Levels(IDS, (1.5, 1, 2))
    with pytest.raises(TypeError, match="sparsities: expected a tuple of ints.* got int"):
        Levels(IDS, 5)
    with pytest.raises(TypeError, match="sparsities: expected a Python int, got a traced value"):
        jax.jit(lambda s: Levels(IDS, s).sparsity)(jnp.array(LOCAL))


def test_a_method_that_chooses_other_numbers_at_once_is_told_so():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Half(gj.pursuit.IHT):
        def keep(self, problem, state, u, turn):
            half = dataclasses.replace(self, sparsity=self.sparsity // 2)
            return gj.pursuit.IHT.keep(half, problem, state, u, turn)

    A, y, _ = problem(np.float64)
    with pytest.raises(ValueError, match=r"structure: expected levels of 2 atoms in all"):
        gj.recover(Half(K, 3, structure=LEVELS), A, y)
