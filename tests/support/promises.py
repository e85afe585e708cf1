"""Writes docs/promises.md: what is promised, and which test tries to break it.

python tests/support/promises.py
"""

import ast
import importlib.util
from collections import defaultdict
from pathlib import Path

import numpy as np

from algorithms import ALGORITHMS, PARTS, SOLVERS
from contract import M, every_row
from degenerate import N, cases

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "promises.md"

INTRODUCTION = """\
# What the library promises, and where it is tested

This page is for readers who want to know which promise is tested, and where. After it you can find
the test of every promise. It is a list to look things up in, and not a text to read.

*`python tests/support/promises.py` writes this page, and a test checks that it is current.*

## The contract

The tests check every promise below for every algorithm, on {cases} inputs, most of them degenerate.
The oracles are plain NumPy. [`tests/test_contract.py`](../tests/test_contract.py) has the promises,
[`algorithms.py`](../tests/support/algorithms.py) the algorithms, and
[`degenerate.py`](../tests/support/degenerate.py) the inputs. An algorithm of your own
[joins them with two lines](own_algorithm.md#the-contract).

A setting is one algorithm at one dtype, number of measurements and sparsity. Quick settings run
with `pytest`, and all others with `pytest -m slow`.
"""
ALGORITHMS_OF = """\
### Algorithms

There are {algorithms} algorithms. {solvers} are solvers with their own code. {parts} are
combinations of a solver with a relaxation, a structure or an operator. {others} are networks and
batches, which call a solver. Problems have {atoms} atoms, and {m} measurements unless the setting
says otherwise. Quick settings are in bold type.
"""
SORTING = """\
## The contract of sorting

The tests check these promises for [every sorting function](../tests/test_contract_sorting.py), on
ties and at every scale.
"""
FILES = """\
## Everything else

The first line of each file of tests says what it checks.
"""
PARTS_OF_TESTS = {
    "": "Everywhere",
    "commands": "Commands",
    "linalg": "Linear algebra",
    "nets": "Networks",
    "off_grid": "Atoms off the grid",
    "operators": "Operators",
    "policies": "Policies",
    "problems": "Problems",
    "pursuit": "Solvers",
    "sklearn": "Estimators",
    "sorting": "Sorting",
    "structures": "Structures",
    "training": "Training",
}


def page() -> str:
    """The page for the present tests."""
    table = cases(np.float64, M)
    counts = {
        "algorithms": len(ALGORITHMS),
        "solvers": len(SOLVERS),
        "parts": len(PARTS),
        "others": len(ALGORITHMS) - len(set(SOLVERS) | set(PARTS)),
        "atoms": N,
        "m": M,
    }
    sections = [
        _paragraphs(INTRODUCTION.format(cases=len(table))),
        _table("| promise | settings | quick settings |", _promises("test_contract")),
        f"### Inputs\n\n{'; '.join(table)}.\n",
        _paragraphs(ALGORITHMS_OF.format(**counts)),
        _table("| algorithms | settings |", _algorithms()),
        _paragraphs(SORTING),
        _table("| promise | cases | quick cases |", _promises("test_contract_sorting")),
        _paragraphs(FILES),
    ]
    for folder, rows in sorted(_files().items()):
        sections += [f"### {PARTS_OF_TESTS[folder]}\n", _table("| promise | tests |", rows)]
    return "\n".join(sections)


def _promises(module: str):
    """The tests of a table: the promise of each, and its numbers of settings."""
    spec = importlib.util.spec_from_file_location(module, TESTS / f"{module}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    for name, test in vars(loaded).items():
        if not name.startswith("test_"):
            continue
        quick, slow = _settings(getattr(test, "pytestmark", []))
        yield name.removeprefix("test_").replace("_", " "), quick + slow, quick


def _settings(marks) -> tuple[int, int]:
    """The numbers of quick and of slow combinations of parameters."""
    quick, slow = 1, 0
    for mark in marks:
        if mark.name == "slow":
            quick, slow = 0, quick + slow
        if mark.name == "parametrize":
            values = mark.args[1]
            is_slow = [
                any(each.name == "slow" for each in getattr(value, "marks", ())) for value in values
            ]
            kept = is_slow.count(False)
            quick, slow = quick * kept, (quick + slow) * len(is_slow) - quick * kept
    return quick, slow


def _algorithms():
    """The algorithms that share settings, and the settings, with quick settings in bold type."""
    settings = defaultdict(list)
    for parameters in every_row.mark.args[1]:
        (row,) = parameters.values
        text = f"{row.dtype.__name__}, {row.sparsity} atom{'s' * (row.sparsity > 1)}"
        text += "" if row.m == M else f" of {row.m} measurement"
        settings[row.name].append(text if parameters.marks else f"**{text}**")
    sharing = defaultdict(list)
    for name, each in settings.items():
        sharing["; ".join(each)].append(name)
    return [("; ".join(names), each) for each, names in sharing.items()]


def _files():
    """For each folder, the first sentence of every file of tests, and a link to the file."""
    found = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        name = path.relative_to(TESTS)
        folder = "" if name.parent == Path() else name.parent.as_posix()
        promise = " ".join((docstring or "").partition("\n\n")[0].split())
        found[folder].append((promise, f"[`{name.name}`](../tests/{name.as_posix()})"))
    return found


def _paragraphs(text: str) -> str:
    """The text with each paragraph in one line."""
    return "\n\n".join(" ".join(each.split()) for each in text.split("\n\n")) + "\n"


def _table(head: str, rows) -> str:
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    lines += [
        "| " + " | ".join(str(cell).replace("|", r"\|") for cell in row) + " |" for row in rows
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
