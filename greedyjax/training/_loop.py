"""The epochs in turn: recorded, saved, shown, and ended early by Ctrl-C.

Nothing here depends on whether the parts of an epoch are of one network or of several.
"""

import signal
import sys
import threading
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from greedyjax.training._checkpoints import Checkpoints
from greedyjax.training._epochs import Best, Learned, Parts, State

# What is recorded of an epoch.
COLUMNS: tuple[str, ...] = (
    "train_loss",
    "gradient_norm",
    "skipped_steps",
    "val_loss",
    "tau",
    "seconds",
)

_DEAD = 1e-12  # A gradient norm of which nothing can be learned.
_DEAD_MESSAGE = (
    "{who}: the gradient of the weights was below 1e-12, the mean of epoch {epoch}, so nothing is "
    "learned. A temperature far below the gaps of the scores does that: try a larger tau, such as "
    "relative_tau(A, y, 0.1), a schedule for it, or losses.selection; see docs/temperature.md"
)


def run(
    parts: Parts,
    now: tuple[State, Best],
    rest: Any,
    train: Any,
    val: Any,
    key: Any,
    *,
    num_epochs: int,
    val_every: int,
    progress: bool,
    checkpoints: Checkpoints | None,
    who: Callable[[list[int]], str],
) -> tuple[Best, list[np.ndarray]]:
    """All epochs, until they are done or interrupted.

    Args:
        parts: what an epoch consists of.
        now: where to start.
        rest: the arrays of the networks that are not trained.
        train: data ``(Y, X)``.
        val: data ``(Y, X)``.
        key: what the shuffles are drawn with.
        num_epochs: epochs after epoch 0, which only validates.
        val_every: validation takes place each so many epochs, and after the last.
        progress: whether to show a bar.
        checkpoints: where to begin, if there are any, and where to write more.
        who: how a warning names the networks of these numbers.

    Returns:
        The best epoch by validation, and for each epoch done its `COLUMNS`, with an axis for the
        networks if there are several.
    """
    rows: list[np.ndarray] = []
    saved = checkpoints.restore(now) if checkpoints else None
    if saved:
        now, rows = jax.tree.map(jnp.asarray, saved.tree), list(saved.rows)
    resumed, warned = len(rows), False

    epochs = range(resumed, num_epochs + 1)
    settings: dict[str, Any] = {"unit": "epoch", "disable": None if progress else True}
    bar = tqdm(epochs, "fit", total=num_epochs + 1, initial=resumed, **settings)
    try:
        for epoch in _until_interrupted(bar):
            measures = epoch % val_every == 0 or epoch == num_epochs
            now, row, slope = _next(parts, now, rest, train, val, key, epoch, measures)
            rows.append(row)
            dead = np.flatnonzero(slope < _DEAD).tolist()
            if dead and not warned:
                warned = True
                text = _DEAD_MESSAGE.format(who=who(dead), epoch=epoch)
                warnings.warn(text, RuntimeWarning, stacklevel=3)
            if checkpoints and epoch % checkpoints.every == 0:
                checkpoints.save(now, rows)
            shown = {"train": row[COLUMNS.index("train_loss")], "val": now[1].val_loss}
            bar.set_postfix({name: f"{np.median(value):.3g}" for name, value in shown.items()})
    except KeyboardInterrupt:
        pass  # The epoch under way is lost, the ones before it are not.
    finally:
        bar.close()
    done = len(rows) - 1
    if checkpoints:
        if done >= resumed and done % checkpoints.every:
            checkpoints.save(now, rows)
        checkpoints.close()
    if done < num_epochs:
        tqdm.write(f"fit: interrupted after {max(done, 0)} of {num_epochs} epochs", file=sys.stderr)
    return now[1], rows


def _next(parts: Parts, now: tuple[State, Best], rest, train, val, key, epoch, measures):
    """One epoch, what is recorded of it, and the slope of the weights; epoch 0 trains nothing."""
    begin = perf_counter()
    state, best = now
    learned, val_loss = Learned(np.nan, np.nan, 0, np.nan), np.nan
    if epoch > 0:
        state, learned = parts.train(state, rest, train, key, epoch)
    if measures:
        best, val_loss = parts.validate(state, best, rest, val, epoch)
    *steps, slope = learned
    values = [np.asarray(each) for each in (*steps, val_loss, parts.temperature(state, rest))]
    row = np.broadcast_arrays(*values, perf_counter() - begin)
    return (state, best), np.stack(row, dtype=np.float64), np.asarray(slope)


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
