"""Derivatives at kinks, and second derivatives.

First derivatives against finite differences, forward against reverse mode, and that all of them are
finite on degenerate input, is in `test_contract.py`, from the functions compiled there.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from algorithms import ALGORITHMS, KINDS, Problem, x_of
from degenerate import N, cases
from helpers import assert_close, jit, slow_but

M, K = 8, 3
# Where the answer has a second derivative: no ties, no zeros.
SMOOTH = ("generic", "no weights", "column norms 0.1 to 10")

soft_algorithms = pytest.mark.parametrize(
    "name", slow_but(KINDS, [name for name, algorithm in ALGORITHMS.items() if not algorithm.hard])
)


@functools.cache
def gradient_and_curvature(name):
    """Batched: the gradient in y, the weights and tau, and its derivative along a direction."""
    cotangent = np.random.default_rng(2).standard_normal(N)

    def loss(A, moving):
        return jnp.vdot(cotangent, x_of(ALGORITHMS[name].solve(A, *moving, K)))

    def both(A, moving, direction):
        return jax.jvp(lambda moving: jax.grad(loss, 1)(A, moving), (moving,), (direction,))

    return jit(jax.vmap(both))


def batch_of(name):
    """Every case at unit scale, at a temperature where it curves."""
    table = {key: case for key, case in cases(np.float64, M).items() if case.units == (1, 1)}
    problems = [
        case._replace(tau=0.3).problem(ALGORITHMS[name], np.float64) for case in table.values()
    ]
    return list(table), Problem(*map(np.stack, zip(*problems, strict=True)))


@soft_algorithms
def test_second_derivatives(name):
    """Forward over reverse: finite everywhere, and the difference quotient of the gradient."""
    names, (A, *moving) = batch_of(name)
    rng = np.random.default_rng(5)
    moving = tuple(moving)
    direction = tuple(rng.standard_normal(each.shape) for each in moving)
    _, curvature = gradient_and_curvature(name)(A, moving, direction)
    for each in curvature:
        bad = ~np.isfinite(each).reshape(len(names), -1).all(axis=1)
        assert not np.array(names)[bad].tolist()

    h = 1e-6

    def gradient_at(step):
        moved = tuple(each + step * along for each, along in zip(moving, direction, strict=True))
        return gradient_and_curvature(name)(A, moved, direction)[0]

    smooth = [names.index(each) for each in SMOOTH]
    for got, above, below in zip(curvature, gradient_at(h), gradient_at(-h), strict=True):
        expected = (np.asarray(above) - np.asarray(below))[smooth] / (2 * h)
        assert np.abs(expected).max() > 0.1
        # Difference quotients of gradients near 10 are good to about 1e-8, and of larger ones, as
        # those of merged soft atoms are, to as much of the largest.
        atol = max(1e-6, 1e-7 * np.abs(expected).max())
        assert_close(np.asarray(got)[smooth], expected, rtol=1e-5, atol=atol)


@functools.cache
def sorting_gradient(k):
    rng = np.random.default_rng(0)
    by_rows, by_mask = rng.standard_normal((k, 6)), rng.standard_normal(6)

    def loss(v):
        rows, mask = gj.softsort(v, tau=0.4, k=k), gj.soft_topk_mask(v, k=k, tau=0.4)
        return jnp.vdot(by_rows, rows), jnp.vdot(by_mask, mask)

    return jit(jax.jacrev(loss))


@pytest.mark.parametrize("scores", [[2.0, 1, 2, 2, 0, -1], [0.0] * 6, [1.0, 3, 3, 0, 1, 3]])
def test_where_scores_tie_the_gradient_is_that_of_the_order_of_hardsort(scores):
    """The one-sided derivative for scores that break the tie towards the lowest index."""
    scores = np.array(scores)
    broken = scores - 1e-9 * np.arange(6)
    for at_tie, nearby in zip(
        sorting_gradient(3)(scores), sorting_gradient(3)(broken), strict=True
    ):
        assert np.linalg.norm(at_tie) > 0.1
        assert_close(at_tie, nearby, rtol=1e-6, atol=1e-6)  # They are 1e-9 apart, over tau.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tied_scores_are_flat_where_the_temperature_is_within_rounding(dtype):
    """Else a slope of 1 / tau at each of many steps would overflow."""
    scores = np.array([2.0, 1, 2, 2, 0, -1], dtype)

    @jit
    def slope(tau):
        mask = lambda v: jnp.vdot(jnp.arange(6, dtype=dtype), gj.soft_topk_mask(v, k=2, tau=tau))
        return jnp.abs(jax.grad(mask)(scores)).max()

    eps = np.finfo(dtype).eps
    assert slope(dtype(eps)) == 0
    assert slope(dtype(1e3 * eps)) > 1e-2 / (1e3 * eps)


def test_weights_and_columns_of_zero_have_gradient_zero():
    """|w| has subgradient 0 at 0, and a column of zeros stays out whichever way it moves."""
    A = np.random.default_rng(0).standard_normal((4, 6))
    A[:, 2] = 0
    y, w = A[:, 0] + 0.5 * A[:, 1], np.array([1.0, 1, 1, 0, 1, 1])

    @jit
    def gradients(A, w):
        solve = lambda A, w: gj.soft_omp(A, y, sparsity=2, tau=0.3, weights=w).x
        return jax.grad(lambda A, w: jnp.sum(jnp.abs(solve(A, w)) ** 2), (0, 1))(A, w)

    for by_A, by_w in (gradients(A, w), gradients((1 + 1j) * A, w)):
        assert by_w[3] == 0
        assert np.all(by_A[:, 2] == 0)
        assert np.abs(by_w).max() > 1e-3
