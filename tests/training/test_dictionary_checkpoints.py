"""Dictionary learning that was stopped or killed ends as if uninterrupted."""

import os
import signal
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

from greedyjax.training import KSVD, MOD, OnlineGradient, learn_dictionary
from helpers import slow_but

M, N, K, NUM = 8, 12, 2, 600
UPDATES = {
    "K-SVD": KSVD(),
    "MOD with decay": MOD(0.5),
    "gradient": OnlineGradient(optax.adam(3e-2)),
}
Y = np.random.default_rng(0).standard_normal((NUM, M))


def run(folder=None, num_epochs=5, *, signals=Y, update=MOD(0.5), **changes):  # noqa: B008
    settings = {"key": jax.random.key(0), "batch_size": 200, "progress": False, **changes}
    return learn_dictionary(
        signals, N, K, update=update, num_epochs=num_epochs, checkpoint_dir=folder, **settings
    )


def assert_same_bits(one, other):
    assert np.array_equal(one.A, other.A)
    assert one.history.keys() == other.history.keys()
    for name in set(one.history) - {"seconds"}:
        np.testing.assert_array_equal(one.history[name], other.history[name])


@pytest.mark.parametrize("update", slow_but([UPDATES["K-SVD"]], UPDATES.values()), ids=UPDATES)
def test_resumed_learning_is_the_same_bit_for_bit(tmp_path, update):
    seen = []
    whole = run(update=update, val=Y[:50])
    run(tmp_path, 2, update=update, val=Y[:50])
    resumed = run(
        tmp_path, update=update, val=Y[:50], callback=lambda epoch, metrics: seen.append(epoch)
    )
    assert_same_bits(resumed, whole)
    assert seen == [3, 4, 5]
    assert_same_bits(run(tmp_path, update=update, val=Y[:50]), whole)  # Nothing is left to do.


def test_several_dictionaries_with_missing_entries_resume_together(tmp_path):
    several = np.ma.array(np.stack([Y, Y[::-1]]))
    several[:, ::3, 2] = np.ma.masked
    whole = run(signals=several)
    run(tmp_path, 2, signals=several)
    resumed = run(tmp_path, signals=several)
    assert_same_bits(resumed, whole)
    assert resumed.history["error"].shape == (6, 2)
    assert resumed.history["seconds"].shape == (6,)


def test_an_interrupt_saves_what_was_done(tmp_path):
    def press(epoch, metrics):
        if epoch == 3:
            signal.raise_signal(signal.SIGINT)

    stopped = run(tmp_path, callback=press)
    assert stopped.history["error"].shape == (4,)
    assert_same_bits(run(tmp_path), run())


# Learns on, and kills itself once epoch 3 has been saved.
SCRIPT = """
import os, signal, sys
sys.path[:0] = [{tests!r}, {tests!r} + "/support"]
import jax
jax.config.update("jax_enable_x64", True)
from training import test_dictionary_checkpoints as test

def die(epoch, metrics):
    if epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)

test.run(sys.argv[1], callback=die)
"""


@pytest.mark.slow
def test_killed_learning_is_the_same_bit_for_bit(tmp_path):
    tests = os.path.dirname(os.path.dirname(__file__))
    command = [sys.executable, "-c", SCRIPT.format(tests=tests), str(tmp_path)]
    killed = subprocess.run(command, cwd=tests, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]
    assert_same_bits(run(tmp_path), run())


MASKED = np.ma.array(Y, mask=Y > 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signals": Y + 1e-9}, "got data"),
        ({"signals": MASKED}, "got data"),
        ({"signals": np.concatenate([Y, Y])}, "got data"),
        ({"batch_size": 100}, "got batch_size 200 instead of 100"),
        ({"key": jax.random.key(1)}, "got start"),
        ({"update": KSVD()}, r"got update \['MOD'"),
        ({"update": MOD(0.25)}, "got update"),
        ({"initial": np.ones((M, N))}, "got start"),
    ],
)
def test_other_learning_is_refused(tmp_path, changes, message):
    run(tmp_path, 1)
    with pytest.raises(ValueError, match=f"expected checkpoints of this training, {message}"):
        run(tmp_path, **changes)


def test_a_file_is_recognised_by_its_first_batch_and_its_shape(tmp_path):
    np.save(tmp_path / "Y.npy", Y)
    signals = np.load(tmp_path / "Y.npy", mmap_mode="r")
    folder = tmp_path / "checkpoints"
    run(folder, 2, signals=signals)
    assert_same_bits(run(folder, signals=signals), run())
    with pytest.raises(ValueError, match="got shape"):
        run(folder, signals=signals[:400])


@pytest.mark.wrong_types
@pytest.mark.parametrize("folder", [3, ""])
def test_a_folder_is_a_path(folder):
    with pytest.raises(TypeError, match="checkpoint_dir: expected the path of a folder, got"):
        run(folder)
