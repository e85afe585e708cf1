"""Solvers unrolled into networks, as flax nnx modules, composed of small parts."""

from greedyjax.nets._networks import (
    CoSaMPNet,
    HTPNet,
    IHTNet,
    NIHTNet,
    OMPNet,
    SubspacePursuitNet,
)
from greedyjax.nets._parts import Atoms, StepSize, Temperature, Weights
from greedyjax.nets._unrolled import Unrolled

__all__ = [
    "Atoms",
    "CoSaMPNet",
    "HTPNet",
    "IHTNet",
    "NIHTNet",
    "OMPNet",
    "StepSize",
    "SubspacePursuitNet",
    "Temperature",
    "Unrolled",
    "Weights",
]
