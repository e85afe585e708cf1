"""Hardened networks, and all values that they are made from, can be pickled."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax import nets, policies, pursuit, sorting, structures
from helpers import random_problem
from operator_kinds import KNOWN, TRACED, Registered, matrix_free

M, N, K = 8, 12, 2
A, _, y = random_problem(0, M, N, K, np.float64, noise=0.1)
TWO_ROWS = jnp.stack([jnp.ones(N), jnp.arange(1.0, N + 1)])
INTERACTIONS = policies.Interactions(jnp.ones(N), jnp.ones((N, 3)), jnp.ones((3, N)))
PRIOR = gj.GaussianPrior(jnp.eye(N) + 0.1, elsewhere=0.2)


def after_first(context):
    """A policy that is a function, by which the first atom is closed at first."""
    return jnp.arange(N) + jnp.sum(context.chosen)


def again(value):
    return pickle.loads(pickle.dumps(value))


def assert_the_same_again(value):
    copy = again(value)
    assert type(copy) is type(value)
    leaves, tree = jax.tree.flatten(value)
    copied, copied_tree = jax.tree.flatten(copy)
    assert copied_tree == tree
    for leaf, other in zip(leaves, copied, strict=True):
        np.testing.assert_array_equal(other, leaf)


VALUES = {
    "OMP": pursuit.OMP(K, 0.1),
    "OMP by a Gram matrix": pursuit.OMP(K, fit=pursuit.GramMatrix()),
    "IHT": pursuit.IHT(K, 3, 0.5, structure=structures.Blocks(np.arange(N) // 2)),
    "NIHT": pursuit.NIHT(K, 3, x0=jnp.ones(N)),
    "HTP": pursuit.HTP(K, 3, x0=jnp.ones(N)),
    "CoSaMP": pursuit.CoSaMP(K, 3, debias=True),
    "SubspacePursuit": pursuit.SubspacePursuit(K, 3, pursuit.LeastSquares(jnp.ones(N))),
    "PerAtom": policies.PerAtom(jnp.ones(N)),
    "PerStep": policies.PerStep(TWO_ROWS),
    "Interactions": INTERACTIONS,
    "GaussianPrior": PRIOR,
    "Plain": structures.Plain(),
    "NonNegative": pursuit.OMP(K, structure=structures.NonNegative()),
    "Weights": nets.Weights(jnp.ones(N), per_layer=True),
} | {kind: getattr(sorting, kind)(0.1) for kind in ("SoftSort", "NeuralSort", "SparseSort")}
VALUES["BoundaryGate"] = sorting.BoundaryGate(0.1)
COMPUTED = {
    "Recovery": lambda: gj.omp(A, y, sparsity=K),
    "whiten": lambda: gj.whiten(A, jnp.ones(N)),
}


@pytest.mark.parametrize("name", [*VALUES, *COMPUTED])
def test_a_value_is_the_same_again(name):
    assert_the_same_again(COMPUTED[name]() if name in COMPUTED else VALUES[name])


# A duck that has columns has a lambda.
OPERATORS = {name: make for name, make in (TRACED | KNOWN).items() if "with columns" not in name}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_has_the_same_products_again(name):
    made = OPERATORS[name](A)
    found = gj.operators.as_operator(again(made))
    np.testing.assert_allclose(found.matvec(np.ones(N)), A @ np.ones(N), rtol=1e-12)


NETS = {
    "OMPNet": functools.partial(nets.OMPNet, sparsity=K),
    "IHTNet": functools.partial(nets.IHTNet, sparsity=K, num_layers=3, step_size=0.2),
    "HTPNet": functools.partial(nets.HTPNet, sparsity=K, num_layers=3),
    "SubspacePursuitNet": functools.partial(nets.SubspacePursuitNet, sparsity=K, num_layers=3),
    "CoSaMPNet": functools.partial(nets.CoSaMPNet, sparsity=K, num_layers=3),
}
HARDENED = {name: lambda make=make: make(A).harden() for name, make in NETS.items()} | {
    "prior": lambda: NETS["OMPNet"](A).harden(prior=PRIOR),
    "policy": lambda: NETS["OMPNet"](A, weights=INTERACTIONS).harden(),
    "policy, a function": lambda: NETS["OMPNet"](A, weights=after_first).harden(),
    "function": lambda: NETS["OMPNet"](A).harden(gj.omp),
    "method": lambda: NETS["OMPNet"](A).harden(pursuit.HTP(K, 3)),
    "MatrixFree": lambda: NETS["IHTNet"](matrix_free(A)).harden(),
    "Dictionary": lambda: NETS["OMPNet"](gj.dictionary(A)).harden(),
    "operator": lambda: NETS["OMPNet"](Registered(jnp.asarray(A))).harden(),
}


@pytest.mark.parametrize("name", HARDENED)
def test_a_hardened_network_is_the_same_again(name):
    assert_the_same_again(HARDENED[name]())


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "prior" else pytest.mark.slow) for name in HARDENED],
)
def test_a_hardened_network_gives_the_same_answers_again(name):
    hardened = HARDENED[name]()
    np.testing.assert_array_equal(again(hardened)(y), hardened(y))


def test_a_hardened_network_says_what_it_is():
    method = (
        "OMP(sparsity=2, rtol=None, atol=None, fit=LeastSquares(penalty=None), remat=False, str"
    )
    assert repr(HARDENED["OMPNet"]()).startswith(f"Hardened({method}")
    assert repr(HARDENED["OMPNet"]()).endswith("A of shape (8, 12), weights of shape (12,))")
    assert repr(HARDENED["prior"]()).endswith(", GaussianPrior(elsewhere=0.2, noise=0.001))")
    assert repr(HARDENED["policy"]()).endswith(", Interactions of 84 numbers)")
    assert repr(HARDENED["policy, a function"]()).endswith(", after_first)")
    assert repr(HARDENED["function"]()).startswith("Hardened(<function omp at ")
