"""Importing greedyjax has no side effects; each is checked in a fresh interpreter."""

import pathlib
import subprocess
import sys

import pytest

import greedyjax

# The interpreter starts where greedyjax lies, so that it need not be installed.
ROOT = pathlib.Path(greedyjax.__file__).parents[1]


def run(code):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_loads_nothing_that_the_solvers_do_not_need():
    loaded = run(
        "import sys, greedyjax\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
        "print(*[name for name in sys.modules if name.startswith('greedyjax.')])"
    )
    assert {"greedyjax", "jax", "greedyjax.pursuit"} <= set(loaded)  # So the list is one.
    heavy = {"flax", "optax", "orbax", "matplotlib", "pydicom", "pywt", "tqdm", "sklearn"}
    names = ("nets", "training", "problems", "plotting", "metrics", "sklearn")
    lazy = {f"greedyjax.{name}" for name in names}
    assert not (heavy | lazy) & set(loaded)


def test_changes_no_setting_of_jax_and_prints_nothing():
    before_and_after = (
        "import jax\n"
        "before = dict(jax.config.values)\n"
        "import greedyjax\n"
        "assert len(before) > 20\n"
        "assert dict(jax.config.values) == before"
    )
    assert run(before_and_after) == []


def test_works_without_scikit_learn_and_says_who_brings_it():
    message = run(
        "import sys\n"
        "sys.modules['sklearn'] = None\n"
        "from greedyjax import *\n"
        "import greedyjax\n"
        "try:\n"
        "    greedyjax.sklearn\n"
        "except ImportError as error:\n"
        "    print(error)"
    )
    assert 'pip install "greedyjax[sklearn]" brings it' in " ".join(message)


def test_scikit_learn_is_found_beside_the_module_of_that_name():
    run(
        "import sklearn, greedyjax\n"
        "assert greedyjax.sklearn.__name__ == 'greedyjax.sklearn'\n"
        "assert sklearn.__name__ == 'sklearn'\n"
        "assert issubclass(greedyjax.sklearn.SparseCoder, sklearn.base.BaseEstimator)"
    )


def test_public_names():
    assert greedyjax.__all__ == sorted(greedyjax.__all__)
    assert len(set(greedyjax.__all__)) == len(greedyjax.__all__)
    assert set(greedyjax.__all__) <= set(dir(greedyjax))
    for name in greedyjax.__all__:
        assert getattr(greedyjax, name) is not None
    assert callable(greedyjax.nets.OMPNet)
    assert greedyjax.training is sys.modules["greedyjax.training"]


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="module 'greedyjax' has no attribute 'no_such_name'"):
        greedyjax.no_such_name  # noqa: B018
