"""OMP-Net and IHT-Net, in batches, against the oracles of their solvers; and as nnx modules."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import greedyjax as gj
import oracles
from greedyjax.nets import IHTNet, OMPNet
from helpers import assert_close, random_problem

M, N, K, LAYERS, NUM = 10, 16, 3, 4, 6  # One shape for all, so that JAX compiles little.
TAU, STEP = 0.05, 0.3
FAMILIES = ("omp", "iht")
both_families = pytest.mark.parametrize("family", FAMILIES)
both_fields = pytest.mark.parametrize("dtype", [np.float64, np.complex128])

# nnx walks modules as graphs or as trees, by a switch that newer versions of flax have.
SWITCH = getattr(nnx, "set_graph_mode", None)
MODES = [True, False] if SWITCH else [True]


def in_mode(graph):
    return SWITCH(graph) if SWITCH else contextlib.nullcontext()


def problem(dtype, seed=0):
    """A matrix, six noisy signals' measurements, and weights of either sign."""
    A = random_problem(seed, M, N, K, dtype)[0]
    X = np.stack([random_problem(seed + 1 + i, M, N, K, dtype)[1] for i in range(NUM)])
    E = np.stack([random_problem(seed + 1 + i, M, N, K, dtype)[2] for i in range(NUM)])
    Y = (X @ A.T + 0.1 * E).astype(dtype)
    weights = np.random.default_rng(seed).uniform(0.5, 1.5, N) * (-1.0) ** np.arange(N)
    return A, Y, weights


def make(family, A, tau=TAU, weights=None, **settings):
    if family == "omp":
        return OMPNet(A, sparsity=K, tau=tau, weights=weights)
    settings = {"num_layers": LAYERS, "step_size": STEP, **settings}
    return IHTNet(A, sparsity=K, tau=tau, weights=weights, **settings)


def expected_soft(family, A, Y, weights, tau=TAU, step_size=STEP):
    if family == "omp":
        return np.stack([oracles.soft_omp(A, y, K, tau, weights).x for y in Y])
    solve = lambda y: oracles.soft_iht(A, y, K, tau, LAYERS, step_size, weights).x
    return np.stack([solve(y) for y in Y])


def expected_hard(family, A, Y, weights, step_size=STEP):
    if family == "omp":
        return np.stack([oracles.omp(A, y, K, weights).x for y in Y])
    return np.stack([oracles.iht(A, y, K, LAYERS, step_size, weights).x for y in Y])


TRACES = []  # One entry whenever JAX traces a network.


@jax.jit
def soft(net, Y):
    TRACES.append(net)
    return net(Y)


@jax.jit
def hard(net, Y):
    return net.harden()(Y)


@jax.jit
def value_and_gradient(net, Y, target):
    """Through nnx.split and nnx.merge, as training does it."""
    graph, params, rest = nnx.split(net, nnx.Param, ...)

    def loss(params):
        return jnp.sum(jnp.abs(nnx.merge(graph, params, rest)(Y) - target) ** 2)

    value, gradient = jax.value_and_grad(loss)(params)
    return value, gradient["weights"][...]


# --- Values --------------------------------------------------------------------------------------


@both_fields
@both_families
def test_the_network_equals_the_soft_oracle(family, dtype):
    A, Y, weights = problem(dtype)
    got = soft(make(family, A, weights=weights), Y)
    assert got.dtype == dtype
    assert_close(got, expected_soft(family, A, Y, weights))


@both_fields
@both_families
def test_the_hardened_network_equals_the_hard_oracle(family, dtype):
    A, Y, weights = problem(dtype)
    got = hard(make(family, A, weights=weights), Y)
    assert got.dtype == dtype
    assert_close(got, expected_hard(family, A, Y, weights))
    unweighted = expected_hard(family, A, Y, np.ones(N))
    assert np.abs(got - unweighted).max() > 0.1, "the weights change nothing here"


@both_families
def test_batches_of_any_shape(family):
    A, Y, weights = problem(np.float64)
    net = make(family, A, weights=weights)
    assert_close(soft(net, Y[0]), expected_soft(family, A, Y[:1], weights)[0])
    expected = expected_hard(family, A, Y, weights)
    assert_close(hard(net, Y.reshape(2, 3, M)), expected.reshape(2, 3, N))
    for solve in (soft, hard):
        assert jax.eval_shape(solve, net, Y[0]).shape == (N,)
        assert jax.eval_shape(solve, net, Y.reshape(2, 3, M)).shape == (2, 3, N)
        assert jax.eval_shape(solve, net, Y[:0]).shape == (0, N)


@both_families
def test_no_weights_are_ones(family):
    A, Y, _ = problem(np.complex128)
    net = make(family, A)
    assert net.weights[...].dtype == np.float64, "weights are real whatever A is"
    np.testing.assert_array_equal(net.weights[...], np.ones(N))
    assert_close(soft(net, Y), expected_soft(family, A, Y, np.ones(N)))


@both_families
def test_only_the_magnitudes_of_the_weights_matter(family):
    A, Y, weights = problem(np.float64)
    assert (weights < 0).any()
    positive, signed = make(family, A, weights=np.abs(weights)), make(family, A, weights=weights)
    np.testing.assert_array_equal(soft(positive, Y), soft(signed, Y))
    np.testing.assert_array_equal(hard(positive, Y), hard(signed, Y))


@both_families
def test_one_temperature_per_layer(family):
    A, Y, weights = problem(np.float64)
    layers = K if family == "omp" else LAYERS
    taus = np.geomspace(0.5, 0.01, layers)
    got = soft(make(family, A, tau=taus, weights=weights), Y)
    assert_close(got, expected_soft(family, A, Y, weights, taus))
    assert np.abs(got - expected_soft(family, A, Y, weights, taus[::-1])).max() > 1e-2


@both_families
def test_the_temperature_may_be_set_later(family):
    A, Y, weights = problem(np.float64)
    net = make(family, A, weights=weights)
    net.tau = jnp.full_like(net.tau, 0.3)
    assert_close(soft(net, Y), expected_soft(family, A, Y, weights, 0.3))


def test_the_default_step_size_is_that_of_the_norm():
    A, Y, weights = problem(np.complex128)
    net = make("iht", A, weights=weights, step_size=None)
    step_size = 1 / np.linalg.norm(A, 2) ** 2
    # Power iteration stops once stationary to eps^(2/3), see tests/linalg/test_norms.py.
    assert_close(net.step_size, step_size, rtol=1e-7, atol=0)
    expected = expected_soft("iht", A, Y, weights, step_size=step_size)
    assert_close(soft(net, Y), expected, rtol=1e-5, atol=1e-6)


@both_families
def test_single_precision_stays_single(family):
    A, Y, weights = problem(np.complex64)
    net = make(family, A, weights=weights)  # The weights are given in double precision.
    assert A.dtype == Y.dtype == np.complex64
    assert net.weights[...].dtype == net.tau.dtype == np.float32
    assert {jax.eval_shape(solve, net, Y).dtype for solve in (soft, hard)} == {
        np.dtype("complex64")
    }


@both_families
def test_no_signal_gives_zero(family):
    A, Y, weights = problem(np.complex128)
    net = make(family, A, weights=weights)
    np.testing.assert_array_equal(soft(net, 0 * Y), np.zeros((NUM, N)))
    np.testing.assert_array_equal(hard(net, 0 * Y), np.zeros((NUM, N)))
    value, gradient = value_and_gradient(net, 0 * Y, np.ones((NUM, N)))
    assert value == NUM * N
    assert np.isfinite(gradient).all()


# --- As nnx modules ------------------------------------------------------------------------------


@pytest.mark.parametrize("graph_mode", MODES)
@both_families
def test_weights_are_the_only_parameter(family, graph_mode):
    A, _, weights = problem(np.float64)
    with in_mode(graph_mode):
        net = make(family, A, weights=weights)
        params = nnx.state(net, nnx.Param)
        assert list(params) == ["weights"]
        np.testing.assert_array_equal(params["weights"][...], weights)
        graph, params, rest = nnx.split(net, nnx.Param, ...)
        assert {path[0] for path, _ in nnx.to_flat_state(params)} == {"weights"}
        assert "weights" not in {path[0] for path, _ in nnx.to_flat_state(rest)}
        merged = nnx.merge(graph, params, rest)
        np.testing.assert_array_equal(merged.weights[...], weights)
        np.testing.assert_array_equal(merged.A, A)


@jax.jit
def gradient_of_functions(A, Y, weights, target):
    """The same loss with the plain functions, for both families."""

    def total(solve):
        def loss(w):
            return jnp.sum(jnp.abs(jax.vmap(solve, (0, None))(Y, w) - target) ** 2)

        return jax.grad(loss)(weights)

    settings = {"num_steps": LAYERS, "step_size": STEP}
    return {
        "omp": total(lambda y, w: gj.soft_omp(A, y, sparsity=K, tau=TAU, weights=w).x),
        "iht": total(lambda y, w: gj.soft_iht(A, y, sparsity=K, tau=TAU, weights=w, **settings).x),
    }


@both_families
def test_gradient_equals_that_of_the_function_and_finite_differences(family):
    A, Y, weights = problem(np.complex128)
    target = np.ones((NUM, N))
    value, gradient = value_and_gradient(make(family, A, weights=weights), Y, target)

    def loss(w):
        return np.sum(np.abs(expected_soft(family, A, Y, w) - target) ** 2)

    assert_close(value, loss(weights))
    # Central differences with steps of 1e-6 of a loss near 100 carry an error of about 1e-8.
    expected = oracles.finite_difference(loss, weights)
    assert np.abs(expected).max() > 0.1
    assert_close(gradient, expected, rtol=1e-6, atol=1e-6)
    assert_close(gradient, gradient_of_functions(A, Y, weights, target)[family])


@pytest.mark.parametrize("graph_mode", MODES)
@both_families
def test_gradient_does_not_depend_on_the_mode(family, graph_mode):
    A, Y, weights = problem(np.complex128)
    target = np.ones((NUM, N))
    expected = value_and_gradient(make(family, A, weights=weights), Y, target)
    with in_mode(graph_mode):
        got = value_and_gradient(make(family, A, weights=weights), Y, target)
    assert_close(got[0], expected[0])
    assert_close(got[1], expected[1])


@both_families
def test_vmap_over_weights_and_signals(family):
    A, Y, weights = problem(np.float64)
    graph, params, rest = nnx.split(make(family, A, weights=weights), nnx.Param, ...)
    several = np.stack([weights, np.ones(N), weights[::-1]])
    params = jax.tree.map(lambda _: jnp.asarray(several), params)
    call = lambda params, y: nnx.merge(graph, params, rest)(y)
    got = jax.jit(jax.vmap(jax.vmap(call, (None, 0)), (0, None)))(params, Y)
    assert_close(got, np.stack([expected_soft(family, A, Y, w) for w in several]))


@both_families
def test_other_values_do_not_compile_again(family):
    A, Y, weights = problem(np.float64)
    soft(make(family, A, weights=weights), Y)
    before = len(TRACES)
    soft(make(family, 2 * A, tau=3 * TAU, weights=4 * weights), 5 * Y)
    assert len(TRACES) == before


@both_families
def test_a_network_owns_its_weights(family):
    A, Y, weights = problem(np.float64)
    given = jnp.asarray(weights)
    net = make(family, A, weights=given)
    other, hardened = net.rebuild(), net.harden()
    net.weights[...] = jnp.ones(N)
    np.testing.assert_array_equal(given, weights)
    np.testing.assert_array_equal(other.weights[...], weights)
    assert_close(jax.jit(hardened)(Y), expected_hard(family, A, Y, weights))


@both_families
def test_rebuild_keeps_everything_but_what_it_is_given(family):
    A, Y, weights = problem(np.float64)
    layers = K if family == "omp" else LAYERS
    taus = np.geomspace(0.5, 0.01, layers)
    net = make(family, A, tau=taus, weights=weights)
    assert_close(soft(net.rebuild(), Y), expected_soft(family, A, Y, weights, taus))
    ones = np.ones(N)
    assert_close(soft(net.rebuild(weights=ones), Y), expected_soft(family, A, Y, ones, taus))
    B = problem(np.float64, seed=50)[0]
    assert_close(soft(net.rebuild(A=B), Y), expected_soft(family, B, Y, weights, taus))


def test_rebuild_on_fewer_rows_than_layers():
    A, Y, weights = problem(np.float64)
    rows = slice(0, K - 1)
    net = OMPNet(A, sparsity=K, tau=np.geomspace(0.5, 0.01, K), weights=weights).rebuild(A=A[rows])
    assert net.sparsity == K - 1
    expected = np.stack([oracles.omp(A[rows], y[rows], K - 1, weights).x for y in Y])
    assert_close(hard(net, Y[:, rows]), expected)
    net = make("iht", A, weights=weights).rebuild(A=A[rows])
    assert (net.sparsity, net.num_layers, float(net.step_size)) == (K, LAYERS, STEP)


# --- Bad input -----------------------------------------------------------------------------------

GOOD = {"sparsity": K, "tau": TAU}
BAD = [
    ({"A": np.ones(M)}, ValueError, "A: expected an array with 2 axes"),
    ({"A": np.ones((M, N), int)}, TypeError, "A: expected floating-point or complex"),
    ({"A": np.full((M, N), np.nan)}, ValueError, "A: expected finite"),
    ({"A": None}, TypeError, "A: expected an array"),
    (
        {"sparsity": 0},
        ValueError,
        r"sparsity: expected an int between 1 and .* \(10, 16\).*, got 0",
    ),
    ({"sparsity": N + 1}, ValueError, "sparsity: expected an int between 1"),
    ({"sparsity": 3.0}, TypeError, "sparsity: expected an int"),
    ({"sparsity": True}, TypeError, "sparsity: expected an int"),
    ({"tau": 0.0}, ValueError, "tau: expected positive"),
    ({"tau": -1.0}, ValueError, "tau: expected positive"),
    ({"tau": np.nan}, ValueError, "tau: expected positive"),
    ({"tau": np.ones(2)}, ValueError, r"tau: expected a scalar or shape \(\d,\), got shape \(2,\)"),
    ({"tau": 1j}, TypeError, "tau: expected real"),
    ({"weights": np.ones(N - 1)}, ValueError, r"weights: expected shape \(16,\), got"),
    ({"weights": np.ones((N, 1))}, ValueError, "weights: expected an array with 1 axes"),
    ({"weights": np.ones(N, int)}, TypeError, "weights: expected floating"),
    ({"weights": np.ones(N) * 1j}, TypeError, "weights: expected real"),
    ({"weights": np.full(N, np.inf)}, ValueError, "weights: expected finite"),
]


@pytest.mark.wrong_types
@pytest.mark.parametrize(("change", "error", "message"), BAD)
@both_families
def test_bad_arguments_are_named(family, change, error, message):
    settings = {"A": problem(np.float64)[0], **GOOD, **change}
    if family == "iht":
        settings["num_layers"] = LAYERS
    with pytest.raises(error, match=f"^{message}"):
        {"omp": OMPNet, "iht": IHTNet}[family](settings.pop("A"), **settings)


def test_omp_takes_at_most_as_many_atoms_as_measurements():
    A = problem(np.float64)[0]
    with pytest.raises(ValueError, match="^sparsity: expected an int between 1 and 10"):
        OMPNet(A, sparsity=M + 1)
    assert IHTNet(A, sparsity=N, num_layers=1, step_size=STEP).sparsity == N


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"num_layers": 0}, ValueError, "num_layers: expected an int >= 1, got 0"),
        ({"num_layers": 2.0}, TypeError, "num_layers: expected an int"),
        ({"step_size": 0.0}, ValueError, "step_size: expected a positive"),
        ({"step_size": np.ones(2)}, ValueError, "step_size: expected a scalar"),
        ({"step_size": np.inf}, ValueError, "step_size: expected a positive"),
    ],
)
def test_bad_arguments_of_iht_alone(change, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make("iht", problem(np.float64)[0], **change)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("Y", "error", "message"),
    [
        (np.ones(M + 1), ValueError, r"Y: expected shape \(..., 10\), got shape \(11,\)"),
        (np.ones((M, 3)), ValueError, r"Y: expected shape \(..., 10\)"),
        (np.ones(()), ValueError, r"Y: expected shape \(..., 10\)"),
        (np.ones(M, int), TypeError, "Y: expected floating"),
        (np.full(M, np.nan), ValueError, "Y: expected finite"),
        ("measurements", TypeError, "Y: expected an array"),
    ],
)
@both_families
def test_bad_measurements_are_named(family, Y, error, message):
    net = make(family, problem(np.float64)[0])
    for solve in (net, net.harden()):
        with pytest.raises(error, match=f"^{message}"):
            solve(Y)
