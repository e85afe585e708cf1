"""Least squares that chooses atoms, and stops, by the loss of the square-root LASSO."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from greedyjax import _checks
from greedyjax._numerics import eps, norm, safe_inverse, safe_sqrt, times_atoms
from greedyjax.pursuit._problem import Problem
from greedyjax.pursuit.fits._least_squares import LeastSquares, Span


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RootLasso(LeastSquares):
    """Least squares in which the next atom lowers ``||y - A x|| + sum_j level_j |x_j|`` most.

    Let an atom of norm 1 have the correlation ``||r|| sin(alpha_j)`` with the residual ``r``, and
    let ``level_j = sin(beta_j)``. With an additional entry of ``x`` at this atom, the least value
    of the loss is ``||r|| cos(alpha_j - beta_j)``. So the score of the atom is
    ``||r|| sin(alpha_j - beta_j)``, or 0 if that is negative. With a level of 0 the score is the
    correlation.

    `OMP` stops if all scores are 0, so if no correlation exceeds ``level_j ||r||``. This does not
    depend on the size of the signal or of the noise, so one level serves measurements of any
    quality. For noise in ``m`` dimensions, the largest correlation over ``||r||`` is about
    ``sqrt(2 log(n) / m)`` by chance. A good level is somewhat below this number. With a level per
    atom, likely atoms can have lower levels.

    Attributes:
        penalty: ridge penalty of the fit, as in `LeastSquares`.
        level: real, at least 0; one number below 1, or one per atom, shape ``(n,)``. An atom whose
            level is 1 or more is never chosen.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> from greedyjax.pursuit import OMP, RootLasso
        >>> y = jnp.array([3.0, 0.2, -0.2, 0.2])
        >>> gj.recover(OMP(sparsity=4, fit=RootLasso(level=0.8)), jnp.eye(4), y).support.tolist()
        [0, -1, -1, -1]

    References:
        Mohammad-Taheri and Brugiapaglia, "The greedy side of the LASSO: new algorithms for weighted
        sparse recovery via loss function-based orthogonal matching pursuit", arXiv 2303.00844
        (2023), who choose atoms by how much this and other losses fall. The form by angles, and the
        rule for stopping, are derived here.
    """

    level: Any = 0.0

    at_once = False

    def checked(self, num_atoms: int) -> "LeastSquares":
        """The fit with its settings checked. Levels have to be at least 0."""
        if self.penalty is not None and jnp.ndim(self.penalty) == 0:
            expected = f"shape ({num_atoms},), a ridge penalty for each atom"
            got = "one number; atoms are chosen by RootLasso(level=...)"
            _checks.fail(ValueError, "fit.penalty", expected, got)
        if jnp.ndim(self.level) == 0:
            level = _checks.scalar("fit.level", self.level, positive=False)
            if not _checks.is_traced(self.level) and float(self.level) >= 1:
                expected = "less than 1, as it is the sine of an angle"
                _checks.fail(
                    ValueError,
                    "fit.level",
                    expected,
                    f"{float(self.level):g}, which no atom reaches",
                )
        else:
            level = _checks.at_least_0("fit.level", self.level, num_atoms)
        return dataclasses.replace(super().checked(num_atoms), level=level)

    def correlations(self, problem: Problem, state: Span) -> Float[Array, "parts *snapshots n"]:
        """``a_j* r`` scaled so that magnitudes are the scores, by parts."""
        residual = self.measured(problem, state.residual)
        # A residual of rounding errors has an arbitrary direction, and so has its derivative.
        rounding = 64 * eps(residual.dtype)
        residual = jnp.where(norm(residual) <= rounding * norm(problem.y), 0, residual)
        found = problem.correlations(residual)
        size_sq = jnp.sum(found * found, axis=tuple(range(found.ndim - 1)))
        size = safe_sqrt(size_sq)  # ||r|| sin(alpha)
        length_sq = jnp.sum(residual * residual)
        beside_sq = length_sq - size_sq
        beside = safe_sqrt(jnp.where(beside_sq > rounding * length_sq, beside_sq, 0))
        sine = jnp.minimum(self.level, 1).astype(found.dtype)
        score = jnp.maximum(safe_sqrt(1 - sine * sine) * size - sine * beside, 0)
        return times_atoms(score * safe_inverse(size), found)

    def goes_on(self, problem: Problem, state: Any) -> Bool[Array, ""]:
        """Whether anything is left to fit, and a score is not 0."""
        return super().goes_on(problem, state) & jnp.any(self.correlations(problem, state) != 0)
