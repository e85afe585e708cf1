"""Solvers unrolled into networks, as flax nnx modules."""

from greedyjax.nets._ihtnet import IHTNet
from greedyjax.nets._ompnet import OMPNet

__all__ = ["IHTNet", "OMPNet"]
