"""The derivative rule of OMP, against derivatives of a loop over its steps."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.linalg.operators import dense
from greedyjax.policies import as_weighting
from greedyjax.pursuit import OMP, problem_of, relaxed_of, system_for, turns_of
from greedyjax.pursuit._orthogonal import _take_steps
from greedyjax.sorting import SoftSort
from helpers import assert_close, jit, random_problem, slow_but

M, N, K = 6, 9, 3


def arguments(seed, dtype):
    """(A, y, w, tau) with columns of norm 1, and directions in which they move."""
    A, _, y = random_problem(seed, M, N, 2, dtype, noise=0.3)
    rng = np.random.default_rng(seed)
    args = A, y, rng.uniform(0.5, 1.5, N), np.array([0.3, 0.2, 0.1])
    return args, tuple(rng.standard_normal(a.shape).astype(a.dtype) for a in args)


@pytest.mark.parametrize(
    ("soft", "dtype"),
    slow_but(
        [(True, np.complex128), (False, np.float64)],
        itertools.product([True, False], [np.float64, np.complex128]),
    ),
)
def test_every_output_moves_as_the_loop_says(soft, dtype):
    """`_take_steps.fun` is the loop as it stands, which JAX differentiates by its own rules."""
    make = functools.partial(steps, K, soft)

    def both(args, directions):
        forms = _take_steps, _take_steps.fun
        return [jax.jvp(functools.partial(make, f), args, directions)[1] for f in forms]

    ours, expected = jit(jax.vmap(both))(
        *jax.tree.map(lambda *z: np.stack(z), *(arguments(seed, dtype) for seed in (0, 1)))
    )
    leaves = jax.tree.leaves(expected)
    assert len(leaves) == (7 if soft else 6)
    for mine, leaf in zip(jax.tree.leaves(ours), leaves, strict=True):
        assert np.linalg.norm(leaf) > 0.01
        assert_close(mine, leaf, rtol=1e-8, atol=1e-9)  # Soft atoms are close to dependent.


def steps(sparsity, soft, take, A, y, w, tau):
    """What moves of the last state and of the residuals."""
    method = OMP(sparsity)
    system = system_for(method, dense(A), y.dtype)
    problem = problem_of(system, y)
    weighting = as_weighting(w, A.shape[1], sparsity, y.dtype)
    relaxed = relaxed_of(method, SoftSort, tau) if soft else None
    turns = turns_of(problem, weighting, relaxed, method)
    final, after = take(method.prepared(system), problem, turns)
    fixed = {"support": None, "taken": None, "count": None, "chosen": None}
    return final._replace(**fixed, **({} if soft else {"rows": None})), after


def test_a_dependent_atom_moves_nothing():
    """Two equal columns, hot: the second soft atom lies in the span of the first."""

    def run(take, A):
        return steps(2, True, take, A, A[:, 0], jnp.ones(2), jnp.full(2, 1e6))

    A, direction = np.eye(3)[:, [0, 0]], np.random.default_rng(0).standard_normal((3, 2))

    @jit
    def both(*args):
        forms = _take_steps, _take_steps.fun
        return [jax.jvp(functools.partial(run, f), *args)[1] for f in forms]

    ours, expected = both((A,), (direction,))
    for mine, leaf in zip(*map(jax.tree.leaves, (ours, expected)), strict=True):
        assert_close(mine, leaf)


def loss(remat, A, y, w, tau):
    x = gj.soft_omp(A, y, sparsity=K, tau=tau, weights=w, remat=remat).x
    return jnp.sum(jnp.sin(3 * x.real + x.imag))


@pytest.mark.slow  # Twice differentiated, three times compiled.
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_second_derivatives(dtype):
    """Forward over reverse mode, and reverse over it, against differences of the gradient."""
    args, directions = arguments(2, dtype)
    gradient = jax.grad(functools.partial(loss, False), (0, 1, 2, 3))

    def along(*args):
        """The gradient's inner product with the directions."""
        return sum(
            jnp.real(jnp.sum(g * d)) for g, d in zip(gradient(*args), directions, strict=True)
        )

    forward = jit(lambda *args: jax.jvp(gradient, args, directions)[1])(*args)
    reverse = jit(jax.grad(along, (0, 1, 2, 3)))(*args)
    step = 1e-6
    ahead, behind = (
        jit(gradient)(*(a + s * d for a, d in zip(args, directions, strict=True)))
        for s in (step, -step)
    )
    for i, curvature in enumerate(forward):
        # Central differences of step 1e-6, of gradients of size 10.
        assert_close(curvature, (ahead[i] - behind[i]) / (2 * step), rtol=1e-5, atol=1e-5)
        assert_close(reverse[i], curvature, rtol=1e-8, atol=1e-8)


def test_rows_made_again_give_the_same():
    @jit
    @jax.vmap
    def both(args):
        return [
            jax.value_and_grad(functools.partial(loss, remat), (0, 1, 2, 3))(*args)
            for remat in (False, True)
        ]

    kept, again = both(
        jax.tree.map(lambda *z: np.stack(z), *(arguments(s, np.complex128)[0] for s in (0, 1)))
    )
    for mine, leaf in zip(*map(jax.tree.leaves, (again, kept)), strict=True):
        assert_close(mine, leaf, rtol=1e-8)
