"""Training: jitted epochs over data on the device, the best weights kept."""

import signal
import sys
import threading
from collections.abc import Callable
from functools import lru_cache, partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Inexact
from tqdm import tqdm

from greedyjax import _checks
from greedyjax.nets._unrolled import Unrolled
from greedyjax.training import losses

Data = tuple[Inexact[Array, "num m"], Inexact[Array, "num n"] | None]
Loss = Callable[[Unrolled, Array, Array | None], Float[Array, ""]]


class FitResult(NamedTuple):
    """What training ended with.

    Attributes:
        net: a new network with the weights of the best epoch, and the temperature of that epoch.
        history: arrays indexed by epoch; epoch 0 is the network given, before any step. Keys:
            ``train_loss``, ``val_loss``, ``gradient_norm`` (mean over the steps, before the
            optimizer sees it), ``tau``, ``skipped_steps`` (those whose gradient was not finite)
            and ``seconds``.
        best_epoch: the epoch of lowest validation loss, the later of two that differ by less than
            1e-4 of it; 0 where training only raised it.
        best_val_loss: that loss.
    """

    net: Any
    history: dict[str, np.ndarray]
    best_epoch: int
    best_val_loss: float


def fit(
    net: Any,
    train: Data,
    val: Data,
    *,
    optimizer: optax.GradientTransformation,
    num_epochs: int,
    batch_size: int,
    key: Array,
    loss: Loss = losses.selection,
    val_loss: Loss | None = None,
    tau: Callable[[Array], Array] | None = None,
    progress: bool = True,
) -> FitResult:
    """Trains the parameters of a network, and keeps those of the epoch with the best validation.

    Each epoch shuffles the training set and takes its whole batches; the few signals left over
    take part in other epochs. A step whose gradient is not finite is skipped and counted. Ctrl-C
    ends training after the epoch under way, a second one at once; both return what was learned.

    Args:
        net: an `OMPNet` or `IHTNet`, or any nnx module that ``loss`` accepts; it is not changed.
        train: ``(Y, X)`` of shapes ``(num, m)`` and ``(num, n)``, or ``(Y, None)``.
        val: the same for validation. It chooses the epoch, so report results on other data.
        optimizer: an optax optimizer.
        num_epochs: at least 0.
        batch_size: signals per step; the whole training set where it has fewer.
        key: PRNG key of the shuffles. The same key gives the same weights on the same machine.
        loss: function of ``(net, Y, X)``, the mean over the batch of a loss per signal; see
            `greedyjax.training.losses`.
        val_loss: what validation measures; None means ``loss``.
        tau: optax-style schedule from the step number to the temperature; None keeps the net's.
        progress: shows a bar with the losses, where there is a terminal.

    Returns:
        A `FitResult`.

    Raises:
        TypeError: wrong kinds of argument.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import jax, optax
        >>> from greedyjax import nets, problems, training
        >>> A, Y, X, _ = problems.sparse_in_levels(jax.random.key(0), num_signals=96)
        >>> net = nets.OMPNet(A, sparsity=10, tau=0.1)
        >>> fitted = training.fit(net, (Y[:64], X[:64]), (Y[64:], X[64:]), num_epochs=2,
        ...     optimizer=optax.adam(3e-2), batch_size=32, key=jax.random.key(1))
        >>> fitted.history["val_loss"].shape
        (3,)
    """
    train, val = _data("train", train, net), _data("val", val, net)
    num_epochs = _checks.static_int("num_epochs", num_epochs, minimum=0)
    batch_size = min(_checks.static_int("batch_size", batch_size, minimum=1), len(train[0]))
    for name, value in (("loss", loss), ("val_loss", val_loss or loss), ("tau", tau or loss)):
        if not callable(value):
            _checks.fail(TypeError, name, "a function", type(value).__name__)
    if not isinstance(optimizer, optax.GradientTransformation):
        _checks.fail(TypeError, "optimizer", "an optax optimizer", type(optimizer).__name__)

    graph, params, rest = nnx.split(net, nnx.Param, ...)
    learn = _Setup(graph, _finite_steps_only(optimizer), loss, tau)
    check = learn._replace(loss=val_loss or loss)
    state = _State(params, learn.optimizer.init(params), jnp.zeros((), jnp.int32))
    history, best = [], None
    bar = tqdm(range(num_epochs + 1), "fit", unit="epoch", disable=None if progress else True)
    try:
        for epoch in _until_interrupted(bar):
            start = perf_counter()
            trained = _EpochSums(np.nan, np.nan, 0)
            if epoch > 0:
                epoch_key = jax.random.fold_in(key, epoch)
                state, trained = _epoch(learn, state, rest, train, batch_size, epoch_key)
            loss_now, tau_now = _evaluate(check, state, rest, val, batch_size)
            measured = [float(value) for value in (*trained, loss_now, tau_now)]
            history.append(_Row._make([*measured, perf_counter() - start]))
            val_loss_now = history[-1].val_loss
            if best is None or _no_worse(val_loss_now, best.lowest):
                lowest = val_loss_now if best is None else np.fmin(val_loss_now, best.lowest)
                best = _Best(state, epoch, val_loss_now, lowest)
            bar.set_postfix(train=f"{history[-1].train_loss:.3g}", val=f"{loss_now:.3g}")
    except KeyboardInterrupt:
        pass  # The epoch under way is lost, the ones before it are not.
    finally:
        bar.close()
    if len(history) <= num_epochs:
        done = max(len(history) - 1, 0)
        tqdm.write(f"fit: interrupted after {done} of {num_epochs} epochs", file=sys.stderr)

    best = best or _Best(state, 0, np.nan, np.nan)
    fitted = _network(learn, best.state.params, rest, best.state.step)
    columns = np.array(history, np.float64).reshape(-1, len(_Row._fields)).T
    return FitResult(
        fitted, dict(zip(_Row._fields, columns, strict=True)), best.epoch, best.val_loss
    )


class _Setup(NamedTuple):
    """What an epoch is compiled for."""

    graph: Any
    optimizer: optax.GradientTransformation
    loss: Loss
    tau: Callable | None


class _State(NamedTuple):
    params: Any
    optimizer: Any
    step: Array


class _Best(NamedTuple):
    state: _State
    epoch: int
    val_loss: float
    lowest: float


class _EpochSums(NamedTuple):
    train_loss: Any
    gradient_norm: Any
    skipped_steps: Any


class _Row(NamedTuple):
    train_loss: float
    gradient_norm: float
    skipped_steps: float
    val_loss: float
    tau: float
    seconds: float


def _no_worse(new: float, lowest: float) -> bool:
    """Lower up to rounding: where the loss is flat, more training is not worse than less.

    A NaN is never better, and anything is better than a NaN.
    """
    return new <= lowest + 1e-4 * abs(lowest) or (np.isnan(lowest) and not np.isnan(new))


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


@lru_cache
def _finite_steps_only(optimizer):
    # Cached, so that training again with the same optimizer does not compile again.
    return optax.apply_if_finite(optimizer, np.iinfo(np.int32).max)


def _data(name: str, data, net) -> tuple[Array, Array | None]:
    """Checks a pair ``(Y, X)`` and puts it on the device."""
    if not isinstance(data, tuple) or len(data) != 2:
        _checks.fail(TypeError, name, "a pair (Y, X) or (Y, None)", type(data).__name__)
    Y = _checks.inexact(f"{name} Y", data[0], ndim=2)
    if len(Y) == 0:
        _checks.fail(ValueError, f"{name} Y", "at least one signal", f"shape {Y.shape}")
    m, n = net.A.shape
    Y = _checks.inexact(f"{name} Y", Y, ndim=2, shape=(len(Y), m))
    if data[1] is None:
        return Y, None
    return Y, _checks.inexact(f"{name} X", data[1], ndim=2, shape=(len(Y), n))


def _network(setup: _Setup, params, rest, step):
    """The network with these parameters, at the temperature of this step."""
    net = nnx.merge(setup.graph, params, rest)
    if setup.tau is not None:
        net.tau = jnp.broadcast_to(setup.tau(step), jnp.shape(net.tau))
    return net


@partial(jax.jit, static_argnames=("setup", "batch_size"))
def _epoch(setup: _Setup, state: _State, rest, train, batch_size: int, key):
    """One pass over the shuffled training set."""
    num = len(train[0])
    num_batches = num // batch_size
    order = jax.random.permutation(key, num)[: num_batches * batch_size]

    def step(state, batch):
        Y, X = jax.tree.map(lambda data: data[batch], train)

        def objective(params):
            return setup.loss(_network(setup, params, rest, state.step), Y, X)

        value, gradient = jax.value_and_grad(objective)(state.params)
        updates, optimizer = setup.optimizer.update(gradient, state.optimizer, state.params)
        assert isinstance(optimizer, optax.ApplyIfFiniteState)
        params = optax.apply_updates(state.params, updates)
        skipped = ~optimizer.last_finite
        gradient_norm = optax.tree.norm(gradient)
        return _State(params, optimizer, state.step + 1), (value, gradient_norm, skipped)

    state, (values, norms, skipped) = jax.lax.scan(step, state, order.reshape(num_batches, -1))
    # What a skipped step would have done says nothing about the training.
    kept = ~skipped
    sums = _EpochSums(jnp.mean(values, where=kept), jnp.mean(norms, where=kept), jnp.sum(skipped))
    return state, sums


@partial(jax.jit, static_argnames=("setup", "batch_size"))
def _evaluate(setup: _Setup, state: _State, rest, val, batch_size: int):
    """The mean loss over a whole set, a batch at a time, and the temperature it was taken at."""
    net = _network(setup, state.params, rest, state.step)

    def one(data):
        return setup.loss(net, *jax.tree.map(lambda leaf: leaf[None], data))

    return jnp.mean(jax.lax.map(one, val, batch_size=batch_size)), jnp.mean(net.tau)
