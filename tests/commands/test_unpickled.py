"""No function unpickles a file, because a pickle can run any code."""

import ast
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from greedyjax.cli import main

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("greedyjax", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
UNSAFE = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def test_nothing_imports_a_pickler():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not UNSAFE & {name.partition(".")[0] for name in names}, path


def test_numpy_is_told_so_wherever_it_reads():
    """Every call of a reader says ``allow_pickle=False``, and none says anything else."""
    readers = 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            told = {k.arg: k.value for k in node.keywords}.get("allow_pickle")
            assert told is None or (isinstance(told, ast.Constant) and told.value is False), path
            if ast.unparse(node.func) in ("np.load", "np.lib.format.read_array", "np.fromfile"):
                readers += 1
                assert told is not None, f"{path}:{node.lineno}"
    assert readers > 0


class Payload:
    """Makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("it-ran",)


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "bad.npz", "--method", "omp", "--sparsity", "1"],
        ["recover", "bad.npz", "Y.npy", "--out", "X.npy"],
        ["recover", "model.npz", "bad.npy", "--out", "X.npy"],
    ],
)
def test_a_payload_does_not_run(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Payload()], object)
    Path("bad.npy").write_bytes(npy(objects))
    with zipfile.ZipFile("bad.npz", "w") as archive:
        archive.writestr("A.npy", npy(np.eye(2)))
        archive.writestr("Y.npy", npy(objects))
    np.save("Y.npy", np.eye(2))
    settings = {"method": "omp", "sparsity": 1, "tau": 0.1, "real": False, "format": 1}
    settings |= {"num_layers": 0, "step_size": 0.0}
    np.savez("model.npz", A=np.eye(2), weights=np.ones(2), **settings)
    assert main(arguments) == 2
    assert "holds pickled objects, which are refused as unsafe" in capsys.readouterr().err
    assert not Path("it-ran").exists()
    # The payload is a real one.
    np.load("bad.npy", allow_pickle=True)
    assert Path("it-ran").exists()
