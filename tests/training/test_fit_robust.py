"""`fit` when something goes wrong: gradients that are not finite, Ctrl-C, bad arguments."""

import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from greedyjax.nets import OMPNet
from greedyjax.training import FitResult, fit
from helpers import assert_close, interrupt_fit

M, N, K = 6, 8, 2
NUM, BATCH, EPOCHS = 32, 8, 3
STEPS = NUM // BATCH
RATE = 0.5
SGD = optax.sgd(RATE)
A = np.random.default_rng(0).standard_normal((M, N))
Y, X = np.ones((NUM, M)), np.zeros((NUM, N))


def falling(net, Y, X):
    """Gradient 1 / N in every weight: plain descent lowers each by RATE / N a step."""
    return jnp.mean(net.weights[...])


def run(loss=falling, *, net=None, train=(Y, X), val=(Y, X), **settings):
    settings = {"num_epochs": EPOCHS, "batch_size": BATCH, "key": jax.random.key(0), **settings}
    net = net or OMPNet(A, sparsity=K)
    return fit(net, train, val, **{"optimizer": SGD, "loss": loss, **settings})


# --- Gradients that are not finite ---------------------------------------------------------------


def marked(num):
    """Training signals, `num` of which the losses below choke on; they make `num` bad batches.

    Batches are drawn at random, so several marks could share one: that is only certain not to
    happen for one mark, or where every signal is marked.
    """
    marks = X.copy()
    marks[:num, 0] = 1
    return Y, marks


def nan_loss(net, Y, X):
    return falling(net, Y, X) * jnp.where(X[:, 0].any(), jnp.nan, 1.0)


def infinite_loss(net, Y, X):
    return falling(net, Y, X) * jnp.where(X[:, 0].any(), jnp.inf, 1.0)


def nan_gradient_alone(net, Y, X):
    """The loss is finite everywhere; the square root's derivative at 0 is not."""
    one_or_zero = jnp.where(X[:, 0].any(), 0 * net.weights[...][0], 1.0)
    return falling(net, Y, X) + jnp.sqrt(one_or_zero) - 1


def nan_in_one_entry(net, Y, X):
    """One bad entry of the gradient is enough."""
    bad = jnp.where(X[:, 0].any(), jnp.nan, 0.0)
    return falling(net, Y, X) + bad * net.weights[...][3]


LOSS_TOO = "In 1 of them the loss was not finite either: try a smaller step size"
GRADIENT_ALONE = "Their losses were finite, so .*: try relaxation=Stepwise.*, or losses.selection"


@pytest.mark.parametrize(
    ("loss", "cause"),
    [
        (nan_loss, LOSS_TOO),
        (infinite_loss, LOSS_TOO),
        (nan_gradient_alone, GRADIENT_ALONE),
        (nan_in_one_entry, LOSS_TOO),
    ],
)
def test_bad_steps_are_skipped_counted_and_said_once(loss, cause):
    message = f"fit: epoch 1 skipped 1 of its 4 steps, whose gradients were not finite. {cause}"
    with pytest.warns(RuntimeWarning, match=message) as said:
        fitted = run(loss, train=marked(1))
    assert [warning.filename for warning in said] == [run.__code__.co_filename]
    np.testing.assert_array_equal(fitted.history["skipped_steps"], [0, 1, 1, 1])
    # Exactly the other steps were taken.
    taken = (STEPS - 1) * np.arange(EPOCHS + 1)
    assert_close(fitted.history["val_loss"], 1 - RATE / N * taken)
    assert_close(fitted.net.weights[...], np.full(N, 1 - RATE / N * taken[-1]))
    # What a skipped step would have done is not averaged in: the loss stays at what was taken.
    assert np.isfinite(fitted.history["train_loss"][1:]).all()
    expected = 1 - RATE / N * (taken[:-1] + (STEPS - 2) / 2)
    assert_close(fitted.history["train_loss"][1:], expected)
    assert_close(fitted.history["gradient_norm"][1:], np.full(EPOCHS, N**-0.5))


def test_nothing_but_bad_steps_changes_nothing():
    with pytest.warns(RuntimeWarning, match="epoch 1 skipped 4 of its 4 steps.*In 4 of them"):
        fitted = run(nan_loss, train=marked(NUM))
    np.testing.assert_array_equal(fitted.history["skipped_steps"], [0] + [STEPS] * EPOCHS)
    np.testing.assert_array_equal(fitted.net.weights[...], np.ones(N))
    assert fitted.best_val_loss == 1.0


@pytest.mark.filterwarnings("ignore:fit. epoch 1 skipped")  # On purpose.
def test_a_bad_step_leaves_the_momentum_alone():
    """Adam's averages would carry one NaN into every later step."""
    fitted = run(nan_loss, train=marked(1), optimizer=optax.adam(0.01), num_epochs=8)
    # A constant gradient moves Adam by its learning rate a step.
    assert_close(fitted.net.weights[...], np.full(N, 1 - 0.01 * 8 * (STEPS - 1)), atol=1e-6)
    assert fitted.history["skipped_steps"].sum() == 8


# --- Ctrl-C --------------------------------------------------------------------------------------


def test_interrupt_after_two_epochs_keeps_them(monkeypatch, capsys):
    interrupt_fit(monkeypatch, "train", 3)
    fitted = run(num_epochs=100)
    assert isinstance(fitted, FitResult)
    assert (fitted.best_epoch, len(fitted.history["val_loss"])) == (2, 3)
    assert_close(fitted.net.weights[...], np.full(N, 1 - 2 * STEPS * RATE / N))
    assert "interrupted after 2 of 100 epochs" in capsys.readouterr().err


def test_interrupt_while_validating_loses_that_epoch_alone(monkeypatch):
    interrupt_fit(monkeypatch, "validate", 3)  # Epochs 0 and 1 are validated, 2 is not.
    fitted = run(num_epochs=100)
    assert (fitted.best_epoch, len(fitted.history["val_loss"])) == (1, 2)
    assert_close(fitted.net.weights[...], np.full(N, 1 - STEPS * RATE / N))


def test_interrupt_in_the_first_epoch(monkeypatch):
    interrupt_fit(monkeypatch, "train", 1)
    fitted = run()
    assert (fitted.best_epoch, fitted.best_val_loss) == (0, 1.0)
    assert len(fitted.history["val_loss"]) == 1
    np.testing.assert_array_equal(fitted.net.weights[...], np.ones(N))


def test_interrupt_before_anything_is_known(monkeypatch):
    interrupt_fit(monkeypatch, "validate", 1)
    fitted = run()
    assert isinstance(fitted, FitResult)
    assert fitted.best_epoch == 0
    assert np.isnan(fitted.best_val_loss)
    assert {len(column) for column in fitted.history.values()} == {0}
    assert set(fitted.history) >= {"train_loss", "val_loss"}
    np.testing.assert_array_equal(fitted.net.weights[...], np.ones(N))


def test_interrupt_while_jax_traces():
    """Ctrl-C arrives in the middle of JAX, which wraps what is raised there into its own errors."""
    traces = []

    def interrupted(net, Y, X):
        traces.append(1)
        if len(traces) == 2:  # The first is of validation, the second of the first epoch.
            signal.raise_signal(signal.SIGINT)
        return falling(net, Y, X)

    # A test runner in the background may have the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        fitted = run(interrupted, num_epochs=20)
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(fitted, FitResult)
    assert (fitted.best_epoch, len(fitted.history["val_loss"])) == (1, 2), "that epoch is done"
    assert_close(fitted.net.weights[...], np.full(N, 1 - STEPS * RATE / N))


CHILD = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # A test runner may have it ignored.
import jax, jax.numpy as jnp, optax
from greedyjax.nets import OMPNet
from greedyjax.training import fit
loss = lambda net, Y, X: jnp.mean(net.weights[...])
data = (jnp.ones((8, 2)), None)
settings = dict(optimizer=optax.sgd(1e-6), batch_size=8, key=jax.random.key(0), loss=loss)
net = OMPNet(jnp.eye(2), sparsity=1)
fit(net, data, data, num_epochs=1, **settings)
for _ in range(20):
    print("training", flush=True)
    fitted = fit(net, data, data, num_epochs=10**7, **settings)
    rows = len(fitted.history["val_loss"])
    print(rows, fitted.best_epoch, float(fitted.net.weights[0]), flush=True)
"""


def test_real_interrupts():
    """Twenty of them, as they may come anywhere: in Python, in JAX, in the bar."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    lines = []
    with subprocess.Popen([sys.executable, "-c", CHILD], env=environment, **settings) as child:
        try:
            while child.stdout.readline() == "training\n":
                time.sleep(0.1 + 0.001 * len(lines))
                child.send_signal(signal.SIGINT)
                lines.append(child.stdout.readline().split())
            err = child.communicate(timeout=60)[1]
        finally:
            child.kill()
    assert child.returncode == 0, err
    assert len(lines) == 20
    for rows, best, weight in lines:
        assert int(rows) - 1 >= int(best) > 0
        assert float(weight) < 1, "what was learned is in the network"
    assert err.count("interrupted after") == 20
    assert "Traceback" not in err


# --- Bad input -----------------------------------------------------------------------------------

NAN = np.where(np.arange(NUM * M).reshape(NUM, M) == 5, np.nan, Y)
BAD = [
    ({"train": [Y, X]}, TypeError, r"train: expected a pair \(Y, X\) or \(Y, None\), got list"),
    ({"train": (Y,)}, TypeError, "train: expected a pair"),
    ({"train": Y}, TypeError, "train: expected a pair"),
    ({"val": (Y, X, X)}, TypeError, "val: expected a pair"),
    (
        {"train": (Y[:1], None), "val": None},
        ValueError,
        "train Y: expected at least 2 signals if val is left out.*got 1",
    ),
    ({"train": (Y[0], X)}, ValueError, "train Y: expected an array with 2 axes"),
    ({"train": (Y[:0], X[:0])}, ValueError, "train Y: expected at least one signal"),
    (
        {"train": (Y[:, 1:], X)},
        ValueError,
        r"train Y: expected shape \(32, 6\), got \S* ?\(32, 5\)",
    ),
    ({"train": (Y, X[1:])}, ValueError, r"train X: expected shape \(32, 8\), got \S* ?\(31, 8\)"),
    ({"train": (Y, X[:, 1:])}, ValueError, r"train X: expected shape \(32, 8\)"),
    ({"val": (Y, X[1:])}, ValueError, r"val X: expected shape \(32, 8\)"),
    ({"train": (Y.astype(int), X)}, TypeError, "train Y: expected floating"),
    ({"train": (Y, X.astype(int))}, TypeError, "train X: expected floating"),
    ({"train": (NAN, X)}, ValueError, "train Y: expected finite"),
    ({"train": (Y, X + np.inf)}, ValueError, "train X: expected finite"),
    ({"val": (NAN, None)}, ValueError, "val Y: expected finite"),
    ({"val": (None, None)}, TypeError, "val Y: expected an array"),
    ({"batch_size": 0}, ValueError, "batch_size: expected an int >= 1, got 0"),
    ({"batch_size": 2.5}, TypeError, "batch_size: expected an int"),
    ({"num_epochs": -1}, ValueError, "num_epochs: expected an int >= 0, got -1"),
    ({"num_epochs": 1.0}, TypeError, "num_epochs: expected an int"),
    ({"loss": "selection"}, TypeError, "loss: expected a function, got str"),
    ({"loss": None}, TypeError, "loss: expected a function, got NoneType"),
    ({"val_loss": 3}, TypeError, "val_loss: expected a function, got int"),
    ({"tau": 0.1}, TypeError, "tau: expected a function, got float"),
    ({"optimizer": 1e-2}, TypeError, "optimizer: expected an optax optimizer, got float"),
    ({"optimizer": optax.sgd}, TypeError, r"optimizer: .*such as optax.adam\(1e-2\) and not"),
    ({"shards": 0}, ValueError, "shards: expected an int >= 1, got 0"),
    ({"shards": 3}, ValueError, "batch_size: expected a multiple of shards=3 signals, got"),
    (
        {"shards": 4, "train": (Y[:30], X[:30])},
        ValueError,
        "train Y: expected a multiple of shards=4 signals, got 30",
    ),
    ({"patience": 0}, ValueError, "patience: expected an int >= 1, got 0"),
    ({"callback": []}, TypeError, "callback: expected a function, got list"),
]


@pytest.mark.wrong_types
@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_arguments_are_named(change, error, message):
    with pytest.raises(error, match=f"^{message}"):
        run(**change)
