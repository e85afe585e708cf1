"""Costs as counts, bytes and ratios, which are the same on fast and slow machines."""

from time import perf_counter

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import greedyjax as gj
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.training import fit, losses
from helpers import jit, slow_but


def single(*shape):
    return jax.ShapeDtypeStruct(shape, np.float32)


# --- Compilation ---------------------------------------------------------------------------------

SOLVERS = {
    "omp": lambda A, y, w, tau, steps: gj.omp(A, y, sparsity=steps, weights=w, rtol=tau),
    "soft_omp": lambda A, y, w, tau, steps: gj.soft_omp(A, y, sparsity=steps, tau=tau, weights=w),
    "soft_omp, remat": lambda A, y, w, tau, steps: gj.soft_omp(
        A, y, sparsity=steps, tau=tau, weights=w, remat=True
    ),
    "iht": lambda A, y, w, tau, steps: gj.iht(
        A, y, sparsity=3, num_steps=steps, weights=w, step_size=tau
    ),
    "soft_iht": lambda A, y, w, tau, steps: gj.soft_iht(
        A, y, sparsity=3, tau=tau, num_steps=steps, weights=w
    ),
    "soft_htp": lambda A, y, w, tau, steps: gj.soft_htp(
        A, y, sparsity=3, tau=tau, num_steps=steps, weights=w, penalty=w
    ),
    "subspace_pursuit": lambda A, y, w, tau, steps: gj.subspace_pursuit(
        A, y, sparsity=2, num_steps=steps, weights=w, penalty=tau * w
    ),
    "soft_cosamp": lambda A, y, w, tau, steps: gj.soft_cosamp(
        A, y, sparsity=2, tau=tau, num_steps=steps, weights=w, debias=True
    ),
}
every_solver = pytest.mark.parametrize("name", SOLVERS)
# One of each kind of code.
some_solvers = pytest.mark.parametrize(
    "name", slow_but(["omp", "soft_iht", "soft_cosamp"], SOLVERS)
)


def solver_and_gradient(name, steps):
    """Both, as functions of (A, y, w, tau)."""

    def solve(*args):
        return SOLVERS[name](*args, steps).x

    return solve, jax.grad(lambda *args: jnp.sum(solve(*args)), (0, 1, 2))


def num_equations(jaxpr):
    total = len(jaxpr.eqns)
    for equation in jaxpr.eqns:
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns")):
            total += num_equations(inner) if hasattr(inner, "eqns") else 0
    return total


@some_solvers
def test_what_is_compiled_does_not_grow_with_the_steps(name):
    args = single(256, 256), single(256), single(256), single()

    def sizes(steps):
        return [
            num_equations(jax.make_jaxpr(f)(*args).jaxpr) for f in solver_and_gradient(name, steps)
        ]

    assert sizes(8) == sizes(256)


@pytest.mark.slow
@every_solver
def test_compile_time_does_not_grow_with_the_steps(name):
    """Not by more than half from 8 steps to 256: the best times, as machines have other work."""
    args = single(256, 256), single(256), single(256), single()

    def seconds(f):
        jax.clear_caches()
        lowered = jax.jit(f).lower(*args)  # Anew: one that has compiled keeps the result.
        start = perf_counter()
        lowered.compile()
        return perf_counter() - start

    for few, many in zip(*(solver_and_gradient(name, steps) for steps in (8, 256)), strict=True):
        best = np.array([np.inf, np.inf])
        for _ in range(8):  # In turn, until it shows.
            best = np.minimum(best, [seconds(few), seconds(many)])
            if best[1] <= 1.5 * best[0]:
                break
        assert best[1] <= 1.5 * best[0]


def traced_once(f):
    return jit(chex.assert_max_traces(f, n=1))


def values(seed, m=6, n=8):
    """(A, y, w, tau) of one shape each."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, n)), rng.standard_normal(m), rng.random(n), np.array(0.1 + seed)


@some_solvers
def test_new_values_do_not_compile_a_solver_again(name):
    chex.clear_trace_counter()
    solve = traced_once(lambda *args: SOLVERS[name](*args, 2))
    assert not np.array_equal(solve(*values(0)).x, solve(*values(1)).x)


NETS = {
    "omp": lambda A, w, tau: OMPNet(A, sparsity=2, weights=w, tau=tau),
    "iht": lambda A, w, tau: IHTNet(A, sparsity=2, num_layers=2, weights=w, tau=tau),
}


@pytest.mark.parametrize("family", NETS)
def test_new_values_do_not_compile_a_network_or_a_loss_again(family):
    """A network that is an argument: its matrix, weights and temperature are values too."""
    chex.clear_trace_counter()

    @traced_once
    def everything(net, Y, X):
        known = [loss(net, Y, X) for loss in (losses.reconstruction, losses.hard_reconstruction)]
        return net(Y), net.harden()(Y), known, losses.selection(net, Y, X), losses.selection(net, Y)

    found = []
    for seed in (0, 1):
        A, y, w, tau = values(seed)
        found.append(everything(NETS[family](A, w, tau), y[None], w[None]))
    for first, second in zip(*map(jax.tree.leaves, found), strict=True):
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("family", slow_but(["omp"], NETS))
def test_new_values_do_not_compile_a_training_again(family):
    traces = []

    def loss(net, Y, X):
        traces.append(1)
        return losses.selection(net, Y, X)

    optimizer, schedule = optax.adam(0.01), lambda step: 0.1 / (1 + step)
    counts, ends = [], []
    for seed in (0, 1):
        A, y, w, tau = values(seed)
        data = np.stack([y, 2 * y, y[::-1]]), np.stack([w, w, w])
        fitted = fit(
            NETS[family](A, w, tau), data, data, optimizer=optimizer, num_epochs=2, batch_size=2,
            key=jax.random.key(seed), loss=loss, tau=schedule, progress=False,
        )  # fmt: skip
        counts.append(len(traces))
        ends.append(fitted.net.weights[...])
    assert counts[0] == counts[1] > 0
    assert not np.array_equal(*ends)


# --- Memory --------------------------------------------------------------------------------------


def megabytes(f, *args):
    """What the compiled function needs beside its arguments: its result and all between."""
    memory = jit(f).lower(*args).compile().memory_analysis()
    return (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 1e6


LARGE, MANY = 65_536, 512  # As single precision, LARGE x MANY numbers are 134 MB.


def test_the_mask_never_builds_the_matrix():
    def loss(scores, cotangent, tau):
        return jnp.vdot(cotangent, gj.soft_topk_mask(scores, k=MANY, tau=tau))

    def of_dense(scores, cotangent, tau):
        return jnp.vdot(cotangent, jnp.sum(gj.softsort(scores, k=MANY, tau=tau), axis=0))

    args = single(LARGE), single(LARGE), single()
    assert megabytes(of_dense, *args) > 100  # So the measure sees what must not be there.
    assert megabytes(jax.value_and_grad(loss, (0, 2)), *args) < 4


def test_the_masks_memory_is_linear_in_how_many_are_kept():
    """All the rows' values on the entries kept would be 400 MB here."""

    def loss(scores, tau):
        return jnp.sum(gj.soft_topk_mask(scores, k=10_000, tau=tau) ** 2)

    assert megabytes(jax.value_and_grad(loss, (0, 1)), single(LARGE), single()) < 20


def test_soft_iht_never_builds_the_matrix():
    def loss(A, y, w, tau):
        found = gj.soft_iht(A, y, sparsity=MANY, tau=tau, num_steps=8, step_size=0.5, weights=w)
        return jnp.sum(found.x**2)

    args = single(32, LARGE), single(32), single(LARGE), single()
    assert megabytes(jax.value_and_grad(loss, (1, 2, 3)), *args) < 40


def test_soft_omps_gradient_keeps_no_row_when_asked_to():
    """From 32 steps to 64 it grows by a few vectors of length m + K a step, not by rows."""
    m = 64

    def needed(steps, remat):
        def loss(A, y, w, tau):
            return jnp.sum(
                gj.soft_omp(A, y, sparsity=steps, tau=tau, weights=w, remat=remat).x ** 2
            )

        args = single(m, LARGE), single(m), single(LARGE), single()
        return megabytes(jax.value_and_grad(loss, (1, 2, 3)), *args)

    row, vector = 4e-6 * LARGE, 4e-6 * (m + 64)
    frugal = needed(64, True)
    assert frugal - needed(32, True) <= 32 * 10 * vector
    assert 32 * 10 * vector < 32 * row / 10
    # So the measure sees rows where they are kept, though not all live beside the largest array.
    assert needed(64, False) - frugal >= 0.9 * 64 * row
