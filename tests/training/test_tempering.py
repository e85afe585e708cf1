"""Learned weights, raised to the power that predicts hidden measurements best, against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracles
from greedyjax.nets import OMPNet
from greedyjax.problems import gaussian, sparse_in_levels
from greedyjax.training import sparse_bayes, temper_weights
from helpers import assert_close, random_problem, slow_but

M, N, K, NUM, LEVEL = 6, 16, 2, 12, 4
POWERS = (0.0, 0.5, 1.0)


def measurements(dtype):
    """Signals on the first atoms alone."""
    A = random_problem(0, M, N, K, dtype)[0]
    X = np.zeros((NUM, N), dtype)
    X[:, :LEVEL] = [random_problem(i, M, LEVEL, K, dtype)[1] for i in range(NUM)]
    return A, X @ A.T, X


def energies(A):
    """A learner whose weights differ from fold to fold: energies of the correlations."""
    return lambda Y: np.mean(np.abs(np.asarray(Y) @ A.conj()), axis=0) ** 2


def power_of_the_loop(A, Y, learn, folds):
    """The first power, unless one after it predicts the hidden rows of each fold better."""
    errors = np.zeros((folds, len(POWERS)))
    for fold in range(folds):
        inside = np.arange(NUM) % folds == fold
        weights = np.abs(learn(Y[~inside]))
        for i, power in enumerate(POWERS):
            for row in range(M):  # Of so few, one at a time.
                kept = np.arange(M) != row
                for y in Y[inside]:
                    x = oracles.omp(A[kept], y[kept], K, weights**power).x
                    errors[fold, i] += abs(y[row] - A[row] @ x) ** 2
    best = 0
    for i in range(1, len(POWERS)):
        gains = errors[:, best] - errors[:, i]
        clear = 1e-3 * errors[:, best] + 1e-9
        assert (gains > clear).all() or (gains < -clear).any(), "rounding does not decide"
        if (gains > 0).all():
            best = i
    return POWERS[best]


@pytest.mark.parametrize("dtype", slow_but([np.complex128], [np.float64, np.complex128]))
def test_takes_the_power_of_the_loop(dtype):
    A, Y, X = measurements(dtype)
    profile = np.mean(np.abs(X) ** 2, axis=0)
    learners = {
        "energies": energies(A),
        "the truth": lambda Y: -(profile + 1e-3),  # Of either sign.
        "its opposite": lambda Y: 1 / (profile + 1e-3),
    }
    chosen = {}
    for name, learn in learners.items():
        chosen[name] = power_of_the_loop(A, Y, learn, folds=3)
        got = temper_weights(OMPNet(A, sparsity=K), Y, learn, powers=POWERS, folds=3)
        assert_close(got, np.abs(learn(Y)) ** chosen[name])
    assert chosen["its opposite"] == 0
    assert chosen["the truth"] > 0


def test_no_signal_is_predicted_with_weights_that_saw_it():
    A, Y, _ = measurements(np.float64)
    seen = []

    def learn(Y):
        seen.append(np.asarray(Y))
        return np.ones(N)

    temper_weights(OMPNet(A, sparsity=K), Y, learn, powers=POWERS, folds=3)
    folds, last = seen[:-1], seen[-1]
    np.testing.assert_array_equal(last, Y)
    missing = [{i for i in range(NUM) if not (Y[i] == part).all(1).any()} for part in folds]
    assert sorted(len(each) for each in missing) == [4, 4, 4]
    assert set.union(*missing) == set(range(NUM))


bayes = jax.jit(sparse_bayes)


@pytest.mark.parametrize("level_size", [64, 8])
def test_ones_where_there_is_no_structure_and_weights_where_there_is(level_size):
    A, Y, _, support = sparse_in_levels(
        jax.random.key(0), num_signals=24, num_atoms=64, num_measurements=24, sparsity=4,
        level_size=level_size, matrix=gaussian,
    )  # fmt: skip
    weights = temper_weights(OMPNet(A, sparsity=4), Y, lambda Y: bayes(A, Y).weights)
    weights = np.asarray(weights)
    if level_size == 64:
        np.testing.assert_array_equal(weights, np.ones(64))
    else:
        np.testing.assert_array_equal(np.sort(np.argsort(-weights)[:8]), support)


def test_zeros_say_nothing():
    learn = lambda Y: np.arange(N) + 1.0  # noqa: E731
    A = measurements(np.float64)[0]
    got = temper_weights(OMPNet(A, sparsity=K), np.zeros((NUM, M)), learn, powers=POWERS, folds=3)
    np.testing.assert_array_equal(got, np.ones(N))


NET = OMPNet(np.ones((3, 4)), sparsity=1)
Y = np.ones((8, 3))
BAD = {
    "net": ((None, Y, np.ones), {}, TypeError, "net: expected a network"),
    "Y": ((NET, np.ones((8, 2)), np.ones), {}, ValueError, r"Y: expected .*\(8, 3\)"),
    "learn": ((NET, Y, 3), {}, TypeError, "learn: expected a function"),
    "what it gives": ((NET, Y, lambda Y: None), {}, TypeError, r"learn\(Y\): expected"),
    "its shape": ((NET, Y, lambda Y: jnp.ones(3)), {}, ValueError, "weights: expected"),
    "NaN": ((NET, Y, lambda Y: jnp.full(4, jnp.nan)), {}, ValueError, r"learn\(Y\): expected"),
    "one fold": ((NET, Y, np.ones), {"folds": 1}, ValueError, "folds: expected an int between"),
    "folds": ((NET, Y, np.ones), {"folds": 9}, ValueError, "between 2 and 8 signals"),
    "no powers": ((NET, Y, np.ones), {"powers": ()}, TypeError, "powers: expected a list"),
    "a power": ((NET, Y, np.ones), {"powers": (1.0, -1.0)}, ValueError, r"powers\[1\]: expected"),
}


@pytest.mark.wrong_types
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    arguments, settings, error, message = BAD[case]
    with pytest.raises(error, match=message):
        temper_weights(*arguments, **settings)
