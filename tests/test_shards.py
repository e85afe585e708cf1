"""Recovery shard by shard, from any source of signals, continues after any interruption."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts

import greedyjax as gj
import oracles
import shards_worker as worker
from greedyjax import streaming
from greedyjax.pursuit import OMP
from greedyjax.streaming import _store
from helpers import assert_close, jit

NUM, M = 47, 4
Y = np.random.default_rng(0).standard_normal((NUM, M)).astype(np.float32)
SETTINGS = {"shard_size": 10, "batch_size": 4}
BAD = [3, 20, 46]


@jax.jit
def tree(Y):
    return {"twice": 2 * Y, "sums": (Y.sum(axis=1), jnp.argmax(Y, axis=1)), "big": Y[:, 0] > 0}


def files_of(out):
    """Every file of a store, and what is in it."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in Path(out).rglob("*")
        if path.is_file()
    }


def assert_is_tree_of(found, Y, bad=()):
    good = np.setdiff1d(np.arange(len(Y)), bad)
    twice, sums, places, big = (
        np.asarray(found.arrays[name]) for name in ("twice", "sums.0", "sums.1", "big")
    )
    np.testing.assert_array_equal(twice[good], 2 * Y[good])
    assert_close(sums[good], Y[good].sum(axis=1))
    np.testing.assert_array_equal(places[good], Y[good].argmax(axis=1))
    np.testing.assert_array_equal(big[good], Y[good, 0] > 0)
    assert np.isnan(twice[list(bad)]).all()
    np.testing.assert_array_equal(places[list(bad)], -1)
    assert not big[list(bad)].any()
    assert found.finished.all()
    assert found.bad.tolist() == list(bad)


def shard(index):
    return Y[10 * index : 10 * (index + 1)]


def folder_of_files(path, pieces=(20, 1, 26)):
    path.mkdir()
    for i, part in enumerate(np.split(Y, np.cumsum(pieces)[:-1])):
        np.save(path / f"{i}.npy", np.asfortranarray(part))
    return path


def zarr_array(path, driver):
    files = {"driver": "file", "path": str(path)}
    chunks = {"chunk_layout": ts.ChunkLayout(chunk_shape=[7, M])}
    made = ts.open({"driver": driver, "kvstore": files}, create=True, dtype="float32",
                   shape=Y.shape, **chunks).result()  # fmt: skip
    made.write(Y).result()
    return made


def mapped(path):
    np.save(path, Y)
    return np.load(path, mmap_mode="r")


SOURCES = {
    "array": lambda path: Y,
    "memory-mapped": lambda path: mapped(path / "Y.npy"),
    "npy": lambda path: str(mapped(path / "Y.npy").filename),
    "folder": lambda path: folder_of_files(path / "Y"),
    "zarr 2": lambda path: zarr_array(path / "Y", "zarr") and path / "Y",
    "zarr 3": lambda path: zarr_array(path / "Y", "zarr3") and path / "Y",
    "TensorStore": lambda path: zarr_array(path / "Y", "zarr3"),
    "big-endian": lambda path: Y.astype(">f4"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_any_source_gives_the_same(kind, tmp_path):
    found = streaming.recover_shards(tree, SOURCES[kind](tmp_path), tmp_path / "X", **SETTINGS)
    assert_is_tree_of(found, Y)
    assert_is_tree_of(streaming.open_shards(tmp_path / "X"), Y)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("shard_size", [10, 1000])
def test_a_function_of_the_index(num_threads, shard_size, tmp_path):
    source = shard if shard_size == 10 else lambda index: Y
    settings = {"shard_size": shard_size, "batch_size": 4, "num": NUM, "num_threads": num_threads}
    assert_is_tree_of(streaming.recover_shards(tree, source, tmp_path / "X", **settings), Y)


def test_codes_and_a_bare_array(tmp_path):
    A = np.random.default_rng(1).standard_normal((M, 9)).astype(np.float32)
    solve = jit(partial(gj.encode, OMP(2), A))
    found = streaming.recover_shards(solve, Y, tmp_path / "X", **SETTINGS)
    assert tuple(found.arrays) == gj.Codes._fields
    for y, support, values in zip(
        Y, *(np.asarray(found.arrays[name]) for name in ("support", "coefficients")), strict=True
    ):
        expected = oracles.omp(A.astype(np.float64), y.astype(np.float64), 2)
        np.testing.assert_array_equal(np.sort(support), np.flatnonzero(expected.x))
        assert_close(values, expected.x[support], np.float32)
    bare = streaming.recover_shards(jax.jit(lambda Y: 2 * Y), Y, tmp_path / "Z", **SETTINGS)
    np.testing.assert_array_equal(np.asarray(bare.arrays["answers"]), 2 * Y)


@pytest.mark.parametrize("dtype", [np.float64, np.complex64, jnp.bfloat16, np.float16])
def test_other_dtypes_and_snapshots(dtype, tmp_path):
    rows = np.random.default_rng(2).standard_normal((NUM, M, 3)).astype(dtype)
    rows[20, 1, 2] = np.nan
    found = streaming.recover_shards(jax.jit(lambda Y: 2 * Y), rows, tmp_path / "X", **SETTINGS)
    answers = np.asarray(found.arrays["answers"])
    assert answers.dtype == dtype
    assert np.isnan(answers[20]).all()
    np.testing.assert_array_equal(np.delete(answers, 20, 0), np.delete(2 * rows, 20, 0))
    assert found.bad.tolist() == [20]


def test_bad_signals_are_listed_and_the_others_recovered(tmp_path):
    rows = Y.copy()
    rows[BAD, [0, 1, 3]] = np.nan, np.inf, -np.inf
    found = streaming.recover_shards(tree, rows, tmp_path / "X", **SETTINGS)
    assert_is_tree_of(found, rows, BAD)


class Interrupted(Exception):
    pass


def at(call, function):
    """The function, which raises at one of its calls."""
    calls = []

    def counted(*args):
        calls.append(1)
        if len(calls) == call:
            raise Interrupted
        return function(*args)

    return counted


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of a run that nobody interrupts."""
    out = tmp_path_factory.mktemp("whole")
    rows = Y.copy()
    rows[BAD] = np.nan
    streaming.recover_shards(tree, rows, out, **SETTINGS)
    return rows, files_of(out)


@pytest.mark.parametrize(
    ("stage", "call"),
    [("read", 1), ("read", 3), ("solve", 1), ("solve", 2), ("solve", 9), ("solve", 13)]
    + [(stage, call) for stage in ("begin", "arrays") for call in (1,)]
    + [(stage, call) for stage in ("write", "mark") for call in (1, 3, 5)],
)
def test_goes_on_after_an_end_at_any_stage(stage, call, whole, tmp_path, monkeypatch):
    rows, expected = whole
    source, solve = lambda index: rows[10 * index : 10 * (index + 1)], tree
    settings = {**SETTINGS, "num": NUM}
    if stage == "read":
        run = partial(streaming.recover_shards, solve, at(call, source))
    elif stage == "solve":
        run = partial(streaming.recover_shards, at(call, solve), source)
    else:
        step = at(call, getattr(_store.Store, stage))
        monkeypatch.setattr(_store.Store, stage, lambda *args: step(*args))
        run = partial(streaming.recover_shards, solve, source)
    with pytest.raises(Interrupted):
        run(tmp_path / "X", **settings)
    if (tmp_path / "X" / "zarr.json").exists():
        assert not streaming.open_shards(tmp_path / "X").finished.all()
    assert files_of(tmp_path / "X") != expected
    found = streaming.recover_shards(solve, source, tmp_path / "X", **settings)
    assert files_of(tmp_path / "X") == expected
    assert_is_tree_of(found, rows, BAD)


def test_what_is_finished_is_not_done_again(tmp_path):
    calls = []
    source = lambda index: calls.append(index) or shard(index)
    settings = {**SETTINGS, "num": NUM}
    with pytest.raises(Interrupted):
        streaming.recover_shards(at(10, tree), source, tmp_path / "X", num_threads=1, **settings)
    finished = np.flatnonzero(streaming.open_shards(tmp_path / "X").finished)
    assert finished.tolist() == [0, 1]  # The first call is on random numbers, then come 3 a shard.
    calls.clear()
    streaming.recover_shards(tree, source, tmp_path / "X", **settings)
    assert calls == [2, 3, 4]
    calls.clear()
    found = streaming.recover_shards(tree, source, tmp_path / "X", **settings)
    assert calls == []
    assert_is_tree_of(found, Y)


def test_a_mark_is_never_without_its_data(tmp_path, monkeypatch):
    steps = []
    for name in ("write", "mark"):
        step = getattr(_store.Store, name)

        def noted(self, *args, name=name, step=step):
            step(self, *args)
            steps.append((name, args[1] if name == "write" else args[0]))

        monkeypatch.setattr(_store.Store, name, noted)
    streaming.recover_shards(tree, Y, tmp_path / "X", **SETTINGS)
    assert steps == [(name, index) for index in range(5) for name in ("write", "mark")]


def test_processes_share_the_shards(whole, tmp_path):
    rows, expected = whole
    run = partial(streaming.recover_shards, tree, rows, tmp_path / "X", **SETTINGS)
    assert not run(rank=7, num_processes=8).finished.any()
    assert run(rank=1, num_processes=2).finished.tolist() == [False, True, False, True, False]
    assert run(rank=2, num_processes=3).finished.tolist() == [False, True, True, True, False]
    found = run(rank=0, num_processes=2)
    assert_is_tree_of(found, rows, BAD)
    assert files_of(tmp_path / "X") == expected


def test_no_more_than_a_few_shards_are_read_ahead(tmp_path):
    out, ahead = tmp_path / "X", []

    def source(index):
        ahead.append(index - len(list(out.glob("finished/*.json"))))
        return np.ones((8, 2), np.float32) * index

    settings = {"num": 400, "shard_size": 8, "batch_size": 4, "num_threads": 2}
    found = streaming.recover_shards(jax.jit(lambda Y: Y), source, out, **settings)
    np.testing.assert_array_equal(np.asarray(found.arrays["answers"])[:, 0], np.arange(400) // 8)
    # 4 batches under way, one shard that is collected, one that is stored.
    assert max(ahead) <= 2 + 1 + 1 + 1


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    out = tmp_path / "X"
    streaming.recover_shards(tree, Y, out, rank=0, num_processes=2, **SETTINGS)
    run = lambda solve=tree, rows=Y, **changes: streaming.recover_shards(
        solve, rows, out, **{**SETTINGS, **changes}
    )
    bad = [
        ({"shard_size": 9}, "out: expected a store of shard_size 9, got 10; repeat the call"),
        ({"batch_size": 5}, "out: expected a store of batch_size 5, got 4"),
        ({"rows": Y[1:]}, "out: expected a store of num 46, got 47"),
        ({"rows": Y[:, 1:]}, r"out: expected a store of signal .*3.*, got .*4.*; repeat"),
        ({"rows": folder_of_files(tmp_path / "Y")}, "out: expected a store of files "),
        ({"solve": lambda Y: {"twice": 2 * Y}}, "out: expected a store of arrays"),
        ({"solve": lambda Y: {**tree(Y), "twice": 3 * Y}}, "out: expected answers of this solver"),
    ]
    for changes, message in bad:
        with pytest.raises(ValueError, match=f"^{message}"):
            run(**changes)
    assert_is_tree_of(run(), Y)


@pytest.mark.wrong_types
def test_bad_arguments_are_named(tmp_path):
    foreign, mine = tmp_path / "foreign", folder_of_files(tmp_path / "Y")
    foreign.mkdir()
    (foreign / "note.txt").write_text("mine")
    np.save(mine / "1.npy", np.ones((5, 3), np.float32))
    np.save(tmp_path / "ints.npy", np.ones((3, 2), int))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY no more")
    bad = [
        ({"solve": None}, TypeError, "solve: expected a function, got NoneType"),
        ({"source": 3}, TypeError, "source: expected a folder of .npy files, .*, got int"),
        ({"source": Y[0]}, ValueError, r"source: expected shape \(num, m\), .*got shape \(4,\)"),
        ({"source": mine}, ValueError, r"source: .*1.npy: expected float32 .*as in 0.npy, got"),
        ({"source": foreign}, ValueError, "source: expected a folder with .npy files in it, got"),
        ({"source": tmp_path / "no"}, FileNotFoundError, "source: .*no: no such file or folder"),
        ({"source": tmp_path / "ints.npy"}, TypeError, "source: .*ints.npy: expected floating"),
        ({"source": tmp_path / "broken.npy"}, ValueError, "source: .*broken.npy: cannot be read"),
        ({"source": shard}, ValueError, "num: expected the number of signals, for a function"),
        ({"num": 3}, ValueError, "num: expected None, as the source has its own, got 3"),
        ({"out": foreign}, ValueError, "out: expected a new folder, or .*'note.txt' in it"),
        ({"shard_size": 0}, ValueError, "shard_size: expected an int >= 1, got 0"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an int >= 1, got 0"),
        ({"num_threads": 0}, ValueError, "num_threads: expected an int >= 1, got 0"),
        ({"rank": 1}, ValueError, "rank: expected both rank and num_processes, or neither"),
        ({"rank": 2, "num_processes": 2}, ValueError, "rank: expected an int between 0 and 1"),
        ({"solve": lambda Y: Y.sum()}, ValueError, "solve: expected named arrays with a leading"),
        ({"solve": lambda Y: None}, TypeError, "solve: expected a function that returns arrays"),
    ]
    for i, (changes, error, message) in enumerate(bad):
        arguments = {"solve": tree, "source": Y, "out": tmp_path / str(i), **SETTINGS, **changes}
        with pytest.raises(error, match=f"^{message}"):
            streaming.recover_shards(**arguments)
    with pytest.raises(FileNotFoundError, match="out: .*: no such folder"):
        streaming.open_shards(tmp_path / "none")
    with pytest.raises(ValueError, match="out: expected a folder that recover_shards wrote"):
        streaming.open_shards(tmp_path / "17")


def test_says_who_brings_tensorstore(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(ImportError, match=r'pip install "greedyjax\[shards\]" brings it'):
        streaming.recover_shards(tree, Y, tmp_path / "X")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            Y[:9],
            ValueError,
            r"source: shard 2: expected 10 rows of shape \(4,\), got shape \(9, 4\)",
        ),
        (Y[:10, :3], ValueError, r"source: shard 2: expected .* shape \(4,\), got shape \(10, 3\)"),
        (np.ones((10, 4), int), TypeError, "source: shard 2: expected floating.*got dtype int64"),
    ],
)
def test_a_shard_of_another_shape_is_named_and_the_rest_is_not_lost(
    wrong, error, message, tmp_path
):
    source = lambda index: wrong if index == 2 else shard(index)
    settings = {**SETTINGS, "num": NUM}
    with pytest.raises(error, match=f"^{message}"):
        streaming.recover_shards(tree, source, tmp_path / "X", **settings)
    found = streaming.recover_shards(tree, shard, tmp_path / "X", **settings)
    assert_is_tree_of(found, Y)


def start(out, rank=0, num_processes=1, num_shards=60, size=500):
    command = [sys.executable, worker.__file__, out, rank, num_processes, num_shards, size]
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return subprocess.Popen(
        [str(part) for part in command],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return int(output)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted") / "X"
    ended(start(out))
    found = streaming.open_shards(out)
    assert found.finished.all()
    assert found.bad.tolist() == [500 * i + i for i in range(60)]
    return files_of(out)


@pytest.mark.slow
def test_a_run_killed_at_five_random_moments_ends_with_the_same_bits(uninterrupted, tmp_path):
    out, rng = tmp_path / "X", np.random.default_rng()
    for more in rng.integers(0, 12, 5):
        process = start(out)
        enough = len(list(out.glob("finished/*.json"))) + more
        while process.poll() is None and len(list(out.glob("finished/*.json"))) < enough:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02 if more else 3))  # While it starts, too.
        process.kill()
        process.communicate()
    ended(start(out))
    assert files_of(out) == uninterrupted


@pytest.mark.slow
def test_two_processes_at_once_over_one_folder(uninterrupted, tmp_path):
    both = [start(tmp_path / "X", rank, 2) for rank in range(2)]
    for process in both:
        ended(process)
    assert files_of(tmp_path / "X") == uninterrupted


@pytest.mark.slow
def test_memory_does_not_grow_with_the_signals(tmp_path):
    """Shards of 2 MB, with their answers: 60 more of them would be 120."""
    few, many = (ended(start(tmp_path / str(num), num_shards=num, size=20_000)) for num in (8, 68))
    assert many < few + 40e6
