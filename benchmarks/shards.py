"""Is recovery from shard to shard as fast as in memory, and is its memory that of a few shards?

Gaussian dictionary with unit columns, (m, n, k) = (64, 256, 8), float32. The signals of a shard
are made from its index when they are read: one atom of each eighth of the dictionary, with
standard normal coefficients and no noise. So no number of signals is too large.

    python benchmarks/shards.py [--num 100000000] [--kills 5] [--out DIR]

In memory, `streaming.recover` gets as many signals as four shards have, which are there already;
it is timed before and after the run. What the run does beside it is to make signals and to store
answers, and that counts. The same command again, with the same --out, goes on with a run that was
ended; its times are then those of the rest. With --kills, a second process does the same run, is
killed at as many random moments and started again each time. Then all bytes of the two stores are
compared.
"""

import argparse
import hashlib
import multiprocessing
import resource
import tempfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from time import perf_counter, sleep, thread_time

import jax
import numpy as np
from common import write_result
from scipy.sparse import csr_array

import greedyjax as gj
from greedyjax import streaming
from greedyjax.pursuit import OMP

M, N, K, SHARD = 64, 256, 8, 65_536
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=100_000_000)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    A = dictionary()
    solve = solver(A)
    Y = np.concatenate([signals(A, index)[0] for index in range(4)])
    streaming.recover(solve, Y)  # Compiles.

    folder = nullcontext(options.out) if options.out else tempfile.TemporaryDirectory()
    with folder as out:
        before = in_memory(solve, Y)
        run = by_shards(solve, A, options.num, Path(out))
        after = in_memory(solve, Y)
        if options.kills:
            seconds = run["seconds"] / (options.kills + 1)
            run["killed"] = killed_and_resumed(options.num, options.kills, seconds, Path(out))
    per_s = float(np.median([*before, *after]))
    content = {
        "m": M, "n": N, "k": K, "num": options.num, "shard_size": SHARD,
        "in_memory_per_s": per_s, "in_memory_runs_per_s": [*before, *after],
        **run, "share_of_in_memory": run["per_s"] / per_s,
    }  # fmt: skip
    print(f"{run['per_s']:,.0f} signals a second, {content['share_of_in_memory']:.1%} of in memory")
    write_result("shards", content)


def killed_and_resumed(num: int, kills: int, seconds: float, out: Path) -> dict:
    """A run that is killed every ``seconds`` or sooner, beside the one that ``out`` holds."""
    rng, processes = np.random.default_rng(2), multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        finished = []
        for _ in range(kills + 1):
            process = processes.Process(target=run_alone, args=(num, folder))
            process.start()
            begun = len(finished_in(folder))
            while process.is_alive() and len(finished_in(folder)) == begun:
                sleep(0.1)
            if len(finished) < kills:
                sleep(rng.uniform(0, seconds))
                process.kill()
                finished.append(len(finished_in(folder)))
            process.join()
        identical = digest(Path(folder)) == digest(out)
    print(f"killed with {finished} shards finished; the same bytes: {identical}")
    return {"finished_shards": finished, "same_bytes": identical}


def run_alone(num: int, folder: str) -> None:
    A = dictionary()
    source = lambda index: signals(A, index)[0][: num - index * SHARD]
    streaming.recover_shards(solver(A), source, folder, num=num, shard_size=SHARD)


def finished_in(folder: str) -> list[Path]:
    return list(Path(folder).glob("finished/*.json"))


def digest(folder: Path) -> str:
    """Of the names and the bytes of all files."""
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if not file.name.endswith(".__lock"):  # What a killed process may leave.
            found.update(str(file.relative_to(folder)).encode())
            found.update(file.read_bytes())
    return found.hexdigest()


def by_shards(solve, A: np.ndarray, num: int, folder: Path) -> dict:
    """Throughput, memory and the share of right supports of a run."""
    made, making, memory = [], [], []

    def source(index: int) -> np.ndarray:
        begin = thread_time()
        Y = signals(A, index)[0][: num - index * SHARD]
        making.append(thread_time() - begin)
        made.append(len(Y))
        memory.append(peak_bytes())
        return Y

    begin = perf_counter()
    settings = {"num": num, "shard_size": SHARD, "progress": True}
    found = streaming.recover_shards(solve, source, folder, **settings)
    seconds = perf_counter() - begin
    support = np.asarray(found.arrays["support"][:SHARD])
    right = np.all(np.sort(support) == signals(A, 0)[1][: len(support)], axis=1)
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    early = memory[min(10, len(memory) - 1)]  # By then everything has its size.
    return {
        "seconds": seconds, "recovered": sum(made), "per_s": sum(made) / seconds,
        "making_signals_s": sum(making), "stored_bytes_per_signal": stored / num,
        "peak_bytes": {"after 10 shards": early, "at the end": peak_bytes()},
        "support_found": float(right.mean()),
    }  # fmt: skip


def in_memory(solve, Y: np.ndarray) -> list[float]:
    """Signals a second of a few runs."""
    runs = []
    for _ in range(REPEATS):
        begin = perf_counter()
        streaming.recover(solve, Y)
        runs.append(len(Y) / (perf_counter() - begin))
    return runs


def solver(A: np.ndarray):
    return partial(jax.jit(partial(gj.encode, OMP(K))), jax.jit(gj.dictionary)(A))


def dictionary() -> np.ndarray:
    A = np.random.default_rng(0).standard_normal((M, N)).astype(np.float32)
    return A / np.linalg.norm(A, axis=0)


def signals(A: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """The measurements of a shard, and the atoms of each of its signals in ascending order."""
    rng = np.random.default_rng([1, index])
    support = rng.integers(0, N // K, (SHARD, K), np.uint8).astype(np.int32)
    support += np.arange(0, N, N // K, dtype=np.int32)
    values = rng.standard_normal(SHARD * K, np.float32)
    X = csr_array((values, support.ravel(), np.arange(0, SHARD * K + 1, K)), (SHARD, N))
    return X @ A.T, support


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
