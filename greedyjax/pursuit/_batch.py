"""Very many signals by each of the algorithms: `recover_batch` with the method filled in."""

from jax.typing import ArrayLike
from jaxtyping import Float, Inexact

from greedyjax._foreign import names_foreign_arguments
from greedyjax._types import Matrix, Recovery, Scalar
from greedyjax.linalg.products import Dictionary
from greedyjax.policies import Policy
from greedyjax.pursuit._blocks import recover_batch
from greedyjax.pursuit._merging import CoSaMP, SubspacePursuit
from greedyjax.pursuit._normalised import NIHT
from greedyjax.pursuit._orthogonal import OMP
from greedyjax.pursuit._recover import tolerance_given
from greedyjax.pursuit._thresholding import HTP, IHT
from greedyjax.pursuit.fits import LeastSquares
from greedyjax.structures import Plain, Structure


@names_foreign_arguments
def omp_batch(
    A: Matrix | Dictionary,
    Y: Inexact[ArrayLike, "num m *snapshots"],
    *,
    sparsity: int,
    weights: Float[ArrayLike, "*sparsity n"] | Policy | None = None,
    rtol: Float[ArrayLike, "*num"] = 0.0,
    atol: Float[ArrayLike, "*num"] = 0.0,
    penalty: Float[ArrayLike, " n"] | None = None,
    batch_size: int | None = None,
    structure: Structure = Plain(),
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
        weights: real, shape ``(n,)``, or one row per step, ``(sparsity, n)``, or a
            `greedyjax.policies.Policy`; only magnitudes matter. None means ones.
        rtol: stops a signal once ``||r|| <= max(rtol ||y||, atol)``; one, or one per signal, shape
            ``(num,)``; traced, >= 0. A Gram matrix does not know residuals to that accuracy, so
            anything but the number 0 is done by residuals.
        atol: the same in the units of ``Y``.
        penalty: of the fit, as in `omp`, real and >= 0, shape ``(n,)``. None means 0.
        batch_size: signals in a block, static; None chooses.
        structure: which atoms are chosen together, as in the function for one signal.

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
    tolerance = tolerance_given(rtol, atol)
    method = OMP(sparsity, **tolerance, fit=LeastSquares(penalty), structure=structure)
    return recover_batch(method, A, Y, weights=weights, batch_size=batch_size)


def iht_batch(
    A: Matrix | Dictionary,
    Y: Inexact[ArrayLike, "num m *snapshots"],
    *,
    sparsity: int,
    num_steps: int,
    step_size: Scalar | None = None,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    debias: bool = False,
    penalty: Float[ArrayLike, " n"] | None = None,
    batch_size: int | None = None,
    structure: Structure = Plain(),
) -> Recovery:
    """`iht` of many signals with one matrix, in blocks that bound its memory.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or a `greedyjax.dictionary`.
        Y: measurements, one signal a row, shape ``(num, m)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2``, computed once for all.
        weights: real, shape ``(n,)`` or ``(num_steps, n)``, or a `greedyjax.policies.Policy`; only
            magnitudes matter. None means ones.
        debias: static; True ends with least squares on the entries kept, as in `iht`.
        penalty: of that fit, shape ``(n,)``. None means 0.
        batch_size: signals in a block, static; None chooses.
        structure: which atoms are chosen together, as in the function for one signal.

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
    method = IHT(
        sparsity,
        num_steps,
        step_size,
        fit=LeastSquares(penalty),
        debias=debias,
        structure=structure,
    )
    return recover_batch(method, A, Y, weights=weights, batch_size=batch_size)


def niht_batch(
    A: Matrix | Dictionary,
    Y: Inexact[ArrayLike, "num m *snapshots"],
    *,
    sparsity: int,
    num_steps: int,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    batch_size: int | None = None,
    structure: Structure = Plain(),
) -> Recovery:
    """`niht` of many signals with one matrix, in blocks that bound its memory.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or a `greedyjax.dictionary`.
        Y: measurements, one signal a row, shape ``(num, m)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_steps: number of steps, static, at least 0.
        weights: as in `niht`.
        batch_size: signals in a block, static; None chooses.
        structure: which atoms are chosen together, as in the function for one signal.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> Y = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> gj.niht_batch(A, Y, sparsity=1, num_steps=5).support.tolist()
        [[1], [0]]

    References:
        Those of `niht`.
    """
    method = NIHT(sparsity, num_steps, structure=structure)
    return recover_batch(method, A, Y, weights=weights, batch_size=batch_size)


def htp_batch(
    A: Matrix | Dictionary,
    Y: Inexact[ArrayLike, "num m *snapshots"],
    *,
    sparsity: int,
    num_steps: int,
    step_size: Scalar | None = None,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    penalty: Float[ArrayLike, " n"] | None = None,
    batch_size: int | None = None,
    structure: Structure = Plain(),
) -> Recovery:
    """`htp` of many signals with one matrix, in blocks that bound its memory.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or a `greedyjax.dictionary`.
        Y: measurements, one signal a row, shape ``(num, m)``.
        sparsity: number of entries, static, between 1 and ``n``.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2``, computed once for all.
        weights: as in `htp`.
        penalty: as in `htp`.
        batch_size: signals in a block, static; None chooses.
        structure: which atoms are chosen together, as in the function for one signal.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> Y = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> gj.htp_batch(A, Y, sparsity=1, num_steps=3).support.tolist()
        [[1], [0]]

    References:
        Those of `htp`.
    """
    method = HTP(sparsity, num_steps, step_size, fit=LeastSquares(penalty), structure=structure)
    return recover_batch(method, A, Y, weights=weights, batch_size=batch_size)


def subspace_pursuit_batch(
    A: Matrix | Dictionary,
    Y: Inexact[ArrayLike, "num m *snapshots"],
    *,
    sparsity: int,
    num_steps: int,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    penalty: Float[ArrayLike, " n"] | None = None,
    batch_size: int | None = None,
    structure: Structure = Plain(),
) -> Recovery:
    """`subspace_pursuit` of many signals with one matrix, in blocks that bound its memory.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or a `greedyjax.dictionary`.
        Y: measurements, one signal a row, shape ``(num, m)``.
        sparsity: number of atoms, static, between 1 and ``min(m, n)``.
        num_steps: number of steps, static, at least 1.
        weights: as in `subspace_pursuit`.
        penalty: as in `subspace_pursuit`.
        batch_size: signals in a block, static; None chooses.
        structure: which atoms are chosen together, as in the function for one signal.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> Y = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> gj.subspace_pursuit_batch(A, Y, sparsity=1, num_steps=3).support.tolist()
        [[1], [0]]

    References:
        Those of `subspace_pursuit`.
    """
    method = SubspacePursuit(sparsity, num_steps, LeastSquares(penalty), structure)
    return recover_batch(method, A, Y, weights=weights, batch_size=batch_size)


def cosamp_batch(
    A: Matrix | Dictionary,
    Y: Inexact[ArrayLike, "num m *snapshots"],
    *,
    sparsity: int,
    num_steps: int,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    debias: bool = False,
    penalty: Float[ArrayLike, " n"] | None = None,
    batch_size: int | None = None,
    structure: Structure = Plain(),
) -> Recovery:
    """`cosamp` of many signals with one matrix, in blocks that bound its memory.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or a `greedyjax.dictionary`.
        Y: measurements, one signal a row, shape ``(num, m)``.
        sparsity: number of atoms, static, between 1 and ``min(m, n)``.
        num_steps: number of steps, static, at least 1.
        weights: as in `cosamp`.
        debias: static; True ends with least squares on the atoms kept, as in `cosamp`.
        penalty: as in `cosamp`.
        batch_size: signals in a block, static; None chooses.
        structure: which atoms are chosen together, as in the function for one signal.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> Y = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> gj.cosamp_batch(A, Y, sparsity=1, num_steps=3).support.tolist()
        [[1], [0]]

    References:
        Those of `cosamp`.
    """
    method = CoSaMP(sparsity, num_steps, LeastSquares(penalty), structure, debias)
    return recover_batch(method, A, Y, weights=weights, batch_size=batch_size)
