"""Which form of OMP is faster, the Gram matrix or residuals, and what does the plan take?

A grid of sizes, with both forms of `encode` on all processors, by turns, and the dictionary's part
in it. A few constants are fitted to the grid: see `fitted`. The rule is then judged on ten sizes
that were not fitted: the time of the form that it takes over that of the better one.

    python benchmarks/plan_grid.py [--quick]

--quick measures a part of the grid with fewer signals, and writes nothing.
"""

import argparse
from functools import partial
from itertools import product

import forms
import jax
import numpy as np
from common import interleaved, write_result
from vectors import vectors

from greedyjax import streaming
from greedyjax.pursuit import plan

GRID = [*product((64, 128, 256), (256, 1024, 4096), (4, 16, 32))]
UNSEEN = [
    (48, 384, 6), (64, 512, 12), (64, 2048, 10), (96, 768, 24), (100, 1000, 5), (128, 1536, 12),
    (160, 640, 20), (192, 3072, 24), (256, 512, 48), (400, 1600, 40),
]  # fmt: skip
NUMBERS, REPEATS = 2**26, 3  # Multiplications of a step's product m n, over all signals.

solve = jax.jit(forms.in_form, static_argnames=("sparsity", "by_gram", "size", "dense"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures both forms of OMP on a grid of sizes.")
    parser.add_argument("--quick", action="store_true", help="a part of the grid; writes nothing")
    quick = parser.parse_args().quick
    rows = [measure(*sizes, quick) for sizes in (GRID[::9] if quick else GRID)]
    unseen = [measure(*sizes, quick) for sizes in (UNSEEN[:1] if quick else UNSEEN)]
    for name, some in (("the grid", rows), ("the unseen sizes", unseen)):
        worst = max(row["over_better"] for row in some)
        print(f"{name}: the plan takes at most {worst:.2f} times the time of the better form")
    if not quick:
        write_result("plan_grid", {"dtype": "float32", "grid": rows, "unseen": unseen})


def measure(m: int, n: int, k: int, quick: bool) -> dict:
    """Seconds of both forms, and what the plan takes."""
    num = int(np.clip(NUMBERS / (m * n * (8 if quick else 1)), 256, 8192))
    A, _, Y = vectors(m, n, k, num)
    runs = {
        name: lambda by_gram=by_gram: streaming.recover(
            partial(solve, A, sparsity=k, by_gram=by_gram, size=None, dense=False), Y
        )
        for name, by_gram in (("gram", True), ("residuals", False))
    }
    times = interleaved(runs, REPEATS, rest=0.1)
    settings = {"has_gram": False, "gram_serves": True, "backend": jax.default_backend()}
    by_gram = plan(m, n, k, num, 4, **settings).by_gram
    seconds = {name: time["median_s"] for name, time in times.items()}
    row = {"m": m, "n": n, "k": k, "batch": num, **{f"{f}_s": s for f, s in seconds.items()}}
    row |= {f"{name}_processor_s": time["processor_s"] for name, time in times.items()}
    row |= {"planned": "gram" if by_gram else "residuals"}
    row["over_better"] = seconds[row["planned"]] / min(seconds.values())
    print(
        ", ".join(f"{k}: {v:.3g}" if isinstance(v, float) else f"{v}" for k, v in row.items()),
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
