"""Orthogonal matching pursuit, hard and soft: one step with two selectors."""

from typing import Any

from jax.typing import ArrayLike
from jaxtyping import Float, Inexact

from greedyjax._foreign import names_foreign_arguments
from greedyjax._types import Matrix, Recovery, Scalar
from greedyjax.policies import Policy
from greedyjax.pursuit._orthogonal import OMP
from greedyjax.pursuit._recover import recover, temperature_given, tolerance_given
from greedyjax.pursuit.fits import LeastSquares
from greedyjax.sorting import SoftSort
from greedyjax.structures import Plain, Structure


@names_foreign_arguments
def omp(
    A: Matrix,
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    sparsity: int,
    weights: Float[ArrayLike, "*sparsity n"] | Policy | None = None,
    rtol: Scalar = 0.0,
    atol: Scalar = 0.0,
    penalty: Float[ArrayLike, " n"] | None = None,
    structure: Structure = Plain(),
) -> Recovery:
    """Weighted orthogonal matching pursuit.

    The residual begins as ``r = y``. Each step adds the atom with the largest score
    ``|w_j a_j* r| / ||a_j||`` that has not been chosen before. Then it fits ``y`` by least squares
    on the chosen atoms, and ``r`` becomes the residual of that fit. Weights choose atoms and never
    enter the fit. A weight of 0 puts an atom last.

    A step costs one product with ``A``. With ``jax.vmap(lambda y: omp(A, y, sparsity=s))(Y)`` it
    costs one matrix product for a whole batch. The answer is differentiable in ``A`` and ``y``, on
    the chosen atoms.

    Args:
        A: matrix of shape ``(m, n)`` or an operator with ``shape``, ``matvec`` and ``rmatvec``
            (and ``column_norms``, or prepared by `greedyjax.dictionary`). Columns may
            have any norms.
        y: measurements, shape ``(m,)``.
        sparsity: largest number of atoms, static, between 1 and ``min(m, n)``.
        weights: real, shape ``(n,)``, or one row per step, ``(sparsity, n)``, or a
            `greedyjax.policies.Policy`, which sees the atoms chosen so far; only magnitudes
            matter. None means ones.
        rtol: relative tolerance, traced, >= 0: OMP stops once ``||r|| <= max(rtol ||y||, atol)``.
            In a batch each signal stops separately.
        atol: absolute tolerance in the units of ``y``, traced, >= 0.
        penalty: ridge penalty, real and >= 0, shape ``(n,)``, in the units of ``A^2``: the fit
            minimises ``||y - A x||^2 + sum_j penalty_j |x_j|^2`` on the chosen atoms. This is the
            best estimate if the prior variance of ``x_j`` is the variance of the noise divided by
            ``penalty_j``. None means 0.
        structure: which atoms are chosen together, a `greedyjax.structures.Structure` such as
            `greedyjax.structures.Blocks`; ``sparsity`` then counts blocks, and ``support`` has
            as many places for each block as the largest block has atoms. With
            `greedyjax.structures.SharedSupport` ``y`` has shape ``(m, L)``, one column per
            snapshot.

    Returns:
        A `Recovery`; ``support`` is in the order of choice, with -1 in unused places.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> gj.omp(A, jnp.array([0.0, 2.0]), sparsity=1).x.tolist()
        [0.0, 2.0, 0.0]

    References:
        Pati, Rezaiifar and Krishnaprasad, "Orthogonal matching pursuit", Asilomar 1993; weighted
        selection as in Mohammad-Taheri, Colbrook and Brugiapaglia, arXiv 2505.15661.
    """
    tolerance = tolerance_given(rtol, atol)
    method = OMP(sparsity, **tolerance, fit=LeastSquares(penalty), structure=structure)
    return recover(method, A, y, weights=weights)


@names_foreign_arguments
def soft_omp(
    A: Matrix,
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    sparsity: int,
    tau: Scalar | Float[ArrayLike, " sparsity"],
    weights: Float[ArrayLike, "*sparsity n"] | Policy | None = None,
    remat: bool = False,
    penalty: Float[ArrayLike, " n"] | None = None,
    relaxation: Any = SoftSort,
    structure: Structure = Plain(),
) -> Recovery:
    """Soft-OMP: `omp` with the argmax replaced by the first row of softsort.

    Columns are scaled to norm 1. Each step adds the mean atom ``A p`` with
    ``p = softmax(|w_j a_j* r| / tau)``. The answer is ``x = P^T z``, where ``P`` has the rows ``p``
    of all steps, and ``z`` has the least-squares coefficients of ``y`` over the mean atoms.

    As ``tau`` goes to 0 the answer tends to that of `omp`, wherever the largest score is unique.
    Equal scores share a row. The answer is differentiable in ``A``, ``y``, ``tau`` and
    ``weights``. Gradients are finite on degenerate input, because a row that is dependent on
    earlier rows adds nothing.

    Args:
        A: matrix of shape ``(m, n)`` or an operator, as in `omp`.
        y: measurements, shape ``(m,)``.
        sparsity: number of soft atoms, static, between 1 and ``min(m, n)``.
        tau: temperature > 0 in the units of ``y``, one number or one per step; traced. See
            `relative_tau`.
        weights: real, shape ``(n,)``, or one row per step, ``(sparsity, n)``, or a
            `greedyjax.policies.Policy`, which sees the atoms chosen so far; only magnitudes
            matter. None means ones.
        remat: static; True stores no soft rows, and computes them again from the residuals when
            they are needed. Memory then grows with ``sparsity * (m + sparsity)`` and not with
            ``sparsity * n``, and a step with its gradient takes about 1.5 times as long.
        penalty: ridge penalty of the dense ``x``, as in `omp`.
        relaxation: what replaces the sort, a class that makes soft rows and is called with
            ``tau``; see `greedyjax.sorting`.
        structure: which atoms are chosen together, a `greedyjax.structures.Structure` such as
            `greedyjax.structures.Blocks`; ``sparsity`` then counts blocks, and ``support`` has
            as many places for each block as the largest block has atoms. With
            `greedyjax.structures.SharedSupport` ``y`` has shape ``(m, L)``, one column per
            snapshot.

    Returns:
        A `Recovery` with dense ``x``; ``support`` has the index of the largest entry of each row.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> gj.soft_omp(A, jnp.array([0.0, 2.0]), sparsity=1, tau=0.01).x.round(3).tolist()
        [0.0, 2.0, 0.0]

    References:
        Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy unfolding", arXiv 2505.15661.
    """
    method = OMP(sparsity, fit=LeastSquares(penalty), remat=remat, structure=structure)
    return recover(method, A, y, weights=weights, tau=temperature_given(tau), relaxation=relaxation)
