"""Arrays on several devices: what solvers ask of JAX so that each signal stays where it lies.

A mesh of JAX has axes of three kinds. Over Auto axes the compiler finds out where arrays lie. Over
Explicit axes the type of an array says it, and operations have to. Inside of `jax.shard_map` axes
are Manual: a program sees the part of one device, and types say what varies between devices.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec


def on_any_mesh(*, rows: tuple[int, ...] = ()) -> Callable[..., Callable[..., Any]]:
    """Decorates a function of arrays, which then runs where they lie over Explicit axes too.

    There an operation must say where its result lies, which a gather inside of `jax.vmap` cannot.
    So where signals are all that is sharded each device runs the function on its own. Otherwise,
    and for one signal of a `jax.vmap`, the compiler finds out as it does over Auto axes.

    Args:
        rows: the places of arguments with one signal per row; every result has one row for each. An
            argument that is one signal alone has results that are not sharded.
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
    """Over how many devices the compiler may have spread rows, as far as their types tell."""
    mesh = jax.typeof(rows).sharding.mesh
    sizes = dict(zip(mesh.axis_names, mesh.axis_sizes, strict=True))
    return math.prod(sizes[name] for name in mesh.auto_axes)


def everywhere(rows: Any) -> Any:
    """Arrays whole on every device, where the compiler says where they lie.

    So any of their rows can be taken without asking other devices for them.
    """
    return jax.tree.map(lambda leaf: _placed(leaf, lambda names: PartitionSpec()), rows)


def spread(rows: Any) -> Any:
    """Arrays with their rows spread over all devices, where the compiler says where they lie."""
    return jax.tree.map(
        lambda leaf: leaf if len(leaf) % num_parts(leaf) else _placed(leaf, PartitionSpec), rows
    )


def are_shared(arrays: Any) -> bool:
    """Whether some of them lie on devices of other processes too."""
    leaves = jax.tree.leaves(arrays)
    return not all(getattr(leaf, "is_fully_addressable", True) for leaf in leaves)


def own(tree: Any) -> Any:
    """Arrays that are whole on every device, on one of this process."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf.addressable_data(0)), tree)


def varying_like(start: Any, *data: Any) -> Any:
    """What a loop carries first, with types that vary over the devices where those of ``data`` do.

    Inside of `jax.shard_map` what is made of constants is known to be the same on all devices,
    what a step makes of data is not, and a loop has to carry one type.
    """
    leaves = jax.tree.leaves(data)  # An operator may have no array.
    if not leaves or not jax.sharding.get_abstract_mesh().manual_axes:
        return start
    varies = functools.reduce(
        jnp.logical_or, (jnp.zeros_like(leaf, bool, shape=()) for leaf in leaves)
    )
    return jax.tree.map(lambda leaf: jnp.where(varies, leaf, leaf), start)


def _placed(array: jax.Array, spec: Callable[..., PartitionSpec]) -> jax.Array:
    """An array as a spec of all Auto axes says; as it is where there are none."""
    mesh = jax.typeof(array).sharding.mesh
    if not mesh.auto_axes:
        return array
    return jax.lax.with_sharding_constraint(array, NamedSharding(mesh, spec(mesh.auto_axes)))


def _explicit_mesh(args: Any) -> Any:
    """The mesh with Explicit axes that any of the arguments lies on; None if there is none."""
    meshes = (jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(args))
    return next((mesh for mesh in meshes if mesh.explicit_axes), None)


def _leading_axes(args: tuple, rows: tuple[int, ...]) -> tuple:
    """The mesh axes that signals are sharded over, in a tuple of one; none for one signal."""
    specs = (jax.typeof(args[i]).sharding.spec for i in rows)
    return next(((spec[0],) for spec in specs if len(spec) > 1 and spec[0] is not None), ())


def _is_sharded(tree: Any) -> bool:
    specs = (jax.typeof(leaf).sharding.spec for leaf in jax.tree.leaves(tree))
    return any(axes is not None for spec in specs for axes in spec)
