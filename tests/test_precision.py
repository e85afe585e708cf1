"""Half precision: every public function computes in float32, and returns the given dtype.

The oracle is the same call with the same rounded numbers in float32. Its answer is then rounded.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax import streaming
from helpers import slow_but
from public_calls import CALLS, COMPLEX, A, K, N, Y, floating, given

QUICK = ["omp", "soft_iht", "softsort", "squared_error", "relative_tau", "OMPNet, hardened"]
# Every public function by one of its calls; what a network does beside its answer is of all kinds.
ONCE = [name for name in CALLS if "," not in name or name.startswith("OMPNet,")]
HALF = [jnp.float16, jnp.bfloat16]
HALVES = pytest.mark.parametrize("half", HALF)


@pytest.mark.parametrize(
    ("name", "half"),
    # Both halves become float32 in the same place, and a call of each kind is enough.
    slow_but(
        [*itertools.product(ONCE, [jnp.float16]), *itertools.product(QUICK, [jnp.bfloat16])],
        itertools.product([name for name in CALLS if name not in COMPLEX], HALF),
    ),
)
def test_results_have_the_dtype_of_what_was_given(name, half):
    found = floating(jax.eval_shape(CALLS[name], *given(half)))
    assert found
    assert {leaf.dtype for leaf in found} == {jnp.dtype(half)}


@HALVES
@pytest.mark.parametrize("name", ["omp", "softsort", "nmse"])
def test_beside_single_precision_results_are_single(name, half):
    one, wide = given(half), given(jnp.float32)
    found = jax.eval_shape(CALLS[name], one[0], wide[1], wide[2])
    assert {leaf.dtype for leaf in floating(found)} == {jnp.dtype(jnp.float32)}


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(QUICK, CALLS))
def test_results_are_those_of_single_precision_rounded(name):
    half = jnp.bfloat16
    found = CALLS[name](*given(half))
    oracle = CALLS[name](*(z.astype(jnp.float32) for z in given(half)))
    # Single precision may lie so near the middle of two numbers that either is its rounding. What
    # is prepared is rounded as well: whitened measurements are of a rounded factor.
    rtol, atol = (3e-2, 3e-2) if name in ("measurements", "complete") else (2**-7, 0)
    for leaf, other in zip(jax.tree.leaves(found), jax.tree.leaves(oracle), strict=True):
        expected = other.astype(leaf.dtype)
        np.testing.assert_allclose(
            np.asarray(leaf, np.complex128),
            np.asarray(expected, np.complex128),
            rtol=rtol,
            atol=atol,
        )


@HALVES
def test_streams_take_half_precision(half):
    found = streaming.recover(lambda Y: gj.omp_batch(A, Y, sparsity=K).x, np.asarray(Y, half))
    assert found.shape == (3, N)
