"""Half precision: every public function computes in float32, and returns what was given.

The oracle is the same call with the same rounded numbers in float32, whose answer is then rounded.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax import streaming
from public_calls import CALLS, COMPLEX, A, K, N, Y, floating, given

QUICK = ["omp", "soft_iht", "softsort", "squared_error", "relative_tau", "OMPNet, hardened"]
HALVES = pytest.mark.parametrize("half", [jnp.float16, jnp.bfloat16])


@pytest.mark.parametrize(
    ("name", "half"),
    [
        # Both halves become float32 in the same place: of one, a call of each kind is enough.
        pytest.param(
            name, half, marks=pytest.mark.slow if half is jnp.bfloat16 and name not in QUICK else ()
        )
        for name in CALLS
        if name not in COMPLEX
        for half in (jnp.float16, jnp.bfloat16)
    ],
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


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CALLS],
)
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
