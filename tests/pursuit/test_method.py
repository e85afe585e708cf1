"""Methods as values: compared, printed, pickled and run by hand; invalid methods are refused."""

import dataclasses
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
import oracles
from generalised_omp import GeneralisedOMP
from greedyjax import nets
from greedyjax.linalg.operators import dense
from greedyjax.policies import as_weighting
from greedyjax.pursuit import (
    HTP,
    IHT,
    OMP,
    CoSaMP,
    LeastSquares,
    Method,
    SubspacePursuit,
    problem_of,
    run,
    static,
    system_for,
    turns_of,
)
from helpers import assert_close, jit, random_problem, slow_but

M, N, K, STEPS = 8, 12, 3, 3
METHODS = {
    "omp": OMP(K),
    "iht": IHT(K, STEPS),
    "htp": HTP(K, STEPS),
    "subspace_pursuit": SubspacePursuit(K, STEPS),
    "cosamp": CoSaMP(K, STEPS),
}
every_method = pytest.mark.parametrize("name", METHODS)
# One of each kind of code, where all of them would take too long.
some_methods = pytest.mark.parametrize("name", slow_but(["omp", "iht", "cosamp"], METHODS))
A, X, Y = random_problem(0, M, N, K, np.float64, noise=0.1)


def door(name, A, y, **settings):
    steps = {} if name.endswith("omp") else {"num_steps": STEPS}
    return getattr(gj, name)(A, y, sparsity=K, **steps, **settings)


@every_method
def test_two_of_the_same_settings_are_equal_and_survive_pickling(name):
    method = METHODS[name]
    copy = pickle.loads(pickle.dumps(method))
    assert copy == method == dataclasses.replace(method)
    assert jax.tree.structure(copy) == jax.tree.structure(method)
    assert hash(jax.tree.structure(copy)) == hash(jax.tree.structure(method))
    assert f"{type(method).__name__}(sparsity=3" in repr(method)


@some_methods
def test_a_method_has_the_doors_of_its_functions(name):
    for found, expected in zip(gj.recover(METHODS[name], A, Y), door(name, A, Y), strict=True):
        np.testing.assert_array_equal(found, expected)
    soft = gj.recover(METHODS[name], A, Y, tau=0.1)
    np.testing.assert_array_equal(soft.x, door(f"soft_{name}", A, Y, tau=0.1).x)


def test_numbers_of_a_method_are_traced_and_differentiated():
    loss = lambda penalty: jnp.sum(gj.recover(OMP(K, fit=LeastSquares(penalty)), A, Y).x ** 2)
    gradient = jax.jit(jax.grad(loss))(np.full(N, 0.1))
    by_hand = oracles.finite_difference(lambda p: float(loss(p)), np.full(N, 0.1))
    assert np.abs(by_hand).max() > 1e-2
    assert_close(gradient, by_hand, rtol=1e-5, atol=1e-7)  # Differences of step 1e-6.


def by_hand(method):
    """The parts of a recovery, one by one."""
    system = system_for(method, dense(jnp.asarray(A)), np.dtype(np.float64))
    problem = problem_of(system, jnp.asarray(Y))
    weighting = as_weighting(None, N, method.num_steps, np.dtype(np.float64))
    return method.prepared(system), problem, turns_of(problem, weighting, None, method)


@some_methods
def test_init_step_and_answer_can_be_called_by_hand(name):
    @jit  # One program instead of one for each operation.
    def solved():
        method, problem, turns = by_hand(METHODS[name])
        state = method.init(problem, turns.first)
        for step in range(method.num_steps):
            state, choices = method.step(problem, state, turns.turn(jnp.asarray(step), turns.each))
            assert all(choice.scores.shape == (N,) for choice in choices)
        return problem.unit * method.answer(problem, state).x

    assert_close(solved(), door(name, A, Y).x)


def test_run_records_what_it_is_asked_for():
    method, problem, turns = by_hand(METHODS["omp"])
    record = lambda state: method.answer(problem, state).x
    scores = lambda choices: choices[0].scores
    state, xs, met = run(method, problem, turns, of_states=record, of_choices=scores)
    _, again, nothing = run(method, problem, turns, of_states=record)
    assert nothing is None
    assert_close(again, np.asarray(xs))
    norms = np.linalg.norm(A, axis=0)
    for step in range(K):
        assert_close(problem.unit * xs[step], oracles.omp(A, Y, step + 1).x)
        before = oracles.omp(A, Y, step).x if step else np.zeros(N)
        assert_close(problem.scale * met[step], np.abs(A.T @ (Y - A @ before)) / norms)
    assert_close(xs[-1], method.answer(problem, state).x)


def test_a_network_of_a_method_from_outside():
    net = nets.Unrolled(GeneralisedOMP(K), A, tau=0.1)
    assert_close(net(Y), oracles.generalised_omp(A, Y, K, tau=0.1).x)
    assert_close(net.harden()(Y), oracles.generalised_omp(A, Y, K).x)
    found = gj.recover_batch(GeneralisedOMP(K), A, np.stack([Y, 2 * Y]))
    assert_close(found.x[1], 2 * np.asarray(net.harden()(Y)))


def test_a_method_from_outside_chooses_no_atom_twice():
    """Where all other weights are 0, only rounding is left in the scores of the atoms chosen."""
    A, _, y = random_problem(0, M, N, K, np.float32, noise=1.0)
    weights = np.zeros(N, np.float32)
    weights[[0, 1]] = 1  # Which are first where scores tie.
    support = gj.recover(GeneralisedOMP(4), A, y, weights=weights).support
    assert sorted(support[:2].tolist()) == [0, 1]
    assert len(set(support.tolist())) == 4


# --- What is no method ---------------------------------------------------------------------------


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Growing(Method):
    """Its state grows with every step, which no scan can carry."""

    sparsity: int = static()
    num_steps: int = static(default=2)

    def init(self, problem, turn):
        return {"x": jnp.zeros(1)}

    def step(self, problem, state, turn):
        return {"x": jnp.append(state["x"], 0.0)}, ()

    def answer(self, problem, state):
        raise AssertionError("never reached")


class Unregistered(Growing):
    pass


@dataclasses.dataclass(frozen=True)
class Unfinished(Method):
    sparsity: Any = 1


def test_a_step_that_changes_its_state_is_named():
    message = (
        r"^Growing.step: expected a state of the form that init returns, with state\['x'\] float64"
        r" of shape \(1,\), got float64 of shape \(2,\); make room in init"
    )
    for call in (
        lambda: gj.recover(Growing(1), A, Y),
        lambda: gj.recover_batch(Growing(1), A, Y[None]),
        lambda: nets.Unrolled(Growing(1), A)(Y),
    ):
        with pytest.raises(TypeError, match=message):
            call()


@pytest.mark.wrong_types
def test_what_is_no_method_is_named():
    for bad, message in (
        (gj.omp, "expected a greedyjax.pursuit.Method, got the function omp; methods are classes"),
        (OMP, r"expected a greedyjax.pursuit.Method, got the class OMP; make one: OMP\(\.\.\.\)"),
        (Unregistered(1), "expected a dataclass registered by .*, got Unregistered, which is not"),
        (None, "expected a greedyjax.pursuit.Method, got NoneType"),
    ):
        for call in (gj.recover, lambda *args: nets.Unrolled(*args[:2])):
            with pytest.raises(TypeError, match=f"^method: {message}"):
                call(bad, A, Y)
    with pytest.raises(TypeError, match="abstract"):
        Unfinished()
