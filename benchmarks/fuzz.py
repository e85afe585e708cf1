"""Does anything break a promise? Random problems, generic and degenerate, for as long as asked.

Every property of properties.py and sorting_properties.py in tests/support, over every algorithm,
shape and precision in turn.

    python benchmarks/fuzz.py --minutes 10 [--seed 0]
"""

import argparse
import itertools
import sys
from collections import defaultdict
from pathlib import Path
from time import perf_counter

import jax
import numpy as np
from common import write_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
import draws
import properties
import sorting_properties
from algorithms import ALGORITHMS, PLACED, SOLVERS
from contract import UNSCALED
from degenerate import N
from helpers import DTYPES, forget_programs

NUM = 256  # Problems in a batch.
# m, n and the sparsity: wide, one measurement, as many atoms as measurements, and tall.
SHAPES = [(8, 16, 3), (1, 4, 1), (8, 16, 8), (12, 6, 2)]


def settings(seed: int) -> list:
    """Every solver in every shape and precision, in an order of its own for each seed.

    Networks are the same code, so in one precision, and so are structures and operators, which are
    made for a number of atoms. Operators are not brought to unit scale, and get double precision.
    """
    alone = lambda name: np.complex128 if name in UNSCALED else np.complex64
    every = [
        (shape, properties.Setting(name, shape[2], dtype))
        for shape, dtype, name in itertools.product(SHAPES, DTYPES, ALGORITHMS)
        if (name in SOLVERS or dtype is alone(name)) and (name not in PLACED or shape[1] == N)
    ]
    return [every[i] for i in np.random.default_rng(seed).permutation(len(every))]


class Tally:
    """Cases of each property: tried, counted, and how each violation can be drawn again."""

    def __init__(self) -> None:
        self.tried = defaultdict(int)
        self.undecided = defaultdict(int)
        self.violations = defaultdict(list)

    def add(self, which: str, counted, violated, again: dict, kinds: list[str]) -> None:
        """One batch of one property."""
        self.tried[which] += len(counted)
        self.undecided[which] += int(np.sum(~counted))
        self.violations[which] += [
            {**again, "index": int(i), "kind": kinds[i]} for i in np.flatnonzero(violated)
        ]

    def rows(self) -> list[dict]:
        """One entry for each property."""
        return [
            {
                "property": which,
                "tried": tried,
                "counted": tried - self.undecided[which],
                "undecided": self.undecided[which],
                "violations": len(self.violations[which]),
                "first_violations": self.violations[which][:5],
            }
            for which, tried in self.tried.items()
        ]


def one_batch(tally: Tally, seed: int, shape, setting) -> None:
    """All properties of one setting on one batch, drawn from ``seed``."""
    again = {
        "seed": seed,
        "algorithm": setting.algorithm,
        "shape": list(shape),
        "dtype": np.dtype(setting.dtype).name,
    }
    problems, kinds = draws.mixed(np.random.default_rng(seed), NUM, shape, setting.dtype)
    for which, each in properties.PROPERTIES.items():
        if each.holds_for(setting):
            found = each.check(setting, np.random.default_rng(seed), problems, optimised=True)
            tally.add(which, found.counted, found.violated, again, kinds)


def sorting_batch(tally: Tally, seed: int) -> None:
    """All properties of sorting on one batch."""
    rng = np.random.default_rng(seed)
    n, k = [(8, 3), (8, 8), (1, 1), (40, 20)][seed % 4]
    dtype = (np.float32, np.float64)[seed // 4 % 2]
    found = sorting_properties.violations(rng, NUM, n, k, dtype)
    again = {"seed": seed, "n": n, "k": k, "dtype": np.dtype(dtype).name}
    for which, violated in found.items():
        tally.add(which, np.ones(NUM, bool), violated, again, ["scores"] * NUM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the first batch; others count up")
    arguments = parser.parse_args()

    jax.config.update("jax_enable_x64", True)
    tally, start, seed, rounds = Tally(), perf_counter(), arguments.seed, 0
    order, seen = settings(arguments.seed), set()
    elapsed = lambda: (perf_counter() - start) / 60
    while elapsed() < arguments.minutes:
        for shape, setting in order:
            one_batch(tally, seed, shape, setting)
            sorting_batch(tally, seed)
            forget_programs()
            seen.add((shape, setting))
            seed += 1
            if elapsed() >= arguments.minutes:
                break
        else:
            rounds += 1
    rows = tally.rows()
    total = {
        key: sum(row[key] for row in rows)
        for key in ("tried", "counted", "undecided", "violations")
    }
    for row in rows:
        print("{property}: {counted} of {tried} counted, {violations} violations".format(**row))
    print(total)
    content = {
        "minutes": round(elapsed(), 2),
        "seeds": [arguments.seed, seed - 1],
        "problems_in_a_batch": NUM,
        "settings": {"tried": len(seen), "of": len(order), "full_rounds": rounds},
        "total": total,
        "rows": rows,
    }
    write_result("fuzz", content)
    sys.exit(total["violations"] > 0)


if __name__ == "__main__":
    main()
