"""Several networks, each trained as `fit` would train it alone; and less frequent validation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from greedyjax.nets import OMPNet
from greedyjax.problems import sparse_in_levels
from greedyjax.training import fit, fit_many
from helpers import assert_close

N, M, K, NUM, BATCH = 32, 10, 3, 48, 16
ADAM, KEY = optax.adam(5e-2), jax.random.key(7)
SETTINGS = {"optimizer": ADAM, "batch_size": BATCH, "key": KEY, "num_epochs": 3}


def problem(seed):
    sizes = {"num_atoms": N, "num_measurements": M, "sparsity": K, "level_size": 6}
    return sparse_in_levels(jax.random.key(seed), num_signals=NUM + 16, **sizes)


PROBLEMS = [problem(seed) for seed in range(3)]
TRAIN = [(one.Y[:NUM], one.X[:NUM]) for one in PROBLEMS]
VAL = [(one.Y[NUM:], one.X[NUM:]) for one in PROBLEMS]


def net(i, **settings):
    return OMPNet(PROBLEMS[i].A, sparsity=K, **{"tau": 0.1 * (i + 1), **settings})


def assert_same(many, alone):
    assert many.best_epoch == alone.best_epoch
    assert_close(many.net.weights[...], alone.net.weights[...])
    assert_close(many.best_val_loss, alone.best_val_loss, np.float32)
    for name in ("train_loss", "val_loss", "gradient_norm", "tau"):
        got, expected = many.history[name], alone.history[name]
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
        known = ~np.isnan(got)
        assert_close(got[known], expected[known], np.float32)


@pytest.mark.slow
def test_each_on_its_own_data():
    nets = [net(i) for i in range(3)]
    many = fit_many(nets, TRAIN, VAL, **SETTINGS)
    for i, found in enumerate(many):
        key = jax.random.fold_in(KEY, i)
        assert_same(found, fit(nets[i], TRAIN[i], VAL[i], **{**SETTINGS, "key": key}))
    for one in nets:  # They are copied, not trained in place.
        np.testing.assert_array_equal(one.weights[...], np.ones(N))


@pytest.mark.slow
def test_each_shuffles_within_shards():
    nets, settings = [net(i) for i in range(2)], {**SETTINGS, "shards": 4}
    many = fit_many(nets, TRAIN[:2], VAL[:2], **settings)
    for i, found in enumerate(many):
        settings["key"] = jax.random.fold_in(KEY, i)
        assert_same(found, fit(nets[i], TRAIN[i], VAL[i], **settings))
    with pytest.raises(
        ValueError, match="batch_size: expected a multiple of shards=5 signals, got 16"
    ):
        fit_many(nets, TRAIN[:2], VAL[:2], **{**SETTINGS, "shards": 5})


def test_several_starts_on_one_problem():
    starts = [np.linspace(0.5, 1.5, N), np.ones(N)]
    nets = [net(0, weights=start) for start in starts]
    many = fit_many(nets, TRAIN[0], VAL[0], **SETTINGS)
    for i, found in enumerate(many):
        key = jax.random.fold_in(KEY, i)
        assert_same(found, fit(nets[i], TRAIN[0], VAL[0], **{**SETTINGS, "key": key}))


def test_each_keeps_its_own_best_epoch():
    """Weights fall from 1 by 1/4 an epoch; networks differ in where their validation is lowest."""
    loss = lambda net, Y, X: jnp.sum(net.weights[...])
    val_loss = lambda net, Y, X: jnp.abs(jnp.mean(net.weights[...]) - jnp.mean(X))
    steps = NUM // BATCH
    wanted = [0.75, 0.25, 1.0]
    data = [(TRAIN[i][0], np.full((NUM, N), value)) for i, value in enumerate(wanted)]
    settings = {**SETTINGS, "optimizer": optax.sgd(0.25 / steps)}
    many = fit_many(
        [net(i) for i in range(3)], data, data, loss=loss, val_loss=val_loss, **settings
    )
    assert [found.best_epoch for found in many] == [1, 3, 0]
    for found, value in zip(many, wanted, strict=True):
        assert_close(found.net.weights[...], np.full(N, value), np.float32)


def test_a_bad_step_of_one_leaves_the_others_alone():
    loss = lambda net, Y, X: jnp.mean(net.weights[...]) * jnp.where(X[0, 0] > 0, jnp.nan, 1.0)
    good, bad = np.zeros((NUM, N)), np.ones((NUM, N))
    data = [(TRAIN[0][0], good), (TRAIN[1][0], bad)]
    message = r"fit_many, networks \[1\]: epoch 1 skipped 3 of its 6 steps.*In 3 of them"
    with pytest.warns(RuntimeWarning, match=message) as said:
        many = fit_many([net(0), net(1)], data, data, loss=loss, **SETTINGS)
    assert len(said) == 1
    assert many[0].history["skipped_steps"].sum() == 0
    assert many[1].history["skipped_steps"].sum() == 3 * NUM // BATCH
    assert np.all(many[0].net.weights[...] < 1)
    np.testing.assert_array_equal(many[1].net.weights[...], np.ones(N))


def test_validation_every_third_epoch_and_after_the_last():
    falling = lambda net, Y, X: jnp.mean(net.weights[...])
    settings = {**SETTINGS, "num_epochs": 7, "loss": falling}
    each = fit(net(0), TRAIN[0], VAL[0], **settings)
    seldom = fit(net(0), TRAIN[0], VAL[0], val_every=3, **settings)
    measured = [0, 3, 6, 7]
    expected = np.full(8, np.nan)
    expected[measured] = each.history["val_loss"][measured]
    np.testing.assert_array_equal(seldom.history["val_loss"], expected)
    np.testing.assert_array_equal(seldom.history["train_loss"], each.history["train_loss"])
    assert seldom.best_epoch == 7
    higher = lambda net, Y, X: jnp.abs(jnp.mean(net.weights[...]) - each.history["val_loss"][4])
    # Epoch 4 would be the best, but only 3 and 6 are looked at.
    assert fit(net(0), TRAIN[0], VAL[0], val_loss=higher, **settings).best_epoch == 4
    seldom = fit(net(0), TRAIN[0], VAL[0], val_loss=higher, val_every=3, **settings)
    assert seldom.best_epoch == 3


def test_networks_that_learn_nothing_are_named():
    """As where a temperature is far below the gaps of the scores."""
    nets = [net(0, tau=tau) for tau in (1e-9, 0.1, 1e-9)]
    slope = lambda net: jnp.where(jnp.max(net.tau) > 1e-6, 1.0, 1e-13)
    loss = lambda net, Y, X: slope(net) * jnp.mean(net.weights[...])
    settings = {**SETTINGS, "loss": loss, "num_epochs": 2}
    message = r"fit_many, networks \[0, 2\]: .*below 1e-12 on average in epoch 1.*try a larger tau"
    with pytest.warns(RuntimeWarning, match=message) as said:
        fit_many(nets, TRAIN[0], VAL[0], **settings)
    assert len(said) == 1


BAD = {
    "no networks": (([], TRAIN, VAL), {}, TypeError, "nets: expected a list of networks"),
    "not a list": ((net(0), TRAIN, VAL), {}, TypeError, "nets: expected a list of networks"),
    "too few pairs": (([net(0), net(1)], TRAIN[:1], VAL[:2]), {}, TypeError,
                      r"train: expected a pair \(Y, X\) or a list of 2 pairs, got 1 of them"),
    "one shared": (([net(0)], TRAIN[0], VAL[:1]), {}, ValueError, "val: expected one pair or"),
    "X for one": (([net(0), net(1)], [TRAIN[0], (TRAIN[1][0], None)], VAL[:2]), {}, ValueError,
                  "train: expected X for all networks or for none"),
    "lengths": (([net(0), net(1)], [TRAIN[0], VAL[1]], VAL[:2]), {}, ValueError,
                "train: expected equal shapes"),
    "other settings": (([net(0), OMPNet(PROBLEMS[1].A, sparsity=2)], TRAIN[:2], VAL[:2]), {},
                       ValueError, "nets: expected networks of one kind"),
    "never validates": (([net(0)], TRAIN[:1], VAL[:1]), {"val_every": 0}, ValueError,
                        "val_every: expected an int >= 1, got 0"),
}  # fmt: skip


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"), list(BAD.values()), ids=list(BAD)
)
def test_bad_input(arguments, settings, error, message):
    with pytest.raises(error, match=message):
        fit_many(*arguments, **{**SETTINGS, **settings})
