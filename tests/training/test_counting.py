"""Weights by iterated counting, against a NumPy loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
import learning_oracles
from greedyjax.problems import sparse_in_levels
from greedyjax.training import count_weights, sparse_bayes
from helpers import assert_close, random_problem, slow_but

M, N, K, NUM = 10, 16, 3, 7


def measurements(dtype):
    A = random_problem(0, M, N, K, dtype)[0]
    Y = np.stack([random_problem(1 + i, M, N, K, dtype, noise=0.2)[2] for i in range(NUM)])
    return A, Y * np.linspace(0.1, 10, NUM)[:, None]  # Fractions: large signals count no more.


@functools.partial(jax.jit, static_argnames=("num_rounds", "exponent", "floor", "batch_size"))
def compiled(A, Y, **settings):
    return count_weights(A, Y, sparsity=K, **settings)


SETTINGS = [
    {},
    {"num_rounds": 1},
    {"num_rounds": 3, "exponent": 0.5, "floor": 1e-2},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", slow_but([np.complex128], [np.float64, np.complex128]))
def test_equals_the_loop(dtype, settings):
    A, Y = measurements(dtype)
    got = compiled(A, Y, **settings)
    expected = learning_oracles.count_weights(A, Y, K, **settings)
    assert got.dtype == np.float64
    assert_close(got, expected)
    assert expected.std() > 0.05, "the weights are not all alike"


def test_the_batch_size_does_not_matter():
    A, Y = measurements(np.float64)
    got = compiled(A, Y, batch_size=3)  # Does not divide the seven signals.
    assert_close(got, learning_oracles.count_weights(A, Y, K))


def test_no_measurement_leaves_equal_weights():
    A, Y = measurements(np.float64)
    assert_close(compiled(A, 0 * Y, num_rounds=1), np.full(N, 1e-4**0.25))


@pytest.mark.parametrize("seed", range(4))
def test_finds_a_hidden_set_from_measurements_alone(seed):
    problem = sparse_in_levels(
        jax.random.key(seed),
        num_signals=96,
        num_atoms=64,
        num_measurements=16,
        sparsity=4,
        level_size=8,
    )
    weights = count(problem.A, problem.Y)
    assert weights.dtype == np.float32
    assert sorted(np.argsort(weights)[-8:]) == problem.support.tolist()
    inside = np.isin(np.arange(64), problem.support)
    assert weights[inside].min() > 2 * weights[~inside].max()


count = jax.jit(lambda A, Y: count_weights(A, Y, sparsity=4))

A, Y = measurements(np.float64)
BAD = [
    ({"A": A[0]}, ValueError, "A: expected an array with 2 axes"),
    ({"A": A.astype(int)}, TypeError, "A: expected floating"),
    ({"Y": Y[0]}, ValueError, "Y: expected an array with 2 axes"),
    ({"Y": Y[:, 1:]}, ValueError, r"Y: expected shape \(num, 10\), got shape \(7, 9\)"),
    ({"Y": Y[:0]}, ValueError, "Y: expected shape"),
    ({"Y": np.nan * Y}, ValueError, "Y: expected finite"),
    ({"sparsity": 0}, ValueError, "sparsity: expected an int between 1 and 10"),
    ({"sparsity": M + 1}, ValueError, "sparsity: expected an int between 1 and 10"),
    ({"sparsity": 2.0}, TypeError, "sparsity: expected an int"),
    ({"num_rounds": 0}, ValueError, "num_rounds: expected an int >= 1"),
    ({"batch_size": 0}, ValueError, "batch_size: expected an int >= 1"),
    ({"exponent": 0.0}, ValueError, "exponent: expected a positive"),
    ({"floor": -1.0}, ValueError, "floor: expected a positive"),
    ({"floor": jnp.ones(2)}, ValueError, "floor: expected a scalar"),
]


@pytest.mark.wrong_types
@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_arguments_are_named(change, error, message):
    arguments = {"A": A, "Y": Y, "sparsity": K, **change}
    with pytest.raises(error, match=f"^{message}"):
        count_weights(arguments.pop("A"), arguments.pop("Y"), **arguments)


@pytest.mark.wrong_types
def test_an_operator_is_refused_with_the_way_out():
    A = np.eye(3)
    operator = gj.operators.MatrixFree(A.dot, A.dot, shape=(3, 3), dtype=A.dtype)
    expected = r"A: expected an array, got MatrixFree, an operator; jax.vmap\(A.matvec\)"
    with pytest.raises(TypeError, match=expected):
        count_weights(operator, np.ones((2, 3)), sparsity=1)
    with pytest.raises(TypeError, match=expected):
        sparse_bayes(operator, np.ones((2, 3)))
    with pytest.raises(TypeError, match=expected):
        gj.whiten(operator, np.ones((2, 3)))
