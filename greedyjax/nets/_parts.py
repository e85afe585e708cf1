"""The parts of a network: atoms, weights, temperature, step size.

Temperatures and step sizes are positive, and only their ratios matter. So their logarithms are
learned.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._meshes import on_any_mesh
from greedyjax._numerics import safe_inverse
from greedyjax._precision import widened
from greedyjax._types import static
from greedyjax.linalg.checked import checked_matrix
from greedyjax.linalg.operators import Dense, dense, in_memory, unit_columns


@dataclasses.dataclass(frozen=True)
class Atoms:
    """The matrix of a network, whose columns may be learned.

    A learned column keeps its norm, and only its direction is trained. Column ``j`` of the matrix
    is ``d_j p_j / ||p_j||``, where ``p_j`` is trained and ``d_j`` is the norm at the start. So a
    column of norm 1 keeps norm 1, and a column of zeros stays 0. Derivatives are taken of this
    formula. The gradient with respect to ``p_j`` is orthogonal to the column. So each gradient step
    makes ``p_j`` longer, and later steps turn it less.

    `greedyjax.training.losses.selection` has no derivative in the matrix. From measurements alone,
    train with `greedyjax.training.losses.residual`.

    Attributes:
        value: matrix, shape ``(m, n)``. An operator cannot be learned.
        learned: whether the directions of the columns are trained.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import Atoms, OMPNet
        >>> net = OMPNet(Atoms(2 * jnp.eye(3), learned=True), sparsity=1)
        >>> net.A.tolist(), net.atoms.shape
        ([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]], (3, 3))
    """

    value: Any
    learned: bool = False


def taken_apart(A: Any) -> tuple[Float[Array, "*parts m n"], Float[Array, " n"], Any]:
    """The directions of the columns, which are trained, their norms, and the dtype of the matrix.

    Complex directions are stored as real and imaginary parts, because optimizers expect gradients
    with respect to real numbers.
    """
    matrix = checked_matrix(A)
    if not isinstance(matrix, jax.Array):
        expected = "an array, as atoms are learned; with an operator only weights can be learned"
        _checks.fail(TypeError, "A", expected, type(A).__name__)
    parts, norms = _taken_apart(matrix)
    return (parts if len(parts) == 2 else parts[0]), norms, matrix.dtype


@jax.jit
@on_any_mesh()
def _taken_apart(A: Inexact[Array, "m n"]) -> tuple[Float[Array, "parts m n"], Float[Array, " n"]]:
    unit, scale = unit_columns(dense(widened(A)))
    return in_memory(unit).parts, safe_inverse(scale)


@jax.jit
@on_any_mesh()
def put_together(
    directions: Float[Array, "*parts m n"], norms: Float[Array, " n"]
) -> Inexact[Array, "m n"]:
    """The matrix whose columns have these directions and norms; directions may have any length."""
    parts = directions if directions.ndim == 3 else directions[None]
    return in_memory(unit_columns(Dense(parts))[0]).scale_columns(norms).matrix


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Weights:
    """How a network learns one weight per atom.

    Attributes:
        values: the weights at the start, real, shape ``(n,)``, or one per group, ``(G,)``. With
            ``per_layer`` they may also have one row per layer. None means ones.
        per_layer: whether each layer has its own weights. The weights then have one row per layer.
        groups: integers from 0 to ``G - 1``, shape ``(n,)``, the group of each atom. Atoms of one
            group share one weight. None means that each atom has its own weight.
        positive: whether to train the logarithms of the weights, which must then start > 0. If
            False, weights may have either sign, and only magnitudes matter. A weight whose sign
            changes can grow again.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import OMPNet, Weights
        >>> groups = jnp.array([0, 1, 1])
        >>> OMPNet(jnp.eye(3), sparsity=1, weights=Weights(groups=groups)).weights.shape
        (2,)
    """

    values: Any = None
    per_layer: bool = static(default=False)
    groups: Any = None
    positive: bool = static(default=False)

    def raw(self, size: int, num_layers: int, dtype) -> Float[Array, "*layers groups"]:
        """The array that is trained. It is a copy, so that training never changes another array.

        ``size`` is the number of atoms, or of their groups.
        """
        layers = num_layers if self.per_layer else None
        shape = (size,) if layers is None else (layers, size)
        weights = np.ones(size) if self.values is None else self.values
        given = _checks.real_or_steps("weights", weights, length=size, num_steps=layers)
        if self.positive:
            _checks.positive("weights", weights)
            given = jnp.log(given)
        return jnp.array(jnp.broadcast_to(given, shape), dtype)

    def checked(self, num_atoms: int) -> tuple["Weights", int]:
        """These weights with checked options, and the number of weights."""
        _checks.flag("per_layer", self.per_layer)
        _checks.flag("positive", self.positive)
        if self.groups is None:
            return self, num_atoms
        groups, num_groups = _checks.ids("groups", self.groups, num_atoms, "group")
        return dataclasses.replace(self, groups=jnp.asarray(groups, jnp.int32)), num_groups

    def of_atoms(self, raw: Float[Array, "*layers groups"]) -> Float[Array, "*layers n"]:
        """One weight per atom, as solvers take them, from the trained array ``raw``.

        Positive weights are ``exp(raw)``, not softplus. Choices compare products of weights and
        magnitudes, so only the ratio of a weight to the other weights matters. A step in ``raw``
        changes this ratio by the same factor for large and for small weights. A weight of 1 is
        exactly ``raw = 0``.
        """
        weights = jnp.exp(raw) if self.positive else raw
        return weights if self.groups is None else weights[..., self.groups]


@dataclasses.dataclass(frozen=True)
class Temperature:
    """The temperature of a network.

    Attributes:
        value: one number > 0, or one per layer, in the units of the scores.
        learned: whether the logarithms of ``value`` are trained. See
            `greedyjax.training.losses.selection` for the temperature that this loss learns.
    """

    value: Any = 1e-3
    learned: bool = False


@dataclasses.dataclass(frozen=True)
class StepSize:
    """The step size of a network with gradient steps.

    Attributes:
        value: a number > 0. None means ``1 / ||A||^2`` by power iteration, computed once from the
            given matrix. If the atoms are learned, this step size remains.
        learned: whether the logarithm of the step size is trained.
    """

    value: Any = None
    learned: bool = False
