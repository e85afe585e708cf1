"""Networks, losses and trainings with an operator in place of the matrix."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import greedyjax as gj
import oracles
from greedyjax import nets
from greedyjax.training import fit, losses
from helpers import assert_close, jit
from operator_kinds import KNOWN, TRACED, Duck, K, N, problem

TAU, STEP, LAYERS = 0.05, 0.05, 3
NETS = {
    "OMPNet": functools.partial(nets.OMPNet, sparsity=K, tau=TAU),
    "IHTNet": functools.partial(
        nets.IHTNet, sparsity=K, tau=TAU, num_layers=LAYERS, step_size=STEP
    ),
    "IHTNet, debias": functools.partial(
        nets.IHTNet, sparsity=K, tau=TAU, num_layers=LAYERS, debias=True
    ),
    "HTPNet": functools.partial(nets.HTPNet, sparsity=K, tau=TAU, num_layers=2),
    "SubspacePursuitNet": functools.partial(
        nets.SubspacePursuitNet, sparsity=K, tau=TAU, num_layers=2
    ),
    "CoSaMPNet": functools.partial(nets.CoSaMPNet, sparsity=K, tau=TAU, num_layers=2),
}
LOSSES = {
    "reconstruction": losses.reconstruction,
    "deep_supervision": losses.deep_supervision,
    "straight_through": losses.straight_through,
    "selection": losses.selection,
    "selection without signals": lambda net, Y, X: losses.selection(net, Y),
    "hidden_rows": losses.hidden_rows(folds=5),
}


def batch(pair="complex"):
    A, y, w = problem(pair)
    Y = np.stack([y, np.roll(y, 1), -2 * y[::-1], 1.5 * y])
    return A, Y, np.random.default_rng(1).standard_normal((len(Y), N)), w


def answers(net, Y):
    return net(Y), net.harden()(Y), net.layers(Y)


def by_iht(A, y, *, sparsity, weights):
    """A solver of the user's own, which gets the operator of the network."""
    return gj.iht(A, y, sparsity=sparsity, num_steps=2, step_size=STEP, weights=weights)


def test_a_network_takes_an_operator():
    """And is itself an argument of a jitted function, operator and all."""
    A, Y, _, w = batch()
    net = NETS["IHTNet"](TRACED["MatrixFree"](jnp.asarray(A)), weights=w)
    soft, hard, layers = jit(answers)(net, Y)
    for i, y in enumerate(Y):
        assert_close(soft[i], oracles.soft_iht(A, y, K, TAU, LAYERS, STEP, w).x)
        assert_close(hard[i], oracles.iht(A, y, K, LAYERS, STEP, w).x)
        assert_close(layers[i, 1], oracles.soft_iht(A, y, K, TAU, 2, STEP, w).x)


def test_the_step_size_of_an_operator():
    """1 / ||A||^2, where none is given."""
    A, *_ = batch()
    make = lambda A: nets.IHTNet(TRACED["BCOO"](A), sparsity=K, num_layers=2).step_size
    # Power iteration stops at a change of 1e-10, relatively.
    assert_close(jit(make)(A), oracles.default_step_size(A), rtol=1e-6)


def test_hidden_rows_of_an_operator():
    A, Y, _, w = batch("real")
    net = NETS["IHTNet"](TRACED["MatrixFree"](jnp.asarray(A)), weights=w)
    expected = 0.0
    for i, y in enumerate(Y):  # One signal for each of the first folds.
        hidden = np.arange(i, len(A), 5)
        kept = np.setdiff1d(np.arange(len(A)), hidden)
        x = oracles.soft_iht(A[kept], y[kept], K, TAU, LAYERS, STEP, w).x
        share = len(hidden) / len(A)
        expected += np.sum((y[hidden] - A[hidden] @ x) ** 2) / (share * np.sum(y**2))
    assert_close(jit(losses.hidden_rows(folds=5))(net, Y, None), expected / len(Y))


def everything(make, kind, A, *args):
    """Answers, losses, and gradients of these in the parameters."""
    operator = KNOWN[kind](A) if kind in KNOWN else None

    @jit
    def of(A, Y, X, w):
        net = make(operator or TRACED[kind](A), weights=w)
        graph, params, rest = nnx.split(net, nnx.Param, ...)

        def with_gradient(loss):
            return jax.value_and_grad(lambda p: loss(nnx.merge(graph, p, rest), Y, X))(params)

        found = {name: with_gradient(loss) for name, loss in LOSSES.items()}
        return answers(net, Y), net.harden(by_iht)(Y), jax.tree.leaves(found)

    return of(A, *args)


#: Networks with the numbers and the kinds of operator that each of them meets.
MET = {
    ("OMPNet", "complex"): ["MatrixFree", "a registered pytree"],
    ("IHTNet", "real A, complex y"): ["dictionary of BCOO"],
    ("HTPNet", "real"): ["BCOO"],
    ("CoSaMPNet", "complex"): ["as_operator of a duck"],
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pair"), MET)
def test_every_network_and_loss_takes_operators(name, pair):
    args = batch(pair)
    expected = everything(NETS[name], "array", *args)
    for kind in MET[name, pair]:
        found = everything(NETS[name], kind, *args)
        # Slopes of 1 / tau in each layer add up to some digits.
        jax.tree.map(lambda a, b: assert_close(a, b, rtol=1e-8, atol=1e-8), found, expected)


# --- Training ------------------------------------------------------------------------------------


def trained(operator, name="IHTNet", loss=losses.reconstruction, **settings):
    """The weights after a training, which are those of the last epoch."""
    A, _, _, w = batch()
    rng = np.random.default_rng(2)
    X = rng.standard_normal((8, N)) * (rng.random((8, N)) < 0.2)
    data = (X @ A.T, X)
    net = NETS[name](operator, weights=w)
    settings = {"num_epochs": 1, "batch_size": 4, "progress": False, **settings}
    fitted = fit(
        net, data, data, optimizer=optax.adam(0.01), key=jax.random.key(0), loss=loss, **settings
    )
    return fitted.net.weights[...], fitted.net.A


@pytest.mark.slow
def test_a_network_with_an_operator_is_trained():
    A, _, _, w = batch()
    expected, _ = trained(jnp.asarray(A), loss=losses.selection)
    assert np.abs(expected - w).max() > 0.01
    found, operator = trained(TRACED["MatrixFree"](jnp.asarray(A)), loss=losses.selection)
    assert_close(found, expected)
    # The arrays of an operator are no parameters.
    assert_close(operator.matvec(np.ones(N)), A @ np.ones(N))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "loss"), [("OMPNet", "hidden_rows"), ("IHTNet", "reconstruction")]
)
def test_trainings_take_operators(name, loss):
    A = jnp.asarray(batch()[0])
    settings = {"name": name, "loss": LOSSES[loss], "num_epochs": 2}
    expected, _ = trained(A, **settings)
    for operator in (TRACED["BCOO"](A), Duck(A, norms=True)):
        found, _ = trained(operator, **settings)
        assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_an_interrupted_training_of_an_operator_is_resumed(tmp_path):
    A = TRACED["MatrixFree"](jnp.asarray(batch()[0]))
    whole, _ = trained(A, num_epochs=2)
    trained(A, num_epochs=1, checkpoint_dir=tmp_path)
    resumed, _ = trained(A, num_epochs=2, checkpoint_dir=tmp_path)
    np.testing.assert_array_equal(resumed, whole)
