"""The functions of benchmarks/gpu.py and of the modules that it shares, at toy sizes."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

import greedyjax as gj
from helpers import benchmark


@pytest.fixture
def script(monkeypatch):
    """Its sections import other scripts only as they begin."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return benchmark("gpu")


def sections():
    """A good one, one that fails in its first measurement, and one without its package."""

    def good(toy):
        yield {"n": 1}, lambda: {"median_ms": 2.0}

    def broken(toy):
        yield {"n": 1}, lambda: {"median_ms": 1 / 0}
        yield {"n": 2}, lambda: {"median_ms": 3.0}

    def absent(toy):
        yield {"n": 1}, lambda: {"median_ms": 4.0}
        raise ImportError("no such package")

    return {"broken": broken, "absent": absent, "good": good}


def test_a_failure_is_recorded_and_loses_nothing(script):
    written = []
    script.run_sections(sections(), True, math.inf, lambda found: written.append(json.dumps(found)))
    found = json.loads(written[-1])
    for row in itertools.chain(*found.values()):
        assert row.pop("all_of_it_s", 0) >= 0
    error = found["broken"][0].pop("error")
    assert error.startswith("ZeroDivisionError: ")
    assert found == {
        "broken": [{"n": 1}, {"n": 2, "median_ms": 3.0}],
        "absent": [{"n": 1, "median_ms": 4.0}, {"error": "ImportError: no such package"}],
        "good": [{"n": 1, "median_ms": 2.0}],
    }
    # Before the first, and after each.
    counts = [sum(map(len, json.loads(each).values())) for each in written]
    assert counts == [0, 1, 2, 3, 4, 5]


def test_nothing_begins_once_the_time_is_used_up(script):
    found = script.run_sections(sections(), True, -math.inf, lambda found: None)
    assert found["good"] == [{"n": 1, "not_begun": "the time was used up"}]
    assert [row.get("n") for row in found["broken"]] == [1, 2]
    assert not any("median_ms" in row for row in itertools.chain(*found.values()))


def test_signals_are_made_of_the_atoms_that_they_name(script):
    A, support, Y = script.problem(16, 32, 3, 50)
    assert A.dtype == Y.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(A, axis=0), 1, rtol=1e-6)
    assert all(len(set(atoms)) == 3 for atoms in support.tolist())
    assert support.min() >= 0
    assert support.max() < 32
    for y, atoms in zip(Y, support, strict=True):
        z = np.linalg.lstsq(A[:, atoms].astype(float), y, rcond=None)[0]
        np.testing.assert_allclose(A[:, atoms] @ z, y, atol=1e-5)
        assert (np.abs(z) > 0).all()


@pytest.mark.parametrize("recursive", [False, True])
def test_the_atoms_in_double_precision_are_those_of_the_definition(script, recursive):
    forms = benchmark("forms")
    rng = np.random.default_rng(0)
    A, Y = rng.standard_normal((12, 20)), rng.standard_normal((30, 12))
    A /= np.linalg.norm(A, axis=0)

    def left_of(y, atoms):
        return y - A[:, atoms] @ np.linalg.lstsq(A[:, atoms], y, rcond=None)[0]

    for y, found in zip(Y, forms.greedy_atoms(A, Y, 4, recursive=recursive), strict=True):
        atoms = []
        for _ in range(4):
            others = [j for j in range(20) if j not in atoms]
            if recursive:  # The atom that leaves the least.
                atoms.append(min(others, key=lambda j: np.linalg.norm(left_of(y, [*atoms, j]))))
            else:
                atoms.append(max(others, key=lambda j: abs(A[:, j] @ left_of(y, atoms))))
        assert found.tolist() == atoms


def test_supports_are_compared_in_any_order():
    forms = benchmark("forms")
    assert forms.same(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [3, 5]])) == 0.5


@pytest.mark.parametrize("by_gram", [True, False])
def test_a_form_gives_the_answers_of_the_plan(script, by_gram):
    forms = benchmark("forms")
    A, _, Y = script.problem(16, 32, 2, 24)
    found = forms.in_form(A, Y, sparsity=2, by_gram=by_gram, size=None, dense=True)
    expected = gj.omp_batch(A, Y, sparsity=2)
    assert found.support.tolist() == expected.support.tolist()
    np.testing.assert_allclose(found.x, expected.x, atol=1e-5)


def test_toy_times_do_not_become_results(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--toy"])
    assert "--toy needs --out" in capsys.readouterr().err


@pytest.mark.slow
def test_all_sections_run_at_toy_sizes(script, tmp_path):
    script.main(["--toy", "--out", str(tmp_path / "gpu.json")])
    found = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert list(found) == list(script.SECTIONS)
    rivals = found.pop("rivals")  # The package is not among what tests need.
    assert all(("median_ms" in row) != ("No module" in row.get("error", "")) for row in rivals)
    for name, rows in found.items():
        assert rows, name
        for row in rows:
            assert not {"error", "not_begun"} & set(row), (name, row)
    times = [row["median_ms"] for row in itertools.chain(*found.values()) if "median_ms" in row]
    assert len(times) == sum(map(len, found.values())) - len(found["atoms"]) - 1
    assert all(time > 0 for time in times)
    for row in found["omp"] + found["mapped"]:
        assert row["exact_recovery"] >= 0.5
    for row in found["atoms"]:
        assert row["as_on_cpu"] == row["as_in_float64"] == 1
