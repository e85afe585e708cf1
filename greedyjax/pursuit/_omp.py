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

    From ``r = y`` each step adds the atom ``argmax_j |w_j a_j* r| / ||a_j||`` not chosen before
    and sets ``r`` to what least squares on the chosen atoms leaves of ``y``. Weights choose atoms;
    they never enter the fit; a weight of 0 puts an atom last. One product with ``A`` a step, and
    ``jax.vmap(lambda y: omp(A, y, sparsity=s))(Y)`` makes it one matrix product over a batch.
    Differentiable in ``A`` and ``y`` on the support found.

    Args:
        A: matrix of shape ``(m, n)`` or an operator with ``shape``, ``matvec`` and ``rmatvec``
            (and ``column_norms``, or prepared by `greedyjax.dictionary`). Columns of any
            norms.
        y: measurements, shape ``(m,)``.
        sparsity: largest number of atoms, static, between 1 and ``min(m, n)``.
        weights: real, shape ``(n,)``, or one row per step, ``(sparsity, n)``, or a
            `greedyjax.policies.Policy`, which sees what was chosen; only magnitudes matter. None
            means ones.
        rtol: stops once ``||r|| <= max(rtol ||y||, atol)``; traced, >= 0. In a batch each signal
            stops on its own.
        atol: the same in the units of ``y``; traced, >= 0.
        penalty: real and >= 0, shape ``(n,)``, in the units of ``A^2``: the fit minimises
            ``||y - A x||^2 + sum_j penalty_j |x_j|^2`` on the atoms chosen, which a prior variance
            of ``1 / penalty_j`` times that of the noise makes the best estimate. None means 0.
        structure: which atoms are chosen together, a `greedyjax.structures.Structure` such as
            `greedyjax.structures.Blocks`; ``sparsity`` then counts blocks, and ``support`` has room
            for as many atoms of each as the largest has. With
            `greedyjax.structures.SharedSupport` ``y`` has shape ``(m, L)``, one column a snapshot.

    Returns:
        A `Recovery`; ``support`` is in the order of choice, with -1 in unused slots.

    Raises:
        TypeError: wrong kinds of argument, among them a ``sparsity`` that is traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

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

    Each step adds the mean atom ``A p`` with ``p = softmax(|w_j a_j* r| / tau)`` over unit-norm
    columns, and ``x = P^T z`` with ``z`` the least-squares coefficients of ``y`` over the ``A p``.
    As ``tau`` goes to 0 it tends to `omp` wherever the largest score is unique; equal scores share
    a row. Differentiable in ``A``, ``y``, ``tau`` and ``weights``, with finite gradients on
    degenerate input: a row that adds no direction to the earlier ones adds nothing.

    Args:
        A: matrix of shape ``(m, n)`` or an operator, as in `omp`.
        y: measurements, shape ``(m,)``.
        sparsity: number of soft atoms, static, between 1 and ``min(m, n)``.
        tau: temperature > 0 in the units of ``y``; one, or one per step; traced. See
            `relative_tau`.
        weights: real, shape ``(n,)``, or one row per step, ``(sparsity, n)``, or a
            `greedyjax.policies.Policy`, which sees what was chosen; only magnitudes matter. None
            means ones.
        remat: static; True keeps no soft row and makes each again from the residual it came from,
            in the backward pass too. Memory then grows with ``sparsity * (m + sparsity)``, not
            with ``sparsity * n``, and a step with its gradient takes about 1.5 times as long.
        penalty: as in `omp`, of the dense ``x``.
        relaxation: of the sort, a class that is called with ``tau`` and gives soft rows; see
            `greedyjax.sorting`.
        structure: which atoms are chosen together, a `greedyjax.structures.Structure` such as
            `greedyjax.structures.Blocks`; ``sparsity`` then counts blocks, and ``support`` has room
            for as many atoms of each as the largest has. With
            `greedyjax.structures.SharedSupport` ``y`` has shape ``(m, L)``, one column a snapshot.

    Returns:
        A `Recovery` with dense ``x``; ``support`` is the argmax of each soft row.

    Raises:
        TypeError: wrong kinds of argument, among them a ``sparsity`` that is traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

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
