"""The tables of the README and the docs agree with the committed results."""

import json
import re
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


def test_readme_is_short_and_has_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    (start,) = re.findall(r"^## Quick start$(.*?)^## ", text, re.M | re.S)
    assert len(re.findall(r"^```bash$", start, re.M)) == 2
    prose = re.sub(r"^(```.*?^```|\|.*?$)", "", text, flags=re.M | re.S)
    plain = re.sub(r"\]\([^)]*\)|`", "", prose)
    sentences = [each for line in plain.splitlines() for each in re.split(r"(?<=[.:!?])\s", line)]
    assert len(sentences) > 50
    assert not [each for each in sentences if len(each.split()) > 30]
