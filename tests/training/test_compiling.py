"""Compiling in less time: the same results, and no error where XLA has other options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.training import _compiling


@pytest.fixture(autouse=True)
def forgotten():
    _compiling.quick_options.cache_clear()
    yield
    _compiling.quick_options.cache_clear()


def test_answers_are_those_of_jit():
    rng = np.random.default_rng(0)
    A, Y = rng.standard_normal((12, 20)), rng.standard_normal((5, 12))
    solve = lambda A, Y: jax.vmap(lambda y: gj.omp(A, y, sparsity=4).x)(Y)
    np.testing.assert_allclose(_compiling.quick_jit(solve)(A, Y), solve(A, Y), atol=1e-12)


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(_compiling, "_OPTIONS", {"xla_cpu_no_such_option": False})
    assert _compiling.quick_options() is None
    assert _compiling.quick_jit(jnp.sin)(0.0) == 0


def test_it_compiles_once():
    traced = []

    @_compiling.quick_jit
    def double(x):
        traced.append(x)
        return 2 * x

    assert [float(double(jnp.array(each))) for each in (1.0, 2.0)] == [2.0, 4.0]
    assert len(traced) == 1
