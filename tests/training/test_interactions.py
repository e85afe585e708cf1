"""Learned interactions: what they find, when they are kept, and no loss without structure."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax import metrics
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.policies import Interactions
from greedyjax.training import _interactions, _judging, count_weights, learn_interactions
from helpers import interrupt_fit

M, HALF, K = 16, 16, 6
N = 2 * HALF
KEY = jax.random.key(0)
QUICK = {"num_epochs": 10, "rank": 16, "batch_size": 64, "learning_rate": 3e-2, "progress": False}


def signals(rng, num, paired):
    """Half as many atoms as K, drawn evenly; each comes with its partner, or others do at random.

    Every atom is as likely as every other, so weights per atom say nothing.
    """
    X = np.zeros((num, N))
    for x in X:
        first = rng.choice(HALF, K // 2, replace=False)
        second = HALF + (first if paired else rng.choice(HALF, K // 2, replace=False))
        x[np.concatenate([first, second])] = rng.standard_normal(K)
    return X


def problem(paired, num=2000, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((M, N)) / np.sqrt(M)
    X, X_test = signals(rng, num, paired), signals(rng, 400, paired)
    return A, (X @ A.T, X), (X_test @ A.T, X_test)


def error(solver, test):
    Y, X = test
    return float(jnp.mean(metrics.nmse(solver(Y), X)))


def net_of(A, tau=0.1):
    return OMPNet(A, sparsity=K, tau=tau)


@pytest.fixture(scope="module")
def learned():
    A, train, test = problem(paired=True)
    net = net_of(A)
    return net, train, test, learn_interactions(net, train, key=KEY, **QUICK)


@pytest.mark.slow
def test_pairs_are_found_and_used(learned):
    net, _, test, found = learned
    assert found.kept.startswith("interactions")
    matrix = np.asarray(found.policy.matrix)
    partners = np.concatenate([np.arange(HALF, N), np.arange(HALF)])
    assert np.mean(np.argmax(matrix, axis=1) == partners) > 0.5  # Chance is one in 32.
    assert error(found.solver, test) < 0.8 * error(net.harden(), test)


@pytest.mark.slow
def test_errors_are_those_of_the_signals_held_out(learned):
    net, (Y, X), _, found = learned
    cut = len(Y) - len(Y) // 10
    held = Y[cut:], X[cut:]
    assert found.errors["w = 1"] == pytest.approx(error(net.harden(), held), rel=1e-6)
    assert min(found.errors.values()) >= 0.7 * found.errors[found.kept]
    # What is kept has seen them by now, so it errs there no more than it did.
    assert 0.5 * found.errors[found.kept] < error(found.solver, held) < found.errors[found.kept]


@pytest.mark.slow
def test_what_is_kept_is_learned_from_all_pairs():
    A, (Y, X), _ = problem(paired=True, num=300)
    split = (Y[:200], X[:200]), (Y[200:], X[200:])
    settings = {**QUICK, "num_epochs": 20}
    found = learn_interactions(net_of(A, tau=0.02), *split, key=KEY, **settings)
    assert found.kept == "interactions, last fit"
    covariance = np.mean([np.outer(x, x) / np.sum(x**2) for x in X], axis=0)
    np.testing.assert_allclose(found.prior.covariance, covariance, atol=1e-6)
    # The policy too: it has seen by now what it was judged by.
    assert error(found.solver, split[1]) < 0.9 * found.errors[found.kept]


def test_the_network_given_is_not_changed(learned):
    assert np.all(learned[0].weights[...] == 1)


@pytest.mark.slow
def test_what_was_learned_before_ctrl_c_is_kept(monkeypatch):
    """The second epoch is interrupted; the first one is what is compared."""
    A, train, _ = problem(paired=True, num=400)
    seen = []
    better = _judging.Judge.better

    def watched(judge, best, name, policy, pairs):
        seen.append((name, float(jnp.max(jnp.abs(policy.calls)))))
        return better(judge, best, name, policy, pairs)

    monkeypatch.setattr(_judging.Judge, "better", watched)
    interrupt_fit(monkeypatch, "train", 2)
    found = learn_interactions(net_of(A), train, key=KEY, **QUICK)
    assert [name for name, _ in seen] == ["w = 1", "weights", "interactions"]
    assert seen[-1][1] > 0.01
    assert found.kept in found.errors


def test_without_structure_nothing_is_lost():
    A, train, test = problem(paired=False)
    net = net_of(A)
    found = learn_interactions(net, train, key=KEY, **QUICK)
    assert error(found.solver, test) <= 1.05 * error(net.harden(), test)


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_from_measurements_alone(paired, tmp_path):
    A, (Y, _), test = problem(paired)
    net = net_of(A, tau=0.02)
    settings = {**QUICK, "num_rounds": 3, "checkpoint_dir": tmp_path}
    found = learn_interactions(net, (Y, None), key=KEY, **settings)
    assert error(found.solver, test) <= 1.05 * error(net.harden(), test)
    expected = float(
        metrics.hidden_measurement_error(A, Y[-256:], lambda A, Y: net.rebuild(A=A).harden()(Y))
    )
    # Of each signal there, and of all together here.
    assert found.errors["w = 1"] == pytest.approx(expected**2, rel=0.5)
    again = learn_interactions(net, (Y, None), key=KEY, **settings)
    assert again.errors == found.errors
    assert sorted(path.name for path in tmp_path.iterdir())[0] == "round-1"


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"net": np.eye(3)}, TypeError, "net: expected a network of greedyjax.nets"),
        ({"train": np.eye(3)}, TypeError, "train: expected a pair (Y, X) or (Y, None)"),
        ({"val": (np.ones((2, M)), None)}, ValueError, "val: expected a pair (Y, X), as train is"),
        ({"num_rounds": 0}, ValueError, "num_rounds: expected an int >= 1"),
        ({"num_epochs": 0}, ValueError, "num_epochs: expected an int >= 1"),
        ({"rank": -1}, ValueError, "rank: expected an int >= 0"),
        ({"key": 3}, TypeError, "key: expected"),
    ],
)
def test_bad_calls_say_what_is_wrong(change, error, message):
    A, train, _ = problem(paired=True, num=4)
    call = {"net": net_of(A), "train": train, "key": KEY, **QUICK, **change}
    with pytest.raises(error, match=re.escape(message)):
        learn_interactions(call.pop("net"), call.pop("train"), **call)


def test_a_network_that_has_a_policy_is_refused_with_a_reason():
    A, train, _ = problem(paired=True, num=4)
    net = IHTNet(A, sparsity=K, num_layers=3, weights=Interactions.initial(KEY, N, rank=2))
    with pytest.raises(ValueError, match="one weight per atom"):
        learn_interactions(net, train, key=KEY, **QUICK)


def test_counting_is_that_of_count_weights():
    A, (Y, _), _ = problem(paired=False, num=300)
    even, Y = Interactions.initial(KEY, N, rank=2), jnp.asarray(Y)
    counted = _interactions._counted(_judging.Judge(net_of(A), Y, None), even, Y)
    np.testing.assert_allclose(jnp.exp(counted.bias), count_weights(A, Y, sparsity=K), rtol=1e-6)


@pytest.mark.slow
def test_errors_without_signals_are_of_rows_that_the_solver_did_not_see():
    """The last fit's settings are chosen by some of the folds, and its errors are of all."""
    A, (Y, _), _ = problem(paired=True, num=40)
    given, policy = jnp.asarray(Y), Interactions.initial(KEY, N, rank=2)
    judge = _judging.Judge(net_of(A), given, None)
    judge.better(None, "w = 1", policy, (given, None))
    covariance = np.asarray(_judging.covariance_of(judge.answers(given, policy)))

    def error(setting):
        """Relative squared errors of the predictions, one row hidden at a time."""
        errors = np.zeros(len(Y))
        for i in range(M):
            seen = np.arange(M) != i
            support = gj.omp_batch(A[seen], Y[:, seen], sparsity=K).support
            for y, chosen, num in zip(Y, np.asarray(support), range(len(Y)), strict=True):
                D = np.full(N, setting[0])
                D[chosen] = 1
                prior = D[:, None] * covariance * D
                S = A[seen] @ prior @ A[seen].T
                S += setting[1] * np.mean(np.diag(S)) * np.eye(M - 1)
                x = prior @ A[seen].T @ np.linalg.solve(S, y[seen])
                errors[num] += (A[i] @ x - y[i]) ** 2 / (y @ y)
        return np.mean(errors)

    found = judge.table["w = 1, last fit"]
    settings = [(e, n) for e in _judging.ELSEWHERE for n in _judging.NOISE]
    assert min(abs(found / error(setting) - 1) for setting in settings) < 1e-6
