"""`greedyjax reproduce fig2` computes the right numbers: at tiny sizes, against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracles
from greedyjax.commands.reproduction import _fig2, _published
from helpers import assert_close, configured

# Half a minute of compiling, and nothing that a solver's own tests would not show first.
pytestmark = pytest.mark.slow

ALGORITHMS = ("omp", "iht")
SETTINGS = dict(vars(_fig2))  # As they are before a test changes them.


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Halves the time that XLA takes; the numbers are the same up to rounding."""
    with configured(disable_most_optimizations=True):
        yield


TINY = {
    "NUM_ATOMS": 24,
    "NUM_MEASUREMENTS": 12,
    "SPARSITY": 3,
    "TAUS": np.array([1e-8, 1e-4, 1e-3, 1e-2, 1e-1]),
    "RECOVERY_STEPS": {"omp": 3, "iht": 6},
    "ITERATES": {"omp": (4,), "iht": (2, 5)},
    "REPEATS": {"omp": 3, "iht": 4},
    "DIFFERENCE": {"omp": {4: {1e-8: 2e-3, 1e-2: 7.0}}, "iht": {2: {1e-3: 1.5}, 5: {1e-1: 0.1}}},
}
SEEDS = [0, 7]
draw = jax.jit(_fig2._draw)


def clear():
    for function in (_fig2._recovery, _fig2._difference, draw):
        function.clear_cache()  # Neither knows that the constants of the module have changed.


@pytest.fixture(scope="module")
def tiny():
    clear()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in TINY.items():
            patch.setattr(_fig2, name, value)
        yield
    clear()


@pytest.fixture(scope="module", params=("omp", "iht"))
def computed(request, tiny):
    """The algorithm, its result in a process of single precision, and the errors it came from."""
    algorithm = request.param
    with configured(enable_x64=False):
        result = _fig2.fig2(algorithm, SEEDS)
        assert jax.config.jax_enable_x64 is False
        assert jnp.ones(1).dtype == np.float32
    with jax.enable_x64(True):
        repeats = TINY["REPEATS"]
        raw = _fig2._recovery(algorithm, _fig2._keys(SEEDS, 0, repeats["omp"]))
        difference = _fig2._difference(algorithm, _fig2._keys(SEEDS, 1, repeats[algorithm]))
    hard, soft, certificate = jax.tree.map(np.asarray, raw)
    return algorithm, result, (hard, soft, np.asarray(difference)), certificate


def draws(experiment, noise, num_repeats):
    keys = _fig2._keys(SEEDS, experiment, num_repeats)
    return [[np.asarray(array) for array in draw(key, noise)] for key in keys]


def solve(algorithm, A, y, num_steps, tau=None):
    """The oracle's answer: soft where a temperature is given."""
    if algorithm == "omp":
        return oracles.soft_omp(A, y, num_steps, tau) if tau else oracles.omp(A, y, num_steps)
    if tau:
        return oracles.soft_iht(A, y, 3, tau, num_steps, step_size=0.6)
    return oracles.iht(A, y, 3, num_steps, step_size=0.6)


def test_recovery_errors(computed):
    algorithm, _, (hard, soft, _), certificate = computed
    steps, norm = TINY["RECOVERY_STEPS"][algorithm], np.linalg.norm
    assert hard.shape == (6, 3)
    for i, noise in enumerate((1e-5, 1e-3, 1e-1)):
        for j, (A, x, y) in enumerate(draws(0, noise, 3)):
            expected = solve(algorithm, A, y, steps)
            assert_close(hard[j, i], norm(expected.x - x))
            for k, tau in enumerate(TINY["TAUS"]):
                found = solve(algorithm, A, y, steps, tau)
                # Differences of 1e-16 between scores, over a temperature of 1e-8.
                assert_close(soft[j, i, k], norm(found.x - x), rtol=1e-6)
                if algorithm == "omp":
                    same = np.array_equal(found.support, expected.support)
                    assert certificate[1][j, i, k] == same


def test_differences_of_iterates(computed):
    algorithm, _, (_, _, difference), _ = computed
    steps, repeats = TINY["ITERATES"][algorithm], TINY["REPEATS"][algorithm]
    assert difference.shape == (2 * repeats, len(steps), len(TINY["TAUS"]))
    for j, (A, _, y) in enumerate(draws(1, 1e-3, repeats)):
        for i, num_steps in enumerate(steps):
            x = solve(algorithm, A, y, num_steps).x
            for k, tau in enumerate(TINY["TAUS"]):
                found = solve(algorithm, A, y, num_steps, tau).x
                expected = np.linalg.norm(found - x) / np.linalg.norm(x)
                assert_close(difference[j, i, k], expected, rtol=1e-6, atol=1e-12)
    # Single precision would show differences of 1e-7.
    assert np.median(difference[:, 0, 0]) < 1e-12
    assert np.median(difference[:, 0, -1]) > 1e-3


def assert_statistics(found, errors, floor=0.0):
    logs = np.log10(errors + floor)
    mean = [np.prod((errors[:, k] + floor) ** (1 / len(errors))) for k in range(errors.shape[1])]
    assert_close(found["geometric_mean"], mean, rtol=1e-9)
    variance = (logs**2).mean(axis=0) - logs.mean(axis=0) ** 2
    assert_close(found["std_of_log10"], np.sqrt(np.maximum(variance, 0)), rtol=1e-6, atol=1e-6)
    assert_close(found["median"], np.median(errors, axis=0))
    low, high = found["quantiles_10_90"]
    assert_close(low, np.percentile(errors, 10, axis=0))
    assert_close(high, np.percentile(errors, 90, axis=0))


def test_statistics(computed):
    algorithm, result, (hard, soft, difference), _ = computed
    assert result["repeats"] == {"recovery": len(hard), "difference": len(difference)}
    assert result["taus"] == TINY["TAUS"].tolist()
    assert [row["noise"] for row in result["recovery"]] == [1e-5, 1e-3, 1e-1]
    for i, row in enumerate(result["recovery"]):
        assert_statistics(row["soft"], soft[:, i])
        one = {name: np.asarray(value)[..., None] for name, value in row["hard"].items()}
        assert_statistics(one, hard[:, i, None])
    assert [row["steps"] for row in result["difference"]] == list(TINY["ITERATES"][algorithm])
    for i, row in enumerate(result["difference"]):
        assert_statistics(row["soft"], difference[:, i], floor=1e-12)


def test_comparison(computed):
    algorithm, result, (hard, soft, difference), _ = computed
    published, taus = _published.RECOVERY[algorithm], np.log10(TINY["TAUS"])
    expected = {}
    for i, noise in enumerate((1e-5, 1e-3, 1e-1)):
        expected[f"hard, noise {noise:g}", None] = published["hard"][noise], hard[:, i]
        for tau, value in published["soft"].items():
            k = min(range(len(taus)), key=lambda k, tau=tau: abs(taus[k] - np.log10(tau)))
            expected[f"soft, noise {noise:g}", tau] = value[noise], soft[:, i, k]
    for i, (steps, value) in enumerate(TINY["DIFFERENCE"][algorithm].items()):
        for tau, number in value.items():
            errors = difference[:, i, TINY["TAUS"].tolist().index(tau)] + 1e-12
            expected[f"difference after {steps} steps", tau] = number, errors
    assert {(row["what"], row["tau"]) for row in result["comparison"]} == set(expected)
    assert len(result["comparison"]) == len(expected)
    for row in result["comparison"]:
        number, errors = expected[row["what"], row["tau"]]
        assert row["published"] == number
        assert_close(row["ours"], np.exp(np.log(errors).mean()))
        assert_close(row["ratio"], row["ours"] / number)
        num = 4 if row["what"].startswith("difference") and algorithm == "iht" else 3
        spread = np.log10(errors).std() * np.sqrt(1 / len(errors) + 1 / num)
        assert_close(row["factor_by_chance"], 10 ** (1.96 * spread))


def test_certificates_are_never_wrong(computed):
    algorithm, result, _, certificate = computed
    if algorithm == "iht":
        assert "certificate" not in result
        return
    proven, same, _ = certificate
    assert not np.any(proven & ~same)
    assert proven[..., 0].any(), "it knows when it is cold"
    assert not proven[..., -1].all(), "and does not when it is hot"
    for i, row in enumerate(result["certificate"]):
        assert (row["noise"], row["wrong"], row["runs"]) == ((1e-5, 1e-3, 1e-1)[i], 0, 6 * 5)
        assert_close(row["proven"], proven[:, i].sum(axis=0) / 6)
        assert_close(row["same_atoms"], same[:, i].sum(axis=0) / 6)


def test_a_wrong_certificate_would_be_counted():
    proven = np.ones((4, 3, 2), bool)
    same, within = proven.copy(), proven.copy()
    same[0, 0, 0] = within[1, 0, 1] = within[2, 2, 0] = False
    rows = _fig2._certificates((proven, same, within))
    assert [row["wrong"] for row in rows] == [2, 0, 1]
    proven[:] = False
    assert [row["wrong"] for row in _fig2._certificates((proven, same, within))] == [0, 0, 0]


def test_precision_of_the_process_stays(computed):
    """The fixture ran in single precision; the same in double."""
    algorithm, result, _, _ = computed
    assert jax.config.jax_enable_x64 is True
    assert _fig2.fig2(algorithm, SEEDS) == result
    assert jax.config.jax_enable_x64 is True
    assert jnp.ones(1).dtype == np.float64


def test_draws(tiny):
    keys = np.concatenate([jax.random.key_data(_fig2._keys([0, 7], i, 5)) for i in (0, 1)])
    assert len(np.unique(keys, axis=0)) == 20, "each repeat of each experiment draws anew"
    noises = []
    for A, x, y in draws(0, 1e-3, 20):
        assert A.dtype == x.dtype == y.dtype == np.float64
        assert_close(np.linalg.norm(A, axis=0), np.ones(24))
        assert_close(np.linalg.norm(x), 1.0)
        assert x[0] == 0
        assert 1 <= np.count_nonzero(x) <= 3
        noises.append(np.linalg.norm(y - A @ x))
    # Of mean square 1e-6, over 40 x 12 normal entries.
    assert 0.75e-6 < np.mean(np.square(noises)) < 1.25e-6
    assert len(set(noises)) == 40


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_published_value_has_its_place(algorithm):
    """The settings of the module itself: their order, and the grid that holds every tau."""
    assert tuple(_published.DIFFERENCE[algorithm]) == SETTINGS["ITERATES"][algorithm]
    curves = (_published.RECOVERY[algorithm]["soft"], *_published.DIFFERENCE[algorithm].values())
    for tau in {tau for curve in curves for tau in curve}:
        assert np.min(np.abs(np.log10(SETTINGS["TAUS"]) - np.log10(tau))) < 1e-9
    for by_noise in _published.RECOVERY[algorithm]["soft"].values():
        assert tuple(by_noise) == SETTINGS["NOISES"]
