"""The solvers: methods as values, functions that run any method, and a function for each method.

Write an algorithm of your own as a `Method`. Then `recover`, `recover_batch` and
`greedyjax.nets.Unrolled` take it like `OMP`.
"""

from greedyjax._types import static
from greedyjax.pursuit._batch import (
    cosamp_batch,
    htp_batch,
    iht_batch,
    niht_batch,
    omp_batch,
    subspace_pursuit_batch,
)
from greedyjax.pursuit._blocks import Plan, encode, plan, recover_batch
from greedyjax.pursuit._cosamp import cosamp, soft_cosamp
from greedyjax.pursuit._cutting import batch_that_fits as batch_that_fits
from greedyjax.pursuit._cutting import in_blocks as in_blocks
from greedyjax.pursuit._hardened import Hardened
from greedyjax.pursuit._htp import htp, soft_htp
from greedyjax.pursuit._iht import iht, soft_iht
from greedyjax.pursuit._merging import CoSaMP, SubspacePursuit
from greedyjax.pursuit._method import Method, run
from greedyjax.pursuit._niht import niht, soft_niht
from greedyjax.pursuit._normalised import NIHT
from greedyjax.pursuit._omp import omp, soft_omp
from greedyjax.pursuit._orthogonal import OMP
from greedyjax.pursuit._problem import Answer, Known, Problem, System, Tolerance, problem_of
from greedyjax.pursuit._problem import checked_operator as checked_operator
from greedyjax.pursuit._recover import check_method as check_method
from greedyjax.pursuit._recover import checked as checked
from greedyjax.pursuit._recover import recover, system_for
from greedyjax.pursuit._recover import relaxed_of as relaxed_of
from greedyjax.pursuit._recover import temperature_given as temperature_given
from greedyjax.pursuit._refit import GaussianPrior
from greedyjax.pursuit._subspace import soft_subspace_pursuit, subspace_pursuit
from greedyjax.pursuit._system import relative_tau, stack_real
from greedyjax.pursuit._thresholding import HTP, IHT
from greedyjax.pursuit._turns import Choice, Turn, Turns, turns_of
from greedyjax.pursuit._unrolling import Choices, Met
from greedyjax.pursuit._unrolling import recorded_choices as recorded_choices
from greedyjax.pursuit._unrolling import recover_layers as recover_layers
from greedyjax.pursuit._unrolling import recover_soft as recover_soft
from greedyjax.pursuit.fits import Fit, GramMatrix, LeastSquares, OrderRecursive, RootLasso

__all__ = [
    "HTP",
    "IHT",
    "NIHT",
    "OMP",
    "Answer",
    "Choice",
    "Choices",
    "CoSaMP",
    "Fit",
    "GaussianPrior",
    "GramMatrix",
    "Hardened",
    "Known",
    "LeastSquares",
    "Met",
    "Method",
    "OrderRecursive",
    "Plan",
    "Problem",
    "RootLasso",
    "SubspacePursuit",
    "System",
    "Tolerance",
    "Turn",
    "Turns",
    "cosamp",
    "cosamp_batch",
    "encode",
    "htp",
    "htp_batch",
    "iht",
    "iht_batch",
    "niht",
    "niht_batch",
    "omp",
    "omp_batch",
    "plan",
    "problem_of",
    "recover",
    "recover_batch",
    "relative_tau",
    "run",
    "soft_cosamp",
    "soft_htp",
    "soft_iht",
    "soft_niht",
    "soft_omp",
    "soft_subspace_pursuit",
    "stack_real",
    "static",
    "subspace_pursuit",
    "subspace_pursuit_batch",
    "system_for",
    "turns_of",
]
