"""Coding of signals for dictionary learning, with or without missing entries."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from greedyjax._numerics import abs_sq, in_units, matmul
from greedyjax.pursuit import OMP, encode, recover
from greedyjax.training._dictionary_updates import Coded, decoded, energy_of

# How many signals with missing entries are coded at a time. Each needs a residual and scores.
_BLOCK = 256


class Batch(NamedTuple):
    """Signals, and which of their entries are present.

    Attributes:
        Y: one signal per row, 0 where an entry is missing.
        observed: True where an entry is present. None means that all entries are present.
    """

    Y: Inexact[Array, "*d num m"]
    observed: Bool[Array, "*d num m"] | None

    def in_units(self, unit: Float[Array, ""]) -> "Batch":
        """The same signals in other units."""
        return self._replace(Y=in_units(self.Y, unit))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ObservedRows:
    """A matrix whose rows are 0 where one signal has no entry."""

    A: Inexact[Array, "m n"]
    observed: Float[Array, " m"]

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        m, n = self.A.shape
        return m, n

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the matrix."""
        return self.A.dtype

    @property
    def column_norms(self) -> Float[Array, " n"]:
        """The norms of the columns, for matrices whose entries are of the order of 1."""
        return jnp.sqrt(matmul(self.observed, abs_sq(self.A)))

    def matvec(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x`` in the observed rows, and 0 elsewhere."""
        return self.observed.astype(self.A.dtype) * matmul(self.A, x)

    def rmatvec(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y`` over the observed entries of ``y``."""
        return matmul(self.A.conj().T, self.observed.astype(self.A.dtype) * y)

    def column(self, j: Int[Array, ""]) -> Inexact[Array, " m"]:
        """Returns the observed entries of atom ``j``, and 0 elsewhere."""
        return self.observed.astype(self.A.dtype) * self.A[:, j]


def coded(A: Inexact[Array, "m n"], batch: Batch, sparsity: int) -> Coded:
    """Codes signals by OMP, from the entries that are present."""
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
    """The signals, with the entries of ``A x`` in place of missing entries."""
    if batch.observed is None:
        return batch.Y
    return jnp.where(batch.observed, batch.Y, decoded(A, codes))
