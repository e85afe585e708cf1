"""The index of promises, `docs/promises.md`, agrees with the tests."""

import collections
import re
import subprocess
import sys

import pytest

import promises


def test_the_page_is_current():
    made = promises.page()
    assert promises.PAGE.read_text(encoding="utf-8") == made, "run tests/support/promises.py"


def test_every_file_of_tests_says_what_it_promises():
    assert not [
        link for rows in promises._files().values() for promise, link in rows if not promise
    ]


@pytest.mark.slow
def test_settings_are_those_that_pytest_collects():
    table = {
        promise.replace(" ", "_"): counts
        for promise, *counts in promises._promises("test_contract")
    }
    for column, which in enumerate(("slow or not slow", "not slow")):
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "-m", which]
        ran = subprocess.run(
            [*command, "-p", "no:cacheprovider", "tests/test_contract.py"],
            cwd=promises.TESTS.parent,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        found = collections.Counter(re.findall(r"::test_(\w+)", ran.stdout))
        assert found == {name: counts[column] for name, counts in table.items() if counts[column]}
