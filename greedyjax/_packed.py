"""Sparse answers in few bytes: compressed rows, 16-bit indices and 8-bit coefficients."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Inexact, Int, Int8, Integer

from greedyjax import _checks

_LEVELS = 127  # On either side of 0, so that rounding is the same for both signs.
_BLOCK = 16_384  # The number of signals whose coefficients are expanded at a time.


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PackedCodes:
    """The atoms and coefficients of many signals in few bytes, made by `Codes.packed`.

    The atoms of all signals are stored one after another. The atoms of signal ``i`` are at the
    places ``pointers[i]`` to ``pointers[i + 1] - 1``, in the order of `Codes`. All arrays are
    NumPy arrays.

    With 8-bit coefficients, signal ``i`` has a step ``scales[i]``, its largest magnitude divided by
    127. A coefficient is stored as the nearest integer multiple ``q`` of this step::

        q = round(coefficient / scale),    |coefficient - q scale| <= scale / 2.

    A complex coefficient is stored by its real and its imaginary part, with the same step.

    Attributes:
        pointers: shape ``(num + 1,)``, int64.
        support: the atoms, shape ``(total,)``, uint16 or uint32.
        coefficients: shape ``(total,)``, or ``(total, L)`` for snapshots: int8, with a last axis of
            2 if they are complex; or the coefficients without rounding.
        scales: shape ``(num,)``; None if coefficients are not rounded.
        num_atoms: ``n``, the number of columns of the dictionary.
        dtype: the dtype of the coefficients before packing and after `decode`.
    """

    pointers: Int[np.ndarray, " bounds"]
    support: Integer[np.ndarray, " total"]
    coefficients: Int8[np.ndarray, "total ..."] | Inexact[np.ndarray, "total ..."]
    scales: Float[np.ndarray, " num"] | None
    num_atoms: int
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays together."""
        arrays = (self.pointers, self.support, self.coefficients, self.scales)
        return sum(array.nbytes for array in arrays if array is not None)

    def decode(self) -> tuple[Int[np.ndarray, "num width"], Inexact[np.ndarray, "num width ..."]]:
        """The atoms and the coefficients as `Codes` has them, -1 and 0 in unused places.

        Returns:
            The support, int32, and the coefficients, in ``dtype``. The width is the largest number
            of atoms of a signal.
        """
        counts = np.diff(self.pointers)
        used = np.arange(counts.max(initial=0)) < counts[:, None]
        support = np.full(used.shape, -1, np.int32)
        support[used] = self.support
        values = self._values(0, len(counts)).astype(self.dtype)
        coefficients = np.zeros((*used.shape, *values.shape[1:]), self.dtype)
        coefficients[used] = values
        return support, coefficients

    def measurements(
        self, A: Inexact[ArrayLike, "m n"]
    ) -> Inexact[np.ndarray, "num m"] | Inexact[np.ndarray, "num m snapshots"]:
        """``A x`` of every signal, computed from the stored atoms, without forming ``x``.

        Args:
            A: the dictionary, shape ``(m, num_atoms)``.

        Returns:
            Shape ``(num, m)``, or ``(num, m, L)`` for snapshots, in the promoted dtype of ``A`` and
            the coefficients.

        Raises:
            TypeError: ``A`` is not an array of floating-point or complex numbers.
            ValueError: ``A`` has another number of columns, or holds NaN or infinity.
        """
        from scipy.sparse import csr_array

        given = np.asarray(_checks.numbers("A", A, ndim=2))
        if given.shape[1] != self.num_atoms:
            expected = f"{self.num_atoms} columns, as many as atoms were packed"
            _checks.fail(ValueError, "A", expected, f"shape {given.shape}")
        atoms, num = _widened(given).T, len(self.pointers) - 1
        out = jnp.promote_types(given.dtype, self.dtype)

        def block(start: int) -> np.ndarray:
            stop = min(start + _BLOCK, num)
            first, last = self.pointers[[start, stop]]
            support = self.support[first:last].astype(np.int32)
            rows = self.pointers[start : stop + 1] - first
            values = self._values(start, stop)
            times = lambda x: csr_array((x, support, rows), (stop - start, self.num_atoms)) @ atoms
            if values.ndim == 1:
                return times(values)
            return np.stack([times(x) for x in np.moveaxis(values, 1, 0)], axis=-1)

        blocks = [block(start).astype(out) for start in range(0, num, _BLOCK)]
        return np.concatenate(blocks)

    def _values(self, start: int, stop: int) -> np.ndarray:
        """The coefficients of signals ``start`` to ``stop``, in single precision or better."""
        stored = self.coefficients[self.pointers[start] : self.pointers[stop]]
        if self.scales is None:
            return _widened(stored)
        steps = np.repeat(self.scales[start:stop], np.diff(self.pointers[start : stop + 1]))
        values = stored * steps.reshape(-1, *[1] * (stored.ndim - 1))
        return _joined(values) if self.dtype.kind == "c" else values

    def __repr__(self) -> str:
        parts = [f"{len(self.pointers) - 1:,} signals of {self.num_atoms:,} atoms"]
        parts += [f"{len(self.support):,} coefficients", f"{self.nbytes:,} bytes"]
        return f"PackedCodes({', '.join(parts)})"


def packed(codes: Any, num_atoms: int, coefficient_bits: int | None, index_bits: int):
    """See `Codes.packed`."""
    num_atoms = _checks.static_int("num_atoms", num_atoms, minimum=1)
    if coefficient_bits not in (8, None):
        _checks.fail(ValueError, "coefficient_bits", "8, or None", f"{coefficient_bits!r}")
    if index_bits not in (16, 32):
        _checks.fail(ValueError, "index_bits", "16 or 32", f"{index_bits!r}")
    if num_atoms > 2**index_bits:
        way = "; index_bits=32 has room for them" if index_bits == 16 else ""
        got = f"{num_atoms}{way}"
        expected = f"at most {2**index_bits} with index_bits={index_bits}"
        _checks.fail(ValueError, "num_atoms", expected, got)
    if _checks.is_traced(codes):
        _checks.fail(TypeError, "codes", "arrays to pack outside of jit", "traced values")
    support, coefficients = np.asarray(codes.support), np.asarray(codes.coefficients)
    if support.ndim != 2:
        got = f"shape {support.shape}; pack the codes of each dictionary separately"
        _checks.fail(ValueError, "codes.support", "shape (num, sparsity)", got)
    if support.max(initial=-1) >= num_atoms:
        _checks.fail(ValueError, "num_atoms", f"more than {support.max()}, an atom", f"{num_atoms}")

    used = support >= 0
    pointers = np.concatenate([[0], np.cumsum(used.sum(axis=1), dtype=np.int64)])
    values, scales = coefficients[used], None
    if not np.isfinite(values).all():
        _checks.fail(ValueError, "codes.coefficients", "finite numbers", "NaN or infinity")
    if coefficient_bits == 8:
        values, scales = _quantised(values, pointers)
    indices = support[used].astype(np.uint16 if index_bits == 16 else np.uint32)
    return PackedCodes(pointers, indices, values, scales, num_atoms, coefficients.dtype)


def _quantised(values: np.ndarray, pointers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients rounded to 8-bit integers, and the step of each signal."""
    parts = _widened(values)
    if np.iscomplexobj(parts):
        parts = np.stack([np.real(parts), np.imag(parts)], axis=-1)
    sizes = np.abs(parts).max(axis=tuple(range(1, parts.ndim)), initial=0)
    counts = np.diff(pointers)
    scales = np.zeros(len(counts), parts.dtype)
    largest = np.maximum.reduceat(sizes, pointers[:-1][counts > 0]) / _LEVELS
    scales[counts > 0] = np.nextafter(largest, 0)  # So that 127 steps do not overflow.
    # A subnormal step would be too coarse, or 0. A signal with such a step is stored as 0.
    steps = np.where(scales < np.finfo(scales.dtype).tiny, np.inf, scales)
    scales[np.isinf(steps)] = 0
    steps = np.repeat(steps, counts).reshape(-1, *[1] * (parts.ndim - 1))
    return np.rint(parts / steps).astype(np.int8), scales


def _widened(array: np.ndarray) -> np.ndarray:
    """Half precision is converted to single precision; other dtypes stay unchanged."""
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array


def _joined(pairs: np.ndarray) -> np.ndarray:
    """Complex numbers from their real and imaginary parts on the last axis."""
    return pairs[..., 0] + 1j * pairs[..., 1]
