"""Every solver with an operator in place of the matrix, and derivatives in its arrays."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fitting_oracles
import greedyjax as gj
import oracles
from greedyjax import certificates, metrics
from helpers import assert_close, jit, slow_but
from operator_kinds import KNOWN, PAIRS, TRACED, Duck, K, N, matrix_free, problem

STEPS, MERGES = 4, 2
TAU, STEP = 0.05, 0.05


def stepping(solve, **settings):
    """Of the IHT family: a function of (A, y, w, tau, step), hard or soft."""
    settings = {"sparsity": K, "num_steps": STEPS, **settings}
    soft = solve.__name__.startswith("soft")

    def of(A, y, w, tau, step):
        temperature = {"tau": tau} if soft else {}
        return solve(A, y, weights=w, step_size=step, **temperature, **settings)

    return of


def merging(solve, **settings):
    """Of the others that take steps."""
    settings = {"sparsity": K, "num_steps": MERGES, **settings}
    soft = solve.__name__.startswith("soft")

    def of(A, y, w, tau, step):
        del step
        return solve(A, y, weights=w, **({"tau": tau} if soft else {}), **settings)

    return of


SOLVERS = {
    "omp": lambda A, y, w, tau, step: gj.omp(A, y, sparsity=K, weights=w),
    "soft_omp": lambda A, y, w, tau, step: gj.soft_omp(A, y, sparsity=K, weights=w, tau=tau),
    "iht": stepping(gj.iht),
    "soft_iht": stepping(gj.soft_iht),
    "iht, debias": stepping(gj.iht, debias=True),
    "soft_iht, debias": stepping(gj.soft_iht, debias=True),
    "htp": stepping(gj.htp, num_steps=MERGES),
    "soft_htp": stepping(gj.soft_htp, num_steps=MERGES),
    "subspace_pursuit": merging(gj.subspace_pursuit),
    "soft_subspace_pursuit": merging(gj.soft_subspace_pursuit),
    "cosamp": merging(gj.cosamp),
    "soft_cosamp": merging(gj.soft_cosamp, debias=True),
}
ORACLES = {
    "omp": lambda A, y, w: oracles.omp(A, y, K, w),
    "soft_omp": lambda A, y, w: oracles.soft_omp(A, y, K, TAU, w),
    "iht": lambda A, y, w: oracles.iht(A, y, K, STEPS, STEP, w),
    "soft_iht": lambda A, y, w: oracles.soft_iht(A, y, K, TAU, STEPS, STEP, w),
    "iht, debias": lambda A, y, w: fitting_oracles.htp(A, y, K, STEPS, STEP, w, num_fitted=1),
    "soft_iht, debias": lambda A, y, w: fitting_oracles.soft_htp(
        A, y, K, TAU, STEPS, STEP, w, num_fitted=1
    ),
    "htp": lambda A, y, w: fitting_oracles.htp(A, y, K, MERGES, STEP, w),
    "soft_htp": lambda A, y, w: fitting_oracles.soft_htp(A, y, K, TAU, MERGES, STEP, w),
    "subspace_pursuit": lambda A, y, w: fitting_oracles.subspace_pursuit(A, y, K, MERGES, w),
    "soft_subspace_pursuit": lambda A, y, w: fitting_oracles.soft_subspace_pursuit(
        A, y, K, TAU, MERGES, w
    ),
    "cosamp": lambda A, y, w: fitting_oracles.cosamp(A, y, K, MERGES, w),
    "soft_cosamp": lambda A, y, w: fitting_oracles.soft_cosamp(
        A, y, K, TAU, MERGES, w, debias=True
    ),
}


def solved(names, A, *args):
    return {name: SOLVERS[name](A, *args) for name in names}


def assert_solves(make, pair, names=tuple(SOLVERS), *, traced=True):
    """Every answer is the oracle's."""
    A, y, w = problem(pair)
    args = y, w, TAU, STEP
    if traced:
        found = jit(lambda A, *args: solved(names, make(A), *args))(A, *args)
    else:
        operator = make(A)
        found = jit(lambda *args: solved(names, operator, *args))(*args)
    for name in names:
        expected = ORACLES[name](A, y, w)
        assert np.linalg.norm(expected.x) > 0.01
        assert_close(found[name].x, expected.x)
        residual = np.linalg.norm(y - A @ expected.x)
        assert_close(found[name].residual_norm, residual)
        if not name.startswith("soft"):
            used = np.sort(np.flatnonzero(expected.x))
            support = np.sort(found[name].support)
            np.testing.assert_array_equal(support[support >= 0], used)


# One for each way to use an operator.
FEW = ("omp", "soft_omp", "iht", "soft_htp", "cosamp")


@pytest.mark.parametrize("names", slow_but(["few"], ["few", "all"]))
def test_every_solver_takes_an_operator(names):
    assert_solves(TRACED["MatrixFree"], "complex", FEW if names == "few" else tuple(SOLVERS))


@pytest.mark.parametrize("name", ["BCOO", "a duck with columns, prepared"])
def test_solvers_take_operators_of_other_kinds(name):
    assert_solves(TRACED[name], "real A, complex y", ("omp", "soft_iht"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TRACED, *KNOWN])
def test_solvers_take_every_kind(name):
    assert_solves((TRACED | KNOWN)[name], "complex", FEW, traced=name in TRACED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pair", "name"),
    list(zip(PAIRS, ["MatrixFree, prepared", "BCOO"] * 2, strict=True)),
)
def test_every_solver_takes_real_and_complex_numbers(pair, name):
    assert_solves(TRACED[name], pair)


# --- Derivatives ---------------------------------------------------------------------------------


def value_and_gradients(make, names):
    """Of a sum over solvers, in the matrix, y, the weights, the temperature and the step size."""

    @jit
    def of(A, *args):
        def total(A, *args):
            found = solved(names, make(A), *args)
            return sum(_directed(name, answer.x) for name, answer in found.items())

        return jax.value_and_grad(total, argnums=range(5))(A, *args)

    return of


def _directed(name, x):
    """An answer along a direction of its own, so that no error of one hides that of another."""
    re, im = np.random.default_rng(zlib.crc32(name.encode())).standard_normal((2, N))
    return jnp.vdot(re, x.real) + jnp.vdot(im, x.imag)


def assert_derivatives(kinds, pair, names=tuple(SOLVERS)):
    """They are those of the matrix itself, whichever arrays the operator is made of."""
    A, y, w = problem(pair)
    args = A, y, w, jnp.asarray(TAU), jnp.asarray(STEP)
    value, expected = value_and_gradients(TRACED["array"], names)(*args)
    for kind in kinds:
        found, gradients = value_and_gradients(TRACED[kind], names)(*args)
        assert_close(found, value)
        for gradient, wanted in zip(gradients, expected, strict=True):
            assert np.abs(wanted).max() > 0.01
            # Slopes of 1 / tau in each step add up to some digits.
            assert_close(gradient, wanted, rtol=1e-8, atol=1e-8)


def test_derivatives_pass_through_an_operator():
    """In the params of a MatrixFree, and in all that solvers take besides."""
    assert_derivatives(["MatrixFree"], "complex", ("iht", "soft_omp"))


DIFFERENTIATED = {
    "complex": ["BCOO", "a registered pytree"],
    "real": ["dictionary of BCOO"],
    "real A, complex y": ["MatrixFree"],
    "complex A, real y": ["as_operator of BCOO"],
}


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_derivatives_of_solvers_pass_through_operators(pair):
    """BCOO data and the arrays of a user's own pytree among them."""
    names = tuple(SOLVERS) if pair == "complex" else FEW
    assert_derivatives(DIFFERENTIATED[pair], pair, names)


@pytest.mark.parametrize("name", ["MatrixFree", "BCOO", "a registered pytree"])
def test_a_gradient_in_an_operator_is_one_in_its_arrays(name):
    """`jax.grad` in the operator itself, which is a pytree."""
    A, y, _ = problem("real")
    operator = gj.operators.as_operator(TRACED[name](jnp.asarray(A)))
    solve = lambda A: jnp.sum(gj.iht(A, y, sparsity=K, num_steps=2, step_size=STEP).x ** 2)
    gradients = jax.tree.leaves(jit(jax.grad(solve, allow_int=True))(operator))
    expected = oracles.finite_difference(lambda A: np.sum(oracles.iht(A, y, K, 2, STEP).x ** 2), A)
    # Central differences of step 1e-6 are good to about 1e-9.
    assert_close(gradients[0].reshape(A.shape), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("transform", ["grad", "jvp", "vmap"])
def test_what_jax_does_not_know_is_not_differentiated_without_a_word(transform):
    A, y, _ = problem("real")

    def solve(A):
        return jnp.sum(gj.iht(Duck(A), y, sparsity=K, num_steps=2, step_size=STEP).x)

    transformed = {
        "grad": jax.grad(solve),
        "jvp": lambda A: jax.jvp(solve, (A,), (A,)),
        "vmap": lambda A: jax.vmap(solve)(A[None]),
    }
    with pytest.raises(TypeError, match="register_dataclass, or use greedyjax.operators.Matrix"):
        transformed[transform](jnp.asarray(A))


def test_what_jax_does_not_know_is_a_constant():
    """Derivatives in the measurements pass all the same."""
    A, y, _ = problem("real")
    solve = lambda A, y: jnp.sum(gj.iht(A, y, sparsity=K, num_steps=2, step_size=STEP).x)
    found = jax.grad(solve, argnums=1)(Duck(A), jnp.asarray(y))
    expected = oracles.finite_difference(lambda y: np.sum(oracles.iht(A, y, K, 2, STEP).x), y)
    # Central differences of step 1e-6 are good to about 1e-9.
    assert_close(found, expected, rtol=1e-7, atol=1e-7)


# --- Functions beside the solvers ----------------------------------------------------------------

BATCHES = {
    "omp_batch": {},
    "iht_batch": {"num_steps": 3, "step_size": STEP},
    "htp_batch": {"num_steps": 2, "step_size": STEP},
    "subspace_pursuit_batch": {"num_steps": 2},
    "cosamp_batch": {"num_steps": 2},
}


def batches(A, Y, w, names=tuple(BATCHES)):
    return {
        name: getattr(gj, name)(A, Y, sparsity=K, weights=w, **BATCHES[name])._asdict()
        for name in names
    }


def beside(A, Y, w):
    """What takes a matrix and is no solver."""

    def few(A, Y):
        return jax.vmap(lambda y: gj.omp(A, y, sparsity=2, weights=w).x)(Y)

    stacked, parts = gj.stack_real(A, Y)
    return {
        "relative_tau": gj.relative_tau(A, Y[0], 0.1, weights=w),
        "hidden_measurement_error": metrics.hidden_measurement_error(A, Y, few),
        "stack_real": parts,
        "of the stacked": gj.omp(stacked, parts[0], sparsity=K, weights=w)._asdict(),
        "of the stacked by IHT": gj.iht(
            stacked, parts[0], sparsity=K, num_steps=3, step_size=STEP
        )._asdict(),
        "same_path": certificates.same_path(A, Y[0], sparsity=2, tau=0.01)._asdict(),
    }


def assert_agrees_with_the_array(of, kinds, pair):
    A, y, w = problem(pair)
    Y = np.stack([y, y[::-1], -2 * np.roll(y, 3)])
    expected = jit(of)(A, Y, w)
    for kind in kinds:
        found = jit(lambda A, Y, w, kind=kind: of(TRACED[kind](A), Y, w))(A, Y, w)
        jax.tree.map(assert_close, found, expected)


def test_batches_take_operators():
    names = ("omp_batch",)
    assert_agrees_with_the_array(lambda *args: batches(*args, names), ["MatrixFree"], "complex")


def test_the_temperature_of_an_operator():
    A, y, w = problem("complex A, real y")
    scores = np.abs(A.conj().T @ y) / np.linalg.norm(A, axis=0)
    assert_close(gj.relative_tau(matrix_free(A), y, 0.1, weights=w), 0.1 * np.max(w * scores))


def test_the_real_form_of_an_operator():
    A, y, _ = problem("complex")
    matrix = np.concatenate([A.real, A.imag])
    x, v = np.linspace(-1, 1, N), np.linspace(1, 2, 2 * len(A))
    kinds = ("MatrixFree", "BCOO", "dictionary of an array", "as_operator of an array")

    @jit
    def of_each(A, y):
        found = []
        for kind in kinds:
            stacked, parts = gj.stack_real(TRACED[kind](A), y)
            column = stacked.column(jnp.asarray(3))
            norms = gj.dictionary(stacked).column_scale
            found.append((parts, stacked.matvec(x), stacked.rmatvec(v), column, norms))
        return found

    norms = np.linalg.norm(matrix, axis=0)
    stacked_y = np.concatenate([y.real, y.imag])
    for found in of_each(A, y):
        expected = stacked_y, matrix @ x, matrix.T @ v, matrix[:, 3], 1 / norms
        jax.tree.map(assert_close, found, expected)


def test_hidden_measurements_of_an_operator():
    A, y, _ = problem("real")
    Y = np.stack([y, y[::-1]])

    def recover(A, Y):
        solve = lambda y: gj.iht(A, y, sparsity=K, num_steps=2, step_size=STEP).x
        return jax.vmap(solve)(Y)

    def oracle():
        wrong = 0.0
        for i in range(len(A)):
            kept = np.arange(len(A)) != i
            for y in Y:
                x = oracles.iht(A[kept], y[kept], K, 2, STEP).x
                wrong += (y[i] - A[i] @ x) ** 2
        return np.sqrt(wrong / np.sum(Y**2))

    assert_close(metrics.hidden_measurement_error(matrix_free(A), Y, recover), oracle())


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_all_functions_beside_the_solvers_take_operators(pair):
    kinds = ["MatrixFree"]
    if pair == "complex":
        kinds = ["BCOO", "dictionary of an array", "a duck with columns, prepared"]
    assert_agrees_with_the_array(beside, kinds, pair)
    assert_agrees_with_the_array(batches, kinds, pair)
