"""The parameters of networks, against oracles with weights that are computed by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import greedyjax as gj
import oracles
from greedyjax.nets import IHTNet, OMPNet, StepSize, Temperature, Weights
from greedyjax.training import fit, fit_many
from helpers import assert_close, random_problem

M, N, K, LAYERS, NUM, TAU, STEP = 10, 16, 3, 4, 6, 0.05, 0.3
GROUPS = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 0, 0, 1, 1, 3])
SHARED = np.random.default_rng(0).uniform(0.5, 1.5, 5)
TAUS = np.geomspace(0.2, 0.05, LAYERS)
POSITIVE = Weights(SHARED, groups=GROUPS, positive=True)
TIED = Weights(SHARED, groups=GROUPS)


def problem(dtype=np.float64):
    A = random_problem(0, M, N, K, dtype)[0]
    X = np.stack([random_problem(1 + i, M, N, K, dtype)[1] for i in range(NUM)])
    noise = np.stack([random_problem(1 + i, M, N, K, dtype)[2] for i in range(NUM)])
    return A, (X @ A.T + 0.1 * noise).astype(dtype), X


A, Y, X = problem()
TARGET = np.ones((NUM, N))

# Everything that can be learned, for each network: what its layers share and what they do not.
NETS = {
    "omp": lambda: OMPNet(
        A, sparsity=K, tau=Temperature(TAU, learned=True), weights=POSITIVE
    ),
    "iht": lambda: IHTNet(
        A, sparsity=K, num_layers=LAYERS, tau=Temperature(TAUS, learned=True),
        step_size=StepSize(STEP, learned=True), weights=POSITIVE,
    ),
}  # fmt: skip
every_net = pytest.mark.parametrize("name", NETS)


def soft_by_hand(params):
    """What the parameters mean, in the oracle of the solver; also the weights."""
    weights, tau = np.exp(params["weights"])[GROUPS], np.exp(params["log_tau"])
    if "log_step" not in params:
        return np.stack([oracles.soft_omp(A, y, K, tau, weights).x for y in Y])
    # The parameter is the step for the matrix over a power of two.
    step = np.exp(params["log_step"]) / 2.0 ** (2 * np.floor(np.log2(np.abs(A).max())))
    return np.stack([oracles.soft_iht(A, y, K, tau, LAYERS, step, weights).x for y in Y])


def numbers(net):
    """The parameters as a dict of NumPy arrays."""
    return {name: np.array(value[...]) for name, value in nnx.state(net, nnx.Param).items()}


@jax.jit
def answers_and_gradient(net, Y):
    """Soft and hard answers, and the gradient of a loss of the soft ones in the parameters."""
    graph, params, rest = nnx.split(net, nnx.Param, ...)

    def loss(params):
        got = nnx.merge(graph, params, rest)(Y)
        return jnp.sum((got - TARGET) ** 2), got

    gradient, soft = jax.grad(loss, has_aux=True)(params)
    return soft, net.harden()(Y), {name: gradient[name][...] for name in params}


@every_net
def test_values_and_gradients_are_those_of_the_oracle_with_the_parameters_by_hand(name):
    net = NETS[name]()
    params = numbers(net)
    assert sorted(params) == ["log_step", "log_tau", "weights"][name == "omp" :]
    assert_close(params["weights"], np.log(SHARED))
    soft, hard, gradient = answers_and_gradient(net, Y)
    assert_close(soft, soft_by_hand(params))
    weights = SHARED[GROUPS]
    if name == "omp":
        assert_close(hard, np.stack([oracles.omp(A, y, K, weights).x for y in Y]))
    else:
        assert_close(hard, np.stack([oracles.iht(A, y, K, LAYERS, STEP, weights).x for y in Y]))
    for changed in params:

        def loss(values, changed=changed):
            return np.sum((soft_by_hand({**params, changed: values}) - TARGET) ** 2)

        expected = oracles.finite_difference(loss, params[changed])
        assert np.abs(expected).max() > 1e-2, f"{changed} moves nothing here"
        # Central differences with steps of 1e-6 of a loss near 100 err by about 1e-8.
        assert_close(gradient[changed], expected, rtol=1e-6, atol=1e-6)


def test_a_group_is_a_weight_tied_by_hand():
    """Its derivative is the sum of those of its atoms, whatever is done with their weights."""
    net = OMPNet(A, sparsity=K, weights=Weights(SHARED, per_layer=True, groups=GROUPS))
    np.testing.assert_array_equal(net.atom_weights, np.tile(SHARED[GROUPS], (K, 1)))
    slopes = np.random.default_rng(1).standard_normal((K, N))
    graph, params, rest = nnx.split(net, nnx.Param, ...)
    loss = lambda params: jnp.sum(slopes * nnx.merge(graph, params, rest).atom_weights)
    expected = [slopes[:, group == GROUPS].sum(axis=1) for group in range(len(SHARED))]
    assert_close(jax.grad(loss)(params)["weights"][...], np.stack(expected, axis=1))


def test_what_a_positive_weight_begins_at_is_what_it_was_given():
    net = OMPNet(A, sparsity=K, weights=Weights(positive=True))
    np.testing.assert_array_equal(net.weights[...], np.zeros(N))
    np.testing.assert_array_equal(net.atom_weights, np.ones(N))
    given = np.geomspace(1e-30, 1e30, N)
    net = OMPNet(A, sparsity=K, weights=Weights(given, positive=True))
    assert_close(net.atom_weights, given, atol=0)


def test_the_temperature_reads_and_sets_what_is_learned():
    one, each = NETS["omp"](), NETS["iht"]()
    assert_close(one.tau, np.array(TAU))
    assert_close(each.tau, TAUS)
    for net in (one, each):
        net.tau = 0.3
        assert_close(net.tau, np.full(net.log_tau.shape, 0.3))
    each.tau = TAUS[::-1]
    assert_close(each.tau, TAUS[::-1])
    assert_close(each.rebuild().log_tau[...], np.log(TAUS[::-1]))
    with pytest.raises(ValueError, match=r"^tau: expected a scalar, as all .*shape \(3,\)"):
        one.tau = TAUS[:K]


def test_a_fixed_temperature_is_checked_where_it_is_set():
    net = OMPNet(A, sparsity=K)
    for bad, message in ((-1.0, "positive"), (np.ones(2), "a scalar or shape")):
        with pytest.raises(ValueError, match=f"^tau: expected {message}"):
            net.tau = bad
    assert_close(net.tau, np.full(K, 1e-3))


@every_net
def test_rebuilt_and_hardened_networks_are_frozen_copies(name):
    net = NETS[name]()
    before, hardened, copy = numbers(net), net.harden(), net.rebuild()
    expected = np.asarray(answers_and_gradient(net, Y)[1])
    for value in nnx.state(net, nnx.Param).values():
        value[...] = value[...] + np.linspace(0, 2, value[...].size).reshape(value.shape)
    net.weights[...] = jnp.asarray(before["weights"][::-1].copy())
    for parameter, value in numbers(copy).items():
        np.testing.assert_array_equal(value, before[parameter])
    assert_close(jax.jit(hardened)(Y), expected)
    assert np.abs(answers_and_gradient(net, Y)[1] - expected).max() > 1e-3


@pytest.mark.parametrize("learned", [False, True])
def test_rebuild_keeps_the_step_size_in_the_units_of_the_matrix(learned):
    """Solvers divide a matrix by its power of two, which is another one here."""
    B, step = A[:, ::-1] / 4, StepSize(STEP, learned=learned)
    net = IHTNet(A, sparsity=K, num_layers=LAYERS, tau=TAU, step_size=step)
    other = net.rebuild(A=B)
    assert_close(other.step_size, STEP)
    expected = [oracles.soft_iht(B, y, K, TAU, LAYERS, STEP).x for y in Y]
    assert_close(other(Y), np.stack(expected))
    assert_close(other.rebuild(A=A).step_size, STEP)
    assert_close(net.rebuild().step_size, STEP)


def test_rebuild_takes_weights_as_the_network_did():
    net = NETS["omp"]().rebuild(weights=2 * SHARED)
    assert_close(net.weights[...], np.log(2 * SHARED))
    with pytest.raises(ValueError, match=r"^weights: expected shape \(5,\), got shape \(16,\)"):
        net.rebuild(weights=np.ones(N))
    with pytest.raises(ValueError, match="^A: expected 16 atoms, as many as groups"):
        net.rebuild(A=A[:, 1:])
    tau = Temperature(TAUS[:K], learned=True)
    layered = OMPNet(A, sparsity=K, tau=tau, weights=Weights(per_layer=True))
    fewer = layered.rebuild(A=A[: K - 1])
    assert (fewer.weights.shape, fewer.log_tau.shape, fewer.sparsity) == ((2, N), (2,), K - 1)
    tied = OMPNet(A, sparsity=K, weights=Weights(SHARED[GROUPS], per_layer=True))
    np.testing.assert_array_equal(tied.atom_weights, np.tile(SHARED[GROUPS], (K, 1)))


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_a_learned_step_does_not_depend_on_the_units_of_the_matrix(unit):
    """In single precision, where the step itself would be no number."""
    settings = {"sparsity": K, "num_layers": LAYERS, "step_size": StepSize(learned=True)}
    one = IHTNet(A.astype(np.float32), **settings)
    other = IHTNet((unit * A).astype(np.float32), **settings)
    assert np.isfinite(other.log_step[...])
    # The same number but for the powers of two on either side of each, and for their rounding.
    ratio = float(other.unit / np.float32(unit) / one.unit)
    expected = one.log_step[...] + 2 * np.log(ratio)
    assert_close(other.log_step[...], expected, rtol=1e-4, atol=1e-5)


# --- Any hard solver -----------------------------------------------------------------------------


def test_weights_in_another_solver():
    net = OMPNet(A, sparsity=K, weights=Weights(SHARED, groups=GROUPS))
    solver = partial(gj.iht, num_steps=LAYERS, step_size=STEP)
    solve = jax.jit(net.harden(solver))
    weights = SHARED[GROUPS]
    expected = np.stack([oracles.iht(A, y, K, LAYERS, STEP, weights).x for y in Y])
    assert_close(solve(Y.reshape(2, 3, M)), expected.reshape(2, 3, N))
    net.weights[...] = jnp.ones(5)
    assert_close(solve(Y[0]), expected[0])
    assert jax.eval_shape(solve, Y[:0]).shape == (0, N)


def test_another_solver_goes_through_in_blocks():
    """No vmap over all signals: many signals need no more memory than some."""
    sizes = []

    @jax.custom_batching.custom_vmap
    def adjoint(A, y):
        return A.T @ y

    @adjoint.def_vmap
    def batched(axis_size, in_batched, A, Y):
        sizes.append(axis_size)
        return Y @ A, True

    def solver(A, y, *, sparsity, weights):
        zero = jnp.zeros((), jnp.int32)
        return gj.Recovery(adjoint(A, y), jnp.arange(sparsity), jnp.sum(y), zero, zero)

    num = 2**17 + 5
    many = np.random.default_rng(0).standard_normal((num, M))
    assert_close(jax.jit(OMPNet(A, sparsity=K).harden(solver))(many), many @ A)
    assert sizes
    assert max(sizes) < num / 2


# --- Training ------------------------------------------------------------------------------------

SETTINGS = {"optimizer": optax.adam(5e-2), "batch_size": 3, "key": jax.random.key(3)}
DATA = (Y, X), (Y, X)


def assert_same(one, other):
    for name, value in numbers(one.net).items():
        np.testing.assert_array_equal(value, numbers(other.net)[name])
    np.testing.assert_array_equal(one.history["val_loss"], other.history["val_loss"])


def loss(net, Y, X):
    """Of all that is learned; no solver, which would have to be compiled with its gradient."""
    return jnp.mean((net.atom_weights - Y[0, 0]) ** 2) + jnp.mean(net.tau) + net.step_size**2


def learning(tau=TAU, positive=True):
    """All options."""
    return IHTNet(
        A, sparsity=K, num_layers=2, tau=Temperature(tau, learned=True),
        step_size=StepSize(STEP, learned=True), weights=POSITIVE if positive else TIED,
    )  # fmt: skip


run = partial(fit, loss=loss, **SETTINGS)


def test_training_moves_all_of_it_and_resumes(tmp_path):
    net = learning()
    whole = run(net, *DATA, num_epochs=4)
    for name, value in numbers(whole.net).items():
        assert np.abs(value - numbers(net)[name]).min() > 1e-3, name
    assert whole.history["val_loss"][-1] < 0.9 * whole.history["val_loss"][0]
    assert_close(whole.history["tau"][whole.best_epoch], np.asarray(whole.net.tau))
    assert whole.history["tau"][0] == pytest.approx(TAU)
    run(net, *DATA, num_epochs=2, checkpoint_dir=tmp_path)
    assert_same(run(net, *DATA, num_epochs=4, checkpoint_dir=tmp_path), whole)
    # As many numbers of another meaning are another training.
    weights = learning(positive=False)
    message = "expected checkpoints of this training, got parameters .*logarithms"
    with pytest.raises(ValueError, match=message):
        run(weights, *DATA, num_epochs=4, checkpoint_dir=tmp_path)


def test_several_at_once_as_each_alone():
    nets = [learning(), learning(2 * TAU)]
    settings = {**SETTINGS, "loss": loss, "num_epochs": 2}
    for i, found in enumerate(fit_many(nets, *DATA, **settings)):
        key = jax.random.fold_in(SETTINGS["key"], i)
        alone = fit(nets[i], *DATA, **{**settings, "key": key})
        for name, value in numbers(found.net).items():
            assert_close(value, numbers(alone.net)[name])


def test_weights_that_learn_nothing_are_named_whatever_else_learns():
    loss = lambda net, Y, X: jnp.sum(net.tau) + 1e-13 * jnp.sum(net.weights[...])
    net = OMPNet(A, sparsity=K, tau=Temperature(TAU, learned=True))
    with pytest.warns(RuntimeWarning, match="fit: the gradient of the weights was below 1e-12"):
        fitted = fit(net, *DATA, loss=loss, num_epochs=1, **SETTINGS)
    # All parameters: that of tau is tau, which a step of Adam lowers by a twentieth.
    assert fitted.history["gradient_norm"][1] == pytest.approx(TAU * (1 + np.exp(-0.05)) / 2)
