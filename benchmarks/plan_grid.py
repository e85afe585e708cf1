"""Which form of OMP is faster, the Gram matrix or residuals, and what does the plan take?

A grid of sizes, with both forms of `encode` on all processors, by turns; each batch makes its own
Gram matrix. The constants of a model of both forms are fitted to the grid, see `fitted`. The plan
of the library and that of the model are judged on ten sizes that were not fitted: the time of the
form that they take over that of the better one. All of this is by the time that processors worked,
which other programs disturb less than the clock.

    python benchmarks/plan_grid.py [--quick]

--quick measures a part with fewer signals, and writes nothing.
"""

import argparse
import os
from functools import partial

import forms
import jax
import numpy as np
from common import interleaved, write_result
from scipy.optimize import nnls
from vectors import vectors

from greedyjax import streaming
from greedyjax.pursuit import plan

GRID = [
    (64, 256, 4), (64, 256, 16), (64, 256, 32), (64, 4096, 16), (256, 1024, 32), (128, 4096, 16),
    (128, 1024, 16), (64, 1024, 4), (256, 4096, 4), (256, 256, 16), (64, 4096, 4), (256, 4096, 32),
]  # fmt: skip
UNSEEN = [
    (48, 384, 6), (64, 512, 12), (64, 2048, 10), (96, 768, 24), (100, 1000, 5), (128, 1536, 12),
    (160, 640, 20), (192, 3072, 24), (256, 512, 48), (400, 1600, 40),
]  # fmt: skip
NUMBERS, REPEATS = 2**26, 3  # Multiplications of a step's product m n, over all signals.
PROCESSORS = len(os.sched_getaffinity(0))
CONSTANTS = ("gram_atom", "residual_step", "multiplication")

solve = jax.jit(forms.in_form, static_argnames=("sparsity", "by_gram", "size", "dense"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures both forms of OMP on a grid of sizes.")
    parser.add_argument("--quick", action="store_true", help="a part of the grid; writes nothing")
    quick = parser.parse_args().quick
    grid = [measure(*sizes, quick) for sizes in (GRID[:7] if quick else GRID)]
    unseen = [measure(*sizes, quick) for sizes in (UNSEEN[:2] if quick else UNSEEN)]
    report(grid, unseen)
    if not quick:
        write_result("plan_grid", result(grid, unseen))


def result(grid: list[dict], unseen: list[dict]) -> dict:
    """What is written: the constants, the rows, and how busy the machine was."""
    found = {"nanoseconds": fitted(grid), "grid": grid, "unseen": unseen}
    return {"dtype": "float32", "load": os.getloadavg()[0], **found}


def report(grid: list[dict], unseen: list[dict]) -> None:
    """The constants, and what the plan and the model lose."""
    constants = fitted(grid)
    print(", ".join(f"{name}: {value:.3g} ns" for name, value in constants.items()))
    for name, rows in (("the grid", grid), ("the unseen sizes", unseen)):
        worst = max(row["over_better"] for row in rows)
        of_model = max(over_better(row, modelled(row, constants)) for row in rows)
        print(f"{name}: at most {worst:.2f} of the better time as planned, {of_model:.2f} by model")


def measure(m: int, n: int, k: int, quick: bool = False) -> dict:
    """Seconds of both forms, and what the plan takes."""
    num = int(np.clip(NUMBERS / (m * n * (8 if quick else 1)), 256, 4096))
    A, _, Y = vectors(m, n, k, num)
    runs = {
        name: lambda by_gram=by_gram: streaming.recover(
            partial(solve, A, sparsity=k, by_gram=by_gram, size=None, dense=False), Y
        )
        for name, by_gram in (("gram", True), ("residuals", False))
    }
    times = interleaved(runs, REPEATS, rest=0.1)
    row = {"m": m, "n": n, "k": k, "batch": -(-num // PROCESSORS), "batches": PROCESSORS}
    for name, time in times.items():
        row |= {f"{name}_s": time["median_s"], f"{name}_processor_s": time["processor_s"]}
    row = judged(row)
    print(
        ", ".join(f"{k}: {v:.3g}" if isinstance(v, float) else f"{k}: {v}" for k, v in row.items()),
        flush=True,
    )
    return row


def judged(row: dict) -> dict:
    """With the form that the plan takes, and its time over that of the better one."""
    settings = {"has_gram": False, "gram_serves": True, "backend": "cpu"}
    by_gram = plan(row["m"], row["n"], row["k"], row["batch"], 4, **settings).by_gram
    form = "gram" if by_gram else "residuals"
    return {**row, "planned": form, "over_better": over_better(row, form)}


def over_better(row: dict, form: str) -> float:
    seconds = {name: row[f"{name}_processor_s"] for name in ("gram", "residuals")}
    return seconds[form] / min(seconds.values())


def modelled(row: dict, constants: dict[str, float]) -> str:
    """The form that takes less time by the model of `fitted`."""
    gram, residuals = np.array(counts_of(row)) @ [constants[name] for name in CONSTANTS]
    return "gram" if gram < residuals else "residuals"


def fitted(rows: list[dict]) -> dict[str, float]:
    """The constants of the model that fit the rows best, in nanoseconds for a signal.

        gram:       k gram_atom n + multiplication m n^2 / batch
        residuals:  k (residual_step + multiplication m n)

    At least 0 each, and with the least sum of squares of relative errors over both forms. Terms in
    ``k``, ``k^2 n``, and for residuals ``k n`` and ``k^2 m``, fit no better.
    """
    counts, seconds = [], []
    for row in rows:
        counts += counts_of(row)
        num = row["batch"] * row["batches"]
        seconds += [row["gram_processor_s"] / num, row["residuals_processor_s"] / num]
    relative = np.array(counts, float) / np.array(seconds)[:, None]
    found, _ = nnls(1e-9 * relative, np.ones(len(relative)))
    return dict(zip(CONSTANTS, found.tolist(), strict=True))


def counts_of(row: dict) -> list[list[float]]:
    """What the constants multiply, of either form."""
    m, n, k, batch = (row[name] for name in ("m", "n", "k", "batch"))
    return [
        [k * n, 0, n * n * m / batch],
        [0, k, k * m * n],
    ]


if __name__ == "__main__":
    main()
