"""The functions of benchmarks/generalisation.py."""

import numpy as np
import pytest

from helpers import benchmark


@pytest.fixture(scope="module")
def script():
    return benchmark("generalisation")


def test_the_hidden_set_drifts_one_member_at_a_time(script):
    A, Y, X, supports = map(np.asarray, script.drifting(0, 128))
    assert A.shape == (40, 256)
    sets = [set(support) for support in supports]
    changes = [len(new - old) for old, new in zip(sets[:-1], sets[1:], strict=True)]
    at = 1 + np.flatnonzero(changes)
    np.testing.assert_array_equal(at, np.arange(script.NUM_TRAIN + 128, len(Y), 128))
    assert max(changes) == 1
    assert all(len(each) == 20 for each in sets)
    assert all(set(np.flatnonzero(x)) <= members for x, members in zip(X, sets, strict=True))
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, rtol=1e-6)
    noise = np.linalg.norm(Y - X @ A.T, axis=1)
    np.testing.assert_allclose(np.sqrt(np.mean(noise**2)), 1e-3, rtol=0.05)


def test_settings_change_everything_but_the_hidden_set(script):
    """What part ``shift`` rests on: weights of one setting mean something at another."""
    A, Y, X, support = script.levels_problem(3, num_signals=1, **script.CENTRE)
    settings = {"num_measurements": 12, "noise": 0.1, "sparsity": 4}
    A_other, Y_other, X_other, support_other = script.levels_problem(3, num_signals=1, **settings)
    np.testing.assert_array_equal(support, support_other)
    assert (A.shape, A_other.shape) == ((40, 256), (24, 256))
    assert (np.count_nonzero(X), np.count_nonzero(X_other)) == (10, 4)
    noises = [np.linalg.norm(Y - X @ A.T), np.linalg.norm(Y_other - X_other @ A_other.T)]
    np.testing.assert_allclose(noises, (1e-3, 0.1), rtol=0.5)  # Norms of one draw each.


@pytest.mark.slow
def test_weights_learned_at_the_centre_serve_elsewhere(script):
    script.NUM_TRAIN = script.NUM_TEST = 128
    rows = script.shift(range(1), quick=True)
    found = {
        (row["num_measurements"], row["solver"], row["weights"]): row["test_mse"] for row in rows
    }
    assert len(found) == len(rows) == 2 * 2 * 6
    for solver in ("OMP", "subspace pursuit"):
        plain, learned = (found[10, solver, name] for name in ("w = 1", "centre, true signals"))
        assert learned < plain / 3, solver
    # By plain NumPy: least squares on the atoms that the oracle leaves, where all of them fit.
    A, Y, X, support = map(np.asarray, script.levels_problem(0, num_signals=256, **script.CENTRE))
    exact = np.linalg.lstsq(A[:, support], Y[128:].T, rcond=None)[0].T
    error = np.mean(np.sum((exact - X[128:][:, support]) ** 2, axis=1))
    assert found[20, "subspace pursuit", "oracle"] < error
