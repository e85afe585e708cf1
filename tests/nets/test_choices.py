"""The choices of a network's hard solver, and the losses of one choice, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import oracles
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.sorting import SoftSort, threshold_of
from helpers import assert_close, random_problem, slow_but

M, N, K, LAYERS, STEP = 10, 16, 3, 4, 0.3
FLOOR = 1e-6


def _next(scores, targets, tau):
    return SoftSort(tau).next_loss(scores, targets)


def _kept(scores, targets, tau, threshold, k):
    return SoftSort(tau).kept_loss(scores, targets, threshold, k)


next_loss = jax.jit(_next)
next_loss_and_gradient = jax.jit(jax.value_and_grad(_next))
kept_loss = jax.jit(_kept, static_argnums=4)
kept_loss_and_gradient = jax.jit(jax.value_and_grad(_kept), static_argnums=4)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# --- The loss of one choice ----------------------------------------------------------------------


def test_next_choice_of_two_atoms():
    """p = (3/4, 1/4) by scores log 3 apart; t = (1/5, 4/5)."""
    scores, targets = np.array([2 * np.log(3), 0.0]), np.array([0.2, 0.8])
    expected = -np.log(0.75 * (0.2 + FLOOR) + 0.25 * (0.8 + FLOOR))
    assert_close(next_loss(scores, targets, 2.0), expected)


def test_next_choice_is_the_mean_energy_under_softsorts_first_row():
    rng = np.random.default_rng(0)
    scores, targets = rng.uniform(0, 2, N), rng.dirichlet(np.ones(N))
    for tau in (0.05, 0.5, 5.0):
        p = oracles.softsort(scores, tau, 1)[0]
        assert_close(next_loss(scores, targets, tau), -np.log(p @ (targets + FLOOR)))


def test_next_choice_is_finite_where_nothing_right_can_be_chosen():
    scores, targets = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    # The softmax puts e^-1000000 on the right atom: the floor is what is left.
    value, gradient = next_loss_and_gradient(scores, targets, 1e-6)
    assert_close(value, -np.log(FLOOR))
    assert np.isfinite(gradient).all()
    assert_close(next_loss(scores, np.zeros(3), 1.0), -np.log(FLOOR))


def test_next_choice_forgets_the_size_of_the_scores_with_tau():
    scores, targets = np.array([0.3, 1.0, 0.2]), np.array([0.1, 0.6, 0.3])
    assert_close(
        next_loss(7 * scores, targets, 7 * 0.1), np.asarray(next_loss(scores, targets, 0.1))
    )


def test_kept_choice_by_hand():
    """Keeps 2 of 4, of which the first and third are wanted; 2.5 is halfway between 3 and 2."""
    scores, targets = np.array([3.0, 4.0, 2.0, 1.0]), np.array([0.7, 0.1, 0.2, 0.0])
    tau = 0.5
    z = (scores - 2.5) / tau
    wanted = -2 * (0.7 * np.log(sigmoid(z[0])) + 0.2 * np.log(sigmoid(z[2])))
    unwanted = -(2 / 4) * (np.log(sigmoid(-z[1])) + np.log(sigmoid(-z[3])))
    assert_close(kept_loss(scores, targets, tau, 2.5, 2), wanted + unwanted)


def test_kept_choice_wants_no_atom_without_energy():
    """One nonzero target and two places: the second place is for nobody."""
    scores, targets = np.array([3.0, 4.0, 2.0, 1.0]), np.array([0.0, 0.0, 1.0, 0.0])
    z = (scores - 2.5) / 0.5
    unwanted = -(2 / 4) * np.log(sigmoid(-z[[0, 1, 3]])).sum()
    expected = -2 * np.log(sigmoid(z[2])) + unwanted
    assert_close(kept_loss(scores, targets, 0.5, 2.5, 2), expected)


def test_the_threshold_is_halfway_between_kept_and_not_kept():
    scores = jnp.array([3.0, 4.0, 2.0, 1.0])
    assert threshold_of(scores, 2) == 2.5
    assert threshold_of(scores, 4) == 0.5  # Below the smallest score there is only 0.
    assert threshold_of(jnp.full(3, 2.0), 1) == 2


def test_keeping_everything():
    scores, targets = np.array([3.0, 1.0]), np.array([0.25, 0.75])
    z = scores - 0.5
    expected = -2 * (targets * np.log(sigmoid(z))).sum()
    assert_close(kept_loss(scores, targets, 1.0, 0.5, 2), expected)


def test_kept_choice_holds_its_threshold_constant():
    """Raising every score with the threshold fixed helps the wanted and hurts the others."""
    scores, targets = np.array([3.0, 4.0, 2.0, 1.0]), np.array([0.7, 0.1, 0.2, 0.0])
    gradient = kept_loss_and_gradient(scores, targets, 0.5, 2.5, 2)[1]
    z = (scores - 2.5) / 0.5
    wanted = np.array([1, 0, 1, 0])
    expected = np.where(wanted, -2 * targets * sigmoid(-z), (2 / 4) * sigmoid(z)) / 0.5
    assert_close(gradient, expected)


def test_kept_choice_is_finite_far_from_the_threshold():
    scores, targets = np.array([1e6, 1.0, 0.0]), np.array([0.0, 1.0, 0.0])
    threshold = (1e6 + 1) / 2
    value, gradient = kept_loss_and_gradient(scores, targets, 1e-3, threshold, 1)
    # z = +- 5e8 nearly: a third for the first atom kept and all for the second one dropped.
    expected = (1e6 - threshold) / 1e-3 / 3 + (threshold - 1) / 1e-3
    assert_close(value, expected)
    assert np.isfinite(gradient).all()


# --- What the path met ---------------------------------------------------------------------------


def problem(dtype):
    A, _, y = random_problem(0, M, N, K, dtype, noise=0.2)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, N) * (-1.0) ** np.arange(N)
    return A, np.stack([y, y[::-1]]), weights


def omp_correlations(A, y, weights):
    """|a_j* r| / ||a_j|| with the residuals of ever longer runs of the oracle."""
    answers = [np.zeros(N)] + [oracles.omp(A, y, i, weights).x for i in range(1, K)]
    residuals = np.stack([y - A @ x for x in answers])
    return np.abs(residuals @ A.conj()) / np.linalg.norm(A, axis=0)


def iht_proposals(A, y, weights):
    """|x + eta A*(y - A x)| at the answers of ever longer runs of the oracle."""
    answers = [oracles.iht(A, y, K, i, STEP, weights).x for i in range(LAYERS)]
    return np.abs(np.stack([x + STEP * A.conj().T @ (y - A @ x) for x in answers]))


FAMILIES = {
    "omp": (lambda A, w: OMPNet(A, sparsity=K, weights=w), omp_correlations),
    "iht": (
        lambda A, w: IHTNet(A, sparsity=K, num_layers=LAYERS, step_size=STEP, weights=w),
        iht_proposals,
    ),
}


@jax.jit
def choices_and_gradients(net, Y):
    """The choices, and the gradients of the sum of the scores in the weights and all else."""
    graph, params, rest = nnx.split(net, nnx.Param, ...)

    def total(params, rest, Y):
        choices = nnx.merge(graph, params, rest).choices(Y)
        (met,), x = choices
        constants = jax.tree.leaves((met.threshold, x))
        return jnp.sum(met.scores) + sum(jnp.sum(jnp.abs(c)) for c in constants), choices

    gradients, choices = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(params, rest, Y)
    return choices, gradients


@pytest.mark.parametrize("dtype", slow_but([np.complex128], [np.float64, np.complex128]))
@pytest.mark.parametrize("family", FAMILIES)
def test_choices_are_those_of_the_hard_solver(family, dtype):
    make, magnitudes = FAMILIES[family]
    A, Y, weights = problem(dtype)
    choices, (in_weights, in_rest, in_Y) = choices_and_gradients(make(A, weights), Y)
    expected = np.stack([magnitudes(A, y, weights) for y in Y])
    (met,) = choices.met
    assert_close(met.scores, np.abs(weights) * expected)
    if family == "iht":
        ordered = np.sort(np.abs(weights) * expected, axis=-1)[..., ::-1]
        assert_close(met.threshold, ordered[..., K - 1 : K + 1].mean(axis=-1))
    hard = oracles.omp if family == "omp" else oracles.iht
    settings = () if family == "omp" else (LAYERS, STEP)
    assert_close(choices.x, np.stack([hard(A, y, K, *settings, weights).x for y in Y]))
    # Only the weights of the scores move; the path, the answer and the data are constants.
    assert_close(in_weights["weights"][...], np.sign(weights) * expected.sum(axis=(0, 1)))
    np.testing.assert_array_equal(in_Y, np.zeros_like(Y))
    for leaf in jax.tree.leaves(in_rest):
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))
