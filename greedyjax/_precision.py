"""Half precision: it comes in as single precision, and results go out in the dtype given.

Float16 has three digits and ends at 65,504, bfloat16 has two: sums of products need more. So
whatever checks an argument passes it on in single precision (`widened`), and a public function
returns what it found in the promoted dtype of its matrix and its signals (`as_given`). A matrix
that is kept, in a network or a `greedyjax.Dictionary`, stays as it is, and is widened where it is
used (`computing_dtype`).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from greedyjax._numerics import promoted

Tree = TypeVar("Tree")


def computing_dtype(dtype: Any) -> jnp.dtype:
    """What numbers of a dtype are computed in: float32 for half precision, else the same."""
    return jnp.dtype(jnp.float32 if _is_half(dtype) else dtype)


def widened(tree: Tree) -> Tree:
    """An array, or a tree of them, in the dtype that they are computed in."""
    return _cast(tree, _is_half, jnp.float32)


def as_given(result: Tree, *given: Any) -> Tree:
    """A tree of results in the promoted dtype of the arguments, where that is half precision."""
    dtypes = [getattr(each, "dtype", None) for each in given]
    if not all(dtype is not None and _is_half(dtype) for dtype in dtypes):
        return result
    is_real = lambda dtype: jnp.issubdtype(dtype, jnp.floating)
    return _cast(result, is_real, promoted(*dtypes))


def _cast(tree: Any, holds: Callable[[Any], bool], dtype: Any) -> Any:
    """A tree with those arrays cast of whose dtype something holds."""

    def one(leaf):
        return leaf.astype(dtype) if hasattr(leaf, "dtype") and holds(leaf.dtype) else leaf

    return jax.tree.map(one, tree)


def _is_half(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
