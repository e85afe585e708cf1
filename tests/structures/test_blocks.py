"""Blocks of atoms chosen together, against loops over lists of their members."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import block_oracles
import greedyjax as gj
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.structures import Blocks, Plain
from greedyjax.training import losses
from helpers import assert_close, jit, random_problem, slow_but
from oracles import finite_difference, softmax

M, N, K = 14, 18, 2
IDS = {
    "equal": np.arange(N) // 2,
    "equal, not side by side": np.arange(N) % 9,
    "unequal": np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 5, 2, 4, 6, 7, 7, 1]),
}
every_ids = pytest.mark.parametrize("name", IDS)
# Blocks of equal sizes are the easier case: in most tests they are slow.
unequal_ids = pytest.mark.parametrize("name", slow_but(["unequal"], IDS))
every_dtype = pytest.mark.parametrize("dtype", slow_but([np.float64], [np.float64, np.complex128]))


def members(ids):
    return [np.flatnonzero(ids == i) for i in range(ids.max() + 1)]


def problem(dtype, seed=0):
    A, _, y = random_problem(seed, M, N, 4, dtype, noise=0.1)
    A = (A * np.linspace(0.8, 1.3, N)).astype(dtype)
    return A, y, np.random.default_rng(1).uniform(0.5, 1.5, N)


# --- Values --------------------------------------------------------------------------------------


@every_dtype
@every_ids
def test_omp_chooses_and_fits_whole_blocks(name, dtype):
    ids = IDS[name]
    A, y, w = problem(dtype)
    found = gj.omp(A, y, sparsity=K, weights=w, structure=Blocks(ids))
    expected = block_oracles.block_omp(A, y, members(ids), K, w)
    assert_close(found.x, expected.x)
    assert found.support.tolist() == expected.support.tolist()
    assert_close(found.residual_norm, expected.residual_norm)
    assert found.num_steps == K
    plain = gj.omp(A, y, sparsity=2 * K, weights=w)
    assert set(found.support.tolist()) != set(plain.support.tolist()), "blocks change nothing here"


@every_dtype
@unequal_ids
def test_soft_omp_adds_the_mean_atoms_of_each_place_in_a_block(name, dtype):
    ids = IDS[name]
    A, y, w = problem(dtype)
    solve = jit(
        lambda tau: gj.soft_omp(A, y, sparsity=K, tau=tau, weights=w, structure=Blocks(ids))
    )
    for tau in (0.02, 0.2):
        found = solve(tau)
        expected = block_oracles.block_omp(A, y, members(ids), K, w, tau)
        assert_close(found.x, expected.x, rtol=1e-8, atol=1e-9)  # Soft atoms: close to dependent.
        assert_close(found.residual_norm, expected.residual_norm, rtol=1e-8, atol=1e-9)


@every_dtype
@unequal_ids
def test_iht_keeps_whole_blocks(name, dtype):
    ids = IDS[name]
    A, y, w = problem(dtype)
    blocks, step = Blocks(ids), 0.3
    settings = {"sparsity": K, "num_steps": 5, "step_size": step, "weights": w}
    hard = gj.iht(A, y, structure=blocks, **settings)
    assert_close(hard.x, block_oracles.block_iht(A, y, members(ids), K, 5, step, w).x)
    kept = {int(j) for j in hard.support if j >= 0}
    assert kept == set(np.flatnonzero(hard.x).tolist())
    assert len({ids[j] for j in kept}) == K
    soft = gj.soft_iht(A, y, tau=0.1, structure=blocks, **settings)
    assert_close(soft.x, block_oracles.block_iht(A, y, members(ids), K, 5, step, w, 0.1).x)


@pytest.mark.slow  # Nine programs.
def test_a_debiased_answer_fits_the_blocks_that_are_kept():
    A, y, _ = problem(np.float64)
    for ids in IDS.values():
        settings = {"sparsity": K, "num_steps": 5, "step_size": 0.3, "structure": Blocks(ids)}
        found = gj.iht(A, y, debias=True, **settings)
        kept = np.flatnonzero(np.isin(ids, ids[np.flatnonzero(gj.iht(A, y, **settings).x)]))
        expected = np.zeros(N)
        expected[kept] = np.linalg.lstsq(A[:, kept], y, rcond=None)[0]
        assert_close(found.x, expected)
        cold = gj.soft_iht(A, y, debias=True, tau=1e-5, **settings)
        assert_close(cold.x, expected)


@unequal_ids
def test_the_soft_solvers_tend_to_the_hard_ones(name):
    A, y, w = problem(np.float64)
    settings = {"sparsity": K, "weights": w, "structure": Blocks(IDS[name])}
    cold = gj.soft_omp(A, y, tau=1e-5, **settings)
    hard = gj.omp(A, y, **settings)
    assert_close(cold.x, np.asarray(hard.x))
    assert cold.support.tolist() == hard.support.tolist()
    settings |= {"num_steps": 5, "step_size": 0.3}
    assert_close(gj.soft_iht(A, y, tau=1e-5, **settings).x, np.asarray(gj.iht(A, y, **settings).x))


def test_the_order_inside_a_block_matters_to_soft_rows_and_not_to_their_limit():
    A, y, _ = problem(np.float64)
    order = np.arange(N).reshape(-1, 2)[:, ::-1].copy()
    order[::2] = order[::2, ::-1]  # Every second block is the other way round.
    order = order.ravel()
    back = np.argsort(order)
    blocks = Blocks(IDS["equal"])
    solve = lambda A, tau: gj.soft_omp(A, y, sparsity=K, tau=tau, structure=blocks).x
    warm, cold = (np.abs(solve(A[:, order], t)[back] - solve(A, t)).max() for t in (0.2, 1e-5))
    assert warm > 1e-3
    assert cold < 1e-10


@pytest.mark.slow  # Eight programs.
def test_blocks_of_one_atom_are_no_blocks():
    A, y, w = problem(np.complex128)
    for solve in (
        lambda s: gj.omp(A, y, sparsity=3, weights=w, structure=s),
        lambda s: gj.soft_omp(A, y, sparsity=3, tau=0.05, weights=w, structure=s),
        lambda s: gj.iht(A, y, sparsity=3, num_steps=4, weights=w, structure=s),
        lambda s: gj.soft_iht(A, y, sparsity=3, num_steps=4, tau=0.05, weights=w, structure=s),
    ):
        found, plain = solve(Blocks(np.arange(N))), solve(Plain())
        for mine, expected in zip(found, plain, strict=True):
            assert_close(mine, np.asarray(expected))


# --- Everything else that a solver gives ---------------------------------------------------------


@pytest.mark.parametrize("solver", slow_but(["soft_omp"], ["soft_omp", "soft_iht", "omp"]))
def test_gradients_are_those_of_the_loop(solver):
    A, y, w = problem(np.float64)
    ids, tau = IDS["unequal"], 0.1
    cotangent = np.random.default_rng(2).standard_normal(N)

    def loss(A, y, w):
        settings = {"sparsity": K, "weights": w, "structure": Blocks(ids)}
        if solver == "omp":
            return gj.omp(A, y, **settings).x @ cotangent
        if solver == "soft_omp":
            return gj.soft_omp(A, y, tau=tau, **settings).x @ cotangent
        steps = {"num_steps": 3, "step_size": 0.3}
        return gj.soft_iht(A, y, tau=tau, **steps, **settings).x @ cotangent

    def by_hand(A, y, w):
        if solver == "soft_iht":
            return block_oracles.block_iht(A, y, members(ids), K, 3, 0.3, w, tau).x @ cotangent
        soft = tau if solver == "soft_omp" else None
        return block_oracles.block_omp(A, y, members(ids), K, w, soft).x @ cotangent

    gradients = jit(jax.grad(loss, (0, 1, 2)))(A, y, w)
    for i, args in enumerate((A, y, w)):
        moved = lambda a, i=i: by_hand(*[a if j == i else b for j, b in enumerate((A, y, w))])
        expected = finite_difference(moved, args)
        assert_close(gradients[i], expected, rtol=1e-5, atol=1e-6)  # Differences of step 1e-6.


def test_batches_networks_and_vmap_agree_with_one_signal():
    A, y, w = problem(np.float64)
    Y, blocks = np.stack([y, y[::-1], 0 * y]), Blocks(IDS["unequal"])
    one = {"sparsity": K, "weights": w, "structure": blocks}
    each = np.stack([gj.omp(A, y, **one).x for y in Y])
    batch = gj.omp_batch(A, Y, **one)
    assert_close(batch.x, each)
    assert batch.support.shape == (3, K * 3)
    assert_close(jax.vmap(lambda y: gj.omp(A, y, **one).x)(Y), each)
    net = OMPNet(A, sparsity=K, weights=w, tau=0.05, structure=blocks)
    assert_close(net.harden()(Y), each)
    soft = np.stack([gj.soft_omp(A, y, tau=0.05, **one).x for y in Y])
    assert_close(net(Y), soft, rtol=1e-8, atol=1e-9)
    steps = {"num_steps": 4, "step_size": 0.3}
    kept = np.stack([gj.iht(A, y, **one, **steps).x for y in Y])
    assert_close(gj.iht_batch(A, Y, **one, **steps).x, kept)
    net = IHTNet(A, sparsity=K, num_layers=4, step_size=0.3, weights=w, structure=blocks)
    assert_close(net.harden()(Y), kept)


def test_the_selection_loss_counts_the_energy_of_blocks():
    A, y, w = problem(np.float64)
    ids, tau = IDS["unequal"], 0.3
    x = np.random.default_rng(3).standard_normal(N)
    net = OMPNet(A, sparsity=K, weights=w, tau=tau, structure=Blocks(ids))
    energy = np.array([np.sum(x[each] ** 2) for each in members(ids)]) / np.sum(x**2)
    r, each, closed, norms = y, [], [], np.linalg.norm(A, axis=0)
    for step in range(K):
        scores = block_oracles.pooled(w * np.abs(A.T @ r) / norms, members(ids))
        still = ~np.isin(np.arange(8), closed)
        each.append(-np.log(softmax(scores[still] / tau) @ (energy[still] + 1e-6)))
        closed.append(int(np.argmax(np.where(np.isin(np.arange(8), closed), -1, scores))))
        r = y - A @ block_oracles.block_omp(A, y, members(ids), step + 1, w).x
    assert_close(jit(losses.selection)(net, y[None], x[None]), np.mean(each))


def test_a_policy_sees_atoms_and_multiplies_them_before_the_pool():
    A, y, _ = problem(np.float64)
    blocks = Blocks(IDS["equal"])
    first = gj.omp(A, y, sparsity=1, structure=blocks).support.tolist()
    seen = lambda c: jnp.where(c.step == 0, jnp.ones(N), 1 - jnp.roll(c.chosen, 2))
    found = gj.omp(A, y, sparsity=2, structure=blocks, weights=seen).support.tolist()
    assert found[:2] == first
    after = (first[0] + 2) % N  # The block behind the first one is forbidden in the second step.
    assert found[2] != after
    forbid_half = np.where(np.arange(N) == first[0], 0.0, 1.0)
    again = gj.omp(A, y, sparsity=1, structure=blocks, weights=forbid_half)
    scores = block_oracles.pooled(
        forbid_half * np.abs(A.T @ y) / np.linalg.norm(A, axis=0), members(IDS["equal"])
    )
    assert again.support[0] // 2 == np.argmax(scores)


def test_two_structures_with_equal_blocks_compile_once():
    A, y, _ = problem(np.float64)
    count = []

    @jax.jit
    def traced(method):
        count.append(0)
        return method

    for _ in range(2):
        traced(
            gj.pursuit.OMP(K, structure=Blocks(jnp.asarray(IDS["equal"]))).checked((M, N), A.dtype)
        )
    assert len(count) == 1
    assert "Blocks(ids=" in repr(Blocks(IDS["equal"]))


# --- Bad input -----------------------------------------------------------------------------------

ONES = np.ones(M)
BAD = {
    "an id is missing": (
        np.repeat([0, 2], N // 2),
        1,
        ValueError,
        "structure.ids: .*got 2 without 1",
    ),
    "too few ids": (np.zeros(3, int), 1, ValueError, r"structure.ids: expected shape \(18,\)"),
    "no integers": (np.zeros(N), 1, TypeError, "structure.ids: expected integers, a block"),
    "too many blocks": (np.arange(N) // 2, 8, ValueError, "sparsity: .*between 1 and 7"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_blocks_are_named(case):
    ids, sparsity, error, message = BAD[case]
    A = problem(np.float64)[0]
    with pytest.raises(error, match=message):
        gj.omp(A, ONES, sparsity=sparsity, structure=Blocks(ids))


def test_traced_ids_and_other_structures_are_named():
    A = problem(np.float64)[0]
    with pytest.raises(TypeError, match="structure.ids: expected an array that is not traced"):
        jax.jit(lambda ids: gj.omp(A, ONES, sparsity=1, structure=Blocks(ids)))(IDS["equal"])
    with pytest.raises(TypeError, match=r"structure: expected a greedyjax.structures.Structure"):
        gj.omp(A, ONES, sparsity=1, structure=IDS["equal"])
    with pytest.raises(TypeError, match=r"structure: .*the class Blocks; make one"):
        gj.omp(A, ONES, sparsity=1, structure=Blocks)
