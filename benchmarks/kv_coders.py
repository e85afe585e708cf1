"""What stores keys and values in few bytes: dictionaries, and integers as KIVI has them.

Every coder writes its numbers to bytes and reads them back: what attention sees is what the bytes
say, and ``Stored.nbytes`` is their number.
"""

import dataclasses
import os
from functools import partial

import jax
import jax.numpy as jnp
import kv_model
import numpy as np

import greedyjax as gj
from greedyjax import streaming
from greedyjax.pursuit import OMP, LeastSquares


@dataclasses.dataclass(frozen=True)
class Stored:
    """Arrays that are stored, and what they stand for.

    Attributes:
        arrays: what is stored.
        values: what comes back, of the shape that was given.
    """

    arrays: tuple[np.ndarray, ...]
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)


def pack(*fields: tuple[np.ndarray, int]) -> np.ndarray:
    """Rows of integers from 0 to ``2^bits - 1``, side by side in rows of whole bytes.

    Args:
        fields: pairs of integers ``(num, width)`` and their number of bits.
    """
    digits = [(rows[..., None] >> np.arange(bits)) & 1 for rows, bits in fields]
    flat = [each.astype(np.uint8).reshape(len(each), -1) for each in digits]
    return np.packbits(np.concatenate(flat, axis=1), axis=1)


def unpack(packed: np.ndarray, *fields: tuple[int, int]) -> list[np.ndarray]:
    """What `pack` was given, from the width and the number of bits of each of the fields."""
    sizes = [width * bits for width, bits in fields]
    digits = np.unpackbits(packed, axis=1, count=sum(sizes))
    parts = np.split(digits, np.cumsum(sizes)[:-1], axis=1)
    return [
        part.reshape(len(part), width, bits) @ (1 << np.arange(bits, dtype=np.int32))
        for part, (width, bits) in zip(parts, fields, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class Frame:
    """Coordinates in which the square of a norm is about what an error costs.

    ``z = (y - mean) W`` of each head, with ``W W^T`` the metric of the errors.

    Attributes:
        mean: of the vectors of each head, shape ``(kv_heads, size)``.
        W: shape ``(kv_heads, size, size)``.
        inverse: of each ``W``.
    """

    mean: np.ndarray
    W: np.ndarray
    inverse: np.ndarray

    @classmethod
    def of(cls, mean: np.ndarray, metric: np.ndarray) -> "Frame":
        """From a metric for each head, ``(kv_heads, size, size)``, a little of the identity added.

        Without it, directions that cost nothing on one text would get any error on another.
        """
        size = metric.shape[-1]
        level = np.trace(metric, axis1=1, axis2=2)[:, None, None] / size
        W = np.linalg.cholesky(metric / level + 0.03 * np.eye(size))
        return cls(*(x.astype(np.float32) for x in (mean, W, np.linalg.inv(W))))

    def entered(self, x: np.ndarray) -> np.ndarray:
        """Vectors ``(..., kv_heads, size)`` in these coordinates, one a row."""
        return np.asarray(_of_each_head(x - self.mean, self.W)).reshape(-1, x.shape[-1])

    def left(self, z: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The way back."""
        return np.asarray(_of_each_head(z.reshape(shape), self.inverse)) + self.mean


@dataclasses.dataclass(frozen=True)
class Sparse:
    """Codes of a dictionary by OMP: ``sparsity`` atoms and their coefficients for each vector.

    A coefficient is an integer times the scale of its vector, a float16, so that the largest one
    is the largest integer. Coefficients have ``bits`` bits, indices as many as the atoms need.

    Attributes:
        dictionary: ``A (size, num_atoms)``.
        frame: the coordinates that are coded.
        sparsity: atoms of a vector.
        bits: of a coefficient.
        fit: of OMP.
    """

    dictionary: np.ndarray
    frame: Frame
    sparsity: int
    bits: int = 8
    fit: LeastSquares = LeastSquares()

    def __call__(self, x: np.ndarray) -> Stored:
        codes = _codes(OMP(self.sparsity, fit=self.fit), self.dictionary, self.frame.entered(x))
        levels = 2 ** (self.bits - 1) - 1
        scales = (np.abs(codes.coefficients).max(axis=1) / levels).astype(np.float16)
        steps = np.where(scales > 0, scales, 1).astype(np.float32)[:, None]
        integers = np.rint(codes.coefficients / steps).clip(-levels, levels).astype(np.int32)
        # An unused slot has the coefficient 0, of any atom.
        atoms, width = np.maximum(codes.support, 0), _bits_of_index(self.dictionary)
        rows = pack((integers + levels, self.bits), (atoms, width))

        integers, atoms = unpack(rows, (self.sparsity, self.bits), (self.sparsity, width))
        coefficients = (integers - levels).astype(np.float32) * scales.astype(np.float32)[:, None]
        back = np.asarray(_products(self.dictionary, atoms, coefficients))
        return Stored((rows, scales), self.frame.left(back, x.shape))


@dataclasses.dataclass(frozen=True)
class Packed:
    """The same as `greedyjax`'s ``Codes.packed`` has it: signals may have any number of atoms."""

    dictionary: np.ndarray
    frame: Frame
    sparsity: int

    def __call__(self, x: np.ndarray) -> Stored:
        codes = _codes(OMP(self.sparsity), self.dictionary, self.frame.entered(x))
        packed = codes.packed(self.dictionary.shape[1])
        arrays = packed.pointers, packed.support, packed.coefficients, packed.scales
        return Stored(arrays, self.frame.left(packed.measurements(self.dictionary), x.shape))


@dataclasses.dataclass(frozen=True)
class Integers:
    """Integers of few bits: ``zero + integer scale``, with the two for each group, float16.

    Liu and others, "KIVI: A tuning-free asymmetric 2bit quantization for KV cache", ICML 2024: keys
    are grouped along the tokens, a channel at a time, and values along the channels of a token.

    Attributes:
        bits: of an integer.
        group: numbers that share a scale.
        along_tokens: whether a group lies along tokens.
    """

    bits: int
    group: int = 32
    along_tokens: bool = False

    def __call__(self, x: np.ndarray) -> Stored:
        ordered = np.moveaxis(x, 1, -1) if self.along_tokens else x
        groups = ordered.reshape(-1, self.group)
        levels = 2**self.bits - 1
        low, high = groups.min(axis=1), groups.max(axis=1)
        zeros, scales = low.astype(np.float16), ((high - low) / levels).astype(np.float16)
        steps = np.where(scales > 0, scales, 1).astype(np.float32)[:, None]
        integers = np.rint((groups - zeros[:, None].astype(np.float32)) / steps)
        rows = pack((integers.clip(0, levels).astype(np.int32), self.bits))

        [integers] = unpack(rows, (self.group, self.bits))
        wide = lambda numbers: numbers.astype(np.float32)[:, None]
        back = (wide(zeros) + integers.astype(np.float32) * wide(scales)).reshape(ordered.shape)
        return Stored(
            (rows, zeros, scales), np.moveaxis(back, -1, 1) if self.along_tokens else back
        )


class CodedCache:
    """A `kv_model.Cache`: coders of the keys and of the values of each layer, and their bytes.

    Attributes:
        keys: coders, one per layer.
        values: the same.
        base: of the rotary embedding.
        rotated_first: whether keys are coded after the rotary embedding.
        exact: how many of the first tokens are stored in float16, and not coded.
        nbytes: stored so far.
        numbers: stored so far.
    """

    def __init__(
        self, keys: list, values: list, *, base: float, rotated_first: bool, exact: int = 0
    ):
        self.keys, self.values = keys, values
        self.base, self.rotated_first, self.exact = base, rotated_first, exact
        self.nbytes = self.numbers = 0

    def __call__(self, layer: int, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        turn = lambda k: kv_model.rotated(jnp.asarray(k), base=self.base)
        keys = self._stored(self.keys[layer], np.asarray(turn(k) if self.rotated_first else k))
        values = self._stored(self.values[layer], np.asarray(v))
        self.nbytes += keys.nbytes + values.nbytes
        self.numbers += k.size + v.size
        seen = jnp.asarray(keys.values) if self.rotated_first else turn(keys.values)
        return seen, jnp.asarray(values.values)

    def _stored(self, coder, x: np.ndarray) -> Stored:
        first, coded = x[:, : self.exact].astype(np.float16), coder(x[:, self.exact :])
        values = np.concatenate([first.astype(x.dtype), coded.values], axis=1)
        return Stored((first, *coded.arrays), values)

    @property
    def share(self) -> float:
        """Bytes over those of the same numbers as float16."""
        return self.nbytes / (2 * self.numbers)


def _codes(method: OMP, A: np.ndarray, signals: np.ndarray) -> gj.Codes:
    """Codes of the rows, on all processors."""
    size = -(-len(signals) // (os.cpu_count() or 1))
    return streaming.recover(partial(_encode, method, A), signals, batch_size=size)


_encode = jax.jit(gj.encode)


@jax.jit
def _of_each_head(x, W):
    """The rows ``(..., kv_heads, size)`` times the matrix of their head."""
    return jnp.einsum("...hs,hsr->...hr", x, W)


@jax.jit
def _products(A, atoms, coefficients):
    """``A x`` of each row."""
    return jnp.einsum("ns,nsm->nm", coefficients, A.T[atoms])


def _bits_of_index(A: np.ndarray) -> int:
    return max(1, (A.shape[1] - 1).bit_length())
