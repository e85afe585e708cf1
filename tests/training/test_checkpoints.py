"""A training that was stopped or killed, even with damaged files, ends as if uninterrupted."""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zlib

import jax
import numpy as np
import optax
import pytest

from greedyjax.nets import OMPNet
from greedyjax.problems import sparse_in_levels
from greedyjax.training import fit, fit_many
from helpers import interrupt_fit

N, M, K, NUM = 32, 10, 3, 48
ADAM = optax.adam(5e-2)
A, Y, X, _ = sparse_in_levels(
    jax.random.key(0), num_atoms=N, num_measurements=M, sparsity=K, level_size=6, num_signals=64
)
DATA = (Y[:NUM], X[:NUM]), (Y[NUM:], X[NUM:])


def run(folder=None, num_epochs=6, *, seed=1, **settings):
    settings = {"batch_size": 16, "optimizer": ADAM, "checkpoint_dir": folder, **settings}
    net = OMPNet(A, sparsity=K, tau=0.1)
    return fit(net, *DATA, num_epochs=num_epochs, key=jax.random.key(seed), **settings)


def assert_same_bits(one, other):
    np.testing.assert_array_equal(one.net.weights[...], other.net.weights[...])
    assert (one.best_epoch, one.best_val_loss) == (other.best_epoch, other.best_val_loss)
    for name in set(one.history) - {"seconds"}:
        np.testing.assert_array_equal(one.history[name], other.history[name])


def steps(folder):
    return sorted(int(path.name) for path in folder.iterdir())


def numbers(folder, epoch):
    """The file with the numbers of a checkpoint."""
    return max(
        (folder / str(epoch)).rglob("*"), key=lambda path: path.stat().st_size * path.is_file()
    )


def damage(folder, epoch):
    numbers(folder, epoch).write_bytes(b"damaged")


def test_resumed_training_is_the_same_bit_for_bit(tmp_path):
    whole = run()
    first = run(tmp_path / "made", num_epochs=2)
    assert first.best_epoch <= 2
    assert_same_bits(run(tmp_path / "made"), whole)
    assert steps(tmp_path / "made") == [5, 6]  # The newest two are kept.
    assert_same_bits(run(tmp_path / "made"), whole)  # Nothing is left to do.


def test_several_networks_resume_together(tmp_path):
    nets = [OMPNet(A, sparsity=K, tau=tau) for tau in (0.1, 0.2)]
    settings = {"optimizer": ADAM, "batch_size": 16, "key": jax.random.key(3)}
    whole = fit_many(nets, *DATA, num_epochs=4, **settings)
    fit_many(nets, *DATA, num_epochs=2, checkpoint_dir=tmp_path, **settings)
    resumed = fit_many(nets, *DATA, num_epochs=4, checkpoint_dir=tmp_path, **settings)
    for one, other in zip(resumed, whole, strict=True):
        assert_same_bits(one, other)


def test_an_interrupt_saves_what_was_done(tmp_path, monkeypatch):
    interrupt_fit(monkeypatch, "train", 4)
    run(tmp_path, checkpoint_every=100)
    monkeypatch.undo()
    assert steps(tmp_path) == [0, 3]
    assert_same_bits(run(tmp_path), run())


def test_damage_costs_the_damaged_epochs_alone(tmp_path):
    run(tmp_path, num_epochs=4)
    damage(tmp_path, 4)
    with pytest.warns(RuntimeWarning, match=r"damaged \(epoch 4: .*resumed at 3") as said:
        resumed = run(tmp_path)
    assert len(said) == 1
    assert_same_bits(resumed, run())


def test_nothing_readable_is_one_clear_error_and_touches_nothing(tmp_path):
    run(tmp_path, num_epochs=4)
    for epoch in steps(tmp_path):
        damage(tmp_path, epoch)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(ValueError, match="checkpoint_dir: expected a checkpoint that can be read"):
        run(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 8}, "batch_size 16 instead of 8"),
        ({"seed": 2}, "got key"),
        ({"optimizer": optax.sgd(0.1)}, "got bytes of state"),
    ],
)
def test_another_training_is_refused(tmp_path, settings, message):
    run(tmp_path, num_epochs=1)
    with pytest.raises(ValueError, match=f"expected checkpoints of this training, got.*{message}"
                       if "got" not in message else message):  # fmt: skip
        run(tmp_path, **settings)


def test_checkpoints_of_greedyjax_0_1_are_refused(tmp_path):
    """Which had no format; all else of their identity may be the same."""
    run(tmp_path, num_epochs=1)
    for epoch in steps(tmp_path):
        content = json.loads(numbers(tmp_path, epoch).read_text())
        assert content["identity"].pop("format") == 2
        numbers(tmp_path, epoch).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="expected checkpoints of this version") as error:
        run(tmp_path)
    assert str(error.value) == (
        f"checkpoint_dir: {tmp_path}: expected checkpoints of this version, got those of greedyjax "
        "0.1, whose networks store their numbers in another order; finish that training with 0.1, "
        "or choose another folder"
    )


def test_checkpoints_of_several_processes_are_refused_with_a_way_out(tmp_path):
    run(tmp_path, num_epochs=1)
    for epoch in steps(tmp_path):
        content = json.loads(numbers(tmp_path, epoch).read_text())
        assert content["identity"]["processes"] == 1
        content["identity"]["processes"] = 2
        del content["digest"]
        digest = zlib.crc32(json.dumps(content, sort_keys=True).encode())
        numbers(tmp_path, epoch).write_text(json.dumps({**content, "digest": digest}))
    way_out = "got processes 2 instead of 1; go on with as many as before, or choose another folder"
    with pytest.raises(ValueError, match=f"checkpoints of this training, {way_out}"):
        run(tmp_path)


def test_a_damaged_history_is_found_too(tmp_path):
    """One digit of a loss that is recorded, in a file that is as readable as before."""
    run(tmp_path, num_epochs=2)
    content = json.loads(numbers(tmp_path, 2).read_text())
    content["rows"][1][0] += 1e-9
    numbers(tmp_path, 2).write_text(json.dumps(content))
    with pytest.warns(RuntimeWarning, match=r"damaged \(epoch 2: its checksum does not .* at 1"):
        assert_same_bits(run(tmp_path), run())


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="a folder of checkpoints alone, got .*'thesis.txt'"):
        run(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="checkpoint_dir: .*cannot be written"):
        run(tmp_path / "file" / "inside")


@pytest.mark.parametrize("inside", [".", "deeper"])
def test_a_folder_that_cannot_be_written_to(tmp_path, inside):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    user = os.geteuid()
    if user == 0:  # Root may write anywhere, nobody nowhere.
        os.seteuid(65534)
    try:
        with pytest.raises(OSError, match="checkpoint_dir: .*cannot be written: Permission denied"):
            run(locked / inside)
    finally:
        os.seteuid(user)
        locked.chmod(0o700)
    assert list(locked.iterdir()) == []


def test_a_disk_that_fills_up_ends_no_training(tmp_path, monkeypatch):
    from orbax.checkpoint import CheckpointManager

    original = CheckpointManager.save

    def save(self, step, *args, **settings):
        if step >= 3:
            raise OSError(28, "No space left on device")
        return original(self, step, *args, **settings)

    monkeypatch.setattr(CheckpointManager, "save", save)
    with pytest.warns(RuntimeWarning, match="no checkpoint after epoch 3: .*No space left"):
        fitted = run(tmp_path)
    monkeypatch.undo()
    assert_same_bits(fitted, run())
    assert steps(tmp_path) == [1, 2]
    assert_same_bits(run(tmp_path), fitted)


@contextlib.contextmanager
def files_of_at_most(size):
    """A disk with no room for larger files: the system itself refuses to write on."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full(tmp_path, caplog, capfd):
    """As above, but it is the system that refuses, in the middle of a file."""
    run(tmp_path, num_epochs=2)
    before = contents(tmp_path)
    says_so = pytest.warns(RuntimeWarning, match="no checkpoint after epoch 3: ")
    with says_so as said, files_of_at_most(200):
        fitted = run(tmp_path)
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    assert (caplog.records, capfd.readouterr()) == ([], ("", "")), "one line, not a page"
    assert_same_bits(fitted, run())
    assert contents(tmp_path) == before, "what was saved is there, and nothing else"
    assert_same_bits(run(tmp_path), fitted)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path, data):
    """All bits of the middle byte."""
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes([255 - data[middle]]) + data[middle + 1 :])


DAMAGES = {
    "empty": lambda path, data: path.write_bytes(b""),
    "truncated": lambda path, data: path.write_bytes(data[: len(data) // 2]),
    "flipped": flip,
    "missing": lambda path, data: path.unlink(),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # Looked at by hand, below.
@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_is_damaged_is_found_or_does_no_harm(tmp_path, damage):
    """Each file of the newest checkpoint in turn: the same result, or nothing at all."""
    good = tmp_path / "good"
    whole = run(good, num_epochs=4)
    for file in contents(good / "4"):
        folder = tmp_path / f"damaged-{file.relative_to(good)}".replace("/", "-")
        shutil.copytree(good, folder)
        DAMAGES[damage](folder / file.relative_to(good), file.read_bytes())
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert_same_bits(run(folder, num_epochs=4), whole)
        assert all("damaged (epoch 4" in str(one.message) for one in said)
        assert all("\n" not in str(one.message) for one in said)


# Trains on, and says on its standard output what it begins to do.
SCRIPT = """
import sys
sys.path[:0] = [{tests!r}, {tests!r} + "/support"]
import jax
jax.config.update("jax_enable_x64", True)
from orbax.checkpoint import CheckpointManager
from training import test_checkpoints as test
from greedyjax.training import _loop

def said(what, original):
    def f(*args, **settings):
        print(what, flush=True)
        return original(*args, **settings)
    return f

_loop._next = said("epoch", _loop._next)
CheckpointManager.save = said("save", CheckpointManager.save)
test.run_long(sys.argv[1])
"""


def run_long(folder=None):
    """Epochs of about as long as it takes to save one."""
    data = tuple(np.tile(array, (16, 1)) for array in DATA[0])
    net = OMPNet(A, sparsity=K, tau=0.1)
    settings = {"batch_size": 1, "optimizer": ADAM, "key": jax.random.key(1)}
    return fit(net, data, DATA[1], num_epochs=60, checkpoint_dir=folder, **settings)


@pytest.mark.slow
def test_killed_at_ten_moments(tmp_path):
    """kill -9 in the middle of an epoch or of a checkpoint, five times each; then to the end."""
    tests = os.path.dirname(os.path.dirname(__file__))
    command = [sys.executable, "-c", SCRIPT.format(tests=tests), str(tmp_path)]
    moments = random.Random(0)
    killed = []
    for wanted in 5 * ("epoch", "save"):
        with subprocess.Popen(command, cwd=tests, stdout=subprocess.PIPE, text=True) as child:
            lines, durations, begun = [], {}, None
            # Not in the first epochs, in which it compiles, and after it has saved one at least.
            while lines.count(wanted) < 4:
                lines.append(child.stdout.readline().strip())
                now = time.monotonic()
                if begun is not None:
                    durations[lines[-2]] = now - begun
                begun = now
                assert child.poll() is None, "it ended too early"
            time.sleep(moments.uniform(0, 0.9) * durations[wanted])
            child.send_signal(signal.SIGKILL)
            killed.append((lines + child.stdout.read().split())[-1])
    assert min(killed.count("epoch"), killed.count("save")) >= 2, killed
    assert 0 < max(steps_of(tmp_path)) < 60, "it was killed too late"
    assert_same_bits(run_long(tmp_path), run_long())


def steps_of(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
