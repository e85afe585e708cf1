"""Signals coded for dictionary learning: whole ones, and ones with missing entries."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from greedyjax._numerics import abs_sq, in_units, matmul
from greedyjax.pursuit import OMP, encode, recover
from greedyjax.training._dictionary_updates import Coded, decoded, energy_of

# Signals with missing entries that are coded at a time: each has a residual and scores.
_BLOCK = 256


class Batch(NamedTuple):
    """Signals, and which of their entries there are.

    Attributes:
        Y: one signal a row, 0 where an entry is missing.
        observed: True where an entry is there. None where all are.
    """

    Y: Inexact[Array, "*d num m"]
    observed: Bool[Array, "*d num m"] | None

    def in_units(self, unit: Float[Array, ""]) -> "Batch":
        """The same in other units."""
        return self._replace(Y=in_units(self.Y, unit))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ObservedRows:
    """The rows of a matrix that one signal has entries for; the others are 0."""

    A: Inexact[Array, "m n"]
    observed: Float[Array, " m"]

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        m, n = self.A.shape
        return m, n

    @property
    def dtype(self) -> jnp.dtype:
        """That of the matrix."""
        return self.A.dtype

    @property
    def column_norms(self) -> Float[Array, " n"]:
        """The norms of what is observed of each atom, as numbers of the size of 1."""
        return jnp.sqrt(matmul(self.observed, abs_sq(self.A)))

    def matvec(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        """Those rows of ``A x``."""
        return self.observed.astype(self.A.dtype) * matmul(self.A, x)

    def rmatvec(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        """``A*`` of those entries of ``y``."""
        return matmul(self.A.conj().T, self.observed.astype(self.A.dtype) * y)

    def column(self, j: Int[Array, ""]) -> Inexact[Array, " m"]:
        """What is observed of atom ``j``."""
        return self.observed.astype(self.A.dtype) * self.A[:, j]


def coded(A: Inexact[Array, "m n"], batch: Batch, sparsity: int) -> Coded:
    """Signals coded by OMP, from the entries that they have."""
    Y, observed = batch
    if observed is None:
        codes = encode(OMP(sparsity), A, Y)
        residual = Y - decoded(A, codes)
        return Coded(codes.coefficients, codes.support, residual, energy_of(Y))

    def one(signal):
        y, seen = signal
        found = recover(OMP(sparsity), ObservedRows(A, seen.astype(y.real.dtype)), y)
        return jnp.where(found.support < 0, 0, found.x[found.support]), found.support

    coefficients, support = lax.map(one, (Y, observed), batch_size=_BLOCK)
    codes = Coded(coefficients, support, Y, energy_of(Y), observed)
    residual = jnp.where(observed, Y - decoded(A, codes), 0)
    return codes._replace(residual=residual)


def completed(A: Inexact[Array, "m n"], batch: Batch, codes: Coded) -> Inexact[Array, "num m"]:
    """The signals, with ``A x`` in the place of missing entries."""
    if batch.observed is None:
        return batch.Y
    return jnp.where(batch.observed, batch.Y, decoded(A, codes))
