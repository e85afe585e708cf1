"""Where the commands keep what JAX has compiled, so that a second run does not compile it again."""

import platform
import zlib
from pathlib import Path
from typing import Any

import jax
import platformdirs

# What the folder may hold before the oldest programs are deleted.
_MOST_BYTES = 2**30


def keep() -> None:
    """Lets JAX keep compiled programs in the user's cache folder.

    JAX's own settings go first: where ``JAX_COMPILATION_CACHE_DIR`` names a folder, it stays that
    one, and where ``JAX_ENABLE_COMPILATION_CACHE`` is 0, nothing is kept.
    """
    config: Any = jax.config  # The type of jax.config does not list its settings.
    if not config.jax_enable_compilation_cache or config.jax_compilation_cache_dir:
        return
    folder = platformdirs.user_cache_path("greedyjax", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _trim(folder, _MOST_BYTES)
    except OSError:
        return  # As in a home that cannot be written to: everything works without.
    config.update("jax_compilation_cache_dir", str(folder / f"compiled-{_processor()}"))
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _trim(folder: Path, most: int) -> None:
    """Deletes the files that were written first, until the rest have no more bytes than that."""
    files = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
    size = sum(stat.st_size for _, stat in files)
    for path, stat in sorted(files, key=lambda file: file[1].st_mtime):
        if size <= most:
            return
        path.unlink(missing_ok=True)
        size -= stat.st_size


def _processor() -> str:
    """A name for what this processor can do: JAX does not ask, and homes are shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = ("flags", "Features")  # On x86 and on ARM.
    found = next((line for line in lines if line.startswith(names)), platform.processor())
    return f"{zlib.crc32(found.encode()):08x}"
