"""Recovery of a data set on disk, shard by shard, by any number of processes, and resumable."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from greedyjax import _checks
from greedyjax.streaming import _sources
from greedyjax.streaming._batches import answers_of, in_order, threads
from greedyjax.streaming._store import FORMAT, Shards, Store, missing, names_of

_PROBED = 16  # A solver is recognised by its answers to this number of random signals.
_WAY_OUT = "; repeat the call that began this store, or choose another folder"


def recover_shards(
    solve: Callable[[Any], Any],
    source: Any,
    out: str | os.PathLike,
    *,
    num: int | None = None,
    shard_size: int = 65_536,
    batch_size: int = 4096,
    num_threads: int | None = None,
    rank: int | None = None,
    num_processes: int | None = None,
    progress: bool = False,
) -> Shards:
    """Applies a solver to a data set larger than memory, and stores its answers on disk.

    The signals are cut into shards. A shard is read, solved batch by batch as in `recover`, and
    stored; then it is marked as finished. Reading, solving and storing happen at the same time.
    Only a few shards are in memory at a time.

    If a run was interrupted, for any reason, make the same call again. It keeps the shards that
    are marked, and solves all others. No answer is lost or stored twice. If all machines are of the
    same kind, the store is bit for bit the same as after an uninterrupted run. Process ``rank`` of
    ``num_processes`` solves the shards ``rank, rank + num_processes, ...``. The processes do not
    communicate, and their number may change from one run to the next.

    Args:
        solve: jitted function of measurements ``(batch, m)``, as for `recover`. Best is a function
            with sparse answers, such as ``jax.jit(partial(gj.encode, OMP(8), A))``.
        source: the measurements, in one of three forms. The first is the path of a ``.npy`` file,
            of a zarr array, or of a folder of ``.npy`` files, which are read in the order of their
            names. The second is an array of shape ``(num, m)`` or ``(num, m, L)`` that reads rows
            when it is sliced. The third is a function that returns the rows of the shard whose
            index it is given, and the same rows at each call.
        out: folder of the answers, which all processes share. It is a zarr group with one array for
            each leaf of what ``solve`` returns. A single array is called ``answers``.
        num: the number of signals if ``source`` is a function, and None otherwise.
        shard_size: number of signals in a shard; the last shard may have fewer.
        batch_size: largest number of signals in a batch. One thread computes one batch at a time.
        num_threads: number of batches at a time, as for `recover`.
        rank: number of this process, from 0. None asks `jax.distributed`.
        num_processes: number of processes. None asks `jax.distributed`, and is 1 without it.
        progress: whether to show a progress bar, if there is a terminal.

    Returns:
        `Shards`: what is stored once this process has finished its shards. It lists the bad
        signals, which hold NaN or infinity. The other signals of their shards are recovered.

    Raises:
        ImportError: tensorstore is not installed.
        OSError: a file does not exist, or cannot be read or written.
        TypeError: an argument has a wrong type, or rows do not hold floating-point or complex
            numbers.
        ValueError: an argument has a wrong shape or is out of range; or ``out`` holds other files,
            answers to other measurements, or answers of another solver.

    Example:
        >>> import jax, numpy as np, tempfile
        >>> from functools import partial
        >>> import greedyjax as gj
        >>> from greedyjax import streaming
        >>> from greedyjax.pursuit import OMP
        >>> A = np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32)
        >>> def source(index):
        ...     return np.random.default_rng(index).standard_normal((100, 20)).astype(np.float32)
        >>> solve = jax.jit(partial(gj.encode, OMP(3), A))
        >>> found = streaming.recover_shards(
        ...     solve, source, tempfile.mkdtemp(), num=1000, shard_size=100
        ... )
        >>> found.arrays["support"].shape, bool(found.finished.all()), found.bad.tolist()
        ((1000, 3), True, [])
    """
    _checks.function("solve", solve)
    signals = _sources.opened(source, num)
    shard_size = min(_checks.static_int("shard_size", shard_size, minimum=1), signals.num)
    size = min(_checks.static_int("batch_size", batch_size, minimum=1), shard_size)
    num_threads = threads(num_threads)
    rank, num_processes = _processes(rank, num_processes)
    store = Store(out)
    cut = {"num": signals.num, "shard_size": shard_size, "batch_size": size, "files": signals.names}
    _check_same(cut, store.plan)

    finished = store.finished()
    mine = range(rank, -(-signals.num // shard_size), num_processes)
    pending, first = [shard for shard in mine if shard not in finished], None
    if pending or not store.plan:
        first = _read(signals, shard_size, pending[0] if pending else 0)
        facts = cut | _facts(solve, size, first[0])
        _check_same(facts, store.begin(facts))
    if pending:
        _work(solve, signals, store, pending, first, num_threads, progress)
    return store.summary()


def _work(solve, signals, store: Store, pending: list[int], first, num_threads: int, progress):
    """Recovers and stores shards. The rows of the first shard have been read already."""
    assert store.plan is not None
    shard_size, size, arrays = store.plan["shard_size"], store.plan["batch_size"], store.arrays()
    read = partial(_read, signals, shard_size, shape=first[0].shape[1:])
    lengths = [min(shard_size, signals.num - shard * shard_size) for shard in pending]
    disable = None if progress else True
    bar = tqdm(None, "recover", sum(lengths), unit="signal", unit_scale=True, disable=disable)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer, bar:
        jobs = (
            partial(_batch, solve, size, rows[start : start + size], bad[start : start + size])
            for rows, bad in _ahead(read, pending, first, reader)
            for start in range(0, len(rows), size)
        )
        writing = None
        with closing(in_order(jobs, num_threads)) as found:
            for shard, length in zip(pending, lengths, strict=True):
                batches = [next(found) for _ in range(0, length, size)]
                if writing is not None:
                    writing.result()  # At most one shard waits to be stored.
                writing = writer.submit(_store, store, arrays, shard, batches)
                bar.update(length)
        if writing is not None:
            writing.result()


def _read(signals: _sources.Signals, shard_size: int, shard: int, shape=None):
    start = shard * shard_size
    stop = min(start + shard_size, signals.num)
    return signals.shard(shard, start, stop, signals.shape if shape is None else shape)


def _ahead(read: Callable, pending: list[int], part: Any, reader: Any) -> Iterator[Any]:
    """Yields the shards in turn, and reads the next shard while the present one is solved."""
    for shard in pending[1:]:
        upcoming = reader.submit(read, shard)
        yield part
        part = upcoming.result()
    yield part


def _batch(solve, size: int, rows: np.ndarray, bad: np.ndarray):
    """The answers to a batch by name, and which of its signals are bad."""
    answers = names_of(answers_of(solve, size, rows))
    if bad.any():
        answers = {
            name: np.where(bad.reshape(-1, *[1] * (leaf.ndim - 1)), missing(leaf.dtype), leaf)
            for name, leaf in answers.items()
        }
    return answers, bad


def _store(store: Store, arrays: dict[str, Any], shard: int, batches: list) -> None:
    found, bad = zip(*batches, strict=True)
    rows = {name: np.concatenate([answers[name] for answers in found]) for name in arrays}
    store.write(arrays, shard, rows)
    store.mark(shard, np.concatenate(bad))  # Last, so that a marked shard has all its data.


def _facts(solve: Callable[[Any], Any], size: int, rows: np.ndarray) -> dict[str, Any]:
    """The facts that identify a run, apart from how its signals are cut into shards.

    A solver is identified by the shapes and dtypes of its answers, and by its answers to a few
    random signals.
    """
    rng, shape = np.random.default_rng(0), (size, *rows.shape[1:])
    probe = rng.standard_normal(shape)
    if np.iscomplexobj(rows):
        probe = probe + 1j * rng.standard_normal(shape)
    answers = names_of(jax.tree.map(np.asarray, solve(probe.astype(rows.dtype))))
    if not answers:
        _checks.fail(TypeError, "solve", "a function that returns arrays", "one without any")
    for name, leaf in answers.items():
        if "/" in name or leaf.shape[:1] != (size,):
            got = f"{name!r} of shape {leaf.shape}"
            expected = f"named arrays with a leading axis of {size}, as its batch has"
            _checks.fail(ValueError, "solve", expected, got)
    sizes = {name: np.abs(leaf[:_PROBED].astype(np.complex128)) for name, leaf in answers.items()}
    return {
        "format": FORMAT,
        "signal": [str(rows.dtype), list(shape[1:])],
        "arrays": {name: [str(z.dtype), list(z.shape[1:])] for name, z in answers.items()},
        "probe": {name: z.reshape(len(z), -1).sum(axis=1).tolist() for name, z in sizes.items()},
    }


def _check_same(facts: dict[str, Any], plan: dict[str, Any] | None) -> None:
    """Raises a ValueError if a store belongs to another run."""
    if plan is None:
        return
    for name, fact in facts.items():
        if name != "probe" and fact != plan[name]:
            _checks.fail(ValueError, "out", f"a store of {name} {fact}", f"{plan[name]}{_WAY_OUT}")
    if "probe" in facts:
        mine, theirs = (
            np.array([of["probe"][name] for name in facts["arrays"]]) for of in (facts, plan)
        )
        # Where scores nearly tie, another machine may choose other atoms. This happens for few
        # signals only.
        agree = np.isclose(mine, theirs, rtol=1e-3, atol=0, equal_nan=True).all(axis=0)
        if agree.mean() < 0.5:
            _checks.fail(ValueError, "out", "answers of this solver", f"others{_WAY_OUT}")


def _processes(rank: int | None, num_processes: int | None) -> tuple[int, int]:
    if (rank is None) != (num_processes is None):
        given = f"rank={rank} and num_processes={num_processes}"
        _checks.fail(ValueError, "rank", "both rank and num_processes, or neither", given)
    if rank is None or num_processes is None:
        return jax.process_index(), jax.process_count()
    num_processes = _checks.static_int("num_processes", num_processes, minimum=1)
    return _checks.static_int("rank", rank, minimum=0, maximum=num_processes - 1), num_processes
