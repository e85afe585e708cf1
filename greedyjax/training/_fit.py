"""Training: jitted epochs over data on the device, the best weights kept."""

import os
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax.nets._unrolled import Unrolled
from greedyjax.training import losses
from greedyjax.training._checkpoints import Checkpoints
from greedyjax.training._epochs import Row, Setup, Trained, network, run, start

Data = tuple[Inexact[Array, "num m"], Inexact[Array, "num n"] | None]
Loss = Callable[[Unrolled, Array, Array | None], Float[Array, ""]]


class FitResult(NamedTuple):
    """What training ended with.

    Attributes:
        net: a new network with the parameters of the best epoch, and the temperature of that epoch.
        history: arrays indexed by epoch; epoch 0 is the network given, before any step. Keys:
            ``train_loss``, ``val_loss``, ``gradient_norm`` (of all parameters, mean over the
            steps, before the optimizer sees it), ``tau`` (mean of the layers),
            ``skipped_steps`` (those whose gradient was not finite)
            and ``seconds``. ``val_loss`` is NaN in epochs that did not validate.
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
    val_every: int = 1,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
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
        tau: optax-style schedule from the step number to the temperature; None keeps the net's,
            or what it learns. A network that learns its temperature takes no schedule.
        val_every: validates each so many epochs, and after the last.
        checkpoint_dir: a folder for checkpoints, and for nothing else. Where it holds one of this
            training, training goes on from there, and ends as if it had not stopped, bit for bit
            on the same machine. More ``num_epochs`` than before train on.
        checkpoint_every: epochs from one checkpoint to the next; one more follows the last epoch
            and an interrupt.
        progress: shows a bar with the losses, where there is a terminal.

    Returns:
        A `FitResult`.

    Raises:
        TypeError: wrong kinds of argument.
        ValueError: wrong shapes or ranges, NaN or infinity; a ``checkpoint_dir`` that holds other
            things, another training, or only damaged checkpoints.
        OSError: ``checkpoint_dir`` cannot be written to. If writing fails later, training warns
            and goes on.

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
    _module("net", net)
    train, val = _data("train", train, net), _data("val", val, net)
    num_epochs, batch_size, val_every = _counts(num_epochs, batch_size, val_every, len(train[0]))
    _check_schedule(tau, net)
    graph, params, rest = nnx.split(net, nnx.Param, ...)
    setup = _setup(graph, optimizer, loss, val_loss, tau)
    checkpoints = _checkpoints(checkpoint_dir, checkpoint_every, batch_size, key, train, net, rest)
    trained = run(
        setup, start(setup, params), rest, train, val, num_epochs=num_epochs,
        batch_size=batch_size, key=key, val_every=val_every, progress=progress,
        checkpoints=checkpoints,
    )  # fmt: skip
    return _result(setup, rest, trained)


def fit_many(
    nets: Sequence[Any],
    train: Data | Sequence[Data],
    val: Data | Sequence[Data],
    *,
    optimizer: optax.GradientTransformation,
    num_epochs: int,
    batch_size: int,
    key: Array,
    loss: Loss = losses.selection,
    val_loss: Loss | None = None,
    tau: Callable[[Array], Array] | None = None,
    val_every: int = 1,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    progress: bool = True,
) -> list[FitResult]:
    """Trains several networks at once, as `fit` would each of them, by one vmapped computation.

    For several starts on one problem, or several draws of a problem. The lowest
    ``best_val_loss`` of the results tells the best start, and the others how much a start matters.
    Network ``i`` sees the batches that `fit` would draw with ``jax.random.fold_in(key, i)``.

    Args:
        nets: networks of one kind and of equal sizes and settings; weights, matrices and
            temperatures may differ. They are not changed.
        train: one pair ``(Y, X)`` for all, or a list of pairs of equal shapes, one per network.
        val: the same for validation; shared by all exactly where ``train`` is.
        optimizer: as for `fit`, and so are all the arguments below.
        num_epochs: at least 0.
        batch_size: signals per step and network.
        key: PRNG key of the shuffles.
        loss: function of ``(net, Y, X)``.
        val_loss: what validation measures; None means ``loss``.
        tau: schedule of the temperature.
        val_every: validates each so many epochs, and after the last.
        checkpoint_dir: a folder for checkpoints, of all networks together.
        checkpoint_every: epochs from one checkpoint to the next.
        progress: shows a bar with the medians of the losses.

    Returns:
        One `FitResult` per network; their ``seconds`` are those of all together.

    Raises:
        TypeError: wrong kinds of argument.
        ValueError: wrong shapes or ranges, NaN or infinity, or networks that differ in more than
            the values of their arrays.

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
    if not isinstance(nets, Sequence) or len(nets) == 0:
        _checks.fail(TypeError, "nets", "a list of networks", type(nets).__name__)
    for i, net in enumerate(nets):
        _module(f"nets[{i}]", net)
    key = _checks.prng_key("key", key)
    shared = isinstance(train, tuple)
    trains, vals = _data_of_each("train", train, nets), _data_of_each("val", val, nets)
    if isinstance(val, tuple) != shared:
        _checks.fail(ValueError, "val", "one pair or a list of pairs, as train is", "the other")
    # A stack of one would make every product a batched one, which takes three times as long.
    if len(nets) == 1:
        alone = fit(
            nets[0], trains[0], vals[0], optimizer=optimizer, num_epochs=num_epochs,
            batch_size=batch_size, key=jax.random.fold_in(key, 0), loss=loss, val_loss=val_loss,
            tau=tau, val_every=val_every, checkpoint_dir=checkpoint_dir,
            checkpoint_every=checkpoint_every, progress=progress,
        )  # fmt: skip
        return [alone]
    num = len(trains[0][0])
    num_epochs, batch_size, val_every = _counts(num_epochs, batch_size, val_every, num)
    graphs, params, rests = zip(*(nnx.split(net, nnx.Param, ...) for net in nets), strict=True)
    if any(graph != graphs[0] for graph in graphs):
        _checks.fail(ValueError, "nets", "networks of one kind with equal settings", "others")
    _check_schedule(tau, nets[0])
    setup = _setup(graphs[0], optimizer, loss, val_loss, tau)
    setup = setup._replace(stacked=True, data_axis=None if shared else 0)
    rest = _stacked("nets", rests)
    checkpoints = _checkpoints(
        checkpoint_dir, checkpoint_every, batch_size, key, trains, nets[0], rest
    )
    trained = run(
        setup, start(setup, _stacked("nets", params)), rest,
        trains[0] if shared else _stacked("train", trains),
        vals[0] if shared else _stacked("val", vals),
        num_epochs=num_epochs, batch_size=batch_size,
        key=jnp.stack([jax.random.fold_in(key, i) for i in range(len(nets))]),
        val_every=val_every, progress=progress, checkpoints=checkpoints,
    )  # fmt: skip
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], (rest, trained)) for i in range(len(nets))]
    return [_result(setup, *one) for one in each]


def _result(setup: Setup, rest, trained: Trained) -> FitResult:
    """The result for one network."""
    state, rows, best_epoch, best_val_loss = trained
    net = network(setup, state.params, rest, state.step)
    columns = np.array(rows, np.float64).reshape(-1, len(Row._fields)).T
    history = dict(zip(Row._fields, columns, strict=True))
    return FitResult(net, history, int(best_epoch), float(best_val_loss))


def _setup(graph, optimizer, loss, val_loss, tau) -> Setup:
    for name, value in (("loss", loss), ("val_loss", val_loss or loss), ("tau", tau or loss)):
        _checks.function(name, value)
    if not isinstance(optimizer, optax.GradientTransformation):
        _checks.fail(TypeError, "optimizer", "an optax optimizer", type(optimizer).__name__)
    return Setup(graph, _finite_steps_only(optimizer), loss, val_loss or loss, tau)


def _check_schedule(tau, net) -> None:
    """Looks at the first temperature: the others are traced."""
    if tau is None:
        return
    _checks.function("tau", tau)
    if not hasattr(net, "tau"):
        _checks.fail(ValueError, "tau", "None, as net has no temperature", "a schedule")
    if getattr(net, "learn_tau", False):
        _checks.fail(ValueError, "tau", "None, as net learns its temperature", "a schedule")
    _checks.scalar_or_steps("tau(0)", tau(jnp.zeros((), jnp.int32)), jnp.size(net.tau))


@lru_cache
def _finite_steps_only(optimizer):
    # Cached, so that training again with the same optimizer does not compile again.
    return optax.apply_if_finite(optimizer, np.iinfo(np.int32).max)


def _counts(num_epochs, batch_size, val_every, num_train: int) -> tuple[int, int, int]:
    batch_size = _checks.static_int("batch_size", batch_size, minimum=1)
    return (
        _checks.static_int("num_epochs", num_epochs, minimum=0),
        min(batch_size, num_train),
        _checks.static_int("val_every", val_every, minimum=1),
    )


def _checkpoints(folder, every, batch_size: int, key, train, net, rest) -> Checkpoints | None:
    """Checkpoints that know this training by its data, networks, batches and key."""
    every = _checks.static_int("checkpoint_every", every, minimum=1)
    if folder is None:
        return None
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        _checks.fail(TypeError, "checkpoint_dir", "the path of a folder", repr(folder))
    data = {name: _digest(arrays) for name, arrays in (("data", train), ("networks", rest))}
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    numbers = np.asarray(jax.random.key_data(key) if typed else key).tolist()
    identity = {**data, "parameters": _parameters(net), "batch_size": batch_size, "key": numbers}
    return Checkpoints(os.fspath(folder), every, identity)


def _parameters(net) -> list[str]:
    """What the trained numbers are: equal bytes may mean weights or their logarithms."""
    paths = [path for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param))]
    kind = "logarithms of weights" if getattr(net, "positive", False) else "weights"
    return [kind, *sorted(".".join(map(str, path)) for path in paths)]


def _digest(arrays) -> int:
    """A number that differs where arrays do."""
    digest = 0
    for leaf in jax.tree.leaves(arrays):
        digest = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), digest)
    return digest


def _module(name: str, net) -> None:
    if not isinstance(net, nnx.Module):
        got = f"the class {net.__name__}" if isinstance(net, type) else type(net).__name__
        _checks.fail(TypeError, name, "a network, an nnx.Module", got)


def _data(name: str, data, net) -> tuple[Array, Array | None]:
    """Checks a pair ``(Y, X)`` and puts it on the device."""
    if not isinstance(data, tuple) or len(data) != 2:
        _checks.fail(TypeError, name, "a pair (Y, X) or (Y, None)", type(data).__name__)
    Y = _checks.inexact(f"{name} Y", data[0], ndim=2)
    if len(Y) == 0:
        _checks.fail(ValueError, f"{name} Y", "at least one signal", f"shape {Y.shape}")
    A = getattr(net, "A", None)  # A module that is none of ours may have none.
    if A is not None:
        _checks.inexact(f"{name} Y", Y, ndim=2, shape=(len(Y), A.shape[0]))
    if data[1] is None:
        return Y, None
    X = _checks.inexact(f"{name} X", data[1], ndim=2)
    n = X.shape[1] if A is None else A.shape[1]
    return Y, _checks.inexact(f"{name} X", X, ndim=2, shape=(len(Y), n))


def _data_of_each(name: str, data, nets) -> list[tuple[Array, Array | None]]:
    """Checks one pair for all networks, or a list of pairs, one for each."""
    if isinstance(data, tuple):
        return [_data(name, data, nets[0])]
    if not isinstance(data, Sequence) or len(data) != len(nets):
        got = f"{len(data)} of them" if isinstance(data, Sequence) else type(data).__name__
        expected = f"a pair (Y, X) or a list of {len(nets)} pairs"
        _checks.fail(TypeError, name, expected, got)
    pairs = zip(data, nets, strict=True)
    return [_data(f"{name}[{i}]", pair, net) for i, (pair, net) in enumerate(pairs)]


def _stacked(name: str, trees):
    """Trees of equal structure and shapes, with a leading axis."""

    def stack(*leaves):
        shapes = sorted({jnp.shape(leaf) for leaf in leaves})
        if len(shapes) > 1:
            _checks.fail(ValueError, name, "equal shapes", f"shapes {shapes[0]} and {shapes[1]}")
        return jnp.stack(leaves)

    if any(jax.tree.structure(tree) != jax.tree.structure(trees[0]) for tree in trees):
        _checks.fail(ValueError, name, "X for all or for none", "a mixture")
    return jax.tree.map(stack, *trees)
