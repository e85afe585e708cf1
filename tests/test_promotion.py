"""Every public function works under JAX's strict promotion of dtypes.

Rank promotion raises an error in all tests; see `conftest.py`.
"""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import greedyjax as gj
from greedyjax import certificates, metrics, nets, operators, training
from greedyjax._numerics import abs_sq
from greedyjax.training import losses
from helpers import slow_but
from public_calls import CALLS, LEFT_OUT, K, floating, given, net_of

BOTH = [np.float32, np.complex64]
# In the quick tests, one of each kind of code, in one of the two.
QUICK = [
    "omp", "soft_omp", "niht", "soft_subspace_pursuit", "iht_batch", "cosamp, penalty",
    "HTPNet, hardened", "straight_through", "hardsort", "nmse", "NeuralSort", "SparseSort",
    "BoundaryGate", "Convolution", "HStack", "SharedSupport", "Blocks, soft", "Interactions",
    "selection", "GaussianPrior", "dictionary", "BCOO", "same_path", "complete", "sparse_bayes",
]  # fmt: skip
TRACED = set(zip(QUICK, itertools.cycle(BOTH), strict=False))
# Products of the user's, which get real vectors beside a complex matrix.
MIXED = ["MatrixFree", "MatrixFree, prepared"]


@pytest.mark.parametrize(("name", "dtype"), slow_but(TRACED, itertools.product(CALLS, BOTH)))
def test_values_and_gradients_mix_no_dtypes(name, dtype):
    """Tracing tells."""
    if name in MIXED and dtype == np.complex64:
        dtype = np.float64

    def size(args):
        found = floating(CALLS[name](*args))
        return sum((jnp.sum(abs_sq(z)).astype(jnp.float32) for z in found), jnp.float32(0))

    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(jax.grad(size), given(dtype))


@pytest.mark.parametrize("dtype", slow_but([np.complex64], BOTH))
def test_calls_from_outside_of_jit_mix_none(dtype):
    """Checks of values, and what a training does between its steps; Adam itself mixes some."""
    A, Y, X = given(dtype)

    with jax.numpy_dtype_promotion("strict"):
        found = gj.omp_batch(A, Y, sparsity=K, rtol=0.1)
        fitted = training.fit(
            net_of(A), (Y, X), (Y, X), optimizer=optax.sgd(0.1), num_epochs=1, batch_size=3,
            key=jax.random.key(0),
        )  # fmt: skip
    assert found.x.dtype == dtype
    assert np.isfinite(fitted.best_val_loss)


def test_every_public_function_is_among_the_calls():
    modules = gj, certificates, metrics, nets, operators, training, losses
    public = {
        name
        for module in modules
        for name in module.__all__
        if callable(getattr(module, name)) and not inspect.ismodule(getattr(module, name))
    }
    called = {name.partition(",")[0] for name in CALLS}
    assert public - called - LEFT_OUT == set()
    assert set(QUICK) <= set(CALLS)
