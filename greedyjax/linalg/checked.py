"""Checks of the argument ``A``, which turn it into one of the types that solvers know."""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from greedyjax import _checks
from greedyjax._precision import computing_dtype
from greedyjax._types import ByIdentity, Matrix
from greedyjax.linalg.operators import Dense, dense
from greedyjax.linalg.products import Dictionary, Products
from greedyjax.linalg.sparse import SparseMatrix, is_sparse

# Types of tracers that a compiled function cannot treat as constants.
_MOVING = ("BatchTracer", "JVPTracer", "LinearizeTracer")
# The errors of JAX if a function asks a traced array for its values.
_NEEDS_VALUES = (
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.ConcretizationTypeError,
)


def checked_matrix(A: Any) -> Any:
    """Returns a checked array, a `Dictionary`, or the `Products` of an operator or sparse matrix.

    Raises:
        TypeError: ``A`` holds integers, or is neither an array nor an operator; or JAX cannot trace
            its products.
        ValueError: ``A`` does not have two axes, has no rows or columns, or has NaN or infinity in
            a concrete array; or its products have other shapes or dtypes than it says.
    """
    if isinstance(A, (Dense, Products, Dictionary)):
        return A
    if is_sparse(A):
        return Products(SparseMatrix.of(A))
    if hasattr(A, "matvec") or hasattr(A, "rmatvec"):
        return _checked_products(A)
    array = _checks.numbers("A", A, ndim=2)
    if 0 in array.shape:
        _checks.fail(ValueError, "A", "at least one row and one column", f"shape {array.shape}")
    return array


def as_operator(A: Matrix | Dictionary) -> Any:
    """Turns any matrix or operator into a pytree, which can be passed to jitted functions.

    Args:
        A: an array, a BCOO or SciPy sparse matrix, a `greedyjax.operators.MatrixFree`, or any
            object with ``shape``, ``matvec`` and ``rmatvec``. If JAX knows the object as a pytree,
            its arrays are traced and differentiated. Any other object is a constant.

    Returns:
        A pytree with ``shape``, ``dtype``, ``matvec``, ``rmatvec`` and ``column``.

    Raises:
        TypeError: ``A`` holds integers, or is neither an array nor an operator; or JAX cannot trace
            its products.
        ValueError: ``A`` has a wrong shape, or NaN or infinity; or its products have other shapes
            or dtypes than it says.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = gj.operators.as_operator(jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]]))
        >>> A.matvec(jnp.array([1.0, 1.0, 0.0])).tolist()
        [1.0, 1.0]
    """
    checked = checked_matrix(A)
    return dense(checked) if isinstance(checked, jax.Array) else checked


def operator_dtype(operator: Any) -> jnp.dtype:
    """The dtype of computations with a checked matrix."""
    return computing_dtype(operator.dtype)


def matrix_shape(name: str, shape: Any) -> tuple[int, int]:
    """``(m, n)`` of an operator.

    Raises:
        TypeError: a length is not an integer.
        ValueError: there are not two lengths, or one is less than 1.
    """
    if not hasattr(shape, "__len__") or len(shape) != 2:
        got = str(tuple(shape)) if hasattr(shape, "__len__") else str(shape)
        _checks.fail(ValueError, name, "(m, n)", got)
    m, n = (_checks.static_int(name, length, minimum=1) for length in shape)
    return m, n


def inexact_dtype(name: str, dtype: Any) -> jnp.dtype:
    """A dtype of floating-point or complex numbers, in the precision that JAX is set to.

    Raises:
        TypeError: ``dtype`` is not a dtype of floating-point or complex numbers.
    """
    try:
        known = jax.dtypes.canonicalize_dtype(dtype)
    except TypeError:
        known = None
    if dtype is None or known is None or not jnp.issubdtype(known, jnp.inexact):
        _checks.fail(TypeError, name, "floating-point or complex numbers", str(dtype))
    return known


def restrict(A: Any, rows: Int[Array, " k"]) -> Any:
    """The given rows of a checked matrix."""
    return A[rows] if isinstance(A, jax.Array) else A.rows(rows)


def _checked_products(A: Any) -> Products:
    """A user's own operator, after a check that its products have the shapes and dtypes it says."""
    meanings = {"shape": "", "matvec": ", which returns A x", "rmatvec": ", which returns A* y"}
    for name, meaning in meanings.items():
        if not hasattr(A, name):
            got = f"{type(A).__name__} without {name}{meaning}"
            _checks.fail(TypeError, "A", "an operator with shape, matvec and rmatvec", got)
    operator = ByIdentity.unless_pytree(A)
    leaves, tree = jax.tree.flatten(operator)
    found = _dtype_of(tree, tuple(map(_form, leaves)))
    return Products(operator, found if getattr(A, "dtype", None) is None else None)


def _form(leaf: Any) -> tuple:
    """Shape and dtype of an array."""
    try:
        kind = jax.typeof(leaf)
    except TypeError:
        got = f"a leaf of type {type(leaf).__name__}; make it a static field"
        _checks.fail(TypeError, "A", "an operator whose leaves are arrays", got)
    return kind.shape, kind.dtype


@lru_cache(maxsize=64)
def _dtype_of(tree: Any, leaves: tuple) -> Any:
    """The dtype of an operator's products, which are traced once to check shapes and dtypes.

    The result is cached, so the same operator is not traced again. The cache keeps the operator
    alive, as jit does.
    """
    dtypes = []
    look = lambda leaves: dtypes.append(_look_at(tree.unflatten(leaves)))
    seen = jax.make_jaxpr(look)([jax.ShapeDtypeStruct(*leaf) for leaf in leaves])
    if any(type(held).__name__ in _MOVING for held in seen.consts):
        _checks.fail(
            TypeError,
            "A",
            "an operator that JAX knows as a pytree, where its arrays are differentiated or mapped",
            "one that it does not know; register its type, by jax.tree_util.register_dataclass, or "
            "use greedyjax.operators.MatrixFree with params",
        )
    return dtypes[0]


def _look_at(operator: Any) -> jnp.dtype:
    """Checks an operator whose arrays are traced, and returns its dtype."""
    m, n = matrix_shape("A.shape", operator.shape)
    own = getattr(operator, "dtype", None)
    dtype = jnp.dtype(jnp.float32) if own is None else inexact_dtype("A.dtype", own)
    says = lambda dtype: f"{dtype}, as A.dtype says" if own is not None else f"{dtype}, as A x is"

    found = _product(operator, "matvec", "x", n, dtype)
    if found.shape != (m,):
        _checks.fail(ValueError, "A.matvec(x)", f"shape ({m},)", f"shape {found.shape}")
    if own is not None and found.dtype != dtype:
        _checks.fail(ValueError, "A.matvec(x)", says(dtype), str(found.dtype))
    dtype = inexact_dtype("A.matvec(x)", found.dtype)

    back = _product(operator, "rmatvec", "y", m, dtype)
    if back.shape != (n,):
        _checks.fail(ValueError, "A.rmatvec(y)", f"shape ({n},)", f"shape {back.shape}")
    if back.dtype != dtype:
        _checks.fail(ValueError, "A.rmatvec(y)", says(dtype), str(back.dtype))

    norms = getattr(operator, "column_norms", None)
    if norms is not None:
        _checks.real("A.column_norms", norms, ndim=1, shape=(n,))
    if getattr(operator, "column", None) is not None:
        column = _product(operator, "column", "j", None, jnp.int32)
        if column.shape != (m,):
            _checks.fail(ValueError, "A.column(j)", f"shape ({m},)", f"shape {column.shape}")
    return dtype


def _product(operator: Any, name: str, vector: str, length: int | None, dtype: Any) -> Any:
    """The result of a product with a traced vector; without ``length``, with a traced index."""
    product = getattr(operator, name)
    _checks.function(f"A.{name}", product)
    call = f"A.{name}({vector})"
    shape = () if length is None else (length,)
    try:
        found = product(jnp.zeros(shape, dtype))
    except _NEEDS_VALUES as error:
        raise TypeError(
            f"{call}: expected products by jax.numpy, got a function that needs the numbers in its "
            "argument, as NumPy does; write it by jax.numpy (greedyjax.operators.MatrixFree), "
            "give a matrix or a SciPy sparse matrix, or call NumPy in jax.pure_callback"
        ) from error
    except Exception as error:
        error.add_note(f"in {call}, called with an array of shape {shape} and {dtype}")
        raise
    if not hasattr(found, "shape"):
        _checks.fail(TypeError, call, "an array", type(found).__name__)
    return found
