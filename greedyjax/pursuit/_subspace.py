"""Subspace pursuit, hard and soft: one step with two selectors."""

from typing import Any

from jax.typing import ArrayLike
from jaxtyping import Float, Inexact

from greedyjax._foreign import names_foreign_arguments
from greedyjax._types import Matrix, Recovery, Scalar
from greedyjax.policies import Policy
from greedyjax.pursuit._merging import SubspacePursuit
from greedyjax.pursuit._recover import recover, temperature_given
from greedyjax.pursuit.fits import LeastSquares
from greedyjax.sorting import SoftSort
from greedyjax.structures import Plain, Structure


@names_foreign_arguments
def subspace_pursuit(
    A: Matrix,
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    sparsity: int,
    num_steps: int,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    penalty: Float[ArrayLike, " n"] | None = None,
    structure: Structure = Plain(),
) -> Recovery:
    """Weighted subspace pursuit.

    Subspace pursuit keeps ``sparsity`` atoms. Each step merges ``sparsity`` candidates with them,
    the atoms with the largest ``|w_j a_j* r| / ||a_j||``. It fits ``y`` on all merged atoms by
    least squares, with coefficients ``z``. Then it keeps the ``sparsity`` atoms with the largest
    ``|w_j z_j| ||a_j||``, and fits again. A score that is 0, or no more than rounding, chooses no
    atom: then fewer atoms are kept. Unlike OMP, subspace pursuit can drop an atom that it has
    chosen. So with weights that know which atoms signals use, it reaches the error of least squares
    on the true support. The answer is differentiable in ``A``, ``y`` and ``penalty``, on the chosen
    atoms.

    Args:
        A: matrix of shape ``(m, n)`` or an operator with ``shape``, ``matvec`` and ``rmatvec``
            (and ``column_norms``, or prepared by `greedyjax.dictionary`). Columns may
            have any norms.
        y: measurements, shape ``(m,)``.
        sparsity: number of atoms, static, between 1 and ``min(m, n)``; with
            fewer than ``2 sparsity`` measurements the merged atoms fit any ``y``.
        num_steps: number of steps, static, at least 1.
        weights: real, shape ``(n,)``, or one row per step, ``(num_steps, n)``, or a
            `greedyjax.policies.Policy`; only magnitudes matter. None means ones.
        penalty: ridge penalty of the fits, real and >= 0, shape ``(n,)``, as in `greedyjax.omp`.
        structure: which atoms are chosen together, or share snapshots, as in `greedyjax.omp`.

    Returns:
        A `Recovery` with the iterate of the smallest residual. ``support`` lists the atoms by
        falling score, with -1 where ``x`` is 0.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> found = gj.subspace_pursuit(A, jnp.array([0.0, 2.0]), sparsity=1, num_steps=3)
        >>> found.x.tolist()
        [0.0, 2.0, 0.0]

    References:
        Dai and Milenkovic, "Subspace pursuit for compressive sensing signal reconstruction", 2009.
    """
    method = SubspacePursuit(sparsity, num_steps, LeastSquares(penalty), structure)
    return recover(method, A, y, weights=weights)


@names_foreign_arguments
def soft_subspace_pursuit(
    A: Matrix,
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    sparsity: int,
    tau: Scalar | Float[ArrayLike, " num_steps"],
    num_steps: int,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    penalty: Float[ArrayLike, " n"] | None = None,
    relaxation: Any = SoftSort,
    structure: Structure = Plain(),
) -> Recovery:
    """Soft subspace pursuit: `subspace_pursuit` with both choices made by rows of `softsort`.

    The soft rows ``Q`` stand for the kept atoms, and the soft rows ``P`` for the candidates. Each
    step computes ``x = [Q; P]^T z``, where ``z`` has the least-squares coefficients of ``y`` over
    the mean atoms ``A [Q; P]^T`` of columns with norm 1. The next ``Q`` has the first rows of
    softsort of ``|w_j x_j|``. As ``tau`` goes to 0 the answer tends to that of `subspace_pursuit`,
    wherever scores differ. The answer is differentiable in ``A``, ``y``, ``tau``, ``weights`` and
    ``penalty``.

    Args:
        A: matrix of shape ``(m, n)`` or an operator with ``shape``, ``matvec`` and ``rmatvec``
            (and ``column_norms``, or prepared by `greedyjax.dictionary`). Columns may
            have any norms.
        y: measurements, shape ``(m,)``.
        sparsity: number of atoms, static, between 1 and ``min(m, n)``; as in
            `subspace_pursuit`.
        tau: temperature > 0 in the units of ``y``; one, or one per step; traced. See
            `greedyjax.relative_tau`.
        num_steps: number of steps, static, at least 1.
        weights: real, shape ``(n,)``, or one row per step, ``(num_steps, n)``, or a
            `greedyjax.policies.Policy`; only magnitudes matter. None means ones.
        penalty: ridge penalty of the fits, real and >= 0, shape ``(n,)``, as in `greedyjax.omp`,
            of the dense ``x``.
        relaxation: what replaces the sort, a class that makes soft rows and is called with
            ``tau``; see `greedyjax.sorting`.
        structure: which atoms are chosen together, or share snapshots, as in `greedyjax.omp`.

    Returns:
        A `Recovery` with dense ``x``; ``support`` has the index of the largest entry of each row of
        ``Q``.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> y = jnp.array([0.0, 2.0])
        >>> found = gj.soft_subspace_pursuit(A, y, sparsity=1, tau=0.01, num_steps=3)
        >>> found.x.round(3).tolist()
        [0.0, 2.0, 0.0]

    Source: this library's own, after `greedyjax.soft_omp`.
    """
    method = SubspacePursuit(sparsity, num_steps, LeastSquares(penalty), structure)
    return recover(method, A, y, weights=weights, tau=temperature_given(tau), relaxation=relaxation)
