"""The solvers: one file per algorithm, each written once against a selector."""

from greedyjax.pursuit._batch import iht_batch, omp_batch
from greedyjax.pursuit._iht import iht, soft_iht
from greedyjax.pursuit._omp import omp, soft_omp
from greedyjax.pursuit._system import relative_tau, stack_real

__all__ = [
    "iht",
    "iht_batch",
    "omp",
    "omp_batch",
    "relative_tau",
    "soft_iht",
    "soft_omp",
    "stack_real",
]
