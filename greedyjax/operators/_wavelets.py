"""Orthogonal wavelets with periodic boundaries, by the filters of PyWavelets."""

import dataclasses
import importlib
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact, Int

from greedyjax import _checks
from greedyjax._types import static
from greedyjax.operators._ready import (
    Ready,
    axes,
    by_parts,
    orthogonal,
    real_numbers,
    registered,
)

# Filters of PyWavelets are orthonormal to 2e-11 or better, except dmey, which is truncated.
_ORTHONORMAL = 1e-10

#: ``taps[i][o]`` maps each shift to the coefficient of input ``i``, so shifted, in output ``o``.
_Taps = list[list[dict[int, float]]]


@registered
@dataclasses.dataclass(frozen=True)
class Wavelet(Ready):
    """The orthonormal wavelet transform, as synthesis: coefficients to an image.

    ``A* y`` is the periodised multilevel transform along one to three axes, as PyWavelets computes
    it with ``mode="periodization"``, and ``A x`` is its inverse. Columns are wavelets and scaling
    functions of norm 1.

    ``x.reshape(image_shape)`` is the usual pyramid. The approximation is the corner whose sides are
    ``2**-num_levels`` of the whole. On each level the details lie beside and below the coarser
    coefficients, as `pywt.coeffs_to_array` arranges them. ``levels`` and ``parents`` say where
    coefficients lie in the tree.

    Attributes:
        image_shape: the lengths of one to three axes, or one int, multiples of ``2**num_levels``.
        wavelet: the name of an orthogonal wavelet of PyWavelets, such as ``"db4"``, or an object
            with its filters ``dec_lo`` and ``dec_hi``, such as a `pywt.Wavelet`.
        num_levels: how often the approximation is split, at least 1.
        dtype: real. A complex vector, or one of higher precision, is multiplied in its own dtype.

    Raises:
        ImportError: PyWavelets is not installed, and ``wavelet`` is a name.
        TypeError: an argument has a wrong type.
        ValueError: more than three axes, or a side that ``2**num_levels`` does not divide; or the
            wavelet is unknown or not orthogonal.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = gj.operators.Wavelet(8, "haar", num_levels=2)
        >>> A.matvec(2 * jnp.eye(8)[3]).tolist()  # The second of the details of the first level.
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, -1.0, -1.0]
        >>> A.levels.tolist()
        [0, 0, 1, 1, 2, 2, 2, 2]
        >>> A.parents.tolist()
        [-1, -1, 0, 1, 2, 2, 3, 3]

    Source: Mallat, "A theory for multiresolution signal decomposition: the wavelet representation",
    IEEE Transactions on Pattern Analysis and Machine Intelligence 11 (1989).
    """

    image_shape: Any = static()
    wavelet: Any = static()
    num_levels: Any = static()
    dtype: Any = static(default=jnp.float32)

    def __post_init__(self) -> None:
        num_levels = _checks.static_int("num_levels", self.num_levels, minimum=1)
        lengths = axes("image_shape", self.image_shape)
        if any(length % 2**num_levels for length in lengths):
            expected = f"multiples of 2**num_levels = {2**num_levels}"
            _checks.fail(ValueError, "image_shape", expected, str(lengths))
        self._set(
            image_shape=lengths,
            wavelet=_filters(self.wavelet),
            num_levels=num_levels,
            dtype=real_numbers(self.dtype),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, n)``."""
        n = prod(self.image_shape)
        return n, n

    @property
    def column_norms(self) -> Float[Array, " n"]:
        """Ones."""
        return jnp.ones(self.shape[1], self.dtype)

    @property
    def levels(self) -> Int[np.ndarray, " n"]:
        """Level of each coefficient: 0 the approximation, 1 the coarsest details, and so on.

        It is a NumPy array, so that its values are known while a function is traced.
        """
        return self._levels().ravel().astype(np.int32)

    @property
    def parents(self) -> Int[np.ndarray, " n"]:
        """Index of each coefficient's parent: the coefficient at its place, one level coarser.

        Coefficients of the approximation have no parent, written as -1. In ``d`` dimensions each of
        them has ``2**d - 1`` children, one for each orientation. A detail has ``2**d`` children,
        all of its own orientation.
        """
        levels, places = self._levels(), np.indices(self.image_shape)
        coarsest = np.array(self.image_shape) >> self.num_levels
        corner = places % coarsest.reshape(-1, *[1] * len(self.image_shape))
        above = np.where(levels == 1, corner, places // 2)
        flat = np.ravel_multi_index(tuple(above), self.image_shape)
        return np.where(levels == 0, -1, flat).ravel().astype(np.int32)

    def _levels(self) -> np.ndarray:
        levels = np.zeros(self.image_shape, int)
        for level in range(self.num_levels, 0, -1):
            # This fills the whole corner; coarser levels are then written over a part of it.
            levels[self._corner(self.num_levels - level)] = level
        levels[self._corner(self.num_levels)] = 0
        return levels

    def _corner(self, times: int) -> tuple[slice, ...]:
        """The corner that has been split ``times`` times."""
        return tuple(slice(0, length >> times) for length in self.image_shape)

    def _times(self, x: Inexact[Array, " n"]) -> Inexact[Array, " n"]:
        return by_parts(lambda x: self._flat(self._synthesis, self._analysis, x), x)

    def _adjoint_times(self, y: Inexact[Array, " n"]) -> Inexact[Array, " n"]:
        return by_parts(lambda y: self._flat(self._analysis, self._synthesis, y), y)

    def _flat(self, times: Any, inverse: Any, z: Float[Array, " n"]) -> Float[Array, " n"]:
        return orthogonal(times, inverse, z.reshape(self.image_shape)).ravel()

    def _synthesis(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        for times in reversed(range(self.num_levels)):
            corner = x[self._corner(times)]
            for axis in range(x.ndim):
                corner = _joined(corner, self.wavelet.taps, axis)
            x = _with_corner(x, corner)
        return x

    def _analysis(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        for times in range(self.num_levels):
            corner = y[self._corner(times)]
            for axis in range(y.ndim):
                corner = _divided(corner, self.wavelet.taps, axis)
            y = _with_corner(y, corner)
        return y


@dataclasses.dataclass(frozen=True)
class Filters:
    """The two filters of an orthogonal wavelet, which compare by value.

    Attributes:
        name: what the wavelet is called.
        low: the low-pass filter of the analysis.
        high: the high-pass filter.
    """

    name: str
    low: tuple[float, ...] = dataclasses.field(repr=False)
    high: tuple[float, ...] = dataclasses.field(repr=False)

    @property
    def taps(self) -> _Taps:
        """Coefficients of even and odd samples in the approximation and in the details.

        ``a_k = sum_j low_j z_(2 k + l/2 - j)`` with filters of length ``l``. Let
        ``2 s + p = l/2 - j`` with ``p`` 0 or 1. Then the sample is number ``k + s`` among the even
        samples if ``p = 0``, and among the odd samples if ``p = 1``.
        """
        taps: _Taps = [[{}, {}], [{}, {}]]
        for output, filter in enumerate((self.low, self.high)):
            for j, coefficient in enumerate(filter):
                shift, parity = divmod(len(filter) // 2 - j, 2)
                taps[parity][output][shift] = coefficient
        return taps


def _filters(wavelet: Any) -> Filters:
    """The filters of a wavelet, checked.

    Raises:
        ImportError: PyWavelets is needed and is not installed.
        TypeError: ``wavelet`` is neither a name nor an object with filters.
        ValueError: the wavelet is unknown, or not orthogonal.
    """
    if isinstance(wavelet, Filters):
        return wavelet
    if isinstance(wavelet, str):
        wavelet = _named(wavelet)
    elif not (hasattr(wavelet, "dec_lo") and hasattr(wavelet, "dec_hi")):
        expected = "the name of a wavelet, or an object with its filters dec_lo and dec_hi"
        _checks.fail(TypeError, "wavelet", expected, type(wavelet).__name__)
    name = str(getattr(wavelet, "name", "") or "filters of your own")
    low, high = (np.asarray(each, np.float64) for each in (wavelet.dec_lo, wavelet.dec_hi))
    if not (low.ndim == 1 and low.shape == high.shape and len(low) % 2 == 0 < len(low)):
        expected = "two filters of the same even length"
        _checks.fail(ValueError, "wavelet", expected, f"lengths {low.shape} and {high.shape}")
    if not _off_orthonormal(low, high) <= _ORTHONORMAL:
        expected = "an orthogonal wavelet, such as haar, db4, sym5 or coif2"
        _checks.fail(ValueError, "wavelet", expected, name)
    return Filters(name, tuple(low.tolist()), tuple(high.tolist()))


def _named(name: str) -> Any:
    """A wavelet of PyWavelets."""
    try:
        # Imported here, so that programs without wavelets do not load it.
        pywt: Any = importlib.import_module("pywt")
    except ImportError as error:
        raise ImportError(
            f"wavelet: expected PyWavelets to be installed, which has the filters of {name!r}; "
            'pip install "greedyjax[wavelets]" brings it'
        ) from error
    if name not in pywt.wavelist(kind="discrete"):
        expected = 'one of pywt.wavelist(kind="discrete")'
        _checks.fail(ValueError, "wavelet", expected, repr(name))
    return pywt.Wavelet(name)


def _off_orthonormal(low: np.ndarray, high: np.ndarray) -> float:
    """How far the filters and their shifts by even numbers are from orthonormal."""
    found = []
    for shift in range(0, len(low), 2):
        rest = len(low) - shift
        own = float(shift == 0)
        found += [low[shift:] @ low[:rest] - own, high[shift:] @ high[:rest] - own]
        found += [low[shift:] @ high[:rest], high[shift:] @ low[:rest]]
    return float(np.max(np.abs(found)))


def _with_corner(z: Float[Array, "..."], corner: Float[Array, "..."]) -> Float[Array, "..."]:
    """The array with another corner.

    This concatenates, because an update that depends on the replaced values can go wrong. In a loop
    on a CPU, XLA of JAX 0.10 writes such an update before it has read all of these values.
    """
    for axis in range(z.ndim):
        rest = tuple(slice(length) for length in corner.shape)
        rest = (*rest[:axis], slice(corner.shape[axis], None), *rest[axis + 1 :])
        corner = jnp.concatenate([corner, z[rest]], axis=axis)
    return corner


def _divided(z: Float[Array, "..."], taps: _Taps, axis: int) -> Float[Array, "..."]:
    """The approximation along an axis, then the details."""
    half = z.shape[axis] // 2
    pairs = z.reshape(*z.shape[:axis], half, 2, *z.shape[axis + 1 :])
    samples = [lax.index_in_dim(pairs, parity, axis + 1, keepdims=False) for parity in (0, 1)]
    return jnp.concatenate(_filtered(samples, taps, axis), axis=axis)


def _joined(z: Float[Array, "..."], taps: _Taps, axis: int) -> Float[Array, "..."]:
    """The transpose: even and odd samples of the approximation and the details, interleaved."""
    transposed: _Taps = [
        [{-shift: c for shift, c in taps[parity][band].items()} for parity in (0, 1)]
        for band in (0, 1)
    ]
    samples = _filtered(jnp.split(z, 2, axis=axis), transposed, axis)
    return jnp.stack(samples, axis=axis + 1).reshape(z.shape)


def _filtered(inputs: list[Array], taps: _Taps, axis: int) -> list[Array]:
    """``output_o[k] = sum_i sum_s taps[i][o][s] input_i[k + s]``, with periodic inputs.

    Shifted slices are added in one loop, which takes a fifth of the time of XLA's convolutions.
    """
    outputs = [jnp.zeros_like(inputs[0])] * 2
    for values, by_output in zip(inputs, taps, strict=True):
        length = values.shape[axis]
        shifts = [shift for each in by_output for shift in each]
        if max(shifts) - min(shifts) >= length:
            by_output = [_wrapped(each, length) for each in by_output]
            shifts = range(length)
        before, after = max(0, -min(shifts)), max(0, max(shifts))
        cut = lambda a, b, z=values: lax.slice_in_dim(z, a, b, axis=axis)
        longer = jnp.concatenate([cut(length - before, length), values, cut(0, after)], axis=axis)
        for o, each in enumerate(by_output):
            for shift, coefficient in each.items():
                start = before + shift
                part = lax.slice_in_dim(longer, start, start + length, axis=axis)
                outputs[o] = outputs[o] + np.asarray(coefficient, part.dtype) * part
    return outputs


def _wrapped(by_shift: dict[int, float], length: int) -> dict[int, float]:
    """The same filter for signals of period ``length``."""
    wrapped = dict.fromkeys(range(length), 0.0)
    for shift, coefficient in by_shift.items():
        wrapped[shift % length] += coefficient
    return wrapped
