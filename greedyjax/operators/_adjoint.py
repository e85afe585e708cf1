"""Does `rmatvec` belong to `matvec`?"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from greedyjax import _checks
from greedyjax._numerics import eps
from greedyjax._types import Matrix
from greedyjax.linalg.checked import as_operator

_NUM = 3


def check_adjoint(A: Matrix, key: jax.Array) -> float:
    """Compares ``<A x, y>`` with ``<x, A* y>`` for random vectors, to find a wrong adjoint.

    If the operator has ``column_norms``, the norms of three columns are checked as well.

    Args:
        A: an operator, in any form that solvers take.
        key: random key of `jax.random`.

    Returns:
        The largest difference found, relative to ``||A x|| ||y||``.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: the two products differ by more than rounding, a column norm is wrong, or a
            product is not finite. The message names the likely cause if it is recognised.

    Example:
        >>> import greedyjax as gj, jax, jax.numpy as jnp
        >>> fft, ifft = jnp.fft.fft, jnp.fft.ifft  # The adjoint of fft is 8 times ifft.
        >>> A = gj.operators.MatrixFree(fft, ifft, shape=(8, 8), dtype=jnp.complex64)
        >>> gj.operators.check_adjoint(A, jax.random.key(0))
        Traceback (most recent call last):
        ...
        ValueError: A.rmatvec: expected the adjoint of A.matvec, got 0.125 times it

    Source: the dot-product test of Claerbout, "Earth soundings analysis", 1992.
    """
    operator = as_operator(A)
    key = _checks.prng_key("key", key)
    (m, n), dtype = operator.shape, operator.dtype
    x = jax.random.normal(jax.random.fold_in(key, 0), (_NUM, n), dtype)
    y = jax.random.normal(jax.random.fold_in(key, 1), (_NUM, m), dtype)
    rows = x, y, *_products(operator, x, y)
    x, y, Ax, Ay = (np.asarray(each).astype(np.complex128) for each in rows)
    if not (np.isfinite(Ax).all() and np.isfinite(Ay).all()):
        _checks.fail(ValueError, "A", "finite products", "NaN or infinity")
    forward, backward = np.sum(y.conj() * Ax, axis=1), np.sum(Ay.conj() * x, axis=1)
    size = np.linalg.norm(Ax, axis=1) * np.linalg.norm(y, axis=1)
    error = float(np.max(np.abs(forward - backward) / np.where(size == 0, 1, size)))
    if error > 20 * eps(dtype) * (m + n) ** 0.5:
        plain = np.sum(y * Ax, axis=1), np.sum(Ay * x, axis=1)
        got = f"an operator whose products differ by {error:.1e} of their size"
        if (factor := _constant_ratio(backward, forward)) is not None:
            got = f"{factor} times it"
        elif _constant_ratio(*plain) == "1":
            got = "the transpose without the conjugate: use A* y, not A^T y"
        _checks.fail(ValueError, "A.rmatvec", "the adjoint of A.matvec", got)
    if operator.has_norms:
        _check_norms(operator)
    return error


def _check_norms(operator: Any) -> None:
    """Raises a ValueError if one of three column norms of the operator is wrong."""
    places = sorted({0, operator.shape[1] // 2, operator.shape[1] - 1})
    norms, columns = _columns(operator, np.array(places))
    precision = max(eps(operator.dtype), eps(norms.dtype))
    for j, own, column in zip(places, norms.tolist(), np.asarray(columns), strict=True):
        found = np.linalg.norm(column.astype(np.complex128))
        if not abs(own - found) <= 1e3 * precision * found:
            expected = f"{found:.4g} for column {j}"
            _checks.fail(ValueError, "A.column_norms", expected, f"{own:.4g}")


@jax.jit
def _columns(operator: Any, places: Array) -> tuple[Array, Array]:
    """The operator's own norms of some columns, and the columns themselves."""
    norms: Any = jnp.asarray(operator.column_norms)
    return norms[places], lax.map(operator.column, places)


@jax.jit
def _products(operator: Any, x: Array, y: Array) -> tuple[Array, Array]:
    """``A x`` and ``A* y`` of each row."""
    # One by one: a product that calls code outside JAX may not support batching.
    return lax.map(operator.matvec, x), lax.map(operator.rmatvec, y)


def _constant_ratio(a: np.ndarray, b: np.ndarray) -> str | None:
    """``conj(a / b)`` if it is the same nonzero number for all entries, and else None."""
    if not (a.all() and b.all()):
        return None
    ratio = (a / b).conj()
    first = ratio[0]
    if np.any(np.abs(ratio - first) > 1e-3 * np.abs(first)):
        return None
    re, im = (part if abs(part) > 1e-3 * abs(first) else 0.0 for part in (first.real, first.imag))
    return f"{complex(re, im):.4g}" if re and im else f"{im:.4g}j" if im else f"{re:.4g}"
