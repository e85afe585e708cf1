"""Functions for very many signals: `recover_batch` with each of the methods."""

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
    """`omp` for many signals with one matrix, by the form that is fastest for their sizes.

    The answers are those of ``jax.vmap(omp)``, up to rounding. Signals are solved in blocks, so
    that memory is limited whatever ``num`` is. Within a block, steps use the residuals, or the Gram
    matrix if that costs less (see `plan`). If the atoms of a block are so nearly dependent that a
    Gram matrix is not accurate enough, the block is solved again by residuals.

    If signals are in a file, or do not fit into memory, or if all processors of a CPU should work,
    use `greedyjax.streaming.recover`.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or the `greedyjax.dictionary` of either. A
            dictionary is not prepared again in each call.
        Y: measurements, one signal per row, shape ``(num, m)``.
        sparsity: largest number of atoms, static, between 1 and ``min(m, n)``.
        weights: real, shape ``(n,)``, or one row per step, ``(sparsity, n)``, or a
            `greedyjax.policies.Policy`; only magnitudes matter. None means ones.
        rtol: relative tolerance, one number, or one per signal in shape ``(num,)``; traced, >= 0.
            A signal stops once ``||r|| <= max(rtol ||y||, atol)``. Residuals from a Gram matrix are
            not accurate enough for this, so steps use the residuals unless ``rtol`` is 0.
        atol: absolute tolerance in the units of ``Y``, with the same shapes.
        penalty: ridge penalty of the fit, as in `omp`, real and >= 0, shape ``(n,)``. None means 0.
        batch_size: number of signals in a block, static; None means that the library chooses.
        structure: which atoms are chosen together, as in the function for one signal.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``. First derivatives in ``A`` and
        ``Y`` are those of least squares on the chosen atoms. In ``support``, -1 marks steps that
        were not taken because nothing was left to fit.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> gj.omp_batch(A, jnp.array([[0.0, 2.0], [3.0, 4.0]]), sparsity=1).support.tolist()
        [[1], [2]]

    References:
        Rubinstein, Zibulevsky and Elad, "Efficient implementation of the K-SVD algorithm using
        batch orthogonal matching pursuit", 2008; and the references of `omp`.
    """
    tolerance = tolerance_given(rtol, atol)
    method = OMP(sparsity, **tolerance, fit=LeastSquares(penalty), structure=structure)
    return recover_batch(method, A, Y, weights=weights, batch_size=batch_size)


@names_foreign_arguments
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
    """`iht` for many signals with one matrix, in blocks that limit the memory.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or a `greedyjax.dictionary`.
        Y: measurements, one signal per row, shape ``(num, m)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2``, computed once for all.
        weights: real, shape ``(n,)`` or ``(num_steps, n)``, or a `greedyjax.policies.Policy`; only
            magnitudes matter. None means ones.
        debias: static; True ends with least squares on the entries kept, as in `iht`.
        penalty: ridge penalty of that fit, shape ``(n,)``. None means 0.
        batch_size: number of signals in a block, static; None means that the library chooses.
        structure: which atoms are chosen together, as in the function for one signal.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> Y = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> gj.iht_batch(A, Y, sparsity=1, num_steps=50).x.round(3).tolist()
        [[0.0, 2.0, 0.0], [2.0, 0.0, 0.0]]

    References:
        As for `iht`.
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


@names_foreign_arguments
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
    """`niht` for many signals with one matrix, in blocks that limit the memory.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or a `greedyjax.dictionary`.
        Y: measurements, one signal per row, shape ``(num, m)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_steps: number of steps, static, at least 0.
        weights: as in `niht`.
        batch_size: number of signals in a block, static; None means that the library chooses.
        structure: which atoms are chosen together, as in the function for one signal.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> Y = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> gj.niht_batch(A, Y, sparsity=1, num_steps=5).support.tolist()
        [[1], [0]]

    References:
        As for `niht`.
    """
    method = NIHT(sparsity, num_steps, structure=structure)
    return recover_batch(method, A, Y, weights=weights, batch_size=batch_size)


@names_foreign_arguments
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
    """`htp` for many signals with one matrix, in blocks that limit the memory.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or a `greedyjax.dictionary`.
        Y: measurements, one signal per row, shape ``(num, m)``.
        sparsity: number of entries, static, between 1 and ``n``.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2``, computed once for all.
        weights: as in `htp`.
        penalty: as in `htp`.
        batch_size: number of signals in a block, static; None means that the library chooses.
        structure: which atoms are chosen together, as in the function for one signal.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> Y = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> gj.htp_batch(A, Y, sparsity=1, num_steps=3).support.tolist()
        [[1], [0]]

    References:
        As for `htp`.
    """
    method = HTP(sparsity, num_steps, step_size, fit=LeastSquares(penalty), structure=structure)
    return recover_batch(method, A, Y, weights=weights, batch_size=batch_size)


@names_foreign_arguments
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
    """`subspace_pursuit` for many signals with one matrix, in blocks that limit the memory.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or a `greedyjax.dictionary`.
        Y: measurements, one signal per row, shape ``(num, m)``.
        sparsity: number of atoms, static, between 1 and ``min(m, n)``.
        num_steps: number of steps, static, at least 1.
        weights: as in `subspace_pursuit`.
        penalty: as in `subspace_pursuit`.
        batch_size: number of signals in a block, static; None means that the library chooses.
        structure: which atoms are chosen together, as in the function for one signal.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> Y = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> gj.subspace_pursuit_batch(A, Y, sparsity=1, num_steps=3).support.tolist()
        [[1], [0]]

    References:
        As for `subspace_pursuit`.
    """
    method = SubspacePursuit(sparsity, num_steps, LeastSquares(penalty), structure)
    return recover_batch(method, A, Y, weights=weights, batch_size=batch_size)


@names_foreign_arguments
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
    """`cosamp` for many signals with one matrix, in blocks that limit the memory.

    Args:
        A: matrix of shape ``(m, n)``, an operator, or a `greedyjax.dictionary`.
        Y: measurements, one signal per row, shape ``(num, m)``.
        sparsity: number of atoms, static, between 1 and ``min(m, n)``.
        num_steps: number of steps, static, at least 1.
        weights: as in `cosamp`.
        debias: static; True ends with least squares on the atoms kept, as in `cosamp`.
        penalty: as in `cosamp`.
        batch_size: number of signals in a block, static; None means that the library chooses.
        structure: which atoms are chosen together, as in the function for one signal.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> Y = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> gj.cosamp_batch(A, Y, sparsity=1, num_steps=3).support.tolist()
        [[1], [0]]

    References:
        As for `cosamp`.
    """
    method = CoSaMP(sparsity, num_steps, LeastSquares(penalty), structure, debias)
    return recover_batch(method, A, Y, weights=weights, batch_size=batch_size)
