"""The tables of the README and the docs are those of the committed results."""

import json
from pathlib import Path

from helpers import benchmark

ROOT = Path(__file__).parent.parent


def test_tables_are_those_of_the_committed_results():
    tables = benchmark("tables")
    for name in tables.TABLES:
        text = (ROOT / name).read_text()
        assert tables.filled(name, text) == text, name
    readme = (ROOT / "README.md").read_text()
    best = max(
        json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text())["rows"],
        key=lambda row: row["snr_db"],
    )
    assert f"| {best['method']} | {best['snr_db']:.1f} |" in readme


def test_results_name_their_script_the_machine_and_the_versions():
    results = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert results
    for path in results:
        content = json.loads(path.read_text())
        assert {"machine", "versions"} <= set(content), path.name
        # The demo's are from the command.
        script = content.get("script", "greedyjax/commands/_demo.py")
        assert (ROOT / script).is_file(), path.name
        assert {"python", "jax", "greedyjax"} <= set(content["versions"]), path.name
