"""`greedyjax info`: what a bug report should say about the machine and its software."""

import os
import platform
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax

import greedyjax

NEEDED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy")
# From the extras; no solver needs these.
OPTIONAL = ("matplotlib", "PyWavelets", "pydicom", "scikit-learn", "flatbuffers")


def info(options: Namespace) -> None:
    """Prints one line for each fact, beginning with its name."""
    lines = list(_lines())
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:{width}}  {value}")


def _lines() -> Iterator[tuple[str, str]]:
    yield "greedyjax", f"{greedyjax.__version__}, {os.path.dirname(greedyjax.__file__)}"
    yield "Python", f"{platform.python_version()} ({sys.implementation.name}), {sys.executable}"
    for name in (*NEEDED, *OPTIONAL):
        yield name, _version(name)
    yield "system", f"{platform.platform()}, {os.cpu_count()} processors"
    yield "devices", _devices()
    config: Any = jax.config  # The type of jax.config does not list its settings.
    yield "precision", "double (JAX_ENABLE_X64)" if config.jax_enable_x64 else "single"
    yield "products", config.jax_default_matmul_precision or "as the device multiplies by default"
    yield "compilation cache", _cache(config)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> str:
    """The number of devices of each kind, or why there are none."""
    try:
        kinds = Counter(f"{device.platform} ({device.device_kind})" for device in jax.devices())
    except RuntimeError as error:  # For example, a driver that is too old.
        return f"none: {' '.join(str(error).split())}"
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items())


def _cache(config: Any) -> str:
    """The folder of stored programs, if the command line has asked JAX to store them."""
    if not config.jax_enable_compilation_cache:
        return "off (JAX_ENABLE_COMPILATION_CACHE)"
    return f"on, {config.jax_compilation_cache_dir}" if config.jax_compilation_cache_dir else "off"
