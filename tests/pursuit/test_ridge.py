"""Ridge penalties in fits, weights per step, and fits at the end of IHT."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fitting_oracles
import greedyjax as gj
from greedyjax.pursuit import _blocks
from helpers import assert_close, jit, random_problem, slow_but

M, N, K, STEPS = 8, 12, 3, 4


def problem(dtype, seed=0):
    """A, y, weights of each step and a penalty, some of it 0, over columns of any norm."""
    A, _, y = random_problem(seed, M, N, K, dtype, noise=0.2)
    rng = np.random.default_rng(seed)
    penalty = rng.uniform(0, 0.3, N) * (np.arange(N) % 4 > 0)
    return A * rng.uniform(0.5, 2, N), y, rng.uniform(0.5, 1.5, (STEPS, N)), penalty


def closed_form(A, y, penalty, support):
    """The minimiser of ||y - A x||^2 + sum_j penalty_j |x_j|^2 on a support."""
    x, B = np.zeros(A.shape[1], np.result_type(A, y)), A[:, support]
    x[support] = np.linalg.solve(B.conj().T @ B + np.diag(penalty[support]), B.conj().T @ y)
    return x


HARD = {
    "omp": lambda A, y, w, p: gj.omp(A, y, sparsity=STEPS, weights=w, penalty=p),
    "iht": lambda A, y, w, p: gj.iht(
        A, y, sparsity=K, num_steps=STEPS, weights=w, debias=True, penalty=p
    ),
    "htp": lambda A, y, w, p: gj.htp(A, y, sparsity=K, num_steps=STEPS, weights=w, penalty=p),
    "subspace_pursuit": lambda A, y, w, p: gj.subspace_pursuit(
        A, y, sparsity=K, num_steps=STEPS, weights=w, penalty=p
    ),
    "cosamp": lambda A, y, w, p: gj.cosamp(
        A, y, sparsity=K, num_steps=STEPS, weights=w, debias=True, penalty=p
    ),
}
SOFT = {
    "omp": lambda A, y, w, p: gj.soft_omp(A, y, sparsity=STEPS, tau=0.1, weights=w, penalty=p),
    "omp, remat": lambda A, y, w, p: gj.soft_omp(
        A, y, sparsity=STEPS, tau=0.1, weights=w, penalty=p, remat=True
    ),
    "iht": lambda A, y, w, p: gj.soft_iht(
        A, y, sparsity=K, tau=0.1, num_steps=STEPS, weights=w, debias=True, penalty=p
    ),
    "htp": lambda A, y, w, p: gj.soft_htp(
        A, y, sparsity=K, tau=0.1, num_steps=STEPS, weights=w, penalty=p
    ),
    "subspace_pursuit": lambda A, y, w, p: gj.soft_subspace_pursuit(
        A, y, sparsity=K, tau=0.1, num_steps=STEPS, weights=w, penalty=p
    ),
    "cosamp": lambda A, y, w, p: gj.soft_cosamp(
        A, y, sparsity=K, tau=0.1, num_steps=STEPS, weights=w, debias=True, penalty=p
    ),
}
ORACLES = {
    "omp": lambda A, y, w, p: fitting_oracles.omp(A, y, STEPS, w, p),
    "iht": lambda A, y, w, p: fitting_oracles.htp(A, y, K, STEPS, None, w, p, num_fitted=1),
    "htp": lambda A, y, w, p: fitting_oracles.htp(A, y, K, STEPS, None, w, p),
    "subspace_pursuit": lambda A, y, w, p: fitting_oracles.subspace_pursuit(A, y, K, STEPS, w, p),
    "cosamp": lambda A, y, w, p: fitting_oracles.cosamp(A, y, K, STEPS, w, True, p),
}
SOFT_ORACLES = {
    "omp": lambda A, y, w, p: fitting_oracles.soft_omp(A, y, STEPS, 0.1, w, p),
    "iht": lambda A, y, w, p: fitting_oracles.soft_htp(
        A, y, K, 0.1, STEPS, None, w, p, num_fitted=1
    ),
    "htp": lambda A, y, w, p: fitting_oracles.soft_htp(A, y, K, 0.1, STEPS, None, w, p),
    "subspace_pursuit": lambda A, y, w, p: fitting_oracles.soft_subspace_pursuit(
        A, y, K, 0.1, STEPS, w, p
    ),
    "cosamp": lambda A, y, w, p: fitting_oracles.soft_cosamp(A, y, K, 0.1, STEPS, w, True, p),
}
# (name, soft): OMP also with rows made again; weights of each step and a penalty at once.
WAYS = [(name, False) for name in HARD] + [(name, True) for name in SOFT]
both_dtypes = pytest.mark.parametrize(
    "dtype", [pytest.param(np.float64, marks=pytest.mark.slow), np.complex128]
)


@functools.cache
def value_and_gradient(name, soft):
    """x, the support, and the gradient of a loss of x in A, y, the weights and the penalty."""
    solve = (SOFT if soft else HARD)[name]
    cotangent = np.random.default_rng(1).standard_normal(N)

    def loss(*args):
        found = solve(*args)
        return jnp.vdot(cotangent, found.x.real + found.x.imag), found

    return jit(jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True))


@pytest.mark.parametrize(
    ("name", "soft"),
    slow_but([("omp", False), ("cosamp", False), ("omp", True), ("iht", True)], WAYS),
)
@both_dtypes
def test_equals_the_oracle_and_so_does_the_derivative(name, soft, dtype):
    args = problem(dtype)
    oracle = (SOFT_ORACLES if soft else ORACLES)[name.split(",")[0]]
    (_, found), gradients = value_and_gradient(name, soft)(*args)
    expected = oracle(*args)
    # Power iteration gives the step size of IHT and HTP to eps^(2/3) over the gap.
    rtol = 1e-6 if name in ("iht", "htp") else 1e-8
    assert_close(found.x, expected.x, rtol=rtol, atol=rtol)
    assert_close(found.residual_norm, expected.residual_norm, rtol=rtol)
    assert found.support.tolist() == expected.support.tolist()

    rng = np.random.default_rng(2)
    cotangent = np.random.default_rng(1).standard_normal(N)

    def loss(*args):
        x = oracle(*args).x
        return cotangent @ (x.real + x.imag)

    for i, gradient in enumerate(gradients):
        if name in ("iht", "htp") and i == 0 and soft:
            continue  # The step size moves with A, by a subgradient: test_iht.py.
        along = rng.standard_normal(args[i].shape)
        if i == 3:
            along = np.abs(along)  # Else where it is 0 it would go below.
        if np.iscomplexobj(args[i]):
            along = along + 1j * rng.standard_normal(args[i].shape)
        h = 1e-6
        at = [loss(*args[:i], args[i] + s * h * along, *args[i + 1 :]) for s in (1, 0, 2)]
        # One-sided, of second order: a penalty cannot go below 0.
        slope = (4 * at[0] - 3 * at[1] - at[2]) / (2 * h)
        assert_close(np.real(np.sum(gradient * along)), slope, rtol=1e-5, atol=1e-5)
        assert soft or i != 2 or np.all(np.asarray(gradient) == 0)


@pytest.mark.slow
@both_dtypes
def test_a_hard_answer_is_the_closed_form_on_its_support(dtype):
    A, y, weights, penalty = problem(dtype)
    for name in HARD:
        (_, found), _ = value_and_gradient(name, False)(A, y, weights, penalty)
        assert_close(found.x, closed_form(A, y, penalty, np.asarray(found.support)), rtol=1e-9)
        residual = y - A @ found.x
        assert_close(found.residual_norm, np.linalg.norm(residual))
        assert np.linalg.norm(closed_form(A, y, 0 * penalty, found.support) - found.x) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("form", ["by_gram", "by_residuals"])
@both_dtypes
def test_batches_fit_as_one_by_one(form, dtype, monkeypatch):
    plans = []

    def planned(*args, **settings):
        plan = _plan(*args, **settings)
        plans.append(dataclasses.replace(plan, by_gram=form == "by_gram"))
        return plans[-1]

    _plan = _blocks.plan
    monkeypatch.setattr(_blocks, "plan", planned)
    A, _, weights, penalty = problem(dtype)
    Y = np.stack([problem(dtype, seed)[1] for seed in range(5)])

    @jit
    def solve(A, Y, penalty):
        def loss(penalty):
            found = gj.omp_batch(A, Y, sparsity=K, weights=weights[0], penalty=penalty)
            return jnp.sum(found.x.real**2), found

        return jax.value_and_grad(loss, has_aux=True)(penalty)

    (_, found), gradient = solve(gj.dictionary(A) if form == "by_gram" else A, Y, penalty)
    assert plans
    for i, y in enumerate(Y):
        expected = fitting_oracles.omp(A, y, K, weights[0], penalty)
        assert_close(found.x[i], expected.x, rtol=1e-9)
        assert_close(found.residual_norm[i], expected.residual_norm)
        assert found.support[i].tolist() == expected.support.tolist()

    # At 0 too, where a penalty enters the forms in different ways.
    along = np.random.default_rng(0).uniform(0, 1, N)
    expected = sum(
        2 * np.real(x) @ np.real(slope(A, x, penalty, along)) for x in np.asarray(found.x)
    )
    assert_close(gradient @ along, expected, rtol=1e-8)


def slope(A, x, penalty, along):
    """dx = -(B* B + D)^-1 dD x on the support: the derivative of the closed form."""
    dx, support = np.zeros_like(x), np.flatnonzero(x)
    B = A[:, support]
    gram = B.conj().T @ B + np.diag(penalty[support])
    dx[support] = -np.linalg.solve(gram, along[support] * x[support])
    return dx


def test_a_penalty_of_zero_is_none_but_has_a_derivative():
    A, y, weights, penalty = problem(np.complex128)
    cotangent, zero = np.random.default_rng(1).standard_normal(N), np.zeros(N)
    for name in HARD:
        (_, found), gradients = value_and_gradient(name, False)(A, y, weights, zero)
        x = np.asarray(found.x)
        assert_close(x, closed_form(A, y, zero, np.asarray(found.support)), rtol=1e-9)
        dx = slope(A, x, zero, np.ones(N))
        assert_close(np.sum(gradients[3]), cotangent @ (dx.real + dx.imag), rtol=1e-8)


@pytest.mark.slow
def test_scaling_a_column_rescales_its_penalty():
    A, y, weights, penalty = problem(np.float64)
    d = np.random.default_rng(3).uniform(0.3, 3, N)
    for name in ("omp", "cosamp", "subspace_pursuit"):
        (_, found), _ = value_and_gradient(name, False)(A, y, weights, penalty)
        (_, scaled), _ = value_and_gradient(name, False)(A * d, y, weights, penalty * d**2)
        assert_close(scaled.x, found.x / d, rtol=1e-9)


def test_a_large_penalty_leaves_nothing():
    A, y, weights, _ = problem(np.complex128)
    for name in HARD:
        (_, found), gradients = value_and_gradient(name, False)(A, y, weights, np.full(N, 1e12))
        assert np.abs(found.x).max() < 1e-10
        assert all(np.all(np.isfinite(each)) for each in gradients)
