"""Sparse Bayesian learning, against posteriors signal by signal and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_oracles
from greedyjax.problems import sparse_in_levels
from greedyjax.pursuit import stack_real
from greedyjax.training import Prior, sparse_bayes
from helpers import assert_close, random_problem, slow_but

M, N, K, NUM = 10, 16, 3, 7


def measurements(dtype):
    A = random_problem(0, M, N, K, dtype)[0] * np.linspace(0.5, 2, N).astype(np.float32)
    Y = np.stack([random_problem(1 + i, M, N, K, dtype, noise=0.2)[2] for i in range(NUM)])
    return A.astype(dtype), Y


compiled = jax.jit(sparse_bayes, static_argnames="num_rounds")


@pytest.mark.parametrize("noise", [None, 0.3])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_equals_the_posteriors_of_every_signal(dtype, noise):
    A, Y = measurements(dtype)
    got = compiled(A, Y, num_rounds=20, noise=noise)
    variances, noise_variance = learning_oracles.sparse_bayes(A, Y, 20, noise)
    assert got.deviations.dtype == got.noise.dtype == np.float64
    # The oracle's inverses are of matrices whose conditions reach 1e7.
    assert_close(got.deviations**2, variances, rtol=1e-7)
    assert_close(got.noise**2, noise_variance, rtol=1e-7)
    assert variances.max() > 100 * variances.min(), "the variances are not all alike"


def test_of_an_orthonormal_matrix_it_is_what_exceeds_the_noise():
    """The likelihood splits: v_j + noise^2 is the mean of |a_j* y|^2, or v_j is 0."""
    A, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))
    X = np.random.default_rng(1).standard_normal((50, 6)) * np.array([3, 1, 2, 0.1, 0.1, 5])
    expected = np.maximum(np.mean(X**2, axis=0) - 0.25, 0)
    got = compiled(A, X @ A.T, num_rounds=300, noise=0.5)
    assert (expected == 0).any()
    assert_close(got.deviations**2, expected, atol=1e-10)


def test_no_round_lowers_the_likelihood():
    A, Y = measurements(np.complex128)

    def minus_log_likelihood(prior):
        C = A * np.asarray(prior.deviations) ** 2 @ A.conj().T + float(prior.noise) ** 2 * np.eye(M)
        fit = np.mean([np.vdot(y, np.linalg.solve(C, y)).real for y in Y])
        return np.linalg.slogdet(C)[1] + fit

    values = [minus_log_likelihood(compiled(A, Y, num_rounds=i)) for i in (1, 2, 5, 20, 100)]
    assert (np.diff(values) < 0).all(), values


def test_weights_and_penalties():
    prior = Prior(jnp.array([4.0, 1.0, 0.25]), jnp.array(0.5))
    assert_close(prior.weights, np.array([1, 0.5, 0.25]))
    assert_close(prior.penalties, np.array([1 / 64, 1 / 4, 4]))


def test_the_penalties_make_ridge_the_posterior_mean():
    A, Y = measurements(np.complex128)
    prior = compiled(A, Y, num_rounds=20, noise=0.3)
    ridge = np.linalg.solve(A.conj().T @ A + np.diag(prior.penalties), A.conj().T @ Y[0])
    V = np.diag(np.asarray(prior.deviations) ** 2)
    wiener = V @ A.conj().T @ np.linalg.solve(A @ V @ A.conj().T + 0.09 * np.eye(M), Y[0])
    # The penalties reach 1e5, and so does the condition of the ridge's matrix.
    assert_close(ridge, wiener, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("case", ["zeros", "one signal", "columns", "large", "small", "given"])
def test_degenerate_data_give_finite_priors(case, dtype):
    A, Y = measurements(dtype)
    if case == "zeros":
        Y = 0 * Y
    elif case == "one signal":
        Y = np.concatenate([Y[:1], 0 * Y[1:]])
    elif case == "columns":
        A[:, 1], A[:, 2] = A[:, 0], 0
    elif case in ("large", "small"):
        scale = np.float32({"large": 1e15, "small": 1e-15}[case])
        A, Y = A * scale, Y / scale
    prior = compiled(A, Y, noise=1e-12 if case == "given" else None)
    for each in (*prior, prior.weights, prior.penalties):
        assert each.dtype == np.float32
        assert np.isfinite(each).all()
    if case == "zeros":
        np.testing.assert_array_equal(prior.weights, np.ones(N))
        np.testing.assert_array_equal(prior.deviations, np.zeros(N))
    else:
        assert_close(prior.weights.max(), 1.0)
        assert prior.weights.min() > 0
    if case == "columns":
        assert_close(prior.deviations[0], np.asarray(prior.deviations[1]))
        assert prior.deviations[2] == prior.deviations.min()
    if case in ("large", "small"):
        expected = compiled(*measurements(dtype))
        assert_close(prior.weights, np.asarray(expected.weights), rtol=1e-2)  # Of 300 rounds.


@pytest.mark.slow
@pytest.mark.parametrize("noise", [None, 1e-6])
@pytest.mark.parametrize("seed", slow_but([8], range(8, 12)))
def test_one_atom_many_times_over_can_be_factored_in_single_precision(seed, noise):
    """256 columns, of which 255 or all are equal, and no noise: rounding is all that is left."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((64, 256)).astype(np.float32)
    A[:, 1 + (seed % 2 == 0) :] = A[:, :1]
    Y = A[:, : 2 - seed // 2 % 2].T * rng.standard_normal((2 - seed // 2 % 2, 1))
    prior = compiled(A, Y.astype(np.float32), noise=noise)
    for each in (*prior, prior.weights, prior.penalties):
        assert np.isfinite(each).all()


def test_finds_a_hidden_set_from_few_measurements_alone():
    problem = sparse_in_levels(
        jax.random.key(0),
        num_signals=24,
        num_atoms=64,
        num_measurements=16,
        sparsity=4,
        level_size=8,
    )
    weights = np.asarray(compiled(*stack_real(problem.A, problem.Y)).weights)
    assert weights.dtype == np.float32
    assert sorted(np.argsort(weights)[-8:]) == problem.support.tolist()
    inside = np.isin(np.arange(64), problem.support)
    assert weights[inside].min() > 2 * weights[~inside].max()


def plane_waves(sines, m=32):
    return np.exp(1j * np.pi * np.arange(m)[:, None] * sines) / np.sqrt(m)


def normal(rng, shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


@pytest.mark.slow
@pytest.mark.parametrize("snr_db", slow_but([15], [5, 15, 30]))
def test_noise_is_told_from_atoms_that_could_explain_it(snr_db):
    """Four times as many atoms as numbers add up to a multiple of the identity, as noise does."""
    rng = np.random.default_rng(snr_db)
    A, paths = plane_waves(np.arange(128) / 64 - 1), plane_waves(rng.uniform(-1, 1, 12))
    assert_close(A @ A.conj().T, 4 * np.eye(32), atol=1e-12)
    X = normal(rng, (500, 12)) * (rng.random((500, 12)) < 1 / 3)
    noise = np.sqrt(np.mean(np.abs(X @ paths.T) ** 2)) * 10 ** (-snr_db / 20)
    Y = X @ paths.T + noise * normal(rng, (500, 32))
    prior = compiled(A.astype(np.complex64), Y.astype(np.complex64))
    assert_close(prior.noise, noise, rtol=0.05)  # 20 of 32 directions in 500 signals: 1 % of error.


def test_signals_without_structure_are_not_taken_for_noise():
    """Their covariance is white, as that of noise is."""
    rng = np.random.default_rng(0)
    A, _ = np.linalg.qr(rng.standard_normal((32, 16)))
    X = rng.standard_normal((200, 32)) * (rng.random((200, 32)) < 0.2)
    Y = X @ A
    assert compiled(A.T, Y).noise < 0.75 * np.sqrt(np.mean(Y**2))


A, Y = measurements(np.float64)
BAD = [
    ({"A": A[0]}, ValueError, "A: expected an array with 2 axes"),
    ({"A": A.astype(int)}, TypeError, "A: expected floating"),
    ({"Y": Y[0]}, ValueError, "Y: expected an array with 2 axes"),
    ({"Y": Y[:, 1:]}, ValueError, r"Y: expected shape \(num, 10\), got shape \(7, 9\)"),
    ({"Y": Y[:0]}, ValueError, "Y: expected shape"),
    ({"Y": np.nan * Y}, ValueError, "Y: expected finite"),
    ({"num_rounds": 0}, ValueError, "num_rounds: expected an int >= 1"),
    ({"num_rounds": 2.0}, TypeError, "num_rounds: expected an int"),
    ({"noise": 0.0}, ValueError, "noise: expected a positive"),
    ({"noise": jnp.ones(2)}, ValueError, "noise: expected a scalar"),
]


@pytest.mark.wrong_types
@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_arguments_are_named(change, error, message):
    arguments = {"A": A, "Y": Y, **change}
    with pytest.raises(error, match=f"^{message}"):
        sparse_bayes(arguments.pop("A"), arguments.pop("Y"), **arguments)
