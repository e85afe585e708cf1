"""Every relaxation against its definition: values, hard limits, ties, gradients, losses."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
import relaxation_oracles
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.sorting import (
    BoundaryGate,
    Gate,
    NeuralSort,
    Relaxation,
    Selector,
    SoftSort,
    SparseSort,
)
from greedyjax.training import losses
from helpers import assert_close, jit, random_problem, slow_but
from optimal_transport import OptimalTransport
from oracles import finite_difference, hardsort, topk_mask
from oracles import softsort as softsort_oracle

N = 7
BY_ROWS = {
    "SoftSort": (SoftSort, softsort_oracle),
    "NeuralSort": (NeuralSort, relaxation_oracles.neuralsort),
    "SparseSort": (SparseSort, relaxation_oracles.sparsesort),
    "transport": (OptimalTransport, relaxation_oracles.transport),
}
ALL = BY_ROWS | {"BoundaryGate": (BoundaryGate, relaxation_oracles.boundary_gate)}
SCORES = {
    "generic": [0.3, 1.2, 0.8, 0.1, 2.0, 0.4, 0.9],
    "zeros": [0.0] * N,
    "all equal": [2.0] * N,
    "a tie at the top": [3.0, 1.0, 3.0, 0.0, 3.0, 1.5, 0.5],
    "a tie across the k-th": [3.0, 1.0, 1.0, 1.0, 1.0, 0.0, 2.0],
}
TAUS = np.array([1e-6, 1e-2, 0.1, 0.5, 3.0, 1e3])

every_relaxation = pytest.mark.parametrize("name", ALL)
by_rows = pytest.mark.parametrize("name", BY_ROWS)
every_k = pytest.mark.parametrize("k", slow_but([3], [1, 3, N]))


@functools.cache
def results(name, k, dtype):
    """Mask, rows where there are any, and derivatives of both, for all scores and temperatures."""
    relaxation = ALL[name][0]

    def everything(v, tau):
        def value(v, tau):
            selector = relaxation(tau)
            mask, indices = selector.keep(v, k)
            if name not in BY_ROWS:
                return (mask,), indices
            return (mask, selector.first(v, k).weight, selector.next(v).weight), indices

        def loss(v, tau):
            values, _ = value(v, tau)
            return sum(
                jnp.vdot(jnp.cos(jnp.arange(x.size, dtype=dtype)), x.ravel()) for x in values
            )

        gradients = jax.grad(loss, (0, 1))(v, tau)
        return *value(v, tau), gradients, jax.jvp(loss, (v, tau), (v, tau))[1]

    over_taus = jax.vmap(everything, (None, 0))
    compiled = jit(jax.vmap(over_taus, (0, None)))
    return jax.tree.map(
        np.asarray, compiled(np.array(list(SCORES.values()), dtype), TAUS.astype(dtype))
    )


# --- Values --------------------------------------------------------------------------------------


@every_k
@every_relaxation
def test_values_are_those_of_the_definition(name, k):
    values, *_ = results(name, k, np.float64)
    oracle = ALL[name][1]
    for i, v in enumerate(SCORES.values()):
        for j, tau in enumerate(TAUS):
            rows = oracle(np.array(v), tau, k)
            assert_close(values[0][i, j], rows.sum(axis=0))
            if name in BY_ROWS:
                assert_close(values[1][i, j], rows)
                assert_close(values[2][i, j], oracle(np.array(v), tau, 1)[0])


@pytest.mark.slow  # Five programs more.
@every_k
@every_relaxation
def test_single_precision_agrees_with_double(name, k):
    single, double = results(name, k, np.float32)[0], results(name, k, np.float64)[0]
    warm = TAUS >= 0.1  # Below that rounding of the scores is more than rounding of the rows.
    for mine, exact in zip(single, double, strict=True):
        assert mine.dtype == np.float32
        assert_close(mine[:, warm], exact[:, warm], rtol=2e-4, atol=2e-5)


@every_k
@by_rows
def test_rows_are_distributions(name, k):
    mask, rows, _ = results(name, k, np.float64)[0]
    assert rows.min() >= 0
    assert_close(rows.sum(axis=-1), np.ones(rows.shape[:-1]))
    assert_close(mask.sum(axis=-1), np.full(mask.shape[:-1], float(k)))


@every_k
@every_relaxation
def test_the_cold_limit_is_the_hard_sort(name, k):
    values, indices, *_ = results(name, k, np.float64)
    v = np.array(SCORES["generic"])
    assert_close(values[0][0, 0], topk_mask(v, k))
    if name in BY_ROWS:
        assert_close(values[1][0, 0], hardsort(v, k))
    for row in indices[0]:
        assert row.tolist() == np.argsort(-v)[:k].tolist()


@by_rows
def test_equal_scores_share_a_row_equally_at_any_temperature(name):
    _, rows, first = results(name, 3, np.float64)[0]
    for tied in ("zeros", "all equal"):
        i = list(SCORES).index(tied)
        assert_close(rows[i], np.full((len(TAUS), 3, N), 1 / N))
    i = list(SCORES).index("a tie at the top")
    assert_close(first[i, 0], np.array([1, 0, 1, 0, 1, 0, 0]) / 3)


def test_sparse_rows_are_exactly_zero_further_than_tau_away():
    rows = SparseSort(jnp.array(0.5)).first(jnp.array(SCORES["generic"]), 3).weight
    v = np.array(SCORES["generic"])
    distance = np.abs(np.sort(v)[::-1][:3, None] - v[None, :])
    assert np.all(np.asarray(rows)[distance >= 0.5] == 0)
    assert np.sum(np.asarray(rows) > 0) > 3


@pytest.mark.parametrize("seed", range(20))
def test_the_boundary_gate_errs_by_its_boundary_gap_alone(seed):
    rng = np.random.default_rng(seed)
    v = np.repeat(rng.uniform(0, 1, 8), 3)  # Every score three times: internal ties everywhere.
    k, tau = 9, 10 ** rng.uniform(-2, -1)
    mask, _ = jit(lambda v, tau: BoundaryGate(tau).keep(v, k))(v, tau)
    ordered = np.sort(v)[::-1]
    gap = ordered[k - 1] - ordered[k]
    error = np.abs(mask - topk_mask(v, k)).max()
    assert error <= np.exp(-gap / (2 * tau)) * (1 + 1e-12)
    assert_close(error, 1 / (1 + np.exp(gap / (2 * tau))))


def test_close_scores_above_the_boundary_disturb_softsort_and_not_the_gate():
    tau = 0.01
    v = jnp.array([1.0, 1 + tau / 2, 1 + tau, 0.0, 0.1])  # The boundary is 90 temperatures wide.
    hard = topk_mask(np.asarray(v), 3)
    assert np.abs(BoundaryGate(tau).keep(v, 3)[0] - hard).max() < 1e-15
    assert np.abs(gj.soft_topk_mask(v, k=3, tau=tau) - hard).max() > 0.01


# --- Derivatives ---------------------------------------------------------------------------------


@every_k
@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
@every_relaxation
def test_derivatives_are_finite_and_units_cancel(name, dtype, k):
    _, _, (by_scores, by_tau), forward = results(name, k, dtype)
    assert np.all(np.isfinite(by_scores))
    assert np.all(np.isfinite(by_tau))
    scores, taus = np.array(list(SCORES.values())), TAUS
    terms = np.concatenate(
        [by_scores * scores[:, None, :], (by_tau * taus[None, :])[..., None]], axis=-1
    ).astype(np.float64)
    # Scores and temperature share their units: the derivative along both is 0.
    size = np.abs(terms).sum(axis=-1)
    allowed = 1e3 * np.finfo(dtype).eps * (size + 1)
    assert np.all(np.abs(terms.sum(axis=-1)) <= allowed)
    assert np.all(np.abs(forward) <= allowed)


@pytest.mark.parametrize("tau", slow_but([0.5], [0.1, 0.5]))
@every_relaxation
def test_gradients_are_those_of_the_definition(name, tau):
    relaxation, oracle = ALL[name]
    rng = np.random.default_rng(0)
    v, cotangent = rng.uniform(0, 2, N), rng.standard_normal(N)
    loss = lambda v, tau: relaxation(tau).keep(v, 3)[0] @ cotangent
    by_scores, by_tau = jit(jax.grad(loss, (0, 1)))(v, tau)
    by_hand = lambda v, tau: float(oracle(v, tau, 3).sum(axis=0) @ cotangent)
    differences = finite_difference(lambda v: by_hand(v, tau), v)
    assert np.abs(differences).max() > 1e-2
    assert_close(by_scores, differences, rtol=1e-6, atol=1e-7)  # Differences of step 1e-6.
    assert_close(by_tau, finite_difference(lambda t: by_hand(v, float(t)), np.array(tau)),
                 rtol=1e-6, atol=1e-7)  # fmt: skip


# --- Losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SoftSort", "NeuralSort", "transport"])
def test_the_loss_of_the_next_choice_is_the_energy_under_the_first_row(name):
    relaxation, oracle = ALL[name]
    rng = np.random.default_rng(0)
    v, t = rng.uniform(0, 2, N), rng.dirichlet(np.ones(N))
    loss = jit(lambda v, t, tau: relaxation(tau).next_loss(v, t))
    for tau in (0.1, 0.5):
        p = oracle(v, tau, 1)[0]
        assert_close(loss(v, t, tau), -np.log(p @ (t + 1e-6)))


def fenchel_young(z, t):
    """sup_p <p, z> - |p|^2 / 2 over the simplex, plus |t|^2 / 2, minus <t, z>."""
    p = relaxation_oracles.simplex_projection(z)
    return p @ z - p @ p / 2 + t @ t / 2 - t @ z


def test_the_sparse_loss_of_the_next_choice_is_fenchel_young():
    rng = np.random.default_rng(0)
    loss = jit(jax.value_and_grad(lambda v, t, tau: SparseSort(tau).next_loss(v, t)))
    for tau in (0.05, 0.5, 5.0):
        v, t = rng.uniform(0, 2, N), rng.dirichlet(np.ones(N))
        value, gradient = loss(v, 0.3 * t, tau)  # Targets count by their shares.
        assert_close(value, fenchel_young(v / tau, t))
        p = relaxation_oracles.sparsesort(v, tau, 1)[0]
        assert_close(gradient, (p - t) / tau)
    value, gradient = loss(np.array([9.0, 1.0]), np.array([0.0, 1.0]), 0.1)
    assert_close(gradient, np.array([10.0, -10.0]))  # A missed atom has a gradient.
    assert loss(np.array([9.0, 1.0]), np.zeros(2), 0.1)[0] == 0


def test_the_sparse_loss_of_what_is_kept_pulls_a_missed_atom_with_slope_one():
    v, t, threshold, tau = np.array([3.0, 4.0, 2.0, 1.0]), np.array([0.7, 0.0, 0.0, 0.3]), 2.5, 0.5
    both = jit(jax.value_and_grad(lambda v, t, at: SparseSort(tau).kept_loss(v, t, at, 2)))
    value, gradient = both(v, t, threshold)
    z = (v - threshold) / tau
    plus = lambda z: np.where(z <= -1, 0, np.where(z >= 1, z, (z + 1) ** 2 / 4))
    expected = 2 * (0.7 * plus(-z[0]) + 0.3 * plus(-z[3]) + (plus(z[1]) + plus(z[2])) / 4)
    assert_close(value, expected)
    assert_close(gradient[3], np.asarray(-2 * 0.3 / tau))


def test_the_gate_loses_what_softsort_loses():
    rng = np.random.default_rng(0)
    args = *map(jnp.asarray, (rng.uniform(0, 2, N), rng.dirichlet(np.ones(N)), 1.1)), 3
    expected = SoftSort(jnp.asarray(0.3)).kept_loss(*args)
    assert_close(BoundaryGate(jnp.asarray(0.3)).kept_loss(*args), np.asarray(expected))


# --- In networks ---------------------------------------------------------------------------------

A, X, Y = random_problem(0, 12, 20, 3, np.float64)
NETS = {
    "OMPNet": lambda relaxation: OMPNet(A, sparsity=3, tau=0.05, relaxation=relaxation),
    "IHTNet": lambda relaxation: IHTNet(
        A, sparsity=3, num_layers=4, tau=0.05, relaxation=relaxation
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "net"), slow_but([("SparseSort", "OMPNet")], itertools.product(BY_ROWS, NETS))
)
def test_networks_run_and_harden_with_any_relaxation(name, net):
    relaxation = BY_ROWS[name][0]
    network = NETS[net](relaxation)
    solve = gj.soft_omp if net == "OMPNet" else functools.partial(gj.soft_iht, num_steps=4)
    soft = solve(A, Y, sparsity=3, tau=0.05, relaxation=relaxation).x
    assert_close(network(Y), np.asarray(soft))
    assert_close(network.layers(Y)[-1], np.asarray(soft))
    hard = NETS[net](SoftSort).harden()(Y)
    np.testing.assert_array_equal(network.harden()(Y), hard)
    targets = jnp.asarray(np.abs(X) ** 2 / np.sum(np.abs(X) ** 2))
    choices = network.choices(Y)
    made = relaxation(jnp.asarray(0.05))
    next_loss, kept_loss = jit(made.next_loss), jit(lambda *args: made.kept_loss(*args, 3))
    met = choices.met[0]
    scores, each = np.asarray(met.scores), []
    for i in range(network.num_layers):
        if met.threshold is None:
            # As if the atoms chosen before did not exist.
            still = np.flatnonzero(~np.asarray(met.closed)[i])
            each.append(next_loss(scores[i][still], np.asarray(targets)[still]))
        else:
            each.append(kept_loss(scores[i], targets, np.asarray(met.threshold)[i]))
    # Sorting by transport weighs the far-away scores of those atoms a little.
    rtol = 1e-5 if name == "transport" else None
    assert_close(network.choice_loss(choices, targets), np.mean(each), rtol=rtol)
    assert np.isfinite(jit(losses.selection)(network, Y[None], X[None]))


def test_a_gate_serves_the_network_of_iht():
    network = NETS["IHTNet"](BoundaryGate)
    expected = gj.soft_iht(A, Y, sparsity=3, tau=0.05, num_steps=4, relaxation=BoundaryGate).x
    assert_close(network(Y), np.asarray(expected))
    assert np.isfinite(jit(losses.selection)(network, Y[None], X[None]))


# --- Protocols -----------------------------------------------------------------------------------


def test_what_is_shipped_keeps_the_protocols():
    for relaxation, _ in BY_ROWS.values():
        assert isinstance(relaxation(0.1), Selector)
        assert issubclass(relaxation, Relaxation)
    assert isinstance(BoundaryGate(0.1), Gate)
    assert not isinstance(BoundaryGate(0.1), Selector)
