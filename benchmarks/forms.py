"""What several scripts ask of OMP: one of its two forms, and the atoms that are right."""

from typing import Any

import jax
import numpy as np

from greedyjax.pursuit import OMP
from greedyjax.pursuit._blocks import Plan, _recover_batch
from greedyjax.pursuit._cutting import block_of_gram, block_that_fits
from greedyjax.pursuit._problem import EXACT
from greedyjax.pursuit._recover import checked


def in_form(A: Any, Y: Any, *, sparsity: int, by_gram: bool, size: int | None, dense: bool):
    """`omp_batch`, or `encode` where not ``dense``, in one form whatever the plan is.

    ``size`` is the number of signals in a block; None is what the plan takes in that form.
    """
    method, A, Y, weighting, _ = checked(OMP(sparsity=sparsity), A, Y, None, name="Y", ndim=2)
    if size is None:
        size = block(*A.shape, sparsity, Y.dtype.itemsize, by_gram=by_gram)
    return _recover_batch(method, A, Y, EXACT, weighting, Plan(by_gram, size, dense))


def block(m: int, n: int, k: int, itemsize: int, *, by_gram: bool) -> int:
    """The signals in a block of either form, as `greedyjax.pursuit.plan` takes them."""
    backend = jax.default_backend()
    if by_gram:
        return block_of_gram(n * k * itemsize, backend)
    return block_that_fits(itemsize * (3 * n + 4 * m * k), backend)


def same(atoms: np.ndarray, others: np.ndarray) -> float:
    """Share of the signals whose atoms are the same, in any order."""
    return float(np.mean(np.all(np.sort(atoms, axis=1) == np.sort(others, axis=1), axis=1)))


def greedy_atoms(A: np.ndarray, Y: np.ndarray, k: int, *, recursive: bool) -> np.ndarray:
    """The atoms of OMP in double precision, or of orthogonal least squares where ``recursive``.

    OMP takes the atom of the largest ``|a_j* r|``, and orthogonal least squares that of the largest
    ``|a_j* r| / ||a_j - P a_j||`` with ``P`` the projection to the atoms taken. Gram-Schmidt is
    done twice, for all signals together.
    """
    A, R = A.astype(np.float64), Y.astype(np.float64)
    num = np.arange(len(R))
    atoms, basis = np.zeros((len(R), k), int), np.zeros((len(R), k, len(A)))
    left = np.ones((len(R), A.shape[1]))
    for i in range(k):
        scores = np.abs(R @ A) / (np.sqrt(left) if recursive else 1)
        np.put_along_axis(scores, atoms[:, :i], -1, axis=1)
        atoms[:, i] = np.argmax(scores, axis=1)
        q = A.T[atoms[:, i]]
        for _ in range(2):
            inner = np.einsum("blm,bm->bl", basis[:, :i], q)
            q = q - np.einsum("bl,blm->bm", inner, basis[:, :i])
        q /= np.linalg.norm(q, axis=1, keepdims=True)
        basis[num, i] = q
        R -= np.sum(q * R, axis=1, keepdims=True) * q
        if recursive:
            left = np.maximum(left - (q @ A) ** 2, 1e-12)
    return atoms
