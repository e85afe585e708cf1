"""Arrays on several devices: how solvers keep each signal on its device.

A mesh of JAX has axes of three kinds. Over Auto axes the compiler decides where arrays are placed.
Over Explicit axes the type of an array includes its placement, and each operation has to determine
the placement of its result. Inside `jax.shard_map` axes are Manual: a program sees the part of an
array that is on one device, and types say what varies between devices.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec


def on_any_mesh(*, rows: tuple[int, ...] = ()) -> Callable[..., Callable[..., Any]]:
    """Decorates a function of arrays, so that it also works for arrays over Explicit axes.

    Over Explicit axes an operation must determine the placement of its result, and a gather inside
    `jax.vmap` cannot. So if only signals are sharded, each device runs the function on its own
    signals. Otherwise, and for one signal of a `jax.vmap`, the compiler decides as over Auto axes.

    Args:
        rows: the positions of arguments with one signal per row. Every result has one row per
            signal. If the argument is a single signal, results are not sharded.
    """

    def decorate(function):
        @functools.wraps(function)
        def run(*args):
            mesh = _explicit_mesh(args)
            if mesh is None:
                return function(*args)
            by_row = PartitionSpec(*_leading_axes(args, rows))
            specs = [by_row if i in rows else PartitionSpec() for i in range(len(args))]
            others = [arg for i, arg in enumerate(args) if i not in rows]
            with jax.sharding.use_abstract_mesh(mesh):
                if by_row and not mesh.auto_axes and not any(map(_is_sharded, others)):
                    return jax.shard_map(function, in_specs=tuple(specs), out_specs=by_row)(*args)
                return jax.sharding.auto_axes(function, out_sharding=by_row)(*args)

        return run

    return decorate


def num_parts(rows: jax.Array) -> int:
    """The number of devices over which the compiler may have spread rows, according to types."""
    mesh = jax.typeof(rows).sharding.mesh
    sizes = dict(zip(mesh.axis_names, mesh.axis_sizes, strict=True))
    return math.prod(sizes[name] for name in mesh.auto_axes)


def everywhere(rows: Any) -> Any:
    """Copies whole arrays to every device, if the compiler decides where they are placed.

    Then a device can take any row without communication.
    """
    return jax.tree.map(lambda leaf: _placed(leaf, lambda names: PartitionSpec()), rows)


def spread(rows: Any) -> Any:
    """Spreads the rows of arrays over all devices, if the compiler decides where they are."""
    return jax.tree.map(
        lambda leaf: leaf if len(leaf) % num_parts(leaf) else _placed(leaf, PartitionSpec), rows
    )


def are_shared(arrays: Any) -> bool:
    """Whether some of the arrays are also on devices of other processes."""
    leaves = jax.tree.leaves(arrays)
    return not all(getattr(leaf, "is_fully_addressable", True) for leaf in leaves)


def own(tree: Any) -> Any:
    """Copies of replicated arrays on one device of this process."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf.addressable_data(0)), tree)


def varying_like(start: Any, *data: Any) -> Any:
    """The initial carry of a loop, with types that vary over devices like the types of ``data``.

    Inside `jax.shard_map`, arrays made from constants have types that do not vary between devices.
    Arrays that a step computes from data have types that vary. A loop has to carry one type.
    """
    leaves = jax.tree.leaves(data)  # An operator may have no array.
    if not leaves or not jax.sharding.get_abstract_mesh().manual_axes:
        return start
    varies = functools.reduce(
        jnp.logical_or, (jnp.zeros_like(leaf, bool, shape=()) for leaf in leaves)
    )
    return jax.tree.map(lambda leaf: jnp.where(varies, leaf, leaf), start)


def _placed(array: jax.Array, spec: Callable[..., PartitionSpec]) -> jax.Array:
    """Places an array by the spec for all Auto axes. Without Auto axes it stays unchanged."""
    mesh = jax.typeof(array).sharding.mesh
    if not mesh.auto_axes:
        return array
    return jax.lax.with_sharding_constraint(array, NamedSharding(mesh, spec(mesh.auto_axes)))


def _explicit_mesh(args: Any) -> Any:
    """The first mesh with Explicit axes on which an argument is placed, or None."""
    meshes = (jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(args))
    return next((mesh for mesh in meshes if mesh.explicit_axes), None)


def _leading_axes(args: tuple, rows: tuple[int, ...]) -> tuple:
    """The mesh axes over which signals are sharded, as a tuple of length 1; empty if none."""
    specs = (jax.typeof(args[i]).sharding.spec for i in rows)
    return next(((spec[0],) for spec in specs if len(spec) > 1 and spec[0] is not None), ())


def _is_sharded(tree: Any) -> bool:
    specs = (jax.typeof(leaf).sharding.spec for leaf in jax.tree.leaves(tree))
    return any(axes is not None for spec in specs for axes in spec)
