"""Folds of rows that are hidden from a solver, for errors and losses without true signals."""

import numpy as np


def row_folds(m: int, folds: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Rows to hide and rows to keep: one line per fold, which hides about ``m / folds`` rows.

    Fold ``i`` hides rows ``i``, ``i + folds``, ``i + 2 folds``, and so on. Each fold hides the same
    number of rows, so that one compilation serves all folds. This may change the number of folds.
    """
    size = max(1, m // folds)
    folds = m // size
    hidden = np.arange(size)[None, :] * folds + np.arange(folds)[:, None]
    return hidden, np.stack([np.setdiff1d(np.arange(m), rows) for rows in hidden])
