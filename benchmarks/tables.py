"""Writes the tables of README.md from the results, between their markers.

python benchmarks/tables.py
"""

import json
import re
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def demo() -> str:
    """Methods of the demo by falling SNR."""
    result = json.loads((RESULTS / "demo.json").read_text())
    lines = [
        "| method | SNR (dB) | each draw (dB) | median SNR (dB) | seconds |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(result["rows"], key=lambda row: -row["snr_db"]):
        draws = ", ".join(f"{value:.1f}" for value in row["snr_db_draws"])
        cells = f"{row['snr_db']:.1f} | {draws} | {row['snr_db_median']:.1f} | {row['seconds']:.1f}"
        lines.append(f"| {row['method']} | {cells} |")
    return "\n".join(lines)


def paper() -> str:
    """Test error of hard OMP on the paper's problem, median and range over the seeds."""
    result = json.loads((RESULTS / "paper_problem.json").read_text())
    names = {
        "ones": "`w = 1`",
        "learned": "learned from true signals",
        "learned_from_measurements": "learned from measurements alone",
        "counted_from_measurements": "counted from measurements alone",
        "oracle": "oracle: 1 on the hidden set, 0 off it",
    }
    systems = ("complex", "stacked real")
    num = len({row["seed"] for row in result["rows"]})
    lines = [f"| weights | complex, {num} seeds | stacked, {num} seeds |", "|---|---|---|"]
    for key, name in names.items():
        cells = []
        for system in systems:
            values = [row[key] for row in result["rows"] if row["system"] == system]
            cells.append(f"{median(values):.1e} ({min(values):.1e} to {max(values):.1e})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def filled(text: str) -> str:
    """The text with every table between its markers as the results have it."""
    for name, table in (("demo", demo()), ("paper", paper())):
        marks = rf"(<!-- {name} table -->\n).*?(\n<!-- end of {name} table -->)"
        text, found = re.subn(marks, rf"\g<1>{table}\g<2>", text, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"README.md: expected one {name} table, got {found}")
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text()))
