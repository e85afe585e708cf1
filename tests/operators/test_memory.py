"""An operator without a matrix needs no memory for one: 4,096 frequencies of 128 x 128 pixels.

Nothing is run. A compiled function says how much memory it takes beside its arguments, and which
is its largest array. A matrix would have 67,108,864 complex numbers, of 512 MiB.
"""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax import nets
from greedyjax.training import losses
from helpers import jit
from masked_fft import masked_fft

M, SIDE, K = 4096, 128, 64
N = SIDE**2
MIB = 2**20
TAU = 0.01


def like(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


KEPT, GAINS = like(M, dtype=np.int32), like(N)
Y, W = like(M, dtype=np.complex64), like(N)


def operator(kept, gains):
    return masked_fft(kept, gains, (SIDE, SIDE))


def largest_array(compiled):
    """Bytes of the largest array that a compiled function ever holds."""
    sizes = {"f32": 4, "c64": 8, "s32": 4, "u32": 4, "pred": 1}
    found = re.findall(r"\b(f32|c64|s32|u32|pred)\[([\d,]+)\]", compiled.as_text())
    return max(sizes[kind] * math.prod(map(int, shape.split(","))) for kind, shape in found)


def assert_small(function, *args, mib):
    """Less than some MiB in all, and no array of a tenth of the matrix."""
    compiled = jit(function).lower(*args).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < mib * MIB
    assert largest_array(compiled) < 8 * M * N / 10


def test_the_measure_sees_a_matrix():
    def solve(kept, gains, y):
        columns = gj.operators.as_operator(operator(kept, gains)).column
        A = jax.vmap(columns, out_axes=1)(jnp.arange(N))
        return gj.iht(A, y, sparsity=K, num_steps=1, step_size=0.5).x

    compiled = jit(solve).lower(KEPT, GAINS, Y).compile()
    assert largest_array(compiled) >= 8 * M * N
    assert compiled.memory_analysis().temp_size_in_bytes > 512 * MIB


#: Solvers by their settings, and how many MiB they and the gradients of their soft twins may take.
SOLVERS = {
    "omp": ({}, 16, 64),
    "iht": ({"num_steps": 4}, 8, 16),
    "htp": ({"num_steps": 2}, 64, 128),
    "subspace_pursuit": ({"num_steps": 2}, 128, 256),
    "cosamp": ({"num_steps": 2}, 128, 256),
}
quick_ones = [
    pytest.param(name, marks=() if name == "iht" else pytest.mark.slow) for name in SOLVERS
]


@pytest.mark.parametrize("name", quick_ones)
def test_a_solver_makes_no_matrix(name):
    settings, mib, _ = SOLVERS[name]

    def solve(kept, gains, y, w):
        return getattr(gj, name)(operator(kept, gains), y, sparsity=K, weights=w, **settings).x

    assert_small(solve, KEPT, GAINS, Y, W, mib=mib)


def gradient_of(name, **settings):
    """Of a soft solver in its weights."""

    def loss(w, kept, gains, y):
        solve = getattr(gj, f"soft_{name}")
        found = solve(operator(kept, gains), y, sparsity=K, weights=w, tau=TAU, **settings)
        return jnp.sum(jnp.abs(found.x) ** 2)

    return jax.grad(loss)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOLVERS)
def test_a_gradient_makes_no_matrix(name):
    settings, _, mib = SOLVERS[name]
    assert_small(gradient_of(name, **settings), W, KEPT, GAINS, Y, mib=mib)


@pytest.mark.slow
def test_a_gradient_that_keeps_no_rows_makes_no_matrix():
    assert_small(gradient_of("omp", remat=True), W, KEPT, GAINS, Y, mib=64)


@pytest.mark.slow
def test_a_training_step_makes_no_matrix():
    def step(w, kept, gains, Y, X):
        net = nets.IHTNet(
            operator(kept, gains), sparsity=K, num_layers=4, step_size=0.5, weights=w, tau=TAU
        )
        return losses.reconstruction(net, Y, X)

    batch = like(4, M, dtype=np.complex64), like(4, N)
    assert_small(jax.value_and_grad(step), W, KEPT, GAINS, *batch, mib=32)


def test_a_dictionary_makes_no_matrix():
    """Though all of its columns are computed for their norms."""

    def prepare(kept, gains):
        A = operator(kept, gains)
        A.column_norms = None
        return gj.dictionary(A).column_scale

    assert_small(prepare, KEPT, GAINS, mib=64)


@pytest.mark.slow
def test_sparse_answers_over_a_large_dictionary_take_little_more_than_it():
    """131,072 atoms: neither a second dictionary nor the scores of all signals at once."""
    m, n, k, num = 576, 131_072, 40, 512
    coded = jit(lambda A, Y: gj.encode(gj.pursuit.OMP(k), A, Y))
    found = coded.lower(like(m, n), like(num, m)).compile().memory_analysis()
    taken = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    assert taken <= 1.5 * 4 * (m * n + num * (m + k))
