"""The paper's signal model and the random matrices, against NumPy."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from greedyjax.problems import gaussian, partial_fourier, sparse_in_levels

EPS = float(np.finfo(np.float32).eps)


def key(seed=0):
    return jax.random.key(seed)


@functools.cache
def paper_problem():
    """The defaults, as NumPy arrays in double precision."""
    return [np.asarray(field) for field in sparse_in_levels(key())]


def same_bits(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# Matrices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "n"), [(20, 256), (255, 256), (9, 15), (1, 1)])
def test_fourier_rows_are_rows_of_the_dft(m, n):
    A = np.asarray(partial_fourier(key(3), m, n), np.complex128)
    dft = np.fft.fft(np.eye(n)) / np.sqrt(m)
    matches = np.abs(A @ dft.conj().T) * m / n  # 1 where the rows are the same, 0 elsewhere
    rows = matches.argmax(axis=1)
    # An entry is a cosine and a sine of an angle below 2 pi, rounded in float32.
    np.testing.assert_allclose(A, dft[rows], rtol=0, atol=8 * EPS / np.sqrt(m))

    frequencies = np.where(rows > n // 2, rows - n, rows)
    assert (np.diff(frequencies) > 0).all(), "sorted, none twice"
    assert np.abs(frequencies).max() <= (n - 1) // 2


def test_fourier_frequencies_are_uniform():
    """All 255 turn up equally often: each in 20 of 255 draws, on average, +- 5 deviations."""
    num = 400
    A = jax.vmap(lambda k: partial_fourier(k, 20, 256))(jax.random.split(key(), num))
    # Column 1 holds exp(-2 pi i f / 256): its angle is the frequency.
    angles = np.angle(np.asarray(A[:, :, 1]))
    frequencies = np.rint(-angles * 256 / (2 * np.pi)).astype(int)
    counts = np.bincount(frequencies.ravel() + 127, minlength=255)
    assert len(counts) == 255
    share = 20 / 255
    assert np.abs(counts - num * share).max() < 5 * np.sqrt(num * share * (1 - share))


def test_fourier_keeps_its_digits_for_many_atoms():
    n = 50_000
    A = np.asarray(partial_fourier(key(), 3, n), np.complex128)
    frequencies = np.rint(-np.angle(A[:, 1]) * n / (2 * np.pi))
    expected = np.exp(-2j * np.pi * np.outer(frequencies, np.arange(n)) / n) / np.sqrt(3)
    np.testing.assert_allclose(A, expected, rtol=0, atol=8 * EPS)


@pytest.mark.parametrize("matrix", [partial_fourier, gaussian])
def test_columns_have_norm_one(matrix):
    A = np.asarray(matrix(key(), 20, 256), np.complex128)
    np.testing.assert_allclose(np.linalg.norm(A, axis=0), 1, rtol=4 * EPS)


def test_gaussian_is_isotropic_and_uncorrelated():
    """Rows of a matrix with unit columns: mean 0, A A* close to (n / m) I."""
    m, n = 16, 20_000
    A = np.asarray(gaussian(key(), m, n), np.float64)
    # Each entry of the average has standard deviation at most sqrt(2 / m^2 / n): 6 of them.
    np.testing.assert_allclose(A @ A.T / n, np.eye(m) / m, atol=6 * np.sqrt(2 / n) / m)
    np.testing.assert_allclose(A.mean(axis=1), 0, atol=6 / np.sqrt(m * n))


@pytest.mark.parametrize(
    ("matrix", "dtype", "expected"),
    [
        (partial_fourier, jnp.float32, "complex64"),
        (partial_fourier, jnp.float64, "complex128"),
        (gaussian, jnp.float32, "float32"),
        (gaussian, "float64", "float64"),
    ],
)
def test_matrix_dtype_follows_the_argument(matrix, dtype, expected):
    with jax.enable_x64(True):
        assert matrix(key(), 3, 8, dtype=dtype).dtype == expected
        assert matrix(key(), 3, 8).dtype == (
            "complex64" if matrix is partial_fourier else "float32"
        )


@pytest.mark.parametrize("matrix", [partial_fourier, gaussian])
def test_matrix_depends_on_the_key_alone(matrix):
    assert same_bits(matrix(key(1), 8, 32), matrix(key(1), 8, 32))
    assert not same_bits(matrix(key(1), 8, 32), matrix(key(2), 8, 32))
    # The width of JAX's default types is no part of a problem.
    with jax.enable_x64(False):
        narrow = np.asarray(matrix(key(1), 8, 32))
    with jax.enable_x64(True):
        wide = np.asarray(matrix(key(1), 8, 32))
    assert same_bits(narrow, wide)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: partial_fourier(key(), 256, 256), ValueError, "num_measurements.*255.*got 256"),
        (lambda: partial_fourier(key(), 0, 256), ValueError, "num_measurements.*got 0"),
        (lambda: partial_fourier(key(), 3, 2**16 + 1), ValueError, "num_atoms.*65536.*got 65537"),
        (lambda: gaussian(key(), 3, -1), ValueError, "num_atoms.*>= 1.*got -1"),
        (lambda: gaussian(key(), 2.0, 5), TypeError, "num_measurements.*int.*got 2.0"),
        (lambda: gaussian(key(), 2, 5, dtype=jnp.int32), TypeError, "dtype.*float64.*got int32"),
    ],
)
def test_bad_matrix_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Signals ----------------------------------------------------------------------------------------


def test_paper_problem_has_its_shapes_and_types():
    A, Y, X, support = paper_problem()
    assert [a.shape for a in (A, Y, X, support)] == [(20, 256), (1536, 20), (1536, 256), (20,)]
    assert [str(a.dtype) for a in (A, Y, X, support)] == [
        "complex64",
        "complex64",
        "float32",
        "int32",
    ]


def test_signals_are_sparse_in_one_hidden_level():
    _, _, X, support = paper_problem()
    assert (np.diff(support) > 0).all()
    assert support.min() >= 0
    assert support.max() < 256
    assert (np.count_nonzero(X, axis=1) == 10).all()
    assert set(np.flatnonzero(X.any(axis=0))) == set(support)
    np.testing.assert_allclose(np.linalg.norm(X.astype(np.float64), axis=1), 1, rtol=4 * EPS)


def test_every_atom_of_the_level_is_used_equally():
    _, _, X, support = paper_problem()
    used = np.count_nonzero(X[:, support], axis=0)
    # Each atom is in a signal with probability 1/2: binomial, 5 deviations.
    assert np.abs(used - 768).max() < 5 * np.sqrt(1536 / 4)


def test_values_are_normal_before_scaling():
    """Of 10 normal values scaled to norm 1, E v^2 = 1/10 and E v^4 = 3/120; signs are even."""
    _, _, X, _ = paper_problem()
    values = X[X != 0].astype(np.float64)
    num = len(values)
    assert num == 15_360
    assert abs(np.mean(values**4) - 3 / 120) < 5 * np.std(values**4) / np.sqrt(num)
    assert abs(np.mean(values)) < 5 * np.sqrt(0.1 / num)


@pytest.mark.parametrize(("matrix", "noise"), [(partial_fourier, 1e-3), (gaussian, 0.5)])
def test_noise_has_the_norm_asked_for(matrix, noise):
    m, num = 20, 1536
    problem = sparse_in_levels(key(), matrix=matrix, noise=noise)
    A, Y, X, _ = (np.asarray(a).astype(np.complex128) for a in problem)
    E = Y - X @ A.T
    # ||e||^2 / noise^2 is a mean of m (complex: 2 m halves of) squared normals: the average over
    # the signals deviates by at most sqrt(2 / (m num)), and float32 rounds E by about 1e-7.
    average = np.mean(np.sum(np.abs(E) ** 2, axis=1)) / noise**2
    assert abs(average - 1) < 5 * np.sqrt(2 / (m * num))
    if matrix is partial_fourier:
        parts = np.mean(E.real**2), np.mean(E.imag**2)
        np.testing.assert_allclose(parts, noise**2 / m / 2, rtol=5 * np.sqrt(2 / (m * num)))
    else:
        assert not E.imag.any()
    correlation = E.T @ E.conj() / num * m / noise**2
    np.testing.assert_allclose(correlation, np.eye(m), atol=6 * np.sqrt(2 / num))


@pytest.mark.parametrize("matrix", [partial_fourier, gaussian])
def test_without_noise_the_measurements_are_exact(matrix):
    A, Y, X, _ = (
        np.asarray(a).astype(np.complex128)
        for a in sparse_in_levels(key(), noise=0.0, matrix=matrix)
    )
    # Sums of 10 products of size 1 / sqrt(20), whatever the device calls its default precision.
    np.testing.assert_allclose(Y, X @ A.T, rtol=0, atol=10 * EPS)


def test_matrix_sets_the_precision_of_the_problem():
    with jax.enable_x64(True):
        double = functools.partial(partial_fourier, dtype=jnp.float64)
        A, Y, X, support = sparse_in_levels(key(), num_signals=8, matrix=double)
    assert (A.dtype, Y.dtype, X.dtype) == (np.complex128, np.complex128, np.float64)
    assert support.dtype == np.int32
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, rtol=1e-14)


def test_own_matrix_is_used_as_it_is():
    own = np.random.default_rng(0).standard_normal((20, 256)).astype(np.float32)
    problem = sparse_in_levels(key(), matrix=lambda key, m, n: jnp.asarray(own))
    np.testing.assert_array_equal(problem.A, own)


def test_problem_depends_on_the_key_alone():
    first, again, other = (sparse_in_levels(key(seed)) for seed in (7, 7, 8))
    assert same_bits(first, again)
    assert not any(same_bits([a], [b]) for a, b in zip(first, other, strict=True))


def test_whole_level_and_whole_space_are_allowed():
    problem = sparse_in_levels(
        key(), num_signals=3, num_atoms=8, num_measurements=4, sparsity=8, level_size=8
    )
    assert np.count_nonzero(problem.X) == 24
    np.testing.assert_array_equal(problem.support, np.arange(8))


def test_problem_can_be_drawn_inside_jit():
    compiled_problem = jax.jit(lambda key: sparse_in_levels(key))(key())
    # The compiler may order the sums of y = A x + e otherwise.
    for compiled, eager in zip(compiled_problem, paper_problem(), strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=0, atol=10 * EPS)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sparsity": 21}, ValueError, "sparsity.*20.*level_size.*got 21"),
        ({"sparsity": 0}, ValueError, "sparsity.*got 0"),
        ({"level_size": 257}, ValueError, "level_size.*256.*num_atoms.*got 257"),
        ({"num_measurements": 256}, ValueError, "num_measurements.*255.*got 256"),
        ({"num_measurements": 0}, ValueError, "num_measurements.*got 0"),
        ({"num_signals": 0}, ValueError, "num_signals.*>= 1.*got 0"),
        ({"num_atoms": 0}, ValueError, "num_atoms.*>= 1.*got 0"),
        ({"num_signals": 1.5}, TypeError, "num_signals.*int.*got 1.5"),
        ({"sparsity": True}, TypeError, "sparsity.*int.*got True"),
        ({"noise": -1e-3}, ValueError, "noise.*>= 0.*got -0.001"),
        ({"noise": float("nan")}, ValueError, "noise.*finite.*got nan"),
        ({"noise": "loud"}, TypeError, "noise.*got str"),
        ({"matrix": lambda key, m, n: jnp.ones((n, m))}, ValueError, "matrix.*20, 256.*256, 20"),
        ({"matrix": lambda key, m, n: jnp.ones((m, n), int)}, TypeError, "matrix.*got dtype int"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        sparse_in_levels(key(), **arguments)


def test_importing_problems_loads_no_demo_dependency():
    code = (
        "import sys, greedyjax.problems\n"
        "loaded = {'pydicom', 'pywt', 'matplotlib', 'flax', 'optax'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
