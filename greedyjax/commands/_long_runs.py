"""Messages about runs that will take much time or memory, printed when they begin."""

import sys
from typing import Any

import jax
from tqdm import tqdm

LONG, MUCH = 60.0, 2**30  # Runs above these seconds or bytes are announced.


def stage(text: str) -> None:
    """Prints at once what is computed from now on, also if no terminal shows a progress bar."""
    print(text, flush=True)


def say(command: str, *, seconds: float = 0.0, memory: float = 0.0) -> None:
    """Prints how long the rest will take and how much memory it needs, if this is much."""
    parts = []
    if seconds >= LONG:
        parts.append(f"about {_duration(seconds)} to go")
    if memory >= MUCH:
        parts.append(f"about {memory / 2**30:.1f} GiB of memory")
    if parts:  # tqdm makes room if it shows a bar.
        tqdm.write(f"greedyjax {command}: {', '.join(parts)}", file=sys.stderr)


def memory_of(compiled: Any, copies: int) -> int:
    """Bytes that ``copies`` simultaneous runs of a compiled function take, as XLA plans it."""
    plan = compiled.memory_analysis()
    if plan is None:  # Not every backend has this analysis.
        return 0
    each = plan.temp_size_in_bytes + plan.output_size_in_bytes
    return plan.argument_size_in_bytes + copies * each


def memory_so_far() -> int:
    """The peak number of bytes in use: on the device, or by the process on a CPU."""
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats.get("peak_bytes_in_use", 0)
    try:
        import resource
    except ImportError:  # Windows.
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
