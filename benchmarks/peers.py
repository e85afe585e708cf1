"""Other libraries' OMP on the same arrays, each at its fastest setting; those installed.

Needs, beside greedyjax: `pip install scikit-learn spams-bin`, and for the third torch and
`orthogonal-matching-pursuit-gpu`, which compiles on installation.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Solver = Callable[[], Any]


def omp_solvers(A: np.ndarray, Y: np.ndarray, k: int, processors: int) -> dict[str, Solver]:
    """Functions without arguments that return what `signals` makes signals of.

    Arrays are laid out beforehand as each library wants them.
    """
    solvers: dict[str, Solver] = {}
    try:
        from sklearn.linear_model import orthogonal_mp

        solvers["scikit-learn"] = lambda: (
            orthogonal_mp(A, Y.T, n_nonzero_coefs=k, precompute=True).T
        )
    except ImportError:
        pass
    try:
        import spams

        A_, Y_ = np.asfortranarray(A), np.asfortranarray(Y.T)
        # Without eps=0.0 the wheel sometimes stops before it begins.
        for threads in sorted({1, processors}):
            name = f"SPAMS, {threads} thread{'s' if threads > 1 else ''}"
            solvers[name] = lambda t=threads: spams.omp(Y_, A_, L=k, eps=0.0, numThreads=t)
    except ImportError:
        pass
    try:
        on_gpu = "cuda" in (device := torch_device())
        solvers[f"omp-gpu v0 ({device})"] = by_torch(A, Y, k)
        if not on_gpu:
            from orthogonal_matching_pursuit_gpu import omp_v0_blas

            A_64, Y_64 = A.astype(np.float64), Y.astype(np.float64)  # It takes no others.
            solvers["omp-gpu v0_blas (float64)"] = lambda: omp_v0_blas(A_64, Y_64, k)
    except ImportError:
        pass
    return solvers


def by_torch(A: np.ndarray, Y: np.ndarray, k: int) -> Solver:
    """`orthogonal-matching-pursuit-gpu`, with arrays that lie on torch's device and stay there.

    Raises:
        ImportError: one of the two is not installed.
    """
    import torch
    from orthogonal_matching_pursuit_gpu import run_omp

    A_t, Y_t = (torch.as_tensor(array, device=torch_device()) for array in (A, Y))
    settings = {"precompute": True, "tol": 0.0, "normalize": False, "fit_intercept": False}

    def solve() -> Any:
        found = run_omp(A_t, Y_t, k, alg="v0", **settings)
        if found.is_cuda:
            torch.cuda.synchronize()
        return found

    return solve


def torch_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def signals(answer, n: int) -> np.ndarray:
    """Dense signals as rows, from whatever a library returns."""
    if isinstance(answer, tuple):  # Atoms and coefficients, of any number.
        dense = np.zeros((len(answer[0]), n))
        for row, atoms, z in zip(dense, *answer, strict=True):
            row[np.asarray(atoms)[: len(z)]] = np.ravel(z)
        return dense
    if hasattr(answer, "cpu"):  # Torch's.
        answer = answer.cpu().numpy()
    dense = np.asarray(answer.todense()) if hasattr(answer, "todense") else np.asarray(answer)
    return dense if dense.shape[1] == n else dense.T
