"""The epochs in turn: recorded, saved, shown, and ended early by Ctrl-C.

Nothing here depends on whether the parts of an epoch are of one network or of several.
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
    "{who}: the gradient of the weights was below 1e-12, the mean of epoch {epoch}, so nothing is "
    "learned. A temperature far below the gaps of the scores does that: try a larger tau, such as "
    "relative_tau(A, y, 0.1), a schedule for it, or losses.selection; see docs/temperature.md"
)
_SKIPPED_MESSAGE = (
    "{who}: epoch {epoch} skipped {skipped} of its {steps} steps, whose gradients were not finite. "
    "{cause}; see docs/training.md, when steps are skipped"
)
_DERIVATIVE_OVERFLOWED = (
    "Their losses were, so derivatives grew beyond all numbers on the way back through the layers: "
    "try relaxation=Stepwise(SoftSort) of greedyjax.sorting, a larger tau, fewer layers, or "
    "losses.selection; the first and the last pass through one choice at a time"
)
_LOSS_OVERFLOWED = (
    "In {bad} of them the loss was not finite either: try a smaller step size of the network or "
    "learning rate, and Y and columns of A of norm near 1"
)


class Plan(NamedTuple):
    """How long training goes on, and who looks at it.

    Attributes:
        num_epochs: epochs after epoch 0, which only validates.
        val_every: validation takes place each so many epochs, and after the last.
        patience: epochs without a lower validation loss, of any network, that end it; or None.
        callback: called with each epoch and what is recorded of it; or None.
        progress: whether to show a bar.
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
    """All epochs, until they are done, lead nowhere or are interrupted.

    Args:
        parts: what an epoch consists of.
        now: where to start.
        rest: the arrays of the networks that are not trained.
        train: data ``(Y, X)``.
        val: data ``(Y, X)``.
        key: what the shuffles are drawn with.
        plan: how long, and who looks at it.
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
        pass  # The epoch under way is lost, the ones before it are not.
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
    """The epochs, shown as they are done."""
    settings: dict[str, Any] = {"unit": "epoch", "disable": None if plan.progress else True}
    return tqdm(epochs, "fit", total=plan.num_epochs + 1, initial=resumed, **settings)


def _next(parts: Parts, now: tuple[State, Best], rest, train, val, key, epoch, plan: Plan):
    """One epoch, what is recorded of it, and what was learned; epoch 0 trains nothing."""
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
    """How long each network has waited for a lower validation loss, by the history alone."""

    def __init__(self, plan: Plan, rows: Sequence[np.ndarray]) -> None:
        self._plan, self._epoch = plan, -1
        self._lowest, self._lowest_at = np.inf, 0
        for row in rows:
            self.see(row)

    def see(self, row: np.ndarray) -> None:
        """Takes the row of the next epoch, of which a NaN is never lower."""
        self._epoch += 1
        val_loss = row[COLUMNS.index("val_loss")]
        self._lowest_at = np.where(val_loss < self._lowest, self._epoch, self._lowest_at)
        self._lowest = np.fmin(val_loss, self._lowest)

    @property
    def enough(self) -> bool:
        """Whether an epoch that validated found that every network has lost its patience."""
        patience = self._plan.patience
        if patience is None or not self._plan.measures(self._epoch):
            return False
        return bool(np.all(self._epoch - self._lowest_at >= patience))


class _Warnings:
    """What the steps of an epoch tell of a training that goes wrong, each thing said once."""

    def __init__(self, who: Callable[[list[int]], str]) -> None:
        self._who, self._said = who, set()
        self._learned_at = np.inf  # The last temperature at which there was a gradient.

    def see(self, epoch: int, state: State, row: np.ndarray, learned: Learned) -> None:
        """Looks at an epoch; ``state`` is the one after it."""
        tau = np.nan_to_num(row[COLUMNS.index("tau")])
        self._learned_at = np.where(learned.slope >= _DEAD, tau, self._learned_at)
        # If there was a gradient at this temperature before, its vanishing means a minimum.
        dead = (learned.slope < _DEAD) & (tau != self._learned_at)
        self._say(_DEAD_MESSAGE, dead, epoch=epoch)
        skipped, bad = int(np.sum(learned.skipped_steps)), int(np.sum(learned.bad_losses))
        steps = int(np.sum(state.step)) // max(epoch, 1)  # Each epoch has as many.
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
    """Yields epochs until Ctrl-C, which ends the loop at the end of the epoch under way.

    Where several processes train together, all of them end when one of them is told to.

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
            if np.any(process_allgather(np.array(len(interrupts))) if shared else interrupts):
                return
    finally:
        if listens:
            signal.signal(signal.SIGINT, previous)
