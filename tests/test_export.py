"""Programs of `jax.export` for any number of signals give the same answers once loaded again."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import greedyjax as gj
from algorithms import x_of
from greedyjax import nets
from greedyjax.policies import Interactions
from helpers import assert_close, random_problem, slow_but

M, N, K = 8, 12, 2
A, _, _ = random_problem(0, M, N, K, np.float64)
STEPS = {"num_steps": 3}
SOLVERS = {
    "omp": {},
    "iht": STEPS,
    "niht": STEPS,
    "htp": STEPS,
    "subspace_pursuit": STEPS,
    "cosamp": STEPS,
}
RNG = np.random.default_rng(1)
POLICY = Interactions(*(0.1 * RNG.standard_normal(shape) for shape in ((N,), (2 * N, 3), (3, N))))
PRIOR = gj.GaussianPrior(np.eye(N) + 0.1)


def one_by_one(name, **settings):
    solve = functools.partial(getattr(gj, name), A, sparsity=K, **settings)
    return jax.vmap(solve)


def batch(name, A=A, **settings):
    """In blocks of 4, so that the numbers of signals below take one block and several."""
    return functools.partial(getattr(gj, name), A, sparsity=K, batch_size=4, **settings)


def calls():
    """How to make a function of measurements for each, and one that has to give the same."""
    for name, steps in SOLVERS.items():
        hard = one_by_one(name, **steps)
        soft = one_by_one(f"soft_{name}", tau=0.1, **steps)
        yield name, lambda f=hard: (f, f)
        yield f"soft_{name}", lambda f=soft: (f, f)
        blocks = batch(f"{name}_batch", **steps)
        yield f"{name}_batch", lambda f=blocks, same=hard: (f, same)
    by_residuals = batch("omp_batch", rtol=1e-9)
    by_gram = lambda: batch("omp_batch", gj.dictionary(A))
    yield "omp_batch, Gram matrix", lambda: (by_gram(), one_by_one("omp"))
    yield "omp_batch, residuals", lambda: (by_residuals, one_by_one("omp", rtol=1e-9))
    for name in ("OMPNet", "IHTNet", "HTPNet", "SubspacePursuitNet", "CoSaMPNet"):
        layers = {} if name == "OMPNet" else {"num_layers": 3}
        make = functools.partial(getattr(nets, name), A, sparsity=K, tau=0.1, **layers)
        kinds = {
            "forward": lambda make: make(),
            "policy": lambda make: make(weights=POLICY),
            "layers": lambda make: make().layers,
            "hardened": lambda make: make().harden(),
            "hardened, prior": lambda make: make().harden(prior=PRIOR),
            "hardened, policy": lambda make: make(weights=POLICY).harden(),
            "hardened, function": lambda make: make().harden(gj.omp),
        }
        for kind, of in kinds.items():
            yield f"{name}, {kind}", lambda make=make, of=of: (of(make),) * 2


CALLS = dict(calls())
QUICK = ["omp_batch, Gram matrix", "OMPNet, hardened, prior"]


@pytest.mark.parametrize(
    "name",
    slow_but(QUICK, CALLS),
)
def test_a_loaded_program_gives_the_answers_for_any_number_of_signals(name):
    f, same = CALLS[name]()
    (num,) = export.symbolic_shape("num")
    program = export.export(jax.jit(f))(jax.ShapeDtypeStruct((num, M), np.float64))
    loaded = export.deserialize(program.serialize())
    for count in (3, 9):
        Y = np.random.default_rng(count).standard_normal((count, M))
        found, expected = loaded.call(Y), same(Y)
        assert type(found) is type(expected)
        # A hundredfold, as soft atoms are close to dependent.
        assert_close(x_of(found), x_of(expected), rtol=1e-8, atol=1e-9)
        if isinstance(found, gj.Recovery):
            assert_close(found.support, expected.support)
            assert_close(found.residual_norm, expected.residual_norm)


@pytest.mark.slow
def test_a_program_takes_a_dictionary_and_batches_of_two_axes():
    rows, columns = export.symbolic_shape("rows, columns")
    hardened = nets.OMPNet(A, sparsity=K).harden()
    program = export.export(jax.jit(hardened))(jax.ShapeDtypeStruct((rows, columns, M), np.float64))
    Y = np.random.default_rng(0).standard_normal((2, 3, M))
    assert_close(export.deserialize(program.serialize()).call(Y), hardened(Y))

    solve = jax.jit(functools.partial(gj.omp, sparsity=K))
    dictionary = gj.dictionary(A)
    shapes = jax.eval_shape(lambda: (dictionary, jnp.asarray(Y[0, 0])))
    loaded = export.deserialize(export.export(solve)(*shapes).serialize())
    assert_close(loaded.call(dictionary, Y[0, 0]).x, gj.omp(A, Y[0, 0], sparsity=K).x)
