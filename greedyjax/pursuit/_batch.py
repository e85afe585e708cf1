"""Very many signals, one dictionary: `omp_batch` and `iht_batch`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import norm
from greedyjax._types import Matrix, Recovery, Scalar
from greedyjax.linalg.dictionary import Dictionary, as_dictionary
from greedyjax.linalg.operators import as_operator
from greedyjax.pursuit._driver import Arguments, arguments
from greedyjax.pursuit._gram import fit_on, gram_problem, gram_pursuit
from greedyjax.pursuit._iht import iht
from greedyjax.pursuit._omp import OMPProblem, omp_sparsity, pursue, recovery, unit_penalty
from greedyjax.pursuit._thresholding import at_unit_scale, unit_step
from greedyjax.sorting import HardSort


def omp_batch(
    A: Matrix | Dictionary,
    Y: Inexact[Array, "num m"],
    *,
    sparsity: int,
    weights: Float[Array, "*sparsity n"] | None = None,
    rtol: Scalar = 0.0,
    penalty: Float[Array, " n"] | None = None,
    batch_size: int | None = None,
) -> Recovery:
    """`omp` of many signals with one dictionary, by the form that is fastest for their sizes.

    The answers are those of ``jax.vmap(omp)``, up to rounding. They come in blocks of signals, so
    that memory is bounded whatever ``num`` is. Within a block, steps work on the residuals, or on
    the Gram matrix where that costs less (see `plan`); a block in which atoms are so close to
    dependent that a Gram matrix would lose them to rounding is done again by residuals.

    Signals from a file or larger than the device's memory, and all processors of a CPU at once:
    `greedyjax.streaming.recover`.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or `greedyjax.dictionary` of either, which
            saves preparing it again from call to call.
        Y: measurements, one signal a row, shape ``(num, m)``.
        sparsity: largest number of atoms, static, between 1 and ``min(m, n)``.
        weights: real, shape ``(n,)``; only their magnitudes matter. None means ones. One row per
            step, ``(sparsity, n)``, is done by residuals.
        rtol: stops a signal once ``||r|| <= rtol ||y||``; traced, >= 0. A Gram matrix does not
            know residuals to that accuracy, so anything but the number 0 is done by residuals.
        penalty: of the fit, as in `omp`, real and >= 0, shape ``(n,)``. None means 0.
        batch_size: signals in a block, static; None chooses.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``. First derivatives in ``A`` and
        ``Y`` are those of least squares on the atoms found; -1 in ``support`` marks steps that
        were not taken because nothing was left to fit.

    Raises:
        TypeError: wrong kinds of argument, among them a ``sparsity`` that is traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> gj.omp_batch(A, jnp.array([[0.0, 2.0], [3.0, 4.0]]), sparsity=1).support.tolist()
        [[1], [2]]

    References:
        Rubinstein, Zibulevsky and Elad, "Efficient implementation of the K-SVD algorithm using
        batch orthogonal matching pursuit", 2008; and those of `omp`.
    """
    rtol_ = _checks.scalar("rtol", rtol, positive=False)
    A = as_dictionary(A)
    sparsity = omp_sparsity(sparsity, A.shape)
    signals = arguments(A, Y, weights, num_steps=sparsity, name="Y", ndim=2)
    penalty = unit_penalty(penalty, A.column_scale)
    m, n = A.shape
    never_stops = not _checks.is_traced(rtol) and float(rtol) == 0
    chosen = plan(
        m, n, sparsity, len(signals.y), signals.y.dtype.itemsize,
        has_gram=A.gram is not None, backend=jax.default_backend(),
        gram_serves=never_stops and signals.weights.ndim == 1,
    )  # fmt: skip

    def by_residuals(block: Arguments) -> Recovery:
        def one(y, scale):
            problem = OMPProblem(A.unit, A.column_scale, block._replace(y=y, scale=scale), penalty)
            return recovery(problem, pursue(problem, HardSort(), sparsity, rtol_), rtol_)

        return jax.vmap(one)(block.y, block.scale)

    if not chosen.by_gram:
        return _in_blocks(by_residuals, signals, batch_size, chosen.batch_size)
    problem = gram_problem(A, signals, penalty)

    def by_gram(block: Arguments, correlations) -> Recovery:
        size = lax.stop_gradient(jax.vmap(norm)(block.y))
        found = gram_pursuit(problem, correlations, size, sparsity)
        fit = lambda: fit_on(problem, block, found)
        return lax.cond(found.accurate, fit, lambda: by_residuals(block))

    correlations = problem.correlations(signals.y)
    return _in_blocks(by_gram, signals, batch_size, chosen.batch_size, correlations)


def iht_batch(
    A: Matrix | Dictionary,
    Y: Inexact[Array, "num m"],
    *,
    sparsity: int,
    num_steps: int,
    step_size: Scalar | None = None,
    weights: Float[Array, "*num_steps n"] | None = None,
    debias: bool = False,
    penalty: Float[Array, " n"] | None = None,
    batch_size: int | None = None,
) -> Recovery:
    """`iht` of many signals with one matrix, in blocks that bound its memory.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or a `greedyjax.dictionary`.
        Y: measurements, one signal a row, shape ``(num, m)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2``, computed once for all.
        weights: real, shape ``(n,)`` or ``(num_steps, n)``; only their magnitudes matter. None
            means ones.
        debias: static; True ends with least squares on the entries kept, as in `iht`.
        penalty: of that fit, shape ``(n,)``. None means 0.
        batch_size: signals in a block, static; None chooses.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> Y = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> gj.iht_batch(A, Y, sparsity=1, num_steps=50).x.round(3).tolist()
        [[0.0, 2.0, 0.0], [2.0, 0.0, 0.0]]

    References:
        Those of `iht`.
    """
    A = as_operator(A.A if isinstance(A, Dictionary) else A)
    shape = tuple(A.shape)
    sparsity = _checks.static_int(
        "sparsity", sparsity, minimum=1, maximum=shape[1], why=f" for A of shape {shape}"
    )
    num_steps = _checks.static_int("num_steps", num_steps, minimum=0)
    signals = arguments(A, Y, weights, num_steps=num_steps, name="Y", ndim=2)
    # The step is that of the matrix at unit scale: in other units it may be no number.
    A, unit = at_unit_scale(A, signals.scale.dtype)
    step = unit_step(A, unit, step_size, signals.y.dtype)
    settings = {"sparsity": sparsity, "num_steps": num_steps, "step_size": step, "debias": debias}
    if penalty is not None:
        settings["penalty"] = _checks.penalty(penalty, shape[1]) / unit / unit

    def solve(block: Arguments) -> Recovery:
        found = jax.vmap(lambda y: iht(A, y, weights=block.weights, **settings))(block.y)
        return found._replace(
            x=(block.scale / unit)[:, None] * found.x,
            residual_norm=block.scale * found.residual_norm,
        )

    room = _block_that_fits(4 * shape[1] * signals.y.dtype.itemsize, jax.default_backend())
    return _in_blocks(solve, signals, batch_size, room)


class Plan(NamedTuple):
    """How `omp_batch` goes about it: the form of a step, and the signals in a block."""

    by_gram: bool
    batch_size: int


def plan(
    m: int,
    n: int,
    sparsity: int,
    num: int,
    itemsize: int,
    *,
    has_gram: bool,
    gram_serves: bool,
    backend: str,
) -> Plan:
    """The cost rule of `omp_batch`.

    Per signal and step, residuals cost ``2 m n`` operations in a matrix product and four passes
    over a basis of ``m sparsity`` numbers; the Gram form reads ``n sparsity / 2`` numbers from
    cache, once it has made ``n^2`` inner products. On a CPU a number from cache takes as long as
    four operations of a matrix product (``benchmarks/batch_omp.py`` measures both forms on either
    side of the rule); a GPU multiplies far more per number read. Past half of ``m`` atoms are
    close to dependent, and rounding would send blocks back to residuals.

    A block of the Gram form keeps ``n sparsity`` numbers per signal in reach of a processor's
    cache, but is large enough that starting the operations of a step is not all that it costs.
    """
    by_residuals = Plan(False, _block_that_fits(itemsize * (3 * n + 4 * m * sparsity), backend))
    per_step, saved = 4 * n * sparsity / 2, 2 * m * n
    if backend != "cpu":
        per_step *= 4
    pays = has_gram or num * sparsity * (saved - per_step) > 2 * n * n * m
    fits = has_gram or n * n * itemsize <= _GRAM_BYTES
    if gram_serves and 2 * sparsity <= m and per_step < saved and pays and fits:
        return Plan(True, _block_of_gram(n * sparsity * itemsize, backend))
    return by_residuals


_GRAM_BYTES = 2**30
_CACHE_BYTES = 2**21
_DEVICE_BYTES = 2**31


def _block_of_gram(bytes_per_signal: int, backend: str) -> int:
    if backend != "cpu":
        return _block_that_fits(bytes_per_signal, backend)
    return min(max(_power_of_two_below(_CACHE_BYTES / bytes_per_signal), 4), 32)


def _block_that_fits(bytes_per_signal: int, backend: str) -> int:
    room = 8 * _CACHE_BYTES if backend == "cpu" else _DEVICE_BYTES
    return max(_power_of_two_below(room / bytes_per_signal), 32)


def _power_of_two_below(number: float) -> int:
    return 1 << max(int(number).bit_length() - 1, 0)


def _in_blocks(solve, signals: Arguments, batch_size: int | None, best: int, *more) -> Recovery:
    """Applies ``solve`` to blocks of signals, and of ``more`` rows; zeros fill up the last."""
    num = len(signals.y)
    size = best if batch_size is None else _checks.static_int("batch_size", batch_size, minimum=1)
    size = min(size, max(num, 1))
    blocks = -(-num // size)

    def cut(rows):
        padded = jnp.pad(rows, ((0, blocks * size - num), *((0, 0),) * (rows.ndim - 1)))
        return padded.reshape(blocks, size, *rows.shape[1:])

    def one(block):
        y, scale, *rest = block
        return solve(signals._replace(y=y, scale=scale), *rest)

    found = lax.map(one, tuple(cut(rows) for rows in (signals.y, signals.scale, *more)))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num], found)
