"""The number of paths: thresholds against SciPy, rates of false alarm on noise, and bad calls."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import greedyjax as gj
import off_grid_oracles as oracles
from greedyjax.off_grid import newtonised_omp, newtonised_omp_batch, noise_norm
from greedyjax.off_grid._false_alarm import length_of, thresholds
from greedyjax.operators import Steering
from greedyjax.structures import Blocks, SharedSupport
from helpers import assert_close, slow_but

M, N = 16, 64
A = Steering(M, N, jnp.complex128)
SHARED = SharedSupport()


def pulse(c):
    return jnp.exp(-0.5 * ((jnp.arange(M) - c) / 1.2) ** 2)


CENTRES = np.linspace(2, M - 3, 50)


def noise(seed, *shape, is_complex=True):
    real, imaginary = np.random.default_rng(seed).standard_normal((2, *shape))
    return (real + 1j * imaginary) / 2**0.5 if is_complex else real


# --- Thresholds ----------------------------------------------------------------------------------


def test_the_length_of_a_line_of_antennas_is_that_of_the_formula():
    fine = Steering(M, 16 * M, jnp.complex128)
    atoms = jax.vmap(fine.atom, out_axes=1)(jnp.arange(16 * M)[:, None] / (16 * M))
    # All around, but for the last gap; chords are shorter than the curve by a thousandth.
    exact = 2 * np.pi * ((M**2 - 1) / 12) ** 0.5 * (1 - 1 / (16 * M))
    assert_close(length_of(atoms), exact, rtol=2e-3)
    same = jnp.ones((M, 5)) / M**0.5
    assert length_of(same) < 1e-7


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("is_complex", [True, False])
@pytest.mark.parametrize(
    ("snapshots", "false_alarm"),
    slow_but([(1, 1e-6), (8, 0.01)], [(1, 0.3), (1, 1e-6), (8, 0.01)]),
)
def test_thresholds_are_those_of_scipy(known, is_complex, snapshots, false_alarm):
    if is_complex:
        atoms = jax.vmap(A.atom, out_axes=1)(A.frequencies)
    else:
        atoms = jax.vmap(pulse, out_axes=1)(CENTRES)
        atoms = atoms / jnp.linalg.norm(atoms, axis=0, keepdims=True)
    found = thresholds(
        atoms, atoms.dtype, snapshots=snapshots, sparsity=3, num_parameters=1,
        false_alarm=jnp.asarray(false_alarm), known=known,
    )  # fmt: skip
    length, n = float(length_of(atoms)), atoms.shape[1]
    for k in range(3):
        level = oracles.peak_level(M, n, length, snapshots, k, false_alarm, is_complex, known)
        # JAX's incomplete beta function has eight digits.
        assert_close(found[k], level, rtol=1e-6)


def test_one_atom_is_an_ordinary_test():
    atoms = jnp.ones((M, 1), complex) / M**0.5
    settings = {
        "snapshots": 2,
        "sparsity": 1,
        "num_parameters": 1,
        "false_alarm": jnp.asarray(0.02),
    }
    known = thresholds(atoms, complex, **settings, known=True)
    assert_close(known[0], stats.gamma(2).isf(0.02))
    unknown = thresholds(atoms, complex, **settings, known=False)
    assert_close(unknown[0], stats.beta(2, 2 * (M - 1)).isf(0.02))


def test_nothing_is_found_once_no_degrees_of_freedom_are_left():
    atoms = jnp.eye(3, dtype=complex)
    found = thresholds(
        atoms, complex, snapshots=1, sparsity=3, num_parameters=1,
        false_alarm=jnp.asarray(0.1), known=False,
    )  # fmt: skip
    assert np.isfinite(found[0])
    assert np.isinf(found[2])


# --- Rates ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("snapshots", "known"),
    slow_but([(1, True), (4, False)], itertools.product([1, 4], [True, False])),
)
def test_noise_is_given_a_path_as_often_as_stated(known, snapshots):
    num, rate = 4000, 0.1
    frames = 3 * noise(snapshots, num, M, snapshots)
    found = newtonised_omp_batch(
        A.atom, A.frequencies, frames, sparsity=1, structure=SHARED, num_cycles=0,
        false_alarm=rate, noise_variance=9.0 if known else None,
    )  # fmt: skip
    # Four standard deviations of the count, and a tenth for what the formula approximates.
    assert abs(np.mean(found.count) - rate) < 4 * (rate * (1 - rate) / num) ** 0.5 + 0.1 * rate


@pytest.mark.parametrize("known", slow_but([False], [True, False]))
def test_real_noise_too(known):
    num, rate = 4000, 0.1
    signals = 3 * noise(5, num, M, is_complex=False)
    found = newtonised_omp_batch(
        pulse, CENTRES, signals, sparsity=1, num_cycles=0, false_alarm=rate,
        noise_variance=9.0 if known else None,
    )  # fmt: skip
    assert abs(np.mean(found.count) - rate) < 4 * (rate * (1 - rate) / num) ** 0.5 + 0.1 * rate


@pytest.mark.parametrize("known", slow_but([True], [True, False]))
def test_the_number_of_paths_is_found_and_few_more(known):
    num, rate, true = 500, 0.05, jnp.array([[-0.331], [0.062], [0.287]])
    gains = noise(0, num, 3, 4)
    frames = np.einsum("km,nkl->nml", jax.vmap(A.atom)(true), 8 * gains) + noise(1, num, M, 4)
    found = newtonised_omp_batch(
        A.atom, A.frequencies, frames, sparsity=5, structure=SHARED,
        false_alarm=rate, noise_variance=1.0 if known else None,
    )  # fmt: skip
    assert np.mean(found.count < 3) < 0.01
    assert np.mean(found.count > 3) < 2 * rate


def test_a_path_beside_none_at_all():
    y = 20 * A.atom(jnp.array([0.1])) + noise(0, M)
    options = {"sparsity": 4, "false_alarm": 1e-3}
    assert newtonised_omp(A.atom, A.frequencies, y, **options).count == 1
    assert newtonised_omp(A.atom, A.frequencies, noise(1, M), **options).count == 0


def test_rates_and_variances_may_be_traced_or_constants_of_a_compiled_function():
    y = 20 * A.atom(jnp.array([0.1])) + noise(0, M)
    solve = lambda rate, variance: (
        newtonised_omp(
            A.atom, A.frequencies, y, sparsity=3, false_alarm=rate, noise_variance=variance
        ).count
    )
    assert jax.jit(solve)(0.01, 1.0) == jax.jit(lambda: solve(0.01, 1.0))() == 1
    assert jax.jit(solve)(0.01, 1e4) == 0


@pytest.mark.parametrize("is_complex", [True, False])
def test_the_norm_of_noise_is_a_quantile_of_chi_square(is_complex):
    freedom = 40 if is_complex else 20
    share = 0.5 if is_complex else 1.0
    variances = np.array([0.25, 9.0])
    found = noise_norm(20, variances, false_alarm=0.03, is_complex=is_complex)
    assert_close(found, np.sqrt(variances * share * stats.chi2(freedom).isf(0.03)))
    one = noise_norm(20, 9.0, false_alarm=0.03, is_complex=is_complex)
    assert_close(one, found[1])


def test_the_norm_of_noise_stops_solvers_on_a_grid():
    num, rate = 2000, 0.1
    atol = noise_norm(M, 4.0, false_alarm=rate, is_complex=True)
    found = gj.omp_batch(A, 2 * noise(3, num, M), sparsity=2, atol=atol)
    assert abs(np.mean(found.num_steps > 0) - rate) < 4 * (rate / num) ** 0.5


# --- Bad calls -----------------------------------------------------------------------------------

Y = noise(0, M, 3)
y, frames = Y[:, 0], noise(0, 2, M, 3)


def call(atom=A.atom, grid=A.frequencies, y=y, sparsity=2, **options):
    return newtonised_omp(atom, grid, y, sparsity=sparsity, **options)


def batch(Y, **options):
    return newtonised_omp_batch(A.atom, A.frequencies, Y, sparsity=2, **options)


BAD = [
    (lambda: call(atom=A), TypeError, "atom: expected a function, got Steering"),
    (lambda: call(atom=lambda f: jnp.ones(3)), ValueError,
     r"atom: expected a function that returns shape \(16,\), as the measurements have, for "
     r"parameters of shape \(1,\), got one that returns shape \(3,\)"),
    (lambda: call(atom=lambda f: (f, f)), TypeError, "atom: .*, got one that returns tuple"),
    (lambda: call(atom=lambda f: jnp.ones(M, int)), TypeError, "atom: .* returns dtype int64"),
    (lambda: call(grid=np.ones((2, 2, 2))), ValueError, r"grid: expected shape \(n,\) or \(n, d\)"),
    (lambda: call(grid=np.ones((0, 1))), ValueError, r"grid: expected .* got shape \(0, 1\)"),
    (lambda: call(grid=np.array([np.nan])), ValueError, "grid: expected finite numbers"),
    (lambda: call(grid=np.arange(3)), TypeError, "grid: expected floating-point"),
    (lambda: call(y=Y), ValueError,
     r"y: expected shape \(m,\), got shape \(16, 3\); snapshots of the same paths need "
     r"structure=greedyjax.structures.SharedSupport\(\), and many signals newtonised_omp_batch"),
    (lambda: call(y=y, structure=SHARED), ValueError, r"y: expected shape \(m, L\), got"),
    (lambda: call(y=np.full(M, np.inf)), ValueError, "y: expected finite numbers"),
    (lambda: batch(y), ValueError, r"Y: expected shape \(num, m\), got shape \(16,\)"),
    (lambda: batch(frames), ValueError, r"Y: expected shape \(num, m\), got .*; snapshots of"),
    (lambda: call(sparsity=0), ValueError, "sparsity: expected an int between 1 and 16, got 0"),
    (lambda: call(sparsity=17), ValueError, "sparsity: expected an int between 1 and 16, got 17"),
    (lambda: call(num_newton=-1), ValueError, "num_newton: expected an int >= 0"),
    (lambda: call(num_cycles=0.5), TypeError, "num_cycles: expected an int"),
    (lambda: call(false_alarm=0.0), ValueError, "false_alarm: expected a positive"),
    (lambda: call(false_alarm=0.6), ValueError,
     "false_alarm: expected a probability of at most 1/2, got 0.6"),
    (lambda: call(noise_variance=1.0), TypeError,
     "false_alarm: expected a probability, as there is a noise_variance, got None"),
    (lambda: call(noise_variance=0.0, false_alarm=0.1), ValueError, "noise_variance: expected a"),
    (lambda: call(noise_variance=np.ones(2), false_alarm=0.1), ValueError, "noise_variance: "),
    (lambda: batch(frames[:, :, 0], noise_variance=np.ones(3), false_alarm=0.1), ValueError,
     r"noise_variance: expected shape \(2,\), got shape \(3,\)"),
    (lambda: batch(frames[:, :, 0], noise_variance=-np.ones(2), false_alarm=0.1), ValueError,
     "noise_variance: expected positive"),
    (lambda: call(structure=Blocks(np.zeros(N, int))), TypeError,
     r"structure: expected Plain\(\) or SharedSupport\(\), as only atoms of a grid can be chosen"),
    (lambda: call(structure=SharedSupport), TypeError, "structure: .* got the class SharedSupport"),
    (lambda: batch(frames[:, :, 0], batch_size=0), ValueError, "batch_size: expected an int >= 1"),
    (lambda: newtonised_omp(A.atom, A.frequencies, y, n_nonzero_coefs=2), TypeError,
     "n_nonzero_coefs: expected sparsity="),
    (lambda: noise_norm(0, 1.0, false_alarm=0.1), ValueError, "size: expected an int >= 1"),
    (lambda: noise_norm(3, -1.0, false_alarm=0.1), ValueError, "noise_variance: expected a pos"),
    (lambda: noise_norm(3, 1.0, false_alarm=0.7), ValueError, "false_alarm: expected"),
    (lambda: noise_norm(3, 1.0, false_alarm=0.1, is_complex=1), TypeError, "is_complex: "),
    (lambda: A.atom(np.ones(2)), ValueError, r"frequencies: expected shape \(1,\)"),
]  # fmt: skip


@pytest.mark.wrong_types
@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_calls_say_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()
