"""`greedyjax demo` runs, once, as a user runs it."""

import json
import math
import subprocess
import sys

import pytest

# The library's longest command, of a minute and a half.
pytestmark = pytest.mark.slow

METHODS = {
    "OMP",
    "IHT",
    "OMP (learned weights)",
    "OMP (weights from measurements alone)",
    "OMP (per-level RMS weights)",
    "OMP (interactions)",
    "OMP (interactions from measurements alone)",
    "linear MMSE",
    "generic network",
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-m", "greedyjax", "demo", "--out", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == "", "no progress bar and no warning where there is no terminal"
    return out, ran.stdout, json.loads((out / "metrics.json").read_text())


def snr(content):
    return {row["method"]: row["snr_db"] for row in content["rows"]}


def test_rows(demo):
    rows = demo[2]["rows"]
    assert {row["method"] for row in rows} >= METHODS
    assert set(demo[1].splitlines()) >= METHODS, "a line for each when it begins"
    assert len({row["method"] for row in rows}) == len(rows)
    for row in rows:
        numbers = ("snr_db", "snr_db_median", "snr_db_second", "seconds")
        assert {"method", *numbers} <= set(row)
        for name in numbers:
            assert math.isfinite(row[name]), row
        assert row["seconds"] > 0
        assert row["snr_db_draws"] == [row["snr_db"]]


def test_learned_weights_beat_what_they_must(demo):
    found = snr(demo[2])
    assert found["OMP (learned weights)"] > found["OMP"] + 4.5
    assert found["OMP (learned weights)"] > found["OMP (per-level RMS weights)"]
    assert found["OMP (learned weights)"] > found["linear MMSE"]
    assert found["OMP (weights from measurements alone)"] > 9
    assert found["OMP (interactions)"] > found["OMP (learned weights)"] + 3
    assert found["OMP (interactions from measurements alone)"] > found["linear MMSE"]
    second = {row["method"]: row["snr_db_second"] for row in demo[2]["rows"]}
    assert second["OMP (interactions)"] > second["generic network"] + 5
    # math.md 6.8: 4.5 to 5.1 dB for plain OMP on any draw; more would be another problem.
    assert 3.5 < found["OMP"] < 6


def test_schema(demo):
    content = demo[2]
    assert set(content) >= {"rows", "config", "versions"}
    config = content["config"]
    assert (config["draws"], config["seed"]) == (1, 0)
    assert (config["num_measurements"], config["num_test"]) == (64, 108)
    assert config["num_train"] + config["num_val"] == 1092
    assert {"greedyjax", "jax", "numpy"} <= set(content["versions"])
    assert content["finished"] is True


def test_files_and_table(demo):
    out, printed, content = demo
    pictures = {"recovery.png", "weights.png", "interactions.png"}
    assert {path.name for path in out.iterdir()} == {"metrics.json", *pictures}
    for name in pictures:
        data = (out / name).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(data) > 20_000
    lines = printed.splitlines()
    best = max(snr(content).values())
    for method, value in snr(content).items():
        (line,) = [line for line in lines if line.startswith(f"{method}  ")]
        mark = "*" if value == best else " "
        assert f"{value:.1f}{mark}" in line, "the winner is marked, whoever it is"
