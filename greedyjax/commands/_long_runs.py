"""What a command says of a run that will take long, or much memory, when it begins."""

import sys
from typing import Any

import jax
from tqdm import tqdm

LONG, MUCH = 60.0, 2**30  # Runs above these seconds or bytes are announced.


def stage(text: str) -> None:
    """Says what is computed from now on, at once, also where no terminal shows a bar."""
    print(text, flush=True)


def say(command: str, *, seconds: float = 0.0, memory: float = 0.0) -> None:
    """Says how long the rest will take and how much memory it needs, where that is much."""
    parts = []
    if seconds >= LONG:
        parts.append(f"about {_duration(seconds)} to go")
    if memory >= MUCH:
        parts.append(f"about {memory / 2**30:.1f} GiB of memory")
    if parts:  # By tqdm, which makes room where it shows a bar.
        tqdm.write(f"greedyjax {command}: {', '.join(parts)}", file=sys.stderr)


def memory_of(compiled: Any, copies: int) -> int:
    """Bytes that a compiled function takes, as XLA plans it, run so many times at once."""
    plan = compiled.memory_analysis()
    if plan is None:  # Not every backend has this analysis.
        return 0
    each = plan.temp_size_in_bytes + plan.output_size_in_bytes
    return plan.argument_size_in_bytes + copies * each


def memory_so_far() -> int:
    """The most bytes that were in use at a time: on the device, or by the process on a CPU."""
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
