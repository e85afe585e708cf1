"""How long does sparse coding of a cache's vectors take, beside a batched loop in torch?

The loop stands for that of Lexico (Kim et al., "Lexico: extreme KV cache compression via sparse
coding over universal dictionaries", ICML 2025), and follows what the paper says of it: for all
vectors at once, the product of the residuals with the dictionary, the largest entry, least squares
on the atoms so far by a Cholesky factor, and the new residuals. It was written for this comparison.
Gaussian dictionary of unit columns, vectors of k of its atoms, float32. Each runs in a process of
its own, both use all processors, and the peak is what the process takes beside what it held once
the vectors were there.

    python benchmarks/lexico.py --torch PYTHON

PYTHON is an interpreter that has torch, which need not be that of greedyjax.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter

import numpy as np
from vectors import vectors

SIZES = (128, 4096, 8, 50_000)
REPEATS, ROUNDS = 2, 2


def main() -> None:
    parser = argparse.ArgumentParser(description="Codes beside a batched loop in torch.")
    parser.add_argument("--torch", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--alone", choices=[*ALONE], help="one of the two, in this process")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(ALONE[options.alone])))
        return
    runs: dict[str, list[dict]] = {name: [] for name in ALONE}
    for _ in range(ROUNDS):
        for name, python in (("greedyjax", sys.executable), ("torch", options.torch)):
            command = [python, str(Path(__file__).resolve()), "--alone", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    rows = [summary(name, each) for name, each in runs.items()]
    ours, theirs = rows
    ratios = {
        "times_as_fast": theirs["median_s"] / ours["median_s"],
        "share_of_memory": ours["peak_mb"] / theirs["peak_mb"],
    }
    print(*rows, ratios, sep="\n")

    from common import write_result

    write_result("lexico", {"dtype": "float32", "rows": rows, **ratios})


def summary(name: str, runs: list[dict]) -> dict:
    """One row of a method's runs in several processes."""
    seconds = [s for run in runs for s in run["seconds"]]
    row = {"method": name, **dict(zip(("m", "n", "k", "batch"), SIZES, strict=True))}
    row |= {"median_s": float(np.median(seconds)), "peak_mb": max(run["peak_mb"] for run in runs)}
    return {**row, "exact_recovery": runs[0]["exact_recovery"], "version": runs[0]["version"]}


def measure(made: Callable) -> dict:
    """Seconds of each run but the first, the peak of memory, and how many are right."""
    m, n, k, num = SIZES
    A, support, Y = vectors(m, n, k, num)
    solve, version = made(A, k)
    before = getrusage(RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(REPEATS + 1):
        start = perf_counter()
        found = solve(Y)
        seconds.append(perf_counter() - start)
    peak = (getrusage(RUSAGE_SELF).ru_maxrss - before) / 1024
    right = np.all(np.sort(found, axis=1) == np.sort(support, axis=1), axis=1)
    return {
        "seconds": seconds[1:], "peak_mb": peak, "exact_recovery": float(right.mean()),
        "version": version,
    }  # fmt: skip


def in_greedyjax(A: np.ndarray, k: int):
    """`encode` on all processors."""
    import jax

    import greedyjax as gj
    from greedyjax import streaming
    from greedyjax.pursuit import OMP

    code = jax.jit(gj.encode, static_argnums=0)
    jax.block_until_ready(jax.numpy.zeros(1))  # So that JAX has begun.

    def solve(Y):
        return streaming.recover(
            partial(code, OMP(sparsity=k), jax.jit(gj.dictionary)(A)), Y
        ).support

    return solve, jax.__version__


def in_torch(A: np.ndarray, k: int):
    """Residuals, the largest product, and least squares by a Cholesky factor, for all at once."""
    import torch

    D = torch.from_numpy(A)

    def solve(Y):
        Y = torch.from_numpy(Y)
        num, m = Y.shape
        chosen, B = torch.zeros(num, k, dtype=torch.int64), torch.zeros(num, k, m)
        R = Y
        for i in range(k):
            chosen[:, i] = torch.argmax((R @ D).abs_(), dim=1)
            B[:, i] = D.T[chosen[:, i]]
            some = B[:, : i + 1]
            factor = torch.linalg.cholesky(some @ some.mT)
            z = torch.cholesky_solve(some @ Y[:, :, None], factor)
            R = Y - (some.mT @ z)[:, :, 0]
        return chosen.numpy()

    return solve, torch.__version__


ALONE = {"greedyjax": in_greedyjax, "torch": in_torch}

if __name__ == "__main__":
    main()
