"""Argsort as a matrix, its relaxations, and the selectors that solvers are written against.

A selector answers two questions about a score vector: which atom comes next (`next`, with `atom`,
`combine` and `support` to use the answer) and which entries to keep (`keep`). `HardSort` answers
them with indices and a 0-1 mask, `SoftSort` with soft rows and a soft mask.
"""

from greedyjax.sorting._hardsort import HardSort, hardsort, topk_mask
from greedyjax.sorting._softsort import SoftSort, soft_topk_mask, softsort

__all__ = ["HardSort", "SoftSort", "hardsort", "soft_topk_mask", "softsort", "topk_mask"]
