"""Half precision: computations in single precision, and results in the dtype of the arguments.

Float16 has three digits and ends at 65,504. Bfloat16 has two digits. Sums of products need more. So
the checks of an argument return it in single precision (`widened`). A public function returns its
results in the promoted dtype of its matrix and its signals (`as_given`). A matrix that is stored,
in a network or a `greedyjax.Dictionary`, keeps its dtype, and is widened for each computation
(`computing_dtype`).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from greedyjax._numerics import promoted

Tree = TypeVar("Tree")


def computing_dtype(dtype: Any) -> jnp.dtype:
    """The dtype for computations: float32 for half precision, else the same dtype."""
    return jnp.dtype(jnp.float32 if _is_half(dtype) else dtype)


def widened(tree: Tree) -> Tree:
    """An array or a tree of arrays, in the dtype for computations."""
    return _cast(tree, _is_half, jnp.float32)


def as_given(result: Tree, *given: Any) -> Tree:
    """A tree of results; if all arguments are in half precision, in their promoted dtype."""
    dtypes = [getattr(each, "dtype", None) for each in given]
    if not all(dtype is not None and _is_half(dtype) for dtype in dtypes):
        return result
    is_real = lambda dtype: jnp.issubdtype(dtype, jnp.floating)
    return _cast(result, is_real, promoted(*dtypes))


def _cast(tree: Any, holds: Callable[[Any], bool], dtype: Any) -> Any:
    """A tree in which arrays are cast to ``dtype`` if ``holds`` is True for their own dtype."""

    def one(leaf):
        return leaf.astype(dtype) if hasattr(leaf, "dtype") and holds(leaf.dtype) else leaf

    return jax.tree.map(one, tree)


def _is_half(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
