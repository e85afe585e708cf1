"""The last fit by a Gaussian prior: its formula, its limits, and the posterior mean."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.nets import OMPNet
from greedyjax.pursuit import IHT
from greedyjax.structures import SharedSupport
from helpers import EACH_DTYPE, assert_close, tolerance
from operator_kinds import matrix_free

M, N, K, NUM = 8, 14, 3, 6
SUPPORT = np.array([[0, 5, 9], [13, 2, -1], [7, -1, -1], [1, 2, 3], [4, 0, 12], [-1, -1, -1]])


def normal(rng, shape, dtype):
    real = rng.standard_normal(shape)
    both = (
        real + 1j * rng.standard_normal(shape) if np.issubdtype(dtype, np.complexfloating) else real
    )
    return both.astype(dtype)


def problem(dtype=np.float64):
    rng = np.random.default_rng(0)
    A, root, Y = (normal(rng, shape, dtype) for shape in ((M, N), (N, N), (NUM, M)))
    return A, root @ root.conj().T / N, Y


def formula(A, C, Y, support, elsewhere, noise):
    X = []
    for y, chosen in zip(Y, support, strict=True):
        d = np.full(A.shape[1], elsewhere)
        d[chosen[chosen >= 0]] = 1
        prior = d[:, None] * C * d
        measured = A @ prior @ A.conj().T
        level = noise * np.trace(measured).real / len(A)
        X.append(prior @ A.conj().T @ np.linalg.solve(measured + level * np.eye(len(A)), y))
    return np.stack(X)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_equals_the_formula(dtype):
    A, C, Y = problem(dtype)
    found = gj.GaussianPrior(C, 0.2, 0.05).refit(A, Y, SUPPORT)
    wide = np.complex128 if np.issubdtype(dtype, np.complexfloating) else np.float64
    expected = formula(*(each.astype(wide) for each in (A, C, Y)), SUPPORT, 0.2, 0.05)
    # The system has a condition of about 100.
    rtol, atol = tolerance(dtype)
    assert_close(found, expected, rtol=10 * rtol, atol=10 * atol)


def test_one_signal_a_batch_of_batches_and_an_operator_agree():
    A, C, Y = problem()
    prior = gj.GaussianPrior(C, 0.2, 0.05)
    all_ = prior.refit(A, Y, SUPPORT)
    assert_close(prior.refit(A, Y[1], SUPPORT[1]), all_[1])
    batches = prior.refit(A, Y.reshape(2, 3, M), SUPPORT.reshape(2, 3, K))
    assert_close(batches.reshape(NUM, N), all_)
    assert_close(prior.refit(matrix_free(A), Y, SUPPORT), all_)
    assert_close(jax.vmap(lambda y, s: prior.refit(A, y, s))(Y, SUPPORT), all_)


def test_without_correlations_and_noise_it_is_least_squares():
    A, _, Y = problem()
    support = gj.omp_batch(A, Y, sparsity=K).support
    found = gj.GaussianPrior(np.eye(N), elsewhere=0.0, noise=1e-10).refit(A, Y, support)
    # The noise of 1e-10 shrinks them by about as much; the system has its inverse for a condition.
    assert_close(found, gj.omp_batch(A, Y, sparsity=K).x, rtol=1e-5, atol=1e-5)


def test_where_the_choice_says_nothing_it_is_the_linear_estimator():
    A, C, Y = problem()
    noise = 0.1 * np.trace(A @ C @ A.T) / M
    expected = Y @ np.linalg.solve(A @ C @ A.T + noise * np.eye(M), A @ C)
    assert_close(gj.GaussianPrior(C, 1.0, 0.1).refit(A, Y, SUPPORT), expected)


def test_is_the_least_mean_squared_error_of_its_own_model():
    """Signals of the prior, one support: no linear estimator has a smaller error, by a test."""
    rng = np.random.default_rng(1)
    A, C, _ = problem()
    d = np.where(np.isin(np.arange(N), SUPPORT[0]), 1, 0.1)
    G = rng.multivariate_normal(np.zeros(N), C, 4000)
    X = d * G
    level = 0.01 * np.trace(A @ (d[:, None] * C * d) @ A.T) / M
    Y = X @ A.T + np.sqrt(level) * rng.standard_normal((4000, M))
    support = np.broadcast_to(SUPPORT[0], (4000, K))
    found = gj.GaussianPrior(C, 0.1, 0.01).refit(A, Y, support)
    error = lambda X_hat: np.mean(np.sum((X_hat - X) ** 2, axis=1))
    fitted = Y @ np.linalg.lstsq(Y[:2000], X[:2000], rcond=None)[0]
    assert error(found) <= 1.01 * error(fitted)
    for other in (gj.GaussianPrior(C, 0.3, 0.01), gj.GaussianPrior(C, 0.1, 0.2)):
        assert error(other.refit(A, Y, support)) > 1.02 * error(found)


def test_units_of_the_covariance_and_of_y_do_not_matter():
    A, C, Y = problem()
    plain = gj.GaussianPrior(C, 0.2, 0.05).refit(A, Y, SUPPORT)
    assert_close(gj.GaussianPrior(1e6 * C, 0.2, 0.05).refit(A, 1e-3 * Y, SUPPORT), 1e-3 * plain)


def test_degenerate_inputs_are_finite_and_so_are_gradients():
    A, C, Y = problem()

    def loss(C, elsewhere, noise, A, Y):
        prior = gj.GaussianPrior(C, elsewhere, noise)
        return jnp.sum(prior.refit(A, Y, SUPPORT) ** 2)

    grad = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3, 4)))
    same = np.broadcast_to(A[:, :1], A.shape)
    for args in [(C, 0.0, 1e-3, A, Y), (C, 1.0, 1e-3, A, 0 * Y), (0 * C, 0.1, 1e-3, A, Y),
                 (C, 0.1, 1e-3, 0 * A, Y), (C, 0.1, 1e-3, same, Y)]:  # fmt: skip
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad(*args)))
    value, gradients = grad(C, 0.2, 0.05, A, Y)
    h = 1e-6
    for i, at in enumerate([C, 0.2, 0.05, A, Y]):
        along = np.random.default_rng(i).standard_normal(np.shape(at))
        along = along + along.T if i == 0 else along
        args = [C, 0.2, 0.05, A, Y]
        ends = [loss(*args[:i], at + sign * h * along, *args[i + 1 :]) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * h)
        assert_close(np.sum(gradients[i] * along), slope, rtol=1e-6, atol=1e-6 * abs(value))


def test_hardened_networks_take_it_with_any_solver():
    A, C, Y = problem()
    prior, net = gj.GaussianPrior(C, 0.2, 0.05), OMPNet(A, sparsity=K)
    iht = IHT(sparsity=K, num_steps=20)
    pursuit = functools.partial(gj.subspace_pursuit, num_steps=3)
    for solver, found in [
        (None, gj.omp_batch(A, Y, sparsity=K)),
        (iht, gj.recover_batch(iht, A, Y)),
        (pursuit, gj.subspace_pursuit_batch(A, Y, sparsity=K, num_steps=3)),
    ]:
        expected = formula(A, C, Y, np.asarray(found.support), 0.2, 0.05)
        assert_close(net.harden(solver, prior=prior)(Y), expected)


def test_snapshots_are_fitted_each_on_the_support_that_they_share():
    A, C, Y = problem(np.complex128)
    frames = np.stack([Y, 1j * Y[::-1]], axis=2)  # Of two snapshots.
    prior = gj.GaussianPrior(C, 0.2, 0.05)
    each = lambda support: np.stack(
        [formula(A, C, frames[..., i], support, 0.2, 0.05) for i in range(2)], axis=2
    )
    assert_close(prior.refit(A, frames, SUPPORT), each(SUPPORT))
    assert_close(prior.refit(A, frames[0], SUPPORT[0]), each(SUPPORT)[0])
    shared = SharedSupport()
    support = gj.omp_batch(A, frames, sparsity=K, structure=shared).support
    net = OMPNet(A, sparsity=K, structure=shared)
    assert_close(net.harden(prior=prior)(frames), each(np.asarray(support)))


A = problem()[0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"covariance": np.eye(3)}, ValueError, "covariance: expected shape (14, 14)"),
        ({"elsewhere": -0.1}, ValueError, "elsewhere: expected a finite number >= 0"),
        ({"elsewhere": 2.0}, ValueError, "elsewhere: expected a number between 0 and 1, got 2.0"),
        ({"noise": 0.0}, ValueError, "noise: expected a positive, finite number"),
        ({"Y": np.ones((2, 5))}, ValueError, "Y: expected shape (..., 8)"),
        ({"support": np.zeros((3, 2), int)}, ValueError, "support: expected shape (2, 'k')"),
        ({"support": np.zeros((2, 3))}, TypeError, "support: expected indices of atoms"),
    ],
)
def test_bad_calls_say_what_is_wrong(changes, error, message):
    given = {"covariance": np.eye(N), "elsewhere": 0.1, "noise": 0.1}
    call = {"A": A, "Y": np.ones((2, M)), "support": np.zeros((2, K), int)}
    prior = gj.GaussianPrior(**{**given, **{k: v for k, v in changes.items() if k in given}})
    with pytest.raises(error, match=re.escape(message)):
        prior.refit(**{**call, **{k: v for k, v in changes.items() if k in call}})


def test_a_prior_that_is_none_is_named():
    with pytest.raises(TypeError, match="prior: expected a greedyjax.GaussianPrior"):
        OMPNet(A, sparsity=K).harden(prior=np.eye(N))


def test_a_prior_may_be_made_where_functions_are_compiled():
    A, C, y = jnp.eye(3), jnp.eye(3) + 0.5, jnp.array([1.0, 2.0, 3.0])
    refit = lambda C: gj.GaussianPrior(C).refit(A, y, jnp.array([2]))
    assert_close(jax.jit(refit)(C), np.asarray(refit(C)))
