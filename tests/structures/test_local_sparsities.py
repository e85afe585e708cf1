"""Local sparsities from signals are those that keep the most energy of the signals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from greedyjax.structures import local_sparsities

N = 18
IDS = np.array([0, 2, 1, 1, 2, 0, 2, 1, 2, 0, 2, 1, 2, 0, 2, 1, 2, 2])  # Of 4, 5 and 9 atoms.
LOCAL, K = (1, 2, 2), 5


def test_local_sparsities_keep_the_most_energy_of_all_with_that_sum():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, N)) * rng.exponential(1, N) ** 2

    def kept(counts):
        total = 0.0
        for x in X:
            parts = zip(counts, range(3), strict=True)
            best = [np.sort(x[level == IDS] ** 2)[::-1][:count].sum() for count, level in parts]
            total += sum(best) / np.sum(x**2)
        return total

    sizes = [range(np.sum(level == IDS) + 1) for level in range(3)]
    for sparsity in (1, 4, 9, N):
        every = [c for c in itertools.product(*sizes) if sum(c) == sparsity]
        assert local_sparsities(X, IDS, sparsity=sparsity) == max(every, key=kept)


def test_local_sparsities_are_those_that_all_signals_share():
    rng = np.random.default_rng(1)
    X = np.zeros((20, N))
    for x in X:
        for level, count in enumerate(LOCAL):
            x[rng.choice(np.flatnonzero(level == IDS), count, replace=False)] = rng.normal(5, 1)
    for signals in (X, 1e200 * X, 1j * X, np.stack([X, 2 * X], axis=2), np.vstack([X, 0 * X])):
        assert local_sparsities(signals, IDS, sparsity=K) == LOCAL
    assert local_sparsities(0 * X, IDS, sparsity=K) == (4, 1, 0)  # The lowest levels first.
    assert local_sparsities(X.astype(jnp.bfloat16), IDS, sparsity=K) == LOCAL


def test_signals_that_are_known_are_counted_where_a_function_is_traced():
    X = np.zeros((2, N))
    X[:, [0, 2, 3, 1, 4]] = 1
    found = []
    jax.jit(lambda y: found.append(local_sparsities(X, IDS, sparsity=K)) or y)(1.0)
    assert found == [LOCAL]


@pytest.mark.wrong_types
def test_bad_signals_are_named():
    X = np.ones((2, N))
    bad = {
        "X: expected an array with 2 axes": (X[0], IDS, 2),
        "X: expected finite numbers": (X * np.nan, IDS, 2),
        r"ids: expected shape \(18,\)": (X, IDS[:3], 2),
        "sparsity: expected an int between 1 and 18": (X, IDS, 19),
    }
    for message, (signals, ids, sparsity) in bad.items():
        with pytest.raises(ValueError, match=message):
            local_sparsities(signals, ids, sparsity=sparsity)
    with pytest.raises(TypeError, match="X: expected signals that are not traced"):
        jax.jit(lambda X: local_sparsities(X, IDS, sparsity=2))(X)
