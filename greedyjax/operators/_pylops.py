"""Operators of PyLops."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Inexact

from greedyjax import _checks
from greedyjax._types import static
from greedyjax.linalg.checked import inexact_dtype, matrix_shape
from greedyjax.operators._ready import Ready, by_parts, registered


def from_pylops(operator: Any) -> Ready:
    """Makes an operator of PyLops usable in place of a matrix.

    Its arrays are constants: they are not differentiated, and another operator compiles again. The
    norms of its columns are not known; `greedyjax.dictionary` computes them. Products are computed
    in the dtype of the operator, whatever the dtype of the vector. A real operator multiplies the
    real and the imaginary part of a complex vector separately.

    Args:
        operator: a `pylops.JaxOperator`, which can wrap most operators of PyLops.

    Returns:
        An operator with ``shape``, ``dtype``, ``matvec`` and ``rmatvec``.

    Raises:
        ImportError: PyLops is not installed.
        TypeError: ``operator`` is not a `pylops.JaxOperator`.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp, pylops
        >>> difference = pylops.FirstDerivative(6, kind="forward", dtype="float32")
        >>> A = gj.operators.from_pylops(pylops.JaxOperator(difference))
        >>> A.matvec(jnp.array([1.0, 1.0, 3.0, 3.0, 3.0, 3.0])).tolist()
        [0.0, 2.0, 0.0, 0.0, 0.0, 0.0]

    Source: Ravasi and Vasconcelos, "PyLops—A linear-operator Python library for scalable algebra
    and optimization", SoftwareX 11 (2020).
    """
    try:
        import pylops
    except ImportError as error:
        raise ImportError(
            "operator: expected PyLops to be installed; pip install pylops"
        ) from error
    if not isinstance(operator, pylops.JaxOperator):
        got = type(operator).__name__
        if isinstance(operator, pylops.LinearOperator):
            got = f"a {got}; pylops.JaxOperator(operator) makes it one"
        _checks.fail(TypeError, "operator", "a pylops.JaxOperator", got)
    shape, dtype = matrix_shape("operator.shape", operator.shape), operator.dtype
    dtype = inexact_dtype("operator.dtype", dtype)
    return FromPyLops(operator._matvec, operator._rmatvec, shape, dtype)


@registered
@dataclasses.dataclass(frozen=True)
class FromPyLops(Ready):
    """The compiled products of a `pylops.JaxOperator`. They compare by identity."""

    product: Any = static()
    adjoint: Any = static()
    shape: tuple[int, int] = static()
    dtype: Any = static()

    def _times(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        return self._in_its_dtype(self.product, x)

    def _adjoint_times(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        return self._in_its_dtype(self.adjoint, y)

    def _in_its_dtype(self, product: Any, z: Inexact[Array, " k"]) -> Inexact[Array, " l"]:
        # PyLops writes into arrays of its own dtype, which drops imaginary parts.
        one = lambda z: product(z.astype(self.dtype)).astype(z.dtype)
        return one(z) if jnp.issubdtype(self.dtype, jnp.complexfloating) else by_parts(one, z)
