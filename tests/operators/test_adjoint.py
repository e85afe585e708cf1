"""`check_adjoint` accepts right operators, and says what is wrong with others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import greedyjax as gj
import oracles
from greedyjax.operators import check_adjoint
from helpers import EACH_DTYPE, assert_close
from masked_fft import masked_fft
from operator_kinds import TRACED, Duck

KEY = jax.random.key(0)
M, N = 5, 7
COMPLEX = [np.complex64, np.complex128]
every_dtype = pytest.mark.parametrize("dtype", EACH_DTYPE)


def matrix(dtype):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((M, N)) + 1j * rng.standard_normal((M, N))
    return jnp.asarray(values if np.dtype(dtype).kind == "c" else values.real, dtype)


def pair(A, B):
    """``A x`` and, for its adjoint, ``B y``: of one dtype all are compiled once."""
    return gj.operators.MatrixFree(_first, _second, shape=A.shape, dtype=A.dtype, params=(A, B))


def _first(x, A, B):
    del B
    return A @ x


def _second(y, A, B):
    del A
    return B @ y


def assert_wrong(operator, got):
    with pytest.raises(ValueError, match=rf"^A.rmatvec: expected the adjoint of A.matvec, {got}"):
        check_adjoint(operator, KEY)


# --- Right ones ----------------------------------------------------------------------------------


@every_dtype
def test_right_adjoints_pass(dtype):
    A = matrix(dtype)
    difference = check_adjoint(pair(A, A.conj().T), KEY)
    assert isinstance(difference, float)
    assert 0 <= difference <= 10 * np.finfo(dtype).eps


@pytest.mark.parametrize(
    "make",
    [
        lambda A: A,
        TRACED["dictionary of MatrixFree"],
        Duck,
        lambda A: scipy.sparse.csr_array(np.asarray(A)),
    ],
    ids=["array", "dictionary", "duck", "csr"],
)
def test_right_adjoints_of_any_kind_pass(make):
    assert check_adjoint(make(matrix(np.complex128)), KEY) < 1e-15


@pytest.mark.parametrize("dtype", [np.complex64])
def test_a_large_fourier_transform_passes(dtype):
    """65,536 numbers add up to more rounding than seven do."""
    kept = jnp.arange(0, 65_536, 4)
    gains = jnp.linspace(0.5, 2, 65_536, dtype=np.finfo(dtype).dtype)
    assert check_adjoint(masked_fft(kept, gains, (256, 256)), KEY) < 100 * np.finfo(dtype).eps


def test_nothing_is_its_own_adjoint():
    nothing = jnp.zeros((M, N))
    assert check_adjoint(pair(nothing, nothing.T), KEY) == 0


def test_what_is_computed_outside_of_jax_passes():
    """The way out of the error for products by NumPy."""
    A = np.asarray(matrix(np.float64))

    def outside(product, length):
        shape = jax.ShapeDtypeStruct((length,), A.dtype)
        return lambda z: jax.pure_callback(lambda z: product @ np.asarray(z), shape, z)

    operator = gj.operators.MatrixFree(outside(A, M), outside(A.T, N), shape=A.shape, dtype=A.dtype)
    assert check_adjoint(operator, KEY) < 1e-14
    found = gj.iht(operator, A[:, 2], sparsity=1, num_steps=3, step_size=0.1)
    assert_close(found.x, oracles.iht(A, A[:, 2], 1, 3, 0.1).x)


# --- Wrong ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", COMPLEX)
def test_a_missing_conjugate_is_named(dtype):
    A = matrix(dtype)
    got = r"got the transpose without the conjugate: use A\* y, not A\^T y"
    assert_wrong(pair(A, A.T), got)


FACTORS = {3.0: "3", -1.0: "-1", 1.01: r"1\.01", 0.125: r"0\.125"}
COMPLEX_FACTORS = {1j: "1j", -2j: "-2j", 1 + 2j: r"1\+2j"}


@every_dtype
def test_a_factor_is_named(dtype):
    A = matrix(dtype)
    many = FACTORS | (COMPLEX_FACTORS if dtype in COMPLEX else {})
    for factor, said in many.items():
        assert_wrong(pair(A, factor * A.conj().T), f"got {said} times it")


@every_dtype
def test_a_wrong_adjoint_is_named(dtype):
    A = matrix(dtype)
    differ = r"got an operator whose products differ by \d\.\de[+-]\d\d of their size"
    adjoint = A.conj().T
    assert_wrong(pair(A, adjoint[::-1]), differ)
    assert_wrong(pair(A, adjoint.at[2, 3].add(0.1)), differ)
    assert_wrong(pair(A, 0 * adjoint), differ)
    assert_wrong(pair(0 * A, adjoint), differ)


@every_dtype
def test_units_do_not_matter(dtype):
    """Squares of 1e-30 are no single-precision numbers."""
    tiny = 1e-30 * matrix(dtype)
    assert check_adjoint(pair(tiny, tiny.conj().T), KEY) < 1e-5
    assert_wrong(pair(tiny, 2 * tiny.conj().T), "got 2 times it")


def test_products_without_numbers_are_named():
    A = matrix(np.float64)
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="^A: expected finite products, got NaN or infinity"):
            check_adjoint(pair(A, A.T.at[0, 0].set(value)), KEY)


def test_wrong_norms_of_columns_are_named():
    """Choices would be wrong, and no error would say so."""
    A = matrix(np.complex128)
    norms = np.linalg.norm(A, axis=0)
    for given, message in (
        (norms**2, rf"{norms[0]:.4g} for column 0, got {norms[0] ** 2:.4g}"),
        (np.append(norms[:-1], 0), rf"{norms[-1]:.4g} for column 6, got 0"),
    ):
        operator = TRACED["MatrixFree"](A)
        operator.column_norms = jnp.asarray(given)
        with pytest.raises(ValueError, match=f"^A.column_norms: expected {message}"):
            check_adjoint(operator, KEY)


@pytest.mark.wrong_types
def test_a_key_is_asked_for():
    with pytest.raises(TypeError, match=r"^key: expected a key such as jax.random.key\(0\), got 0"):
        check_adjoint(matrix(np.float64), 0)
