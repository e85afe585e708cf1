"""Checks of the arguments of `greedyjax.training.fit` and `greedyjax.training.fit_many`."""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Inexact

from greedyjax import _checks
from greedyjax.nets import Unrolled
from greedyjax.training import losses
from greedyjax.training._loop import Plan

# Training and validation data have different numbers of signals, which `_` leaves open.
Data = tuple[Inexact[ArrayLike, "_ m *snapshots"], Inexact[ArrayLike, "_ n *snapshots"] | None]
Checked = tuple[Inexact[Array, "_ m *snapshots"], Inexact[Array, "_ n *snapshots"] | None]


def check_module(name: str, net: Any) -> None:
    """Raises a TypeError if ``net`` is not a network."""
    if not isinstance(net, nnx.Module):
        got = f"the class {net.__name__}" if isinstance(net, type) else type(net).__name__
        _checks.fail(TypeError, name, "a network, an nnx.Module", got)


def check_modules(nets: Any) -> None:
    """Raises a TypeError if ``nets`` is empty, or not a list of networks."""
    if not isinstance(nets, Sequence) or len(nets) == 0:
        _checks.fail(TypeError, "nets", "a list of networks", type(nets).__name__)
    for i, net in enumerate(nets):
        check_module(f"nets[{i}]", net)


def check_functions(loss, val_loss, tau, net: nnx.Module) -> None:
    """Checks the functions that `fit` calls. Of a schedule it checks only the first temperature."""
    for name, value in (("loss", loss), ("val_loss", val_loss or loss), ("tau", tau or loss)):
        _checks.function(name, value)
    if loss is losses.selection and isinstance(net, Unrolled) and net.learn_atoms:
        expected = "a loss with a derivative in the matrix, such as losses.residual, as atoms are"
        _checks.fail(ValueError, "loss", f"{expected} learned", "losses.selection, which has none")
    if tau is None:
        return
    if not isinstance(net, Unrolled):
        _checks.fail(ValueError, "tau", "None, as net has no temperature", "a schedule")
    if net.learn_tau:
        _checks.fail(ValueError, "tau", "None, as net learns its temperature", "a schedule")
    _checks.scalar_or_steps("tau(0)", tau(jnp.zeros((), jnp.int32)), jnp.size(net.tau))


def transformation(optimizer: Any) -> optax.GradientTransformation:
    """The optimizer, checked, as an `optax.GradientTransformation`."""
    if isinstance(optimizer, optax.MultiSteps):
        return _accumulating(optimizer)
    if not isinstance(optimizer, optax.GradientTransformation):
        got, expected = type(optimizer).__name__, "an optax optimizer"
        if callable(optimizer):  # Often this is the function that makes an optimizer.
            expected += ", such as optax.adam(1e-2) and not optax.adam"
        _checks.fail(TypeError, "optimizer", expected, got)
    return optimizer


@lru_cache
def _accumulating(optimizer: optax.MultiSteps) -> optax.GradientTransformation:
    """The same object for the same optimizer, so that training again compiles nothing."""
    return optimizer.gradient_transformation()


def batch_that_is_there(batch_size, num_train: int) -> int:
    """The number of signals in a batch, at most the number of training signals."""
    batch_size = _checks.static_int("batch_size", batch_size, minimum=1)
    if batch_size > num_train:
        text = (
            f"batch_size: {batch_size} is more than the {num_train} signals to train on, so each "
            "step takes all of them, and an epoch is one step"
        )
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    return min(batch_size, num_train)


def shards_of(shards, batch_size: int, train: Checked, val: Checked) -> int:
    """The number of shards. It has to divide the batch size and both numbers of signals."""
    shards = _checks.static_int("shards", shards, minimum=1)
    sizes = {"batch_size": batch_size, "train Y": len(train[0]), "val Y": len(val[0])}
    for name, size in sizes.items():
        if size % shards:
            expected = f"a multiple of shards={shards} signals"
            _checks.fail(ValueError, name, expected, str(size))
    return shards


def plan(num_epochs, val_every, patience, callback, progress) -> Plan:
    """The checked `Plan` of a training."""
    num_epochs = _checks.static_int("num_epochs", num_epochs, minimum=0)
    val_every = _checks.static_int("val_every", val_every, minimum=1)
    if patience is not None:
        patience = _checks.static_int("patience", patience, minimum=1)
    if callback is not None:
        _checks.function("callback", callback)
    return Plan(num_epochs, val_every, patience, callback, progress)


def data(name: str, data, net: nnx.Module) -> Checked:
    """Checks a pair ``(Y, X)`` and puts it on the device."""
    if not isinstance(data, tuple) or len(data) != 2:
        _checks.fail(TypeError, name, "a pair (Y, X) or (Y, None)", type(data).__name__)
    snapshots = isinstance(net, Unrolled) and net.method.structure.snapshots
    Y = _checks.inexact(f"{name} Y", data[0], ndim=2 + snapshots)
    if len(Y) == 0:
        _checks.fail(ValueError, f"{name} Y", "at least one signal", f"shape {Y.shape}")
    if isinstance(net, Unrolled):
        _checks.inexact(f"{name} Y", Y, ndim=Y.ndim, shape=(len(Y), net.A.shape[0], *Y.shape[2:]))
    if data[1] is None:
        return Y, None
    X = _checks.inexact(f"{name} X", data[1], ndim=Y.ndim)
    n = net.A.shape[1] if isinstance(net, Unrolled) else X.shape[1]
    return Y, _checks.inexact(f"{name} X", X, ndim=Y.ndim, shape=(len(Y), n, *Y.shape[2:]))


def train_and_val(train, val, net: nnx.Module) -> tuple[Checked, Checked]:
    """Checks both pairs. Without a pair for validation, the training pair is cut in two."""
    pair = data("train", train, net)
    return _held_out(pair) if val is None else (pair, data("val", val, net))


def train_and_val_of_each(train, val, nets) -> tuple[Sequence[Checked], Sequence[Checked]]:
    """The same for several networks: one pair for all of them, or a list with one pair for each."""
    pairs = _of_each("train", train, nets)
    if val is None:
        trains, vals = zip(*map(_held_out, pairs), strict=True)
        return trains, vals
    vals = _of_each("val", val, nets)
    if isinstance(val, tuple) != isinstance(train, tuple):
        _checks.fail(
            ValueError, "val", "one pair or a list of pairs, as train is", "the other kind"
        )
    return pairs, vals


def _held_out(pair: Checked) -> tuple[Checked, Checked]:
    """All signals but the last tenth, and the last tenth, which has at least one signal."""
    num = len(pair[0])
    if num < 2:
        expected = "at least 2 signals if val is left out, as one of them is for validation"
        _checks.fail(ValueError, "train Y", expected, str(num))
    cut = num - max(num // 10, 1)
    part = lambda rows: jax.tree.map(lambda each: each[rows], pair)
    return part(slice(cut)), part(slice(cut, None))


def _of_each(name: str, data_or_list, nets) -> list[Checked]:
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
    """Stacks trees of equal structure and shapes along a new leading axis."""

    def stack(*leaves):
        shapes = sorted({jnp.shape(leaf) for leaf in leaves})
        if len(shapes) > 1:
            _checks.fail(ValueError, name, "equal shapes", f"shapes {shapes[0]} and {shapes[1]}")
        return jnp.stack(leaves)

    if any(jax.tree.structure(tree) != jax.tree.structure(trees[0]) for tree in trees):
        _checks.fail(ValueError, name, "X for all networks or for none", "X for some of them")
    return jax.tree.map(stack, *trees)
