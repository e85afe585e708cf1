"""An operator made from two functions."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Inexact

from greedyjax import _checks
from greedyjax.linalg.checked import inexact_dtype, matrix_shape
from greedyjax.linalg.operators import ByProducts


@jax.tree_util.register_pytree_node_class
class MatrixFree(ByProducts):
    """A linear map given by two functions, in place of a matrix.

    It is a pytree, so you can pass it to jitted functions like an array. ``params`` and
    ``column_norms`` are its leaves: they are traced and differentiated, and new values do not
    compile again. New functions do compile again.

    Args:
        matvec: function of ``(x, *params)`` that returns ``A x``, by `jax.numpy`.
        rmatvec: function of ``(y, *params)`` that returns ``A* y``, with the conjugate transpose.
        shape: ``(m, n)``.
        dtype: the dtype of both products, real or complex.
        params: a tuple of arrays, or of trees of arrays.
        column_norms: shape ``(n,)``, if they are known. Solvers that scale columns need them.
            `greedyjax.dictionary` computes them.

    Raises:
        TypeError: a product is not a function, ``dtype`` is not real or complex, or ``params`` are
            not arrays.
        ValueError: ``shape`` is not ``(m, n)``, or ``column_norms`` has a wrong shape.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> pick = jnp.array([0, 2, 3])
        >>> A = gj.operators.MatrixFree(
        ...     lambda x, pick: jnp.fft.fft(x, norm="ortho")[pick],
        ...     lambda y, pick: jnp.fft.ifft(jnp.zeros(8, y.dtype).at[pick].set(y), norm="ortho"),
        ...     shape=(3, 8), dtype=jnp.complex64, params=(pick,), column_norms=jnp.full(8, 0.6124),
        ... )
        >>> gj.iht(A, A.matvec(jnp.eye(8)[5]), sparsity=1, num_steps=20).support.tolist()
        [5]
    """

    def __init__(
        self,
        matvec: Callable[..., Any],
        rmatvec: Callable[..., Any],
        *,
        shape: tuple[int, int],
        dtype: Any,
        params: tuple | list = (),
        column_norms: Any = None,
    ) -> None:
        _checks.function("matvec", matvec)
        _checks.function("rmatvec", rmatvec)
        m, n = matrix_shape("shape", shape)
        self._matvec, self._rmatvec = matvec, rmatvec
        self.shape, self.dtype = (m, n), inexact_dtype("dtype", dtype)
        if not isinstance(params, (tuple, list)):
            _checks.fail(TypeError, "params", "a tuple of arrays", type(params).__name__)
        for leaf in jax.tree.leaves(params):
            _checks.as_array("params", leaf)
        self.params = tuple(params)
        if column_norms is not None:
            column_norms = _checks.real("column_norms", column_norms, ndim=1, shape=(n,))
        self.column_norms = column_norms

    def matvec(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x``."""
        return self._matvec(x, *self.params)

    def rmatvec(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``."""
        return self._rmatvec(y, *self.params)

    def tree_flatten(self) -> tuple[tuple, tuple]:
        """The arrays, and the static parts that each have their own compilation."""
        return (self.params, self.column_norms), (
            self._matvec,
            self._rmatvec,
            self.shape,
            self.dtype,
        )

    @classmethod
    def tree_unflatten(cls, fixed: tuple, leaves: tuple) -> "MatrixFree":
        """Rebuilds the operator without checks."""
        self = object.__new__(cls)
        self._matvec, self._rmatvec, self.shape, self.dtype = fixed
        self.params, self.column_norms = leaves
        return self

    def __repr__(self) -> str:
        return f"MatrixFree(shape={self.shape}, dtype={self.dtype})"
