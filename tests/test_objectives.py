"""The functions of benchmarks/objectives.py, on a problem that compiles in seconds."""

from functools import partial

import jax
import numpy as np
import pytest

from greedyjax import nets, problems
from greedyjax.training import losses
from helpers import benchmark


@pytest.fixture(scope="module")
def objectives():
    """The script, with a small problem in place of its own."""
    script = benchmark("objectives")
    sizes = {"num_atoms": 32, "sparsity": 2, "level_size": 4, "num_measurements": 8}

    def draw(seed, num_train):
        drawn = problems.sparse_in_levels(jax.random.key(seed), num_signals=2 * 64 + 64, **sizes)
        sets = [(drawn.Y[i : i + 64], drawn.X[i : i + 64]) for i in (0, 64, 128)]
        oracle = np.isin(np.arange(32), drawn.support).astype(np.float32)
        return script.Drawn(drawn.A, *sets, oracle, np.asarray(drawn.support))

    net = partial(nets.OMPNet, sparsity=2)
    script.PROBLEMS = {"small": script.Problem(draw, net, 2, 2)}
    return script


@pytest.mark.slow  # It compiles two trainings.
def test_rows_say_what_each_objective_gives(objectives):
    titles = ("self-selection, warm", "sparse Bayes")
    rows, compile_s = objectives.run_problem("small", titles, seeds=2)
    assert [(row["objective"], row["seed"]) for row in rows] == [
        *[(title, seed) for seed in (0, 1) for title in ("w = 1", "oracle")],
        *[(title, seed) for title in titles for seed in (0, 1)],
    ]
    assert set(compile_s) == set(titles)
    drawn = objectives.PROBLEMS["small"].draw(0, 64)
    weights = objectives.training.sparse_bayes(drawn.A, drawn.train[0]).weights
    net = objectives.PROBLEMS["small"].net(drawn.A, weights=weights)
    bayes = next(row for row in rows if row["objective"] == "sparse Bayes" and row["seed"] == 0)
    np.testing.assert_allclose(
        bayes["test_mse"], float(losses.hard_reconstruction(net, *drawn.test)), rtol=1e-4
    )
    for row in rows[4:]:
        reached = row["epochs_to_oracle"]
        assert reached is None or 0 <= reached <= 2
        assert (reached is None) == (row["seconds_to_oracle"] is None)
        assert 0 <= row["hidden_set_found"] <= 4
        assert row["seconds"] > 0
    assert "of 2" in objectives.summary(rows, "small", "sparse Bayes")


def test_every_objective_names_a_way(objectives):
    for title, objective in objectives.OBJECTIVES.items():
        if not callable(objective.way):
            assert sum(stage.share for stage in objective.way) == 1, title
    assert set(objectives.QUICK) <= set(objectives.OBJECTIVES)
