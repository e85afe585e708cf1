"""What the table of `test_contract.py` is made of: its rows, and the results of each."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from algorithms import ALGORITHMS, KINDS, PARTS, SOLVERS, Problem, x_of
from degenerate import N, cases
from helpers import jit
from properties import Setting

M = 8
# An operator is not brought to unit scale: in units of 1e20 its products overflow float32.
UNSCALED = ["iht, masked FFT", "omp, wavelets", "iht, convolution", "soft_omp, stacks"]


class Row(NamedTuple):
    """What is compiled as one: an algorithm at one shape and precision."""

    name: str
    dtype: type
    m: int = M
    sparsity: int = 3

    @property
    def setting(self):
        return Setting(self.name, self.sparsity, self.dtype)


def _rows():
    """Every dtype and every extreme of sparsity and of m, and whether it is quick.

    What only calls a solver meets two of them, a part of a solver one more.
    """
    for name in ALGORITHMS:
        if name in UNSCALED:
            yield Row(name, np.complex128), False
            yield Row(name, np.float64), False
            continue
        yield Row(name, np.float32, sparsity=M), name in KINDS
        yield Row(name, np.complex128), name in KINDS
        if name in SOLVERS or name in PARTS:
            yield Row(name, np.float32, m=1, sparsity=1), name in ("soft_omp", "soft_cosamp")
        if name in SOLVERS:
            yield Row(name, np.complex64, sparsity=1), False
            yield Row(name, np.float64), False


def rows_where(holds):
    return pytest.mark.parametrize(
        "row",
        [
            pytest.param(
                row,
                id="-".join([row.name, row.dtype.__name__, str(row.m), str(row.sparsity)]),
                marks=() if quick else pytest.mark.slow,
            )
            for row, quick in _rows()
            if holds(row)
        ],
    )


every_row = rows_where(lambda row: True)


def problem_of(case, row) -> Problem:
    return case.problem(ALGORITHMS[row.name], row.dtype)


def direction(rng, arg):
    """A normal array like another, complex where that is."""
    real = rng.standard_normal(arg.shape)
    return real + 1j * rng.standard_normal(arg.shape) if np.iscomplexobj(arg) else real


def tangents(case, args):
    """A direction in each argument, in its own units."""
    rng = np.random.default_rng(3)
    scales = (*case.units, 1.0, args.tau)
    return Problem(
        *(
            (scale * direction(rng, arg)).astype(arg.dtype)
            for scale, arg in zip(scales, args, strict=True)
        )
    )


@functools.cache
def solver(name, sparsity):
    return jit(lambda A, y, w, tau: ALGORITHMS[name].solve(A, y, w, tau, sparsity))


class Result(NamedTuple):
    answer: gj.Recovery | np.ndarray
    gradients: Problem
    forward: np.ndarray  # The derivative along `tangents`.


COTANGENT = np.random.default_rng(2).standard_normal(N)


@functools.cache
def everything_of(row):
    """Answers and derivatives of a batch: one compiled function for each row of the table."""
    cotangent = COTANGENT.astype(np.finfo(row.dtype).dtype)

    def loss(*args):
        answer = ALGORITHMS[row.name].solve(*args, row.sparsity)
        x = x_of(answer)
        return jnp.vdot(cotangent, x.real + x.imag), answer

    def everything(args, along):
        (_, answer), gradients = jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)(*args)
        _, forward = jax.jvp(lambda *args: loss(*args)[0], args, along)
        return Result(answer, Problem(*gradients), forward)

    return jit(jax.vmap(lambda args, along: everything(tuple(args), tuple(along))))


@functools.cache
def results(row, tau=None, rounded=False) -> dict[str, Result]:
    """Of every case, at its own temperature or at another, or with A as rounding may leave it."""
    table = cases(row.dtype, row.m)
    if tau is not None:
        table = {name: case._replace(tau=tau) for name, case in table.items()}
    if rounded:
        rng = np.random.default_rng(6)
        error = 64 * np.finfo(row.dtype).eps * rng.standard_normal((row.m, N))
        table = {name: case._replace(A=case.A * (1 + error)) for name, case in table.items()}
    inputs = [problem_of(case, row) for case in table.values()]
    directions = [tangents(*pair) for pair in zip(table.values(), inputs, strict=True)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *zip(inputs, directions, strict=True))
    batch = jax.tree.map(np.asarray, everything_of(row)(*stacked))
    return {name: jax.tree.map(lambda leaf, i=i: leaf[i], batch) for i, name in enumerate(table)}


def failing(row, holds):
    """The names of the cases where `holds(case, args, result)` does not."""
    table, found = cases(row.dtype, row.m), results(row)
    return [
        name for name, case in table.items() if not holds(case, problem_of(case, row), found[name])
    ]


def all_finite(tree):
    return all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree))
