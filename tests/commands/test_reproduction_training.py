"""`greedyjax reproduce fig3` trains with the paper's optimizer, step by step; tiny real runs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from greedyjax.commands.reproduction import _fig3
from helpers import assert_close, configured

# Half a minute of compiling, and nothing that a solver's own tests would not show first.
pytestmark = pytest.mark.slow


@pytest.fixture
def optimizer(monkeypatch):
    """The paper's optimizer with its rate halved each 2 epochs of 3 steps."""
    for name, value in {"HALVED_EVERY": 2, "NUM_TRAIN": 26, "BATCH_SIZE": 8}.items():
        monkeypatch.setattr(_fig3, name, value)
    _fig3._paper_optimizer.cache_clear()
    yield _fig3._paper_optimizer()
    _fig3._paper_optimizer.cache_clear()


def test_paper_optimizer(optimizer):
    """PyTorch's RMSprop: v = 0.99 v + 0.01 g^2, p -= rate g / (sqrt(v) + 1e-8)."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((20, 5)) * 10.0 ** rng.uniform(-2, 1, (20, 1))
    gradients[:, 4] = 1e-9  # Next to which 1e-8 is not small, where the square root is taken.
    norms = np.linalg.norm(gradients, axis=1)
    assert (norms > 1).any()
    assert (norms < 1).any()

    p, v = rng.standard_normal(5), np.zeros(5)
    params = jnp.asarray(p)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for step, gradient in enumerate(gradients):
        updates, state = update(jnp.asarray(gradient), state, params)
        params = params + updates
        g = gradient / max(np.linalg.norm(gradient), 1.0)
        v = 0.99 * v + 0.01 * g**2
        rate = 1e-2 * 0.5 ** (step // 6)
        p = p - rate * g / (np.sqrt(v) + 1e-8)
        assert_close(params, p, rtol=1e-6)  # The rate is computed in single precision.


def test_rate_of_the_paper():
    """1e-2, halved after 500 epochs of 16 steps."""
    _fig3._paper_optimizer.cache_clear()
    optimizer, ones = _fig3._paper_optimizer(), jnp.ones(1)
    state = optimizer.init(ones)

    def rate(step):
        # With v = 1 and g = 1 the update is the rate itself.
        late = optax.tree.set(state, nu=ones, count=jnp.asarray(step, jnp.int32))
        return -float(optimizer.update(ones, late, ones)[0][0])

    rates = [rate(step) for step in (0, 7999, 8000, 15999, 16000)]
    np.testing.assert_allclose(rates, [1e-2, 1e-2, 5e-3, 5e-3, 2.5e-3], rtol=1e-6)


TINY = {
    "NUM_TRAIN": 32,
    "NUM_VAL": 8,
    "NUM_TEST": 40,
    "PAPER_EPOCHS": 5,
    "HALVED_EVERY": 1,
    "OUR_EPOCHS": 30,
    "BATCH_SIZE": 8,
    "CHECKED_EVERY": 2,
}


@pytest.mark.parametrize("algorithm", ["omp", "iht"])
def test_tiny_run(algorithm, monkeypatch, request):
    for name, value in TINY.items():
        monkeypatch.setattr(_fig3, name, value)
    _fig3._paper_optimizer.cache_clear()
    request.addfinalizer(_fig3._paper_optimizer.cache_clear)
    with configured(enable_x64=False):
        result = _fig3.fig3(algorithm, [0, 4])
        drawn = [_fig3.draw(algorithm, seed, 40) for seed in (0, 4)]
    rows = {(row["seed"], row["system"], row["method"]): row for row in result["rows"]}
    num_methods = 15 + 2 * (algorithm == "iht")
    assert len(rows) == len(result["rows"]) == 2 * num_methods
    for i, seed in enumerate((0, 4)):
        training = result["training"][i]
        assert training["epochs"] == [0, 2, 4, 5]
        assert training["best_val_loss"] == min(training["val_loss"])
        # What was validated is the network of the best epoch.
        network = rows[seed, "complex", "network, the paper's training"]["val"]["mse"]
        assert network == pytest.approx(training["best_val_loss"], rel=1e-3)
        untrained = rows[seed, "complex", "soft, w = 1"]["val"]["mse"]
        assert untrained == pytest.approx(training["val_loss"][0], rel=1e-3)
        for system in ("complex", "stacked"):
            ours = rows[seed, system, "hard, selection loss"]["test"]["mse"]
            assert ours < rows[seed, system, "hard, w = 1"]["test"]["mse"]
            # 32 signals do not show every atom of the hidden set.
            assert result["hidden_set_found"][f"selection loss, {system}"][i] > 14

        # Disjoint: no signal is in two sets, or twice in one.
        _, train, val, test, support = drawn[i]
        X = np.concatenate([train[1], val[1], test[1]])
        assert [len(data[1]) for data in (train, val, test)] == [32, 8, 40]
        assert len({x.tobytes() for x in X}) == 80
        assert set(np.flatnonzero(np.any(X, axis=0))) <= set(support.tolist())
    ours = [result["weights"][f"selection loss, {system}"] for system in ("complex", "stacked")]
    assert len({tuple(weights) for both in ours for weights in both}) == 4
