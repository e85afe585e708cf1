"""Rows that are hidden from a solver in turn, for errors and losses that need no true signal."""

import numpy as np


def row_folds(m: int, folds: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Rows to hide and rows to keep, one line per fold, of about ``m / folds`` hidden rows.

    Fold ``i`` hides rows ``i``, ``i + folds``, ``i + 2 folds``, ...: as many in each, so that one
    compilation serves all; there are as many folds as that gives.
    """
    size = max(1, m // folds)
    folds = m // size
    hidden = np.arange(size)[None, :] * folds + np.arange(folds)[:, None]
    return hidden, np.stack([np.setdiff1d(np.arange(m), rows) for rows in hidden])
