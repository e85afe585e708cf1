"""OMP chooses atoms, and stops, by how much the loss of the square-root LASSO falls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import beta

import greedyjax as gj
from greedyjax.pursuit import HTP, OMP, RootLasso
from greedyjax.structures import SharedSupport
from helpers import assert_close, random_problem

M, N, K = 24, 50, 6


def unit_problem(seed):
    return random_problem(seed, M, N, K, np.float64)[0], np.random.default_rng(seed)


def fall(a, r, level):
    """How much ||r - t a|| + level |t| can be less than ||r||, by a search over t."""
    loss = lambda t: np.linalg.norm(r - t * a) + level * abs(t)
    ends = [(-2 * np.linalg.norm(r), 0), (0, 2 * np.linalg.norm(r))]
    found = [
        minimize_scalar(loss, bounds=end, method="bounded", options={"xatol": 1e-12})
        for end in ends
    ]
    return np.linalg.norm(r) - min(each.fun for each in found)


@pytest.mark.parametrize("seed", range(4))
def test_the_atom_of_the_largest_score_is_that_of_the_largest_fall(seed):
    A, rng = unit_problem(seed)
    y, level = rng.standard_normal(M), rng.uniform(0, 0.4, N)
    falls = [fall(a, y, c) for a, c in zip(A.T, level, strict=True)]
    found = gj.recover(OMP(1, fit=RootLasso(level=level)), A, y)
    assert found.support.tolist() == [np.argmax(falls)]


def test_it_stops_where_no_atom_lets_the_loss_fall():
    A, rng = unit_problem(0)
    y, level = rng.standard_normal(M), 0.35
    found = gj.recover(OMP(K * 3, fit=RootLasso(level=level)), A, y)
    chosen = [j for j in found.support.tolist() if j >= 0]
    assert 0 < len(chosen) < 3 * K
    for num in range(len(chosen) + 1):
        atoms = A[:, chosen[:num]]
        r = y - atoms @ np.linalg.lstsq(atoms, y, rcond=None)[0]
        falls = [fall(a, r, level) > 1e-9 for a in A.T]
        assert any(falls) == (num < len(chosen))


def test_without_a_level_it_is_omp():
    A, _, y = random_problem(1, M, N, K, np.float64)
    found, plain = gj.recover(OMP(K, fit=RootLasso()), A, y), gj.omp(A, y, sparsity=K)
    assert found.support.tolist() == plain.support.tolist()
    assert_close(found.x, plain.x)


@pytest.mark.parametrize("noise", [1e-3, 1e-1, 10.0])
def test_noise_of_any_size_alone_is_seldom_taken_for_signal(noise):
    A, rng = unit_problem(2)
    level = np.sqrt(2 * np.log(N) / M)
    Y = noise * rng.standard_normal((2000, M))
    codes = gj.encode(OMP(2, fit=RootLasso(level=level)), A, Y)
    # By a beta distribution the angle of one atom, and a sum over all of them.
    bound = N * beta.sf(level**2, 0.5, (M - 1) / 2)
    share = np.mean(np.asarray(codes.num_steps) > 0)
    assert 0.5 * bound < share < bound + 0.02


def test_a_level_of_one_forbids_an_atom_and_a_small_one_invites_it():
    A, _, y = random_problem(3, M, N, K, np.float64)
    best, second = gj.omp(A, y, sparsity=2).support.tolist()
    level = np.zeros(N)
    level[best] = 1
    first = gj.recover(OMP(1, fit=RootLasso(level=level)), A, y).support.tolist()
    assert first != [best]
    level = np.full(N, 0.9)
    level[second] = 0
    assert gj.recover(OMP(1, fit=RootLasso(level=level)), A, y).support.tolist() == [second]


def test_snapshots_are_judged_together():
    A, _, y = random_problem(4, M, N, K, np.complex128)
    method = OMP(3 * K, fit=RootLasso(level=0.3))
    alone = gj.recover(method, A, y)
    shared = OMP(3 * K, fit=RootLasso(level=0.3), structure=SharedSupport())
    together = gj.recover(shared, A, np.stack([y, 2j * y], 1))
    assert together.support.tolist() == alone.support.tolist()


def test_derivatives_in_the_level_are_finite_differences_of_the_soft_solver():
    A, _, y = random_problem(5, M, N, K, np.float64)

    def total(level):
        return jnp.sum(gj.recover(OMP(K, fit=RootLasso(level=level)), A, y, tau=0.1).x ** 2)

    h = 1e-6
    slope = (total(jnp.float64(0.1 + h)) - total(jnp.float64(0.1 - h))) / (2 * h)
    assert_close(jax.grad(total)(jnp.float64(0.1)), slope, rtol=1e-6)


@pytest.mark.parametrize(
    ("level", "error", "message"),
    [
        (-0.1, ValueError, "fit.level: expected a finite number >= 0"),
        (np.full(N - 1, 0.1), ValueError, rf"fit.level: expected shape \({N},\)"),
        (0.1j, TypeError, "fit.level: expected a real number"),
        (35, ValueError, "fit.level: expected less than 1, as it is the sine .*, got 35, which no"),
    ],
)
def test_what_is_no_level_is_named(level, error, message):
    A, _, y = random_problem(6, M, N, K, np.float64)
    with pytest.raises(error, match=message):
        gj.recover(OMP(K, fit=RootLasso(level=level)), A, y)


@pytest.mark.wrong_types
def test_a_level_in_the_place_of_the_penalty_is_named():
    A, _, y = random_problem(6, M, N, K, np.float64)
    with pytest.raises(
        ValueError, match=r"^fit.penalty: .* got one number; .*RootLasso\(level=...\)"
    ):
        gj.recover(OMP(K, fit=RootLasso(0.3)), A, y)


def test_methods_that_fit_all_atoms_at_once_refuse_it():
    A, _, y = random_problem(6, M, N, K, np.float64)
    with pytest.raises(ValueError, match="got RootLasso, which scores atoms one by one, for OMP"):
        gj.recover(HTP(K, 3, fit=RootLasso(level=0.3)), A, y)
