"""`greedyjax train --checkpoint-dir`: the same command again continues a stopped training."""

import functools
import json

import jax
import numpy as np
import pytest

from greedyjax.cli import main
from greedyjax.problems import sparse_in_levels
from greedyjax.training import _loop
from helpers import interrupt_fit

N, M, K = 32, 10, 3
SIZES = {"num_atoms": N, "num_measurements": M, "sparsity": K, "level_size": 6}
TRAIN = ["train", "data.npz", "--method", "omp", "--sparsity", str(K), "--epochs", "5"]
TRAIN += ["--learn", "weights"]
CHECKPOINTS = ["--checkpoint-dir", "saved"]


@functools.cache
def problem():
    return sparse_in_levels(jax.random.key(0), num_signals=96, **SIZES)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with measurements alone, of which the command computes least."""
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", A=problem().A, Y=problem().Y)
    return tmp_path


@pytest.fixture
def stopped(monkeypatch, capsys):
    """A training that Ctrl-C stopped in its third epoch."""
    with monkeypatch.context() as patched:
        interrupt_fit(patched, "train", 3)
        assert main([*TRAIN, *CHECKPOINTS, "--out", "stopped"]) == 0
    assert "interrupted after 2 of 5 epochs" in capsys.readouterr().err


def results(folder):
    """What was learned, and everything reported but the time it took."""
    with np.load(folder / "model.npz", allow_pickle=False) as model:
        arrays = dict(model)
    content = json.loads((folder / "metrics.json").read_text())
    for name in ("seconds", "config"):
        del content[name]
    rows = (folder / "history.csv").read_text().splitlines()
    return arrays, content, [row.rpartition(",")[0] for row in rows]


def refused(capsys, arguments, *words):
    capsys.readouterr()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" or (out.startswith("train: OMP on ") and out.count("\n") == 1)
    assert err.count("\n") == 1, err
    assert err.startswith("greedyjax train: error: ")
    for word in words:
        assert word in err


def test_the_same_command_again_goes_on(folder, stopped):
    assert results(folder / "stopped")[1]["epochs"] == 2
    assert main([*TRAIN, *CHECKPOINTS, "--out", "resumed"]) == 0
    assert main([*TRAIN, "--out", "whole"]) == 0
    resumed, whole = results(folder / "resumed"), results(folder / "whole")
    np.testing.assert_equal(resumed, whole)
    assert resumed[1]["epochs"] == 5
    assert len(resumed[2]) == 7
    early = results(folder / "stopped")
    assert resumed[2][:4] == early[2]
    assert np.any(resumed[0]["weights"] != early[0]["weights"]), "there was more to learn"


def test_it_did_not_begin_again(folder, stopped, monkeypatch):
    epochs = []
    original = _loop._next
    monkeypatch.setattr(_loop, "_next", lambda *args: epochs.append(args[-2]) or original(*args))
    assert main([*TRAIN, *CHECKPOINTS, "--checkpoint-every", "2", "--out", "resumed"]) == 0
    assert epochs == [3, 4, 5]
    found = {path.name for path in (folder / "saved" / "epochs").iterdir()}
    assert found == {"4", "5"}, "one more after the last epoch"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--learning-rate", "0.5"], "learning_rate 0.03 instead of 0.5"),
        (["--epochs", "6"], "epochs 5 instead of 6"),  # The learning rate falls otherwise.
        (["--sparsity", "2"], "sparsity 3 instead of 2"),
        (["--seed", "3"], "seed 0 instead of 3"),
        (["--tau", "0.2"], "tau 0.1 instead of 0.2"),
    ],
)
def test_another_training_is_refused(options, words, folder, stopped, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    refused(capsys, [*TRAIN, *CHECKPOINTS, *options, "--out", "stopped"], words, "saved")
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before


def test_settings_spelled_out_are_the_same_training(stopped):
    spelled = ["--learning-rate", "3e-2", "--tau", "0.10", "--batch-size", "64"]
    assert main([*TRAIN, *CHECKPOINTS, *spelled, "--out", "resumed"]) == 0


def test_other_data_are_refused(stopped, capsys):
    with np.load("data.npz") as data:
        np.savez("data.npz", **{**data, "Y": data["Y"][::-1]})
    refused(capsys, [*TRAIN, *CHECKPOINTS], "--checkpoint-dir: ", "of this training, got data")


def test_nothing_readable_is_refused(folder, stopped, capsys):
    for path in (folder / "saved" / "epochs").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    refused(capsys, [*TRAIN, *CHECKPOINTS], "--checkpoint-dir: expected a checkpoint that can be")


def test_folders_that_will_not_do(folder, capsys):
    (folder / "file").write_text("mine")
    (folder / "others").mkdir()
    (folder / "others" / "settings.json").write_text('{"mine": 1}')
    (folder / "saved" / "epochs").mkdir(parents=True)
    for name, words in (
        ("file", "file: cannot make the folder"),
        ("file/inside", "file/inside: cannot make the folder"),
        ("others", "others/settings.json: exists and was not written by greedyjax"),
        ("saved", "saved/epochs: exists and was not written by greedyjax"),
    ):
        refused(capsys, [*TRAIN, "--checkpoint-dir", name], words)
        assert not (folder / "train-out").exists()
    assert (folder / "file").read_text() == "mine"
    assert (folder / "others" / "settings.json").read_text() == '{"mine": 1}'


@pytest.mark.filterwarnings("default")
def test_a_damaged_checkpoint_costs_its_epochs_alone(folder, stopped, capsys):
    for path in (folder / "saved" / "epochs" / "2").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    assert main([*TRAIN, *CHECKPOINTS, "--out", "resumed"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("greedyjax train: warning: fit: ")
    assert "damaged (epoch 2: " in err
    assert err.endswith("; resumed at 1\n")
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_temperature_at_which_nothing_is_learned(capsys):
    np.savez("data.npz", A=problem().A, Y=problem().Y, X=problem().X)
    cold = ["--loss", "reconstruction", "--tau", "1e-12", "--epochs", "2"]
    assert main([*TRAIN, *cold]) == 0
    err = capsys.readouterr().err
    assert err.startswith("greedyjax train: warning: fit: the gradient of the weights was below")
    assert err.count("\n") == 1
    assert "try a larger tau" in err
