"""What the benchmark scripts share: honest timing, and results that say where they come from."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, process_time, sleep

import jax
import numpy as np

RESULTS = Path(__file__).parent / "results"


def timed(function, *arguments, repeats: int = 100) -> dict[str, float]:
    """Times a jitted function: compilation apart, then the median and quartiles of many runs."""
    start = perf_counter()
    jax.block_until_ready(function(*arguments))
    compile_s = perf_counter() - start
    runs = []
    for _ in range(repeats):
        start = perf_counter()
        jax.block_until_ready(function(*arguments))
        runs.append(1e3 * (perf_counter() - start))
    low, median, high = np.percentile(runs, [25, 50, 75])
    return {"median_ms": median, "quartiles_ms": [low, high], "first_call_s": compile_s}


def interleaved(functions: dict, repeats: int, rest: float = 0.0) -> dict[str, dict]:
    """Times functions that block, in turn, so that whatever the machine does meets them all.

    A rest before each lets the threads of the library before it go to sleep: OpenMP's wait for
    more work at full speed, for up to 0.2 s.

    Returns for each the first call apart, which compiles, then median and quartiles in seconds, and
    the median of the seconds that processors worked, which other programs disturb less.
    """
    first, runs, worked = {}, {name: [] for name in functions}, {name: [] for name in functions}
    for name, function in functions.items():
        start = perf_counter()
        function()
        first[name] = perf_counter() - start
    for _ in range(repeats):
        for name, function in functions.items():
            sleep(rest)
            start, begun = perf_counter(), process_time()
            function()
            runs[name].append(perf_counter() - start)
            worked[name].append(process_time() - begun)
    times = {}
    for name, seconds in runs.items():
        low, median, high = np.percentile(seconds, [25, 50, 75]).tolist()
        times[name] = {
            "median_s": median, "quartiles_s": [low, high], "first_call_s": first[name],
            "processor_s": float(np.median(worked[name])),
        }  # fmt: skip
    return times


def processor() -> str:
    """The processor's own name for itself, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def load_result(name: str) -> dict:
    """What `write_result` wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of packages; a package on the path alone, as in a bare checkout, has none."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_result(script: str, content: dict, path: Path | None = None) -> Path:
    """Writes ``results/<script>.json``, or ``path``, with the versions and the machine."""
    packages = ("greedyjax", "jax", "jaxlib", "flax", "optax", "numpy")
    provenance = {
        "script": f"benchmarks/{script}.py",
        "versions": {"python": platform.python_version(), **versions(packages)},
        "machine": {
            "device": jax.devices()[0].device_kind,
            "processor": processor(),
            "cores": os.cpu_count(),
        },
    }
    path = path or RESULTS / f"{script}.json"
    path.write_text(json.dumps({**provenance, **content}, indent=2) + "\n")
    return path
