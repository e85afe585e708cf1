"""Operators of every type give the products of the matrices that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
import oracles
from greedyjax.linalg.checked import restrict
from helpers import DTYPES, EACH_DTYPE, assert_close, jit
from operator_kinds import KNOWN, PAIRS, TRACED, Duck, M, N, matrix_free, problem

ROWS = np.array([1, 4, 8])


def looked_at(operator, x, y, Y):
    """All that solvers ask of an operator."""
    operator = gj.operators.as_operator(operator)
    some = gj.operators.as_operator(restrict(operator, jnp.asarray(ROWS)))
    prepared = gj.dictionary(operator)
    return {
        "A x": operator.matvec(x),
        "A Re x": operator.matvec(x.real),
        "A* y": operator.rmatvec(y),
        "A* Y": jax.vmap(operator.rmatvec)(Y),
        "column": operator.column(jnp.asarray(5)),
        "norms": prepared.column_scale,
        "unit columns": prepared.unit.matvec(x),
        "unit column": prepared.unit.column(jnp.asarray(2)),
        "rows": some.matvec(x),
        "adjoint of rows": some.rmatvec(y[ROWS]),
        "column of rows": some.column(jnp.asarray(5)),
        "norms of rows": gj.dictionary(some).column_scale,
    }


def expected(A, x, y, Y):
    """The same by NumPy."""
    scale = 1 / np.linalg.norm(A, axis=0)
    return {
        "A x": A @ x,
        "A Re x": A @ x.real,
        "A* y": A.conj().T @ y,
        "A* Y": Y @ A.conj(),
        "column": A[:, 5],
        "norms": scale,
        "unit columns": A @ (scale * x),
        "unit column": A[:, 2] * scale[2],
        "rows": A[ROWS] @ x,
        "adjoint of rows": A[ROWS].conj().T @ y[ROWS],
        "column of rows": A[ROWS, 5],
        "norms of rows": 1 / np.linalg.norm(A[ROWS], axis=0),
    }


def assert_all_close(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype, name
        assert_close(found[name], value)


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(name, marks=() if name == "complex A, real y" else pytest.mark.slow)
        for name in PAIRS
    ],
)
def test_every_kind_multiplies_as_its_matrix(pair):
    A, y, _ = problem(pair)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(N) + (1j * rng.standard_normal(N) if np.iscomplexobj(y) else 0)
    args = A, x, y, np.stack([y, 2 * y[::-1]])
    known = {name: make(A) for name, make in KNOWN.items()}

    @jit
    def every_kind(A, *args):
        kinds = {name: make(A) for name, make in TRACED.items()} | known
        return {name: looked_at(operator, *args) for name, operator in kinds.items()}

    wanted = expected(*args)
    for found in every_kind(*args).values():
        assert_all_close(found, wanted)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
@pytest.mark.parametrize("x_dtype", [np.float32, np.complex128])
def test_dtypes_meet_as_those_of_arrays_do(dtype, x_dtype):
    A, _, _ = problem("complex" if np.dtype(dtype).kind == "c" else "real")
    A, x = A.astype(dtype), np.linspace(-1, 1, N).astype(x_dtype)

    @jit
    def products(A, x):
        kinds = (TRACED[name](A) for name in ("MatrixFree", "a duck with norms", "BCOO"))
        return [gj.operators.as_operator(operator).matvec(x) for operator in kinds]

    wanted = A @ x
    for found in products(A, x):
        assert found.dtype == wanted.dtype
        # Rounded as the less precise of the two.
        assert_close(found, wanted, np.float32)


def doubled(leaf):
    """Numbers, not places."""
    return 2 * leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf


def test_an_operator_is_an_argument_of_jitted_functions():
    """Whatever it was made of, and no array is taken for a constant."""
    A, _, _ = problem()
    x = np.linspace(-1, 1, N)
    multiply = jax.jit(lambda operator, x: operator.matvec(x))
    for name, make in (TRACED | KNOWN).items():
        operator = gj.operators.as_operator(make(jnp.asarray(A)))
        assert_close(multiply(operator, x), A @ x)
        if "duck" not in name:
            assert_close(multiply(jax.tree.map(doubled, operator), x), 2 * A @ x)


def test_as_operator_leaves_an_operator_as_it_is():
    A, _, _ = problem()
    for make in TRACED.values():
        operator = gj.operators.as_operator(make(jnp.asarray(A)))
        assert gj.operators.as_operator(operator) is operator


def test_the_dtype_of_an_operator_is_that_of_its_products():
    for dtype in DTYPES:
        A = jnp.ones((M, N), dtype)
        for operator in (Duck(A), Duck(A, dtype=True), matrix_free(A)):
            assert gj.operators.as_operator(operator).dtype == dtype


def test_double_precision_is_single_where_jax_has_no_other():
    """As of arrays; a warning would be an error here."""
    A, y, _ = problem()
    with jax.enable_x64(False):
        for operator in (Duck(A, dtype=True, norms=True), matrix_free(jnp.asarray(A))):
            operator.dtype = np.dtype(np.complex128)
            found = gj.iht(operator, y, sparsity=3, num_steps=2, step_size=0.05)
            assert found.x.dtype == np.complex64
            assert_close(found.x, oracles.iht(A, y, 3, 2, 0.05).x)


# --- Dictionaries --------------------------------------------------------------------------------


def test_no_gram_matrix_is_made_of_many_atoms_unless_asked_for():
    """It would have 4,294,967,296 numbers."""
    wide = jax.ShapeDtypeStruct((8, 65_536), np.float32)
    assert jax.eval_shape(gj.dictionary, wide).gram is None
    asked = jax.eval_shape(lambda A: gj.dictionary(A, gram=True), wide)
    assert asked.gram.shape == (65_536, 65_536)


def test_no_gram_matrix_is_made_of_an_operator_unless_asked_for():
    A, _, _ = problem()
    assert gj.dictionary(A).gram is not None
    assert gj.dictionary(A, gram=False).gram is None
    for name in ("MatrixFree", "BCOO", "a registered pytree"):
        assert gj.dictionary(TRACED[name](jnp.asarray(A))).gram is None


def test_the_gram_matrix_of_an_operator():
    A, _, _ = problem()
    unit = A / np.linalg.norm(A, axis=0)
    for name in ("array", "MatrixFree", "BCOO"):
        prepared = gj.dictionary(TRACED[name](jnp.asarray(A)), gram=True)
        assert_close(prepared.gram, unit.T @ unit.conj())
        assert gj.dictionary(prepared) is prepared


def test_a_column_of_zeros_stays_one():
    A, y, _ = problem()
    A[:, 3] = 0
    for name in ("MatrixFree, prepared", "BCOO", "dictionary of MatrixFree"):
        assert gj.dictionary(TRACED[name](jnp.asarray(A))).column_scale[3] == 0
    found = gj.omp(TRACED["MatrixFree, prepared"](jnp.asarray(A)), y, sparsity=3)
    assert_close(found.x, oracles.omp(A, y, 3).x)
