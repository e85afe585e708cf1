"""Runs that take much time or memory are announced, and no others; the amounts are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from greedyjax.commands import _long_runs


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"seconds": 59, "memory": 2**30 - 1}, ""),
        ({"seconds": 60}, "greedyjax train: about 1 minutes to go\n"),
        ({"seconds": 5399}, "greedyjax train: about 90 minutes to go\n"),
        ({"seconds": 9000}, "greedyjax train: about 2.5 hours to go\n"),
        ({"memory": 1.5 * 2**30}, "greedyjax train: about 1.5 GiB of memory\n"),
        (
            {"seconds": 600, "memory": 2**32},
            "greedyjax train: about 10 minutes to go, about 4.0 GiB of memory\n",
        ),
    ],
)
def test_only_what_is_long_or_large_is_said(facts, said, capsys):
    _long_runs.say("train", **facts)
    assert capsys.readouterr() == ("", said)


def test_memory_of_what_is_compiled():
    """Two arguments are there once, each run has a result of its own."""
    x = jax.ShapeDtypeStruct((1000,), jnp.float32)
    compiled = jax.jit(lambda x, y: x + y).lower(x, x).compile()
    assert _long_runs.memory_of(compiled, 3) == 2 * 4000 + 3 * 4000


def test_memory_so_far_is_what_arrays_took():
    before = _long_runs.memory_so_far()
    array = np.ones((16, 2**20))  # All of it written to.
    assert _long_runs.memory_so_far() >= max(before, array.nbytes)
