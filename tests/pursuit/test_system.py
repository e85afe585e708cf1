"""`stack_real` and `relative_tau`."""

import jax
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.linalg import operators
from helpers import EACH_DTYPE, assert_close, random_problem, slow_but
from oracles import finite_difference
from oracles import omp as omp_oracle

relative_tau = jax.jit(lambda A, y, fraction, w: gj.relative_tau(A, y, fraction, weights=w))


@jax.jit
def relative_soft_omp(A, y):
    return gj.soft_omp(A, y, sparsity=3, tau=gj.relative_tau(A, y, 0.1))


def scores(A, y, w):
    norms = np.linalg.norm(A, axis=0)
    return np.abs(w * (A.conj().T @ y)) / np.where(norms > 0, norms, 1)


# --- stack_real ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_stacked_system(dtype):
    A, _, y = random_problem(0, 4, 7, 2, dtype)
    A_real, y_real = gj.stack_real(A, y)
    assert A_real.dtype == y_real.dtype == np.finfo(dtype).dtype
    assert_close(A_real, np.vstack([A.real, A.imag]), rtol=0, atol=0)
    assert_close(y_real, np.r_[y.real, y.imag], rtol=0, atol=0)
    assert_close(np.linalg.norm(A_real, axis=0), np.linalg.norm(A, axis=0), dtype)


def test_stacks_batches_and_either_kind_of_complex():
    A, _, y = random_problem(0, 4, 7, 2, np.complex128)
    Y = np.stack([[y, 2 * y, 3j * y]] * 2)
    stacked = gj.stack_real(A, Y)[1]
    assert_close(stacked, np.concatenate([Y.real, Y.imag], axis=-1), rtol=0, atol=0)
    A_real, y_real = gj.stack_real(A, y.real)
    assert_close(A_real, np.vstack([A.real, A.imag]), rtol=0, atol=0)
    assert_close(y_real, np.r_[y.real, np.zeros(4)], rtol=0, atol=0)
    A_real, y_real = gj.stack_real(A.real, y)
    assert_close(A_real, np.vstack([A.real, np.zeros((4, 7))]), rtol=0, atol=0)
    assert_close(y_real, np.r_[y.real, y.imag], rtol=0, atol=0)


def test_a_real_system_stays_as_it_is():
    A, _, y = random_problem(0, 4, 7, 2, np.float32)
    A_real, y_real = gj.stack_real(A, y)
    assert_close(A_real, A, rtol=0, atol=0)
    assert_close(y_real, y, rtol=0, atol=0)


def test_stacking_recovers_a_real_signal_that_the_complex_solver_misses():
    """It does not know that x is real; the stacked system does."""
    A = random_problem(3, 8, 20, 1, np.complex128)[0]
    x = np.zeros(20)
    x[[3, 11, 17]] = 1.5, -1.0, 1.2
    y = A @ x
    A_real, y_real = gj.stack_real(A, y)
    found = jax.jit(gj.omp, static_argnames="sparsity")(A_real, y_real, sparsity=3)
    assert_close(found.x, x)
    assert np.linalg.norm(omp_oracle(A, y, 3).x - x) > 0.1


# --- relative_tau --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_is_a_fraction_of_the_largest_score(dtype):
    A, _, y = random_problem(0, 8, 12, 3, dtype)
    A = (A * np.logspace(-1, 1, 12)).astype(dtype)
    w = np.random.default_rng(0).uniform(-2, 2, 12).astype(np.finfo(dtype).dtype)
    tau = relative_tau(A, y, 0.25, w)
    assert tau.dtype == np.finfo(dtype).dtype
    assert_close(tau, 0.25 * scores(A, y, w).max())
    ones = jax.jit(gj.relative_tau)(A, y, 0.25)
    assert_close(ones, 0.25 * scores(A, y, 1).max(), dtype)


def test_is_the_fraction_itself_where_every_score_is_zero():
    A, _, y = random_problem(0, 8, 12, 3, np.float64)
    assert relative_tau(A, np.zeros(8), 0.25, np.ones(12)) == 0.25
    assert relative_tau(A, y, 0.25, np.zeros(12)) == 0.25


def test_vmap_equals_a_loop():
    A, _, y = random_problem(0, 8, 12, 3, np.float64)
    Y = np.stack([y, np.zeros(8), 3 * y[::-1]])
    taus = jax.vmap(relative_tau, (None, 0, None, None))(A, Y, 0.25, np.ones(12))
    assert_close(taus, [relative_tau(A, y, 0.25, np.ones(12)) for y in Y])


@pytest.mark.parametrize(("dtype", "exponents"), [(np.float64, (-3, 3)), (np.float32, (-20, 20))])
def test_makes_soft_omp_homogeneous(dtype, exponents):
    A, _, y = random_problem(0, 8, 12, 3, dtype, noise=0.2)
    plain = relative_soft_omp(A, y)
    # Far from the hard limit, so that an absolute temperature would show.
    assert np.abs(plain.x - omp_oracle(A, y, 3).x).max() > 1e-2
    for exponent in exponents:
        c = dtype(10.0**exponent)
        # Soft atoms are close to dependent: rounding grows by about 100.
        close = {"rtol": 1e-8 if dtype == np.float64 else 1e-2}
        assert_close(relative_soft_omp(A, c * y).x / c, plain.x, **close)
        assert_close(relative_soft_omp(c * A, y).x * c, plain.x, **close)


def test_gradients():
    A, _, y = random_problem(0, 5, 6, 3, np.float64)
    w = np.random.default_rng(0).uniform(0.5, 2, 6)
    by_all = jax.jit(jax.grad(relative_tau, (0, 1, 2, 3)))
    gradients = by_all(A, y, 0.25, w)
    oracle = lambda A, y, fraction, w: fraction * scores(A, y, w).max()
    args = (A, y, np.array(0.25), w)
    for i, gradient in enumerate(gradients):
        moved = lambda value, i=i: oracle(*args[:i], value, *args[i + 1 :])
        # Central differences of step 1e-6 are good to about 1e-9.
        assert_close(gradient, finite_difference(moved, args[i]), rtol=1e-7, atol=1e-8)
    for gradient in by_all(A, np.zeros(5), 0.25, w):
        assert np.all(np.isfinite(gradient))


# --- Large matrices ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "unit"),
    slow_but(
        [(np.float64, 1e-20)],
        [(np.float32, 1e20), (np.float64, 1e-20), (np.complex64, 1e-20), (np.complex128, 1)],
    ),
)
def test_a_matrix_that_is_not_copied_gives_the_same_answers(dtype, unit, monkeypatch):
    A, _, y = random_problem(5, 12, 30, 3, dtype)
    A = (unit * A * np.logspace(-2, 2, A.shape[1])).astype(dtype)
    A[:, 4] = 0

    def answers():
        soft = lambda A, y: gj.soft_omp(A, y, sparsity=3, tau=0.1).x
        loss = lambda y: (abs(unit * soft(A, y)) ** 2).sum()
        return (
            gj.omp(A, y, sparsity=3),
            gj.omp_batch(A, np.stack([y, 2 * y]), sparsity=3),
            gj.omp_batch(gj.dictionary(A), np.stack([y, 2 * y]), sparsity=3),
            gj.subspace_pursuit(A, y, sparsity=3, num_steps=2),
            soft(A, y) * unit,
            jax.grad(loss)(y) if dtype == np.float64 else loss(y),
        )

    copied = answers()
    monkeypatch.setattr(operators, "_LARGE_NUMBERS", 0)
    jax.clear_caches()
    scaled = answers()
    jax.tree.map(lambda one, other: assert_close(other, one, dtype), copied, scaled)
    jax.clear_caches()


@pytest.mark.slow
def test_a_large_matrix_is_in_memory_once(monkeypatch):
    monkeypatch.setattr(operators, "_LARGE_NUMBERS", 0)
    jax.clear_caches()
    made = gj.dictionary(np.ones((3, 5), np.float32), gram=False)
    pointers = [leaf.unsafe_buffer_pointer() for leaf in (made.A.parts, made.unit.A.parts)]
    assert pointers[0] == pointers[1]
    jax.clear_caches()
