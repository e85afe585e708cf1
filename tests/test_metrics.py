"""Error measures of a recovery, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
import oracles
from greedyjax import metrics
from helpers import assert_close, random_problem

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 8))
X_HAT = X + 0.1 * RNG.standard_normal((2, 3, 8))
Z = X + 1j * RNG.standard_normal((2, 3, 8))
Z_HAT = Z + 0.1 * RNG.standard_normal((2, 3, 8)) * (1 + 2j)


def test_squared_error():
    assert_close(metrics.squared_error(X_HAT, X), ((X_HAT - X) ** 2).sum(-1))
    assert_close(metrics.squared_error(Z_HAT, Z), (np.abs(Z_HAT - Z) ** 2).sum(-1))
    assert_close(metrics.squared_error(X_HAT, Z), (np.abs(X_HAT - Z) ** 2).sum(-1))
    assert_close(metrics.squared_error(X_HAT[0, 0], X[0, 0]), ((X_HAT - X) ** 2).sum(-1)[0, 0])


def test_a_real_truth_is_compared_with_the_real_part():
    assert_close(metrics.squared_error(Z_HAT, X), ((Z_HAT.real - X) ** 2).sum(-1))


def test_nmse():
    expected = (np.abs(Z_HAT - Z) ** 2).sum(-1) / (np.abs(Z) ** 2).sum(-1)
    assert_close(metrics.nmse(Z_HAT, Z), expected)
    assert_close(metrics.nmse(1000 * Z_HAT, 1000 * Z), expected)
    assert_close(metrics.nmse(X_HAT, 0 * X), np.zeros((2, 3)))


def test_snr_db():
    ratios = ((X_HAT - X) ** 2).sum(-1) / (X**2).sum(-1)
    assert_close(metrics.snr_db(X_HAT, X), -10 * np.log10(ratios.mean()))
    # The mean comes first: one signal lost altogether among four caps the SNR at 6 dB.
    truth = np.eye(4)
    found = np.diag([1.0, 1.0, 1.0, 0.0])
    assert_close(metrics.snr_db(found, truth), 10 * np.log10(4))


def test_of_snapshots_together():
    """Two signals of three entries and eight snapshots."""
    error, energy = (np.sum(np.abs(z) ** 2, axis=(1, 2)) for z in (Z_HAT - Z, Z))
    assert_close(metrics.squared_error(Z_HAT, Z, snapshots=True), error)
    assert_close(metrics.nmse(Z_HAT, Z, snapshots=True), error / energy)
    assert_close(metrics.snr_db(Z_HAT, Z, snapshots=True), -10 * np.log10(np.mean(error / energy)))
    with pytest.raises(
        ValueError, match=r"X_hat: expected shape \(\.\.\., n, L\), got shape \(8,\)"
    ):
        metrics.nmse(X[0, 0], X[0, 0], snapshots=True)


# --- Hidden measurements -------------------------------------------------------------------------


def folds_of(m):
    """Rows hidden together: every tenth, from each start, as many in each fold."""
    size = max(1, m // 10)
    folds = m // size
    return [[i + j * folds for j in range(size)] for i in range(folds)]


def hidden_error_oracle(A, Y, recover):
    error = energy = 0.0
    for hidden in folds_of(len(A)):
        kept = [i for i in range(len(A)) if i not in hidden]
        for y in Y:
            x = recover(A[kept], y[kept])
            error += np.sum(np.abs(y[hidden] - A[hidden] @ x) ** 2)
            energy += np.sum(np.abs(y[hidden]) ** 2)
    return np.sqrt(error / energy)


@pytest.mark.parametrize(
    ("m", "dtype"), [(2, np.float64), (8, np.complex128), (20, np.float64), (25, np.complex128)]
)
def test_hidden_measurement_error_of_a_linear_estimator(m, dtype):
    """Two rows; fewer than ten; a multiple of ten; and 25, of which one row is never hidden."""
    A = random_problem(0, m, 6, 2, dtype)[0]
    Y = np.stack([random_problem(i, m, 6, 2, dtype, noise=0.3)[2] for i in range(5)])
    Y *= np.linspace(0.5, 2, 5)[:, None]
    ridge = lambda A, y: A.conj().T @ np.linalg.solve(A @ A.conj().T + 0.1 * np.eye(len(A)), y)
    expected = hidden_error_oracle(A, Y, ridge)

    def recover(A, Y):
        gram = A @ A.conj().T + 0.1 * jnp.eye(len(A))
        return jnp.linalg.solve(gram, Y.T).T @ A.conj()

    got = jax.jit(lambda A, Y: metrics.hidden_measurement_error(A, Y, recover))(A, Y)
    assert got.dtype == np.float64
    assert_close(got, expected)
    assert expected > 0.05


def test_hidden_measurements_of_snapshots_are_those_of_all_their_columns():
    A = random_problem(0, 8, 6, 2, np.float64)[0]
    frames = np.random.default_rng(0).standard_normal((5, 8, 3))
    columns = frames.swapaxes(1, 2).reshape(15, 8)
    expected = hidden_error_oracle(A, columns, lambda A, y: A.T @ y)
    found = metrics.hidden_measurement_error(A, frames, lambda A, Y: A.T @ Y)
    assert_close(found, expected)


def test_hidden_measurement_error_of_omp():
    A = random_problem(0, 20, 32, 3, np.float64)[0]
    X = np.stack([random_problem(i, 20, 32, 3, np.float64)[1] for i in range(6)])
    Y = X @ A.T
    expected = hidden_error_oracle(A, Y, lambda A, y: oracles.omp(A, y, 3).x)

    def recover(A, Y):
        return jax.vmap(lambda y: gj.omp(A, y, sparsity=3).x)(Y)

    got = jax.jit(lambda A, Y: metrics.hidden_measurement_error(A, Y, recover))(A, Y)
    # Recovered exactly, the error is rounding; its square root is what is compared.
    assert_close(got, expected, atol=1e-8)


def test_predicting_nothing_has_error_one_and_the_truth_zero():
    A, x, y = random_problem(0, 20, 32, 3, np.complex128)
    Y = np.stack([y, 2 * y])
    error = jax.jit(lambda Y, X: metrics.hidden_measurement_error(A, Y, lambda *_: X))
    nothing = np.zeros((2, 32), complex)
    assert_close(error(Y, nothing), 1.0)
    assert error(Y, np.stack([x, 2 * x])) < 1e-14
    assert_close(error(0 * Y, nothing), 0.0)


def test_the_solver_never_sees_what_it_must_predict():
    """All rows are numbered; those given and those hidden make up the whole each time."""
    m, seen = 20, []
    A, Y = np.tile(np.arange(1.0, m + 1)[:, None], (1, 2)), np.arange(1.0, m + 1)[None]

    def recover(A, Y):
        jax.debug.callback(lambda *rows: seen.append(rows), A[:, 0], Y[0])
        return jnp.zeros((1, 2))

    jax.block_until_ready(metrics.hidden_measurement_error(A, Y, recover))
    jax.effects_barrier()
    assert len(seen) == 10
    for rows, measurements in seen:
        np.testing.assert_array_equal(rows, measurements)
        assert len(set(rows.tolist())) == m - 2
    hidden = sorted(row for rows, _ in seen for row in set(range(1, m + 1)) - set(rows.tolist()))
    assert hidden == list(range(1, m + 1)), "every row is hidden once"


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("A", "Y", "message"),
    [
        (np.ones((1, 3)), np.ones((2, 1)), "A: expected at least 2 rows"),
        (np.ones((4, 3)), np.ones((2, 5)), r"Y: expected shape \(num, 4\), got shape \(2, 5\)"),
        (np.ones((4, 3)), np.ones(4), "Y: expected an array with 2 axes"),
        (np.ones(4), np.ones((2, 4)), "A: expected an array with 2 axes"),
        (np.full((4, 3), np.nan), np.ones((2, 4)), "A: expected finite"),
    ],
)
def test_bad_arguments_are_named(A, Y, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        metrics.hidden_measurement_error(A, Y, lambda A, Y: jnp.zeros((len(Y), 3)))
