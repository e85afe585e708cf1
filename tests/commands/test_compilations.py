"""Commands store compiled programs for the next run, unless the user turns this off."""

import os
import subprocess
import sys

import numpy as np
import pytest

from greedyjax.commands import _compilations
from helpers import random_problem


@pytest.fixture
def start(tmp_path):
    """Starts `recover` with a cache folder of this name in place of the user's."""
    A, _, y = random_problem(0, 4, 6, 2, np.float32)
    stored = {"A": A, "weights": np.ones(6, np.float32), "method": "omp", "sparsity": 2}
    stored |= {"tau": 0.1, "real": False, "num_layers": 0, "step_size": 0.0, "format": 1}
    np.savez(tmp_path / "model.npz", **stored)
    np.save(tmp_path / "Y.npy", y)

    def start(cache, out, *options, **environment):
        files = [str(tmp_path / name) for name in ("model.npz", "Y.npy", out)]
        command = [sys.executable, "-m", "greedyjax", "recover", *files[:2], "--out", files[2]]
        home = str(tmp_path / cache)
        environment = {**os.environ, "XDG_CACHE_HOME": home, "HOME": home, **environment}
        return subprocess.Popen([*command, *options], env=environment, stderr=subprocess.PIPE)

    return start


def done(program):
    with program:
        said = program.communicate(timeout=300)[1]
    assert (program.returncode, said) == (0, b"")


def kept(folder):
    """What the files in it are, and when each was written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow  # Six processes.
def test_a_second_run_compiles_nothing(start, tmp_path):
    on = {"JAX_ENABLE_COMPILATION_CACHE": "1"}
    first = start("kept", "first.npy", **on)
    # A folder of the user's own keeps what their settings say: here all, however fast it compiles.
    own = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    others = [
        start("switch", "other.npy", "--no-compilation-cache", **on),
        start("variable", "another.npy", JAX_ENABLE_COMPILATION_CACHE="0"),
        start("unused", "elsewhere.npy", **on, **own),
    ]
    done(first)
    programs = kept(tmp_path / "kept")
    assert any(name.endswith("-cache") for name in programs)
    (program,) = tmp_path.glob("kept/**/jit_solve-*-cache")
    done(start("kept", "second.npy", **on))
    assert kept(tmp_path / "kept") == programs
    # A program that is damaged is compiled again, without a word.
    program.write_bytes(program.read_bytes()[:100])
    done(start("kept", "third.npy", **on))
    for other in others:
        done(other)
    assert not any(kept(tmp_path / name) for name in ("switch", "variable", "unused"))
    assert any(name.startswith("jit_solve") for name in kept(tmp_path / "own"))
    answers = [np.load(path) for path in tmp_path.glob("*.npy") if path.name != "Y.npy"]
    assert len(answers) == 6
    for answer in answers:
        np.testing.assert_array_equal(answer, answers[0])


def test_the_oldest_programs_go_first(tmp_path):
    for age, name in enumerate(["newest", "middle", "oldest"]):
        path = tmp_path / name / "program-cache"
        path.parent.mkdir()
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    _compilations._trim(tmp_path, most=300)
    assert sum(1 for path in tmp_path.rglob("*-cache")) == 3
    _compilations._trim(tmp_path, most=299)
    assert {path.parent.name for path in tmp_path.rglob("*-cache")} == {"newest", "middle"}
    _compilations._trim(tmp_path, most=100)
    assert {path.parent.name for path in tmp_path.rglob("*-cache")} == {"newest"}
