"""Recovery of more signals than memory holds, a batch at a time, on all processors."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from greedyjax import _checks


def recover(
    solve: Callable[[Any], Any],
    Y: Any,
    *others: Any,
    batch_size: int = 4096,
    num_threads: int | None = None,
    progress: bool = False,
) -> Any:
    """Applies a solver to any number of signals and collects its answers in host memory.

    Args:
        solve: jitted function of measurements ``(batch, m)``. It returns a `Recovery`, an array or
            any tree of arrays, each with a leading axis of length ``batch``.
        Y: measurements, shape ``(num, m)``, or ``(num, m, L)`` for frames of snapshots; a NumPy
            array, which may be memory-mapped.
        others: more arrays with one row, or one number, per signal, such as tolerances. ``solve``
            gets their rows of the batch as further arguments.
        batch_size: largest number of signals in a batch. One thread computes one batch at a time.
        num_threads: number of batches at a time. None means one per processor on a CPU, because
            one batch does not keep all processors busy. On other devices it means 2, so that one
            batch is computed while another is transferred.
        progress: whether to show a progress bar, if there is a terminal.

    Returns:
        What ``solve`` returns, as NumPy arrays with a leading axis of length ``num``.

    Raises:
        TypeError: ``Y`` is not an array of floating-point or complex numbers, or ``solve`` is not a
            function.
        ValueError: ``Y`` does not have two or three axes, or holds NaN or infinity.

    Example:
        >>> import jax, numpy as np, functools
        >>> import greedyjax as gj
        >>> from greedyjax import streaming
        >>> A = np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32)
        >>> Y = np.stack([A[:, 3], A[:, 4] - A[:, 9]] * 500)
        >>> solver = jax.jit(gj.omp_batch, static_argnames="sparsity")
        >>> found = streaming.recover(functools.partial(solver, gj.dictionary(A), sparsity=2), Y)
        >>> found.x.shape, sorted(found.support[1].tolist())
        ((1000, 50), [4, 9])
    """
    settings = {"batch_size": batch_size, "num_threads": num_threads, "progress": progress}
    answers = None
    for start, batch in batches(solve, Y, *others, **settings):
        if answers is None:
            answers = jax.tree.map(
                lambda leaf: np.empty((len(Y), *leaf.shape[1:]), leaf.dtype), batch
            )
        for whole, part in zip(jax.tree.leaves(answers), jax.tree.leaves(batch), strict=True):
            whole[start : start + len(part)] = part
    return answers


def batches(
    solve: Callable[[Any], Any],
    Y: Any,
    *others: Any,
    batch_size: int = 4096,
    num_threads: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[int, Any]]:
    """Yields the answers of `recover` batch by batch, for answers that do not fit into memory.

    Batches come in order. No more than ``2 num_threads`` of them are in memory at a time.

    Args:
        solve: as for `recover`, as are all the arguments below.
        Y: measurements.
        others: more arrays with one row, or one number, per signal.
        batch_size: largest number of signals in a batch.
        num_threads: number of batches at a time.
        progress: whether to show a progress bar, if there is a terminal.

    Yields:
        The index of the batch's first signal, and what ``solve`` returns for the batch, as NumPy
        arrays.

    Raises:
        TypeError: ``Y`` is not an array of floating-point or complex numbers, or ``solve`` is not a
            function.
        ValueError: ``Y`` does not have two or three axes, or holds NaN or infinity.

    Example:
        >>> import jax, numpy as np
        >>> from greedyjax import streaming
        >>> double = jax.jit(lambda Y: 2 * Y)
        >>> Y = np.arange(6.0).reshape(3, 2)
        >>> [(start, X.tolist()) for start, X in streaming.batches(double, Y, batch_size=2)]
        [(0, [[0.0, 2.0], [4.0, 6.0]]), (2, [[8.0, 10.0]])]
    """
    if not callable(solve):
        _checks.fail(TypeError, "solve", "a jitted function", type(solve).__name__)
    if not hasattr(Y, "dtype") or not jnp.issubdtype(Y.dtype, jnp.inexact):
        got = f"dtype {Y.dtype}" if hasattr(Y, "dtype") else type(Y).__name__
        _checks.fail(TypeError, "Y", "an array of floating-point or complex numbers", got)
    if Y.ndim not in (2, 3) or 0 in Y.shape:
        expected = "shape (num, m), or (num, m, L) for snapshots"
        _checks.fail(ValueError, "Y", expected, f"shape {Y.shape}")
    for i, other in enumerate(others):
        if np.ndim(other) == 0 or len(other) != len(Y):
            expected, got = f"{len(Y)} rows, as Y has", f"shape {np.shape(other)}"
            _checks.fail(ValueError, f"others[{i}]", expected, got)
    size, num_threads = batches_of(len(Y), batch_size, num_threads)
    return _of_arrays(solve, (Y, *others), size, num_threads, progress)


def batches_of(num: int, batch_size: int, num_threads: int | None) -> tuple[int, int]:
    """The size of a batch, to which the last batch is padded, and the number of threads."""
    batch_size = _checks.static_int("batch_size", batch_size, minimum=1)
    num_threads = threads(num_threads)
    # Small enough that every thread has a batch.
    return min(batch_size, -(-num // num_threads)), num_threads


def threads(num_threads: int | None) -> int:
    """The number of batches that are computed at a time."""
    if num_threads is None:
        num_threads = _processors() if jax.default_backend() == "cpu" else 2
    return _checks.static_int("num_threads", num_threads, minimum=1)


def answers_of(solve: Callable[[Any], Any], size: int, *rows: np.ndarray) -> Any:
    """What ``solve`` returns for a batch, as NumPy arrays.

    A smaller batch is padded with zeros to ``size`` signals, so that one compilation serves all
    batches.
    """

    def filled(rows):
        padded = np.zeros((size, *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        return padded

    answers = solve(*map(filled, rows))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(rows[0])], answers)


def in_order(jobs: Iterator[Callable[[], Any]], num_threads: int) -> Generator[Any, None, None]:
    """Runs ``num_threads`` functions at a time, and yields what they return, in order.

    No more than ``2 num_threads`` functions are running, waiting, or finished with an answer that
    has not been yielded.
    """
    pool = ThreadPoolExecutor(num_threads)
    try:
        under_way = deque(pool.submit(job) for job in islice(jobs, 2 * num_threads))
        while under_way:
            yield under_way.popleft().result()
            under_way.extend(pool.submit(job) for job in islice(jobs, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _of_arrays(
    solve, arrays: tuple, size: int, num_threads: int, progress: bool
) -> Iterator[tuple[int, Any]]:
    num = len(arrays[0])

    def one(start: int):
        Y, *others = (np.asarray(array[start : start + size]) for array in arrays)
        if not np.isfinite(Y).all():
            finite = np.isfinite(Y).reshape(len(Y), -1).all(axis=1)
            bad = start + int(np.flatnonzero(~finite)[0])
            _checks.fail(ValueError, "Y", "finite numbers", f"NaN or infinity in row {bad}")
        return answers_of(solve, size, Y, *others)

    starts = range(0, num, size)
    found = in_order((partial(one, start) for start in starts), num_threads)
    disable = None if progress else True
    bar = tqdm(None, "recover", num, unit="signal", unit_scale=True, disable=disable)
    with bar, closing(found):
        for start, answers in zip(starts, found, strict=True):
            bar.update(min(size, num - start))
            yield start, answers


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Not every system has this function.
        return os.cpu_count() or 1
