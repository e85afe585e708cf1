"""Argsort as a matrix, its relaxations, and the selectors that solvers use.

A selector answers two questions about a score vector: which atoms come next (`next`, `first`), and
which entries to keep (`keep`). `HardSort` answers them with indices and a 0-1 mask. A relaxation
is a class that is called with a temperature, and answers them with soft rows and a soft mask. The
relaxations are `SoftSort`, the default of all solvers, `NeuralSort` and `SparseSort`.
`BoundaryGate` answers only the second question. The protocols are `Selector` and `Gate`. The base
class `Relaxation` has defaults for all but one function. `Stepwise` of a relaxation keeps
derivatives within each step.
"""

from greedyjax.sorting._boundary import BoundaryGate
from greedyjax.sorting._hardsort import HardSort, hardsort, topk_mask
from greedyjax.sorting._hardsort import keep_only_order as keep_only_order
from greedyjax.sorting._hardsort import threshold_of as threshold_of
from greedyjax.sorting._neuralsort import NeuralSort
from greedyjax.sorting._relaxation import Relaxation, Relaxed
from greedyjax.sorting._relaxation import check_relaxation as check_relaxation
from greedyjax.sorting._rows import Indices, Rows, SoftRows
from greedyjax.sorting._selector import Gate, Selector
from greedyjax.sorting._softsort import SoftSort, soft_topk_mask, softsort
from greedyjax.sorting._sparsesort import SparseSort
from greedyjax.sorting._stepwise import Stepwise

__all__ = [
    "BoundaryGate",
    "Gate",
    "HardSort",
    "Indices",
    "NeuralSort",
    "Relaxation",
    "Relaxed",
    "Rows",
    "Selector",
    "SoftRows",
    "SoftSort",
    "SparseSort",
    "Stepwise",
    "hardsort",
    "soft_topk_mask",
    "softsort",
    "topk_mask",
]
