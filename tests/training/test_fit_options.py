"""The options of `fit`: any optimizer, a callback, patience, and no validation set.

No solver runs: losses are functions of the weights and of the signals alone, so that every number
is known in advance, from SciPy or from the history.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from greedyjax.nets import OMPNet
from greedyjax.training import fit, fit_many
from helpers import assert_close, interrupt_fit

M, N, NUM = 6, 8, 40
RNG = np.random.default_rng(0)
A, Y, X = (RNG.standard_normal(shape) for shape in ((M, N), (NUM, M), (NUM, N)))
KEY, SGD = jax.random.key(0), optax.sgd(1.0)


def net():
    return OMPNet(A, sparsity=2)


def number(net, Y, X):
    """Weights begin at 1 and fall by 1 a step of `SGD`: the number of steps done, negative."""
    return jnp.sum(net.weights[...])


@functools.cache
def curve(values):
    """A validation loss with these values, as bytes, after as many epochs of one step each."""
    values = np.frombuffer(values)
    return lambda net, Y, X: jnp.asarray(values)[jnp.round(1 - net.weights[...][0]).astype(int)]


def run(values, patience=None, *, batch_size=NUM, num_epochs=None, **settings):
    num_epochs = len(values) - 1 if num_epochs is None else num_epochs
    return fit(
        net(), (Y, X), (Y, X), loss=number, val_loss=curve(np.asarray(values, float).tobytes()),
        optimizer=SGD, key=KEY, num_epochs=num_epochs, batch_size=batch_size, patience=patience,
        **settings,
    )  # fmt: skip


# --- Optimizers ----------------------------------------------------------------------------------


def logistic(w, X, log1p_exp, total):
    """Convex in the weights; the labels are the signs of the signals' sum."""
    signs = 2 * (X.sum(axis=1) > 0) - 1
    return total(log1p_exp(-signs * (X @ w))) / len(X) + 0.05 * total(w**2)


def logistic_loss(net, Y, X):
    return logistic(net.weights[...], X, jax.nn.softplus, jnp.sum)


def fit_logistic(optimizer, num_epochs=20, batch_size=NUM):
    settings = {"num_epochs": num_epochs, "batch_size": batch_size, "key": KEY}
    return fit(net(), (Y, X), (Y, X), loss=logistic_loss, optimizer=optimizer, **settings)


def test_a_line_search_reaches_the_minimum_of_scipy():
    """And stays there, without a warning that its gradient vanishes."""
    expected = scipy.optimize.minimize(
        lambda w: logistic(w, X, lambda t: np.logaddexp(0, t), np.sum), np.ones(N), tol=1e-12
    )
    fitted = fit_logistic(optax.lbfgs())
    assert_close(fitted.best_val_loss, expected.fun, rtol=1e-6)
    assert_close(fitted.net.weights[...], expected.x, atol=1e-4)


@pytest.mark.slow
def test_several_line_searches_at_once():
    """Each takes the steps that it would alone, though all search together."""
    starts = [OMPNet(A, sparsity=2, weights=start) for start in (np.ones(N), np.full(N, 0.3))]
    search = optax.chain(optax.sgd(9.0), optax.scale_by_backtracking_linesearch(20))
    settings = {"optimizer": search, "num_epochs": 4, "batch_size": NUM, "key": KEY}
    many = fit_many(starts, (Y, X), (Y, X), loss=logistic_loss, **settings)
    for start, found in zip(starts, many, strict=True):
        alone = fit(start, (Y, X), (Y, X), loss=logistic_loss, **settings)
        assert_close(found.net.weights[...], alone.net.weights[...], rtol=1e-9, atol=1e-9)


def test_a_step_by_the_value_of_the_loss():
    """Polyak's: the loss over the squared norm of its gradient, at most the rate given."""
    w = np.ones(N)
    for _ in range(3):
        value, gradient = jax.value_and_grad(lambda w: logistic(w, X, jax.nn.softplus, jnp.sum))(w)
        w = w - min(1.0, float(value / jnp.sum(gradient**2))) * np.asarray(gradient)
    assert_close(fit_logistic(optax.polyak_sgd(1.0), num_epochs=3).net.weights[...], w)


def test_accumulated_gradients_step_once_in_so_many():
    """Two halves of the data, then one step by the mean of their gradients: the whole data's."""
    whole = fit_logistic(optax.sgd(0.1), num_epochs=3)
    counts, traces, every_second = [], [], optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2)

    def loss(net, Y, X):
        traces.append(1)
        return logistic_loss(net, Y, X)

    for _ in range(2):
        halves = fit(
            net(), (Y, X), (Y, X), loss=loss, optimizer=every_second, key=KEY, num_epochs=3,
            batch_size=NUM // 2,
        )  # fmt: skip
        # Optax divides by the number of batches in single precision.
        assert_close(halves.net.weights[...], whole.net.weights[...], rtol=1e-7)
        counts.append(len(traces))
    assert counts[0] == counts[1] > 0, "training again compiles nothing"


# --- Callback ------------------------------------------------------------------------------------


def test_the_callback_sees_what_history_holds():
    seen = []
    fitted = run([3, 1, 2, 5], callback=lambda *args: seen.append(args), val_every=2)
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3]
    for name, column in fitted.history.items():
        np.testing.assert_array_equal([metrics[name] for _, metrics in seen], column)
    assert set(seen[0][1]) == set(fitted.history)


@pytest.mark.parametrize("num_nets", [1, 2])
def test_the_callback_of_several_networks_sees_each(num_nets):
    seen = []
    many = fit_many(
        [net()] * num_nets, (Y, X), (Y, X), loss=number, optimizer=SGD, key=KEY, num_epochs=2,
        batch_size=NUM, callback=lambda epoch, metrics: seen.append(metrics["val_loss"]),
    )  # fmt: skip
    expected = [fitted.history["val_loss"] for fitted in many]
    np.testing.assert_array_equal(np.stack(seen, axis=1), expected)


def test_an_error_of_the_callback_is_the_users(tmp_path):
    """It ends the training; a checkpoint of that epoch is there already."""

    def callback(epoch, metrics):
        if epoch == 2:
            raise RuntimeError("enough of that")

    with pytest.raises(RuntimeError, match="enough of that"):
        run([5, 4, 3, 2], callback=callback, checkpoint_dir=tmp_path)
    resumed = []
    run([5, 4, 3, 2], callback=lambda epoch, _: resumed.append(epoch), checkpoint_dir=tmp_path)
    assert resumed == [3]


# --- Patience ------------------------------------------------------------------------------------


def ends_at(val_loss, patience, measured):
    """The epoch after which a reader of the whole history would have stopped."""
    for epoch in measured:
        seen = np.where(np.isnan(val_loss[: epoch + 1]), np.inf, val_loss[: epoch + 1])
        if epoch - np.argmin(seen) >= patience:
            return epoch
    return len(val_loss) - 1


CURVES = {
    "falls": 9.0 - np.arange(10),
    "flat": np.ones(10),
    "falls, then rises": np.array([5, 3, 2, 4, 5, 6, 7, 8, 9, 10.0]),
    "a second fall": np.array([5, 4, 6, 6, 3, 4, 4, 4, 2, 4.0]),
    "no number at first": np.array([np.nan, np.nan, 3, 2, np.nan, 4, 4, 4, 4, 4]),
    "never a number": np.full(10, np.nan),
}


@pytest.mark.parametrize("values", CURVES.values(), ids=CURVES)
def test_patience_ends_where_the_history_says(values):
    for patience, val_every in ((1, 1), (3, 1), (4, 1), (3, 2), (20, 1)):
        end = ends_at(values, patience, range(0, 10, val_every))
        whole = run(values, val_every=val_every)
        fitted = run(values, patience, val_every=val_every)
        assert len(fitted.history["val_loss"]) == end + 1
        for name in set(fitted.history) - {"seconds"}:
            # The last epoch of the whole training validates, whatever its number.
            expected = whole.history[name][: min(end, 8) + 1]
            np.testing.assert_array_equal(fitted.history[name][: min(end, 8) + 1], expected)
        assert_close(fitted.net.weights[...], np.full(N, 1.0 - fitted.best_epoch))


def test_patience_survives_a_resume(tmp_path, monkeypatch, capsys):
    values = CURVES["a second fall"]
    whole = run(values, 3)
    assert len(whole.history["val_loss"]) == ends_at(values, 3, range(10)) + 1 == 8
    interrupt_fit(monkeypatch, "train", 7)  # Two epochs after the second fall.
    assert len(run(values, 3, checkpoint_dir=tmp_path).history["val_loss"]) == 7
    assert "interrupted after 6 of 9 epochs" in capsys.readouterr().err
    monkeypatch.undo()
    for _ in range(2):  # The second time nothing is left to do.
        resumed = run(values, 3, checkpoint_dir=tmp_path)
        np.testing.assert_array_equal(resumed.history["val_loss"], whole.history["val_loss"])
        assert resumed.best_epoch == whole.best_epoch == 4
    longer = run(values, 4, checkpoint_dir=tmp_path)
    np.testing.assert_array_equal(longer.history["val_loss"], values)
    assert capsys.readouterr().err == ""


def test_the_last_of_several_networks_ends_it():
    wanted = [1.0, -3.0]  # The first is best at its start, the second after four epochs.
    far = lambda net, Y, X: jnp.abs(net.weights[...][0] - X[0, 0])
    data = [(Y, np.full((NUM, N), value)) for value in wanted]
    many = fit_many(
        [net(), net()], data, data, loss=number, val_loss=far, optimizer=SGD, key=KEY,
        num_epochs=20, batch_size=NUM, patience=2,
    )  # fmt: skip
    assert [found.best_epoch for found in many] == [0, 4]
    assert {len(found.history["val_loss"]) for found in many} == {7}


# --- Validation that is left out -----------------------------------------------------------------


def sum_of_numbers(net, Y, X):
    """Which signals there are: each has the number 2 to the power of its place."""
    return jnp.mean(X[:, 0]) + 0 * net.weights[...][0]


@pytest.mark.filterwarnings("ignore:fit. the gradient of the weights")  # On purpose.
@pytest.mark.parametrize(("num", "held_out"), [(2, 1), (5, 1), (19, 1), (20, 2), (39, 3)])
def test_the_last_tenth_validates(num, held_out):
    numbers = np.zeros((num, N))
    numbers[:, 0] = 2.0 ** np.arange(num)
    settings = {"optimizer": SGD, "num_epochs": 1, "key": KEY, "loss": sum_of_numbers}
    pair, batch = (Y[:num], numbers), num - held_out
    fitted = fit(net(), pair, batch_size=batch, **settings)
    assert_close(fitted.history["train_loss"][1] * batch, 2.0**batch - 1)
    assert_close(fitted.history["val_loss"] * held_out, np.full(2, 2.0**num - 2.0**batch))


def test_several_networks_hold_out_a_tenth_each():
    first, second = (Y[:20], X[:20]), (Y[20:], X[20:])
    settings = {"optimizer": SGD, "num_epochs": 1, "key": KEY, "batch_size": 9, "loss": number}
    error = lambda net, Y, X: jnp.mean(X) + jnp.mean(Y)
    each = fit_many([net(), net()], [first, second], val_loss=error, **settings)
    shared = fit_many([net(), net()], first, val_loss=error, **settings)
    means = [X[part].mean() + Y[part].mean() for part in np.s_[18:20, 38:40]]
    assert_close(np.array([found.best_val_loss for found in each]), np.array(means))
    assert_close(np.array([found.best_val_loss for found in shared]), np.full(2, means[0]))
