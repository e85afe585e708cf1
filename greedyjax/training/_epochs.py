"""The parts of an epoch, as functions of one network; `of_one` and `of_each` compile them."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from greedyjax._meshes import everywhere, on_any_mesh, spread
from greedyjax.nets import Unrolled


class Setup(NamedTuple):
    """The static settings that an epoch is compiled for.

    Attributes:
        graph: the static part of the network.
        optimizer: turns gradients into steps.
        loss: the loss that is minimised.
        val_loss: the loss for validation.
        tau: schedule of the temperature, or None.
        batch_size: signals per step.
        shards: number of parts of the data. A batch has the same number of signals from each.
    """

    graph: Any
    optimizer: optax.GradientTransformation
    loss: Callable
    val_loss: Callable
    tau: Callable | None
    batch_size: int
    shards: int = 1


class State(NamedTuple):
    """The state of a training: the parameters, the optimizer's state and the number of steps."""

    params: Any
    optimizer: Any
    step: Array


class Best(NamedTuple):
    """The best epoch so far.

    Attributes:
        params: the parameters after this epoch.
        step: the number of steps by then, which determines the temperature.
        epoch: the number of this epoch.
        val_loss: its validation loss.
        lowest: the lowest validation loss so far. The loss of the best epoch may be slightly
            higher.
    """

    params: Any
    step: Array
    epoch: Array
    val_loss: Array
    lowest: Array


class Learned(NamedTuple):
    """The record of an epoch's steps.

    Attributes:
        train_loss: mean loss over the steps that were taken.
        gradient_norm: mean norm of the gradient over the same steps, for all parameters.
        skipped_steps: the number of steps that were not taken.
        slope: like ``gradient_norm``, but for the weights and atoms alone.
        bad_losses: the number of skipped steps whose loss was not finite either.
    """

    train_loss: Any
    gradient_norm: Any
    skipped_steps: Any
    slope: Any
    bad_losses: Any


class Parts(NamedTuple):
    """The functions below with a fixed ``setup``, compiled."""

    train: Callable[..., tuple[State, Learned]]
    validate: Callable[..., tuple[Best, Array]]
    temperature: Callable[..., Array]


@lru_cache
def of_one(setup: Setup) -> Parts:
    """The parts for one network. They are cached, so that training again compiles nothing."""
    parts = (on_any_mesh()(partial(part, setup)) for part in (train, validate, temperature))
    return Parts(*map(jax.jit, parts))


@lru_cache
def of_each(setup: Setup, data_axis: int | None) -> Parts:
    """The parts for several networks at once, whose states, arrays and keys have a leading axis.

    Args:
        setup: the settings of all networks.
        data_axis: 0 if the data have this axis too; None if all networks share the data.
    """

    def compiled(part, *axes):
        return jax.jit(on_any_mesh()(jax.vmap(partial(part, setup), in_axes=axes)))

    return Parts(
        compiled(train, 0, 0, data_axis, 0, None),
        compiled(validate, 0, 0, 0, data_axis, None),
        compiled(temperature, 0, 0),
    )


def start(setup: Setup, params) -> tuple[State, Best]:
    """The state and the best epoch before any step."""
    zero = jnp.zeros((), jnp.int32)
    unknown = jnp.full((), jnp.nan, jnp.result_type(float))
    state = State(params, _finite_steps_only(setup).init(params), zero)
    return state, Best(params, zero, zero, unknown, unknown)


def network(setup: Setup, params, rest, step):
    """The network with these parameters, at the temperature of this step."""
    net = nnx.merge(setup.graph, params, rest)
    if setup.tau is not None:
        net.tau = jnp.broadcast_to(setup.tau(step), jnp.shape(net.tau))
    return net


def train(setup: Setup, state: State, rest, data, key, epoch) -> tuple[State, Learned]:
    """One pass over the training set, in an order that depends on the epoch."""
    parts = _in_parts(setup, data)
    order = jax.random.permutation(jax.random.fold_in(key, epoch), len(data[0]))
    optimizer = _finite_steps_only(setup)
    unrolled = isinstance(network(setup, state.params, rest, state.step), Unrolled)

    def step(state, batch):
        Y, X = _of_parts(jax.vmap(lambda part, rows: part[rows]), parts, batch)

        def objective(params):
            return setup.loss(network(setup, params, rest, state.step), Y, X)

        value, gradient = jax.value_and_grad(objective)(state.params)
        # Only line searches, and optimizers that use the value of the loss, read these.
        asked = {"value": value, "grad": gradient, "value_fn": objective}
        updates, now = optimizer.update(gradient, state.optimizer, state.params, **asked)
        assert isinstance(now, optax.ApplyIfFiniteState)
        params = optax.apply_updates(state.params, updates)
        # A temperature or a step size may still learn when the weights no longer do.
        slope = optax.tree.norm(_of_choices(gradient) if unrolled else gradient)
        met = value, optax.tree.norm(gradient), slope, ~now.last_finite, ~jnp.isfinite(value)
        return State(params, now, state.step + 1), met

    batches = _batches(setup, order)
    state, (*values, skipped, bad) = jax.lax.scan(step, state, batches)
    state = everywhere(state)  # So that each process can read all of it.
    # The loss of a skipped step is left out of the history.
    loss, norm, slope = (jnp.mean(each, where=~skipped) for each in values)
    return state, Learned(loss, norm, jnp.sum(skipped), slope, jnp.sum(skipped & bad))


def validate(setup: Setup, state: State, best: Best, rest, data, epoch) -> tuple[Best, Array]:
    """The best epoch, after a comparison with this epoch, and this epoch's mean validation loss.

    Of two losses that are equal up to 1e-4, the later is better: where the loss is flat, more
    training does no harm. A NaN is never better, and any number is better than a NaN.
    """
    # The dtype is the same for all losses, so that the first epoch compiles for all epochs.
    loss = _mean_loss(setup, state, rest, data).astype(best.lowest.dtype)
    lowest = best.lowest
    better = loss <= lowest + 1e-4 * jnp.abs(lowest)
    better |= jnp.isnan(lowest) & ~jnp.isnan(loss)
    now = Best(state.params, state.step, epoch, loss, jnp.fmin(lowest, loss))
    kept = best._replace(lowest=now.lowest)
    return jax.tree.map(lambda new, old: jnp.where(better, new, old), now, kept), loss


def temperature(setup: Setup, state: State, rest) -> Array:
    """The mean temperature of the layers; NaN for a module without a temperature."""
    net = network(setup, state.params, rest, state.step)
    return jnp.mean(net.tau if isinstance(net, Unrolled) else jnp.nan)


def _mean_loss(setup: Setup, state: State, rest, data) -> Array:
    """The mean loss over a whole set, a batch at a time."""
    net, parts = network(setup, state.params, rest, state.step), _in_parts(setup, data)
    num = len(data[0])
    size, each = min(setup.batch_size, num), num // setup.shards
    step, whole = size // setup.shards, num // size

    def of_batch(start, length=step):
        rows = lambda part: jax.lax.dynamic_slice_in_dim(part, start, length, axis=1)
        return setup.val_loss(net, *_of_parts(rows, parts))

    total = size * jnp.sum(jax.lax.map(of_batch, step * jnp.arange(whole)))
    if left := each - step * whole:
        total += setup.shards * left * of_batch(step * whole, left)
    return total / num


def _in_parts(setup: Setup, data) -> Any:
    """Arrays of signals, with an axis of parts before the axis of signals.

    A part stays on its device. A single part is copied to every device once per epoch. Fetching
    rows from another device in every step takes far longer.
    """
    parts = jax.tree.map(lambda leaf: leaf.reshape(setup.shards, -1, *leaf.shape[1:]), data)
    return everywhere(parts) if setup.shards == 1 else spread(parts)


def _of_parts(rows: Callable, parts, *args) -> Any:
    """Rows of all parts as one array of signals, which are spread over the devices."""
    found = jax.tree.map(lambda part: rows(part, *args), parts)
    return spread(jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found))


def _batches(setup: Setup, order: Array) -> Array:
    """The indices within each part that each batch takes, ``(batches, parts, places)``.

    ``order`` is a permutation of all signals. It gives the order of the signals of each part.
    """
    each = len(order) // setup.shards
    places = order[jnp.argsort(order // each, stable=True)].reshape(setup.shards, each) % each
    size = setup.batch_size // setup.shards
    whole = each // size * size
    return places[:, :whole].reshape(setup.shards, -1, size).swapaxes(0, 1)


def _of_choices(gradient: Any) -> Any:
    """The part of the gradient for the weights, and for the atoms if they are learned."""
    if "atoms" not in gradient:
        return gradient["weights"]
    return gradient["weights"], gradient["atoms"]


def _finite_steps_only(setup: Setup) -> optax.GradientTransformation:
    """The optimizer, changed to skip every step whose gradient is not finite."""
    return optax.apply_if_finite(setup.optimizer, np.iinfo(np.int32).max)
