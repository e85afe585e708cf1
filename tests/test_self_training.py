"""The functions of benchmarks/self_training.py, at sizes that take seconds."""

from functools import partial

import numpy as np
import pytest

from greedyjax import nets
from greedyjax.training import losses
from helpers import benchmark

pytestmark = pytest.mark.slow  # It compiles every method.


@pytest.fixture(scope="module")
def script():
    script = benchmark("self_training")
    script.N, script.S, script.NUM_TEST, script.VECTORS, script.STEPS = 32, 2, 40, (24, 48), 8
    script.OMP = partial(nets.OMPNet, sparsity=2)
    return script


def test_few_vectors_are_the_first_of_many(script):
    few, many = script.gaussian(0, 8, 4, 24), script.gaussian(0, 8, 4, 48)
    np.testing.assert_array_equal(few.Y, many.Y[:24])
    np.testing.assert_array_equal(few.test[1], many.test[1])
    assert few.Y.shape == (24, 8)
    assert int(few.hidden.sum()) == 4
    X = np.asarray(few.test[1])
    assert ((X != 0).sum(1) == 2).all()
    assert (X[:, ~np.asarray(few.hidden)] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(few.test[0], X @ np.asarray(few.A).T, atol=2e-3)


def test_rows_say_what_each_method_gives(script):
    rows = script.run_phase(script.METHODS, (8, 12), (4,), (24,), (0,))
    methods = ("w = 1", "oracle", "counting", "self-selection", "sparse Bayes")
    methods += ("sparse Bayes, tempered", "sparse Bayes, then self-selection")
    assert [row["method"] for row in rows] == [*methods, *methods]
    problem = script.gaussian(0, 8, 4, 24)
    for title, weights in (
        ("w = 1", np.ones(32, np.float32)),
        ("sparse Bayes", script.bayes(problem.A, problem.Y)),
    ):
        row = next(row for row in rows if (row["m"], row["method"]) == (8, title))
        error = losses.hard_reconstruction(script.OMP(problem.A, weights=weights), *problem.test)
        np.testing.assert_allclose(row["mse"], float(error), rtol=1e-4)
        largest = np.argsort(-np.asarray(weights), kind="stable")[:4]
        assert row["hidden_set_found"] == np.asarray(problem.hidden)[largest].mean()
    assert "oracle" in script.summary(rows, "size", 4)
    changed = [{**rows[0], "mse": 7.0}]
    again = script.merged(rows, changed)
    assert again == changed + rows[1:]
