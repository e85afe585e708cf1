"""Invalid structures of a user's own are refused, and the message names what is wrong."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.structures import Structure, check_structure

N = 6


@dataclasses.dataclass(frozen=True)
class Unregistered(Structure):
    def members(self, num_atoms):
        return jnp.arange(num_atoms).reshape(-1, 2)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Table(Structure):
    """Whatever members a test wants, and scores that are pooled to so many."""

    rows: tuple = dataclasses.field(metadata={"static": True})
    pooled: int | None = dataclasses.field(default=None, metadata={"static": True})

    def members(self, num_atoms):
        return jnp.asarray(self.rows)

    def pool(self, scores):
        return super().pool(scores) if self.pooled is None else scores[: self.pooled]


GOOD = ((0, 1), (2, 3), (4, 5))
BAD = {
    "members of one axis": (Table((0, 1, 2)), r"integers of shape \(candidates, width\)"),
    "members that are floats": (Table(((0.0, 1.0),)), "integers of shape"),
    "an atom below 0": (Table(((0, 1), (-1, 3))), "atoms from 0 to 5, and 6 to fill up, got -1"),
    "an atom too far": (Table(((0, 1), (2, 7))), "atoms from 0 to 5, and 6 to fill up, got 7"),
    "an atom twice": (Table(((0, 1), (1, 2))), "each atom at most once, got atom 1 2 times"),
    "an empty row": (Table(((0, 1), (6, 2))), "at least one atom in each row.*none in row 1"),
    "a pool of another shape": (Table(GOOD, pooled=2), r"pool\(scores\): expected shape \(3,\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_structures_are_named_before_anything_is_traced(case):
    structure, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        check_structure(structure, N)
    with pytest.raises(ValueError, match=message):
        gj.omp(np.eye(N), np.ones(N), sparsity=1, structure=structure)


def test_a_structure_that_jax_does_not_know_is_named():
    with pytest.raises(TypeError, match=r"registered by jax.tree_util.register_dataclass, got Unr"):
        gj.omp(np.eye(N), np.ones(N), sparsity=1, structure=Unregistered())


def test_a_good_one_passes():
    check_structure(Table(GOOD), N)
    found = gj.omp(np.eye(N), np.arange(N) + 1.0, sparsity=1, structure=Table(GOOD))
    np.testing.assert_array_equal(found.x, [0, 0, 0, 0, 5, 6])
