"""Policies compute the weights that multiply the scores of atoms before a solver chooses.

An array given as ``weights=`` becomes `PerAtom` or `PerStep`. Any other callable that takes a
`Context` and returns one number per atom is a policy as well.
"""

from greedyjax.policies._interactions import Interactions
from greedyjax.policies._policies import Context, PerAtom, PerStep, Policy
from greedyjax.policies._tree import Tree
from greedyjax.policies._weighting import Weighting as Weighting
from greedyjax.policies._weighting import as_weighting as as_weighting

__all__ = ["Context", "Interactions", "PerAtom", "PerStep", "Policy", "Tree"]
