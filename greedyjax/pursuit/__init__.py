"""The solvers: one file per algorithm, each written once against a selector."""

from greedyjax.pursuit._batch import iht_batch, omp_batch
from greedyjax.pursuit._cosamp import cosamp, soft_cosamp
from greedyjax.pursuit._htp import htp, soft_htp
from greedyjax.pursuit._iht import iht, soft_iht
from greedyjax.pursuit._omp import omp, soft_omp
from greedyjax.pursuit._subspace import soft_subspace_pursuit, subspace_pursuit
from greedyjax.pursuit._system import relative_tau, stack_real

__all__ = [
    "cosamp",
    "htp",
    "iht",
    "iht_batch",
    "omp",
    "omp_batch",
    "relative_tau",
    "soft_cosamp",
    "soft_htp",
    "soft_iht",
    "soft_omp",
    "soft_subspace_pursuit",
    "stack_real",
    "subspace_pursuit",
]
