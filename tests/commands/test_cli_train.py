"""`greedyjax train`, run as a user runs it."""

import contextlib
import csv
import io
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

import oracles
from greedyjax.cli import main
from greedyjax.commands import _long_runs
from greedyjax.problems import sparse_in_levels

N, K, LEVEL, TRAIN, VAL = 64, 4, 8, 128, 64
OUTPUTS = {"metrics.json", "model.npz", "history.csv", "training.png", "weights.png"}


def draw(seed=0, num_measurements=12, level_size=LEVEL):
    settings = {"num_atoms": N, "sparsity": K, "level_size": level_size}
    levels = sparse_in_levels(
        jax.random.key(seed), num_signals=TRAIN + VAL, num_measurements=num_measurements, **settings
    )
    return {name: np.asarray(value) for name, value in levels._asdict().items()}


def split(data):
    """The last third under names of its own, as the command would split it itself."""
    given = {name: data[name] for name in ("A", "support")}
    for name in ("Y", "X"):
        given |= {name: data[name][:TRAIN], f"{name}_val": data[name][TRAIN:]}
    return given


def only(data, *names):
    return {name: data[name] for name in names}


def run(folder, data, *options, method="omp", epochs="20", learn="weights"):
    """Writes the data, trains, and returns exit code and what was printed."""
    folder.mkdir(exist_ok=True)
    np.savez(folder / "data.npz", **data)
    required = ["--method", method, "--sparsity", str(K), "--epochs", epochs]
    required += ["--learn", learn]
    arguments = ["train", str(folder / "data.npz"), *required, "--out", str(folder / "out")]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main([*arguments, *options])
    return code, printed.getvalue()


def metrics_of(folder):
    return json.loads((folder / "out" / "metrics.json").read_text())


def model_of(folder):
    with np.load(folder / "out" / "model.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The main run, on signals of known structure: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("supervised")
    (folder / "out").mkdir()
    (folder / "out" / "notes.txt").write_text("mine")
    code, printed = run(folder, draw())
    assert code == 0
    return folder, printed


@pytest.fixture(scope="module")
def trained_blind(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blind")
    code, printed = run(folder, only(draw(), "A", "Y"))
    assert code == 0
    return folder, printed


def found(weights):
    return sorted(np.argsort(np.abs(weights))[-LEVEL:])


def hard_errors(data, weights, rows=slice(TRAIN, None)):
    """The oracle's own validation error, on the true signals of the last third."""
    Y, X = data["Y"][rows], data["X"][rows]
    answers = np.stack([oracles.omp(data["A"], y, K, weights).x.real for y in Y])
    return np.mean(np.sum((answers - X) ** 2, axis=1))


# --- What is written -----------------------------------------------------------------------------


def test_metrics(trained):
    content, data = metrics_of(trained[0]), draw()
    val_loss = content["val_loss"]
    assert set(val_loss) == {"hard_ones", "net", "hard_learned", "hard_oracle"}
    oracle = np.isin(np.arange(N), data["support"]).astype(float)
    # Single precision, squared and averaged over errors near the noise of 1e-3.
    np.testing.assert_allclose(val_loss["hard_ones"], hard_errors(data, np.ones(N)), rtol=1e-3)
    learned = model_of(trained[0])["weights"]
    np.testing.assert_allclose(val_loss["hard_learned"], hard_errors(data, learned), rtol=1e-2)
    np.testing.assert_allclose(val_loss["hard_oracle"], hard_errors(data, oracle), rtol=1e-2)
    assert val_loss["hard_learned"] < val_loss["hard_ones"] / 1000
    assert val_loss["hard_learned"] < 1.1 * val_loss["hard_oracle"]
    assert val_loss["net"] < val_loss["hard_ones"] / 100

    assert set(content["val_residual"]) == {"hard_ones", "hard_learned"}
    assert content["val_residual"]["hard_learned"] < content["val_residual"]["hard_ones"] / 3
    assert content["weights_kept"] == "learned"
    assert content["finished"] is True
    assert 0 < content["best_epoch"] <= content["epochs"] == 20
    assert content["skipped_steps"] == 0
    assert (content["config"]["method"], content["config"]["num_layers"]) == ("omp", K)
    assert (content["config"]["num_train"], content["config"]["num_val"]) == (TRAIN, VAL)
    assert content["config"]["learned_from"] == "Y and X"
    assert content["versions"]["jax"] == jax.__version__


def test_model_loads_without_pickle(trained):
    model, data = model_of(trained[0]), draw()
    np.testing.assert_array_equal(model["A"], data["A"])
    assert found(model["weights"]) == data["support"].tolist()
    assert (model["method"], model["sparsity"], model["real"]) == ("omp", K, False)
    assert 0 < model["tau"] < 0.1
    assert all(value.dtype != object for value in model.values())


def test_history_and_pictures(trained):
    out = trained[0] / "out"
    with (out / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(21))
    assert {"train_loss", "val_loss", "gradient_norm", "skipped_steps", "tau"} <= set(rows[0])
    val_loss = [float(row["val_loss"]) for row in rows]
    content = metrics_of(trained[0])
    # Where it is flat to 1e-4, the later epoch is taken.
    assert val_loss[content["best_epoch"]] <= (1 + 2e-4) * min(val_loss)
    expected = content["val_loss"]["hard_learned"]  # In the user's units, both.
    np.testing.assert_allclose(val_loss[content["best_epoch"]], expected, rtol=1e-3)
    for name in ("training.png", "weights.png"):
        data = (out / name).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(data) > 5000


def test_report(trained):
    out = trained[1]
    assert "learned from Y and X" in out
    for words in ("w = 1", "learned weights", "oracle weights", "hidden measurements"):
        assert words in out
    assert "w = 1 is kept" not in out
    folder = trained[0] / "out"
    assert out.splitlines()[0] == f"train: OMP on {TRAIN} signals, {VAL} to validate on, 20 epochs"
    assert out.splitlines()[-1] == f"next: greedyjax recover {folder}/model.npz Y.npy --out X.npy"
    for measure in (
        "val_loss: ||x_hat - x||^2, mean over the validation signals\n",
        "val_residual: ||A x_hat - y|| / ||y|| of hidden measurements",
    ):
        assert measure in out


def test_other_files_stay(trained):
    out = trained[0] / "out"
    assert (out / "notes.txt").read_text() == "mine"
    assert {path.name for path in out.iterdir()} == OUTPUTS | {"notes.txt"}


# --- What it learns from -------------------------------------------------------------------------


def test_from_measurements_alone(trained_blind):
    folder, printed = trained_blind
    content, data = metrics_of(folder), draw()
    assert content["val_loss"] is None
    assert content["val_residual"]["hard_learned"] < content["val_residual"]["hard_ones"] / 3
    assert content["config"]["learned_from"] == "Y alone"
    assert "learned from Y alone" in printed
    weights = model_of(folder)["weights"]
    assert found(weights) == data["support"].tolist()
    assert hard_errors(data, weights) < hard_errors(data, np.ones(N)) / 1000
    # And on signals that the command has never seen: other values in the same hidden set.
    other = draw(1)
    X = np.zeros_like(other["X"])
    X[:, data["support"]] = other["X"][:, other["support"]]
    unseen = {"A": data["A"], "X": X, "Y": X @ data["A"].T}
    assert hard_errors(unseen, weights) < hard_errors(unseen, np.ones(N)) / 3


def test_separate_validation_arrays(trained, tmp_path):
    """The same rows under names of their own: the same model, bit for bit."""
    assert run(tmp_path, split(draw()))[0] == 0
    np.testing.assert_array_equal(model_of(tmp_path)["weights"], model_of(trained[0])["weights"])
    assert metrics_of(tmp_path)["val_loss"] == metrics_of(trained[0])["val_loss"]


def in_units_of(data, unit):
    return {name: unit * array if name in "XY" else array for name, array in data.items()}


def test_units_of_a_power_of_two_change_no_bit(trained, tmp_path):
    assert run(tmp_path, in_units_of(draw(), 1024))[0] == 0
    model, expected = model_of(tmp_path), model_of(trained[0])
    np.testing.assert_array_equal(model["weights"], expected["weights"])
    assert model["tau"] == 1024 * expected["tau"]
    # metrics.json has six digits, and 1024 squared is no power of ten.
    val_loss = {k: 1024**2 * v for k, v in metrics_of(trained[0])["val_loss"].items()}
    assert metrics_of(tmp_path)["val_loss"] == pytest.approx(val_loss, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("A", "Y", "X", "support"), ("A", "Y")], ids=["with X", "blind"])
def test_units_do_not_matter(trained, trained_blind, tmp_path, names):
    """1000 is no power of two: the data differ by roundings, which 80 steps may magnify."""
    folder = (trained if "X" in names else trained_blind)[0]
    assert run(tmp_path, in_units_of(only(draw(), *names), 1000))[0] == 0
    content, expected = metrics_of(tmp_path), metrics_of(folder)
    assert content["best_epoch"] == expected["best_epoch"]
    weights = model_of(tmp_path)["weights"]
    np.testing.assert_allclose(weights, model_of(folder)["weights"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model_of(tmp_path)["tau"], 1000 * model_of(folder)["tau"], rtol=1e-5)


def test_no_structure_is_reported_honestly(trained_blind, tmp_path):
    """Every atom as likely as any: weights that do not help are not kept."""
    code, printed = run(tmp_path, only(draw(3, level_size=N), "A", "Y"))
    assert code == 0
    content, weights = metrics_of(tmp_path), model_of(tmp_path)["weights"]
    residual = content["val_residual"]
    helps = residual["hard_learned"] < residual["hard_ones"]
    assert content["weights_kept"] == ("learned" if helps else "ones")
    assert ("w = 1 is kept" in printed) == (not helps)
    assert np.array_equal(weights, np.ones(N)) == (not helps)
    assert residual["hard_learned"] > 0.8 * residual["hard_ones"], "there is nothing to learn"


@pytest.mark.slow
def test_reconstruction_loss(trained, tmp_path):
    options = ("--loss", "reconstruction", "--tau", "0.01", "--batch-size", "32", "--seed", "7")
    code, printed = run(tmp_path, draw(), *options, epochs="2")
    assert code == 0
    assert "reconstruction loss" in printed
    content = metrics_of(tmp_path)
    given = {"loss": "reconstruction", "seed": 7, "tau": 0.01, "epochs": 2, "batch_size": 32}
    assert content["config"] | given == content["config"]
    # Of the same data as in the main run, so the same where nothing is learned.
    val_loss = metrics_of(trained[0])["val_loss"]
    assert content["val_loss"]["hard_ones"] == val_loss["hard_ones"]
    assert content["val_loss"]["hard_oracle"] == val_loss["hard_oracle"]
    assert content["val_loss"]["net"] != val_loss["net"]


@pytest.mark.slow
def test_iht(tmp_path):
    data = draw(0, num_measurements=24)
    options = ("--num-layers", "12", "--step-size", "0.4")
    code, printed = run(tmp_path, data, *options, method="iht")
    assert code == 0
    model, val_loss = model_of(tmp_path), metrics_of(tmp_path)["val_loss"]
    assert (model["method"], model["num_layers"]) == ("iht", 12)
    np.testing.assert_allclose(model["step_size"], 0.4, rtol=1e-6)
    assert val_loss["hard_learned"] < val_loss["hard_ones"] / 3
    answers = [oracles.iht(data["A"], y, K, 12, 0.4).x.real for y in data["Y"][TRAIN:]]
    expected = np.mean(np.sum((np.stack(answers) - data["X"][TRAIN:]) ** 2, axis=1))
    np.testing.assert_allclose(val_loss["hard_ones"], expected, rtol=1e-3)
    assert found(model["weights"]) == data["support"].tolist()


# --- Folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metrics.json", "model.npz", "history.csv"])
def test_refuses_to_replace_what_it_did_not_write(tmp_path, name, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text('{"mine": 1}')
    assert run(tmp_path, draw())[0] == 2
    assert (tmp_path / "out" / name).read_text() == '{"mine": 1}'
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    err = capsys.readouterr().err
    assert err.startswith("greedyjax train: error: ")
    assert name in err


@pytest.mark.slow
def test_runs_again_into_its_own_folder(tmp_path, monkeypatch, capsys):
    """And an earlier run that was broken off counts as its own. A long run says so, once."""
    data = draw()
    monkeypatch.setattr(_long_runs, "LONG", 0)
    monkeypatch.setattr(_long_runs, "MUCH", float("inf"))
    assert run(tmp_path, data)[0] == 0
    assert capsys.readouterr().err == "greedyjax train: about 0 minutes to go\n"
    monkeypatch.undo()
    first = model_of(tmp_path)["weights"]
    (tmp_path / "out" / "model.npz").write_text("half a file")
    content = metrics_of(tmp_path) | {"finished": False}
    (tmp_path / "out" / "metrics.json").write_text(json.dumps(content))
    assert run(tmp_path, data)[0] == 0
    np.testing.assert_array_equal(model_of(tmp_path)["weights"], first)
    assert metrics_of(tmp_path)["finished"] is True


# --- As a program --------------------------------------------------------------------------------


def program(*arguments):
    command = [sys.executable, "-m", "greedyjax", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == "", "no progress bar where there is no terminal"
    return ran.stdout


@pytest.mark.slow
def test_as_a_program(tmp_path):
    """Real signals of a complex system, in default precision; then recovery with the model."""
    data, out = draw(), tmp_path / "deep" / "out"
    np.savez(tmp_path / "data.npz", **only(data, "A", "Y", "X"))
    options = ["--method", "omp", "--sparsity", "4", "--epochs", "20", "--real"]
    printed = program("train", tmp_path / "data.npz", *options, "--out", out)
    assert f"wrote {out}" in printed
    assert {path.name for path in out.iterdir()} == OUTPUTS
    content = json.loads((out / "metrics.json").read_text())
    val_loss = content["val_loss"]
    assert set(val_loss) == {"hard_ones", "net", "hard_learned"}, "no support, no oracle"

    with np.load(out / "model.npz", allow_pickle=False) as model:
        np.testing.assert_array_equal(model["A"], data["A"])  # Stored as given, not stacked.
        assert model["real"]
        weights = model["weights"]
    assert found(weights) == data["support"].tolist()
    A = np.concatenate([data["A"].real, data["A"].imag])
    Y = np.concatenate([data["Y"].real, data["Y"].imag], axis=1)
    expected = hard_errors({"A": A, "Y": Y, "X": data["X"]}, np.ones(N))
    np.testing.assert_allclose(val_loss["hard_ones"], expected, rtol=1e-3)
    assert val_loss["hard_learned"] < val_loss["hard_ones"] / 1000

    np.save(tmp_path / "Y.npy", data["Y"][TRAIN:].astype(np.complex128))  # As NumPy users have it.
    printed = program("recover", out / "model.npz", tmp_path / "Y.npy", "--out", tmp_path / "X.npy")
    assert f"{VAL} signals of {N}" in printed
    X = np.load(tmp_path / "X.npy")
    assert X.dtype == np.float32
    answers = np.stack([oracles.omp(A, y, K, weights).x for y in Y[TRAIN:]])
    # Single precision, on supports that may be ill-conditioned.
    np.testing.assert_allclose(X, answers, rtol=1e-3, atol=1e-3)


# --- Interactions ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "kept"), [("AYX", "interactions, last fit"), ("AY", "w = 1, last fit")]
)
def test_interactions_are_kept_where_they_pay(tmp_path, names, kept):
    """Half of the atoms at random, each with its partner: weights per atom say nothing.

    Ten measurements alone are too few to learn that from, which is seen without a true signal.
    """
    rng, half, m, num = np.random.default_rng(0), 16, 10, 1500
    X = np.zeros((num, 2 * half))
    for x in X:
        first = rng.choice(half, K // 2, replace=False)
        x[np.concatenate([first, half + first])] = rng.standard_normal(K)
    A = rng.standard_normal((m, 2 * half)) / np.sqrt(m)
    data = {"A": A, "Y": X @ A.T, "X": X}
    learned = only({**data, "Y": data["Y"][:1200], "X": X[:1200]}, *names)
    options = ["--checkpoint-dir", str(tmp_path / "checkpoints")]
    code, printed = run(tmp_path, learned, *options, learn="interactions")
    assert code == 0
    content = metrics_of(tmp_path)
    assert content["kept"] == kept
    assert f"*{kept} " in printed
    model, pictured = model_of(tmp_path), tmp_path / "out" / "interactions.png"
    assert model["format"] == 3
    assert ("policy" in model) == pictured.exists() == kept.startswith("interactions")
    if names == "AY":
        np.testing.assert_array_equal(model["weights"], 1)
        assert content["weights_kept"] == "ones"
    # The same command again finds everything done.
    assert run(tmp_path, learned, *options, learn="interactions")[0] == 0
    assert metrics_of(tmp_path)["errors"] == content["errors"]

    np.save(tmp_path / "Y.npy", data["Y"][1200:].astype(np.float32))
    arguments = [str(tmp_path / "out" / "model.npz"), str(tmp_path / "Y.npy")]
    assert main(["recover", *arguments, "--out", str(tmp_path / "X.npy")]) == 0
    errors = np.sum((np.load(tmp_path / "X.npy") - X[1200:]) ** 2, axis=1)
    plain = [oracles.omp(A, y, K, np.ones(2 * half)).x.real for y in data["Y"][1200:]]
    assert np.mean(errors) < 0.9 * np.mean(np.sum((np.stack(plain) - X[1200:]) ** 2, axis=1))
