"""The epochs of training, compiled once, for one network or for a stack of them."""

import signal
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array
from tqdm import tqdm

from greedyjax.training._checkpoints import Checkpoints, Saved

_DEAD = 1e-12  # A gradient norm of which nothing can be learned.
_DEAD_MESSAGE = (
    "{who}: the gradient of the weights was below 1e-12, the mean of epoch {epoch}, so nothing is "
    "learned. A temperature far below the gaps of the scores does that: try a larger tau, such as "
    "relative_tau(A, y, 0.1), a schedule for it, or losses.selection; see docs/temperature.md"
)


class Setup(NamedTuple):
    """What an epoch is compiled for.

    Attributes:
        graph: the static part of the networks.
        optimizer: with `optax.apply_if_finite` around it.
        loss: what is trained.
        val_loss: what is measured.
        tau: schedule of the temperature, or None.
        stacked: whether states, networks and keys have a leading axis, one entry per network.
        data_axis: 0 if data have that axis too, None if one set serves all.
    """

    graph: Any
    optimizer: optax.GradientTransformation
    loss: Callable
    val_loss: Callable
    tau: Callable | None
    stacked: bool = False
    data_axis: int | None = None

    def over_networks(self, one: Callable, *more: int) -> Callable:
        """``one(state, rest, data, ...)``, over the stack if there is one."""
        axes = (0, 0, self.data_axis, *more)
        return jax.vmap(one, in_axes=axes) if self.stacked else one


class State(NamedTuple):
    """What an epoch changes."""

    params: Any
    optimizer: Any
    step: Array


class Row(NamedTuple):
    """What is recorded of an epoch, one number per network."""

    train_loss: Any
    gradient_norm: Any
    skipped_steps: Any
    val_loss: Any
    tau: Any
    seconds: Any


class Trained(NamedTuple):
    """The end of a run: one entry per network in every array.

    Attributes:
        state: of the best epochs.
        rows: one `Row` per epoch done, from epoch 0.
        best_epoch: integers.
        best_val_loss: validation losses of those epochs.
    """

    state: State
    rows: list[Row]
    best_epoch: np.ndarray
    best_val_loss: np.ndarray


class _Progress(NamedTuple):
    """All that the next epoch depends on, and what is known of the best."""

    state: State
    best_state: State
    best_epoch: np.ndarray
    best_val_loss: np.ndarray
    lowest: np.ndarray


def start(setup: Setup, params) -> State:
    """The state before any step."""
    make = jax.vmap(setup.optimizer.init) if setup.stacked else setup.optimizer.init
    shape = jnp.shape(jax.tree.leaves(params)[0])[:1] if setup.stacked else ()
    return State(params, make(params), jnp.zeros(shape, jnp.int32))


def run(
    setup: Setup,
    state: State,
    rest,
    train,
    val,
    *,
    num_epochs: int,
    batch_size: int,
    key,
    val_every: int,
    progress: bool,
    checkpoints: Checkpoints | None,
) -> Trained:
    """All epochs, until they are done or interrupted; the best state by validation.

    Args:
        setup: what to compile for.
        state: where to start.
        rest: the other arrays of the networks.
        train: data ``(Y, X)``.
        val: data ``(Y, X)``.
        num_epochs: epochs after epoch 0, which only validates.
        batch_size: signals per step.
        key: one key, or a stack of them.
        val_every: validation takes place each so many epochs, and after the last.
        progress: whether to show a bar.
        checkpoints: where to begin, if there are any, and where to write more.
    """
    shape = np.shape(state.step)
    nothing = np.full(shape, np.nan)
    now = _Progress(state, state, np.zeros(shape, int), nothing, nothing)
    rows: list[Row] = []
    saved = checkpoints.restore(now) if checkpoints else None
    if saved:
        now, rows = saved.tree, [Row(*row) for row in saved.rows]
    last_saved, warned = len(rows) - 1, False

    epochs = range(len(rows), num_epochs + 1)
    settings: dict[str, Any] = {"unit": "epoch", "disable": None if progress else True}
    bar = tqdm(epochs, "fit", total=num_epochs + 1, initial=len(rows), **settings)
    try:
        for epoch in _until_interrupted(bar):
            begin = perf_counter()
            measure = epoch % val_every == 0 or epoch == num_epochs
            now, row, slope = _next(setup, now, rest, train, val, epoch, batch_size, key, measure)
            rows.append(row._replace(seconds=np.full(shape, perf_counter() - begin)))
            dead = np.flatnonzero(slope < _DEAD)
            if not warned and len(dead):
                warned = True
                who = f"fit_many, networks {dead.tolist()}" if setup.stacked else "fit"
                text = _DEAD_MESSAGE.format(who=who, epoch=epoch)
                warnings.warn(text, RuntimeWarning, stacklevel=3)
            if checkpoints and epoch % checkpoints.every == 0:
                checkpoints.save(Saved(epoch, now, rows))
                last_saved = epoch
            shown = {"train": np.median(row.train_loss), "val": np.median(now.best_val_loss)}
            bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()})
    except KeyboardInterrupt:
        pass  # The epoch under way is lost, the ones before it are not.
    finally:
        bar.close()
    done = len(rows) - 1
    if checkpoints:
        if done > last_saved:
            checkpoints.save(Saved(done, now, rows))
        checkpoints.close()
    if done < num_epochs:
        tqdm.write(f"fit: interrupted after {max(done, 0)} of {num_epochs} epochs", file=sys.stderr)
    return Trained(now.best_state, rows, now.best_epoch, now.best_val_loss)


def _next(setup, now: _Progress, rest, train, val, epoch, batch_size, key, measure):
    """One epoch, the best so far, and the gradient of the weights; epoch 0 trains nothing."""
    shape = np.shape(now.state.step)
    nothing = np.full(shape, np.nan)
    state, sums = now.state, _EpochSums(nothing, nothing, np.zeros(shape), nothing)
    if epoch > 0:
        state, sums = _epoch(setup, state, rest, train, batch_size, _fold(setup, key, epoch))
    now, val_loss = now._replace(state=state), nothing
    if measure:
        val_loss = np.asarray(_evaluate(setup, state, rest, val, batch_size))
        better = _no_worse(val_loss, now.lowest) if epoch > 0 else np.full(shape, True)
        now = _Progress(
            state,
            _where(better, state, now.best_state),
            np.where(better, epoch, now.best_epoch),
            np.where(better, val_loss, now.best_val_loss),
            np.fmin(now.lowest, val_loss),
        )
    tau = _temperature(setup, state, rest)
    *sums, slope = map(np.asarray, sums)
    return now, Row(*sums, val_loss, np.asarray(tau), seconds=nothing), slope


def network(setup: Setup, params, rest, step):
    """The network with these parameters, at the temperature of this step."""
    net = nnx.merge(setup.graph, params, rest)
    if setup.tau is not None:
        net.tau = jnp.broadcast_to(setup.tau(step), jnp.shape(net.tau))
    return net


class _EpochSums(NamedTuple):
    train_loss: Any
    gradient_norm: Any
    skipped_steps: Any
    weights_gradient_norm: Any


@partial(jax.jit, static_argnames=("setup", "batch_size"))
def _epoch(setup: Setup, state: State, rest, train, batch_size: int, key):
    """One pass over the shuffled training set."""
    return setup.over_networks(partial(_one_epoch, setup, batch_size), 0)(state, rest, train, key)


def _one_epoch(setup: Setup, batch_size: int, state: State, rest, train, key):
    num = len(train[0])
    num_batches = num // batch_size
    order = jax.random.permutation(key, num)[: num_batches * batch_size]

    def step(state, batch):
        Y, X = jax.tree.map(lambda data: data[batch], train)

        def objective(params):
            return setup.loss(network(setup, params, rest, state.step), Y, X)

        value, gradient = jax.value_and_grad(objective)(state.params)
        updates, optimizer = setup.optimizer.update(gradient, state.optimizer, state.params)
        assert isinstance(optimizer, optax.ApplyIfFiniteState)
        params = optax.apply_updates(state.params, updates)
        skipped = ~optimizer.last_finite
        # A temperature or a step size may learn where the weights do not.
        weights = gradient.get("weights", gradient)
        norms = optax.tree.norm(gradient), optax.tree.norm(weights)
        return State(params, optimizer, state.step + 1), (value, norms, skipped)

    state, (values, norms, skipped) = jax.lax.scan(step, state, order.reshape(num_batches, -1))
    # What a skipped step would have done says nothing about the training.
    kept = ~skipped
    loss, norm, slope = (jnp.mean(each, where=kept) for each in (values, *norms))
    return state, _EpochSums(loss, norm, jnp.sum(skipped), slope)


@partial(jax.jit, static_argnames=("setup", "batch_size"))
def _evaluate(setup: Setup, state: State, rest, val, batch_size: int):
    """The mean loss over a whole set, a batch at a time."""
    return setup.over_networks(partial(_evaluate_one, setup, batch_size))(state, rest, val)


def _evaluate_one(setup: Setup, batch_size: int, state: State, rest, val):
    net = network(setup, state.params, rest, state.step)
    num = len(val[0])
    size = min(batch_size, num)
    whole = num - num % size
    batches = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, size, *leaf.shape[1:]), val)
    total = size * jnp.sum(jax.lax.map(lambda batch: setup.val_loss(net, *batch), batches))
    if whole < num:
        left = jax.tree.map(lambda leaf: leaf[whole:], val)
        total += (num - whole) * setup.val_loss(net, *left)
    return total / num


@partial(jax.jit, static_argnames=("setup",))
def _temperature(setup: Setup, state: State, rest):
    """The mean temperature of the layers."""

    def one(state, rest, _):
        net = network(setup, state.params, rest, state.step)
        return jnp.mean(getattr(net, "tau", jnp.nan))  # A module that is none of ours has none.

    return setup.over_networks(one)(state, rest, ())


@partial(jax.jit, static_argnames=("setup",))
def _fold(setup: Setup, key, epoch):
    """The key of an epoch."""
    return (
        jax.vmap(jax.random.fold_in, (0, None))(key, epoch)
        if setup.stacked
        else (jax.random.fold_in(key, epoch))
    )


def _where(better: np.ndarray, new: Any, old: Any) -> Any:
    """For each network the new state if it is better, the old one if not."""
    if better.ndim == 0:
        return new if better else old

    def choose(new, old):
        return jnp.where(better.reshape(-1, *[1] * (jnp.ndim(new) - 1)), new, old)

    return jax.tree.map(choose, new, old)


def _no_worse(new: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    """Lower up to rounding: where the loss is flat, more training is not worse than less.

    A NaN is never better, and anything is better than a NaN.
    """
    return (new <= lowest + 1e-4 * np.abs(lowest)) | (np.isnan(lowest) & ~np.isnan(new))


def _until_interrupted(epochs):
    """Yields epochs until Ctrl-C, which ends the loop at the end of the epoch under way.

    An exception out of a signal can surface inside JAX, which wraps it into errors of its own; a
    second Ctrl-C raises it all the same.
    """
    interrupts = []

    def note(number, frame):
        interrupts.append(number)
        if len(interrupts) > 1:
            signal.default_int_handler(number, frame)

    # Signals reach the main thread alone, and a handler that Python did not set cannot be restored.
    previous = signal.getsignal(signal.SIGINT)
    listens = threading.current_thread() is threading.main_thread() and previous is not None
    if listens:
        signal.signal(signal.SIGINT, note)
    try:
        for epoch in epochs:
            yield epoch
            if interrupts:
                return
    finally:
        if listens:
            signal.signal(signal.SIGINT, previous)
