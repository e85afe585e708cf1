"""Operators of PyLops."""

from typing import Any

from greedyjax import _checks
from greedyjax.linalg.matrix_free import MatrixFree


def from_pylops(operator: Any) -> MatrixFree:
    """An operator of PyLops in the place of a matrix.

    Its arrays are constants: they are not differentiated, and another operator compiles again. The
    norms of its columns are not known; `greedyjax.dictionary` computes them.

    Args:
        operator: a `pylops.JaxOperator`, which makes one of most operators of PyLops.

    Returns:
        A `MatrixFree`, whose shape and dtype are those of the operator.

    Raises:
        ImportError: PyLops is not installed.
        TypeError: no `pylops.JaxOperator`.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp, pylops
        >>> difference = pylops.FirstDerivative(6, kind="forward", dtype="float32")
        >>> A = gj.operators.from_pylops(pylops.JaxOperator(difference))
        >>> A.matvec(jnp.array([1.0, 1.0, 3.0, 3.0, 3.0, 3.0])).tolist()
        [0.0, 2.0, 0.0, 0.0, 0.0, 0.0]

    Source: Ravasi and Vasconcelos, "PyLops: A linear-operator Python library for scalable algebra
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
            got = f"a {got}; pylops.JaxOperator(operator) makes one of it"
        _checks.fail(TypeError, "operator", "a pylops.JaxOperator", got)
    return MatrixFree(
        operator._matvec, operator._rmatvec, shape=operator.shape, dtype=operator.dtype
    )
