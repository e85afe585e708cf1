"""The version, the citation, the classifiers and the workflows of GitHub agree."""

import re
from pathlib import Path

import greedyjax

ROOT = Path(greedyjax.__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_that_of_the_changelog_and_the_citation():
    newest = re.search(r"^## \[(.*?)\]", text("docs/changelog.md"), re.M)
    cited = re.search(r"^version: (.*)$", text("CITATION.cff"), re.M)
    assert newest[1] == cited[1] == greedyjax.__version__


def test_the_paper_is_cited_as_the_bibliography_has_it():
    (title,) = re.findall(r'^    title: "(.*)"$', text("CITATION.cff"), re.M)
    assert title.lower() in text("docs/references.bib").replace("{", "").replace("}", "").lower()


def test_workflows_call_scripts_that_the_checks_run_too():
    checks = text(".ci/run")
    assert WORKFLOWS
    for workflow in WORKFLOWS:
        called = re.findall(r"^ +- run: (.*)$", workflow.read_text(encoding="utf-8"), re.M)
        assert called, workflow.name
        assert workflow.read_text(encoding="utf-8").count("run:") == len(called)
        for command in called:
            script = command.split()[0]
            assert (ROOT / script).stat().st_mode & 0o100, f"{script} cannot be run"
            assert re.search(rf"^{re.escape(script)}\b", checks, re.M), f"{script} not in .ci/run"


def test_workflows_test_every_python_that_the_classifiers_name():
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text("pyproject.toml"))
    tested = [re.findall(r'"(3\.\d+)"', each.read_text(encoding="utf-8")) for each in WORKFLOWS]
    assert set(named) <= {version for each in tested for version in each}
