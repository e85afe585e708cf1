"""Random problems in bulk, generic and degenerate, all of one shape, at unit scale."""

import numpy as np
import scipy.fft

from algorithms import Problem


def _normal(rng, shape, dtype):
    real = rng.standard_normal(shape)
    return real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real


def _unit(A):
    return A / np.linalg.norm(A, axis=-2, keepdims=True)


def _measured(rng, A, k, noise):
    """Measurements of k-sparse signals, with noise of the given norm relative to their own."""
    num, m, n = A.shape
    x = np.zeros((num, n), A.dtype)
    support = np.argsort(rng.random((num, n)))[:, :k]
    phases = _normal(rng, (num, k), A.dtype)
    values = rng.uniform(1, 2, (num, k)) * phases / np.abs(phases)
    np.put_along_axis(x, support, values, axis=1)
    y = np.einsum("bmn,bn->bm", A, x)
    e = _normal(rng, (num, m), A.dtype)
    size = np.linalg.norm(y, axis=1) / np.linalg.norm(e, axis=1)
    return y + noise * size[:, None] * e


def _copied(rng, A, apart):
    """Every third column is a copy of its left neighbour or of its negative, but for ``apart``."""
    A = A.copy()
    copies = A[:, :, 1::3]
    signs = rng.choice([-1.0, 1.0], (len(A), 1, copies.shape[2]))
    A[:, :, 1::3] = signs * A[:, :, 0::3][:, :, : copies.shape[2]] + apart * copies
    return A


def _gaussian(rng, num, m, n, k, dtype):
    A = _unit(_normal(rng, (num, m, n), dtype))
    return A, _measured(rng, A, k, 0.2)


def _coherent(rng, num, m, n, k, dtype):
    A = _unit(_normal(rng, (num, m, n), dtype) + 2 * _normal(rng, (num, m, 1), dtype))
    return A, _measured(rng, A, k, 0.05)


def _any_norms(rng, num, m, n, k, dtype):
    A, y = _gaussian(rng, num, m, n, k, dtype)
    return A * 10 ** rng.uniform(-1, 1, (num, 1, n)), y


def _duplicates(rng, num, m, n, k, dtype):
    A = _copied(rng, _unit(_normal(rng, (num, m, n), dtype)), 0.0)
    return A, _measured(rng, A, k, 0.1)


def _near_duplicates(rng, num, m, n, k, dtype):
    A = _copied(
        rng, _unit(_normal(rng, (num, m, n), dtype)), 10 ** rng.uniform(-9, -1, (num, 1, 1))
    )
    return A, _measured(rng, A, k, 0.1)


def _zero_columns(rng, num, m, n, k, dtype):
    A, y = _gaussian(rng, num, m, n, k, dtype)
    return A * (rng.random((num, 1, n)) > 0.4), y


def _orthonormal(rng, num, m, n, k, dtype):
    """Orthonormal columns and zeros where they are at most m, and orthonormal rows in turn."""
    Q = np.linalg.qr(_normal(rng, (num, max(m, n), max(m, n)), dtype))[0]
    A = Q[:, :m, :n].copy()
    if m < n:
        basis = np.linalg.qr(_normal(rng, (num, m, m), dtype))[0]
        A[::2, :, :m], A[::2, :, m:] = basis[::2], 0
    return A, _measured(rng, A, k, 0.2)


def _identity_and_dct(rng, num, m, n, k, dtype):
    both = np.hstack([np.eye(m), scipy.fft.dct(np.eye(m), norm="ortho", axis=0)])
    A = np.zeros((num, m, n), dtype)
    A[:, :, : 2 * m] = both[:, :n]
    return A, _measured(rng, A, k, 0.0)


def _integers(rng, num, m, n, k, dtype):
    """Small integers: scores tie exactly, over and over."""
    return rng.integers(-1, 2, (num, m, n)) + 0.0, rng.integers(-2, 3, (num, m)) + 0.0


def _ties(rng, num, m, n, k, dtype):
    """The identity, twice, and measurements that are all 1 or -1."""
    A = np.tile(np.eye(m), (num, 1, -(-n // m)))[:, :, :n]
    return A, rng.choice([-1.0, 1.0], (num, m))


def _single_atom(rng, num, m, n, k, dtype):
    """More steps than the signal has atoms."""
    A = _unit(_normal(rng, (num, m, n), dtype))
    return A, _measured(rng, A, 1, 0.0)


def _low_rank(rng, num, m, n, k, dtype):
    rank = min(2, m)
    A = _normal(rng, (num, m, rank), dtype) @ _normal(rng, (num, rank, n), dtype)
    return A, _measured(rng, A, k, 0.1)


def _no_signal(rng, num, m, n, k, dtype):
    A, y = _gaussian(rng, num, m, n, k, dtype)
    A[::3] = 0
    y[1::3] = 0
    A[2::3, 0], y[2::3, 1:] = 0, 0  # y orthogonal to every column.
    return A, y


GENERIC = {"gaussian": _gaussian, "coherent": _coherent, "norms 0.1 to 10": _any_norms}
DEGENERATE = {
    "duplicate columns": _duplicates,
    "near-duplicate columns": _near_duplicates,
    "zero columns": _zero_columns,
    "orthonormal columns or rows": _orthonormal,
    "identity and DCT": _identity_and_dct,
    "integers": _integers,
    "exact ties": _ties,
    "a single atom": _single_atom,
    "rank 2": _low_rank,
    "no signal": _no_signal,
}
KINDS = GENERIC | DEGENERATE


def draw(rng, kind: str, num: int, shape: tuple[int, int, int], dtype) -> Problem:
    """``num`` problems of one kind, in double precision.

    Weights are ones in a third of them, and of either sign, some 0, in another; temperatures go
    from 1e-8 to 1e+3, most of them where soft is neither hard nor uniform.

    Args:
        rng: NumPy generator.
        kind: one of `KINDS`.
        num: how many.
        shape: m, n and the sparsity.
        dtype: real or complex; its precision is not used.
    """
    m, n, k = shape
    A, y = KINDS[kind](rng, num, m, n, k, dtype)
    w = rng.uniform(0.5, 2, (num, n))
    w[::3] = 1
    w[1::3] *= rng.choice([-1.0, 0, 1, 1], w[1::3].shape)
    tau = 10 ** np.where(rng.random(num) < 0.75, rng.uniform(-3, 0, num), rng.uniform(-8, 3, num))
    wide = np.result_type(dtype, np.float64)
    return Problem(A.astype(wide), y.astype(wide), w, tau)


def mixed(rng, num: int, shape: tuple[int, int, int], dtype) -> tuple[Problem, list[str]]:
    """``num`` problems, half of them generic, and the kind of each."""
    names, parts = [], []
    for kinds, share in ((GENERIC, num - num // 2), (DEGENERATE, num // 2)):
        counts = np.bincount(np.arange(share) % len(kinds), minlength=len(kinds))
        for kind, count in zip(kinds, counts, strict=True):
            parts.append(draw(rng, kind, int(count), shape, dtype))
            names += [kind] * int(count)
    return Problem(*(np.concatenate(each) for each in zip(*parts, strict=True))), names
