"""A second eager call with the same shapes and static arguments compiles nothing."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import greedyjax as gj
from greedyjax import certificates, nets, training
from helpers import random_problem, slow_but
from operator_kinds import Duck, bcoo, matrix_free

M, N, K = 8, 12, 2
KEY = jax.random.key(0)
_STEPS = {"num_steps": 3}
SOLVERS = {
    "omp": {},
    "iht": _STEPS,
    "niht": _STEPS,
    "htp": _STEPS,
    "subspace_pursuit": _STEPS,
    "cosamp": {**_STEPS, "debias": True},
}


@contextlib.contextmanager
def compile_events():
    """The names of what JAX traces and compiles inside."""
    events = []

    def listen(name, seconds, **_):
        if "compile" in name or "trace" in name:
            events.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def problem(seed):
    A, _, y = random_problem(seed, M, N, K, np.float64, noise=0.1)
    return jnp.asarray(A), jnp.asarray(y)


def hard(name):
    return lambda A, y: getattr(gj, name)(A, y, sparsity=K, **SOLVERS[name])


def soft(name):
    return lambda A, y: getattr(gj, f"soft_{name}")(A, y, sparsity=K, tau=0.1, **SOLVERS[name])


def batch(name):
    return lambda A, y: getattr(gj, f"{name}_batch")(
        A, jnp.stack([y, 2 * y]), sparsity=K, **SOLVERS[name]
    )


STEERING = gj.operators.Steering(M, N)
DUCK = Duck(problem(0)[0], norms=True)
NETS = {"OMPNet": {}, "IHTNet": {"num_layers": 3}}


@functools.cache
def net(name):
    return getattr(nets, name)(problem(0)[0], sparsity=K, tau=0.1, **NETS[name])


@functools.cache
def hardened(name):
    return net(name).harden()


SORTING = {
    "softsort": lambda A, y: gj.softsort(y, tau=0.1, k=2),
    "hardsort": lambda A, y: gj.hardsort(y, k=2),
    "soft_topk_mask": lambda A, y: gj.soft_topk_mask(y, tau=0.1, k=2),
    "topk_mask": lambda A, y: gj.topk_mask(y, k=2),
}
CALLS = (
    {name: hard(name) for name in SOLVERS}
    | {f"soft_{name}": soft(name) for name in SOLVERS}
    | {f"{name}_batch": batch(name) for name in SOLVERS}
    | SORTING
    | {name: lambda A, y, name=name: net(name)(y[None]) for name in NETS}
    | {f"{name}, hardened": lambda A, y, name=name: hardened(name)(y[None]) for name in NETS}
    | {
        "dictionary": lambda A, y: gj.omp_batch(gj.dictionary(A), y[None], sparsity=K),
        "operator": lambda A, y: gj.iht(DUCK, y, sparsity=K, num_steps=3),
        "operator, prepared": lambda A, y: gj.relative_tau(gj.dictionary(DUCK), y, 0.1),
        "MatrixFree": lambda A, y: gj.iht(matrix_free(A), y, sparsity=K, num_steps=3),
        "MatrixFree, prepared": lambda A, y: gj.relative_tau(
            gj.dictionary(matrix_free(A, norms=False)), y, 0.1
        ),
        "MatrixFree, net": lambda A, y: nets.IHTNet(
            matrix_free(A), sparsity=K, num_layers=2, step_size=0.1
        )(y[None]),
        "BCOO": lambda A, y: gj.relative_tau(bcoo(A), y, 0.1),
        "SciPy": lambda A, y: gj.relative_tau(scipy.sparse.csr_array(A), y, 0.1),
        "check_adjoint": lambda A, y: gj.operators.check_adjoint(matrix_free(A), KEY),
        "relative_tau": lambda A, y: gj.relative_tau(A, y, 0.1),
        "same_path": lambda A, y: certificates.same_path(A, y, sparsity=K, tau=0.1),
        "selection": lambda A, y: training.losses.selection(net("OMPNet"), y[None]),
        "weights": lambda A, y: gj.omp(A, y, sparsity=K, weights=jnp.abs(A[0])),
        "newtonised_omp": lambda A, y: gj.off_grid.newtonised_omp(
            STEERING.atom, STEERING.frequencies, y, sparsity=K, false_alarm=0.1
        ),
        "stops": lambda A, y: gj.omp(A, y, sparsity=K, rtol=0.1),
    }
)


def assert_second_call_compiles_nothing(call):
    jax.block_until_ready(call(*problem(0)))
    with compile_events() as first:
        jax.block_until_ready(jax.jit(lambda y: y + jnp.sum(y))(problem(0)[1]))
    assert first, "the listener hears nothing"
    A, y = problem(1)
    with compile_events() as events:
        jax.block_until_ready(call(A, y))
    assert not events


# All are checked and compiled by the same function; the quick ones differ in what they bring to it.
QUICK = [
    "omp", "soft_cosamp", "softsort", "hardsort", "soft_topk_mask", "topk_mask",
    "OMPNet", "IHTNet, hardened", "operator", "operator, prepared", "MatrixFree", "MatrixFree, net",
    "MatrixFree, prepared", "BCOO", "SciPy", "check_adjoint", "relative_tau", "same_path",
    "selection", "weights", "newtonised_omp", "stops",
]  # fmt: skip


@pytest.mark.parametrize("name", slow_but(QUICK, CALLS))
def test_a_second_call_compiles_nothing(name):
    assert_second_call_compiles_nothing(CALLS[name])


KINDS = slow_but(["soft_omp", "iht"], [*SOLVERS, *(f"soft_{name}" for name in SOLVERS)])


@pytest.mark.parametrize("name", KINDS)
def test_a_second_vmap_compiles_nothing(name):
    over_batch = jax.vmap(lambda A, y: CALLS[name](A, y).x, (None, 0))
    assert_second_call_compiles_nothing(lambda A, y: over_batch(A, y[None]))


@pytest.mark.parametrize("name", KINDS)
def test_a_second_gradient_compiles_nothing(name):
    loss = lambda A, y: jnp.sum(CALLS[name](A, y).x ** 2)
    assert_second_call_compiles_nothing(jax.grad(loss, argnums=(0, 1)))


@pytest.mark.parametrize("update", slow_but([training.MOD()], [training.KSVD(), training.MOD()]))
def test_learning_a_second_dictionary_compiles_nothing(update):
    settings = {"key": KEY, "update": update, "num_epochs": 2, "batch_size": 16, "progress": False}

    def call(A, y):
        Y = np.outer(np.arange(1.0, 33), y)
        return training.learn_dictionary(Y, N, K, val=Y, **settings).A

    assert_second_call_compiles_nothing(call)
