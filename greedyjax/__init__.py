"""Greedy sparse recovery in JAX: hard, soft, and with learned structure.

Solvers and sorting functions are here. `greedyjax.certificates`, `greedyjax.nets`,
`greedyjax.training`, `greedyjax.problems`, `greedyjax.metrics`, `greedyjax.streaming` and
`greedyjax.plotting` load when first used. So importing greedyjax loads neither flax, optax nor
matplotlib. `greedyjax.sklearn`, which needs scikit-learn, also loads when first used.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from greedyjax._packed import PackedCodes
from greedyjax._types import Codes, Recovery
from greedyjax.linalg.dictionary import dictionary
from greedyjax.linalg.products import Dictionary
from greedyjax.linalg.whitening import Whitened, whiten
from greedyjax.pursuit import (
    GaussianPrior,
    cosamp,
    cosamp_batch,
    encode,
    htp,
    htp_batch,
    iht,
    iht_batch,
    niht,
    niht_batch,
    omp,
    omp_batch,
    recover,
    recover_batch,
    relative_tau,
    soft_cosamp,
    soft_htp,
    soft_iht,
    soft_niht,
    soft_omp,
    soft_subspace_pursuit,
    stack_real,
    subspace_pursuit,
    subspace_pursuit_batch,
)
from greedyjax.sorting import hardsort, soft_topk_mask, softsort, topk_mask

if TYPE_CHECKING:
    from greedyjax import (
        certificates,
        metrics,
        nets,
        off_grid,
        operators,
        plotting,
        policies,
        problems,
        pursuit,
        sorting,
        streaming,
        structures,
        training,
    )
    from greedyjax import (
        sklearn as sklearn,
    )

__version__ = "0.2.0"

__all__ = [
    "Codes",
    "Dictionary",
    "GaussianPrior",
    "PackedCodes",
    "Recovery",
    "Whitened",
    "certificates",
    "cosamp",
    "cosamp_batch",
    "dictionary",
    "encode",
    "hardsort",
    "htp",
    "htp_batch",
    "iht",
    "iht_batch",
    "metrics",
    "nets",
    "niht",
    "niht_batch",
    "off_grid",
    "omp",
    "omp_batch",
    "operators",
    "plotting",
    "policies",
    "problems",
    "pursuit",
    "recover",
    "recover_batch",
    "relative_tau",
    "soft_cosamp",
    "soft_htp",
    "soft_iht",
    "soft_niht",
    "soft_omp",
    "soft_subspace_pursuit",
    "soft_topk_mask",
    "softsort",
    "sorting",
    "stack_real",
    "streaming",
    "structures",
    "subspace_pursuit",
    "subspace_pursuit_batch",
    "topk_mask",
    "training",
    "whiten",
]

# `sklearn` is not in `__all__`, because a star import has to work without scikit-learn.
_LAZY = (
    "certificates",
    "metrics",
    "nets",
    "off_grid",
    "operators",
    "plotting",
    "policies",
    "problems",
    "pursuit",
    "sklearn",
    "sorting",
    "streaming",
    "structures",
    "training",
)


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"greedyjax.{name}")
    raise AttributeError(f"module 'greedyjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
