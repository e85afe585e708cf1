"""Policies wherever weights are allowed: the context that they see, and their derivatives."""

import dataclasses
import functools
import itertools
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import greedyjax as gj
import oracles
from greedyjax import nets, streaming
from greedyjax.policies import PerAtom, PerStep
from greedyjax.pursuit import GramMatrix
from greedyjax.training import fit, losses
from helpers import assert_close, random_problem, slow_but
from policy_oracles import omp_oracle

M, N, K, STEPS, NUM, TAU = 10, 16, 4, 3, 5, 0.1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AfterNeighbour:
    """An atom is open at first, or once the one before it has been chosen; `closed` otherwise."""

    closed: Any

    def __call__(self, context):
        before = jnp.roll(context.chosen, 1)
        return jnp.where(context.step == 0, 1.0, before + (1 - before) * self.closed)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mixed:
    """Sees everything: the atoms chosen, their coefficients, and the step."""

    U: Any
    V: Any

    def __call__(self, context):
        seen = jnp.tanh(context.chosen @ self.U + jnp.abs(context.coefficients) @ self.V)
        return jnp.exp(seen / (1 + context.step))


def mixed(seed=0):
    rng = np.random.default_rng(seed)
    return Mixed(0.5 * rng.standard_normal((N, N)), 0.2 * rng.standard_normal((N, N)))


def problems(dtype=np.float64):
    A = random_problem(0, M, N, K, dtype)[0]
    scale = np.linspace(0.5, 2, N)  # Columns of other norms.
    Y = np.stack([random_problem(i, M, N, K, dtype, noise=0.2)[2] for i in range(NUM)])
    return A * scale, Y


A, Y = problems()
POLICIES = {"after neighbour": AfterNeighbour(jnp.asarray(0.05)), "mixed": mixed()}


def numpy_of(policy):
    """The same policy on NumPy arrays: it is written in functions that both have."""
    return lambda step, c, z: np.asarray(policy(gj.policies.Context(step, c, z)))


@pytest.mark.parametrize("dtype", slow_but([np.complex128], [np.float64, np.complex128]))
@pytest.mark.parametrize("name", POLICIES)
def test_omp_follows_the_policy(name, dtype):
    A, Y = problems(dtype)
    policy = POLICIES[name]
    expected = np.stack([omp_oracle(A, y, numpy_of(policy), K) for y in Y])
    solve = jax.jit(jax.vmap(lambda y: gj.omp(A, y, sparsity=K, weights=policy).x))
    assert_close(solve(Y), expected)
    plain = jax.vmap(lambda y: gj.omp(A, y, sparsity=K).x)(Y)
    assert np.abs(plain - expected).max() > 0.1, "the policy changes nothing here"


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_the_gram_fit_follows_the_policy(name, monkeypatch):
    called = []
    add = GramMatrix.add
    monkeypatch.setattr(GramMatrix, "add", lambda *args: called.append(1) or add(*args))
    found = gj.omp_batch(gj.dictionary(A), Y, sparsity=K, weights=POLICIES[name])
    assert called
    expected = np.stack([omp_oracle(A, y, numpy_of(POLICIES[name]), K) for y in Y])
    assert_close(found.x, expected)


@pytest.mark.parametrize(
    ("name", "remat"),
    slow_but(
        [("mixed", False), ("after neighbour", True)], itertools.product(POLICIES, [False, True])
    ),
)
def test_soft_omp_follows_it_and_so_do_gradients(name, remat):
    """In the policy's arrays, in y and in A, against differences of the oracle."""
    y, policy = Y[0], POLICIES[name]
    direction = np.random.default_rng(1).standard_normal(N)

    def loss(policy, A, y):
        x = gj.soft_omp(A, y, sparsity=3, tau=TAU, weights=policy, remat=remat).x
        return jnp.sum(direction * x), x

    gradients, x = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(policy, A, y)
    leaves, tree = jax.tree.flatten(policy)

    def by_hand(*args):
        *leaves, A, y = args
        return omp_oracle(A, y, numpy_of(tree.unflatten(leaves)), 3, TAU)

    args = [*map(np.asarray, leaves), A, y]
    assert_close(x, by_hand(*args))
    assert_close_to_differences(lambda *args: direction @ by_hand(*args), args, gradients)


def assert_close_to_differences(loss, args, gradients):
    """Derivatives along two directions in each argument, which are as good as all of them."""
    rng = np.random.default_rng(2)
    for i, (arg, gradient) in enumerate(zip(args, jax.tree.leaves(gradients), strict=True)):
        for _ in range(2):
            step = 1e-6 * rng.standard_normal(arg.shape)
            ahead, behind = (
                loss(*(a + s * step if j == i else a for j, a in enumerate(args))) for s in (1, -1)
            )
            slope = np.sum(step * gradient)
            assert abs(slope) > 1e-10, "it moves nothing here"
            # Central differences of step 1e-6 of a loss near 10.
            assert_close(slope, np.asarray((ahead - behind) / 2), rtol=1e-5, atol=1e-13)


# --- The other algorithms ------------------------------------------------------------------------

SOLVERS = {
    "iht": functools.partial(gj.iht, num_steps=STEPS, step_size=0.2),
    "htp": functools.partial(gj.htp, num_steps=STEPS, step_size=0.2),
    "subspace_pursuit": functools.partial(gj.subspace_pursuit, num_steps=STEPS),
    "cosamp": functools.partial(gj.cosamp, num_steps=STEPS),
}


def largest(scores, k):
    return np.isin(np.arange(N), np.argsort(-scores, kind="stable")[:k])


def least_squares(A, y, mask):
    x = np.zeros(N)
    x[mask] = np.linalg.lstsq(A[:, mask], y, rcond=None)[0]
    return x


def thresholding_oracle(y, policy, fits):
    unit = 2.0 ** np.floor(np.log2(np.abs(y).max())) / 2.0 ** np.floor(np.log2(np.abs(A).max()))
    x, mask = np.zeros(N), np.zeros(N)
    for step in range(STEPS):
        u = x + 0.2 * A.T @ (y - A @ x)
        mask = largest(policy(step, mask.astype(float), x / unit) * np.abs(u), K)
        x = least_squares(A, y, mask) if fits else np.where(mask, u, 0)
    return x


def merging_oracle(y, policy, candidates, refits):
    norms = np.linalg.norm(A, axis=0)
    unit, scale = A / norms, 2.0 ** np.floor(np.log2(np.abs(y).max()))
    start = policy(0, np.zeros(N), np.zeros(N)) * np.abs(unit.T @ y)
    mask, x = largest(start, K), np.zeros(N)
    if refits:
        x = least_squares(unit, y, mask)
    best, least = x, np.linalg.norm(y - unit @ x) if refits else np.inf
    for step in range(STEPS):
        scores = policy(step, mask.astype(float), x / scale) * np.abs(unit.T @ (y - unit @ x))
        merged = mask | largest(scores, candidates * K)
        z = least_squares(unit, y, merged)
        mask = largest(policy(step, merged.astype(float), z / scale) * np.abs(z), K)
        x = least_squares(unit, y, mask) if refits else np.where(mask, z, 0)
        if np.linalg.norm(y - unit @ x) < least:
            best, least = x, np.linalg.norm(y - unit @ x)
    return best / norms


BY_HAND = {
    "iht": functools.partial(thresholding_oracle, fits=False),
    "htp": functools.partial(thresholding_oracle, fits=True),
    "subspace_pursuit": functools.partial(merging_oracle, candidates=1, refits=True),
    "cosamp": functools.partial(merging_oracle, candidates=2, refits=False),
}


# Of CoSaMP that the policy changes something, and no more: see below.
@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(["iht", "htp", "subspace_pursuit"], SOLVERS))
def test_every_solver_follows_the_policy(name):
    policy = mixed()
    # Five merged atoms at most, of ten equations: fits on more are not determined.
    solve = jax.jit(jax.vmap(lambda y: SOLVERS[name](A, y, sparsity=K, weights=policy).x))
    expected = np.stack([BY_HAND[name](y, numpy_of(policy)) for y in Y])
    found = solve(Y)
    # CoSaMP merges up to twelve atoms of ten equations, where coefficients are not determined.
    if name != "cosamp":
        assert_close(found, expected, rtol=1e-8, atol=1e-9)
    plain = jax.vmap(lambda y: SOLVERS[name](A, y, sparsity=K).x)(Y)
    assert np.abs(plain - found).max() > 1e-3, "the policy changes nothing here"


@pytest.mark.slow
@pytest.mark.parametrize("name", SOLVERS)
def test_soft_twins_tend_to_the_hard_solver_and_have_finite_gradients(name):
    policy = mixed()
    settings = {**SOLVERS[name].keywords, "sparsity": K, "weights": policy}
    soft = getattr(gj, f"soft_{name}")
    both = jax.jit(
        jax.vmap(
            lambda y: (soft(A, y, tau=1e-6, **settings).x, getattr(gj, name)(A, y, **settings).x)
        )
    )
    cold, hard = both(Y)
    assert_close(cold, hard, rtol=1e-6, atol=1e-6)

    def loss(policy):
        return jnp.sum(soft(A, Y[0], tau=TAU, **{**settings, "weights": policy}).x ** 2)

    gradient = jax.jit(jax.grad(loss))(policy)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


# --- Arrays are policies -------------------------------------------------------------------------


def test_arrays_are_the_policies_that_they_stand_for():
    rows = np.random.default_rng(3).uniform(0.5, 1.5, (K, N))
    for array, policy in ((rows[0], PerAtom(rows[0])), (rows, PerStep(rows))):
        for solve in (gj.omp, functools.partial(gj.soft_omp, tau=TAU)):
            found, expected = (solve(A, Y[0], sparsity=K, weights=w).x for w in (policy, array))
            np.testing.assert_array_equal(found, expected)


def test_a_function_is_a_policy():
    weights = np.linspace(1, 2, N)
    by_step = lambda context: jnp.where(context.step > 0, weights, 1.0)
    rows = np.stack([np.ones(N), *[weights] * (K - 1)])
    found = gj.omp(A, Y[0], sparsity=K, weights=by_step)
    assert_close(found.x, gj.omp(A, Y[0], sparsity=K, weights=rows).x)


# --- Networks, batches, files --------------------------------------------------------------------


@pytest.mark.slow
def test_a_network_learns_the_arrays_of_a_policy_and_hands_it_to_the_hard_solver():
    net = nets.OMPNet(A, sparsity=K, tau=TAU, weights=mixed())
    assert [leaf.shape for leaf in net.weights.get_value()] == [(N, N), (N, N)]
    X = np.stack([omp_oracle(A, y, numpy_of(mixed(1)), K) for y in Y])
    settings = {"num_epochs": 3, "batch_size": NUM, "optimizer": optax.adam(1e-2)}
    fitted = fit(net, (Y, X), (Y, X), key=jax.random.key(0), **settings)
    history = fitted.history["val_loss"]
    assert history[-1] < history[0]
    policy = fitted.net.policy
    assert np.abs(policy.U - mixed().U).max() > 1e-3
    hardened = fitted.net.harden()
    expected = np.stack([omp_oracle(A, y, numpy_of(policy), K) for y in Y])
    assert_close(hardened(Y), expected)
    assert_close(pickle.loads(pickle.dumps(hardened))(Y), expected)
    assert "Mixed" in repr(hardened)
    streamed = streaming.recover(jax.jit(hardened), Y, batch_size=2)
    assert_close(streamed, expected)


def test_the_selection_loss_scores_what_the_policy_says_along_the_hard_path():
    policy = mixed()
    net = nets.OMPNet(A, sparsity=3, tau=TAU, weights=policy)
    graph, params, rest = nnx.split(net, nnx.Param, ...)
    X = np.abs(np.random.default_rng(4).standard_normal((1, N)))
    loss = lambda params: losses.selection(nnx.merge(graph, params, rest), Y[:1], X)
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    targets = X[0] ** 2 / np.sum(X[0] ** 2)
    norms = np.linalg.norm(A, axis=0)
    scale = 2.0 ** np.floor(np.log2(np.abs(Y[0]).max()))

    # The path of the weights as they are, which the loss holds constant.
    met, x = [], np.zeros(N)
    for step in range(3):
        chosen = (x != 0).astype(float)
        met.append((step, chosen, x * norms / scale, np.abs(A.T @ (Y[0] - A @ x)) / norms))
        x = omp_oracle(A, Y[0], numpy_of(policy), step + 1)

    def by_hand(U, V):
        each = []
        for step, chosen, z, magnitudes in met:
            still = chosen == 0
            scores = (numpy_of(Mixed(U, V))(step, chosen, z) * magnitudes)[still]
            p = np.exp((scores - scores.max()) / TAU)
            each.append(-np.log(p @ (targets[still] + 1e-6) / p.sum()))
        return np.mean(each)

    assert_close(value, by_hand(policy.U, policy.V))
    leaves = gradient["weights"].get_value()
    for i, leaf in enumerate(leaves):
        args = [policy.U, policy.V]
        expected = oracles.finite_difference(
            lambda a, i=i, args=args: by_hand(*[a if j == i else b for j, b in enumerate(args)]),
            args[i],
        )
        assert_close(leaf, expected, rtol=1e-5, atol=1e-7)  # Differences of step 1e-6.


# --- Bad policies --------------------------------------------------------------------------------

BAD = {
    "another shape": (lambda c: jnp.ones(3), ValueError, r"expected a policy .*\(16,\).*\(3,\)"),
    "complex": (lambda c: jnp.ones(N) * 1j, TypeError, "expected a policy .*real .*complex128"),
    "integers": (lambda c: jnp.ones(N, int), TypeError, "expected a policy .*got .*int64"),
    "no array": (lambda c: None, ValueError, "expected a policy .*NoneType"),
    "a class": (Mixed, TypeError, r"expected an array or a policy.*the class Mixed; make one"),
    "a text": ("ones", TypeError, "expected an array, got str"),
}


@pytest.mark.wrong_types
@pytest.mark.parametrize("name", BAD)
def test_bad_policies_are_named_before_anything_is_traced(name):
    weights, error, message = BAD[name]
    with pytest.raises(error, match=f"^weights: {message}"):
        gj.omp(A, Y[0], sparsity=K, weights=weights)
    with pytest.raises(error, match=f"^weights: {message}"):
        nets.OMPNet(A, sparsity=K, weights=weights)
