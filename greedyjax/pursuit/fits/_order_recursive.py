"""Least squares in which the next atom is the atom that leaves the smallest residual."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from greedyjax import _checks
from greedyjax._meshes import varying_like
from greedyjax._numerics import (
    abs_sq,
    eps,
    index_range,
    norm,
    safe_inverse,
    safe_sqrt,
    times_atoms,
)
from greedyjax._types import static
from greedyjax.linalg.basis import empty_basis, extend
from greedyjax.pursuit._problem import Problem
from greedyjax.pursuit.fits._least_squares import LeastSquares, Span
from greedyjax.sorting import Rows


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OrderRecursive(LeastSquares):
    """Least squares in which a score is the correlation with the new part of an atom.

    With ``P`` the projection to the chosen atoms, the score of atom ``j`` is
    ``|a_j* r| / ||a_j - P a_j||``. The atom with the largest score leaves the smallest residual, so
    `OMP` becomes orthogonal least squares. An atom in the span of the chosen atoms has score 0.
    Each step costs one additional product with the matrix.

    Attributes:
        penalty: as in `LeastSquares`.
        rank_aware: whether scores of several snapshots use an orthonormal basis of the residuals in
            their place. Then scores do not depend on how the snapshots are correlated. Noise has
            all directions, so pass ``atol``: directions of the residuals below it are left out. The
            basis is a constant to derivatives.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> from greedyjax.pursuit import OMP, OrderRecursive
        >>> A = jnp.array([[1.0, 0.8, 0.0], [0.0, 0.6, 1.0]])
        >>> y = jnp.array([1.0, 0.9])
        >>> gj.recover(OMP(sparsity=2, fit=OrderRecursive()), A, y).support.tolist()
        [1, 0]

    References:
        Chen, Billings and Luo, "Orthogonal least squares methods and their application to
        non-linear system identification", International Journal of Control 50 (1989). Davies and
        Eldar, "Rank awareness in joint sparse recovery", IEEE Transactions on Information Theory 58
        (2012).
    """

    rank_aware: bool = static(default=False)

    at_once = False

    def checked(self, num_atoms: int) -> "LeastSquares":
        """The fit with its settings checked."""
        _checks.flag("fit.rank_aware", self.rank_aware)
        return super().checked(num_atoms)

    def start(self, problem: Problem, turn: Any, num: int, *, keep_rows: bool = True) -> Span:
        """The state without atoms, in which every atom has its full length."""
        lengths = jnp.ones(problem.shape[1], problem.y.dtype)
        if self.penalty is not None:
            lengths = lengths + self.penalty
        return super().start(problem, turn, num, keep_rows=keep_rows)._replace(lengths_sq=lengths)

    def correlations(self, problem: Problem, state: Span) -> Float[Array, "parts *snapshots n"]:
        """``a_j* r / ||a_j - P a_j||`` by parts."""
        residual = self.measured(problem, state.residual)
        if self.rank_aware and problem.has_snapshots:
            residual = lax.stop_gradient(_orthonormal(problem, residual))
        found = problem.correlations(residual)
        # An atom whose length is within rounding depends on the chosen atoms.
        left = state.lengths_sq
        left = jnp.where(left > 64 * eps(left.dtype), left, 0)
        return times_atoms(safe_inverse(safe_sqrt(left)), found)

    def add(self, problem: Problem, state: Span, row: Rows, active: Any) -> Span:
        """The state with one more atom, whose direction is removed from all other atoms."""
        new = super().add(problem, state, row, active)
        q = new.basis.vectors[state.count, 0].reshape(problem.parts, -1)[:, : problem.shape[0]]
        along = problem.atoms.adjoint_times(q)
        return new._replace(lengths_sq=state.lengths_sq - jnp.sum(abs_sq(along), axis=0))


def _orthonormal(problem: Problem, residual: Float[Array, "parts snapshots m"]):
    """An orthonormal basis of the residuals by parts, filled up with zeros to their number."""
    parts, num, m = residual.shape
    flat = jnp.moveaxis(residual, 0, 1).reshape(num, -1)
    # The largest singular value of noise whose norm over all entries is problem.enough.
    enough = 0 if problem.enough is None else problem.enough * (num**-0.5 + m**-0.5)

    def step(basis, inputs):
        slot, vector = inputs
        inverse = safe_inverse(norm(vector))
        return extend(basis, vector * inverse, slot, True, enough * inverse)[0], None

    start = varying_like(empty_basis(num, m, parts, flat.dtype), flat)
    basis, _ = lax.scan(step, start, (index_range(num), flat))
    return jnp.moveaxis(basis.vectors[:, 0].reshape(num, parts, m), 1, 0)
