"""How long does coding many signals take beside SPAMS, and are the atoms those of OMP?

Gaussian dictionaries with unit columns, signals of k standard normal entries, no noise, float32.
Three ways to solve them take turns, on all processors: `streaming.recover` of dense answers, the
same of `encode`, whose answers are sparse as those of SPAMS are, and SPAMS. Everything that is
computed of the dictionary counts. Beside each time stands the share of the signals whose atoms are
those of OMP in double precision, which need not be those that the signals were made of. SPAMS
computes orthogonal least squares, so it is compared with that as well.

    python benchmarks/coding.py

Needs, beside greedyjax: `pip install spams-bin`.
"""

import os
from functools import partial

import jax
import numpy as np
import spams
from batch_omp import by_plan, prepare, problem
from common import interleaved, write_result
from forms import greedy_atoms, same

import greedyjax as gj
from greedyjax import streaming
from greedyjax.pursuit import OMP

SIZES = [
    (256, 1024, 32, 2048),
    (64, 256, 8, 8192),
    (512, 2048, 64, 512),
    (64, 1024, 4, 50_000),
    (64, 4096, 16, 5000),
    (128, 4096, 16, 5000),
]
ALONE = (64, 1024, 8, 100_000)  # Sparse answers alone, beside no other library.
ALONE_METHODS = ("encode",)
REPEATS, CHECKED = 5, 512

by_codes = jax.jit(gj.encode, static_argnums=0)


def main() -> None:
    rows = [row for sizes in SIZES for row in measure(*sizes)]
    rows += measure(*ALONE, only=ALONE_METHODS)
    mean = {}
    for name in ("recover", "encode"):
        mine = [row for row in rows[: -len(ALONE_METHODS)] if row["method"] == name]
        ratios = [row["times_as_fast_as_spams"] for row in mine]
        mean[name] = float(np.exp(np.mean(np.log(ratios))))
        print(f"{name}: {mean[name]:.3f} times as fast as SPAMS in the geometric mean")
    write_result("coding", {"dtype": "float32", "rows": rows, "geometric_mean": mean})


def measure(m: int, n: int, k: int, num: int, only: tuple[str, ...] | None = None) -> list[dict]:
    """One row per method for one problem."""
    A, _, Y = problem(m, n, k, num)
    A_, Y_ = np.asfortranarray(A), np.asfortranarray(Y.T)
    threads = len(os.sched_getaffinity(0))
    methods = {
        "recover": lambda: streaming.recover(partial(by_plan, prepare(A), sparsity=k), Y).support,
        "encode": lambda: streaming.recover(encoder(A, k), Y).support,
        # Without eps=0.0 the wheel sometimes stops before it begins.
        "SPAMS": lambda: spams.omp(Y_, A_, L=k, eps=0.0, numThreads=threads),
    }
    methods = {name: f for name, f in methods.items() if only is None or name in only}
    times = interleaved(methods, REPEATS, rest=0.3)
    checked = min(num, CHECKED)
    by_omp = greedy_atoms(A, Y[:checked], k, recursive=False)
    by_ols = greedy_atoms(A, Y[:checked], k, recursive=True)
    rows = []
    for name, function in methods.items():
        found = function()
        if name == "SPAMS":
            found = atoms_of(found, k)
        row = {
            "m": m, "n": n, "k": k, "batch": num, "method": name, "repeats": REPEATS,
            "as_omp": same(found[:checked], by_omp), "as_ols": same(found[:checked], by_ols),
            "per_second": num / times[name]["median_s"], **times[name],
        }  # fmt: skip
        if "SPAMS" in times:
            row["times_as_fast_as_spams"] = times["SPAMS"]["median_s"] / row["median_s"]
            row["by_processor_time"] = times["SPAMS"]["processor_s"] / row["processor_s"]
        rows.append(row)
        ratios = row.get("times_as_fast_as_spams", 0), row.get("by_processor_time", 0)
        print(
            f"{m, n, k, num} {name:8} {row['median_s']:.4f} s, {row['per_second']:.0f}/s, "
            f"{ratios[0]:.2f} ({ratios[1]:.2f} by processor time), OMP's atoms "
            f"{row['as_omp']:.3f}, OLS's {row['as_ols']:.3f}",
            flush=True,
        )
    return rows


def encoder(A: np.ndarray, k: int):
    """`encode` with a dictionary that is prepared once."""
    return partial(by_codes, OMP(sparsity=k), prepare(A))


def atoms_of(found, k: int) -> np.ndarray:
    """The atoms of each signal from SPAMS's sparse matrix of columns; -1 where there are fewer."""
    atoms = np.full((found.shape[1], k), -1)
    counts = np.diff(found.indptr)
    atoms[np.arange(k) < counts[:, None]] = found.indices
    return atoms


if __name__ == "__main__":
    main()
