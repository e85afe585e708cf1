"""Mistakes of a user end with exit code 2 and one clear line, before anything is computed."""

import gc
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

from greedyjax.cli import main

pytestmark = pytest.mark.wrong_types

M, N, NUM, K = 6, 12, 9, 2
RNG = np.random.default_rng(0)
A, Y, X = RNG.standard_normal((M, N)), RNG.standard_normal((NUM, M)), RNG.standard_normal((NUM, N))
DATA = {"A": A, "Y": Y, "X": X}
MODEL = {"A": A, "weights": np.ones(N), "method": "omp", "sparsity": K, "tau": 0.1, "real": False}
MODEL |= {"num_layers": 0, "step_size": 0.0, "format": 1}
PRIOR = {"format": 3, "prior.covariance": np.eye(N), "prior.elsewhere": 0.1, "prior.noise": 1e-3}
TRAIN = ["train", "data.npz", "--method", "omp", "--sparsity", str(K)]
RECOVER = ["recover", "model.npz", "Y.npy", "--out", "X.npy"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working folder with one good file of each kind."""
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", **DATA)
    np.savez("model.npz", **MODEL)
    np.save("Y.npy", Y)
    return tmp_path


def refused(capsys, arguments, *words):
    """Asserts exit code 2, one error line that holds the words, and no output."""
    try:
        code = main(arguments)
    except SystemExit as stopped:  # argparse ends the program itself.
        code = stopped.code
    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    usage, _, line = err.rpartition("\n")[0].rpartition("\n")
    assert line.startswith("greedyjax"), err
    assert ": error: " in line, err
    assert usage == "" or usage.startswith("usage: "), err
    for word in words:
        assert word in line, err


# --- Data for train ------------------------------------------------------------------------------

NAN = np.where(np.arange(NUM * M).reshape(NUM, M) == 7, np.nan, Y)
BAD_DATA = {
    "no A": ({"A": None}, "'A'"),
    "no Y": ({"Y": None}, "'Y'"),
    "A of one axis": ({"A": A[0]}, "A: expected shape (m, n), got (12,)"),
    "Y of other width": ({"Y": Y[:, 1:]}, "Y: expected shape (num, 6), got (9, 5)"),
    "Y transposed": ({"Y": Y.T}, "Y: expected shape (num, 6), got (6, 9); Y looks transposed"),
    "A transposed": ({"A": A.T}, "A: expected 6 rows as Y has columns, got 12; A looks transposed"),
    "X of other width": ({"X": X[:, 1:]}, "X: expected shape (num, 12), got (9, 11)"),
    "fewer X": ({"X": X[1:]}, "X: expected 9 rows as Y has, got 8"),
    "Y of one axis": ({"Y": Y[0]}, "Y: expected shape (num, 6), got (6,)"),
    "empty Y": ({"Y": Y[:0], "X": X[:0]}, "Y: expected at least one number"),
    "NaN in Y": ({"Y": NAN}, "Y: expected finite"),
    "infinity in A": ({"A": np.full((M, N), np.inf)}, "A: expected finite"),
    "NaN in X": ({"X": np.full((NUM, N), np.nan)}, "X: expected finite"),
    "integers in A": ({"A": np.ones((M, N), int)}, "A: expected floating-point or complex"),
    "integers in Y": ({"Y": np.ones((NUM, M), int)}, "Y: expected floating-point or complex"),
    "booleans in X": ({"X": np.ones((NUM, N), bool)}, "X: expected floating-point or complex"),
    "strings in Y": ({"Y": np.full((NUM, M), "1.0")}, "Y: expected floating-point or complex"),
    "pickled Y": ({"Y": np.full((NUM, M), 1.0, object)}, "pickled objects, which are refused"),
    "pickled extra": ({"extra": np.array({"a": 1}, object)}, "pickled objects"),
    "zero Y": ({"Y": 0 * Y}, "Y: expected a signal that is not 0"),
    "extended precision": ({"A": A.astype(np.longdouble)}, "A: expected double precision at most"),
    "complex Y of it": ({"Y": Y.astype(np.clongdouble)}, "Y: expected double precision at most"),
    "support of booleans": ({"support": np.ones(N, bool)}, "support: expected a list of atoms"),
    "two signals": ({"Y": Y[:2], "X": X[:2]}, "Y: expected at least 3 signals"),
    "one row": ({"A": A[:1], "Y": Y[:, :1]}, "A: expected at least 2 measurements"),
    "X_val alone": ({"X_val": X}, "'Y_val'"),
    "Y_val alone": ({"Y_val": Y}, "'X_val'"),
    "Y_val of other width": ({"Y_val": Y[:, 1:], "X_val": X}, "Y_val: expected shape"),
    "fewer X_val": ({"Y_val": Y, "X_val": X[1:]}, "X_val: expected 9 rows as Y_val has, got 8"),
    "support out of range": ({"support": np.array([0, N])}, "support: expected atoms between 0"),
    "negative support": ({"support": np.array([-1])}, "support: expected atoms between 0"),
    "support of floats": ({"support": np.array([1.0])}, "support: expected a list of atoms"),
    "empty support": ({"support": np.zeros(0, int)}, "support: expected a list of atoms"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_that_does_not_fit(case, folder, capsys):
    change, words = BAD_DATA[case]
    arrays = {name: array for name, array in {**DATA, **change}.items() if array is not None}
    np.savez("data.npz", **arrays)
    refused(capsys, TRAIN, words)
    assert not (folder / "train-out").exists(), "refused before anything is written"


@pytest.mark.parametrize("name", ["A", "Y", "X", "Y_val", "X_val"])
@pytest.mark.parametrize(("unit", "got"), [(1e300, "e+300"), (1e-300, "e-300")])
def test_numbers_that_single_precision_does_not_hold(name, unit, got, folder, capsys):
    arrays = {**DATA, "Y_val": Y, "X_val": X}
    np.savez("data.npz", **{**arrays, name: unit * arrays[name]})
    with jax.enable_x64(False):  # As it is for users.
        refused(capsys, TRAIN, f"{name}: expected numbers that float32 holds", got)
    assert not (folder / "train-out").exists()


def test_measurements_that_single_precision_does_not_hold(folder, capsys):
    np.save("Y.npy", 1e300j * Y)
    with jax.enable_x64(False):
        refused(capsys, RECOVER, "Y.npy: expected numbers that float32 holds")
    assert not (folder / "X.npy").exists()


def test_real_needs_real_signals(capsys):
    np.savez("data.npz", **{**DATA, "X": X * 1j})
    refused(capsys, [*TRAIN, "--real"], "X: expected real signals with --real, got complex128")


def test_reconstruction_needs_signals(folder, capsys):
    np.savez("data.npz", A=A, Y=Y)
    refused(capsys, [*TRAIN, "--loss", "reconstruction"], "X")
    assert not (folder / "train-out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sparsity", "7"], "--sparsity: expected at most 6 "),
        (["--sparsity", "0"], "--sparsity: expected an integer >= 1, got '0'"),
        (["--sparsity", "-3"], "--sparsity: expected an integer >= 1, got '-3'"),
        (["--sparsity", "2.5"], "--sparsity: expected an integer >= 1, got '2.5'"),
        (["--sparsity", "two"], "--sparsity: expected an integer >= 1, got 'two'"),
        (["--method", "cosamp"], "--method"),
        (["--loss", "mse"], "--loss"),
        (["--method", "iht", "--num-layers", "0"], "--num-layers: expected an integer >= 1"),
        (["--method", "iht", "--step-size", "-1"], "--step-size: expected a positive number"),
        (["--method", "iht", "--sparsity", "13"], "--sparsity: expected at most 12"),
        (["--tau", "0"], "--tau: expected a positive number, 1e-30 to 1e30, got '0'"),
        (["--tau", "nan"], "--tau: expected a positive number, 1e-30 to 1e30, got 'nan'"),
        (
            ["--learning-rate", "inf"],
            "--learning-rate: expected a positive number, 1e-30 to 1e30, got 'inf'",
        ),
        (["--epochs", "-1"], "--epochs: expected an integer >= 1"),
        (["--batch-size", "0"], "--batch-size: expected an integer >= 1"),
        (["--seed", "-1"], "--seed: expected an integer >= 0"),
        (["--tau", "1e-300"], "--tau: expected a positive number, 1e-30 to 1e30, got '1e-300'"),
        (["--learning-rate", "1e300"], "--learning-rate: expected a positive number"),
        (["--checkpoint-every", "0"], "--checkpoint-every: expected an integer >= 1, got '0'"),
        (["--colour", "blue"], "--colour"),
    ],
)
def test_options_of_train(options, words, folder, capsys):
    refused(capsys, [*TRAIN, *options], words)
    assert not (folder / "train-out").exists()


def test_an_out_folder_that_is_a_file(folder, capsys):
    (folder / "taken").write_text("mine")
    refused(capsys, [*TRAIN, "--out", "taken"], "taken")
    refused(capsys, [*TRAIN, "--out", "taken/deeper"], "taken")
    assert (folder / "taken").read_text() == "mine"


# --- Files ---------------------------------------------------------------------------------------


def long_header():
    """A header longer than NumPy reads; its own message about it has several lines."""
    header = repr({"descr": "<f8", "fortran_order": False, "shape": (1,)}) + " " * 20_000 + "\n"
    return b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header.encode() + b"\0" * 8


def corrupt(good):
    """Flips bytes of the first array: of its header, or of what an archive has a checksum for."""
    start, stop = (20, 60) if good.startswith(b"\x93NUMPY") else (200, 300)
    return good[:start] + bytes(255 - b for b in good[start:stop]) + good[stop:]


BAD_FILES = {
    "empty": lambda good: b"",
    "truncated": lambda good: good[: len(good) // 2],
    "corrupt": corrupt,
    "text": lambda good: b"1.0, 2.0\n3.0, 4.0\n",
    "noise": lambda good: RNG.bytes(500),
    "long header": lambda good: long_header(),
}


# NumPy leaves an archive open that turns out to be damaged.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", BAD_FILES)
@pytest.mark.parametrize(
    ("name", "arguments"), [("data.npz", TRAIN), ("model.npz", RECOVER), ("Y.npy", RECOVER)]
)
def test_damaged_files(name, arguments, damage, folder, capsys):
    (folder / name).write_bytes(BAD_FILES[damage]((folder / name).read_bytes()))
    refused(capsys, arguments, name)
    assert not (folder / "X.npy").exists()
    gc.collect()


def test_an_archive_of_other_things(folder, capsys):
    """A member by the right name that holds no array."""
    with zipfile.ZipFile("data.npz", "w") as archive:
        for name in ("A", "Y"):
            archive.writestr(f"{name}.npy", b"not an array")
    refused(capsys, TRAIN, "A")
    assert not (folder / "train-out").exists()


@pytest.mark.parametrize("name", ["data.npz", "Y.npy"])
def test_a_text_file_is_not_called_a_pickle(name, folder, capsys):
    """NumPy takes anything it does not know for a pickle; the message should not."""
    (folder / name).write_text("1.0, 2.0\n3.0, 4.0\n")
    arguments = TRAIN if name == "data.npz" else RECOVER
    try:
        code = main(arguments)
    finally:
        err = capsys.readouterr().err
    assert code == 2
    assert "pickle" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "none.npz", *TRAIN[2:]], "none.npz: no such file"),
        (["recover", "none.npz", *RECOVER[2:]], "none.npz: no such file"),
        (["recover", "model.npz", "none.npy", *RECOVER[3:]], "none.npy: no such file"),
        (["train", ".", *TRAIN[2:]], "got a folder"),
        (["recover", ".", *RECOVER[2:]], ".: expected a file, got a folder; it holds model.npz"),
        (["train", "Y.npy", *TRAIN[2:]], "Y.npy: expected an .npz"),
        (["recover", "model.npz", "data.npz", *RECOVER[3:]], "data.npz: expected an .npy"),
        (["recover", "data.npz", *RECOVER[2:]], "data.npz: expected a model of greedyjax train"),
        (["recover", "Y.npy", *RECOVER[2:]], "Y.npy: expected an .npz"),
        ([*RECOVER[:-1], "nowhere/X.npy"], "nowhere: no such folder"),
        ([*RECOVER[:-1], "x" * 300], "cannot be written: File name too long"),
        ([*RECOVER[:-1], "."], ".: exists"),
        ([*RECOVER[:-1], ".", "--overwrite"], ".: cannot be written"),
        (["recover", "model.npz", "/dev/null", *RECOVER[3:]], "/dev/null: expected an .npy"),
        ([*RECOVER, "--batch-size", "0"], "--batch-size: expected an integer >= 1"),
        (RECOVER[:-2], "--out"),
    ],
)
def test_files_that_are_not_what_they_should_be(arguments, words, capsys):
    refused(capsys, arguments, words)


# --- Models and measurements for recover ---------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Y[:, 1:], "Y.npy: expected shape (num, 6), got (9, 5)"),
        (Y[0, 1:], "Y.npy: expected shape (num, 6), got (1, 5)"),
        (np.ones((2, NUM, M)), "Y.npy: expected shape (num, 6), got (2, 9, 6)"),
        (np.array(1.0), "Y.npy: expected shape"),
        (NAN, "Y.npy: expected finite"),
        (np.ones((NUM, M), int), "Y.npy: expected floating-point or complex"),
        (np.full((NUM, M), 1.0, object), "objects"),
        (Y[:0], "Y.npy"),
    ],
)
def test_measurements_that_do_not_fit(bad, words, folder, capsys):
    np.save("Y.npy", bad)
    refused(capsys, RECOVER, words)
    assert not (folder / "X.npy").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": np.ones(N + 1)}, "weights: expected shape (12,), got (13,)"),
        ({"weights": np.full(N, np.nan)}, "weights: expected finite"),
        ({"weights": np.full(N, 1.0, object)}, "pickled objects"),
        ({"A": np.ones((M, N), int)}, "A: expected floating-point"),
        ({"method": "cosamp"}, "expected method omp or iht, got 'cosamp'"),
        ({"sparsity": np.ones(2)}, "sparsity: expected one int, got float64 of shape (2,)"),
        ({"sparsity": np.nan}, "sparsity: expected one int, got float64"),
        ({"sparsity": 2.5}, "sparsity: expected one int, got float64"),
        ({"sparsity": 10**12}, "sparsity: expected an int between 1 and 6"),
        ({"format": np.ones(2, int)}, "format: expected one int, got int64 of shape (2,)"),
        ({"format": "1"}, "format: expected one int, got <U1"),
        ({"method": np.array(["omp", "iht"])}, "method: expected one str, got <U3 of shape (2,)"),
        ({"real": "yes"}, "real: expected one bool, got <U3"),
        ({"tau": 1j}, "tau: expected one float, got complex128"),
        ({"tau": np.nan}, "tau: expected a number that float32 holds, got nan"),
        ({"tau": 1e-300}, "tau: expected a number that float32 holds, got 1e-300"),
        ({"weights": np.ones(N, int)}, "weights: expected floating-point"),
        ({"method": "iht", "num_layers": -2, "step_size": 1.0}, "num_layers: expected an int >= 1"),
        ({"method": "iht", "num_layers": 2, "step_size": 1e300}, "step_size: expected a number"),
        ({"method": "iht", "num_layers": 2, "step_size": np.inf}, "step_size: expected a number"),
        ({"format": 4}, "expected model format 1, 2 or 3, got 4"),
        ({"format": 2}, "expected a model of greedyjax train, got no 'policy'"),
        ({"format": 2, "policy": "Context"}, "expected a policy of greedyjax.policies, got"),
        ({"format": 2, "policy": "PerAtom"}, "expected the key 'policy.weights' of PerAtom"),
        ({"sparsity": 0}, "sparsity"),
        ({"sparsity": M + 1}, "sparsity"),
        ({"tau": 0.0}, "tau"),
        ({"method": "iht", "num_layers": 0, "step_size": 1.0}, "num_layers"),
        ({"method": "iht", "num_layers": 3, "step_size": -1.0}, "step_size"),
        ({"weights": np.ones(N) * 1j}, "weights"),
        ({"format": 3}, "expected the key 'prior.covariance' of GaussianPrior"),
        ({**PRIOR, "prior.covariance": np.eye(N - 1)}, "prior.covariance: expected shape"),
        ({**PRIOR, "prior.elsewhere": 7.0}, "prior.elsewhere: expected a number between 0 and 1"),
        ({**PRIOR, "prior.noise": 0.0}, "prior.noise: expected"),
    ],
)
def test_models_that_do_not_fit(change, words, folder, capsys):
    np.savez("model.npz", **{**MODEL, **change})
    refused(capsys, RECOVER, words)
    assert not (folder / "X.npy").exists()


# --- Commands ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], "'fly'"),
        ([], "COMMAND"),
        (["train", "data.npz"], "--sparsity"),
        (["train", "--method", "omp", "--sparsity", "2"], "DATA.npz"),
        (["demo", "--draws", "0"], "--draws: expected an integer >= 1, got '0'"),
        (["reproduce"], "figure"),
        (["reproduce", "fig4"], "figure: invalid choice: 'fig4'"),
        (["reproduce", "fig1", "--seeds", "-1"], "--seeds: expected an integer >= 0, got '-1'"),
        (["demo", "--seed", "1.5"], "--seed: expected an integer >= 0, got '1.5'"),
    ],
)
def test_commands(arguments, words, capsys):
    refused(capsys, arguments, words)


def test_demo_refuses_a_folder_of_others(folder, capsys):
    (folder / "demo-out").mkdir()
    (folder / "demo-out" / "weights.png").write_text("mine")
    refused(capsys, ["demo"], "demo-out/weights.png")
    assert (folder / "demo-out" / "weights.png").read_text() == "mine"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["recover", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: greedyjax")
    assert err == ""


def test_as_a_program(folder):
    """One mistake of each kind through the real thing: the code, the line, no traceback."""
    np.savez("data.npz", Y=Y)
    for arguments in (TRAIN, ["train", "none.npz", *TRAIN[2:]], [*TRAIN, "--tau", "-1"]):
        command = [sys.executable, "-m", "greedyjax", *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
        assert ran.returncode == 2, ran.stderr
        assert ran.stdout == ""
        assert "Traceback" not in ran.stderr
        assert ran.stderr.splitlines()[-1].startswith("greedyjax train: error: ")
