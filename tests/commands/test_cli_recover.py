"""`greedyjax recover` with models of known weights; test_cli_train.py runs it as a program."""

import re

import numpy as np
import pytest

import fitting_oracles
import oracles
from greedyjax.cli import main
from greedyjax.commands import _long_runs
from greedyjax.streaming import open_shards
from helpers import random_problem

M, N, K, LAYERS, STEP, TAU, NUM = 10, 16, 3, 4, 0.3, 0.05, 7
# The command computes in single precision; the soft solver divides by tau = 0.05.
RTOL, ATOL = 1e-3, 1e-3


def model(method="omp", real=False, dtype=np.complex64, **changes):
    """The arrays that `greedyjax train` stores."""
    weights = np.random.default_rng(0).uniform(0.5, 1.5, N).astype(np.float32)
    iht = {"num_layers": LAYERS, "step_size": STEP}
    stored = {"A": random_problem(0, M, N, K, dtype)[0], "weights": weights, "method": method}
    stored |= {"sparsity": K, "tau": TAU, "real": real, "num_layers": 0, "step_size": 0.0}
    return stored | (iht if method == "iht" else {}) | {"format": 1} | changes


def measurements(dtype=np.complex64):
    """Noisy sparse signals, each seen through another matrix but the first."""
    return np.stack([random_problem(i, M, N, K, dtype, noise=0.2)[2] for i in range(NUM)])


def expected(stored, Y, soft=False):
    A = stored["A"]
    if stored["real"]:
        A, Y = np.concatenate([A.real, A.imag]), np.concatenate([Y.real, Y.imag], axis=1)
    weights = stored["weights"]
    if stored["method"] == "omp":
        if soft:
            return np.stack([oracles.soft_omp(A, y, K, TAU, weights).x for y in Y])
        return np.stack([oracles.omp(A, y, K, weights).x for y in Y])
    if soft:
        return np.stack([oracles.soft_iht(A, y, K, TAU, LAYERS, STEP, weights).x for y in Y])
    return np.stack([oracles.iht(A, y, K, LAYERS, STEP, weights).x for y in Y])


@pytest.fixture
def recover(tmp_path):
    """Runs the command on these arrays and returns the exit code and where X is."""

    def run(stored, Y, *options):
        np.savez(tmp_path / "model.npz", **stored)
        np.save(tmp_path / "Y.npy", Y)
        files = [str(tmp_path / name) for name in ("model.npz", "Y.npy")]
        code = main(["recover", *files, "--out", str(tmp_path / "X.npy"), *options])
        return code, tmp_path / "X.npy"

    return run


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(
    ("method", "real"), [("omp", False), ("omp", True), ("iht", False)], ids=str
)
def test_equals_the_solver(recover, method, real, soft):
    stored, Y = model(method, real), measurements()
    code, path = recover(stored, Y, *(["--soft"] if soft else []))
    assert code == 0
    X = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(X, np.memmap)
    assert X.shape == (NUM, N)
    assert X.dtype == (np.float32 if real else np.complex64)
    np.testing.assert_allclose(X, expected(stored, Y, soft), rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("solver", ["htp", "subspace_pursuit", "cosamp"])
def test_weights_in_another_solver(recover, solver):
    stored, Y = model("iht", dtype=np.float32), measurements(np.float32)
    code, path = recover(stored, Y, "--solver", solver, "--num-steps", "6")
    assert code == 0
    oracle = getattr(fitting_oracles, solver)
    X = [oracle(stored["A"], y, K, 6, weights=stored["weights"]).x for y in Y]
    np.testing.assert_allclose(np.load(path), X, rtol=RTOL, atol=ATOL)


def test_a_solver_that_cannot_says_so(recover, capsys):
    """Subspace pursuit keeps no more atoms than there are measurements; IHT may."""
    code, path = recover(model("iht", sparsity=M + 1), measurements(), "--solver", "cosamp")
    assert code == 2
    assert not path.exists()
    assert "sparsity: expected an int between 1 and 10" in capsys.readouterr().err
    assert recover(model(), measurements(), "--num-steps", "50")[0] == 2
    assert "--num-steps: only with --solver" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        recover(model(), measurements(), "--solver", "htp", "--soft")
    assert "not allowed with" in capsys.readouterr().err


def test_a_long_run_says_so_when_it_begins(recover, monkeypatch, capsys):
    monkeypatch.setattr(_long_runs, "LONG", 0)
    monkeypatch.setattr(_long_runs, "MUCH", 0)
    assert recover(model(), measurements())[0] == 0
    memory, time = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"greedyjax recover: .*about 0.0 GiB of memory", memory)
    assert time.startswith("greedyjax recover: about 0 minutes to go")


def test_one_signal(recover):
    stored, Y = model(), measurements()
    code, path = recover(stored, Y[0])
    assert code == 0
    X = np.load(path)
    assert X.shape == (N,)
    np.testing.assert_allclose(X, expected(stored, Y[:1])[0], rtol=RTOL, atol=ATOL)


def test_batches_that_do_not_divide(recover, capsys):
    """Of measurements in Fortran order, which lie column by column in the file."""
    stored, Y = model(), measurements()
    code, path = recover(stored, np.asfortranarray(Y), "--batch-size", "3")
    assert code == 0
    np.testing.assert_allclose(np.load(path), expected(stored, Y), rtol=RTOL, atol=ATOL)
    assert f"{NUM} signals of {N}" in capsys.readouterr().out


def test_real_data(recover):
    stored, Y = model(dtype=np.float32), measurements(np.float32)
    code, path = recover(stored, Y)
    assert code == 0
    assert np.load(path).dtype == np.float32
    np.testing.assert_allclose(np.load(path), expected(stored, Y), rtol=RTOL, atol=ATOL)


def test_does_not_overwrite_unless_asked(recover, tmp_path, capsys):
    (tmp_path / "X.npy").write_text("mine")
    code, path = recover(model(), measurements())
    assert code == 2
    assert path.read_text() == "mine"
    err = capsys.readouterr().err
    assert err.startswith("greedyjax recover: error: ")
    assert "--overwrite" in err
    code, path = recover(model(), measurements(), "--overwrite")
    assert code == 0
    assert np.load(path).shape == (NUM, N)
    assert {path.name for path in tmp_path.iterdir()} == {"model.npz", "Y.npy", "X.npy"}


def test_a_stored_policy_chooses(recover):
    stored, Y = model(dtype=np.float32), measurements(np.float32)
    rows = np.tile(stored["weights"], (K, 1))
    policy = {"format": 2, "policy": "PerStep", "policy.weights": rows}
    kept = {name: value for name, value in stored.items() if name != "weights"}
    code, path = recover(kept | policy, Y)
    assert code == 0
    np.testing.assert_allclose(np.load(path), expected(stored, Y), rtol=RTOL, atol=ATOL)


@pytest.fixture
def recover_folder(tmp_path):
    """Runs the command on a folder of two files, and returns the exit code and the store."""

    def run(stored, Y, *options):
        np.savez(tmp_path / "model.npz", **stored)
        (tmp_path / "Y").mkdir(exist_ok=True)
        np.save(tmp_path / "Y" / "a.npy", Y[:2])
        np.save(tmp_path / "Y" / "b.npy", Y[2:])
        files = [str(tmp_path / name) for name in ("model.npz", "Y")]
        options = ["--shard-size", "3", *options]
        return main(["recover", *files, "--out", str(tmp_path / "X"), *options]), tmp_path / "X"

    return run


@pytest.mark.parametrize(("method", "real"), [("omp", False), ("omp", True), ("iht", False)])
def test_a_folder_shard_by_shard(recover_folder, method, real, capsys):
    stored, Y = model(method, real), measurements()
    wanted = expected(stored, Y)
    Y[4, 1] = np.nan
    code, out = recover_folder(stored, Y, "--rank", "1", "--num-processes", "2")
    assert code == 0
    assert "1 of 3 shards" in capsys.readouterr().out
    assert open_shards(out).finished.tolist() == [False, True, False]
    assert recover_folder(stored, Y)[0] == 0
    assert "NaN or infinity, which are not recovered: 4 (1 in all)\n" in capsys.readouterr().out
    found = open_shards(out)
    assert found.finished.all()
    assert found.bad.tolist() == [4]
    X = np.zeros_like(wanted)
    support, values = (np.asarray(found.arrays[name]) for name in ("support", "coefficients"))
    assert (support[4] == -1).all()
    for i in set(range(NUM)) - {4}:
        X[i, support[i][support[i] >= 0]] = values[i][support[i] >= 0]
    wanted[4] = 0
    np.testing.assert_allclose(X, wanted, rtol=RTOL, atol=ATOL)


def test_a_folder_by_another_solver_or_the_soft_one(recover_folder, tmp_path):
    stored, Y = model("iht", dtype=np.float32), measurements(np.float32)
    code, out = recover_folder(stored, Y, "--solver", "htp", "--num-steps", "6")
    assert code == 0
    oracle = [
        fitting_oracles.htp(stored["A"], y, K, 6, weights=stored["weights"]).support for y in Y
    ]
    support = np.asarray(open_shards(out).arrays["support"])
    np.testing.assert_array_equal(np.sort(support), np.sort(oracle))
    out.rename(tmp_path / "hard")
    assert recover_folder(stored, Y, "--soft")[0] == 0
    X = np.asarray(open_shards(out).arrays["x"])
    np.testing.assert_allclose(X, expected(stored, Y, soft=True), rtol=RTOL, atol=ATOL)


def test_what_a_folder_cannot_have_and_what_needs_one(recover_folder, recover, capsys):
    stored, Y = model(), measurements()
    bad = [
        (recover_folder, Y, ["--overwrite"], "--overwrite: only with Y.npy"),
        (recover_folder, Y, ["--rank", "1"], "rank: expected both rank and num_processes"),
        (recover_folder, Y[:, :-1], [], "expected shape"),
        (recover, Y, ["--shard-size", "9"], "--shard-size: only with a folder"),
        (recover, Y, ["--num-processes", "2"], "--num-processes: only with a folder"),
    ]
    for command, rows, options, message in bad:
        assert command(stored, rows, *options)[0] == 2
        assert message in capsys.readouterr().err
