"""Fits can be exchanged: the library's fits, and a user's own fit, in methods that take any."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fitting_oracles
import greedyjax as gj
import oracles
from generalised_omp import GeneralisedOMP
from greedyjax.pursuit import OMP, Answer, Fit, GramMatrix, Known, LeastSquares
from helpers import EACH_DTYPE, assert_close, jit, random_problem

M, N, K, TAU = 10, 16, 4, 0.1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SolvedAgain:
    """A fit of somebody else: it keeps the rows, and solves normal equations whenever asked."""

    uses_gram = False

    def checked(self, num_atoms):
        return self

    def prepared(self, system):
        return self

    def start(self, problem, turn, num):
        kind, n = turn.selector.rows, problem.shape[1]
        rows = kind.empty(num, n, problem.y.dtype)
        return rows, kind.none_chosen(n, problem.y.dtype), jnp.zeros((), jnp.int32)

    def _solved(self, problem, state):
        rows, _, count = state
        B = jax.vmap(lambda row: row.atom(problem.atoms)[0])(rows)
        used = jnp.arange(len(B)) < count
        B = jnp.where(used[:, None], B, 0)
        z = jnp.linalg.solve(B @ B.T + jnp.diag(jnp.where(used, 0.0, 1.0)), B @ problem.y[0])
        return z, problem.y[0] - z @ B

    def correlations(self, problem, state):
        return problem.correlations(self._solved(problem, state)[1][None])

    def goes_on(self, problem, state):
        return jnp.asarray(True)

    def add(self, problem, state, row, active):
        rows, chosen, count = state
        return rows.put(count, row), row.join(chosen), count + 1

    def known(self, problem, state):
        return Known(lambda: state[1], lambda: self.answer(problem, state).x)

    def answer(self, problem, state):
        z, residual = self._solved(problem, state)
        x = state[0].combine(z[None], problem.shape[1])[0]
        return Answer(problem.system.column_scale * x, residual[None], state[0].support, len(z))


@pytest.mark.parametrize("dtype", EACH_DTYPE)
@pytest.mark.parametrize("penalised", [False, True], ids=["plain", "ridge"])
def test_the_gram_matrix_fits_as_least_squares_does(dtype, penalised):
    A, _, y = random_problem(0, M, N, K, dtype, noise=0.2)
    penalty = np.linspace(0, 0.3, N).astype(np.finfo(dtype).dtype) if penalised else None
    expected = fitting_oracles.omp(A, y, K, penalty=penalty)
    for fit in (LeastSquares(penalty), GramMatrix(penalty)):
        found = gj.recover(OMP(K, fit=fit), A, y)
        assert found.support.tolist() == expected.support.tolist()
        assert_close(found.x, expected.x, dtype)


def test_any_method_takes_the_gram_matrix():
    A, _, y = random_problem(1, M, N, K, np.float64, noise=0.2)
    found = gj.recover(GeneralisedOMP(K, fit=GramMatrix()), A, y)
    assert_close(found.x, oracles.generalised_omp(A, y, K).x)


def test_a_soft_solver_says_that_the_gram_matrix_is_for_hard_ones():
    A, _, y = random_problem(1, M, N, K, np.float64)
    with pytest.raises(ValueError, match="^fit: expected LeastSquares for a soft solver"):
        gj.recover(OMP(K, fit=GramMatrix()), A, y, tau=TAU)


@pytest.mark.wrong_types
def test_what_is_no_fit_is_named():
    A, _, y = random_problem(1, M, N, K, np.float64)
    message = r"^fit: expected a greedyjax.pursuit.Fit, got the class LeastSquares; make one"
    with pytest.raises(TypeError, match=message):
        gj.recover(OMP(K, fit=LeastSquares), A, y)
    with pytest.raises(TypeError, match="^fit: expected .*, got float, which has no checked"):
        gj.recover(OMP(K, fit=0.1), A, y)


def test_omp_takes_a_fit_from_outside():
    A, _, y = random_problem(2, M, N, K, np.float64, noise=0.2)
    assert isinstance(SolvedAgain(), Fit)
    method = OMP(K, fit=SolvedAgain())
    weights = np.linspace(0.5, 1.5, N)
    hard = jit(lambda w: gj.recover(method, A, y, weights=w).x)
    soft = lambda w: gj.recover(method, A, y, weights=w, tau=TAU).x
    assert_close(hard(weights), oracles.omp(A, y, K, weights).x)
    # Normal equations of soft atoms, which are close to dependent, lose half of the digits.
    by_hand = lambda w: oracles.soft_omp(A, y, K, TAU, w).x
    assert_close(soft(weights), by_hand(weights), rtol=1e-6, atol=1e-6)
    slope = np.random.default_rng(0).standard_normal(N)
    gradient = jit(jax.grad(lambda w: slope @ soft(w)))(weights)
    expected = oracles.finite_difference(lambda w: slope @ by_hand(w), weights)
    assert_close(gradient, expected, rtol=1e-4, atol=1e-4)
