"""What the ready-made operators share: registration as pytrees, and the dtypes of products."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import promoted
from greedyjax._precision import as_given, computing_dtype, widened
from greedyjax.linalg.checked import inexact_dtype
from greedyjax.linalg.operators import ByProducts, join, split

Kind = TypeVar("Kind", bound=type)

_MOST_AXES = 3


def registered(kind: Kind) -> Kind:
    """Makes a frozen dataclass a pytree, whose `static` fields compare by value.

    `jax.tree_util.register_dataclass` does the same, but calls the constructor whenever JAX
    rebuilds an object. Constructors here check their arguments. JAX may rebuild an object with
    other leaves that would fail these checks: arrays with a batch axis, shapes or placeholders.
    """
    fields = dataclasses.fields(kind)
    fixed = [each.name for each in fields if each.metadata.get("static")]
    leaves = [each.name for each in fields if not each.metadata.get("static")]

    def flatten(self):
        return tuple(getattr(self, name) for name in leaves), tuple(
            getattr(self, name) for name in fixed
        )

    def flatten_with_keys(self):
        children, aux = flatten(self)
        keys = map(jax.tree_util.GetAttrKey, leaves)
        return tuple(zip(keys, children, strict=True)), aux

    def unflatten(aux, children):
        self = object.__new__(kind)
        for name, value in zip(fixed + leaves, (*aux, *children), strict=True):
            object.__setattr__(self, name, value)
        return self

    jax.tree_util.register_pytree_with_keys(kind, flatten_with_keys, unflatten, flatten)
    return kind


class Ready(ByProducts, abc.ABC):
    """An operator whose products take vectors of any dtype, and compute in the promoted dtype.

    A subclass has ``shape`` and ``dtype``, and writes ``_times`` and ``_adjoint_times`` for vectors
    that are at least as precise as its own arrays, in single precision or better.
    """

    shape: Any
    dtype: Any

    def matvec(self, x: Inexact[ArrayLike, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x``, in the promoted dtype of ``A`` and ``x``."""
        x = _vector("x", x, self.shape[1], "matvec")
        wide = x.astype(computing_dtype(promoted(self.dtype, x.dtype)))
        return as_given(widened(self)._times(wide), self, x)

    def rmatvec(self, y: Inexact[ArrayLike, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``, in the promoted dtype of ``A`` and ``y``."""
        y = _vector("y", y, self.shape[0], "rmatvec")
        wide = y.astype(computing_dtype(promoted(self.dtype, y.dtype)))
        return as_given(widened(self)._adjoint_times(wide), self, y)

    @abc.abstractmethod
    def _times(self, x: Array) -> Array:
        """``A x``."""

    @abc.abstractmethod
    def _adjoint_times(self, y: Array) -> Array:
        """``A* y``."""

    def _set(self, **fields: Any) -> None:
        """Sets fields of a frozen dataclass, where its constructor checks them."""
        for name, value in fields.items():
            object.__setattr__(self, name, value)


def _vector(name: str, given: Any, length: int, product: str) -> Array:
    array = _checks.as_array(name, given)
    if array.shape != (length,):
        way = f"; many vectors, one per row: jax.vmap(A.{product})({name.upper()})"
        got = f"shape {array.shape}{way if array.ndim == 2 else ''}"
        _checks.fail(ValueError, name, f"shape ({length},)", got)
    return array


def axes(name: str, shape: Any, minimum: int = 1) -> tuple[int, ...]:
    """The lengths of one to three axes; an int is the length of one.

    Raises:
        TypeError: a length is not an integer.
        ValueError: no axis or more than three axes, or a length is too small.
    """
    lengths = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not 1 <= len(lengths) <= _MOST_AXES:
        expected = f"the lengths of 1 to {_MOST_AXES} axes"
        _checks.fail(ValueError, name, expected, str(lengths))
    return tuple(_checks.static_int(name, length, minimum=minimum) for length in lengths)


def real_numbers(dtype: Any) -> jnp.dtype:
    """The dtype of an operator whose entries are real.

    Raises:
        TypeError: ``dtype`` is not a real floating-point dtype.
    """
    known = inexact_dtype("dtype", dtype)
    if jnp.issubdtype(known, jnp.complexfloating):
        got = f"{known}; a real operator takes complex vectors too"
        _checks.fail(TypeError, "dtype", "real floating-point numbers", got)
    return known


def complex_numbers(dtype: Any) -> jnp.dtype:
    """The dtype of an operator whose entries are complex.

    Raises:
        TypeError: ``dtype`` is not a complex dtype.
    """
    known = inexact_dtype("dtype", dtype)
    if not jnp.issubdtype(known, jnp.complexfloating):
        _checks.fail(TypeError, "dtype", "complex numbers, complex64 or complex128", str(known))
    return known


def by_parts(
    product: Callable[[Float[Array, " k"]], Float[Array, " l"]], z: Inexact[Array, " k"]
) -> Inexact[Array, " l"]:
    """Applies a real linear map to a vector that may be complex."""
    return join(jax.vmap(product)(split(z))) if jnp.iscomplexobj(z) else product(z)


def orthogonal(
    times: Callable[[Array], Array], inverse: Callable[[Array], Array], z: Float[Array, "..."]
) -> Float[Array, "..."]:
    """``times(z)`` for a real orthogonal map, whose inverse serves as its transpose in derivatives.

    JAX would transpose each step of a fast transform, which takes several times as long.
    """
    again = lambda _, z: times(z)
    return lax.custom_linear_solve(inverse, z, again, lambda _, z: inverse(z))
