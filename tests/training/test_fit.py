"""`fit` finds structure that is there; and epochs with numbers that are known in advance.

The first half learns. The second trains on losses so plain that the weights after any number of
steps have a closed form, so that shuffling, batching, keeping the best and skipping are counted
and not estimated.
"""

import functools
import io
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import oracles
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.problems import sparse_in_levels
from greedyjax.training import FitResult, fit, losses
from helpers import assert_close

N, K, LEVEL = 64, 4, 8
MEASUREMENTS = {"omp": 12, "iht": 24}
NUM_TRAIN, NUM_VAL, BATCH = 128, 64, 32
STEPS = NUM_TRAIN // BATCH  # of an epoch
ADAM = optax.adam(5e-2)  # One object for all tests: training again with it compiles nothing.
RATE = 0.5
SGD = optax.sgd(RATE)

KEYS = {"train_loss", "gradient_norm", "skipped_steps", "val_loss", "tau", "seconds"}


@functools.cache
def problem(family, seed=0):
    num = NUM_TRAIN + 2 * NUM_VAL
    settings = {"num_atoms": N, "sparsity": K, "level_size": LEVEL, "num_signals": num}
    return sparse_in_levels(jax.random.key(seed), num_measurements=MEASUREMENTS[family], **settings)


def part(levels, start, stop, with_x=True):
    return levels.Y[start:stop], levels.X[start:stop] if with_x else None


def make(family, A, tau=0.1):
    if family == "omp":
        return OMPNet(A, sparsity=K, tau=tau)
    return IHTNet(A, sparsity=K, num_layers=10, tau=tau)


hard_error = jax.jit(losses.hard_reconstruction)


@functools.cache
def learn(family, seed, with_x, key_seed=1, num_epochs=10):
    levels = problem(family, seed)
    train = part(levels, 0, NUM_TRAIN, with_x)
    val = part(levels, NUM_TRAIN, NUM_TRAIN + NUM_VAL, with_x)
    settings = {"optimizer": ADAM, "num_epochs": num_epochs, "batch_size": BATCH}
    net = make(family, levels.A)
    return fit(net, train, val, key=jax.random.key(key_seed), **settings)


# --- Learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "with_x", "seed"),
    [
        pytest.param(
            family, with_x, seed, marks=pytest.mark.slow if seed or family == "iht" else ()
        )
        # tests/commands has IHT-Net with X.
        for family, with_x in (("omp", True), ("omp", False), ("iht", False))
        for seed in range(6)
    ],
)
def test_the_hidden_set_is_found(family, with_x, seed):
    """Ten epochs of four steps; measured, the error falls by 4.4 at the least, and up to 3e5."""
    levels = problem(family, seed)
    fitted = learn(family, seed, with_x)
    weights = np.abs(fitted.net.weights[...])
    assert sorted(np.argsort(weights)[-LEVEL:]) == levels.support.tolist()
    held_out = part(levels, NUM_TRAIN + NUM_VAL, None)
    before = hard_error(make(family, levels.A), *held_out)
    after = hard_error(fitted.net, *held_out)
    assert after < before / 3
    assert fitted.best_val_loss < 0.9 * fitted.history["val_loss"][0]


def test_the_same_key_gives_the_same_bits():
    first, again = learn("omp", 0, True), learn.__wrapped__("omp", 0, True)
    np.testing.assert_array_equal(first.net.weights[...], again.net.weights[...])
    for name in KEYS - {"seconds"}:
        np.testing.assert_array_equal(first.history[name], again.history[name])
    other = learn("omp", 0, True, key_seed=2)
    assert np.abs(first.net.weights[...] - other.net.weights[...]).max() > 1e-3


def test_a_longer_training_begins_like_a_shorter_one():
    short, long = learn("omp", 0, True, num_epochs=3), learn("omp", 0, True)
    for name in KEYS - {"seconds"}:
        np.testing.assert_array_equal(short.history[name], long.history[name][:4])


def test_validation_by_the_hard_solver():
    """The best value of another `val_loss` equals the oracle's at the weights returned."""
    levels = problem("omp", 1)
    val = part(levels, NUM_TRAIN, NUM_TRAIN + NUM_VAL)
    net = make("omp", levels.A)
    settings = {"optimizer": ADAM, "num_epochs": 2, "batch_size": BATCH}
    fitted = fit(
        net,
        part(levels, 0, NUM_TRAIN),
        val,
        key=jax.random.key(1),
        val_loss=losses.hard_reconstruction,
        **settings,
    )
    answers = [oracles.omp(levels.A, y, K, fitted.net.weights[...]).x.real for y in val[0]]
    expected = np.mean(np.sum((np.stack(answers) - val[1]) ** 2, axis=1))
    assert fitted.best_val_loss == fitted.history["val_loss"][fitted.best_epoch]
    assert_close(fitted.best_val_loss, expected, np.float32)


def test_validation_may_lack_signals():
    levels = problem("omp", 0)
    net = make("omp", levels.A)
    val = part(levels, NUM_TRAIN, NUM_TRAIN + NUM_VAL, with_x=False)
    settings = {"optimizer": ADAM, "num_epochs": 1, "batch_size": BATCH, "key": jax.random.key(1)}
    mixed = fit(net, part(levels, 0, NUM_TRAIN), val, **settings)
    # Trained with signals, validated without: each as in the runs that did only that.
    supervised, blind = learn("omp", 0, True).history, learn("omp", 0, False).history
    assert mixed.history["train_loss"][1] == supervised["train_loss"][1]
    assert_close(mixed.history["val_loss"][0], blind["val_loss"][0], np.float32)


# --- Epochs in closed form -----------------------------------------------------------------------


def falling(net, Y, X):
    """Gradient 1 / N in every weight: plain descent lowers each by RATE / N a step."""
    return jnp.mean(net.weights[...])


def plain_fit(loss, *, num=NUM_TRAIN, num_epochs=3, batch_size=BATCH, optimizer=SGD, **settings):
    """Trains on signals whose first entry is their number; no solver runs."""
    X = np.zeros((num, N), np.float32)
    X[:, 0] = np.arange(num)
    settings = {"key": jax.random.key(0), **settings}
    net = settings.pop("net", None) or make("omp", problem("omp").A)
    Y = np.ones((num, MEASUREMENTS["omp"]), np.complex64)
    counts = {"num_epochs": num_epochs, "batch_size": batch_size}
    val = settings.pop("val", (Y[:10], X[:10]))
    return fit(net, (Y, X), val, optimizer=optimizer, loss=loss, **counts, **settings)


def test_result_and_history():
    fitted = plain_fit(falling)
    assert isinstance(fitted, FitResult)
    history = fitted.history
    assert set(history) == KEYS
    assert all(column.shape == (4,) for column in history.values())
    means = 1 - RATE / N * np.arange(3 * STEPS + 1)
    assert_close(history["val_loss"], means[::STEPS], np.float32)
    expected = [means[STEPS * e : STEPS * (e + 1)].mean() for e in range(3)]
    assert np.isnan(history["train_loss"][0])
    assert_close(history["train_loss"][1:], np.array(expected), np.float32)
    assert np.isnan(history["gradient_norm"][0])
    assert_close(history["gradient_norm"][1:], np.full(3, N**-0.5), np.float32)
    np.testing.assert_array_equal(history["skipped_steps"], np.zeros(4))
    assert_close(history["tau"], np.full(4, 0.1), np.float32)
    assert (history["seconds"] > 0).all()
    assert fitted.best_epoch == 3
    assert fitted.best_val_loss == history["val_loss"][3]
    assert_close(fitted.net.weights[...], np.full(N, means[-1]), np.float32)


def test_the_network_given_is_not_changed():
    net = make("omp", problem("omp").A)
    fitted = plain_fit(falling, net=net, tau=lambda step: 1.0 + step)
    assert fitted.net is not net
    np.testing.assert_array_equal(net.weights[...], np.ones(N))
    assert_close(net.tau, np.full(K, 0.1), np.float32)
    assert (fitted.net.weights[...] < 1).all()


def test_the_best_epoch_is_kept():
    """Validation is best after the second epoch, where the mean weight passes its target."""
    target = 1 - 2 * STEPS * RATE / N
    fitted = plain_fit(
        falling, val_loss=lambda net, Y, X: (jnp.mean(net.weights[...]) - target) ** 2
    )
    assert fitted.best_epoch == 2
    assert len(fitted.history["val_loss"]) == 4, "training goes on after it"
    assert_close(fitted.net.weights[...], np.full(N, target), np.float32)
    assert_close(fitted.best_val_loss, 0.0, np.float32)


def test_training_that_only_makes_worse_changes_nothing():
    fitted = plain_fit(falling, val_loss=lambda net, Y, X: -jnp.mean(net.weights[...]))
    assert (fitted.best_epoch, fitted.best_val_loss) == (0, -1.0)
    np.testing.assert_array_equal(fitted.net.weights[...], np.ones(N))
    assert fitted.history["val_loss"][-1] > -1


def test_no_epoch_only_validates():
    fitted = plain_fit(falling, num_epochs=0)
    assert [len(column) for column in fitted.history.values()] == [1] * len(KEYS)
    assert (fitted.best_epoch, fitted.best_val_loss) == (0, 1.0)
    np.testing.assert_array_equal(fitted.net.weights[...], np.ones(N))


def test_a_validation_loss_of_nan_is_never_best():
    """NaN before training; then any number is better, and a later NaN is not."""

    def val_loss(net, Y, X):
        mean, step = jnp.mean(net.weights[...]), RATE * STEPS / N
        return jnp.where(jnp.abs(mean - (1 - step)) < step / 2, 5.0, jnp.nan)

    fitted = plain_fit(falling, val_loss=val_loss)
    assert (fitted.best_epoch, fitted.best_val_loss) == (1, 5.0)
    np.testing.assert_array_equal(np.isnan(fitted.history["val_loss"]), [1, 0, 1, 1])


def test_one_step_is_one_step_of_the_optimizer():
    """Descent on the distance to the mean signal, the whole training set at once."""
    fitted = plain_fit(
        lambda net, Y, X: jnp.mean(jnp.sum((X - net.weights[...][None]) ** 2, axis=-1)),
        num=8,
        num_epochs=1,
        batch_size=8,
    )
    gradient = 2 * (np.ones(N) - np.r_[np.mean(np.arange(8)), np.zeros(N - 1)])
    assert_close(fitted.net.weights[...], np.ones(N) - RATE * gradient, np.float32)
    assert_close(fitted.history["gradient_norm"][1], np.linalg.norm(gradient), np.float32)


def first_entry(net, Y, X):
    """Which signals a batch holds: 2 to the power of each one's number, less the weights' part."""
    return jnp.mean(2.0 ** X[:, 0]) + 0 * jnp.mean(net.weights[...])


@pytest.mark.filterwarnings("ignore:fit. the gradient of the weights")  # On purpose.
def test_every_signal_is_used_once_an_epoch():
    fitted = plain_fit(first_entry, num=12, batch_size=4)
    # A sum of distinct powers of two is 2^12 - 1 only if none is missing or there twice.
    np.testing.assert_array_equal(fitted.history["train_loss"][1:] * 12, np.full(3, 2**12 - 1))


@pytest.mark.filterwarnings("ignore:fit. the gradient of the weights")  # On purpose.
def test_leftover_signals_change_from_epoch_to_epoch():
    """Two batches of 4 from 10 signals: two are left out, and not always the same ones."""
    fitted = plain_fit(first_entry, num=10, batch_size=4, num_epochs=8)
    left_out = 2**10 - 1 - fitted.history["train_loss"][1:] * 8
    assert {int(value).bit_count() for value in left_out} == {2}
    assert len(set(left_out)) > 3
    # Validation leaves none out.
    assert_close(fitted.history["val_loss"] * 10, np.full(9, 2.0**10 - 1), np.float32)


def test_fewer_signals_than_a_batch():
    with pytest.warns(RuntimeWarning, match="batch_size: 32 is more than the 5 signals") as said:
        fitted = plain_fit(falling, num=5, val=(np.ones((1, 12), np.complex64), None))
    assert [warning.filename for warning in said] == [__file__]
    assert_close(fitted.history["val_loss"], 1 - RATE / N * np.arange(4), np.float32)  # One step.


@pytest.mark.filterwarnings("ignore:fit. the gradient of the weights")  # On purpose.
def test_the_temperature_follows_its_schedule():
    """Each step sees its own; the network returned has that of the best epoch."""
    schedule = optax.exponential_decay(1.0, transition_steps=1, decay_rate=0.9)
    best = float(schedule(2 * STEPS))
    fitted = plain_fit(
        lambda net, Y, X: jnp.mean(net.tau) + 0 * jnp.mean(net.weights[...]),
        val_loss=lambda net, Y, X: jnp.abs(jnp.mean(net.tau) - best),
        tau=schedule,
    )
    steps = 0.9 ** np.arange(3 * STEPS)
    assert_close(fitted.history["train_loss"][1:], steps.reshape(3, STEPS).mean(axis=1), np.float32)
    assert_close(fitted.history["tau"], 0.9 ** (STEPS * np.arange(4)), np.float32)
    assert fitted.best_epoch == 2
    assert_close(fitted.net.tau, np.full(K, best), np.float32)
    assert fitted.net.tau.dtype == np.float32


def test_without_a_schedule_the_network_keeps_its_temperature():
    taus = np.array([0.4, 0.3, 0.2, 0.1], np.float32)
    fitted = plain_fit(falling, net=make("omp", problem("omp").A, tau=taus))
    np.testing.assert_array_equal(fitted.net.tau, taus)


def test_training_again_compiles_nothing():
    traces = []

    def counted(net, Y, X):
        traces.append(1)
        return falling(net, Y, X)

    plain_fit(counted)
    first = len(traces)
    other = make("omp", problem("omp", 1).A, tau=0.7)
    fitted = plain_fit(counted, net=other, num_epochs=5, key=jax.random.key(9))
    assert fitted.best_epoch == 5
    assert len(traces) == first > 0


def test_modules_as_trees():
    with nnx.set_graph_mode(False):
        fitted = plain_fit(falling, net=make("omp", problem("omp").A))
    assert_close(fitted.net.weights[...], np.full(N, 1 - 3 * STEPS * RATE / N), np.float32)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal_alone(monkeypatch, capsys):
    plain_fit(falling)
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    plain_fit(falling)
    assert "train=0.926" in terminal.getvalue()
    assert "val=0.906" in terminal.getvalue()
    silent = Terminal()
    monkeypatch.setattr(sys, "stderr", silent)
    plain_fit(falling, progress=False)
    assert silent.getvalue() == ""


def test_a_gradient_that_teaches_nothing_is_said_once():
    """At a temperature far below the gaps of the scores the softmax has no slope."""
    net = make("omp", problem("omp").A, tau=1e-9)
    with pytest.warns(RuntimeWarning, match="try a larger tau.*relative_tau") as said:
        plain_fit(losses.reconstruction, net=net)
    assert len(said) == 1
