"""Argsort as a matrix, its relaxations, and the selectors that solvers are written against.

A selector answers two questions about a score vector: which atoms come next (`next`, `first`), and
which entries to keep (`keep`). `HardSort` answers them with indices and a 0-1 mask, `SoftSort` with
soft rows and a soft mask. `Selector` and `Gate` write down what a selector has to have.
"""

from greedyjax.sorting._hardsort import HardSort, hardsort, topk_mask
from greedyjax.sorting._hardsort import keep_only_order as keep_only_order
from greedyjax.sorting._hardsort import threshold_of as threshold_of
from greedyjax.sorting._rows import Indices, Rows, SoftRows
from greedyjax.sorting._selector import Gate, Selector
from greedyjax.sorting._softsort import SoftSort, soft_topk_mask, softsort
from greedyjax.sorting._softsort import temperature as temperature

__all__ = [
    "Gate",
    "HardSort",
    "Indices",
    "Rows",
    "Selector",
    "SoftRows",
    "SoftSort",
    "hardsort",
    "soft_topk_mask",
    "softsort",
    "topk_mask",
]
