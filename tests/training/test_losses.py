"""The losses and their gradients, against NumPy loops and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import learning_oracles
import oracles
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.training import losses
from helpers import assert_close, random_problem, slow_but

M, N, K, LAYERS, STEP, NUM = 10, 16, 3, 4, 0.3, 4
TAU = 0.2
FAMILIES = ("omp", "iht")
both_families = pytest.mark.parametrize("family", FAMILIES)


def problem(dtype, signals):
    """Signals of dtype `signals`, one of them with fewer nonzeros, and noisy measurements."""
    A = random_problem(0, M, N, K, dtype)[0]
    X = np.stack([random_problem(1 + i, M, N, K - (i == 2), signals)[1] for i in range(NUM)])
    X[1] *= 3  # Of another size: targets are fractions.
    E = np.stack([random_problem(1 + i, M, N, K, dtype)[2] for i in range(NUM)])
    weights = np.random.default_rng(0).uniform(0.5, 1.5, N) * (-1.0) ** np.arange(N)
    return A, (X @ A.T + 0.2 * E).astype(dtype), X, weights


def make(family, A, weights):
    if family == "omp":
        return OMPNet(A, sparsity=K, tau=TAU, weights=weights)
    settings = {"num_layers": LAYERS, "step_size": STEP}
    return IHTNet(A, sparsity=K, tau=TAU, weights=weights, **settings)


def selection_oracle(family, A, Y, X, weights, path_weights=None):
    if family == "omp":
        return learning_oracles.omp_selection_loss(A, Y, X, weights, K, TAU, path_weights)
    return learning_oracles.iht_selection_loss(A, Y, X, weights, K, TAU, LAYERS, STEP, path_weights)


def reconstruction_oracle(family, A, Y, X, weights):
    """The batch mean of ||x_hat - x||^2, of the real part of x_hat where x is real."""
    total = 0.0
    for y, x in zip(Y, X, strict=True):
        if family == "omp":
            x_hat = oracles.soft_omp(A, y, K, TAU, weights).x
        else:
            x_hat = oracles.soft_iht(A, y, K, TAU, LAYERS, STEP, weights).x
        error = (x_hat if np.iscomplexobj(x) else x_hat.real) - x
        total += np.sum(np.abs(error) ** 2)
    return total / len(Y)


def with_gradient(loss):
    @jax.jit
    def value_and_gradient(net, Y, X):
        graph, params, rest = nnx.split(net, nnx.Param, ...)
        of_params = lambda params: loss(nnx.merge(graph, params, rest), Y, X)
        value, gradient = jax.value_and_grad(of_params)(params)
        return value, gradient["weights"][...]

    return value_and_gradient


selection = with_gradient(losses.selection)
reconstruction = with_gradient(losses.reconstruction)
hard_reconstruction = jax.jit(losses.hard_reconstruction)


# --- Selection -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "signals"),
    slow_but(
        [(np.complex128, np.float64), (np.complex128, None)],
        [(np.complex128, np.float64), (np.float64, np.float64), (np.complex128, None)],
    ),
)
@both_families
def test_selection_and_its_gradient(family, dtype, signals):
    """With true signals, of a complex system and of a real one, and without any."""
    A, Y, X, weights = problem(dtype, signals or dtype)
    X = X if signals else None
    value, gradient = selection(make(family, A, weights), Y, X)
    assert_close(value, selection_oracle(family, A, Y, X, weights))

    # The path is a constant of the definition: it is held fixed while the weights move.
    moved = lambda w: selection_oracle(family, A, Y, X, w, path_weights=weights)
    expected = oracles.finite_difference(moved, weights)
    assert np.abs(expected).max() > 1e-2
    # Central differences with steps of 1e-6 carry an error of about 1e-9.
    assert_close(gradient, expected, rtol=1e-6, atol=1e-8)


@both_families
def test_selection_ignores_the_units_of_the_signals(family):
    A, Y, X, weights = problem(np.complex128, np.float64)
    net = make(family, A, weights)
    value, gradient = selection(net, Y, X)
    scales = np.array([1e-3, 5.0, 1e3, 1.0])[:, None]
    for scaled in (1000 * X, -X, scales * X):
        other_value, other_gradient = selection(net, Y, scaled)
        assert_close(other_value, value)
        assert_close(other_gradient, gradient)
    other = selection(net, Y, X[:, ::-1])[0]
    assert abs(other - value) > 1e-2, "other atoms are other targets"


@pytest.mark.parametrize("signals", ["true", "zero", "none"])
@both_families
def test_selection_of_nothing_is_finite(family, signals):
    A, Y, X, weights = problem(np.complex128, np.float64)
    X = {"true": X, "zero": 0 * X, "none": None}[signals]
    value, gradient = selection(make(family, A, weights), 0 * Y, X)
    assert_close(value, selection_oracle(family, A, 0 * Y, X, weights))
    np.testing.assert_array_equal(gradient, np.zeros(N))  # Zero scores, whatever the weights.


# --- Reconstruction ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "signals"), [("omp", np.complex128), ("omp", np.float64), ("iht", np.float64)]
)
def test_reconstruction_and_its_gradient(family, signals):
    A, Y, X, weights = problem(np.complex128, signals)
    value, gradient = reconstruction(make(family, A, weights), Y, X)
    loss = lambda w: reconstruction_oracle(family, A, Y, X, w)
    assert_close(value, loss(weights))
    # Central differences with steps of 1e-6 of a loss near 10 carry an error of about 1e-8.
    assert_close(gradient, oracles.finite_difference(loss, weights), rtol=1e-6, atol=1e-7)


def test_a_real_signal_is_compared_with_the_real_part():
    A, Y, X, weights = problem(np.complex128, np.float64)
    real = reconstruction(make("omp", A, weights), Y, X)[0]
    same_as_complex = reconstruction(make("omp", A, weights), Y, X.astype(complex))[0]
    assert real < same_as_complex - 1e-3


@pytest.mark.parametrize(
    ("family", "signals"), [("omp", np.complex128), ("omp", np.float64), ("iht", np.float64)]
)
def test_hard_reconstruction(family, signals):
    A, Y, X, weights = problem(np.complex128, signals)
    got = hard_reconstruction(make(family, A, weights), Y, X)
    total = 0.0
    for y, x in zip(Y, X, strict=True):
        if family == "omp":
            x_hat = oracles.omp(A, y, K, weights).x
        else:
            x_hat = oracles.iht(A, y, K, LAYERS, STEP, weights).x
        error = (x_hat if np.iscomplexobj(X) else x_hat.real) - x
        total += np.sum(np.abs(error) ** 2)
    assert_close(got, total / NUM)


@both_families
def test_reconstruction_of_nothing_is_finite(family):
    A, Y, X, weights = problem(np.complex128, np.float64)
    value, gradient = reconstruction(make(family, A, weights), 0 * Y, X)
    assert_close(value, np.mean(np.sum(np.abs(X) ** 2, axis=1)))
    assert np.isfinite(gradient).all()


# --- Other losses of the answers -----------------------------------------------------------------


def soft_error(family, A, y, x, weights, layers):
    """||x_hat - x||^2 after so many layers, of the real part where x is real."""
    if family == "omp":
        x_hat = oracles.soft_omp(A, y, layers, TAU, weights).x
    else:
        x_hat = oracles.soft_iht(A, y, K, TAU, layers, STEP, weights).x
    return np.sum(np.abs((x_hat if np.iscomplexobj(x) else x_hat.real) - x) ** 2)


deep_supervision = with_gradient(losses.deep_supervision)
straight_through = with_gradient(losses.straight_through)


@both_families
def test_deep_supervision_and_its_gradient(family):
    A, Y, X, weights = problem(np.complex128, np.float64)
    value, gradient = deep_supervision(make(family, A, weights), Y, X)
    layers = range(1, (K if family == "omp" else LAYERS) + 1)

    def loss(w):
        pairs = zip(Y, X, strict=True)
        return np.mean([soft_error(family, A, y, x, w, i) for y, x in pairs for i in layers])

    assert_close(value, loss(weights))
    # Central differences with steps of 1e-6 of a loss near 10 carry an error of about 1e-8.
    assert_close(gradient, oracles.finite_difference(loss, weights), rtol=1e-6, atol=1e-7)


@both_families
def test_straight_through_is_hard_with_the_derivative_of_soft(family):
    """d/dw ||h - x||^2 = 2 (h - x) dh/dw, where dh/dw is that of the soft answer."""
    A, Y, X, weights = problem(np.complex128, np.float64)
    net = make(family, A, weights)
    value, gradient = straight_through(net, Y, X)
    if family == "omp":
        hard = np.stack([oracles.omp(A, y, K, weights).x.real for y in Y])
        soft = lambda w: np.stack([oracles.soft_omp(A, y, K, TAU, w).x.real for y in Y])
    else:
        settings = (LAYERS, STEP)
        hard = np.stack([oracles.iht(A, y, K, *settings, weights).x.real for y in Y])
        soft = lambda w: np.stack([oracles.soft_iht(A, y, K, TAU, *settings, w).x.real for y in Y])
    assert_close(value, np.sum((hard - X) ** 2) / NUM)
    expected = oracles.finite_difference(
        lambda w: 2 * np.sum((hard - X) * (soft(w) - soft(weights))) / NUM, weights
    )
    assert np.abs(expected - reconstruction(net, Y, X)[1]).max() > 1e-2, "not that of soft alone"
    # Central differences with steps of 1e-6 of numbers near 10 carry an error of about 1e-8.
    assert_close(gradient, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", [deep_supervision, straight_through])
@both_families
def test_losses_of_the_answers_to_nothing_are_finite(family, loss):
    A, Y, X, weights = problem(np.complex128, np.float64)
    value, gradient = loss(make(family, A, weights), 0 * Y, X)
    assert_close(value, np.mean(np.sum(np.abs(X) ** 2, axis=1)))
    assert np.isfinite(gradient).all()


# --- Prediction of hidden rows -------------------------------------------------------------------

FOLDS = 3  # Of ten rows: three in each fold, and the last one is never hidden.
hidden_rows = with_gradient(losses.hidden_rows(folds=FOLDS))


def hidden_rows_oracle(family, A, Y, weights):
    """Signal i without the rows i, i + 3, i + 6 modulo 3; its step size is that of all rows."""
    total = 0.0
    for i, y in enumerate(Y):
        hidden = np.arange(i % FOLDS, 9, FOLDS)
        kept = np.setdiff1d(np.arange(M), hidden)
        if family == "omp":
            x_hat = oracles.soft_omp(A[kept], y[kept], K, TAU, weights).x
        else:
            x_hat = oracles.soft_iht(A[kept], y[kept], K, TAU, LAYERS, STEP, weights).x
        error = np.sum(np.abs(y[hidden] - A[hidden] @ x_hat) ** 2)
        total += error / (len(hidden) / M * np.sum(np.abs(y) ** 2))
    return total / len(Y)


@pytest.mark.parametrize(
    ("family", "dtype"),
    slow_but(
        [("omp", np.complex128), ("iht", np.complex128)],
        [("omp", np.complex128), ("omp", np.float64), ("iht", np.complex128)],
    ),
)
def test_hidden_rows_and_its_gradient(family, dtype):
    A, Y, _, weights = problem(dtype, np.float64)  # Four signals, so one fold is met twice.
    value, gradient = hidden_rows(make(family, A, weights), Y, None)
    loss = lambda w: hidden_rows_oracle(family, A, Y, w)
    assert_close(value, loss(weights))
    expected = oracles.finite_difference(loss, weights)
    assert np.abs(expected).max() > 1e-2
    # Central differences with steps of 1e-6 carry an error of about 1e-9.
    assert_close(gradient, expected, rtol=1e-6, atol=1e-8)


def test_hidden_rows_sees_neither_units_nor_signals():
    A, Y, X, weights = problem(np.complex128, np.float64)
    net = make("omp", A, weights)
    net.tau = net.tau * 1000
    value, gradient = hidden_rows(net, 1000 * Y, X)
    net.tau = net.tau / 1000
    expected = hidden_rows(net, Y, None)
    assert_close(value, expected[0])
    assert_close(gradient, expected[1])


@both_families
def test_hidden_rows_of_nothing_is_nothing(family):
    A, Y, _, weights = problem(np.complex128, np.float64)
    value, gradient = hidden_rows(make(family, A, weights), 0 * Y, None)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(N))


def test_hidden_rows_is_one_function_per_number_of_folds():
    """So that training again with it does not compile again."""
    assert losses.hidden_rows(folds=FOLDS) is losses.hidden_rows(folds=FOLDS)
    assert losses.hidden_rows(folds=FOLDS) is not losses.hidden_rows(folds=FOLDS + 1)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("folds", "error", "message"),
    [
        (1, ValueError, "expected an int >= 2, got 1"),
        (2.0, TypeError, "expected an int"),
        (M + 1, ValueError, "expected at most the 10 rows of net.A, got 11"),
    ],
)
def test_hidden_rows_names_bad_folds(folds, error, message):
    A, Y, _, weights = problem(np.float64, np.float64)
    with pytest.raises(error, match=f"^folds: {message}"):
        losses.hidden_rows(folds=folds)(make("omp", A, weights), Y)


# --- All of them ---------------------------------------------------------------------------------

NEED_SIGNALS = (
    losses.reconstruction,
    losses.hard_reconstruction,
    losses.deep_supervision,
    losses.straight_through,
)


@pytest.mark.parametrize("loss", NEED_SIGNALS)
def test_reconstruction_needs_signals(loss):
    A, Y, _, weights = problem(np.complex128, np.complex128)
    with pytest.raises(ValueError, match="^X: expected the true signals, got None"):
        loss(make("omp", A, weights), Y, None)


def test_every_loss_is_a_real_scalar():
    A, Y, X, weights = problem(np.complex64, np.complex64)
    for loss in (*NEED_SIGNALS, losses.selection, losses.hidden_rows(folds=FOLDS)):
        out = jax.eval_shape(loss, make("omp", A, weights), jnp.asarray(Y), jnp.asarray(X))
        assert (out.shape, out.dtype) == ((), np.float32)
