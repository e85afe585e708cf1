"""The folder in which the commands store compiled programs, so that a second run is faster."""

import platform
import zlib
from pathlib import Path
from typing import Any

import jax
import platformdirs

# The size of the folder above which the oldest programs are deleted.
_MOST_BYTES = 2**30


def keep() -> None:
    """Lets JAX store compiled programs in the user's cache folder.

    JAX's own settings take precedence. If ``JAX_COMPILATION_CACHE_DIR`` names a folder, JAX uses
    that folder. If ``JAX_ENABLE_COMPILATION_CACHE`` is 0, nothing is stored.
    """
    config: Any = jax.config  # The type of jax.config does not list its settings.
    if not config.jax_enable_compilation_cache or config.jax_compilation_cache_dir:
        return
    folder = platformdirs.user_cache_path("greedyjax", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _trim(folder, _MOST_BYTES)
    except OSError:
        return  # For example, a home folder that is read-only. Everything works without a cache.
    config.update("jax_compilation_cache_dir", str(folder / f"compiled-{_processor()}"))
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _trim(folder: Path, most: int) -> None:
    """Deletes the oldest files, until the others have at most ``most`` bytes."""
    files = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
    size = sum(stat.st_size for _, stat in files)
    for path, stat in sorted(files, key=lambda file: file[1].st_mtime):
        if size <= most:
            return
        path.unlink(missing_ok=True)
        size -= stat.st_size


def _processor() -> str:
    """A name for the instruction set of this processor.

    Machines may share a home folder, and JAX does not check that a stored program fits a processor.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = ("flags", "Features")  # On x86 and on ARM.
    found = next((line for line in lines if line.startswith(names)), platform.processor())
    return f"{zlib.crc32(found.encode()):08x}"
