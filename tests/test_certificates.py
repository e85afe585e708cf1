"""Certificates are never wrong, and they are found often enough to be useful."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.certificates import same_path
from helpers import DTYPES, random_problem

K = 6
TAUS = np.array([1e-8, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 1.0])


certify = jax.jit(same_path, static_argnames="sparsity")
omp = jax.jit(gj.omp, static_argnames="sparsity")


@jax.jit
def certified(A, y, tau, weights):
    """The certificate, and whether atoms and answers are as it says."""
    found = same_path(A, y, sparsity=K, tau=tau, weights=weights)
    hard = gj.omp(A, y, sparsity=K, weights=weights)
    soft = gj.soft_omp(A, y, sparsity=K, tau=tau, weights=weights)
    return found, jnp.all(hard.support == soft.support), jnp.linalg.norm(soft.x - hard.x)


over_taus = jax.jit(jax.vmap(certified, (None, None, 0, None)))


def draws(dtype):
    """Problems of every kind: weighted, badly scaled, with near copies of atoms, with noise."""
    rng = np.random.default_rng(0)
    for seed in range(12):
        A, _, y = random_problem(seed, 24, 40, K if seed % 2 else 2 * K, dtype, noise=0.01)
        weights = np.ones(40)
        if seed % 3 == 1:
            weights = rng.uniform(0.2, 1.5, 40) * rng.choice([-1, 1], 40)
        if seed % 3 == 2:
            A = A * rng.uniform(0.1, 10, 40)
        if seed % 4 == 3:
            A[:, 7] = A[:, 3] + 1e-3 * A[:, 5]
        scale = 10.0 ** rng.integers(-3, 4)
        yield A.astype(dtype), (scale * y).astype(dtype), weights.astype(y.real.dtype)


@pytest.mark.parametrize(
    "dtype",
    [
        np.float64,
        *(pytest.param(other, marks=pytest.mark.slow) for other in DTYPES[::2]),
        np.complex128,
    ],
    ids=lambda dtype: np.dtype(dtype).name,
)
def test_never_wrong(dtype):
    said = []
    for A, y, weights in draws(dtype):
        taus = (TAUS * np.linalg.norm(y)).astype(weights.dtype)
        found, same, error = over_taus(A, y, taus, weights)
        yes = np.asarray(found.same_path)
        assert np.all(np.asarray(same)[yes])
        assert np.all(np.asarray(error)[yes] <= np.asarray(found.error_bound)[yes])
        assert np.all(np.isinf(np.asarray(found.error_bound)[~yes]))
        said.append(yes)
    shares = np.mean(said, axis=0)
    # It knows nearly always when cold, and never at a temperature as large as the scores.
    assert shares[0] >= 0.9
    assert 0.1 < shares[2:5].mean() < 0.9
    assert shares[-1] == 0


def test_margins_are_gaps_that_omp_has():
    """Recomputed in plain NumPy along the atoms of OMP."""
    for A, y, weights in draws(np.float64):
        found = certify(A, y, sparsity=K, tau=1e-3 * np.linalg.norm(y), weights=weights)
        if not found.same_path:
            continue
        support = np.asarray(omp(A, y, sparsity=K, weights=weights).support)
        unit = A / np.linalg.norm(A, axis=0)
        for k, atom in enumerate(support):
            chosen = unit[:, support[:k]]
            residual = y - chosen @ np.linalg.lstsq(chosen, y, rcond=None)[0] if k else y
            scores = np.abs(weights * (unit.T @ residual))
            gap = scores[atom] - np.delete(scores, atom).max()
            assert 0 < found.margins[k] <= gap
        singular = np.linalg.svd(unit[:, support], compute_uv=False)
        np.testing.assert_allclose(found.smallest_singular_value, singular[-1], rtol=1e-10)


def test_the_bound_is_not_vacuous():
    """Two atoms, a gap of 0.2 and tau = 0.02: an error far above rounding, bounded within 10."""
    A, y = np.eye(4), np.array([1.0, 0.8, 0.1, 0.0])
    found = certify(A, y, sparsity=1, tau=0.02)
    soft = gj.soft_omp(A, y, sparsity=1, tau=0.02).x
    error = np.linalg.norm(soft - np.array([1.0, 0, 0, 0]))
    assert found.same_path
    assert 1e-6 < error <= found.error_bound < 10 * error


def degenerate():
    A, _, y = random_problem(3, 8, 12, 2, np.float64)
    copies = A.copy()
    copies[:, 5] = copies[:, np.argmax(np.abs(A.T @ y))]
    zero = A.copy()
    zero[:, :3] = 0
    yield "y = 0", A, np.zeros(8), 3
    yield "a copy of the best atom", copies, y, 3
    yield "more steps than signal", A, A[:, 2] * 3, 8
    yield "ties", np.eye(8), np.ones(8), 8
    yield "no atoms at all", np.zeros((8, 12)), y, 2
    yield "zero columns, more atoms than signal", zero, A[:, 4], 8


@pytest.mark.parametrize(
    ("A", "y", "sparsity"), [case[1:] for case in degenerate()], ids=[c[0] for c in degenerate()]
)
def test_degenerate_input_is_not_certified(A, y, sparsity):
    found = certify(A, y, sparsity=sparsity, tau=1e-3)
    assert not found.same_path
    assert np.isinf(found.error_bound)
    assert not np.any(np.isnan(found.margins))
    assert np.isfinite(found.smallest_singular_value)


def test_jit_vmap_and_eager_agree():
    A, _, y = random_problem(1, 24, 40, K, np.float64)
    Y = np.stack([y, 2 * y])
    taus = np.full(K, 1e-6)
    alone = [same_path(A, Y[0], sparsity=K, tau=taus), certify(A, Y[1], sparsity=K, tau=taus)]
    batch = jax.jit(jax.vmap(lambda y: same_path(A, y, sparsity=K, tau=taus)))(Y)
    for i, one in enumerate(alone):
        assert bool(one.same_path) == bool(batch.same_path[i]) is True
        np.testing.assert_allclose(batch.margins[i], one.margins, rtol=1e-9)


def test_is_a_constant_to_derivatives():
    A, _, y = random_problem(1, 24, 40, K, np.float64)
    gradient = jax.grad(lambda y: certify(A, y, sparsity=K, tau=1e-6).error_bound)(y)
    np.testing.assert_array_equal(gradient, np.zeros_like(y))


@pytest.mark.wrong_types
def test_bad_input():
    A, _, y = random_problem(1, 8, 12, 2, np.float64)
    with pytest.raises(ValueError, match=r"y: expected shape \(8,\), got shape \(7,\)"):
        same_path(A, y[:7], sparsity=2, tau=0.1)
    with pytest.raises(ValueError, match="tau: expected positive, finite numbers, got 0"):
        same_path(A, y, sparsity=2, tau=0.0)
    with pytest.raises(ValueError, match="sparsity: expected an int between 1 and 8"):
        same_path(A, y, sparsity=9, tau=0.1)
    with pytest.raises(TypeError, match="mark it static"):
        jax.jit(lambda k: same_path(A, y, sparsity=k, tau=0.1))(2)
