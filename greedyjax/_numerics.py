"""Elementary functions with finite derivatives where the textbook functions have none."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Inexact, Int

# Selection compares inner products, so inner products are never rounded to TF32 or bfloat16.
PRECISION = lax.Precision.HIGHEST

_BLOCK = 32  # Number of scores in a block; maxima of blocks are compared first.


def matmul(a: Inexact[ArrayLike, "..."], b: Inexact[ArrayLike, "..."]) -> Inexact[Array, "..."]:
    """Matrix product at the full precision of its arguments on every device."""
    return jnp.matmul(a, b, precision=PRECISION)


def real_dtype(dtype) -> jnp.dtype:
    """The real dtype with the precision of ``dtype``: complex64 gives float32."""
    return jnp.finfo(dtype).dtype


def promoted(*arrays_or_dtypes: Any) -> jnp.dtype:
    """The dtype that all arguments promote to, also where strict promotion would raise."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*arrays_or_dtypes)


def eps(dtype) -> float:
    """Machine epsilon of ``dtype``; for a complex dtype, that of its real and imaginary parts."""
    return float(jnp.finfo(dtype).eps)


def abs_sq(z: Inexact[Array, "..."]) -> Float[Array, "..."]:
    """``|z|^2``, without the square root in ``abs(z)**2``, which has no derivative at 0."""
    if jnp.iscomplexobj(z):
        return jnp.square(z.real) + jnp.square(z.imag)
    return jnp.square(z)


def safe_sqrt(square: Float[Array, "..."]) -> Float[Array, "..."]:
    """Square root with derivative 0 at 0, where the true derivative is infinite; keeps NaN."""
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


def penalty_root(penalty: Float[Array, "..."]) -> Float[Array, "..."]:
    """``sqrt(penalty)``, an extra entry of an atom of norm 1 whose square is the penalty.

    The root is at least ``eps``, which is too small to change a fit. So the derivative of its
    square is right at 0 too, where the derivative of the exact root would be infinite.
    """
    return jnp.sqrt(penalty + eps(penalty.dtype) ** 2)


def magnitude(z: Inexact[Array, "..."]) -> Float[Array, "..."]:
    """``|z|`` with subgradient 0 at 0, for real and complex ``z``.

    The derivative that JAX gives ``jnp.abs`` at a real 0 is 1.
    """
    return safe_sqrt(abs_sq(z)) if jnp.iscomplexobj(z) else z * jnp.sign(z)


def magnitude_of(parts: Float[Array, "parts ..."]) -> Float[Array, "..."]:
    """`magnitude` of numbers given by their real part, or by their real and imaginary parts."""
    return magnitude(parts[0]) if len(parts) == 1 else safe_sqrt(jnp.sum(parts * parts, axis=0))


def norm(z: Inexact[Array, "..."]) -> Float[Array, ""]:
    """``||z||_2`` over all entries, with gradient 0 at ``z = 0``."""
    return safe_sqrt(jnp.sum(abs_sq(z)))


def times_atoms(
    values: Float[Array, " n"], z: Float[Array, "parts *snapshots n"]
) -> Float[Array, "parts *snapshots n"]:
    """Multiplies numbers, given by parts, by one value per atom, for all parts and snapshots."""
    return values.reshape((1,) * (z.ndim - 1) + (-1,)) * z


def safe_inverse(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """``1 / x``, and 0 with gradient 0 where ``x`` is 0."""
    nonzero = x != 0
    return jnp.where(nonzero, 1 / jnp.where(nonzero, x, 1), 0)


def index_range(num: int) -> Int[Array, " num"]:
    """``0, 1, ..., num - 1`` in int32, the dtype of all indices."""
    return jnp.arange(num, dtype=jnp.int32)


def times_real(factor: Float[Array, "..."], z: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """``factor * z`` in the dtype of ``z``, which may be complex, under strict promotion too."""
    return factor.astype(z.dtype) * z


def in_units(z: Inexact[Array, "..."], unit: Float[Array, "..."]) -> Inexact[Array, "..."]:
    """``z / unit`` in the dtype of ``z``, under strict promotion too."""
    return z / unit.astype(z.dtype)


def power_of_two(
    z: Inexact[Array, "..."], axis: int | tuple[int, ...] | None = None
) -> Float[Array, "..."]:
    """Power of two next to the largest absolute real or imaginary part; 1 if all entries are 0.

    Dividing by it is exact and brings any data to unit scale, so that squares neither overflow nor
    vanish. It is a constant to derivatives. This is right for results that do not depend on this
    choice of units.
    """
    z = lax.stop_gradient(z)
    parts = jnp.maximum(jnp.abs(z.real), jnp.abs(z.imag)) if jnp.iscomplexobj(z) else jnp.abs(z)
    largest = jnp.max(parts, axis=axis, initial=0)
    usable = (largest > 0) & jnp.isfinite(largest)
    one = jnp.ones_like(largest)
    exponent = jnp.frexp(jnp.where(usable, largest, one))[1] - 1
    # The inverse of a larger power would be a subnormal number, which devices may round to 0.
    exponent = jnp.minimum(exponent, jnp.finfo(largest.dtype).maxexp - 2)
    return jnp.where(usable, jnp.ldexp(one, exponent), one)


def first_argmax(
    scores: Float[Array, "*batch n"],
    error: Any = None,
    weights: Float[Array, "*batch n"] | None = None,
) -> Int[Array, "*batch"]:
    """Lowest index among the largest score, which is >= 0, and the scores that tie with it.

    Scores tie if they differ by a few units of rounding. A product may sum equal columns in
    different orders, depending on their position and on the number of threads. This must not decide
    a choice. Scores may also be weights times differences of larger numbers. Then ``error`` is the
    rounding of these numbers, and scores tie if they differ by at most ``error`` times the weight
    of the largest score.

    Plain reductions take half the time of ``jnp.argmax``, which reduces pairs. If there are many
    scores, maxima of blocks are compared first. Then the scores of the first block with the largest
    score are compared.
    """
    scores, weights = lax.stop_gradient((scores, weights))
    n = scores.shape[-1]
    if n % _BLOCK or n <= 4 * _BLOCK:
        largest = jnp.max(scores, axis=-1, keepdims=True)
        return _first(scores >= _least_tie(largest, scores, error, weights), scores.dtype)

    in_blocks = lambda z: z.reshape(*z.shape[:-1], -1, _BLOCK)
    blocks = in_blocks(scores)
    best = jnp.max(blocks, axis=-1)
    largest = jnp.max(best, axis=-1, keepdims=True)
    if weights is None:
        least = _least_tie(largest, best, error, None)
    else:
        block = _first(best >= tie_of(largest), scores.dtype)
        least = _least_tie(largest, _at(blocks, block), error, _at(in_blocks(weights), block))
    block = _first(best >= least, scores.dtype)
    return block * _BLOCK + _first(_at(blocks, block) >= least, scores.dtype)


def _least_tie(largest, scores, error, weights) -> Float[Array, "*batch 1"]:
    """The least score that ties with the largest, by the weights of scores near the largest."""
    least = tie_of(largest)
    if error is None:
        return least
    weight = 1
    if weights is not None:
        weight = jnp.max(jnp.where(scores >= least, weights, 0), axis=-1, keepdims=True)
    # Scores below 0 belong to atoms that must not be chosen.
    return jnp.maximum(jnp.minimum(least, largest - error * weight), 0)


def _at(blocks: Float[Array, "*batch blocks size"], block: Int[Array, "*batch"]):
    """The block with index ``block``."""
    place = block[..., None, None]
    return jnp.take_along_axis(blocks, place, axis=-2, mode="promise_in_bounds")[..., 0, :]


def _first(holds: Bool[Array, "*batch n"], dtype) -> Int[Array, "*batch"]:
    """The first index where ``holds`` is True, or the last index if it is nowhere True.

    This takes the maximum of a countdown in floating point, which is faster on a CPU than a
    reduction of integers.
    """
    n = holds.shape[-1]
    countdown = (n - 1 - np.arange(n)).astype(dtype).reshape((1,) * (holds.ndim - 1) + (n,))
    return n - 1 - jnp.max(jnp.where(holds, countdown, 0), axis=-1).astype(jnp.int32)


def tie_of(largest: Float[Array, "..."]) -> Float[Array, "..."]:
    """The least score that ties with the largest score."""
    return largest * (1 - 4 * eps(largest.dtype))
