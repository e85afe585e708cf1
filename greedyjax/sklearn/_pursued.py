"""OMP of rows by scikit-learn's rules, which every estimator of this module uses."""

from contextlib import nullcontext
from typing import Any

import jax
import numpy as np

from greedyjax import _checks, streaming
from greedyjax._types import Recovery
from greedyjax.pursuit import omp_batch
from greedyjax.structures import Plain, Structure

#: Dtypes that are computed without a cast. scikit-learn's checks turn all others into the first.
FLOATS: Any = (np.float64, np.float32)

_BATCH = 4096


def most_atoms(name: str, given: int | None, n_components: int, n_features: int) -> int:
    """The largest number of atoms of a signal: as given, or else a tenth of the features."""
    if given is None:
        return min(max(n_features // 10, 1), n_components)
    if given > n_components:
        _checks.fail(ValueError, name, f"at most {n_components}, the number of atoms", str(given))
    return given


def pursued(
    A: np.ndarray,
    Y: np.ndarray,
    *,
    num_atoms: int | None,
    tol: float | None = None,
    structure: Structure = Plain(),
    num_threads: int | None = None,
) -> Recovery:
    """`greedyjax.omp_batch` with the rules of scikit-learn.

    - An atom is chosen by ``|a_j* r|``, whatever its norm. `greedyjax.omp_batch` divides by the
      norm, so the weights are the norms.
    - ``tol`` bounds the squared norm of the residual, and the number of atoms is then not bounded.
    - Every signal gets at least one atom. So the residual at which a signal stops is always set
      shorter than the signal itself.
    - Numbers in float64 are computed in float64, whatever JAX is set to elsewhere.

    Args:
        A: matrix of shape ``(m, n)``, float32 or float64.
        Y: one signal per row, shape ``(num, m)``, in the dtype of ``A``.
        num_atoms: largest number of atoms of a signal, at least 1. None, or a ``tol``, allows all.
        tol: squared norm of the residual at which a signal stops, >= 0.
        structure: which atoms are chosen together.
        num_threads: as in `greedyjax.streaming.recover`.

    Returns:
        A `Recovery` of NumPy arrays, whose fields have a leading axis of ``num``.

    References:
        Pedregosa et al., "Scikit-learn: Machine Learning in Python", 2011.
    """
    if num_atoms is None or tol is not None:
        num_atoms = A.shape[1]
    sparsity = min(num_atoms, *A.shape)
    weights = np.linalg.norm(A, axis=0)

    def solve(Y, atol: Any = 0.0):
        # The setting holds within this thread and this block alone.
        with jax.enable_x64(True) if A.dtype == np.float64 else nullcontext():
            found = omp_batch(
                A, Y, sparsity=sparsity, weights=weights, atol=atol, structure=structure
            )
            return jax.block_until_ready(found)

    rows = _few_sizes(Y)
    limits = [] if tol is None else [_limits(rows, tol)]
    found = streaming.recover(solve, rows, *limits, batch_size=_BATCH, num_threads=num_threads)
    return jax.tree.map(lambda leaf: leaf[: len(Y)], found)


def _limits(Y: np.ndarray, tol: float) -> np.ndarray:
    """Norms of residuals at which signals stop, each less than the norm of its signal."""
    rounding = 4 * np.finfo(Y.dtype).eps * np.sqrt(Y.shape[1])
    return np.minimum(np.sqrt(tol), (1 - rounding) * np.linalg.norm(Y, axis=1)).astype(Y.dtype)


def _few_sizes(Y: np.ndarray) -> np.ndarray:
    """The rows; if they are few, padded with rows of zeros to a power of two.

    Each number of rows needs its own compilation, which takes seconds. A search or a
    cross-validation meets many numbers of rows. Rows of zeros cost little.
    """
    num = min(1 << (len(Y) - 1).bit_length(), max(len(Y), 2 * _BATCH))
    return np.pad(Y, ((0, num - len(Y)), (0, 0)))
