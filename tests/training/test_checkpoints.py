"""Checkpoints: a training that was stopped, killed or damaged ends as if it had not been."""

import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import optax
import pytest

from greedyjax.nets import OMPNet
from greedyjax.problems import sparse_in_levels
from greedyjax.training import fit, fit_many

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


def damage(folder, epoch):
    """Overwrites the numbers of a checkpoint, wherever they lie."""
    files = [path for path in (folder / str(epoch)).rglob("*") if path.parent.name == "d"]
    assert files
    for path in files:
        path.write_bytes(b"damaged")


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
    from greedyjax.training import _epochs

    original, calls = _epochs._epoch, []

    def patched(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(_epochs, "_epoch", patched)
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


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="a folder of checkpoints alone, got .*'thesis.txt'"):
        run(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="checkpoint_dir: .*cannot be written"):
        run(tmp_path / "file" / "inside")


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


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import jax
jax.config.update("jax_enable_x64", True)
from training.test_checkpoints import run
run(sys.argv[1], num_epochs=400)
"""


@pytest.mark.slow
def test_killed_at_ten_moments(tmp_path):
    """kill -9 wherever it falls, in an epoch or in the middle of a checkpoint; then to the end."""
    tests = os.path.dirname(os.path.dirname(__file__))
    code = SCRIPT.format(tests=tests)
    moments = random.Random(0)
    for _ in range(10):
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=tests)
        begun, seen = time.monotonic(), steps_of(tmp_path)
        # Not before it has begun to train, or it would never get anywhere.
        while steps_of(tmp_path) == seen and time.monotonic() - begun < 60:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert 0 < max(steps_of(tmp_path)) < 400, "it was killed too late"
    assert_same_bits(run(tmp_path, num_epochs=400), run(num_epochs=400))


def steps_of(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
