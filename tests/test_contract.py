"""One table: every solver through every promise of the design that does not depend on it.

Values are the business of the solvers' own tests. Here each solver meets every degenerate input in
every dtype, and keeps what it promises on all of them: finite values and derivatives, an honest
residual norm, forward mode equal to reverse mode, units that do not matter, and the same answer
as it is, compiled and batched. A new solver is one line in `SOLVERS`, a new input one in `cases`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

import greedyjax as gj
from helpers import DTYPES, assert_close, random_problem, tolerance

M, N = 8, 16

# Compiling is nearly all this file's time. The passes left out come after those that choose the
# order of operations, and cost more than they win on arrays of this size.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Solver(NamedTuple):
    """A solver of (A, y, weights, tau, sparsity), and the units of its temperature.

    `tau_units` takes the units of A and of y; hard solvers have no use for a temperature.
    """

    solve: Callable[..., gj.Recovery]
    tau_units: Callable[[float, float], float] = lambda a, b: 1.0


SOLVERS = {
    "omp": Solver(lambda A, y, w, tau, k: gj.omp(A, y, sparsity=k, weights=w)),
    "soft_omp": Solver(
        lambda A, y, w, tau, k: gj.soft_omp(A, y, sparsity=k, tau=tau, weights=w),
        tau_units=lambda a, b: b,
    ),
    "iht": Solver(lambda A, y, w, tau, k: gj.iht(A, y, sparsity=k, num_steps=6, weights=w)),
    "soft_iht": Solver(
        lambda A, y, w, tau, k: gj.soft_iht(A, y, sparsity=k, tau=tau, num_steps=6, weights=w),
        tau_units=lambda a, b: b / a,
    ),
}

# Every dtype at one sparsity; the extremes, which compile anew, in the least precise.
TABLE = [(name, dtype, 3) for name in SOLVERS for dtype in DTYPES]
TABLE += [(name, np.float32, M) for name in SOLVERS if name.endswith("omp")]
TABLE += [(name, np.float32, 1) for name in SOLVERS if name.startswith("soft")]
every_solver = pytest.mark.parametrize(
    ("name", "dtype", "sparsity"), TABLE, ids=[f"{n}-{d.__name__}-{k}" for n, d, k in TABLE]
)


class Case(NamedTuple):
    """One input at unit scale, and the units to measure it in."""

    A: np.ndarray
    y: np.ndarray
    w: np.ndarray
    tau: float = 0.05
    units: tuple[float, float] = (1.0, 1.0)


@functools.cache
def cases(dtype):
    """Every degenerate input of the design, by name, all of one shape."""
    rng = np.random.default_rng(1)
    A, _, y = random_problem(0, M, N, 3, dtype, noise=0.2)
    Q = np.linalg.qr(random_problem(2, N, N, 1, dtype)[0])[0]
    basis = np.hstack([np.linalg.qr(A[:, :M])[0], 0 * A[:, M:]])
    identity, dct = np.eye(M), scipy.fft.dct(np.eye(M), norm="ortho", axis=0)
    ones = np.ones(N)
    duplicates, zeros = A.copy(), A.copy()
    duplicates[:, [1, 5, 9]] = np.stack([A[:, 0], -A[:, 4], A[:, 0]], axis=1)
    zeros[:, [0, 3, 15]] = 0
    table = {
        "generic": Case(A, y, rng.uniform(0.5, 2, N)),
        "no weights": Case(A, y, ones),
        "y = 0": Case(A, 0 * y, ones),
        "A = 0": Case(0 * A, y, ones),
        "y orthogonal to every column": Case(np.vstack([0 * A[:1], A[1:]]), identity[0], ones),
        "duplicate columns": Case(duplicates, 2 * A[:, 0] + A[:, 4], ones),
        "columns all the same": Case(np.repeat(A[:, :1], N, axis=1), y, ones),
        "zero columns": Case(zeros, y, ones),
        "orthonormal columns": Case(basis, y, ones),
        "orthonormal columns, cold": Case(basis, y, ones, tau=1e-3),
        "orthonormal rows": Case(Q[:M], y, ones),
        "identity and DCT": Case(np.hstack([identity, dct]), identity[1] + dct[:, 2], ones),
        "exact ties": Case(np.hstack([identity, identity]), np.ones(M), ones),
        "exact ties, hot": Case(np.hstack([identity, identity]), np.ones(M), ones, tau=1e3),
        "a single atom": Case(A, 2 * A[:, 7], ones),
        "column norms 0.1 to 10": Case(A * np.logspace(-1, 1, N), y, ones),
        "weights 0": Case(A, y, 0 * ones),
        "some weights 0, some negative": Case(A, y, np.where(np.arange(N) % 3, -ones, 0)),
    }
    for a, b in ((1, 1e-20), (1, 1e20), (1e-20, 1e-20), (1e20, 1e20), (1e20, 1)):
        table[f"A in units of {a:g}, y in units of {b:g}"] = Case(A, y, ones, units=(a, b))
    return table


def arguments(case, name, dtype):
    """(A, y, w, tau) in the case's units, in one precision."""
    a, b = case.units
    real = np.finfo(dtype).dtype
    tau = np.asarray(case.tau * SOLVERS[name].tau_units(a, b), real)
    return (a * case.A).astype(dtype), (b * case.y).astype(dtype), case.w.astype(real), tau


def tangents(case, args):
    """A direction in each argument, in its own units."""
    rng = np.random.default_rng(3)
    scales = (*case.units, 1.0, args[3])
    return tuple(
        (scale * rng.standard_normal(arg.shape)).astype(arg.dtype)
        for scale, arg in zip(scales, args, strict=True)
    )


@functools.cache
def solver(name, sparsity):
    return jit(lambda A, y, w, tau: SOLVERS[name].solve(A, y, w, tau, sparsity))


class Result(NamedTuple):
    recovery: gj.Recovery
    gradients: tuple  # With respect to A, y, w and tau.
    forward: np.ndarray  # The derivative along `tangents`.


@functools.cache
def results(name, dtype, sparsity):
    """Each case's name with its Result, all from one compiled, batched function."""
    cotangent = np.random.default_rng(2).standard_normal(N).astype(np.finfo(dtype).dtype)

    def loss(*args):
        recovery = SOLVERS[name].solve(*args, sparsity)
        return jnp.vdot(cotangent, recovery.x.real + recovery.x.imag), recovery

    def everything(args, directions):
        (_, recovery), gradients = jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)(*args)
        _, forward = jax.jvp(lambda *args: loss(*args)[0], args, directions)
        return Result(recovery, gradients, forward)

    inputs = [arguments(case, name, dtype) for case in cases(dtype).values()]
    directions = [tangents(*pair) for pair in zip(cases(dtype).values(), inputs, strict=True)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *zip(inputs, directions, strict=True))
    batch = jax.tree.map(np.asarray, jit(jax.vmap(everything))(*stacked))
    return {
        case: jax.tree.map(lambda leaf, i=i: leaf[i], batch) for i, case in enumerate(cases(dtype))
    }


def failing(name, dtype, sparsity, holds):
    """The names of the cases where `holds(case, args, result)` does not."""
    table = cases(dtype)
    found = results(name, dtype, sparsity)
    return [
        key
        for key, case in table.items()
        if not holds(case, arguments(case, name, dtype), found[key])
    ]


def all_finite(tree):
    return all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree))


def double(array):
    return array.astype(np.promote_types(array.dtype, np.float64))


# --- Promises ------------------------------------------------------------------------------------


@every_solver
def test_values_are_finite(name, dtype, sparsity):
    assert not failing(name, dtype, sparsity, lambda case, args, got: all_finite(got.recovery))


@every_solver
def test_gradients_are_finite(name, dtype, sparsity):
    assert not failing(name, dtype, sparsity, lambda case, args, got: all_finite(got.gradients))


@every_solver
def test_forward_mode_is_finite_and_equals_reverse_mode(name, dtype, sparsity):
    rtol = 100 * tolerance(dtype)[0]  # Two long sums in different orders.

    def equal(case, args, got):
        directions = tangents(case, args)
        terms = [
            np.real(double(gradient) * double(direction))
            for gradient, direction in zip(got.gradients, directions, strict=True)
        ]
        reverse = sum(np.sum(term) for term in terms)
        # A gradient of 1e-40, where A has units of 1e20, is 0 in single precision.
        lost = np.finfo(dtype).tiny * sum(np.sum(np.abs(double(d))) for d in directions)
        size = sum(np.sum(np.abs(term)) for term in terms)
        return np.abs(got.forward - reverse) <= rtol * size + lost

    assert not failing(name, dtype, sparsity, equal)


@every_solver
def test_residual_norm_is_that_of_the_answer(name, dtype, sparsity):
    rtol = 100 * tolerance(dtype)[0]  # Soft atoms are close to dependent.

    def honest(case, args, got):
        A, y = double(args[0]), double(args[1])
        residual_norm = np.linalg.norm(y - A @ got.recovery.x)
        return np.abs(residual_norm - got.recovery.residual_norm) <= rtol * np.linalg.norm(y)

    assert not failing(name, dtype, sparsity, honest)


@every_solver
def test_zero_measurements_give_zero(name, dtype, sparsity):
    recovery = results(name, dtype, sparsity)["y = 0"].recovery
    assert np.all(recovery.x == 0)
    assert recovery.residual_norm == 0


@every_solver
def test_units_do_not_matter(name, dtype, sparsity):
    plain = results(name, dtype, sparsity)["no weights"].recovery
    rtol = 100 * tolerance(dtype)[0]  # 1e20 is no power of two: everything is rounded anew.

    def same(case, args, got):
        a, b = case.units
        if (a, b) == (1, 1):
            return True
        x = double(got.recovery.x) * a / b
        return np.linalg.norm(x - plain.x) <= rtol * np.linalg.norm(plain.x)

    assert not failing(name, dtype, sparsity, same)


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.complex128, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SOLVERS)
def test_compiled_one_by_one_equals_batched(name, dtype):
    """Not their supports: where the residual is rounding error, so is what is chosen next."""
    rtol = 100 * tolerance(dtype)[0]
    solve = solver(name, 3)

    def same(case, args, got):
        x, batched = double(np.asarray(solve(*args).x)), double(got.recovery.x)
        return np.linalg.norm(x - batched) <= rtol * np.linalg.norm(batched)

    assert not failing(name, dtype, 3, same)


@pytest.mark.parametrize("name", SOLVERS)
def test_as_it_is_equals_compiled(name):
    dtype = np.complex64
    args = arguments(cases(dtype)["generic"], name, dtype)
    eager, compiled = SOLVERS[name].solve(*args, 3), solver(name, 3)(*args)
    assert eager.support.tolist() == compiled.support.tolist()
    assert eager.num_steps == compiled.num_steps
    assert eager.converged == compiled.converged
    rtol, atol = tolerance(dtype)  # A hundredfold, as soft atoms are close to dependent.
    assert_close(eager.x, compiled.x, rtol=100 * rtol, atol=100 * atol)
    assert_close(eager.residual_norm, compiled.residual_norm)


# --- Promises that need no numbers ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("A_dtype", "y_dtype"),
    [(dtype, dtype) for dtype in DTYPES]
    + [(np.float32, np.complex64), (np.complex64, np.float32)]
    + [(np.float32, np.float64), (np.complex64, np.float64), (np.float64, np.complex64)],
)
@pytest.mark.parametrize("name", SOLVERS)
def test_dtypes_are_promoted_and_kept(name, A_dtype, y_dtype):
    real = jax.ShapeDtypeStruct((N,), np.float64), jax.ShapeDtypeStruct((), np.float64)
    A, y = jax.ShapeDtypeStruct((M, N), A_dtype), jax.ShapeDtypeStruct((M,), y_dtype)
    # Weights and temperature in double precision must not lift the answer's.
    found = jax.eval_shape(lambda *args: SOLVERS[name].solve(*args, 3), A, y, *real)
    dtype = np.result_type(A_dtype, y_dtype)
    assert found.x.dtype == dtype
    assert found.residual_norm.dtype == np.finfo(dtype).dtype
    assert found.support.dtype == found.num_steps.dtype == np.int32
    assert found.converged.dtype == bool
    shapes = [field.shape for field in found]
    assert shapes == [(N,), (3,), (), (), ()]


def num_equations(jaxpr):
    total = len(jaxpr.eqns)
    for equation in jaxpr.eqns:
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns")):
            total += num_equations(inner) if hasattr(inner, "eqns") else 0
    return total


@pytest.mark.parametrize(
    "solve",
    [
        lambda A, y, steps: gj.omp(A, y, sparsity=steps),
        lambda A, y, steps: gj.soft_omp(A, y, sparsity=steps, tau=0.1),
        lambda A, y, steps: gj.iht(A, y, sparsity=3, num_steps=steps),
        lambda A, y, steps: gj.soft_iht(A, y, sparsity=3, tau=0.1, num_steps=steps),
    ],
    ids=SOLVERS,
)
def test_compile_time_does_not_grow_with_the_steps(solve):
    """What is compiled, of the solver and of its gradient, is the same for 8 steps and for 64."""
    A, y = np.ones((64, 64)), np.ones(64)

    def size(steps):
        gradient = jax.grad(lambda A, y: jnp.sum(solve(A, y, steps).x), (0, 1))
        return num_equations(jax.make_jaxpr(gradient)(A, y).jaxpr)

    assert size(8) == size(64)
