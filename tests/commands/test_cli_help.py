"""The help has examples, the version is printed, and a missing extra is named."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import greedyjax
from greedyjax import cli
from helpers import slow_but

ROOT = Path(greedyjax.__file__).parents[1]
(ACTION,) = (
    action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction)
)
COMMANDS = ACTION.choices


def example(help):
    """The lines under the last "example:", as somebody copies them from the terminal."""
    _, found, lines = help.rpartition("\nexample:\n")
    assert found, help
    assert all(line.startswith("  ") for line in lines.splitlines()), lines
    return lines


def shell(text, folder):
    """Runs it as a shell does in which this Python and its programs come first."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def run(code):
    """A fresh interpreter that may end with an exit code of its own."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_every_help_ends_with_an_example():
    assert set(COMMANDS) == {"demo", "train", "recover", "reproduce", "info"}
    for name, parser in COMMANDS.items():
        assert f"greedyjax {name} " in example(parser.format_help())
    assert "greedyjax info " in example(cli._parser().format_help())


def test_example_of_greedyjax(tmp_path):
    printed = shell(example(cli._parser().format_help()), tmp_path)
    assert printed.startswith(f"greedyjax          {greedyjax.__version__}, ")
    assert printed.endswith(example(COMMANDS["train"].format_help()))


def test_example_of_info(tmp_path):
    assert shell(example(COMMANDS["info"].format_help()), tmp_path) == ""
    assert "\ndevices " in (tmp_path / "info.txt").read_text()


def test_example_of_reproduce(tmp_path):
    shell(example(COMMANDS["reproduce"].format_help()), tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"fig1.json", "fig1.png"}


@pytest.mark.slow
def test_examples_of_train_and_recover(tmp_path):
    printed = shell(example(COMMANDS["train"].format_help()), tmp_path)
    assert "wrote trained/" in printed
    shell(example(COMMANDS["recover"].format_help()), tmp_path)
    X, found = np.load(tmp_path / "data.npz")["X"], np.load(tmp_path / "X.npy")
    # With w = 1 it is about 0.4; the docs have both numbers.
    assert np.mean(np.sum(np.abs(found - X) ** 2, axis=1)) < 0.05


# The example of the demo is the quick start's command, which test_cli_demo.py runs.
def test_example_of_demo_is_that_of_the_quick_start():
    (command,) = example(COMMANDS["demo"].format_help()).split("\n")[:-1]
    assert command.strip() in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{greedyjax.__version__}\n"


@pytest.mark.parametrize("missing", slow_but(["pydicom"], ["matplotlib", "pydicom", "pywt"]))
def test_demo_names_its_extra_in_one_line(missing, tmp_path):
    ran = run(
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from greedyjax.cli import main\n"
        f"sys.exit(main(['demo', '--out', {str(tmp_path / 'out')!r}]))"
    )
    (line,) = ran.stderr.splitlines()
    assert (ran.returncode, ran.stdout) == (2, "")
    assert line.startswith("greedyjax demo: error: ")
    assert 'pip install "greedyjax[demo]"' in line


def test_help_needs_no_extra_and_no_network_library():
    ran = run(
        "import sys\n"
        "extras = ('matplotlib', 'pydicom', 'pywt', 'sklearn', 'flatbuffers', 'optax', 'flax')\n"
        "sys.modules.update(dict.fromkeys(extras))\n"
        "from greedyjax.cli import main\n"
        "main(['demo', '--help'])"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == COMMANDS["demo"].format_help()
