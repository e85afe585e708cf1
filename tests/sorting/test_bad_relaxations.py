"""Invalid relaxations, or relaxations that do not fit a solver, are named before tracing."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.nets import HTPNet, OMPNet
from greedyjax.sorting import BoundaryGate, NeuralSort, Relaxation, SoftRows
from helpers import random_problem

A, X, Y = random_problem(0, 8, 12, 3, np.float64)


class NoPytree:
    def __init__(self, tau):
        self.tau = tau

    keep = kept_loss = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PlainRows(Relaxation):
    tau: Any

    def first(self, scores, k, chosen=None):
        return jnp.tile(scores, (k, 1))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NoRows(Relaxation):
    tau: Any

    def first(self, scores, k, chosen=None):
        return scores, scores


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NotChosen(Relaxation):
    tau: Any

    def first(self, scores, k):
        return SoftRows(jnp.tile(scores, (k, 1)))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TooManyRows(Relaxation):
    tau: Any

    def first(self, scores, k, chosen=None):
        return SoftRows(jnp.tile(scores, (k + 1, 1)))


def test_rows_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"expected k rows, shape \(k, n\), got shape \(3, 4\)"):
        gj.soft_omp(A, Y, sparsity=2, tau=0.1, relaxation=TooManyRows)


BAD = {
    "a gate for omp": (
        lambda: gj.soft_omp(A, Y, sparsity=2, tau=0.1, relaxation=BoundaryGate),
        "relaxation: expected a greedyjax.sorting.Selector, as OMP chooses by rows, "
        "got BoundaryGate",
    ),
    "a gate for HTPNet": (
        lambda: HTPNet(A, sparsity=2, num_layers=2, relaxation=BoundaryGate),
        "as HTP chooses by rows, got BoundaryGate, a gate, .* iht and IHTNet take it",
    ),
    "a gate for a debiased answer": (
        lambda: gj.soft_iht(
            A, Y, sparsity=2, tau=0.1, num_steps=3, debias=True, relaxation=BoundaryGate
        ),
        "as IHT chooses by rows",
    ),
    "one with its temperature": (
        lambda: gj.soft_omp(A, Y, sparsity=2, tau=0.1, relaxation=NeuralSort(0.1)),
        "has its temperature already; give the class NeuralSort, and tau= beside it",
    ),
    "no relaxation": (
        lambda: OMPNet(A, sparsity=2, relaxation="neuralsort"),
        "relaxation: expected a class such as greedyjax.sorting.NeuralSort, got 'neuralsort'",
    ),
    "one that JAX does not know": (
        lambda: gj.soft_omp(A, Y, sparsity=2, tau=0.1, relaxation=NoPytree),
        "jax.tree_util.register_dataclass or another way of making pytrees, got NoPytree",
    ),
    "one without temperature": (
        lambda: gj.soft_omp(A, Y, sparsity=2, tau=0.1, relaxation=lambda tau: ()),
        "keeps no tau",
    ),
    "a relaxation without a temperature beside it": (
        lambda: gj.recover(gj.pursuit.OMP(sparsity=2), A, Y, relaxation=NeuralSort),
        "tau: expected a temperature, as there is a relaxation, got None",
    ),
    "rows that are plain arrays": (
        lambda: gj.soft_omp(A, Y, sparsity=2, tau=0.1, relaxation=PlainRows),
        r"relaxation: PlainRows.first\(scores, k, chosen\): expected greedyjax.sorting.SoftRows, "
        r"got an array; wrap it: SoftRows\(array\)$",
    ),
    "rows that are something else": (
        lambda: gj.soft_omp(A, Y, sparsity=2, tau=0.1, relaxation=NoRows),
        "expected greedyjax.sorting.SoftRows, got tuple$",
    ),
    "first without chosen": (
        lambda: gj.soft_omp(A, Y, sparsity=2, tau=0.1, relaxation=NotChosen),
        r"^relaxation: NotChosen: expected a function first\(scores, k, chosen=None\), "
        r"got first\(scores, k\)$",
    ),
    "one that chooses nothing": (
        lambda: gj.soft_omp(A, Y, sparsity=2, tau=0.1, relaxation=lambda tau: {"tau": tau}),
        "expected a greedyjax.sorting.Selector, or a Gate, got .*which has no keep",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_relaxations_are_named_before_anything_is_traced(case):
    call, message = BAD[case]
    with pytest.raises(TypeError, match=message):
        call()
