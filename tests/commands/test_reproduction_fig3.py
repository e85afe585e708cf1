"""`greedyjax reproduce fig3` computes the right errors, against plain NumPy, and trains."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import oracles
from greedyjax.commands.reproduction import _fig3, _pictures, _published
from greedyjax.problems import Levels
from greedyjax.training import FitResult, losses
from helpers import assert_close, configured

# Half a minute of compiling, and nothing that a solver's own tests would not show first.
pytestmark = pytest.mark.slow

M, N, K, LEVEL = 9, 32, 4, 6
SEEDS = [3, 5]
TINY = {
    "SPARSITY": K,
    "NUM_TRAIN": 24,
    "NUM_VAL": 10,
    "NUM_TEST": 30,
    "BATCH_SIZE": 8,
    "PAPER_EPOCHS": 700,
    "OUR_EPOCHS": 2,
    "MEASUREMENTS": {"omp": M, "iht": M + 1},
}
COMPLEX = (
    "hard, w = 1",
    "soft, w = 1",
    "network, the paper's training",
    "hard, the paper's training",
    "hard, selection loss",
    "hard, oracle weights",
    "soft, oracle weights",
    "least squares on the true support",
)
METHODS = {"complex": set(COMPLEX), "stacked": set(COMPLEX) - {COMPLEX[2]}}


@pytest.fixture(scope="module", autouse=True)
def as_users_run_it():
    """Single precision; and XLA in half the time, with the same numbers up to rounding."""
    with configured(enable_x64=False, disable_most_optimizations=True):
        yield


def sparse_in_levels(key, *, num_measurements, num_signals):
    """The problem in small, with next to nothing to compile."""
    shapes = (num_measurements, N), (num_signals, num_measurements), (num_signals, N), (LEVEL,)
    dtypes = np.complex64, np.complex64, np.float32, np.int32
    form = Levels(*map(jax.ShapeDtypeStruct, shapes, dtypes))
    numbers = partial(drawn, num_measurements, num_signals)
    return jax.pure_callback(numbers, form, jax.random.key_data(key))


def drawn(num_measurements, num_signals, seed):
    rng = np.random.default_rng(np.asarray(seed))
    A = rng.standard_normal((2, num_measurements, N)) * np.array([1, 1j])[:, None, None]
    A = A.sum(axis=0) / np.linalg.norm(A.sum(axis=0), axis=0)
    support = np.sort(rng.permutation(N)[:LEVEL])
    X = np.zeros((num_signals, N))
    for x in X:
        x[rng.permutation(support)[:K]] = rng.standard_normal(K)
        x /= np.linalg.norm(x)
    noise = rng.standard_normal((num_signals, num_measurements, 2)) @ np.array([3e-3, 3e-3j])
    Y = X @ A.T + noise
    A, Y = A.astype(np.complex64), Y.astype(np.complex64)
    return Levels(A, Y, X.astype(np.float32), support.astype(np.int32))


def weights_of(num_call, num_net, hidden):
    """What the stand-in for training learns: `leading` of the hidden set lead."""
    rng = np.random.default_rng([num_call, num_net])
    weights = rng.choice([-1, 1], N) * rng.uniform(0.2, 0.7, N)
    weights[np.asarray(hidden)[: leading(num_call, num_net)]] *= 5
    weights[np.asarray(hidden)[leading(num_call, num_net) :]] /= 50
    return weights.astype(np.float32)


def leading(num_call, num_net):
    return (2 * num_call + num_net + 1) % (LEVEL + 1)


HISTORY = {name: np.full(701, np.nan) for name in ("train_loss", "val_loss")}
HISTORY["train_loss"][1:] = np.arange(1, 701) / 1000
HISTORY["val_loss"][[0, 300, 600, 700]] = 0.5, 0.2, 0.3, 0.1


@pytest.fixture(scope="module", params=("omp", "iht"))
def computed(request):
    """The algorithm, its result, and what a stand-in for `fit_many` was called with."""
    calls = []

    def fit_many(nets, train, val, **settings):
        call, results = len(calls), []
        calls.append((nets, train, val, settings))
        for i, net in enumerate(nets):
            hidden = problem(request.param, SEEDS[i]).support
            net = net.rebuild(weights=jnp.asarray(weights_of(call, i, hidden)))
            results.append(FitResult(net, HISTORY, 700, 0.1))
        return results

    _fig3._paper_optimizer.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in TINY.items():
            patch.setattr(_fig3, name, value)
        patch.setattr(_fig3, "fit_many", fit_many)
        patch.setattr(_fig3.problems, "sparse_in_levels", sparse_in_levels)
        _fig3._least_squares.clear_cache()
        yield request.param, _fig3.fig3(request.param, SEEDS), calls
    _fig3._least_squares.clear_cache()
    _fig3._paper_optimizer.cache_clear()


def problem(algorithm, seed):
    key = jax.random.key(seed)
    return sparse_in_levels(key, num_measurements=M + (algorithm == "iht"), num_signals=64)


# --- Rows ----------------------------------------------------------------------------------------


def test_rows(computed):
    algorithm, result, _ = computed
    methods = METHODS
    if algorithm == "iht":
        methods = {name: each | {"OMP, w = 1"} for name, each in METHODS.items()}
    found = [(row["seed"], row["system"], row["method"]) for row in result["rows"]]
    assert len(set(found)) == len(found)
    for seed, system in product(SEEDS, METHODS):
        assert {row[2] for row in found if row[:2] == (seed, system)} == methods[system]
    assert len(found) == 2 * sum(map(len, methods.values()))


def answer(algorithm, row, A, y, x, hidden):
    """The oracle's answer to one signal by the method of this row."""
    method, num_net = row["method"], SEEDS.index(row["seed"])
    if method.startswith("least squares"):
        S = np.flatnonzero(x)
        return S, np.linalg.lstsq(A[:, S], y, rcond=None)[0]
    weights = {
        "w = 1": np.ones(N),
        "oracle weights": np.isin(np.arange(N), hidden).astype(float),
        "the paper's training": weights_of(0, num_net, hidden),
        "selection loss": weights_of(1 + (row["system"] == "stacked"), num_net, hidden),
    }[method.split(", ")[1]]
    if method.startswith("OMP") or (algorithm, method[:4]) == ("omp", "hard"):
        return slice(None), oracles.omp(A, y, K, weights).x
    if algorithm == "omp":
        return slice(None), oracles.soft_omp(A, y, K, 1e-3, weights).x
    if method.startswith("hard"):
        return slice(None), oracles.iht(A, y, K, 30, 0.5, weights).x
    return slice(None), oracles.soft_iht(A, y, K, 1e-3, 30, 0.5, weights).x


def test_errors(computed):
    """Every row, computed again from its data."""
    algorithm, result, _ = computed
    for row in result["rows"]:
        A, Y, X, hidden = map(np.asarray, problem(algorithm, row["seed"]))
        if row["system"] == "stacked":
            A, Y = np.concatenate([A.real, A.imag]), np.concatenate([Y.real, Y.imag], axis=1)
        squared = []
        for y, x in zip(Y[24:], X[24:], strict=True):
            where, values = answer(algorithm, row, A, y, x, hidden)
            estimate = np.zeros(N, complex)
            estimate[where] = values
            squared.append(np.sum((estimate.real - x) ** 2))  # As x is real.
        for name, part in (("val", np.array(squared[:10])), ("test", np.array(squared[10:]))):
            found, error = row[name], np.sqrt(part)
            what = str((row["seed"], row["system"], row["method"], name))
            # Single precision, through 30 steps of IHT or a temperature of 1e-3.
            np.testing.assert_allclose(found["mse"], part.mean(), 1e-2, 1e-7, err_msg=what)
            np.testing.assert_allclose(found["median"], np.median(error), 1e-2, err_msg=what)
            assert found["share_below_1e-2"] == pytest.approx(np.mean(error < 1e-2), abs=1e-6)
            quantiles = np.percentile(error, (5, 25, 50, 75, 95))
            np.testing.assert_allclose(found["quantiles_5_25_50_75_95"], quantiles, 1e-2, 1e-5)


def test_published_numbers_stand_on_complex_rows_alone(computed):
    algorithm, result, _ = computed
    published = _published.LEARNING[algorithm]
    for row in result["rows"]:
        expected = published.get(row["method"]) if row["system"] == "complex" else None
        assert tuple(row.get("published", {}).values()) == (expected or ())
    assert sum("published" in row for row in result["rows"]) == 2 * len(published)


def test_hidden_set(computed):
    algorithm, result, _ = computed
    hidden = [np.asarray(problem(algorithm, seed).support) for seed in SEEDS]
    assert result["hidden_set"] == [each.tolist() for each in hidden]
    names = ("the paper's training", "selection loss, complex", "selection loss, stacked")
    assert set(result["weights"]) == set(names)
    for call, name in enumerate(names):
        expected = [np.abs(weights_of(call, i, each)) for i, each in enumerate(hidden)]
        assert_close(result["weights"][name], expected)
        assert result["hidden_set_found"][name] == [leading(call, i) for i in range(2)]


def test_history(computed):
    for training in computed[1]["training"]:
        assert training["epochs"] == [0, 300, 600, 700]
        assert training["val_loss"] == [0.5, 0.2, 0.3, 0.1]
        assert_close(training["train_loss"][1:], [0.3, 0.6, 0.7])
        assert (training["best_epoch"], training["best_val_loss"]) == (700, 0.1)
        assert training["best_val_loss_by_epoch_600"] == 0.2


def test_picture(computed):
    algorithm, result, _ = computed
    figure = _pictures.draw_fig3(result, algorithm, figure=Figure())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0].startswith(algorithm.upper())
    assert f": {leading(0, 0)} of the 6" in titles[1]
    assert f": {leading(1, 0)} of the 6" in titles[2]
    assert [title.split()[0] for title in titles[3:]] == ["complex", "stacked"]


# --- Training ------------------------------------------------------------------------------------


def test_sets_are_disjoint_slices(computed):
    """Training sees the first signals, validation the next, and nobody the last."""
    algorithm, _, calls = computed
    for call, (_, train, val, _) in enumerate(calls):
        for i, seed in enumerate(SEEDS):
            _, Y, X, _ = problem(algorithm, seed)
            Y = jnp.concatenate([Y.real, Y.imag], axis=1) if call == 2 else Y
            for (given_Y, given_X), part in ((train[i], slice(0, 24)), (val[i], slice(24, 34))):
                np.testing.assert_array_equal(given_Y, Y[part])
                np.testing.assert_array_equal(given_X, X[part])


def test_settings_of_training(computed):
    algorithm, _, calls = computed
    assert len(calls) == 3
    for call, (nets, _, _, settings) in enumerate(calls):
        for net in nets:
            assert net.A.shape == ((2 if call == 2 else 1) * (M + (algorithm == "iht")), N)
            np.testing.assert_array_equal(net.weights[...], np.ones(N))
            np.testing.assert_allclose(net.tau, 1e-1 if call else 1e-3, rtol=1e-6)
        assert settings["num_epochs"] == (2 if call else 700)
        assert settings["batch_size"] == 8
        if call:
            assert "loss" not in settings, "the selection loss is the default"
            assert settings["val_loss"] is losses.hard_reconstruction
        else:
            assert settings["loss"] is losses.reconstruction
            assert settings.get("val_loss") is None
            assert settings["val_every"] == 10
            assert settings["optimizer"] is _fig3._paper_optimizer()
