"""The number of signals that are solved at a time, and how signals are cut into blocks."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import core, lax

from greedyjax._meshes import num_parts

_CACHE_BYTES = 2**21
_DEVICE_BYTES = 2**31


def batch_that_fits(numbers_per_signal: int, dtype) -> int:
    """The number of signals in a block, if a signal needs this many numbers of a dtype."""
    return block_that_fits(numbers_per_signal * jnp.dtype(dtype).itemsize, jax.default_backend())


def block_of_gram(bytes_per_signal: int, backend: str) -> int:
    """The same for OMP by a Gram matrix, where a block should stay in a processor's cache."""
    if backend != "cpu":
        return block_that_fits(bytes_per_signal, backend)
    return min(max(_power_of_two_below(_CACHE_BYTES / bytes_per_signal), 4), 32)


def block_that_fits(bytes_per_signal: int, backend: str) -> int:
    """`batch_that_fits` for a number of bytes, on a backend."""
    room = 8 * _CACHE_BYTES if backend == "cpu" else _DEVICE_BYTES
    return max(_power_of_two_below(room / bytes_per_signal), 32)


def _power_of_two_below(number: float) -> int:
    return 1 << max(int(number).bit_length() - 1, 0)


def in_rows(Y: Any, snapshots: bool) -> tuple[Any, tuple[int, ...]]:
    """Signals as rows, and their leading shape, which is () for one signal."""
    lead = Y.shape[: Y.ndim - 1 - snapshots]
    return Y.reshape(-1, *Y.shape[len(lead) :]), lead


def in_blocks(solve, size: int, *rows: Any) -> Any:
    """Applies ``solve`` to blocks of rows, one row per signal. Zeros fill up the last block.

    ``rows`` are arrays or trees of arrays. The first one determines how rows are spread over
    devices.

    A block has at most ``size`` rows from each device over which the rows may be spread. It has no
    more rows than the same number of blocks needs, so that few zeros are added. The number of rows
    and the size of a block may be symbolic dimensions, as in `jax.export`.
    """
    num, devices = rows[0].shape[0], num_parts(rows[0])
    parts = math.gcd(devices, num) if devices > 1 else 1
    each = num // parts
    size = core.min_dim(size, core.max_dim(each, 1))
    blocks = -(-each // size)
    if isinstance(blocks, int) and blocks > 0:
        size = -(-each // blocks)

    def cut(rows):
        of_parts = rows.reshape(parts, each, *rows.shape[1:])
        fill = ((0, 0), (0, blocks * size - each), *((0, 0),) * (rows.ndim - 1))
        cut = jnp.pad(of_parts, fill).reshape(parts, blocks, size, *rows.shape[1:])
        return cut.swapaxes(0, 1).reshape(blocks, parts * size, *rows.shape[1:])

    def whole(found):
        of_parts = found.reshape(blocks, parts, size, *found.shape[2:]).swapaxes(0, 1)
        of_parts = of_parts.reshape(parts, blocks * size, *found.shape[2:])
        return lax.slice_in_dim(of_parts, 0, each, axis=1).reshape(num, *found.shape[2:])

    found = lax.map(lambda block: solve(*block), jax.tree.map(cut, rows))
    return jax.tree.map(whole, found)
