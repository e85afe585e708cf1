"""Batches give the same answers as single signals, by residuals and by the Gram matrix."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
import oracles
from greedyjax.pursuit import GramMatrix, plan
from greedyjax.pursuit._cutting import in_blocks
from greedyjax.pursuit.fits import _gram_matrix
from helpers import DTYPES, assert_close, benchmark, random_problem, slow_but

M, N, K, NUM = 24, 50, 4, 11  # N fills no whole block of scores, NUM no whole block of signals.


def signals(seed, dtype, *, num=NUM, noise=0.1, m=M, n=N, k=K):
    """A dictionary, and measurements of as many sparse signals."""
    A = random_problem(seed, m, n, k, dtype)[0]
    rng = np.random.default_rng(seed)
    Y = []
    for i in range(num):
        x = np.roll(random_problem(seed + i, m, n, k, dtype)[1], i)
        e = rng.standard_normal(m)
        Y.append(A @ x + noise * e / np.linalg.norm(e))
    return A, np.array(Y).astype(dtype)


@functools.partial(jax.jit, static_argnames="sparsity")
def one_by_one(A, Y, **settings):
    return jax.vmap(lambda y: gj.omp(A, y, **settings))(Y)


solve = jax.jit(gj.omp_batch, static_argnames=("sparsity", "batch_size"))


def by_gram(A, Y, **settings):
    return solve(gj.dictionary(A), Y, **settings)


def by_residuals(A, Y, **settings):
    """A traced rtol may be anything, so the Gram matrix is no use."""
    return solve(A, Y, rtol=0.0, **settings)


both_forms = pytest.mark.parametrize("form", [by_gram, by_residuals])


def test_the_forms_are_what_their_names_say(monkeypatch):
    called = []
    add = GramMatrix.add
    monkeypatch.setattr(GramMatrix, "add", lambda *a: called.append(1) or add(*a))
    A, Y = signals(0, np.float64, num=5)
    by_residuals(A, Y, sparsity=3)
    assert not called
    by_gram(A, Y, sparsity=3)
    assert called


@pytest.mark.parametrize(
    ("form", "dtype", "weighted"),
    [
        (by_gram, np.complex128, True),
        (by_gram, np.float32, False),
        *(
            pytest.param(by_gram, dtype, True, marks=pytest.mark.slow)
            for dtype in DTYPES
            if dtype is not np.complex128
        ),
        (by_residuals, np.complex64, True),  # These are the steps of omp, tested there.
    ],
)
def test_equals_the_oracle(form, dtype, weighted):
    A, Y = signals(1, dtype)
    rng = np.random.default_rng(0)
    A = (A * 10 ** rng.uniform(-1, 1, N)).astype(dtype)
    w = rng.uniform(0.5, 2, N).astype(A.real.dtype) if weighted else np.ones(N, A.real.dtype)
    found = form(A, Y, sparsity=K, weights=w)
    for i, y in enumerate(Y):
        expected = oracles.omp(A, y, K, w)
        assert found.support[i].tolist() == list(expected.support)
        assert_close(found.x[i], expected.x, dtype)
        assert_close(found.residual_norm[i], expected.residual_norm, dtype)
    assert found.num_steps.tolist() == [K] * NUM
    assert not found.converged.any()
    assert found.x.dtype == dtype
    assert found.residual_norm.dtype == np.finfo(dtype).dtype
    assert found.support.dtype == found.num_steps.dtype == np.int32


@pytest.mark.parametrize("batch_size", slow_but([4], [None, 1, 4, 1000]))
def test_blocks_of_any_size(batch_size):
    A, Y = signals(2, np.float64)
    found = by_gram(A, Y, sparsity=K, batch_size=batch_size)
    expected = one_by_one(A, Y, sparsity=K)
    assert found.support.tolist() == expected.support.tolist()
    assert_close(found.x, expected.x)


@both_forms
def test_no_signal_gives_no_answer(form):
    found = form(*(a[:0] if i else a for i, a in enumerate(signals(2, np.float64))), sparsity=K)
    assert [leaf.shape for leaf in found] == [(0, N), (0, K), (0,), (0,), (0,)]


@pytest.mark.parametrize("largest", [1e38, 1.75e38, 3e38])
@both_forms
def test_signals_at_the_end_of_single_precision_get_their_atoms(form, largest):
    """Half of 2^128 and more: the inverse of the power of two below them is not a normal number."""
    A, Y = signals(3, np.float32, num=3)
    A *= 32  # The entries of the answer are not to overflow.
    Y *= np.float32(largest) / np.max(np.abs(Y), axis=1, keepdims=True)
    x = np.asarray(form(A, Y, sparsity=K).x)
    for y, one in zip(Y, x, strict=True):
        expected = oracles.omp(A.astype(float), y.astype(float), K).x
        assert_close(one / largest, expected / largest, np.float32, atol=1e-6)


def test_many_steps_take_several_buffers():
    A, Y = signals(3, np.float64, m=64, n=96, k=10, num=3)
    assert _gram_matrix.widths(21) == [8, 8, 5]
    assert _gram_matrix.widths(8) == [8]
    assert _gram_matrix.widths(256) == [32] * 8
    found, expected = by_gram(A, Y, sparsity=21), one_by_one(A, Y, sparsity=21)
    assert found.support.tolist() == expected.support.tolist()
    assert_close(found.x, expected.x)


@both_forms
def test_nothing_left_to_fit_takes_no_step(form):
    A = np.hstack([np.eye(8), np.ones((8, 1)) / 8**0.5])
    Y = np.array([[0, 2, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 3, 0, 0, 0, 0.0]])
    found = form(A, Y, sparsity=3)
    assert found.support.tolist() == [[1, -1, -1], [-1, -1, -1], [3, 1, -1]]
    assert found.num_steps.tolist() == [1, 0, 2]
    assert found.converged.all()
    assert_close(found.x, np.hstack([Y, np.zeros((3, 1))]))


@both_forms
def test_no_atom_is_chosen_twice_whatever_the_weights(form):
    """What rounding leaves of a chosen atom's correlation, times a weight, can top all others."""
    A, Y = signals(4, np.float32, noise=0.0)
    weights = np.where(np.arange(N) % 2, 1e-7, 1e3).astype(np.float32)
    found = form(A, Y, sparsity=12, weights=weights)
    assert all(len(set(row)) == 12 for row in found.support.tolist())


@both_forms
def test_atoms_of_weight_zero_come_last(form):
    A, Y = signals(5, np.float64, n=10, m=24)
    weights = (np.arange(10) >= 8).astype(float)
    found = form(A, Y, sparsity=4, weights=weights)
    assert all(set(row[:2]) == {8, 9} and row[2:] == [0, 1] for row in found.support.tolist())


@pytest.mark.parametrize("apart", [0.0, 1e-5, 1e-3, 1e-2])
def test_nearly_equal_atoms_lose_nothing_to_the_gram_matrix(apart):
    """In single precision a Gram matrix cannot tell them apart; residuals can."""
    A, Y = signals(6, np.float32)
    A[:, N // 2 :] = A[:, : N // 2] + np.float32(apart) * A[:, N // 2 :]
    Y = Y @ np.eye(M, dtype=np.float32)
    Y += A[:, :1].T - 0.5 * A[:, N // 2][None]
    found, expected = by_gram(A, Y, sparsity=K), one_by_one(A, Y, sparsity=K)
    assert found.support.tolist() == expected.support.tolist()
    # Coefficients of atoms so close are known to eps over their distance.
    rtol = 1e-4 if apart == 0 else min(1e-4 / apart, 0.5)
    assert_close(found.x, expected.x, rtol=rtol, atol=rtol)
    assert_close(found.residual_norm, expected.residual_norm, rtol=1e-3)


def test_each_signal_stops_on_its_own():
    A, Y = signals(7, np.float64, noise=0.0)
    Y[::2] = 3 * A[:, :1].T
    found, expected = solve(A, Y, sparsity=K, rtol=1e-6), one_by_one(A, Y, sparsity=K, rtol=1e-6)
    assert found.num_steps.tolist() == expected.num_steps.tolist()
    assert set(found.num_steps[::2].tolist()) == {1}
    assert_close(found.x, expected.x)


def test_every_signal_has_its_own_units():
    A, Y = signals(8, np.float32)
    units = np.float32(10) ** np.linspace(-20, 20, NUM, dtype=np.float32)
    plain, found = by_gram(A, Y, sparsity=K), by_gram(A, units[:, None] * Y, sparsity=K)
    assert_close(found.x / units[:, None], plain.x)
    assert_close(found.residual_norm / units, plain.residual_norm)


@pytest.mark.slow  # The contract differentiates both forms, each against the oracle.
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_derivatives_are_those_of_least_squares_on_the_atoms(dtype):
    A, Y = signals(9, dtype, num=3)
    directions = random_problem(3, M, N, K, dtype)[0], random_problem(4, 3, M, K, dtype)[0]
    cotangent = np.random.default_rng(1).standard_normal((3, N))

    def loss(solver, A, Y):
        return jnp.vdot(cotangent, solver(A, Y).x.real + solver(A, Y).x.imag)

    forms = [
        lambda A, Y: gj.omp_batch(gj.dictionary(A), Y, sparsity=K),
        lambda A, Y: one_by_one(A, Y, sparsity=K),
    ]
    gradients = [jax.jit(jax.grad(functools.partial(loss, f), (0, 1)))(A, Y) for f in forms]
    jax.tree.map(assert_close, *gradients)
    forward = jax.jit(lambda *a: jax.jvp(functools.partial(loss, forms[0]), a, directions)[1])(A, Y)
    reverse = sum(
        np.sum((np.asarray(g) * d).real) for g, d in zip(gradients[0], directions, strict=True)
    )
    assert_close(forward, reverse)


def test_vmap_over_weights():
    A, Y = signals(10, np.float64, num=3)
    W = np.random.default_rng(0).uniform(0.5, 2, (2, N))
    found = jax.vmap(lambda w: gj.omp_batch(gj.dictionary(A), Y, sparsity=K, weights=w))(W)
    for i, w in enumerate(W):
        assert_close(found.x[i], one_by_one(A, Y, sparsity=K, weights=w).x)


def test_a_dictionary_stands_for_its_matrix():
    A, Y = signals(11, np.float32)
    A *= np.linspace(0.1, 10, N, dtype=np.float32)
    D = jax.jit(gj.dictionary)(A)
    assert D.shape == (M, N)
    assert_close(D.gram, D.unit.matrix.T @ D.unit.matrix)
    assert gj.dictionary(A, gram=False).gram is None
    assert gj.dictionary(gj.dictionary(A, gram=False)).gram is not None
    x, y = np.arange(N, dtype=np.float32), Y[0]
    assert_close(D.matvec(x), A @ x, rtol=1e-3)
    assert_close(D.rmatvec(y), A.T @ y, rtol=1e-3)
    for solver in (
        functools.partial(gj.omp, sparsity=K),
        functools.partial(gj.soft_omp, sparsity=K, tau=0.1),
        functools.partial(gj.iht, sparsity=K, num_steps=5),
    ):
        assert_close(jax.jit(solver)(D, y).x, jax.jit(solver)(A, y).x)
    # Signals in double precision deserve a Gram matrix in double precision.
    found = solve(D, Y.astype(np.float64), sparsity=K)
    expected = one_by_one(A.astype(np.float64), Y.astype(np.float64), sparsity=K)
    assert_close(found.x, expected.x, np.float64, rtol=1e-6)  # Columns were scaled in single.


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_iht_equals_the_oracle(dtype):
    A, Y = signals(12, dtype, num=5)
    step_size = np.float32(0.4)
    run = functools.partial(gj.iht_batch, sparsity=K, num_steps=6, batch_size=2)
    found = jax.jit(lambda A, Y: run(A, Y, step_size=step_size))(A, Y)
    for i, y in enumerate(Y):
        expected = oracles.iht(A, y, K, 6, step_size)
        assert_close(found.x[i], expected.x, dtype)
        assert_close(found.residual_norm[i], expected.residual_norm, dtype)


def test_iht_by_default_steps_as_one_by_one_in_any_units():
    A, Y = signals(13, np.float32)
    units = np.float32(10) ** np.linspace(-20, 20, NUM, dtype=np.float32)
    settings = {"sparsity": K, "num_steps": 6, "weights": np.linspace(1, 2, N, dtype=np.float32)}
    found = jax.jit(lambda A, Y: gj.iht_batch(gj.dictionary(A), Y, **settings))(
        A, units[:, None] * Y
    )
    expected = jax.jit(jax.vmap(lambda y: gj.iht(A, y, **settings)))(Y)
    assert found.support.tolist() == expected.support.tolist()
    assert_close(found.x / units[:, None], expected.x)
    assert_close(found.residual_norm / units, expected.residual_norm)
    assert found.converged.tolist() == expected.converged.tolist()


# --- The plan ------------------------------------------------------------------------------------


def planned(m, n, k, num, *, has_gram=False, gram_serves=True, backend="cpu"):
    settings = {"has_gram": has_gram, "gram_serves": gram_serves, "backend": backend}
    return plan(m, n, k, num, 4, **settings)


def test_plan():
    for sizes in ((256, 1024, 32, 2048), (64, 256, 8, 8192), (512, 2048, 64, 512)):
        assert planned(*sizes).by_gram
        assert not planned(*sizes, gram_serves=False).by_gram
    assert not planned(256, 1024, 32, 8).by_gram, "a Gram matrix for eight signals"
    assert planned(256, 1024, 32, 8, has_gram=True).by_gram, "unless it is there"
    assert not planned(64, 1024, 40, 10**5).by_gram, "too many atoms to be told apart"
    assert not planned(256, 40_000, 32, 10**6).by_gram, "more memory than one should take"
    for sizes in ((64, 2048, 10, 512), (64, 4096, 16, 4096)):
        assert not planned(*sizes).by_gram, "many atoms for few measurements"
        assert not planned(*sizes, has_gram=True).by_gram, "though it is there"


def test_plan_of_a_gpu_takes_the_form_that_was_faster_there():
    """At all sizes that benchmarks/gpu.py measured, within 5 %."""
    sections = benchmark("common").load_result("gpu")["sections"]
    on_gpu, times = functools.partial(planned, backend="gpu"), {}
    for row in [*sections["omp"], *sections["caches"]]:
        sizes = tuple(row[name] for name in ("m", "n", "k", "batch"))
        times.setdefault(sizes, {})[row["method"]] = row["median_ms"]
    for sizes, rows in times.items():
        chosen = rows["by Gram" if on_gpu(*sizes).by_gram else "by residuals"]
        assert chosen <= 1.05 * min(rows["by Gram"], rows["by residuals"]), sizes
    assert len(times) >= 11
    assert not on_gpu(256, 1024, 32, 8).by_gram, "a Gram matrix for eight signals"
    assert on_gpu(256, 1024, 32, 8, has_gram=True).by_gram, "unless it is there"


def test_blocks_are_even():
    """Of 5 signals in blocks of at most 4, none is filled up with more than one row of zeros."""
    sizes = []

    def solve(rows):
        sizes.append(rows.shape)
        return 2 * rows

    Y = jnp.arange(15.0).reshape(5, 3)
    np.testing.assert_array_equal(in_blocks(solve, 4, Y), 2 * Y)
    assert set(sizes) == {(3, 3)}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_signals():
    """Beyond the answers themselves and their correlations."""

    def temporary(num):
        lowered = solve.lower(
            np.ones((16, 64), np.float32), np.ones((num, 16), np.float32), sparsity=4
        )
        return lowered.compile().memory_analysis().temp_size_in_bytes

    small, large = temporary(1024), temporary(4096)
    assert large - small <= 3072 * 4 * (2 * 64 + 4 * 16)


# --- Bad input -----------------------------------------------------------------------------------

A, Y = np.eye(3, 4), np.ones((2, 3))
BAD = [
    ({"Y": np.ones(3)}, ValueError, r"Y: expected an array with 2 axes, got shape \(3,\)"),
    ({"Y": np.ones((2, 4))}, ValueError, r"Y: expected shape \(num, 3\), got shape \(2, 4\)"),
    ({"Y": np.ones((2, 3), int)}, TypeError, r"Y: expected floating-point .* got dtype int64"),
    ({"Y": np.nan * Y}, ValueError, r"Y: expected finite numbers, got NaN"),
    ({"A": np.ones(3)}, ValueError, r"A: expected an array with 2 axes, got shape \(3,\)"),
    ({"sparsity": 0}, ValueError, r"sparsity: expected an int between 1 and \d .*, got 0"),
    (
        {"sparsity": 5},
        ValueError,
        r"sparsity: expected .* for A of shape \(3, 4\)(, as no more .*)?, got 5",
    ),
    ({"sparsity": 1.0}, TypeError, r"sparsity: expected an int, got 1.0"),
    ({"weights": np.ones(3)}, ValueError, r"weights: expected shape \(4,\), got shape \(3,\)"),
    ({"batch_size": 0}, ValueError, r"batch_size: expected an int >= 1, got 0"),
]
SOLVERS = {
    "omp": functools.partial(gj.omp_batch, sparsity=1),
    "iht": functools.partial(gj.iht_batch, sparsity=1, num_steps=2),
}


@pytest.mark.wrong_types
@pytest.mark.parametrize(("change", "error", "message"), BAD)
@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_bad_arguments_are_named(solver, change, error, message):
    with pytest.raises(error, match=f"^{message}"):
        solver(**{"A": A, "Y": Y, **change})


@pytest.mark.wrong_types
def test_bad_arguments_of_one_alone():
    with pytest.raises(ValueError, match=r"^rtol: expected a finite number >= 0, got -1"):
        gj.omp_batch(A, Y, sparsity=1, rtol=-1.0)
    with pytest.raises(ValueError, match=r"^num_steps: expected an int >= 0, got -1"):
        gj.iht_batch(A, Y, sparsity=1, num_steps=-1)
    with pytest.raises(ValueError, match=r"^step_size: expected a positive.*, got 0"):
        gj.iht_batch(A, Y, sparsity=1, num_steps=1, step_size=0.0)
    with pytest.raises(TypeError, match=r"^sparsity: .*mark it static"):
        jax.jit(lambda k: gj.omp_batch(A, Y, sparsity=k))(2)
