"""Dictionaries learned from signals: coding and improving in turn, a batch at a time."""

import math
import os
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Inexact
from tqdm import tqdm

from greedyjax import _checks
from greedyjax._numerics import power_of_two, promoted
from greedyjax._precision import as_given, computing_dtype
from greedyjax.training import _arguments
from greedyjax.training import _dictionary_steps as _steps
from greedyjax.training._checkpoints import Checkpoints, digest, numbers_of
from greedyjax.training._dictionary_coding import Batch
from greedyjax.training._dictionary_steps import MEAN_USES, Seen, State
from greedyjax.training._dictionary_updates import KSVD, MOD, DictionaryUpdate, OnlineGradient
from greedyjax.training._loop import Plan, until_interrupted

# The entries of the history for each epoch.
_COLUMNS: tuple[str, ...] = ("error", "replaced", "val_error", "seconds")


class LearnedDictionary(NamedTuple):
    """The result of `learn_dictionary`.

    Attributes:
        A: columns of norm 1, shape ``(m, num_atoms)``, or ``(d, m, num_atoms)``.
        history: arrays indexed by epoch; epoch 0 is the dictionary at the start. ``error`` is
            ``sum ||y - A x||^2 / sum ||y||^2`` over the batches of the epoch, where each batch is
            coded before its step. ``val_error`` is the same for the validation signals after the
            epoch. ``replaced`` is the number of replaced atoms. ``seconds`` is the time. Unknown
            entries are NaN. For ``d`` dictionaries all but ``seconds`` have a second axis.
    """

    A: Inexact[Array, "*d m n"]
    history: dict[str, np.ndarray]


def learn_dictionary(
    Y: Inexact[ArrayLike, "*d num m"],
    num_atoms: int,
    sparsity: int,
    *,
    key: Array,
    update: DictionaryUpdate = KSVD(),
    num_epochs: int = 10,
    batch_size: int | None = None,
    initial: Inexact[ArrayLike, "*d m n"] | None = None,
    val: Inexact[ArrayLike, "*d num_val m"] | None = None,
    callback: Callable[[int, dict[str, Any]], Any] | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> LearnedDictionary:
    """Learns a dictionary in which the signals are sparse: ``y ~ A x`` with few nonzeros.

    Each epoch shuffles the signals and cuts them into batches. Signals that do not fill a last
    batch are left out of this epoch. A batch is coded by hard OMP with the present dictionary. Then
    ``update`` improves the dictionary for these codes, and its columns are scaled to norm 1. The
    codes are sparse: memory grows with the batch, and no array of shape ``(num, num_atoms)`` is
    formed.

    Signals may have missing entries. Pass a masked array of NumPy, whose ``mask`` is True where an
    entry is missing. Such a signal is coded by the rows of ``A`` for which it has entries. Errors
    are taken over the entries that are present. Each update documents how it treats missing
    entries.

    Atoms are checked whenever they have been used 100 times on average. An atom is replaced if it
    was used less than a hundredth of the average. Of two atoms whose inner product is 0.99 or more,
    the later atom is replaced. The signals of the batch with the largest errors take the places of
    replaced atoms.

    Ctrl-C ends learning after the current epoch and returns the present dictionary. A second Ctrl-C
    is raised at once. To continue later, pass the same ``checkpoint_dir``; or pass the learned
    dictionary as ``initial``, with another key.

    Args:
        Y: signals, one per row, shape ``(num, m)``, in memory or from
            ``np.load(..., mmap_mode="r")``. From a file only the rows of a batch are read at a
            time. Shape ``(d, num, m)`` means ``d`` sets of signals, and one dictionary is learned
            for each set, with the same rows in each batch. A `numpy.ma.MaskedArray`, in memory or
            from files, has missing entries.
        num_atoms: number of columns of the dictionary, static.
        sparsity: atoms per signal, static, between 1 and ``min(m, num_atoms)``.
        key: PRNG key of the start and of the shuffles. The same key gives the same dictionary on
            the same machine.
        update: `KSVD`, `MOD`, `OnlineGradient`, or any `DictionaryUpdate`.
        num_epochs: number of epochs, at least 0.
        batch_size: number of signals in a step, static. None takes enough signals that each atom is
            used 100 times on average, or all signals if there are fewer.
        initial: dictionary to start from, with columns of any norm. None starts from signals drawn
            at random.
        val: other signals, which are used only for ``val_error``.
        callback: called as ``callback(epoch, metrics)`` after each epoch, also after epoch 0, with
            the entries of ``history`` for this epoch. Resumed learning calls it only for new
            epochs.
        checkpoint_dir: a folder for a checkpoint after each epoch, and for nothing else. If it has
            a checkpoint of this learning, learning continues from there. On the same machine, the
            result is bit for bit the same as without a stop. With more ``num_epochs`` than before,
            learning goes on. Data in memory are recognised by all of their numbers, and data in a
            file by the first batch.
        progress: whether to show a progress bar with the errors, if there is a terminal.

    Returns:
        A `LearnedDictionary`, in the dtype of ``Y``, or the promoted dtype of ``Y`` and
        ``initial``.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity; or
            ``checkpoint_dir`` has other files, other learning, or only damaged checkpoints. In a
            memory-mapped file, NaN is found only once a batch has it.
        OSError: ``checkpoint_dir`` cannot be written to. If writing fails later, learning warns and
            continues.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from greedyjax import training
        >>> X = jnp.eye(3)[jax.random.randint(jax.random.key(0), (300,), 0, 3)]
        >>> found = training.learn_dictionary(X, 3, 1, key=jax.random.key(1), progress=False)
        >>> jnp.abs(found.A).sum(axis=1).tolist(), found.history["error"].shape
        ([1.0, 1.0, 1.0], (11,))

    References:
        Each update has its own references. Replacing atoms: Aharon, Elad and Bruckstein, "K-SVD: An
        algorithm for designing overcomplete dictionaries for sparse representation", IEEE
        Transactions on Signal Processing 54 (2006).
    """
    key = _checks.prng_key("key", key)
    signals = _signals("Y", Y)
    num, m = signals.shape[-2:]
    num_atoms = _checks.static_int("num_atoms", num_atoms, minimum=1)
    why = f", the smaller of {m} entries of a signal and {num_atoms} atoms"
    sparsity = _checks.static_int(
        "sparsity", sparsity, minimum=1, maximum=min(m, num_atoms), why=why
    )
    _check_update(update)
    if batch_size is None:
        batch_size = min(num, math.ceil(MEAN_USES * num_atoms / sparsity))
    batch_size = _arguments.batch_that_is_there(batch_size, num)
    plan = _arguments.plan(num_epochs, 1, None, callback, progress)
    draws, shuffles = jax.random.split(key)
    begin = _initial(initial, signals, num_atoms, draws)
    dtype = begin.dtype
    held_out = None
    if val is not None:
        held_out = _batch(_signals("val", val, like=signals), slice(None), dtype, name="val")
    unit = power_of_two(_batch(signals, slice(batch_size), dtype).Y, axis=(-2, -1))
    unknown = np.full(signals.shape[:-2], np.nan)

    def one(state: State, epoch: int) -> tuple[State, np.ndarray]:
        began, seen = perf_counter(), []
        for places in _batches(shuffles, epoch, num, batch_size):
            batch = _batch(signals, places, dtype)
            state, met = _steps.step(update, state, batch, unit, sparsity=sparsity)
            seen.append(met)
        measured = unknown
        if held_out is not None:
            measured = np.asarray(_steps.error(state.A, held_out, sparsity=sparsity))
        summed = _summed(seen) if seen else (unknown, unknown)
        row = *summed, measured, perf_counter() - began
        return state, np.stack(np.broadcast_arrays(*row), dtype=np.float64)

    checkpoints = None
    if checkpoint_dir is not None:
        identity = {
            "data": _digest(signals, batch_size),
            "shape": list(signals.shape),
            "start": digest(begin),
            "sparsity": sparsity,
            "update": [type(update).__name__, digest(update)],
            "batch_size": batch_size,
            "key": numbers_of(key),
        }
        checkpoints = Checkpoints(checkpoint_dir, 1, identity, who="learn_dictionary")
    state, rows = _run(one, _steps.start(update, begin), plan, checkpoints)
    given = (Y,) if initial is None else (Y, initial)
    history = _named(np.stack(rows, axis=1), several=signals.ndim == 3)
    return LearnedDictionary(as_given(state.A, *given), history)


def _run(
    one: Callable[[State, int], tuple[State, np.ndarray]],
    state: State,
    plan: Plan,
    checkpoints: Checkpoints | None,
) -> tuple[State, list[np.ndarray]]:
    """Runs all epochs, or the epochs until Ctrl-C, and records `_COLUMNS` for each epoch."""
    rows: list[np.ndarray] = []
    saved = checkpoints.restore(state) if checkpoints else None
    if saved:
        state, rows = jax.tree.map(jnp.asarray, saved.tree), list(saved.rows)
    bar = tqdm(
        range(len(rows), plan.num_epochs + 1),
        "learn_dictionary",
        total=plan.num_epochs + 1,
        initial=len(rows),
        unit="epoch",
        disable=None if plan.progress else True,
    )
    with bar:
        for epoch in until_interrupted(bar):
            state, row = one(state, epoch)
            rows.append(row)
            if checkpoints:
                checkpoints.save(state, rows)
            if plan.callback:
                plan.callback(epoch, _named(row, several=row.ndim == 2))
            bar.set_postfix(error=f"{np.median(row[0]):.3g}")
    if checkpoints:
        checkpoints.close()
    return state, rows


def _named(values: np.ndarray, *, several: bool) -> dict[str, Any]:
    """The values of one or of all epochs by name. Several dictionaries share their seconds."""
    named = dict(zip(_COLUMNS, values, strict=True))
    if several:
        named["seconds"] = named["seconds"][..., 0]
    return named


def _check_update(update: Any) -> None:
    what = "DictionaryUpdate, such as greedyjax.training.KSVD()"
    _checks.instance("update", update, DictionaryUpdate, what)  # type: ignore[arg-type]
    if isinstance(update, OnlineGradient):
        _arguments.transformation(update.optimizer)
    if isinstance(update, MOD):
        decay = _checks.scalar("decay", update.decay, positive=False)
        if decay > 1:
            _checks.fail(ValueError, "decay", "a number between 0 and 1", str(decay))


def _signals(name: str, value: Any, like: Any = None) -> Any:
    """Signals in memory or in a file, checked as far as possible without reading the file."""
    if not isinstance(value, np.ndarray):
        value = _checks.as_array(name, value)
    if _checks.is_traced(value):
        expected = "an array of known values, as learning is a loop outside of jax.jit and vmap"
        _checks.fail(TypeError, name, expected, "a traced value")
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        _checks.fail(TypeError, name, "floating-point or complex numbers", f"dtype {value.dtype}")
    if value.ndim not in (2, 3) or 0 in value.shape:
        expected = "shape (num, m), or (d, num, m) for several dictionaries"
        _checks.fail(ValueError, name, expected, f"shape {value.shape}")
    if like is not None:
        *d, _, m = like.shape
        if value.shape != (*d, value.shape[-2], m):
            expected = f"shape ({', '.join(map(str, [*d, 'num', m]))}), as Y has"
            _checks.fail(ValueError, name, expected, f"shape {value.shape}")
    if isinstance(value, jax.Array):
        _checks.numbers(name, value, ndim=value.ndim)
    elif not _is_file(value):
        rows, observed = _filled(value)
        _check_finite(name, rows)
        if observed is not None and not observed.any():
            _checks.fail(ValueError, name, "entries that are not masked", "a mask that is all True")
    return value


def _check_finite(name: str, rows: np.ndarray) -> None:
    if not np.isfinite(rows).all():
        _checks.fail(ValueError, name, "finite numbers", "NaN or infinity")


def _is_file(Y: Any) -> bool:
    return isinstance(Y.data if isinstance(Y, np.ma.MaskedArray) else Y, np.memmap)


def _filled(rows: Any) -> tuple[Any, np.ndarray | None]:
    """Signals with 0 for missing entries, and a mask of the entries present, or None for all."""
    if not isinstance(rows, np.ma.MaskedArray):
        return rows, None
    return rows.filled(0), ~np.ma.getmaskarray(rows)


def _batch(Y: Any, places: Any, dtype: Any, name: str = "Y") -> Batch:
    """The signals at ``places``, on the device."""
    rows, observed = _filled(Y[..., places, :])
    if _is_file(Y):
        _check_finite(name, rows)
    return Batch(jnp.asarray(rows, dtype), None if observed is None else jnp.asarray(observed))


def _digest(Y: Any, batch_size: int) -> int:
    """A checksum by which signals are recognised. Of a file it reads only the first batch."""
    return digest(_filled(Y[..., :batch_size, :] if _is_file(Y) else Y))


def _batches(key: Array, epoch: int, num: int, batch_size: int) -> np.ndarray:
    """The indices of the signals of each batch. Epoch 0 has no batches."""
    if epoch == 0:
        return np.zeros((0, batch_size), np.int32)
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), num))
    whole = num - num % batch_size
    return np.sort(order[:whole].reshape(-1, batch_size), axis=1)  # A file is read forwards.


def _initial(initial: Any, Y: Any, num_atoms: int, key: Array) -> Inexact[Array, "*d m n"]:
    """Columns to start from, in the dtype of the computation."""
    *d, num, m = Y.shape
    if initial is not None:
        A = _checks.numbers("initial", initial, ndim=Y.ndim, shape=(*d, m, num_atoms))
        if not jnp.all(jnp.any(A != 0, axis=-2)):
            _checks.fail(ValueError, "initial", "columns that are not 0", "a column of zeros")
        return A.astype(computing_dtype(promoted(A.dtype, Y.dtype)))
    if num < num_atoms:
        expected = f"at least num_atoms={num_atoms} signals to start from, or initial="
        _checks.fail(ValueError, "Y", expected, str(num))
    drawn, others = jax.random.split(key)
    places = np.asarray(jax.random.choice(drawn, num, (num_atoms,), replace=False))
    signals = _batch(Y, places, computing_dtype(promoted(Y.dtype))).Y
    # A signal that is 0 cannot be an atom.
    normal = jax.random.normal(others, signals.shape, signals.dtype)
    signals = jnp.where(jnp.any(signals != 0, axis=-1, keepdims=True), signals, normal)
    return signals.mT


def _summed(seen: list[Seen]) -> tuple[np.ndarray, np.ndarray]:
    """The relative error of the batches of an epoch, and the number of replaced atoms."""
    error, energy, replaced = (np.sum(np.asarray(each), axis=0) for each in zip(*seen, strict=True))
    return np.divide(error, energy, out=np.zeros_like(error), where=energy > 0), np.asarray(
        replaced
    )
