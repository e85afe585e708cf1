"""Recovery batch by batch: the same answers, in order, from any array with rows."""

import functools
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax import streaming
from greedyjax.structures import SharedSupport
from helpers import random_problem

Y = np.random.default_rng(0).standard_normal((23, 4)).astype(np.float32)


@jax.jit
def tree(Y):
    return {"twice": 2 * Y, "sums": (Y.sum(axis=1), jnp.argmax(Y, axis=1))}


def assert_is_tree_of(answers, Y):
    np.testing.assert_array_equal(answers["twice"], 2 * Y)
    np.testing.assert_allclose(answers["sums"][0], Y.sum(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(answers["sums"][1], Y.argmax(axis=1))


@pytest.mark.parametrize("num_threads", [None, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 23, 1000])
def test_any_batches_and_threads_give_the_same(batch_size, num_threads):
    answers = streaming.recover(tree, Y, batch_size=batch_size, num_threads=num_threads)
    assert isinstance(answers["twice"], np.ndarray)
    assert answers["twice"].dtype == np.float32
    assert_is_tree_of(answers, Y)


def test_solvers():
    A = np.random.default_rng(1).standard_normal((4, 9)).astype(np.float32)
    solve = jax.jit(gj.omp_batch, static_argnames="sparsity")
    found = streaming.recover(functools.partial(solve, A, sparsity=2), Y, batch_size=8)
    expected = jax.vmap(lambda y: gj.omp(A, y, sparsity=2))(Y)
    assert isinstance(found, gj.Recovery)
    np.testing.assert_array_equal(found.support, expected.support)


def test_frames_of_snapshots():
    A, _, _ = random_problem(0, 8, 12, 2, np.float64)
    Y = np.random.default_rng(0).standard_normal((5, 8, 3))
    shared = SharedSupport()
    solve = jax.jit(lambda Y: gj.omp_batch(A, Y, sparsity=2, structure=shared))
    found = streaming.recover(solve, Y, batch_size=2)
    assert found.x.shape == (5, 12, 3)
    for y, x in zip(Y, found.x, strict=True):
        np.testing.assert_allclose(x, gj.omp(A, y, sparsity=2, structure=shared).x, atol=1e-12)
    Y[3, 4, 1] = np.nan
    with pytest.raises(
        ValueError, match="Y: expected finite numbers, got NaN or infinity in row 3"
    ):
        streaming.recover(solve, Y, batch_size=2)


def test_reads_a_memory_mapped_file_row_by_row(tmp_path):
    np.save(tmp_path / "Y.npy", Y)
    mapped = np.load(tmp_path / "Y.npy", mmap_mode="r")
    assert_is_tree_of(streaming.recover(tree, mapped, batch_size=5), Y)


def test_batches_come_in_order_and_are_never_many():
    """However slow the first is, and whoever is slow to take them."""
    alive, most, lock = 0, 0, threading.Lock()

    def solve(batch):
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        time.sleep(0.1 if batch[0, 0] == Y[0, 0] else 0)
        return batch

    starts = []
    for start, batch in streaming.batches(solve, Y, batch_size=2, num_threads=2):
        np.testing.assert_array_equal(batch, Y[start : start + 2])
        starts.append(start)
        time.sleep(0.005)
        with lock:
            alive -= 1
    assert starts == list(range(0, 23, 2))
    assert most <= 2 * 2 + 1  # One more while its answer is in the reader's hands.


def test_one_compilation_serves_all_batches():
    shapes = []
    streaming.recover(lambda batch: shapes.append(batch.shape) or batch, Y, batch_size=5)
    assert set(shapes) == {(5, 4)}


def test_threads_work_at_the_same_time():
    meeting = threading.Barrier(2, timeout=20)

    def solve(batch):
        meeting.wait()  # Comes to an end only if another thread waits too.
        return batch

    streaming.recover(solve, Y[:8], batch_size=2, num_threads=2)


def test_an_error_stops_it_and_shows():
    calls = []

    def solve(batch):
        calls.append(1)
        raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError, match="no more memory"):
        streaming.recover(solve, Y, batch_size=1, num_threads=1)
    assert len(calls) <= 2


def test_whoever_stops_reading_stops_the_work():
    calls = []
    reader = streaming.batches(
        lambda batch: calls.append(1) or batch, Y, batch_size=1, num_threads=1
    )
    next(reader)
    reader.close()
    assert len(calls) <= 3


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"solve": None}, TypeError, "solve: expected a jitted function, got NoneType"),
        ({"Y": [[1.0]]}, TypeError, "Y: expected an array of floating-point .*, got list"),
        ({"Y": np.ones((2, 3), int)}, TypeError, "Y: expected an array .*, got dtype int64"),
        ({"Y": np.ones(3)}, ValueError, r"Y: expected shape \(num, m\), .*, got shape \(3,\)"),
        (
            {"Y": np.ones((0, 3))},
            ValueError,
            r"Y: expected shape \(num, m\), .*, got shape \(0, 3\)",
        ),
        ({"batch_size": 0}, ValueError, "batch_size: expected an int >= 1, got 0"),
        ({"num_threads": 0}, ValueError, "num_threads: expected an int >= 1, got 0"),
        (
            {"Y": np.where(np.arange(92).reshape(23, 4) == 50, np.nan, Y)},
            ValueError,
            "Y: expected finite numbers, got NaN or infinity in row 12",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        streaming.recover(**{"solve": tree, "Y": Y, **arguments})
