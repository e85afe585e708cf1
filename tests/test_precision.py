"""Half precision: every public function computes in float32, and returns what was given.

The oracle is the same call with the same rounded numbers in float32, whose answer is then rounded.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import sparse

import greedyjax as gj
from greedyjax import certificates, metrics, nets, streaming, training
from greedyjax.training import losses
from operator_kinds import matrix_free

M, N, K = 8, 12, 2
RNG = np.random.default_rng(0)
A, Y, X = (RNG.standard_normal(shape) for shape in ((M, N), (3, M), (3, N)))
STEPS = {"num_steps": 3}
SOLVERS = {
    "omp": {},
    "iht": STEPS,
    "niht": STEPS,
    "htp": STEPS,
    "subspace_pursuit": STEPS,
    "cosamp": STEPS,
}
NETS = ("OMPNet", "IHTNet", "HTPNet", "SubspacePursuitNet", "CoSaMPNet")


def net_of(A, name="OMPNet"):
    layers = {} if name == "OMPNet" else {"num_layers": 3}
    return getattr(nets, name)(A, sparsity=K, tau=0.1, **layers)


def refit(A, Y):
    return gj.GaussianPrior(jnp.eye(N, dtype=A.dtype)).refit(A, Y, jnp.array([[1, 2]] * 3))


def calls():
    """Functions of a matrix, measurements and signals, all of one dtype."""
    for name, steps in SOLVERS.items():
        hard, soft, batch = (getattr(gj, f) for f in (name, f"soft_{name}", f"{name}_batch"))
        all_ = {"sparsity": K, **steps}
        yield name, lambda A, Y, X, f=hard, all_=all_: f(A, Y[0], weights=jnp.abs(X[0]), **all_)
        yield (
            f"soft_{name}",
            lambda A, Y, X, f=soft, all_=all_: f(A, Y[0], tau=jnp.abs(X[0, 0]), **all_),
        )
        yield f"{name}_batch", lambda A, Y, X, f=batch, all_=all_: f(A, Y, **all_)
    for name in NETS:
        yield name, lambda A, Y, X, name=name: net_of(A, name)(Y)
        yield f"{name}, layers", lambda A, Y, X, name=name: net_of(A, name).layers(Y)
        yield f"{name}, hardened", lambda A, Y, X, name=name: net_of(A, name).harden()(Y)
        yield f"{name}, choices", lambda A, Y, X, name=name: net_of(A, name).choices(Y)
    for name in ("reconstruction", "deep_supervision", "straight_through", "hard_reconstruction"):
        yield name, lambda A, Y, X, name=name: getattr(losses, name)(net_of(A), Y, X)
    for name in ("softsort", "soft_topk_mask"):
        yield name, lambda A, Y, X, name=name: getattr(gj, name)(jnp.abs(X[0]), k=3, tau=0.1)
    for name in ("hardsort", "topk_mask"):
        yield name, lambda A, Y, X, name=name: getattr(gj, name)(jnp.abs(X[0]), k=3)
    for name in ("squared_error", "nmse", "snr_db"):
        yield name, lambda A, Y, X, name=name: getattr(metrics, name)(X, jnp.abs(X))


def hidden_error(A, Y, X):
    return metrics.hidden_measurement_error(A, Y, lambda A, Y: gj.omp_batch(A, Y, sparsity=K).x)


def tempered(A, Y, X):
    learn = lambda Y: training.sparse_bayes(A, Y).weights
    return training.temper_weights(net_of(A), Y, learn, folds=2)


def whitened(A, X):
    return gj.whiten(A, jnp.abs(X[0]), noise=0.1)


CALLS = dict(calls()) | {
    "selection": lambda A, Y, X: losses.selection(net_of(A), Y),
    "hidden_rows": lambda A, Y, X: losses.hidden_rows(folds=3)(net_of(A), Y),
    "prior": lambda A, Y, X: net_of(A).harden(prior=gj.GaussianPrior(jnp.eye(N)))(Y),
    "refit": lambda A, Y, X: refit(A, Y),
    "dictionary": lambda A, Y, X: gj.omp_batch(gj.dictionary(A), Y, sparsity=K),
    "MatrixFree": lambda A, Y, X: gj.iht(matrix_free(A), Y[0], sparsity=K, num_steps=3),
    "MatrixFree, prepared": lambda A, Y, X: gj.omp(
        gj.dictionary(matrix_free(A, norms=False)), Y[0], sparsity=K
    ),
    "BCOO": lambda A, Y, X: gj.omp(sparse.BCOO.fromdense(A, nse=M * N), Y[0], sparsity=K),
    "as_operator": lambda A, Y, X: gj.operators.as_operator(A).matvec(X[0]),
    "relative_tau": lambda A, Y, X: gj.relative_tau(A, Y[0], 0.1),
    "stack_real": lambda A, Y, X: gj.stack_real(A, Y),
    "same_path": lambda A, Y, X: certificates.same_path(A, Y[0], sparsity=K, tau=0.01),
    "whiten": lambda A, Y, X: whitened(A, X),
    "measurements": lambda A, Y, X: whitened(A, X).measurements(Y),
    "complete": lambda A, Y, X: whitened(A, X).complete(Y, X),
    "hidden_measurement_error": hidden_error,
    "sparse_bayes": lambda A, Y, X: training.sparse_bayes(A, Y),
    "count_weights": lambda A, Y, X: training.count_weights(A, Y, sparsity=K),
    "temper_weights": tempered,
}  # fmt: skip
QUICK = ["omp", "soft_iht", "softsort", "squared_error", "relative_tau", "OMPNet, hardened"]
HALVES = pytest.mark.parametrize("half", [jnp.float16, jnp.bfloat16])


def given(dtype):
    return [jnp.asarray(z, dtype) for z in (A, Y, X)]


def floating(tree):
    return [z for z in jax.tree.leaves(tree) if jnp.issubdtype(z.dtype, jnp.inexact)]


@pytest.mark.parametrize("name", CALLS)
def test_results_have_the_dtype_of_what_was_given(name):
    found = floating(jax.eval_shape(CALLS[name], *given(jnp.float16)))
    assert found
    assert {leaf.dtype for leaf in found} == {jnp.dtype(jnp.float16)}


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
            np.asarray(leaf, np.float64), np.asarray(expected, np.float64), rtol=rtol, atol=atol
        )


@HALVES
def test_streams_take_half_precision(half):
    found = streaming.recover(lambda Y: gj.omp_batch(A, Y, sparsity=K).x, np.asarray(Y, half))
    assert found.shape == (3, N)
