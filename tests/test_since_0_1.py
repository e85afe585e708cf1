"""Problems of users of release 0.1: each failed there, for the reason in the test's name.

Only names that both releases have are used, so that the file runs on either:

    PYTHONPATH=<a checkout of 0.1> pytest -m "" tests/test_since_0_1.py

What compiles for long is slow here; the files of each part check the same on smaller programs.
"""

import functools
import itertools
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy import sparse

import greedyjax as gj
from greedyjax import nets, training

M, N, K, NUM = 12, 24, 3, 4
RNG = np.random.default_rng(0)
A = RNG.standard_normal((M, N))
A /= np.linalg.norm(A, axis=0)
X = np.zeros((NUM, N))
for x in X:
    x[RNG.choice(N, K, replace=False)] = 1, -2, 3
Y = X @ A.T
SOLVERS = {
    "omp": {},
    "iht": {"num_steps": 2},
    "htp": {"num_steps": 2},
    "subspace_pursuit": {"num_steps": 2},
    "cosamp": {"num_steps": 2},
}
BATCHES = {name: getattr(gj, f"{name}_batch") for name in ("omp", "iht")}


def each(name, A, Y, soft=False):
    solve = getattr(gj, f"soft_{name}" if soft else name)
    settings = SOLVERS[name] | ({"tau": 0.1} if soft else {})
    return jax.vmap(lambda y: solve(A, y, sparsity=K, **settings))(Y)


def batch(name, A, Y):
    return BATCHES[name](A, Y, sparsity=K, batch_size=2, **SOLVERS[name])


CALLS = {
    **{name: functools.partial(each, name) for name in SOLVERS},
    **{f"soft_{name}": functools.partial(each, name, soft=True) for name in SOLVERS},
    **{f"{name}_batch": functools.partial(batch, name) for name in BATCHES},
}
# Over Explicit axes some worked.
ON_EXPLICIT_AXES = ["omp", "omp_batch", "iht", "soft_iht"]
# Of the others, the programs of single signals of the OMP family had no messages.
SENT = ["iht", "soft_iht", "htp", "subspace_pursuit", "cosamp", "omp_batch", "iht_batch"]
OF_HALVES = ["omp", "soft_omp", "subspace_pursuit", "cosamp", "soft_htp"]


@pytest.fixture
def signals_on():
    """A mesh of two devices, and the arguments on it: the signals are divided, the matrix not."""

    def place(kind):
        mesh = jax.make_mesh((2,), ("signals",), axis_types=(kind,), devices=jax.devices()[:2])
        placed = jax.device_put(
            (A, Y), (NamedSharding(mesh, P()), NamedSharding(mesh, P("signals")))
        )
        return mesh, placed

    return place


def assert_as_on_one(name, found):
    expected = CALLS[name](A, Y)
    np.testing.assert_array_equal(found.support, expected.support)
    np.testing.assert_allclose(found.x, expected.x, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_EXPLICIT_AXES)
def test_solvers_run_over_explicit_axes(name, signals_on):
    _, placed = signals_on(AxisType.Explicit)
    assert_as_on_one(name, jax.jit(CALLS[name])(*placed))


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_solvers_run_inside_of_shard_map(name, signals_on):
    mesh, placed = signals_on(AxisType.Auto)
    specs = {"in_specs": (P(), P("signals")), "out_specs": P("signals")}
    assert_as_on_one(name, jax.jit(jax.shard_map(CALLS[name], mesh=mesh, **specs))(*placed))


@pytest.mark.slow
@pytest.mark.parametrize("name", SENT)
def test_signals_on_two_devices_send_no_messages(name, signals_on):
    mesh, placed = signals_on(AxisType.Auto)
    compiled = jax.jit(CALLS[name]).lower(*placed).compile()
    sent = re.findall(r" (all-gather|all-reduce|all-to-all|collective-permute)", compiled.as_text())
    # Of a block by the Gram matrix the compiler has to know whether all signals are accurate.
    assert sent == (["all-reduce"] if name == "omp_batch" else [])
    x = compiled(*placed).x
    assert x.sharding.is_equivalent_to(NamedSharding(mesh, P("signals")), x.ndim)


def test_scores_that_are_equal_after_cancellation_tie():
    """0.49999979 and 0.50000018 in single precision, both 1/2 on paper: the lower index counts."""
    A = np.column_stack([np.eye(4), [0, 2**-0.5, 2**-0.5, 0]]).astype(np.float32)
    y = np.array([0, 2, 1, 1], np.float32)
    path = [gj.omp(A, y, sparsity=k).support[-1] for k in (1, 2, 3)]
    expected = greedy_in_fractions(A=A.astype(float), y=y.astype(float), sparsity=3)
    assert [int(j) for j in path] == expected


def greedy_in_fractions(A, y, sparsity):
    """OMP in double precision, of which scores within 1e-9 of the largest tie."""
    support, r = [], y
    for _ in range(sparsity):
        scores = np.abs(A.T @ r)
        scores[support] = -1
        support.append(int(np.flatnonzero(scores >= scores.max() - 1e-6)[0]))
        r = y - A[:, support] @ np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    return support


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*itertools.product(OF_HALVES, [jnp.float16, jnp.bfloat16]), ("soft_iht", jnp.bfloat16)],
)
def test_of_half_precision_the_answer_is_in_half_precision(name, dtype):
    found = CALLS[name](jnp.asarray(A, dtype), jnp.asarray(Y, dtype))
    assert found.x.dtype == dtype
    exact = CALLS[name](*(np.asarray(jnp.asarray(z, dtype), np.float64) for z in (A, Y)))
    np.testing.assert_allclose(found.x.astype(float), exact.x, rtol=0.02, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", BATCHES)
def test_batches_export_for_any_number_of_signals(name):
    (num,) = export.symbolic_shape("num")
    solve = jax.jit(functools.partial(batch, name, A))
    program = export.export(solve)(jax.ShapeDtypeStruct((num, M), np.float64))
    x = jax.tree.leaves(program.call(Y))[0]
    np.testing.assert_allclose(x, CALLS[f"{name}_batch"](A, Y).x, atol=1e-10)


def test_a_hardened_network_pickles():
    solve = nets.OMPNet(A, sparsity=K, tau=0.1).harden()
    again = pickle.loads(pickle.dumps(solve))
    np.testing.assert_array_equal(again(Y), solve(Y))


FIT = {"num_epochs": 2, "key": jax.random.key(0), "progress": False}


def fitted(optimizer, **settings):
    net = nets.OMPNet(A, sparsity=K, tau=0.1)
    return training.fit(net, (Y, X), (Y, X), optimizer=optimizer, **FIT, **settings)


@pytest.mark.slow
def test_a_line_search_trains():
    history = fitted(optax.lbfgs(), batch_size=NUM).history
    assert history["val_loss"][-1] < history["val_loss"][0]


@pytest.mark.slow
def test_a_batch_larger_than_the_data_is_said():
    with pytest.warns(RuntimeWarning, match="batch_size"):
        fitted(optax.sgd(0.1), batch_size=2 * NUM)


def test_an_exact_recovery_is_called_converged():
    assert gj.omp(A, Y[0], sparsity=K).converged


def test_a_stalled_iht_is_not_called_converged():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((200, 500)) / np.sqrt(200)
    x = np.zeros(500)
    x[rng.choice(500, 40, replace=False)] = rng.choice([-1, 1], 40)
    found = gj.iht(A, A @ x, sparsity=40, num_steps=3000)
    assert found.residual_norm > 0.1 * np.linalg.norm(A @ x)
    assert not found.converged


@pytest.mark.slow
def test_the_noise_of_a_coherent_dictionary_is_not_called_signal():
    """128 steering vectors of 32 antennas, 4 paths a signal at 12 angles between them, 15 dB."""
    rng = np.random.default_rng(0)
    steering = lambda angles: np.exp(1j * np.pi * np.arange(32)[:, None] * angles) / np.sqrt(32)
    normal = lambda *shape: (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / 2**0.5
    paths = steering(rng.uniform(-1, 1, 12))
    active = np.argsort(rng.random((1000, 12)))[:, :4]
    H = np.einsum("ip,mip->im", normal(1000, 4) / 2, paths[:, active])
    noise = 10 ** (-15 / 20) * np.sqrt(np.mean(np.abs(H) ** 2))
    Y = H + noise * normal(*H.shape)
    found = training.sparse_bayes(steering(2 * np.arange(128) / 128 - 1), Y)
    assert 0.75 * noise < found.noise < 1.25 * noise


MESSAGES = {
    "a masked array": (lambda: gj.omp(np.ma.masked_array(A, A > 1), Y[0], sparsity=K), "filled"),
    "A transposed": (lambda: gj.omp(A.T, Y[0], sparsity=K), "transpose of A"),
    "Y transposed": (lambda: gj.omp_batch(A, Y.T, sparsity=K), "transpose"),
    "tol": (lambda: gj.omp(A, Y[0], sparsity=K, tol=0.1), "atol"),
    "n_nonzero_coefs": (lambda: gj.omp(A, Y[0], n_nonzero_coefs=K), "sparsity"),
    "many signals": (lambda: gj.omp(A, Y, sparsity=K), "omp_batch"),
}


@pytest.mark.wrong_types
@pytest.mark.parametrize("name", MESSAGES)
def test_messages_name_the_way_out(name):
    call, way_out = MESSAGES[name]
    with pytest.raises((TypeError, ValueError), match=way_out):
        call()


def test_a_sparse_matrix_of_scipy_is_a_matrix():
    found = gj.omp(sparse.csr_matrix(A), Y[0], sparsity=K)
    np.testing.assert_allclose(found.x, CALLS["omp"](A, Y).x[0], atol=1e-10)
