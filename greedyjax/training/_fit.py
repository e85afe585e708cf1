"""Training in jitted epochs over data on the device, which keeps the best parameters."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from greedyjax import _checks
from greedyjax._meshes import are_shared, own
from greedyjax.nets import Unrolled
from greedyjax.training import _arguments, losses
from greedyjax.training._arguments import Data
from greedyjax.training._checkpoints import Checkpoints, digest, numbers_of
from greedyjax.training._epochs import Best, Setup, network, of_each, of_one, start
from greedyjax.training._loop import COLUMNS, run

Loss = Callable[[Unrolled, Array, Array | None], Float[Array, ""]]
"""A function of a network, measurements, and signals or None; returns the mean over the batch."""

Callback = Callable[[int, dict[str, Any]], Any]
"""A function of the number of an epoch and of the entries of the history for this epoch."""


class FitResult(NamedTuple):
    """The result of a training.

    Attributes:
        net: a new network with the parameters of the best epoch, and the temperature of that epoch.
        history: arrays with one entry per epoch. Epoch 0 is the network before any step. The keys
            are ``train_loss``, ``val_loss``, ``gradient_norm``, ``tau``, ``skipped_steps`` and
            ``seconds``. ``val_loss`` is NaN in epochs without validation. ``gradient_norm`` is the
            norm over all parameters, before the optimizer changes the gradient, averaged over the
            steps. ``tau`` is averaged over the layers. ``skipped_steps`` is the number of steps
            whose gradient was not finite.
        best_epoch: the epoch with the lowest validation loss, or the later of two epochs whose
            losses differ by less than 1e-4 relative to it. It is 0 if training only raised the
            loss.
        best_val_loss: the validation loss of this epoch.
    """

    net: Any
    history: dict[str, np.ndarray]
    best_epoch: int
    best_val_loss: float


def fit(
    net: Any,
    train: Data,
    val: Data | None = None,
    *,
    optimizer: optax.GradientTransformation | optax.MultiSteps,
    num_epochs: int,
    batch_size: int,
    key: Array,
    loss: Loss = losses.selection,
    val_loss: Loss | None = None,
    tau: Callable[[Array], Array] | None = None,
    val_every: int = 1,
    patience: int | None = None,
    callback: Callback | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    shards: int = 1,
    progress: bool = True,
) -> FitResult:
    """Trains a network, and keeps the parameters of the epoch with the lowest validation loss.

    Each epoch shuffles the training set and cuts it into batches. Signals that do not fill a last
    batch are left out of this epoch. A step whose gradient is not finite is skipped and counted,
    and one warning says so. Ctrl-C ends training after the current epoch, and a second Ctrl-C ends
    it at once. In both cases `fit` returns the best parameters so far.

    Args:
        net: one of `greedyjax.nets`, or any nnx module that ``loss`` accepts, without a
            temperature. The module itself is not changed.
        train: ``(Y, X)`` of shapes ``(num, m)`` and ``(num, n)``, or ``(Y, None)``.
        val: a pair like ``train`` for validation. Validation chooses the epoch, so report results
            on other data. None takes the last tenth of ``train``, at least one signal, and does not
            train on it.
        optimizer: an optax optimizer. Optimizers with a line search, such as ``optax.lbfgs()``,
            need the loss of all signals: set ``batch_size`` to the number of signals.
        num_epochs: number of epochs, at least 0.
        batch_size: signals per step. If the training set has fewer signals, a batch is the whole
            set, with a warning.
        key: PRNG key of the shuffles. The same key gives the same weights on the same machine.
        loss: function of ``(net, Y, X)``, the mean over the batch of a loss per signal; see
            `greedyjax.training.losses`.
        val_loss: the loss for validation; None means ``loss``.
        tau: optax-style schedule from the step number to the temperature. None keeps the
            temperature of the network. A network that learns its temperature takes no schedule.
        val_every: number of epochs from one validation to the next. The last epoch always
            validates.
        patience: ends training once the validation loss has not fallen below its minimum for this
            number of epochs. None never ends training early.
        callback: called as ``callback(epoch, metrics)`` after each epoch, also after epoch 0, with
            the entries of ``history`` for this epoch. A resumed training calls it only for new
            epochs.
        checkpoint_dir: a folder for checkpoints, and for nothing else. If it has a checkpoint of
            this training, training continues from there. On the same machine, the result is bit
            for bit the same as without a stop. With more ``num_epochs`` than before, training goes
            on.
        checkpoint_every: number of epochs from one checkpoint to the next. The last epoch and an
            interrupt also write one.
        shards: number of consecutive parts of equal size into which the data are cut, static. Each
            part is shuffled separately, and a batch takes the same number of signals from each.
            So if signals are sharded over this number of devices, of one process or of several,
            and ``val`` is given, no signal leaves its device. ``shards`` has to divide
            ``batch_size`` and the numbers of signals.
        progress: whether to show a progress bar with the losses, if there is a terminal.

    Returns:
        A `FitResult`.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity; or
            ``checkpoint_dir`` has other files, another training, or only damaged checkpoints.
        OSError: ``checkpoint_dir`` cannot be written to. If writing fails later, training warns
            and continues.

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
    key = _checks.prng_key("key", key)
    _arguments.check_module("net", net)
    train, val = _arguments.train_and_val(train, val, net)
    plan = _arguments.plan(num_epochs, val_every, patience, callback, progress)
    batch_size = _arguments.batch_that_is_there(batch_size, len(train[0]))
    shards = _arguments.shards_of(shards, batch_size, train, val)
    _arguments.check_functions(loss, val_loss, tau, net)
    optimizer = _arguments.transformation(optimizer)
    graph, params, rest = nnx.split(net, nnx.Param, ...)
    setup = Setup(graph, optimizer, loss, val_loss or loss, tau, batch_size, shards)
    best, rows = run(
        of_one(setup), start(setup, params), rest, train, val, key, plan,
        checkpoints=_checkpoints(checkpoint_dir, checkpoint_every, setup, key, train, net, rest),
        who=lambda dead: "fit",
    )  # fmt: skip
    return _result(setup, rest, best, rows)


def fit_many(
    nets: Sequence[Any],
    train: Data | Sequence[Data],
    val: Data | Sequence[Data] | None = None,
    *,
    optimizer: optax.GradientTransformation | optax.MultiSteps,
    num_epochs: int,
    batch_size: int,
    key: Array,
    loss: Loss = losses.selection,
    val_loss: Loss | None = None,
    tau: Callable[[Array], Array] | None = None,
    val_every: int = 1,
    patience: int | None = None,
    callback: Callback | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    shards: int = 1,
    progress: bool = True,
) -> list[FitResult]:
    """Trains several networks at once, each as `fit` would, in one computation under ``vmap``.

    Use it for several starts on one problem, or for several draws of a problem. The result with the
    lowest ``best_val_loss`` is the best start. The spread of the others shows how much the start
    matters. Network ``i`` gets the same batches as from `fit` with the key
    ``jax.random.fold_in(key, i)``.

    Args:
        nets: networks of one kind and of equal sizes and settings; weights, matrices and
            temperatures may differ. They are not changed.
        train: one pair ``(Y, X)`` for all, or a list of pairs of equal shapes, one per network.
        val: the same for validation: one pair if ``train`` is one pair, else a list. None takes the
            last tenth of each pair of ``train``.
        optimizer: as for `fit`, as are all the arguments below.
        num_epochs: number of epochs, at least 0.
        batch_size: signals per step and network.
        key: PRNG key of the shuffles.
        loss: function of ``(net, Y, X)``.
        val_loss: the loss for validation; None means ``loss``.
        tau: schedule of the temperature.
        val_every: number of epochs from one validation to the next.
        patience: ends training once no network has lowered its validation loss for this number of
            epochs. Each network keeps its own best epoch.
        callback: called as ``callback(epoch, metrics)``, each metric with one number per network.
        checkpoint_dir: a folder for checkpoints of all networks together.
        checkpoint_every: number of epochs from one checkpoint to the next.
        shards: number of parts into which the data of each network are cut.
        progress: whether to show a progress bar with the medians of the losses.

    Returns:
        One `FitResult` per network. Its ``seconds`` are the time of all networks together.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity; or
            networks differ in more than the values of their arrays.

    Example:
        >>> import jax, optax
        >>> from greedyjax import nets, problems, training
        >>> A, Y, X, _ = problems.sparse_in_levels(jax.random.key(0), num_signals=96)
        >>> starts = [jax.random.uniform(jax.random.key(i), (256,)) for i in range(3)]
        >>> fitted = training.fit_many(
        ...     [nets.OMPNet(A, sparsity=10, tau=0.1, weights=start) for start in starts],
        ...     (Y[:64], X[:64]), (Y[64:], X[64:]), num_epochs=2, batch_size=32,
        ...     optimizer=optax.adam(3e-2), key=jax.random.key(1))
        >>> best = min(fitted, key=lambda result: result.best_val_loss)
        >>> len(fitted), best.net.weights.shape
        (3, (256,))
    """
    _arguments.check_modules(nets)
    key = _checks.prng_key("key", key)
    shared = isinstance(train, tuple)
    trains, vals = _arguments.train_and_val_of_each(train, val, nets)
    # A stack of one network would turn every product into a batched product, which takes three
    # times as long.
    if len(nets) == 1:
        alone = fit(
            nets[0], trains[0], vals[0], optimizer=optimizer, num_epochs=num_epochs,
            batch_size=batch_size, key=jax.random.fold_in(key, 0), loss=loss, val_loss=val_loss,
            tau=tau, val_every=val_every, patience=patience, callback=_of_one_network(callback),
            checkpoint_dir=checkpoint_dir, checkpoint_every=checkpoint_every, shards=shards,
            progress=progress,
        )  # fmt: skip
        return [alone]
    plan = _arguments.plan(num_epochs, val_every, patience, callback, progress)
    batch_size = _arguments.batch_that_is_there(batch_size, len(trains[0][0]))
    shards = _arguments.shards_of(shards, batch_size, trains[0], vals[0])
    graphs, params, rests = zip(*(nnx.split(net, nnx.Param, ...) for net in nets), strict=True)
    if any(graph != graphs[0] for graph in graphs):
        _checks.fail(
            ValueError, "nets", "networks of one kind with equal settings", "different ones"
        )
    _arguments.check_functions(loss, val_loss, tau, nets[0])
    optimizer = _arguments.transformation(optimizer)
    setup = Setup(graphs[0], optimizer, loss, val_loss or loss, tau, batch_size, shards)
    rest = _arguments.stacked("nets", rests)
    begin = jax.vmap(lambda params: start(setup, params))(_arguments.stacked("nets", params))
    best, rows = run(
        of_each(setup, None if shared else 0), begin, rest,
        trains[0] if shared else _arguments.stacked("train", trains),
        vals[0] if shared else _arguments.stacked("val", vals),
        jnp.stack([jax.random.fold_in(key, i) for i in range(len(nets))]), plan,
        checkpoints=_checkpoints(
            checkpoint_dir, checkpoint_every, setup, key, trains, nets[0], rest
        ),
        who=lambda dead: f"fit_many, networks {dead}",
    )  # fmt: skip
    results = []
    for i in range(len(nets)):
        rest_i, best_i = jax.tree.map(lambda leaf, i=i: leaf[i], (rest, best))
        results.append(_result(setup, rest_i, best_i, [row[:, i] for row in rows]))
    return results


def _of_one_network(callback: Any) -> Any:
    """Turns a callback of `fit_many`, whose metrics have an axis of networks, into one of `fit`."""
    if not callable(callback):
        return callback
    return lambda epoch, metrics: callback(
        epoch, {name: np.asarray([value]) for name, value in metrics.items()}
    )


def _result(setup: Setup, rest: Any, best: Best, rows: list[np.ndarray]) -> FitResult:
    """The result for one network."""
    best, rest = own((best, rest)) if are_shared(best) else (best, rest)
    net = network(setup, best.params, rest, best.step)
    columns = np.array(rows, np.float64).reshape(-1, len(COLUMNS)).T
    history = dict(zip(COLUMNS, columns, strict=True))
    return FitResult(net, history, int(best.epoch), float(best.val_loss))


def _checkpoints(folder, every, setup: Setup, key, train, net, rest) -> Checkpoints | None:
    """Checkpoints that recognise this training by its data, networks, batches and key."""
    every = _checks.static_int("checkpoint_every", every, minimum=1)
    if folder is None:
        return None
    shared = are_shared(train)
    identity = {
        "processes": jax.process_count() if shared else 1,
        "data": digest(train),
        "networks": digest(rest),
        "parameters": _parameter_names(net),
        "batch_size": setup.batch_size,
        "shards": setup.shards,
        "key": numbers_of(key),
    }
    return Checkpoints(folder, every, identity, shared=shared)


def _parameter_names(net: nnx.Module) -> list[str]:
    """The names of trained parameters, by which a checkpoint is recognised."""
    if isinstance(net, Unrolled):
        return net.parameter_names()
    paths = [path for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param))]
    return sorted(".".join(map(str, path)) for path in paths)
