"""Snapshots with one support, and blocks in all solvers, against NumPy and least squares."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import block_oracles
import greedyjax as gj
import snapshot_oracles as oracles
from greedyjax import nets, training
from greedyjax.pursuit import (
    HTP,
    OMP,
    CoSaMP,
    GramMatrix,
    LeastSquares,
    OrderRecursive,
    SubspacePursuit,
)
from greedyjax.structures import Blocks, SharedSupport
from greedyjax.training import losses
from helpers import assert_close, jit, slow_but
from oracles import finite_difference

M, N, L, K, STEPS, ETA = 16, 30, 3, 3, 5, 0.3
IDS = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 2, 6, 7, 7, *range(8, 23)])
GROUPS = [np.flatnonzero(i == IDS).tolist() for i in range(IDS.max() + 1)]
every_dtype = pytest.mark.parametrize(
    "dtype", slow_but([np.complex128], [np.complex128, np.float64])
)


def problem(dtype, seed=0, snapshots=L):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        real, imaginary = rng.standard_normal((2, *shape))
        return (real + 1j * imaginary if np.issubdtype(dtype, np.complexfloating) else real).astype(
            dtype
        )

    A = normal(M, N) / M**0.5 * np.linspace(0.7, 1.4, N)
    X = np.zeros((N, snapshots), dtype)
    X[rng.choice(N, 5, replace=False)] = normal(5, snapshots)
    return A, A @ X + 0.1 * normal(M, snapshots), rng.uniform(0.5, 1.5, N)


#: Of structure, weights and groups: the hard solver, and the same in NumPy.
SOLVERS = {
    "omp": (
        lambda A, Y, s, w: gj.omp(A, Y, sparsity=K, structure=s, weights=w),
        lambda A, Y, g, w: oracles.omp(A, Y, K, g, w),
    ),
    "iht": (
        lambda A, Y, s, w: gj.iht(
            A, Y, sparsity=K, num_steps=STEPS, step_size=ETA, structure=s, weights=w
        ),
        lambda A, Y, g, w: oracles.iht(A, Y, K, STEPS, ETA, g, w),
    ),
    "htp": (
        lambda A, Y, s, w: gj.htp(
            A, Y, sparsity=K, num_steps=STEPS, step_size=ETA, structure=s, weights=w
        ),
        lambda A, Y, g, w: oracles.htp(A, Y, K, STEPS, ETA, g, w),
    ),
    "cosamp": (
        lambda A, Y, s, w: gj.cosamp(A, Y, sparsity=K, num_steps=STEPS, structure=s, weights=w),
        lambda A, Y, g, w: oracles.merging(A, Y, K, STEPS, 2, False, g, w),
    ),
    "subspace_pursuit": (
        lambda A, Y, s, w: gj.subspace_pursuit(
            A, Y, sparsity=K, num_steps=STEPS, structure=s, weights=w
        ),
        lambda A, Y, g, w: oracles.merging(A, Y, K, STEPS, 1, True, g, w),
    ),
}
every_solver = pytest.mark.parametrize("name", SOLVERS)
# One of each kind of code, where all of them would take too long.
some_solvers = pytest.mark.parametrize("name", slow_but(["omp", "iht"], SOLVERS))


def atoms_of(found):
    return sorted(int(j) for j in np.asarray(found.support) if j >= 0)


# --- Hard ----------------------------------------------------------------------------------------


@every_dtype
@every_solver
def test_snapshots_share_the_support_that_numpy_finds(name, dtype):
    solve, oracle = SOLVERS[name]
    for seed in range(3):
        A, Y, w = problem(dtype, seed)
        found, (X, atoms) = solve(A, Y, SharedSupport(), w), oracle(A, Y, None, w)
        assert_close(found.x, X)
        assert atoms_of(found) == sorted(atoms)
        assert_close(found.residual_norm, np.linalg.norm(Y - A @ X))


@some_solvers
def test_blocks_are_chosen_together_in_every_solver(name):
    solve, oracle = SOLVERS[name]
    A, Y, w = problem(np.float64)
    found, (X, atoms) = solve(A, Y[:, 0], Blocks(IDS), w), oracle(A, Y[:, :1], GROUPS, w)
    assert_close(found.x, X[:, 0])
    assert atoms_of(found) == sorted(atoms)


@pytest.mark.parametrize("name", slow_but(["omp", "cosamp"], SOLVERS))
def test_snapshots_choose_blocks_together(name):
    solve, oracle = SOLVERS[name]
    A, Y, w = problem(np.float64, seed=1)
    found, (X, atoms) = solve(A, Y, SharedSupport(Blocks(IDS)), w), oracle(A, Y, GROUPS, w)
    assert_close(found.x, X)
    assert atoms_of(found) == sorted(atoms)


def test_one_snapshot_is_a_signal():
    A, Y, _ = problem(np.complex128, snapshots=1)
    found = gj.omp(A, Y, sparsity=K, structure=SharedSupport())
    alone = gj.omp(A, Y[:, 0], sparsity=K)
    assert_close(found.x[:, 0], np.asarray(alone.x))
    assert found.support.tolist() == alone.support.tolist()


@pytest.mark.wrong_types
def test_columns_of_y_are_snapshots_only_if_asked_for():
    A, Y, _ = problem(np.float64)
    with pytest.raises(ValueError, match=r"y: expected an array with 1 axes, got shape \(16, 3\)"):
        gj.omp(A, Y, sparsity=K)
    with pytest.raises(ValueError, match=r"y: expected shape \(16, L\), as the structure has L"):
        gj.omp(A, Y[:, 0], sparsity=K, structure=SharedSupport())
    with pytest.raises(ValueError, match=r"y: expected shape \(16, L\), as the structure has L"):
        gj.omp(A, Y.T, sparsity=K, structure=SharedSupport())
    with pytest.raises(TypeError, match="structure.inner: expected a structure of atoms, got"):
        gj.omp(A, Y, sparsity=K, structure=SharedSupport(SharedSupport()))


@pytest.mark.parametrize("rtol", slow_but([0.3], [0.0, 0.3]))
def test_frames_in_a_batch_equal_frames_alone(rtol):
    frames = [problem(np.complex128, seed)[1] for seed in range(5)]
    A = problem(np.complex128)[0]
    found = gj.omp_batch(A, np.stack(frames), sparsity=9, rtol=rtol, structure=SharedSupport())
    assert found.x.shape == (5, N, L)
    for i, Y in enumerate(frames):
        alone = gj.omp(A, Y, sparsity=9, rtol=rtol, structure=SharedSupport())
        assert_close(found.x[i], np.asarray(alone.x), rtol=1e-8)
        assert found.support[i].tolist() == alone.support.tolist()
        assert found.num_steps[i] == alone.num_steps


def test_a_start_has_a_column_for_each_snapshot():
    A, Y, _ = problem(np.float64)
    options = {"sparsity": K, "num_steps": 2, "step_size": ETA, "structure": SharedSupport()}
    first = gj.iht(A, Y, **options)
    more = gj.iht(A, Y, x0=first.x, **options)
    assert_close(more.x, np.asarray(gj.iht(A, Y, **options | {"num_steps": 4}).x))


@pytest.mark.wrong_types
def test_a_start_for_other_snapshots_is_refused():
    A, Y, _ = problem(np.float64)
    options = {"sparsity": K, "num_steps": 2, "structure": SharedSupport()}
    with pytest.raises(ValueError, match=r"x0: expected shape \(30, 3\), a start for each"):
        gj.iht(A, Y, x0=np.ones((N, 2)), **options)


# --- Soft ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", slow_but([0.2], [0.02, 0.2]))
def test_soft_solvers_are_those_of_blocks_over_a_repeated_matrix(tau):
    """``vec(Y) = (I kron A) vec(X)``, where a block has one atom of each snapshot."""
    A, Y, w = problem(np.float64)
    repeated, y = np.kron(np.eye(L), A), Y.T.ravel()
    groups = [j + N * np.arange(L) for j in range(N)]
    weights, signal = np.tile(w, L), lambda x: x.reshape(L, N).T
    options = {"sparsity": K, "tau": tau, "weights": w, "structure": SharedSupport()}
    expected = block_oracles.block_iht(repeated, y, groups, K, STEPS, ETA, weights, tau)
    found = gj.soft_iht(A, Y, num_steps=STEPS, step_size=ETA, **options)
    assert_close(found.x, signal(expected.x))


def _soft(name, A, Y, tau, w=None):
    family = {} if name == "omp" else {"num_steps": 3}
    family |= {"step_size": ETA} if name in ("iht", "htp") else {}
    soft = getattr(gj, f"soft_{name}")
    return soft(A, Y, sparsity=K, tau=tau, weights=w, structure=SharedSupport(), **family).x


@some_solvers
def test_soft_solvers_tend_to_the_hard_ones(name):
    A, Y, _ = problem(np.complex128)
    family = {} if name == "omp" else {"num_steps": 3}
    family |= {"step_size": ETA} if name in ("iht", "htp") else {}
    hard = getattr(gj, name)(A, Y, sparsity=K, structure=SharedSupport(), **family)
    assert_close(_soft(name, A, Y, 1e-6), np.asarray(hard.x))


@pytest.mark.slow
@some_solvers
def test_gradients_are_those_of_finite_differences(name):
    A, Y, w = problem(np.float64)
    loss = lambda A, Y, w: jnp.sum(
        jnp.sin(jnp.arange(N * L)).reshape(N, L) * _soft(name, A, Y, 0.3, w)
    )
    compiled = jax.jit(loss)
    gradients = jax.jit(jax.grad(loss, (1, 2)))(A, Y, w)
    assert_close(
        gradients[0], finite_difference(lambda Y: compiled(A, Y, w), Y), rtol=1e-4, atol=1e-6
    )
    assert_close(
        gradients[1], finite_difference(lambda w: compiled(A, Y, w), w), rtol=1e-4, atol=1e-6
    )


NETS = {
    "omp": functools.partial(nets.OMPNet, sparsity=K),
    "iht": functools.partial(nets.IHTNet, sparsity=K, num_layers=4),
    "cosamp": functools.partial(nets.CoSaMPNet, sparsity=K, num_layers=2),
}


# Four short steps of IHT find too little to learn from their own answers.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "given"),
    slow_but(
        [("omp", False)],
        [("omp", True), ("omp", False), ("iht", True), ("cosamp", True), ("cosamp", False)],
    ),
)
def test_networks_learn_which_atoms_the_snapshots_share(name, given):
    rng = np.random.default_rng(0)
    A = problem(np.float64)[0].astype(np.float32)
    X = np.zeros((120, N, L), np.float32)
    for x in X:
        x[rng.choice(10, K, replace=False)] = rng.standard_normal((K, L))
    Y = np.einsum("mn,bnl->bml", A, X) + 0.15 * rng.standard_normal((120, M, L)).astype(np.float32)
    net = NETS[name](A, tau=0.3, structure=SharedSupport())
    assert net(Y[:4]).shape == net.harden()(Y[:4]).shape == (4, N, L)
    assert net(Y[0]).shape == (N, L)
    assert_close(
        jit(losses.reconstruction)(net, Y[:9], X[:9]),
        np.mean(np.sum((np.asarray(net(Y[:9])) - X[:9]) ** 2, axis=(1, 2))),
        rtol=1e-5,
    )
    hard_error = jit(losses.hard_reconstruction)
    before = hard_error(net, Y[80:], X[80:])
    fitted = training.fit(
        net,
        (Y[:80], X[:80] if given else None),
        (Y[80:], X[80:]),
        optimizer=optax.adam(3e-2),
        num_epochs=4,
        batch_size=8,
        key=jax.random.key(0),
        val_loss=losses.hard_reconstruction,
        progress=False,
    )
    assert hard_error(fitted.net, Y[80:], X[80:]) < 0.9 * before
    weights = np.asarray(fitted.net.atom_weights)
    assert weights[:10].mean() > 1.2 * weights[10:].mean()
    hidden_error = jit(losses.hidden_rows(folds=4))
    assert hidden_error(fitted.net, Y[80:]) < hidden_error(net, Y[80:])


# --- Order-recursive least squares ---------------------------------------------------------------


@every_dtype
def test_the_next_atom_leaves_the_smallest_residual(dtype):
    differ = 0
    for seed in range(6):
        A, Y, _ = problem(dtype, seed)
        expected = oracles.least_squares_path(A, Y[:, :1], 5)
        found = gj.recover(OMP(5, fit=OrderRecursive()), A, Y[:, 0])
        assert found.support.tolist() == expected
        assert_close(found.x, oracles.fitted(A, Y[:, :1], expected)[:, 0])
        shared = gj.recover(OMP(5, fit=OrderRecursive(), structure=SharedSupport()), A, Y)
        assert shared.support.tolist() == oracles.least_squares_path(A, Y, 5)
        differ += gj.omp(A, Y[:, 0], sparsity=5).support.tolist() != expected
    assert differ > 0, "OMP chooses the same everywhere"


def test_a_penalty_counts_in_the_residual_that_is_left():
    """Least squares of the longer vectors that the penalty makes of the atoms."""
    A, Y, w = problem(np.float64)
    rows = np.vstack([A, np.diag(np.sqrt(w))])
    y = np.concatenate([Y[:, 0], np.zeros(N)])[:, None]
    found = gj.recover(OMP(4, fit=OrderRecursive(w)), A, Y[:, 0])
    assert found.support.tolist() == oracles.least_squares_path(rows, y, 4)


@every_dtype
def test_rank_aware_choice_sees_directions_and_not_how_strong_they_are(dtype):
    differ = 0
    for seed in range(6):
        A, Y, _ = problem(dtype, seed)
        Y = Y @ np.diag([1, 0.3, 0.1])
        method = OMP(5, fit=OrderRecursive(rank_aware=True), structure=SharedSupport())
        found = gj.recover(method, A, Y)
        assert found.support.tolist() == oracles.rank_aware(A, Y, 5, 1e-9)
        mixed = gj.recover(method, A, Y @ np.triu(np.ones((L, L))))
        assert mixed.support.tolist() == found.support.tolist()
        differ += gj.omp(A, Y, sparsity=5, structure=SharedSupport()).support.tolist() != (
            found.support.tolist()
        )
    assert differ > 0, "the plain choice is the same everywhere"


def test_directions_below_the_tolerance_are_noise():
    """Four equal snapshots with little noise have one direction; the others would mislead."""
    A, Y, _ = problem(np.float64)
    noise = 1e-3 * np.random.default_rng(1).standard_normal((M, 4))
    Y = Y[:, :1] + noise
    fit, structure = OrderRecursive(rank_aware=True), SharedSupport()
    found = gj.recover(OMP(3, atol=2 * np.linalg.norm(noise), fit=fit, structure=structure), A, Y)
    assert found.support.tolist() == oracles.rank_aware(A, Y.mean(axis=1, keepdims=True), 3, 1e-9)
    without = gj.recover(OMP(3, fit=fit, structure=structure), A, Y)
    assert without.support.tolist() != found.support.tolist()


def test_an_atom_that_the_chosen_ones_span_is_not_chosen():
    A = np.array([[1.0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1e-3]])
    found = gj.recover(OMP(3, fit=OrderRecursive()), A, np.array([2.0, 1.0, 1e-2]))
    assert sorted(found.support.tolist()) in ([0, 2, 3], [0, 1, 3], [1, 2, 3])
    assert_close(found.residual_norm, 0, atol=1e-12)


def test_methods_print_and_compare_by_value():
    for kind in (HTP, CoSaMP, SubspacePursuit):
        one, two = (kind(3, 5, structure=SharedSupport()) for _ in range(2))
        assert one == two
        assert "SharedSupport" in repr(one)
    assert OrderRecursive() == OrderRecursive() != LeastSquares()


@pytest.mark.parametrize("structure", [Blocks(IDS), SharedSupport()])
def test_a_gram_matrix_is_refused_where_it_would_choose_single_atoms(structure):
    A, Y, _ = problem(np.float64)
    y = Y if structure.snapshots else Y[:, 0]
    method = OMP(2, fit=GramMatrix(), structure=structure)
    with pytest.raises(ValueError, match=r"structure: expected Plain\(\), as GramMatrix\(\) adds"):
        gj.recover(method, A, y)


@pytest.mark.parametrize(
    "method", [HTP(2, 3, fit=OrderRecursive()), CoSaMP(2, 3, OrderRecursive())]
)
def test_methods_that_fit_all_atoms_at_once_refuse_a_fit_that_scores_them_one_by_one(method):
    A, Y, _ = problem(np.float64)
    with pytest.raises(ValueError, match=r"fit: expected LeastSquares\(\), got OrderRecursive"):
        gj.recover(method, A, Y[:, 0])
