"""Networks that learn their matrix: column directions are trained, and column norms are kept."""

import io
import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import greedyjax as gj
import oracles
from greedyjax import nets, pursuit, training
from greedyjax.nets import Atoms, OMPNet, StepSize
from greedyjax.structures import SharedSupport
from greedyjax.training import fit, fit_many, losses
from helpers import assert_close, random_problem
from operator_kinds import matrix_free

M, N, K, LAYERS, NUM, TAU, STEP = 6, 9, 2, 3, 4, 0.2, 0.3
NORMS = np.random.default_rng(0).uniform(0.5, 2, N)
WEIGHTS = np.random.default_rng(1).uniform(0.5, 1.5, N)
TARGET = np.ones((NUM, N))


def problem(dtype=np.float64):
    """A matrix whose columns have several norms, and measurements."""
    A = random_problem(0, M, N, K, dtype)[0] * NORMS.astype(np.finfo(dtype).dtype)
    return A, np.stack([random_problem(1 + i, M, N, K, dtype, noise=0.2)[2] for i in range(NUM)])


A, Y = problem()
LAYERED = {"IHTNet", "NIHTNet", "HTPNet", "SubspacePursuitNet", "CoSaMPNet"}
every_net = pytest.mark.parametrize("name", ["OMPNet", *sorted(LAYERED)])


def net_of(name, A, **settings):
    layers = {"num_layers": LAYERS} if name in LAYERED else {}
    return getattr(nets, name)(A, sparsity=K, tau=TAU, weights=WEIGHTS, **layers, **settings)


def learning(name="OMPNet", A=A, **settings):
    return net_of(name, Atoms(A, learned=True), **settings)


def parts_of(z):
    """Real and imaginary part of a complex array, and a real one as it is."""
    return np.stack([z.real, z.imag]) if np.iscomplexobj(z) else z


def by_hand(parts, norms=NORMS):
    """The matrix with these directions."""
    directions = parts if parts.ndim == 2 else parts[0] + 1j * parts[1]
    return norms * directions / np.linalg.norm(directions, axis=0)


def moved(net, seed=2):
    """Its directions, set to others whose lengths are not 1."""
    rng = np.random.default_rng(seed)
    shape = net.atoms.shape
    parts = np.asarray(net.atoms[...]) + 0.1 * rng.standard_normal(shape)
    parts = (parts * rng.uniform(0.5, 2, shape[-1])).astype(net.atoms.dtype)
    net.atoms[...] = jnp.asarray(parts)
    return parts


def gradient_of(net, loss):
    """The derivative in the directions."""
    graph, params, rest = nnx.split(net, nnx.Param, ...)
    gradient = jax.jit(jax.grad(lambda params: loss(nnx.merge(graph, params, rest))))(params)
    return gradient["atoms"][...]


# --- What it computes ----------------------------------------------------------------------------


def soft_by_hand(name, A):
    if name == "OMPNet":
        return np.stack([oracles.soft_omp(A, y, K, TAU, WEIGHTS).x for y in problem(A.dtype)[1]])
    Y = problem(A.dtype)[1]
    return np.stack([oracles.soft_iht(A, y, K, TAU, LAYERS, STEP, WEIGHTS).x for y in Y])


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("name", ["OMPNet", "IHTNet"])
def test_values_and_the_derivative_through_the_normalisation_are_those_of_the_oracle(name, dtype):
    A, Y = problem(dtype)
    settings = {"step_size": STEP} if name in LAYERED else {}
    net = learning(name, A, **settings)
    assert_close(net.A, A)
    parts = moved(net)
    assert parts.dtype == np.float64
    assert parts.shape == parts_of(A).shape
    assert_close(net.A, by_hand(parts))
    assert_close(net(Y), soft_by_hand(name, by_hand(parts)))
    hard = [oracles.omp(by_hand(parts), y, K, WEIGHTS).x for y in Y]
    if name == "IHTNet":
        hard = [oracles.iht(by_hand(parts), y, K, LAYERS, STEP, WEIGHTS).x for y in Y]
    assert_close(net.harden()(Y), np.stack(hard))

    found = gradient_of(net, lambda net: jnp.sum(jnp.abs(net(Y) - TARGET) ** 2))
    loss = lambda parts: np.sum(np.abs(soft_by_hand(name, by_hand(parts)) - TARGET) ** 2)
    expected = oracles.finite_difference(loss, parts)
    assert np.abs(expected).max() > 1e-2
    # Central differences with steps of 1e-6 of a loss near 100 err by about 1e-8.
    assert_close(found, expected, rtol=1e-6, atol=1e-6)
    # Moving along a column changes nothing.
    along = np.sum(np.asarray(found) * parts, axis=tuple(range(parts.ndim - 1)))
    assert_close(along, np.zeros(N), atol=1e-9 * np.abs(expected).max())


@every_net
def test_at_the_start_it_is_the_network_with_that_matrix(name):
    fixed, net = net_of(name, A), learning(name)
    assert_close(net(Y), np.asarray(fixed(Y)))
    assert_close(net.harden()(Y), np.asarray(fixed.harden()(Y)))
    assert net.parameter_names() == ["weights", "atoms", "weights"]
    assert fixed.parameter_names() == ["weights", "weights"]
    same = net_of(name, Atoms(A))
    np.testing.assert_array_equal(same.A, fixed.A)
    assert same.parameter_names() == fixed.parameter_names()


def test_unrolled_takes_them_for_any_method():
    net = nets.Unrolled(pursuit.OMP(K), Atoms(A, learned=True), weights=WEIGHTS, tau=TAU)
    assert_close(net(Y), np.asarray(learning()(Y)))


@pytest.mark.parametrize("step_size", [None, StepSize(STEP, learned=True)])
def test_the_step_size_is_that_of_the_start_wherever_the_matrix_goes(step_size):
    """A solver divides by the power of two next to the largest entry, which training moves."""
    start = np.full((M, N), 0.4) + 0.01 * np.random.default_rng(3).standard_normal((M, N))
    net = learning("IHTNet", start, step_size=step_size)
    spiked = np.eye(M, N) + 0.1  # Its columns have one large entry each, or are as they were.
    net.atoms[...] = jnp.asarray(spiked)
    A = by_hand(spiked, np.linalg.norm(start, axis=0))
    assert np.abs(A).max() > 2 * np.abs(start).max()
    step = oracles.default_step_size(start) if step_size is None else STEP
    # Power iteration finds the norm to about 1e-4.
    loose = {"rtol": 1e-3, "atol": 1e-4} if step_size is None else {}
    assert_close(net.step_size, np.asarray(step), **loose)
    expected = [oracles.iht(A, y, K, LAYERS, float(net.step_size), WEIGHTS).x for y in Y]
    assert_close(net.harden()(Y), np.stack(expected))


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_dtypes_are_those_of_a_fixed_matrix(dtype):
    A_low, Y_low = jnp.asarray(A, dtype), jnp.asarray(Y, dtype)
    net = learning(A=A_low)
    assert (net.A.dtype, net(Y_low).dtype, net.harden()(Y_low).dtype) == (dtype,) * 3
    assert net.atoms.dtype == np.float32
    assert net.rebuild().A.dtype == dtype


def test_zero_and_equal_columns_are_finite_and_zero_stays():
    degenerate = A.copy()
    degenerate[:, 0], degenerate[:, 2] = 0, degenerate[:, 1]
    net = learning(A=degenerate)
    np.testing.assert_array_equal(net.A[:, 0], 0)
    gradient = gradient_of(net, lambda net: losses.residual(net, Y))
    assert bool(jnp.isfinite(gradient).all())
    np.testing.assert_array_equal(gradient[:, 0], 0)
    assert float(jnp.abs(gradient[:, 1:]).max()) > 1e-3
    nothing = gradient_of(net, lambda net: losses.residual(net, 0 * Y))
    np.testing.assert_array_equal(nothing, 0)


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_what_is_trained_does_not_depend_on_units(unit):
    """In single precision, where the squares of such columns are no numbers."""
    net = learning(A=(unit * A).astype(np.float32))
    assert_close(net.atoms[...], (A / NORMS).astype(np.float32))
    assert_close(net.A / np.float32(unit), A.astype(np.float32))


# --- Its loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize("complex_", [False, True])
def test_the_residual_is_that_of_plain_numpy(complex_):
    """The imaginary part of ``A x`` counts where measurements are real."""
    A = problem(np.complex128)[0] if complex_ else problem()[0]
    net = learning(A=A)
    X = np.stack([oracles.soft_omp(A, y, K, TAU, WEIGHTS).x for y in Y])
    expected = np.mean(np.sum(np.abs(Y - X @ A.T) ** 2, axis=1))
    assert_close(losses.residual(net, Y), np.asarray(expected))
    assert_close(losses.residual(net, Y, X), np.asarray(expected))
    assert_close(losses.residual(net_of("OMPNet", A), Y), np.asarray(expected))


def test_the_residual_of_snapshots_and_of_an_operator():
    frames = np.stack([Y, 2 * Y[:, ::-1]], axis=2)
    net = learning(structure=SharedSupport())
    expected = np.mean(np.sum((frames - np.asarray(A @ net(frames))) ** 2, axis=(1, 2)))
    assert_close(losses.residual(net, frames), np.asarray(expected))
    of_operator = losses.residual(net_of("OMPNet", matrix_free(A)), Y)
    assert_close(of_operator, np.asarray(losses.residual(net_of("OMPNet", A), Y)))


def test_hidden_rows_differentiate_the_matrix():
    """The rows that are left are a network of their own, whose columns have other norms."""
    net, folds = learning(), 3
    parts = moved(net)

    def loss(parts):
        A, errors = by_hand(parts), []
        for i, y in enumerate(Y):
            hidden = np.arange(M) % folds == i % folds
            x = oracles.soft_omp(A[~hidden], y[~hidden], K, TAU, WEIGHTS).x
            error = np.sum((y[hidden] - A[hidden] @ x) ** 2)
            errors.append(error / (hidden.mean() * np.sum(y**2)))
        return np.mean(errors)

    of_net = losses.hidden_rows(folds=folds)
    assert_close(of_net(net, Y), np.asarray(loss(parts)))
    found = gradient_of(net, lambda net: of_net(net, Y))
    assert_close(found, oracles.finite_difference(loss, parts), rtol=1e-6, atol=1e-7)


# --- Training ------------------------------------------------------------------------------------


def planted():
    """Unit atoms, signals of two of them, and atoms near the planted ones to start from."""
    rng = np.random.default_rng(4)
    true = rng.standard_normal((16, 20))
    true /= np.linalg.norm(true, axis=0)
    X = np.zeros((640, 20))
    places = np.argsort(rng.random(X.shape), axis=1)[:, :2]
    np.put_along_axis(X, places, rng.choice([-1, 1], (640, 2)) * rng.uniform(1, 2, (640, 2)), 1)
    begin = true + 0.1 * rng.standard_normal(true.shape)
    return true, X @ true.T, begin / np.linalg.norm(begin, axis=0)


def test_training_finds_planted_atoms_and_keeps_columns_at_norm_one():
    true, Y, begin = planted()
    net = OMPNet(Atoms(begin, learned=True), sparsity=2, tau=0.05)
    fitted = fit(
        net, (Y[:512], None), (Y[512:], None), loss=losses.residual, optimizer=optax.adam(1e-2),
        num_epochs=15, batch_size=32, key=jax.random.key(0),
    )  # fmt: skip
    distance = lambda A: np.linalg.norm(np.asarray(A) - true, axis=0)
    assert distance(fitted.net.A).mean() < 0.3 * distance(begin).mean()
    assert fitted.best_val_loss < 0.3 * fitted.history["val_loss"][0]
    assert_close(np.linalg.norm(fitted.net.A, axis=0), np.ones(20))
    assert_close(net.A, begin)  # The network that was given is as it was.
    # And in the hard solver, which has never seen these signals.
    error = lambda A: np.mean(gj.omp_batch(A, Y[512:], sparsity=2).residual_norm ** 2)
    assert error(fitted.net.A) < 0.3 * error(jnp.asarray(begin))


SETTINGS = {
    "loss": losses.residual, "optimizer": optax.adam(5e-2), "batch_size": 2,
    "key": jax.random.key(3), "progress": False,
}  # fmt: skip
DATA = (Y, None), (Y, None)


def assert_same(one, other, exact=True):
    compare = np.testing.assert_array_equal if exact else assert_close
    for name in ("atoms", "weights"):
        compare(getattr(one.net, name)[...], np.asarray(getattr(other.net, name)[...]))


def test_training_resumes_bit_for_bit_and_several_at_once_are_each_alone(tmp_path):
    whole = fit(learning(), *DATA, num_epochs=4, **SETTINGS)
    assert np.abs(whole.net.atoms[...] - learning().atoms[...]).max() > 1e-2
    fit(learning(), *DATA, num_epochs=2, checkpoint_dir=tmp_path, **SETTINGS)
    resumed = fit(learning(), *DATA, num_epochs=4, checkpoint_dir=tmp_path, **SETTINGS)
    assert_same(resumed, whole)
    with pytest.raises(ValueError, match="expected checkpoints of this training"):
        fit(net_of("OMPNet", A), *DATA, num_epochs=4, checkpoint_dir=tmp_path, **SETTINGS)
    starts = [learning(), learning(A=A[:, ::-1].copy())]
    for i, found in enumerate(fit_many(starts, *DATA, num_epochs=2, **SETTINGS)):
        alone = SETTINGS | {"key": jax.random.fold_in(SETTINGS["key"], i)}
        assert_same(found, fit(starts[i], *DATA, num_epochs=2, **alone), exact=False)


def test_atoms_that_learn_alone_are_not_called_dead():
    """Where weights have no derivative, as at a temperature far below all gaps."""
    loss = lambda net, Y, X: jnp.sum(net.A * jnp.arange(N)[None]) + 0 * jnp.sum(net.weights[...])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = fit(learning(), *DATA, num_epochs=1, **(SETTINGS | {"loss": loss}))
    assert fitted.history["gradient_norm"][1] > 1e-3


# --- Copies, files and other matrices ------------------------------------------------------------


def trained():
    net = learning()
    moved(net)
    return net


def test_a_copy_by_split_and_merge_and_a_file_have_the_same_answers():
    net = trained()
    expected = np.asarray(net(Y))
    graph, state = nnx.split(net)
    stored = pickle.dumps(jax.tree.map(np.asarray, nnx.to_pure_dict(state)))
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, pickle.loads(stored)))
    np.testing.assert_array_equal(nnx.merge(graph, state)(Y), expected)
    file = io.BytesIO()
    np.savez(file, A=net.A, weights=net.atom_weights)
    file.seek(0)
    arrays = np.load(file)
    again = OMPNet(arrays["A"], sparsity=K, tau=TAU, weights=arrays["weights"])
    assert_close(again(Y), expected)
    assert_close(learning(A=arrays["A"])(Y), expected)


def test_a_hardened_network_is_a_frozen_copy_that_pickles():
    net = trained()
    hard, expected = net.harden(), np.asarray(net.harden()(Y))
    by_function = net.harden(lambda A, y, *, sparsity, weights: gj.omp(
        A, y, sparsity=sparsity, weights=weights
    ))  # fmt: skip
    assert_close(by_function(Y), expected)
    at_start = learning().harden()(Y)
    assert np.abs(expected - at_start).max() > 1e-2
    net.atoms[...] = learning().atoms[...]
    np.testing.assert_array_equal(hard(Y), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(hard))(Y), expected)


def test_rebuild_goes_on_learning_unless_it_is_told_not_to():
    net, other = trained(), 2 * A[:, ::-1].copy()
    same, learned, fixed = net.rebuild(), net.rebuild(A=other), net.rebuild(A=Atoms(other))
    np.testing.assert_array_equal(same.atoms[...], net.atoms[...])
    assert_close(learned.A, other)
    assert learned.parameter_names() == ["weights", "atoms", "weights"]
    np.testing.assert_array_equal(fixed.A, other)
    assert fixed.parameter_names() == ["weights", "weights"]
    assert_close(learned(Y), np.asarray(fixed(Y)))
    back = fixed.rebuild(A=Atoms(other, learned=True))
    assert_close(back.atoms[...], other / np.linalg.norm(other, axis=0))


# --- Where it cannot work ------------------------------------------------------------------------


class Unknown:
    """An operator without norms of its columns."""

    shape = (M, N)
    dtype = np.dtype(np.float64)

    def matvec(self, x):
        return jnp.asarray(A) @ x

    def rmatvec(self, y):
        return jnp.asarray(A).T @ y


@pytest.mark.parametrize("make", [matrix_free, gj.dictionary, lambda A: Unknown()])
def test_operators_and_prepared_dictionaries_are_refused(make):
    with pytest.raises(TypeError, match=r"^A: expected an array, as atoms are learned; with an"):
        learning(A=make(A))
    with pytest.raises(TypeError, match=r"^A: expected an array, as atoms are learned; with an"):
        learning().rebuild(A=make(A))


@pytest.mark.wrong_types
def test_other_wrong_arguments_are_named():
    with pytest.raises(TypeError, match=r"^A\.learned: expected"):
        OMPNet(Atoms(A, learned=1), sparsity=K)
    with pytest.raises(ValueError, match=r"^A: expected .*NaN or inf"):
        learning(A=np.full((M, N), np.nan))
    with pytest.raises(ValueError, match=r"^A: expected"):
        learning(A=A[0])
    with pytest.raises(ValueError, match=r"^Y: expected shape \(batch, .*one signal is Y\[None"):
        losses.residual(learning(), Y[0])


def test_what_needs_a_fixed_matrix_says_so():
    with pytest.raises(ValueError, match=r"^loss: expected .*such as losses\.residual.*got losses"):
        fit(learning(), *DATA, num_epochs=1, **(SETTINGS | {"loss": losses.selection}))
    with pytest.raises(ValueError, match=r"^net: expected a network with a fixed matrix, such as"):
        training.learn_interactions(learning(), (Y, None), key=jax.random.key(0))
    fit(learning("IHTNet"), *DATA, num_epochs=0, val_loss=losses.selection, **SETTINGS)


def test_the_same_call_compiles_nothing_again():
    net, compiled = learning("IHTNet"), []

    def listen(name, seconds, **_):
        compiled.extend([name] if "compile" in name or "trace" in name else [])

    net(Y)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        net(Y)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == []
