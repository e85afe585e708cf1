"""Solvers unrolled into networks, as flax nnx modules."""

from greedyjax.nets._cosampnet import CoSaMPNet
from greedyjax.nets._htpnet import HTPNet
from greedyjax.nets._ihtnet import IHTNet
from greedyjax.nets._ompnet import OMPNet
from greedyjax.nets._subspacenet import SubspacePursuitNet

__all__ = ["CoSaMPNet", "HTPNet", "IHTNet", "OMPNet", "SubspacePursuitNet"]
