"""`greedyjax info` prints versions and devices, and computes nothing."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jax
import pytest

import greedyjax

ROOT = Path(greedyjax.__file__).parents[1]


def info(*options, **environment):
    """What it prints in a fresh interpreter, by the name that begins each line."""
    command = [sys.executable, "-m", "greedyjax", "info", *options]
    unset = ("JAX_ENABLE_X64", "JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    ran = subprocess.run(
        command, cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    width = len("compilation cache  ")
    return {line[:width].strip(): line[width:] for line in lines}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    home = str(tmp_path_factory.mktemp("home"))
    return info(HOME=home, XDG_CACHE_HOME=home, JAX_NUM_CPU_DEVICES="2"), home


def test_versions(told):
    lines, _ = told
    assert lines["greedyjax"].startswith(f"{greedyjax.__version__}, ")
    assert lines["Python"].startswith(platform.python_version())
    for name in ("jax", "jaxlib", "flax", "optax", "numpy", "matplotlib", "scikit-learn"):
        assert lines[name] == version(name)


def test_devices_and_precision(told):
    lines, _ = told
    if jax.default_backend() == "cpu":
        assert lines["devices"] == "2 x cpu (cpu)"
    assert lines["precision"] == "single"


def test_where_compiled_programs_are_kept(told):
    lines, home = told
    assert lines["compilation cache"].startswith(f"on, {home}/greedyjax/compiled-")


def test_settings_of_jax_are_said(tmp_path):
    own = str(tmp_path / "own")
    lines = info(JAX_ENABLE_X64="1", JAX_COMPILATION_CACHE_DIR=own)
    assert lines["precision"] == "double (JAX_ENABLE_X64)"
    assert lines["compilation cache"] == f"on, {own}"


def test_a_cache_that_is_turned_off(tmp_path):
    home = str(tmp_path)
    assert info("--no-compilation-cache", HOME=home)["compilation cache"] == "off"
    said = info(JAX_ENABLE_COMPILATION_CACHE="0", HOME=home)["compilation cache"]
    assert said == "off (JAX_ENABLE_COMPILATION_CACHE)"


def test_what_is_missing_is_said():
    code = (
        "import jax\n"
        "from greedyjax.commands import _info\n"
        "def none():\n"
        "    raise RuntimeError('no driver\\nfor this device')\n"
        "jax.devices = none\n"
        "print(_info._version('no-such-package-of-anybody'))\n"
        "print(_info._devices())\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["not installed", "none: no driver for this device"]
