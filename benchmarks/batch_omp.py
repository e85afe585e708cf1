"""How long does hard OMP of many signals take, beside other libraries and as sizes grow?

Gaussian dictionaries with unit columns, signals of k standard normal entries, no noise, float32.
Every library gets the same arrays, laid out as it wants them; whatever it computes of the
dictionary counts. Beside each time stands the share of signals whose support it found.

    python benchmarks/batch_omp.py

Peers that are installed take part, see peers.py. On a GPU the sizes are larger.
"""

import os
from functools import partial

import jax
import numpy as np
import peers
from common import interleaved, write_result

import greedyjax as gj
from greedyjax import streaming

CONFIGURATIONS = [(256, 1024, 32, 2048), (64, 256, 8, 8192), (512, 2048, 64, 512)]
BASE = CONFIGURATIONS[0]
GROWTH = {
    "m": (96, 128, 256, 512),
    "n": (256, 512, 1024, 2048, 4096),
    "k": (4, 8, 16, 32, 64),
    "batch": (32, 128, 512, 2048),
}
# The configurations that orthogonal-matching-pursuit-gpu publishes: patches, faces, audio.
ON_GPU = [(256, 1024, 32, 5000), (8064, 1207, 30, 1200), (512, 2048, 64, 5000)]
REPEATS, FEW = 5, 3

by_plan = jax.jit(gj.omp_batch, static_argnames="sparsity")
prepare = jax.jit(gj.dictionary)


def main() -> None:
    on_gpu = jax.default_backend() != "cpu"
    rows = []
    for sizes in [*CONFIGURATIONS, *(ON_GPU if on_gpu else [])]:
        rows += measure(*sizes, REPEATS, everyone=True)
    for i, (name, values) in enumerate(GROWTH.items()):
        for value in values:
            sizes = [*BASE[:i], value, *BASE[i + 1 :]]
            rows += [{"grows": name, **row} for row in measure(*sizes, FEW, everyone=False)]
    write_result("batch_omp", {"dtype": "float32", "rows": rows})


def measure(m: int, n: int, k: int, num: int, repeats: int, *, everyone: bool) -> list[dict]:
    """One row per method for one problem."""
    A, X, Y = problem(m, n, k, num)
    processors = len(os.sched_getaffinity(0))
    theirs = peers.omp_solvers(A, Y, k, processors)
    if not everyone:
        theirs = {name: f for name, f in theirs.items() if name.endswith(f" {processors} threads")}
    ours = {
        "greedyjax": lambda: stream(A, Y, k),
        "greedyjax, one call": lambda: jax.block_until_ready(by_plan(A, Y, sparsity=k)),
        # A traced rtol rules the Gram matrix out.
        "greedyjax, by residuals": lambda: jax.block_until_ready(
            by_plan(A, Y, sparsity=k, rtol=0.0)
        ),
    }
    times = interleaved({**ours, **theirs}, repeats, rest=0.3)
    rows = []
    for name, function in {**ours, **theirs}.items():
        answer = function()
        found = answer.x if name in ours else peers.signals(answer, n)
        rows.append(
            {
                "m": m, "n": n, "k": k, "batch": num, "method": name, "repeats": repeats,
                "exact_recovery": exact_recovery(np.asarray(found), X), **times[name],
            }
        )  # fmt: skip
        row = rows[-1]
        print(f"{m, n, k, num} {name:28} {row['median_s']:.4f} s, {row['exact_recovery']:.3f}")
    return rows


def stream(A, Y, k: int) -> gj.Recovery:
    """All processors, the dictionary prepared once."""
    return streaming.recover(partial(by_plan, prepare(A), sparsity=k), Y)


def problem(m: int, n: int, k: int, num: int):
    """Dictionary, signals and measurements."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((m, n)).astype(np.float32)
    A /= np.linalg.norm(A, axis=0)
    support = rng.random((num, n)).argpartition(k, axis=1)[:, :k]
    X = np.zeros((num, n), np.float32)
    np.put_along_axis(X, support, rng.standard_normal((num, k)).astype(np.float32), axis=1)
    return A, X, X @ A.T


def exact_recovery(found: np.ndarray, X: np.ndarray) -> float:
    """Share of the signals whose k largest entries are those that are not zero."""
    k = int(np.count_nonzero(X[0]))
    largest = np.argpartition(-np.abs(found), k - 1, axis=1)[:, :k]
    return float(np.mean(np.all(np.take_along_axis(X, largest, axis=1) != 0, axis=1)))


if __name__ == "__main__":
    main()
