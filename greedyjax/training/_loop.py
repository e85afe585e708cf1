"""The loop over epochs: it records, saves and shows them, and ends early at Ctrl-C.

Nothing here depends on whether an epoch trains one network or several.
"""

import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from tqdm import tqdm

from greedyjax._meshes import are_shared
from greedyjax.training._checkpoints import Checkpoints
from greedyjax.training._epochs import Best, Learned, Parts, State

# The entries of the history for each epoch.
COLUMNS: tuple[str, ...] = (
    "train_loss",
    "gradient_norm",
    "skipped_steps",
    "val_loss",
    "tau",
    "seconds",
)

_DEAD = 1e-12  # A gradient with a smaller norm changes nothing.
_DEAD_MESSAGE = (
    "{who}: the gradient of the weights was below 1e-12 on average in epoch {epoch}, so nothing is "
    "learned. A temperature far below the gaps between scores has this effect: try a larger tau, "
    "such as relative_tau(A, y, 0.1), a schedule for tau, or losses.selection; see "
    "docs/temperature.md"
)
_SKIPPED_MESSAGE = (
    "{who}: epoch {epoch} skipped {skipped} of its {steps} steps, whose gradients were not finite. "
    "{cause}; see docs/training.md, when steps are skipped"
)
_DERIVATIVE_OVERFLOWED = (
    "Their losses were finite, so derivatives overflowed on the way back through the layers: "
    "try relaxation=Stepwise(SoftSort) of greedyjax.sorting, a larger tau, fewer layers, or "
    "losses.selection; Stepwise and losses.selection differentiate one choice at a time"
)
_LOSS_OVERFLOWED = (
    "In {bad} of them the loss was not finite either: try a smaller step size of the network, a "
    "smaller learning rate, and Y and columns of A with norms near 1"
)


class Plan(NamedTuple):
    """How long training goes on, and how its progress is reported.

    Attributes:
        num_epochs: number of epochs after epoch 0, which only validates.
        val_every: number of epochs from one validation to the next. The last epoch always
            validates.
        patience: training ends after this number of epochs without a lower validation loss of any
            network; or None.
        callback: called with the number of each epoch and its entries of the history; or None.
        progress: whether to show a progress bar.
    """

    num_epochs: int
    val_every: int
    patience: int | None
    callback: Callable[[int, dict[str, Any]], Any] | None
    progress: bool

    def measures(self, epoch: int) -> bool:
        """Whether this epoch validates."""
        return epoch % self.val_every == 0 or epoch == self.num_epochs


def run(
    parts: Parts,
    now: tuple[State, Best],
    rest: Any,
    train: Any,
    val: Any,
    key: Any,
    plan: Plan,
    *,
    checkpoints: Checkpoints | None,
    who: Callable[[list[int]], str],
) -> tuple[Best, list[np.ndarray]]:
    """Runs epochs until all are done, patience is lost, or training is interrupted.

    Args:
        parts: the compiled parts of an epoch.
        now: the state and the best epoch to start from.
        rest: the arrays of the networks that are not trained.
        train: data ``(Y, X)`` for training.
        val: data ``(Y, X)`` for validation.
        key: random key of the shuffles.
        plan: how long to train, and how to report progress.
        checkpoints: checkpoints to resume from and to write, or None.
        who: function that returns the name of the networks with given numbers, for warnings.

    Returns:
        The best epoch by validation, and for each finished epoch its `COLUMNS`, with an axis for
        the networks if there are several.
    """
    rows: list[np.ndarray] = []
    saved = checkpoints.restore(now) if checkpoints else None
    if saved:
        now, rows = jax.tree.map(jnp.asarray, saved.tree), list(saved.rows)
    resumed, waited, warnings_ = len(rows), _Waited(plan, rows), _Warnings(who)

    epochs = takewhile(lambda epoch: not waited.enough, range(resumed, plan.num_epochs + 1))
    bar = _bar(epochs, plan, resumed)
    try:
        for epoch in until_interrupted(bar, are_shared(train)):
            now, row, learned = _next(parts, now, rest, train, val, key, epoch, plan)
            rows.append(row)
            waited.see(row)
            warnings_.see(epoch, now[0], row, learned)
            if checkpoints and epoch % checkpoints.every == 0:
                checkpoints.save(now, rows)
            if plan.callback:
                plan.callback(epoch, dict(zip(COLUMNS, row, strict=True)))
            shown = {"train": row[COLUMNS.index("train_loss")], "val": now[1].val_loss}
            bar.set_postfix({name: f"{np.median(value):.3g}" for name, value in shown.items()})
    except KeyboardInterrupt:
        pass  # Only the unfinished epoch is lost.
    finally:
        bar.close()
    done = len(rows) - 1
    if checkpoints:
        if done >= resumed and done % checkpoints.every:
            checkpoints.save(now, rows)
        checkpoints.close()
    if done < plan.num_epochs and not (waited.enough and bar.disable):
        why = "no better validation loss" if waited.enough else "interrupted"
        text = f"fit: {why} after {max(done, 0)} of {plan.num_epochs} epochs"
        tqdm.write(text, file=sys.stderr)
    return now[1], rows


def _bar(epochs: Iterable[int], plan: Plan, resumed: int) -> Any:
    """The epochs, with a progress bar."""
    settings: dict[str, Any] = {"unit": "epoch", "disable": None if plan.progress else True}
    return tqdm(epochs, "fit", total=plan.num_epochs + 1, initial=resumed, **settings)


def _next(parts: Parts, now: tuple[State, Best], rest, train, val, key, epoch, plan: Plan):
    """Runs one epoch: the next state, its row of the history, and the record of its steps."""
    begin = perf_counter()
    state, best = now
    learned, val_loss = Learned(np.nan, np.nan, 0, np.nan, 0), np.nan
    if epoch > 0:
        state, learned = parts.train(state, rest, train, key, epoch)
    if plan.measures(epoch):
        best, val_loss = parts.validate(state, best, rest, val, epoch)
    recorded = learned.train_loss, learned.gradient_norm, learned.skipped_steps, val_loss
    values = [np.asarray(each) for each in (*recorded, parts.temperature(state, rest))]
    row = np.broadcast_arrays(*values, perf_counter() - begin)
    return (state, best), np.stack(row, dtype=np.float64), jax.tree.map(np.asarray, learned)


class _Waited:
    """How long each network has waited for a lower validation loss, according to the history."""

    def __init__(self, plan: Plan, rows: Sequence[np.ndarray]) -> None:
        self._plan, self._epoch = plan, -1
        self._lowest, self._lowest_at = np.inf, 0
        for row in rows:
            self.see(row)

    def see(self, row: np.ndarray) -> None:
        """Takes the row of the next epoch. A NaN never counts as a lower loss."""
        self._epoch += 1
        val_loss = row[COLUMNS.index("val_loss")]
        self._lowest_at = np.where(val_loss < self._lowest, self._epoch, self._lowest_at)
        self._lowest = np.fmin(val_loss, self._lowest)

    @property
    def enough(self) -> bool:
        """Whether the last epoch validated, and every network has run out of patience."""
        patience = self._plan.patience
        if patience is None or not self._plan.measures(self._epoch):
            return False
        return bool(np.all(self._epoch - self._lowest_at >= patience))


class _Warnings:
    """Warns about a training that goes wrong, from the steps of its epochs, once per cause."""

    def __init__(self, who: Callable[[list[int]], str]) -> None:
        self._who, self._said = who, set()
        self._learned_at = np.inf  # The last temperature at which there was a gradient.

    def see(self, epoch: int, state: State, row: np.ndarray, learned: Learned) -> None:
        """Checks an epoch. ``state`` is the state after it."""
        tau = np.nan_to_num(row[COLUMNS.index("tau")])
        self._learned_at = np.where(learned.slope >= _DEAD, tau, self._learned_at)
        # If there was a gradient at this temperature before, a gradient of 0 means a minimum.
        dead = (learned.slope < _DEAD) & (tau != self._learned_at)
        self._say(_DEAD_MESSAGE, dead, epoch=epoch)
        skipped, bad = int(np.sum(learned.skipped_steps)), int(np.sum(learned.bad_losses))
        steps = int(np.sum(state.step)) // max(epoch, 1)  # Each epoch has the same number of steps.
        cause = _LOSS_OVERFLOWED.format(bad=bad) if bad else _DERIVATIVE_OVERFLOWED
        counts = {"skipped": skipped, "steps": steps, "cause": cause}
        self._say(_SKIPPED_MESSAGE, learned.skipped_steps > 0, epoch=epoch, **counts)

    def _say(self, message: str, concerns: np.ndarray | np.bool_, **details: Any) -> None:
        networks = np.flatnonzero(concerns).tolist()
        if networks and message not in self._said:
            self._said.add(message)
            text = message.format(who=self._who(networks), **details)
            warnings.warn(text, RuntimeWarning, stacklevel=5)


def until_interrupted(epochs, shared: bool = False):
    """Yields epochs until Ctrl-C, which ends the loop at the end of the current epoch.

    If several processes train together, Ctrl-C in one of them ends all of them.

    The first Ctrl-C raises no exception, because an exception from a signal can arise inside JAX,
    which wraps it into other errors. A second Ctrl-C does raise an exception.
    """
    interrupts = []

    def note(number, frame):
        interrupts.append(number)
        if len(interrupts) > 1:
            signal.default_int_handler(number, frame)

    # Only the main thread receives signals. A handler that Python did not set cannot be restored.
    previous = signal.getsignal(signal.SIGINT)
    listens = threading.current_thread() is threading.main_thread() and previous is not None
    if listens:
        signal.signal(signal.SIGINT, note)
    try:
        for epoch in epochs:
            yield epoch
            if np.any(process_allgather(np.array(len(interrupts))) if shared else interrupts):
                return
    finally:
        if listens:
            signal.signal(signal.SIGINT, previous)
