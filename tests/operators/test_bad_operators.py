"""Invalid operators are named before anything is compiled, and the message says what to do."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg

import greedyjax as gj
from greedyjax.operators import MatrixFree
from operator_kinds import Duck

pytestmark = pytest.mark.wrong_types

A = np.linspace(-1, 1, 12).reshape(3, 4) ** 3
y = np.array([1.0, -2.0, 0.5])


class Made:
    """An operator of the attributes given, beside those of a right one."""

    def __init__(self, without=(), **attributes):
        right = {"shape": (3, 4), "matvec": matvec, "rmatvec": rmatvec}
        for name, value in (right | attributes).items():
            if name not in without:
                setattr(self, name, value)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Named:
    """An operator with a name that should have been static."""

    name: str
    shape = (3, 4)

    def matvec(self, x):
        return matvec(x)

    def rmatvec(self, y):
        return rmatvec(y)


def matvec(x):
    return jnp.asarray(A) @ x


def rmatvec(y):
    return jnp.asarray(A).T @ y


def assigned(y):
    """As it is written in NumPy."""
    x = np.zeros(4)
    x[:3] = y
    return x


def matrix_free(**changes):
    right = {"matvec": matvec, "rmatvec": rmatvec, "shape": (3, 4), "dtype": np.float64}
    return MatrixFree(**(right | changes))


BY_NUMPY = (
    r"expected products by jax.numpy, got a function that needs the numbers in its argument, as "
    r"NumPy does; write it by jax.numpy \(greedyjax.operators.MatrixFree\), give a matrix or a "
    "SciPy sparse matrix, or call NumPy in jax.pure_callback"
)
WHOLE = "A: expected an operator with shape, matvec and rmatvec, got Made without "

OPERATORS = {
    "no adjoint": (Made(without=["rmatvec"]), TypeError, WHOLE + r"rmatvec, which returns A\* y"),
    "no product": (Made(without=["matvec"]), TypeError, WHOLE + "matvec, which returns A x"),
    "no shape": (Made(without=["shape"]), TypeError, WHOLE + "shape"),
    "shape None": (Made(shape=None), ValueError, r"A.shape: expected \(m, n\), got None"),
    "one axis": (Made(shape=(3,)), ValueError, r"A.shape: expected \(m, n\), got \(3,\)"),
    "no columns": (Made(shape=(3, 0)), ValueError, "A.shape: expected an int >= 1, got 0"),
    "half a row": (Made(shape=(3.5, 4)), TypeError, "A.shape: expected an int, got 3.5"),
    "a matrix for a product": (Made(matvec=A), TypeError, "A.matvec: expected a function, got nda"),
    "A x of another length": (
        Made(matvec=lambda x: jnp.ones(5) * x[0]),
        ValueError,
        r"A.matvec\(x\): expected shape \(3,\), got shape \(5,\)",
    ),
    "A x as a column": (
        Made(matvec=lambda x: matvec(x)[:, None]),
        ValueError,
        r"A.matvec\(x\): expected shape \(3,\), got shape \(3, 1\)",
    ),
    "A* y of another length": (
        Made(rmatvec=lambda y: jnp.ones(7) * y[0]),
        ValueError,
        r"A.rmatvec\(y\): expected shape \(4,\), got shape \(7,\)",
    ),
    "nothing": (
        Made(matvec=lambda x: None), TypeError, r"A.matvec\(x\): expected an array, got NoneType"
    ),
    "integers": (
        Made(matvec=lambda x: (x[:3] > 0).astype(int)),
        TypeError,
        r"A.matvec\(x\): expected floating-point or complex numbers, got int64",
    ),
    "A x complex": (
        Made(dtype=np.float64, matvec=lambda x: 1j * matvec(x)),
        ValueError,
        r"A.matvec\(x\): expected float64, as A.dtype says, got complex128",
    ),
    "A* y complex": (
        Made(dtype=np.float64, rmatvec=lambda y: 1j * rmatvec(y)),
        ValueError,
        r"A.rmatvec\(y\): expected float64, as A.dtype says, got complex128",
    ),
    "A* y real": (
        Made(matvec=lambda x: 1j * matvec(x), rmatvec=lambda y: rmatvec(y.imag)),
        ValueError,
        r"A.rmatvec\(y\): expected complex128, as A x is, got float64",
    ),
    "less precise than A x": (
        Made(dtype=np.float32),
        ValueError,
        r"A.matvec\(x\): expected float32, as A.dtype says, got float64",
    ),
    "dtype of integers": (
        Made(dtype=int), TypeError, "A.dtype: expected floating-point or complex numbers, got "
    ),
    "no dtype": (Made(dtype="real"), TypeError, "A.dtype: expected floating-.*, got real"),
    "SciPy's LinearOperator": (
        scipy.sparse.linalg.aslinearoperator(A), TypeError, rf"A.matvec\(x\): {BY_NUMPY}"
    ),
    "NumPy's functions": (
        Made(matvec=lambda x: np.dot(A, x)), TypeError, rf"A.matvec\(x\): {BY_NUMPY}"
    ),
    "NumPy's arrays": (Made(rmatvec=assigned), TypeError, rf"A.rmatvec\(y\): {BY_NUMPY}"),
    "a branch": (
        Made(matvec=lambda x: matvec(x) if x[0] > 0 else matvec(-x)),
        TypeError,
        rf"A.matvec\(x\): {BY_NUMPY}",
    ),
    "norms of rows": (
        Made(column_norms=np.ones(3)),
        ValueError,
        r"A.column_norms: expected shape \(4,\), got shape \(3,\)",
    ),
    "norms by a function": (
        Made(column_norms=lambda: np.ones(4)), TypeError, "A.column_norms: expected an array"
    ),
    "norms with NaN": (
        Made(column_norms=np.full(4, np.nan)), ValueError, "A.column_norms: expected finite"
    ),
    "a row for a column": (
        Made(column=lambda j: jnp.ones(4)),
        ValueError,
        r"A.column\(j\): expected shape \(3,\), got shape \(4,\)",
    ),
    "a leaf that is no array": (
        Named("A"),
        TypeError,
        "A: expected an operator whose leaves are arrays, got a leaf of type str; make it",
    ),
}  # fmt: skip
PARTS = {
    "a matrix for a product": ({"matvec": A}, TypeError, "matvec: expected a function, got ndarr"),
    "a matrix for its adjoint": ({"rmatvec": A}, TypeError, "rmatvec: expected a function"),
    "a length": ({"shape": 3}, ValueError, r"shape: expected \(m, n\), got 3"),
    "three axes": ({"shape": (3, 4, 1)}, ValueError, r"shape: expected \(m, n\), got \(3, 4, 1"),
    "no rows": ({"shape": (0, 4)}, ValueError, "shape: expected an int >= 1, got 0"),
    "integers": ({"dtype": int}, TypeError, "dtype: expected floating-point or complex numbers"),
    "no dtype": ({"dtype": None}, TypeError, "dtype: expected floating-.* numbers, got None"),
    "an array of params": (
        {"params": np.ones(2)}, TypeError, "params: expected a tuple of arrays, got ndarray"
    ),
    "a text among params": ({"params": ("fft",)}, TypeError, "params: expected an array, got str"),
    "norms of rows": ({"column_norms": np.ones(3)}, ValueError, r"column_norms: .*\(4,\), got sha"),
    "complex norms": ({"column_norms": 1j * np.ones(4)}, TypeError, "column_norms: .*real numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_that_cannot_be_taken_is_named(name):
    operator, error, message = OPERATORS[name]
    for call in (
        lambda: gj.iht(operator, y, sparsity=1, num_steps=1),
        lambda: gj.dictionary(operator),
        lambda: gj.operators.as_operator(operator),
    ):
        with pytest.raises(error, match=f"^{message}"):
            call()


@pytest.mark.parametrize("name", PARTS)
def test_parts_that_make_no_operator_are_named(name):
    changes, error, message = PARTS[name]
    with pytest.raises(error, match=f"^{message}"):
        matrix_free(**changes)


@pytest.mark.parametrize(
    ("operator", "called"),
    [
        (Made(shape=(3, 5)), r"in A.matvec\(x\), called with an array of shape \(5,\) and float32"),
        (Made(rmatvec=matvec), r"in A.rmatvec\(y\), called with an array of shape \(3,\) and"),
        (matrix_free(params=(1.0,)), r"in A.matvec\(x\), called with an array of shape \(4,\) and"),
    ],
    ids=["another shape", "a product for its adjoint", "a param too many"],
)
def test_an_error_inside_of_a_product_says_how_it_was_called(operator, called):
    with pytest.raises(TypeError) as caught:
        gj.iht(operator, y, sparsity=1, num_steps=1)
    assert any(re.match(called, note) for note in caught.value.__notes__)


SCALING = {
    "omp": lambda A: gj.omp(A, y, sparsity=1),
    "soft_omp": lambda A: gj.soft_omp(A, y, sparsity=1, tau=0.1),
    "htp": lambda A: gj.htp(A, y, sparsity=1, num_steps=1),
    "iht, debias": lambda A: gj.iht(A, y, sparsity=1, num_steps=1, debias=True),
    "subspace_pursuit": lambda A: gj.subspace_pursuit(A, y, sparsity=1, num_steps=1),
    "cosamp": lambda A: gj.cosamp(A, y, sparsity=1, num_steps=1),
    "omp_batch": lambda A: gj.omp_batch(A, y[None], sparsity=1),
    "OMPNet": lambda A: gj.nets.OMPNet(A, sparsity=1),
    "HTPNet": lambda A: gj.nets.HTPNet(A, sparsity=1, num_layers=1),
    "relative_tau": lambda A: gj.relative_tau(A, y, 0.1),
    "same_path": lambda A: gj.certificates.same_path(A, y, sparsity=1, tau=0.1),
}


@pytest.mark.parametrize("name", SCALING)
def test_where_norms_of_columns_are_missing_a_dictionary_is_proposed(name):
    """They take as long as all columns, so nobody computes them unasked."""
    message = r"^A: expected an operator with column_norms.*greedyjax.dictionary\(A\)$"
    for operator in (Made(), matrix_free(), gj.operators.as_operator(Duck(A))):
        with pytest.raises(ValueError, match=message):
            SCALING[name](operator)


def test_norms_of_columns_are_not_asked_for_where_nothing_scales_them():
    found = gj.iht(Made(), y, sparsity=1, num_steps=0)
    assert found.x.shape == (4,)


def test_nothing_is_compiled_for_an_operator_that_cannot_be_taken():
    """The products are traced once, for what they return."""
    calls = []

    def counted(x):
        calls.append(1)
        return jnp.ones(5) * x[0]

    operator = Made(matvec=counted)
    with pytest.raises(ValueError, match="A.matvec"):
        jax.jit(lambda y: gj.iht(operator, y, sparsity=1, num_steps=1))(y)
    assert len(calls) == 1
