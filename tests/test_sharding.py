"""Arrays on two devices: the answers of one device, on the signal's device, and no messages.

`conftest.py` divides the processor into two devices.
"""

import functools
import itertools
import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import greedyjax as gj
from greedyjax import operators
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.sorting import SparseSort
from greedyjax.sorting._hardsort import _top_of_spread
from greedyjax.structures import SharedSupport
from greedyjax.training import fit, losses
from greedyjax.training._epochs import Setup, _batches, of_one, start
from helpers import assert_close, random_problem, slow_but

M, N, K, NUM = 12, 24, 3, 12
PURSUIT, STEPS, SOFT = {"sparsity": K}, {"num_steps": 2}, {"tau": 0.1}
A = random_problem(0, M, N, K, np.float64)[0]
X = np.zeros((NUM, N))
for i, x in enumerate(X):
    x[np.random.default_rng(i).choice(N, K, replace=False)] = 1 + np.arange(K)
Y = X @ A.T + 0.01 * np.random.default_rng(0).standard_normal((NUM, M))


def devices(kind):
    return jax.make_mesh((2,), ("signals",), axis_types=(kind,), devices=jax.devices("cpu")[:2])


def each(solve, **settings):
    return lambda A, Y: jax.vmap(lambda y: solve(A, y, **PURSUIT, **settings))(Y)


def batch(solve, prepare=lambda A: A, **settings):
    return lambda A, Y: solve(prepare(A), Y, batch_size=2, **PURSUIT, **settings)


OMP_NET = OMPNet(A, **PURSUIT, **SOFT)
LENGTH = 1 / np.linalg.norm(A, 2) ** 2  # By default JAX works it out, operation by operation.
IHT_NET = IHTNet(A, num_layers=2, step_size=LENGTH, **PURSUIT, **SOFT)
SPARSE = OMPNet(A, relaxation=SparseSort, **PURSUIT, **SOFT)
gram = functools.partial(gj.dictionary, gram=True)
READY = {
    "MaskedFFT": operators.MaskedFFT(np.arange(M), N),
    "DCT": operators.DCT(M),
    "Wavelet": operators.Wavelet(M, "haar", 2),
    "Convolution": operators.Convolution(A[:2, :3], M),
    "Steering": operators.Steering(M, N),
    "Product": operators.Product([A, operators.Wavelet(N, "db2", 2)]),
    "Sum": operators.Sum([A, operators.MaskedFFT(np.arange(M), N)]),
}
READY["stacks"] = operators.HStack(
    [READY["DCT"], operators.VStack([A[:5], operators.MaskedFFT(np.arange(M - 5), N)])]
)

# Over Auto axes XLA may gather what it transforms, and does so with JAX before 0.12; elsewhere each
# device transforms its own.
FOURIER = ["MaskedFFT", "DCT", "Convolution", "Steering", "Sum", "stacks"]


def by_operator(operator):
    return lambda A, Y: gj.iht_batch(operator, Y, batch_size=2, **PURSUIT, **STEPS)


ALL = {
    "omp": each(gj.omp, rtol=0.01),
    "soft_iht": each(gj.soft_iht, **STEPS, **SOFT),
    "cosamp": each(gj.cosamp, **STEPS),
    "omp_batch": batch(gj.omp_batch, rtol=0.01),
    "omp_batch, Gram": batch(gj.omp_batch, gram),
    "OMPNet, layers": lambda A, Y: OMP_NET.layers(Y),
    "soft_omp": each(gj.soft_omp, **SOFT),
    "iht": each(gj.iht, **STEPS),
    "iht, debias": each(gj.iht, debias=True, **STEPS),
    "niht": each(gj.niht, **STEPS),
    "snapshots": lambda A, Y: gj.omp_batch(
        A, jnp.stack([Y, 2 * Y[:, ::-1]], axis=2), sparsity=K, structure=SharedSupport()
    ),
    "htp": each(gj.htp, **STEPS),
    "subspace_pursuit": each(gj.subspace_pursuit, **STEPS),
    "soft_htp": each(gj.soft_htp, **STEPS, **SOFT),
    "soft_subspace_pursuit": each(gj.soft_subspace_pursuit, **STEPS, **SOFT),
    "soft_cosamp": each(gj.soft_cosamp, **STEPS, **SOFT),
    "iht_batch": batch(gj.iht_batch, **STEPS),
    "htp_batch": batch(gj.htp_batch, **STEPS),
    "subspace_pursuit_batch": batch(gj.subspace_pursuit_batch, **STEPS),
    "cosamp_batch": batch(gj.cosamp_batch, **STEPS),
    "OMPNet": lambda A, Y: OMP_NET(Y),
    "IHTNet": lambda A, Y: IHT_NET(Y),
    "OMPNet, hardened": lambda A, Y: OMP_NET.harden()(Y),
    "IHTNet, hardened": lambda A, Y: IHT_NET.harden()(Y),
    "IHTNet, choices": lambda A, Y: IHT_NET.choices(Y).x,
    **{name: by_operator(operator) for name, operator in READY.items()},
}
# On a mesh each is quick over one kind of axes, and that by the Gram matrix over both.
KINDS = [AxisType.Auto, AxisType.Explicit]
ON_A_MESH = {
    ("omp", AxisType.Auto),
    ("soft_iht", AxisType.Explicit),
    ("omp_batch, Gram", AxisType.Auto),
    ("OMPNet, layers", AxisType.Explicit),
    ("MaskedFFT", AxisType.Explicit),
}


@functools.cache
def on_one_device(name):
    return jax.jit(ALL[name])(A, Y)


def collectives(compiled):
    names = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    return Counter(re.findall(rf" ({names})(?:-start)?\(", compiled.as_text()))


def run(function, mesh, *rows):
    """What a function returns of rows on two devices, and the messages that it sends."""
    placed = jax.device_put((A, *rows), (NamedSharding(mesh, P()), *(by_signal(mesh),) * len(rows)))
    compiled = jax.jit(function).lower(*placed).compile()
    return compiled(*placed), collectives(compiled)


def by_signal(mesh):
    return NamedSharding(mesh, P("signals"))


def check_answers(found, name, mesh):
    for one, of_one_device in zip(
        jax.tree.leaves(found), jax.tree.leaves(on_one_device(name)), strict=True
    ):
        assert_close(one, of_one_device)
        assert one.sharding.is_equivalent_to(by_signal(mesh), one.ndim)


@pytest.mark.parametrize(("name", "kind"), slow_but(ON_A_MESH, itertools.product(ALL, KINDS)))
def test_answers_on_a_mesh(name, kind):
    mesh = devices(kind)
    found, sent = run(ALL[name], mesh, Y)
    check_answers(found, name, mesh)
    if kind == AxisType.Auto and name in FOURIER:
        assert set(sent) <= {"all-gather"}
        return
    # Of a block by the Gram matrix the compiler has to know whether all signals are accurate.
    one_predicate = kind == AxisType.Auto and name in ("omp_batch, Gram", "OMPNet, hardened")
    one_predicate |= name == "niht"  # Whether the step of any signal is still to be halved.
    assert sent == (Counter({"all-reduce": 1}) if one_predicate else Counter())


@pytest.mark.parametrize("name", slow_but(["soft_iht", "omp_batch, Gram", "OMPNet, layers"], ALL))
def test_answers_inside_of_shard_map(name):
    mesh = devices(AxisType.Auto)
    solve = ALL[name]
    specs = {"in_specs": (P(), P("signals")), "out_specs": P("signals")}
    found, sent = run(jax.shard_map(solve, mesh=mesh, **specs), mesh, Y)
    check_answers(found, name, mesh)
    assert sent == Counter()


WIDE = np.random.default_rng(1).standard_normal((16, 2048))


@pytest.mark.parametrize(
    ("name", "kind"),
    slow_but(
        [("iht", AxisType.Auto), ("omp", AxisType.Explicit)],
        itertools.product(["omp", "iht"], KINDS),
    ),
)
def test_a_matrix_spread_over_its_atoms_stays_where_it_lies(name, kind):
    """What is sent is of the size of a measurement, or of the candidates, and no more."""
    solve = gj.omp if name == "omp" else functools.partial(gj.iht, num_steps=3)
    mesh, y = devices(kind), WIDE[:, [5, 1700, 2000]] @ np.array([1.0, -3.0, 2.0])
    matrix = jax.device_put(WIDE, NamedSharding(mesh, P(None, "signals")))
    signal = jax.device_put(y, NamedSharding(mesh, P()))
    function = jax.jit(lambda A, y: solve(A, y, sparsity=K))
    compiled = function.lower(matrix, signal).compile()
    for one, expected in zip(compiled(matrix, signal), solve(WIDE, y, sparsity=K), strict=True):
        assert_close(one, np.asarray(expected))
    sent = sent_numbers(compiled)
    if kind == AxisType.Explicit:  # The answer is not spread there.
        sent.remove(WIDE.shape[1])
    # Iterations for the norm of A begin at four vectors; 32 scores are compared one by one.
    assert sent
    assert max(sent) <= max(4 * len(y), 32, 2 * K)


def sent_numbers(compiled):
    """How many numbers each message has."""
    names = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    found = re.findall(rf"= (\S.*?) (?:{names})(?:-start)?\(", compiled.as_text())
    shapes = (re.findall(r"\[([\d,]*)\]", each) for each in found)
    return [max(np.prod([int(n) for n in s.split(",") if n]) for s in each) for each in shapes]


LOSSES = {
    "selection": (losses.selection, OMP_NET),
    "hidden rows": (losses.hidden_rows(folds=3), OMP_NET),
    "reconstruction": (losses.reconstruction, IHT_NET),
    "selection, SparseSort": (losses.selection, SPARSE),
    "deep supervision": (losses.deep_supervision, OMP_NET),
    "straight through": (losses.straight_through, OMP_NET),
    "hard reconstruction": (losses.hard_reconstruction, IHT_NET),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    slow_but(
        [("selection", AxisType.Auto), ("reconstruction", AxisType.Explicit)],
        itertools.product(LOSSES, KINDS),
    ),
)
def test_gradients_of_losses(name, kind):
    loss, net = LOSSES[name]
    graph, params, rest = nnx.split(net, nnx.Param, ...)

    def gradient(A, Y, X):
        of_params = lambda params: loss(nnx.merge(graph, params, rest), Y, X)
        return jax.value_and_grad(of_params)(params)

    expected = jax.jit(gradient)(A, Y, X)
    mesh = devices(kind)
    with jax.set_mesh(mesh):
        found, _ = run(gradient, mesh, Y, X)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert_close(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("kind", slow_but([AxisType.Auto], KINDS))
def test_derivatives_of_a_batch(kind):
    def gradient(A, Y):
        total = lambda A, Y: jnp.sum(gj.omp_batch(gram(A), Y, batch_size=2, **PURSUIT).x ** 2)
        return jax.grad(total, argnums=(0, 1))(A, Y)

    mesh = devices(kind)
    with jax.set_mesh(mesh):
        found, _ = run(gradient, mesh, Y)
    for one, other in zip(found, jax.jit(gradient)(A, Y), strict=True):
        assert_close(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "shards"), slow_but([(AxisType.Explicit, 2)], itertools.product(KINDS, [1, 2]))
)
def test_training_has_the_same_losses(kind, shards):
    settings = {
        "optimizer": optax.sgd(0.1), "num_epochs": 2, "batch_size": 4, "progress": False,
        "key": jax.random.key(0), "shards": shards,
    }  # fmt: skip
    expected = fit(OMP_NET, (Y, X), (Y, X), **settings).history
    mesh = devices(kind)
    data = jax.device_put((Y, X), by_signal(mesh))
    with jax.set_mesh(mesh):
        history = fit(OMP_NET, data, data, **settings).history
    for column in ("train_loss", "val_loss", "gradient_norm"):
        assert_close(history[column][1:], expected[column][1:])


@pytest.mark.parametrize(
    ("loss", "sums"),
    slow_but([(losses.selection, 1)], [(losses.selection, 1), (losses.reconstruction, 2)]),
    ids=["selection", "x"],
)
def test_a_step_of_training_on_shards_sends_gradients_alone(loss, sums):
    graph, params, rest = nnx.split(OMP_NET, nnx.Param, ...)
    setup = Setup(graph, optax.adam(0.1), loss, loss, None, batch_size=4, shards=2)
    parts, (state, best) = of_one(setup), start(setup, params)
    data = jax.device_put((Y, X), by_signal(devices(AxisType.Auto)))
    train = parts.train.lower(state, rest, data, jax.random.key(0), 1).compile()
    assert collectives(train) == Counter({"all-reduce": sums})
    validate = parts.validate.lower(state, best, rest, data, 1).compile()
    assert collectives(validate) == Counter({"all-reduce": 1})


def test_parts_are_shuffled_apart_and_batches_take_as_many_of_each():
    """By the definition, in plain NumPy: what each batch consists of, over an epoch."""
    setup = Setup(None, None, None, None, None, batch_size=6, shards=3)
    order = np.random.default_rng(0).permutation(30)
    places = np.asarray(_batches(setup, jax.numpy.asarray(order)))
    assert places.shape == (5, 3, 2)
    for part in range(3):
        mine = [i - 10 * part for i in order if i // 10 == part]
        np.testing.assert_array_equal(places[:, part].ravel(), mine)


@pytest.mark.parametrize(
    ("parts", "k", "dtype"),
    slow_but(
        [(1, 5, np.float64), (2, 40, np.float64), (2, 1, np.float32), (5, 5, np.float32)],
        itertools.product([1, 2, 5], [1, 5, 40], [np.float32, np.float64]),
    ),
)
def test_the_largest_of_spread_scores(k, dtype, parts):
    """Many ties, which go to the lowest index; a NaN comes first."""
    scores = np.random.default_rng(k).integers(-1, 4, (30, 40)).astype(dtype)
    scores[3, 7] = np.nan
    found = jax.jit(jax.vmap(lambda row: _top_of_spread(row, k, parts)))(scores)
    order = np.argsort(-np.where(np.isnan(scores), np.inf, scores), axis=1, kind="stable")
    assert_close(found, order[:, :k].astype(np.int32))
