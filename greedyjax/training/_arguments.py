"""Checks of what `greedyjax.training.fit` and `greedyjax.training.fit_many` are given."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Inexact

from greedyjax import _checks
from greedyjax.nets import Unrolled

# Two of them in one call have different numbers of signals, which `_` leaves open.
Data = tuple[Inexact[ArrayLike, "_ m"], Inexact[ArrayLike, "_ n"] | None]
Checked = tuple[Inexact[Array, "num m"], Inexact[Array, "num n"] | None]


def check_module(name: str, net: Any) -> None:
    """Raises a TypeError if ``net`` is no network."""
    if not isinstance(net, nnx.Module):
        got = f"the class {net.__name__}" if isinstance(net, type) else type(net).__name__
        _checks.fail(TypeError, name, "a network, an nnx.Module", got)


def check_modules(nets: Any) -> None:
    """Raises a TypeError if ``nets`` is no list of networks, or an empty one."""
    if not isinstance(nets, Sequence) or len(nets) == 0:
        _checks.fail(TypeError, "nets", "a list of networks", type(nets).__name__)
    for i, net in enumerate(nets):
        check_module(f"nets[{i}]", net)


def check_functions(optimizer, loss, val_loss, tau, net: nnx.Module) -> None:
    """Checks what `fit` calls. Of a schedule it looks at the first temperature alone."""
    for name, value in (("loss", loss), ("val_loss", val_loss or loss), ("tau", tau or loss)):
        _checks.function(name, value)
    if not isinstance(optimizer, optax.GradientTransformation):
        _checks.fail(TypeError, "optimizer", "an optax optimizer", type(optimizer).__name__)
    if tau is None:
        return
    if not isinstance(net, Unrolled):
        _checks.fail(ValueError, "tau", "None, as net has no temperature", "a schedule")
    if net.learn_tau:
        _checks.fail(ValueError, "tau", "None, as net learns its temperature", "a schedule")
    _checks.scalar_or_steps("tau(0)", tau(jnp.zeros((), jnp.int32)), jnp.size(net.tau))


def counts(num_epochs, batch_size, val_every, num_train: int) -> tuple[int, int, int]:
    """The three counts, checked; a batch has no more signals than there are."""
    batch_size = _checks.static_int("batch_size", batch_size, minimum=1)
    return (
        _checks.static_int("num_epochs", num_epochs, minimum=0),
        min(batch_size, num_train),
        _checks.static_int("val_every", val_every, minimum=1),
    )


def data(name: str, data, net: nnx.Module) -> Checked:
    """Checks a pair ``(Y, X)`` and puts it on the device."""
    if not isinstance(data, tuple) or len(data) != 2:
        _checks.fail(TypeError, name, "a pair (Y, X) or (Y, None)", type(data).__name__)
    Y = _checks.inexact(f"{name} Y", data[0], ndim=2)
    if len(Y) == 0:
        _checks.fail(ValueError, f"{name} Y", "at least one signal", f"shape {Y.shape}")
    if isinstance(net, Unrolled):
        _checks.inexact(f"{name} Y", Y, ndim=2, shape=(len(Y), net.A.shape[0]))
    if data[1] is None:
        return Y, None
    X = _checks.inexact(f"{name} X", data[1], ndim=2)
    n = net.A.shape[1] if isinstance(net, Unrolled) else X.shape[1]
    return Y, _checks.inexact(f"{name} X", X, ndim=2, shape=(len(Y), n))


def data_of_each(name: str, data_or_list, nets) -> list[Checked]:
    """Checks one pair for all networks, or a list of pairs, one for each."""
    if isinstance(data_or_list, tuple):
        return [data(name, data_or_list, nets[0])]
    if not isinstance(data_or_list, Sequence) or len(data_or_list) != len(nets):
        is_list = isinstance(data_or_list, Sequence)
        got = f"{len(data_or_list)} of them" if is_list else type(data_or_list).__name__
        expected = f"a pair (Y, X) or a list of {len(nets)} pairs"
        _checks.fail(TypeError, name, expected, got)
    pairs = zip(data_or_list, nets, strict=True)
    return [data(f"{name}[{i}]", pair, net) for i, (pair, net) in enumerate(pairs)]


def stacked(name: str, trees: Sequence[Any]) -> Any:
    """Trees of equal structure and shapes, with a leading axis."""

    def stack(*leaves):
        shapes = sorted({jnp.shape(leaf) for leaf in leaves})
        if len(shapes) > 1:
            _checks.fail(ValueError, name, "equal shapes", f"shapes {shapes[0]} and {shapes[1]}")
        return jnp.stack(leaves)

    if any(jax.tree.structure(tree) != jax.tree.structure(trees[0]) for tree in trees):
        _checks.fail(ValueError, name, "X for all or for none", "a mixture")
    return jax.tree.map(stack, *trees)
