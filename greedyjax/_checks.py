"""Checks of arguments, made before anything is traced.

Every message names the argument, what was expected and what was given. Shapes and types are always
checked. Values are checked only if they are concrete, so that nothing here is traced.
"""

import operator
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from greedyjax._precision import widened


def fail(error: type[Exception], name: str, expected: str, got: str) -> NoReturn:
    """Raises ``error`` with the one message format of this library."""
    raise error(f"{name}: expected {expected}, got {got}")


def is_traced(value: Any) -> bool:
    """Whether values are unknown because JAX is tracing.

    Call it on an argument before any conversion: under jit, converting a constant makes a tracer.
    """
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))


def static_int(name: str, value: Any, *, minimum: int, maximum: int | None = None, why="") -> int:
    """Returns ``value`` as a Python int within bounds.

    Raises:
        TypeError: ``value`` is traced, or not an integer.
        ValueError: ``value`` is out of bounds.
    """
    if is_traced(value):
        raise TypeError(
            f"{name}: expected a Python int, got a traced value; it sets the shapes of arrays, so "
            f"mark it static: jax.jit(..., static_argnames={name!r})"
        )
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        fail(TypeError, name, "an int", f"{value!r} of type {type(value).__name__}")
    if number < minimum or (maximum is not None and number > maximum):
        bounds = f">= {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        fail(ValueError, name, f"an int {bounds}{why}", str(number))
    return number


def inexact(name: str, value: Any, *, ndim: int, shape: tuple[int, ...] | None = None):
    """As `numbers`, but in the dtype of the computation."""
    return widened(numbers(name, value, ndim=ndim, shape=shape))


def numbers(name: str, value: Any, *, ndim: int, shape: tuple[int, ...] | None = None):
    """Returns ``value`` as a floating-point or complex array with ``ndim`` axes, all finite.

    Raises:
        TypeError: ``value`` is not an array, or holds integers, booleans or objects.
        ValueError: ``value`` has a wrong number of axes or a wrong shape, or (if concrete) NaN or
            infinity.
    """
    array = as_array(name, value)
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        fail(TypeError, name, "floating-point or complex numbers", f"dtype {array.dtype}")
    if array.ndim != ndim:
        fail(ValueError, name, f"an array with {ndim} axes", f"shape {array.shape}")
    if shape is not None and array.shape != shape:
        fail(ValueError, name, f"shape {shape}", f"shape {array.shape}")
    if not is_traced(value) and not all_finite(value):
        fail(ValueError, name, "finite numbers", "NaN or infinity")
    return array


def batch(name: str, value: Any, m: int, *, snapshots: bool = False):
    """As `inexact`, for measurements of any leading shape, ``(..., m)`` or ``(..., m, L)``."""
    array = as_array(name, value)
    if snapshots:
        if array.ndim < 2 or array.shape[-2] != m or array.shape[-1] == 0:
            fail(ValueError, name, f"shape (..., {m}, L) of L snapshots", f"shape {array.shape}")
        return inexact(name, value, ndim=array.ndim)
    if array.ndim == 0 or array.shape[-1] != m:
        fail(ValueError, name, f"shape (..., {m})", f"shape {array.shape}{turned(array.shape, m)}")
    return inexact(name, value, ndim=array.ndim)


def turned(shape: tuple[int, ...], m: int) -> str:
    """A hint for an error message, if measurements seem to have one signal per column."""
    return "; one signal is a row, so give its transpose" if shape[:-1] == (m,) else ""


def real(name: str, value: Any, *, ndim: int, shape: tuple[int, ...] | None = None):
    """As `inexact`, for arguments that cannot be complex."""
    array = inexact(name, value, ndim=ndim, shape=shape)
    if jnp.iscomplexobj(array):
        fail(TypeError, name, "real numbers", f"dtype {array.dtype}")
    return array


def real_or_steps(name: str, value: Any, *, length: int, num_steps: int | None):
    """As `real`, of shape ``(length,)`` or with one row per step."""
    array = as_array(name, value)
    if num_steps is None or array.ndim == 1:
        return real(name, value, ndim=1, shape=(length,))
    if array.shape != (num_steps, length):
        expected = f"shape ({length},) or, one row per step, ({num_steps}, {length})"
        fail(ValueError, name, expected, f"shape {array.shape}")
    return real(name, value, ndim=2)


def penalty(value: Any, length: int):
    """Returns the penalty of a ridge regression: one real number >= 0 per atom."""
    return at_least_0("penalty", value, length)


def at_least_0(name: str, value: Any, length: int):
    """As `real`, for ``length`` numbers that are not negative."""
    array = real(name, value, ndim=1, shape=(length,))
    _bounded(name, value, "numbers >= 0", lambda a: a >= 0)
    return array


def scalar_or_steps(name: str, value: Any, num_steps: int):
    """Returns ``value`` broadcast to one positive real number per step, shape ``(num_steps,)``."""
    array = as_array(name, value)
    if jnp.issubdtype(array.dtype, jnp.complexfloating) or array.dtype == bool:
        fail(TypeError, name, "real numbers", f"dtype {array.dtype}")
    if array.shape not in ((), (num_steps,)):
        fail(ValueError, name, f"a scalar or shape ({num_steps},)", f"shape {array.shape}")
    _bounded(name, value, "positive, finite numbers", lambda a: (a > 0) & np.isfinite(a))
    return jnp.broadcast_to(widened(array), (num_steps,))


def scalar(name: str, value: Any, *, positive: bool):
    """Returns ``value`` as a real scalar, positive or at least 0."""
    array = as_array(name, value)
    if jnp.issubdtype(array.dtype, jnp.complexfloating) or array.dtype == bool:
        fail(TypeError, name, "a real number", f"dtype {array.dtype}")
    if array.shape != ():
        fail(ValueError, name, "a scalar", f"shape {array.shape}")
    if positive:
        _bounded(name, value, "a positive, finite number", lambda a: (a > 0) & np.isfinite(a))
    else:
        _bounded(name, value, "a finite number >= 0", lambda a: (a >= 0) & np.isfinite(a))
    return widened(array)


def positive(name: str, value: Any) -> None:
    """Raises a ValueError if ``value`` is known and not all positive and finite."""
    _bounded(name, value, "positive, finite numbers", lambda a: (a > 0) & np.isfinite(a))


def instance(name: str, value: Any, kind: type, what: str) -> None:
    """Raises a TypeError unless ``value`` is an instance of ``kind``.

    A class in place of an instance is a likely mistake, and has its own message.
    """
    if isinstance(value, type):
        fail(
            TypeError,
            name,
            f"a {what}",
            f"the class {value.__name__}; make one: {value.__name__}(...)",
        )
    if not isinstance(value, kind):
        fail(TypeError, name, f"a {what}", type(value).__name__)


def ids(name: str, value: Any, n: int, what: str) -> tuple[np.ndarray, int]:
    """The group of each atom and the number of groups. Every id from 0 to the largest is used."""
    if is_traced(value):
        fail(TypeError, name, "an array that is not traced, as it sets shapes", "a traced value")
    as_array(name, value)
    array = np.asarray(value)  # Not the JAX array from above, which under jit has no values.
    if not np.issubdtype(array.dtype, np.integer):
        fail(TypeError, name, f"integers, a {what} for each atom", f"dtype {array.dtype}")
    if array.shape != (n,):
        fail(ValueError, name, f"shape {(n,)}, a {what} for each atom", f"shape {array.shape}")
    used = np.unique(array)
    if used[0] < 0 or used[-1] != len(used) - 1:
        missing = np.setdiff1d(np.arange(n), used)  # Fewer than n ids are used, or all are right.
        got = str(used[0]) if used[0] < 0 else f"{used[-1]} without {missing[0]}"
        fail(ValueError, name, "all ids from 0 to the largest", got)
    return array, len(used)


def flag(name: str, value: Any) -> bool:
    """Returns ``value`` if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        fail(TypeError, name, "True or False", f"{value!r}"[:60])
    return bool(value)


def prng_key(name: str, value: Any) -> jax.Array:
    """Returns ``value`` if it is one key of `jax.random`, new or old style."""
    if not isinstance(value, (jax.Array, np.ndarray)):
        fail(TypeError, name, "a key such as jax.random.key(0)", f"{value!r}"[:60])
    typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    if not typed and value.dtype != np.uint32:
        fail(TypeError, name, "a key such as jax.random.key(0)", f"dtype {value.dtype}")
    if value.ndim != (0 if typed else 1):
        fail(ValueError, name, "one key", f"shape {value.shape}")
    return jnp.asarray(value)


def function(name: str, value: Any) -> None:
    """Raises a TypeError unless ``value`` can be called."""
    if not callable(value):
        fail(TypeError, name, "a function", type(value).__name__)


def as_array(name: str, value: Any) -> jax.Array:
    """Returns ``value`` as a JAX array, or raises a TypeError."""
    if value is None or isinstance(value, (str, bytes, dict)):
        fail(TypeError, name, "an array", type(value).__name__)
    if hasattr(value, "matvec"):
        way = f"jax.vmap({name}.matvec)(jnp.eye({name}.shape[1])).T makes one if it fits"
        fail(TypeError, name, "an array", f"{type(value).__name__}, an operator; {way}")
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        got = f"dtype {value.dtype}" if hasattr(value, "dtype") else type(value).__name__
        if hasattr(value, "todense"):
            got = f"a sparse matrix; {name}.todense() makes an array of it"
        if isinstance(value, np.ma.MaskedArray):
            got = f"a masked array; {name}.filled(0) puts 0 where it is masked"
        raise TypeError(f"{name}: expected an array that JAX can hold, got {got}") from error


def all_finite(value: Any) -> bool:
    """Whether a concrete array holds neither NaN nor infinity. JAX arrays are not moved.

    On one CPU NumPy reads the same memory, and compiles nothing for a new shape.
    """
    devices = value.devices() if isinstance(value, jax.Array) else set()
    if len(devices) < 2 and all(device.platform == "cpu" for device in devices):
        return bool(np.isfinite(np.asarray(value)).all())
    with jax.ensure_compile_time_eval():
        return bool(_finite(value))


@jax.jit
def _finite(array):
    return jnp.isfinite(array).all()


def _bounded(name, value, expected, holds):
    if is_traced(value):
        return
    values = np.asarray(value)
    if not np.all(holds(values)):
        fail(ValueError, name, expected, str(values) if values.ndim == 0 else f"{values.min():g}")
