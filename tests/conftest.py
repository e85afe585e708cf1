"""Settings for every test: double precision, and no silent broadcasting between ranks."""

import gc
import itertools
import os

# Before JAX reads it: no test may write to the cache folder of whoever runs it.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"

import jax
import pytest
from xdist.scheduler import LoadFileScheduling

from helpers import forget_programs

# Two devices, for the tests of sharded arrays; all others run on the first.
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


class _DoctestsAsUsersRunThem:
    """Runs docstring examples under JAX's own defaults, which are single precision.

    A plugin object rather than a plain conftest hook, because the hooks of tests/conftest.py see
    only the items under tests/, and the examples live in greedyjax/.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        if not isinstance(item, pytest.DoctestItem):
            return (yield)
        jax.config.update("jax_enable_x64", False)
        jax.config.update("jax_numpy_rank_promotion", "allow")
        try:
            return (yield)
        finally:
            jax.config.update("jax_enable_x64", True)
            jax.config.update("jax_numpy_rank_promotion", "raise")


def _compile_in_a_hurry():
    """Sets what tests compile with, in the processes that this one starts.

    XLA's new emitters of fused loops take half of the time of compiling. Programs this small are
    not worth cutting into parts for many threads, and nobody reads where their operations come
    from.
    """
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
    options = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
    for name, value in options.items():
        try:  # An unknown flag would end every process, an unknown option is an error.
            jax.jit(lambda: 0, compiler_options={name: value})()
        except jax.errors.JaxRuntimeError:
            continue
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{name}={value}".lower()


class _ByAlgorithm(LoadFileScheduling):
    """What one process runs: a file, but of the contract, the longest, one algorithm."""

    def _split_scope(self, nodeid):
        file, _, case = nodeid.partition("[")
        if "test_contract.py" not in file:
            return super()._split_scope(nodeid)
        return case.rstrip("]").split("-float")[0].split("-complex")[0]


def pytest_xdist_make_scheduler(config, log):
    return _ByAlgorithm(config, log)


def pytest_collection_modifyitems(config, items):
    """Annotations are checked on calls that are meant to be right: others fail there too early."""
    if not config.option.jaxtyping_packages:
        return
    wrong = [item for item in items if item.get_closest_marker("wrong_types")]
    config.hook.pytest_deselected(items=wrong)
    items[:] = [item for item in items if item not in wrong]


def pytest_addoption(parser):
    text = "compile without optimisations, as the quick tests always do"
    parser.addoption("--hurry", action="store_true", help=text)


def pytest_configure(config):
    hurry = config.option.hurry or config.option.markexpr == "not slow"
    if hurry and not hasattr(config, "workerinput"):
        _compile_in_a_hurry()
    config.pluginmanager.register(_DoctestsAsUsersRunThem(), "doctests-as-users-run-them")


def pytest_collection_finish():
    """What was imported and collected stays: the garbage collector need not look at it again.

    Nor as often, beside what a trace makes and drops.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


_ended = itertools.count(1)


def pytest_runtest_teardown():
    if next(_ended) % 25 == 0:  # Counting mappings takes a while, and as many tests add few.
        forget_programs()
