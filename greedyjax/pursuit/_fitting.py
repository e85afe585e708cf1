"""Least squares on the atoms that rows select, hard or soft."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from greedyjax.linalg.least_squares import least_squares
from greedyjax.linalg.operators import Dense
from greedyjax.pursuit._orthogonal import Choice


class Atoms(NamedTuple):
    """What a fit reads: columns of norm 1, and the penalty of coefficients over them, if any."""

    unit: Dense
    penalty: Float[Array, " n"] | None

    def fit(
        self, selector, rows, y: Float[Array, "parts m"]
    ) -> tuple[Float[Array, "parts n"], Float[Array, "parts m"]]:
        """``x = P^T z`` with ``z`` the coefficients of ``y`` over the atoms ``A P^T``.

        Returns:
            ``x`` and the residual ``y - A x``, by parts.
        """
        parts, m = y.shape
        slots = selector.slots(rows)
        choice = Choice(self.unit, jnp.ones((), y.dtype), self.penalty)
        length = choice.length(selector, len(slots))
        atoms = jax.vmap(lambda row, slot: choice.atom(selector, row, slot, parts, length))
        target = jnp.pad(y, ((0, 0), (0, length - m))).ravel()
        found = least_squares(parts, atoms(rows, slots), target)
        coefficients = found.coefficients.reshape(parts, -1)
        x = selector.combine(rows, coefficients, self.unit.shape[1])
        return x, found.residual.reshape(parts, length)[:, :m]


def used(x: Float[Array, "parts n"], support):
    """The support with -1 where ``x`` is 0."""
    return jnp.where(jnp.any(x[:, support] != 0, axis=0), support, -1)
