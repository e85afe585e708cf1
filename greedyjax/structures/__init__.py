"""Structures: which atoms are chosen together, and how their correlations become scores.

Without a structure each atom is a candidate of its own. With `Blocks` a candidate is a block of
atoms. With `Levels` a given number of atoms of each level is chosen. With `SharedSupport` the
measurements are several snapshots with one support. With `NonNegative` the entries of signals are
at least 0. Write a `Structure` of your own for other groups, and for other scores.
"""

from greedyjax.structures._blocks import Blocks
from greedyjax.structures._levels import Levels, local_sparsities
from greedyjax.structures._nonnegative import NonNegative
from greedyjax.structures._shared import SharedSupport
from greedyjax.structures._structure import Plain, Structure
from greedyjax.structures._structure import check_structure as check_structure

__all__ = [
    "Blocks",
    "Levels",
    "NonNegative",
    "Plain",
    "SharedSupport",
    "Structure",
    "local_sparsities",
]
