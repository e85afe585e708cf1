"""Least squares on the atoms that rows select, hard or soft."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from greedyjax._numerics import safe_sqrt
from greedyjax.linalg.least_squares import least_squares
from greedyjax.linalg.operators import Dense


class Atoms(NamedTuple):
    """What a fit reads: columns of norm 1, and the penalty of coefficients over them, if any."""

    unit: Dense
    penalty: Float[Array, " n"] | None

    def fit(
        self, selector, rows, y: Float[Array, "parts m"]
    ) -> tuple[Float[Array, "parts n"], Float[Array, "parts m"]]:
        """``x = P^T z`` with ``z`` the coefficients of ``y`` over the atoms ``A P^T``.

        A penalty makes the atoms longer, each by an entry of its own (see
        `greedyjax.pursuit._orthogonal.Choice`).

        Returns:
            ``x`` and the residual ``y - A x``, by parts.
        """
        parts, m = y.shape
        atoms = selector.atoms(self.unit, rows)
        k, given, _ = atoms.shape
        length = m if self.penalty is None else m + k
        atoms = jnp.pad(atoms, ((0, 0), (0, parts - given), (0, length - m)))
        if self.penalty is not None:
            size = safe_sqrt(selector.mean(self.penalty, rows))
            atoms = atoms.at[:, 0, m:].set(jnp.diag(size))
        target = jnp.pad(y, ((0, 0), (0, length - m)))
        found = least_squares(parts, atoms.reshape(k, -1), target.ravel())
        x = selector.combine(rows, found.coefficients.reshape(parts, k), self.unit.shape[1])
        return x, found.residual.reshape(parts, length)[:, :m]


def used(x: Float[Array, "parts n"], support):
    """The support with -1 where ``x`` is 0."""
    return jnp.where(jnp.any(x[:, support] != 0, axis=0), support, -1)
