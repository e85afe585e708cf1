"""Settings for every test: double precision, and no silent broadcasting between ranks."""

import jax
import pytest

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


def pytest_configure(config):
    config.pluginmanager.register(_DoctestsAsUsersRunThem(), "doctests-as-users-run-them")


@pytest.fixture(scope="module", autouse=True)
def _forget_what_was_compiled():
    """Each program keeps memory mappings, of which a process may have only so many (65,530)."""
    yield
    jax.clear_caches()
