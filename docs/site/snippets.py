"""The Python snippets of a page: which they are, and what they print when they run in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
_END = "-- end of a snippet --"


def snippets(text: str) -> list[str]:
    """The snippets of a page's Markdown."""
    return SNIPPET.findall(text)


def run(codes: list[str], folder: Path) -> list[str]:
    """Runs snippets in order in one fresh interpreter, as a user would, and in a folder.

    Args:
        codes: the snippets; each sees the names of those before it.
        folder: where the interpreter starts, and so where files with relative names are written.

    Returns:
        What each snippet printed.

    Raises:
        RuntimeError: a snippet failed; the message is what the interpreter wrote to stderr.
    """
    # A fresh interpreter: tests run in double precision, users in single. Compilation is nearly
    # all of the time, so XLA is asked to do less of it.
    environment = {
        **os.environ,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "MPLBACKEND": "agg",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    environment.pop("JAX_ENABLE_X64", None)
    done = subprocess.run(
        [sys.executable, "-"],
        input=f"\nprint({_END!r})\n".join(codes),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return [part.strip("\n") for part in done.stdout.split(f"{_END}\n")]
