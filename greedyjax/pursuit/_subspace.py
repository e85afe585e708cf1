"""Subspace pursuit, hard and soft: one step with two selectors."""

from typing import Any

from jax.typing import ArrayLike
from jaxtyping import Float, Inexact

from greedyjax._types import Matrix, Recovery, Scalar
from greedyjax.policies import Policy
from greedyjax.pursuit._merging import SubspacePursuit
from greedyjax.pursuit._recover import recover, temperature_given
from greedyjax.pursuit.fits import LeastSquares
from greedyjax.sorting import SoftSort
from greedyjax.structures import Plain, Structure


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

    It keeps ``sparsity`` atoms. Each step merges as many more to them, those of largest
    ``|w_j a_j* r| / ||a_j||``, fits ``y`` on all by least squares, keeps those of largest
    ``|w_j z_j| ||a_j||``, and fits again. Unlike OMP it can drop an atom once chosen, so that
    weights which know where signals live take it to the level of least squares on the true
    support. Differentiable in ``A``, ``y`` and ``penalty`` on the support found.

    Args:
        A: matrix of shape ``(m, n)`` or an operator with ``shape``, ``matvec`` and ``rmatvec``
            (and ``column_norms``, or prepared by `greedyjax.dictionary`). Columns of any
            norms.
        y: measurements, shape ``(m,)``.
        sparsity: number of atoms, static, between 1 and ``min(m, n)``; with
            fewer than ``2 sparsity`` rows the merged atoms fit anything.
        num_steps: number of steps, static, at least 1.
        weights: real, shape ``(n,)``, or one row per step, ``(num_steps, n)``, or a
            `greedyjax.policies.Policy`; only magnitudes matter. None means ones.
        penalty: of the fits, real and >= 0, shape ``(n,)``, as in `greedyjax.omp`.
        structure: which atoms are chosen together, or share snapshots, as in `greedyjax.omp`.

    Returns:
        A `Recovery`, of the iterate of least residual; ``support`` by falling score, -1 where ``x``
        is 0.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

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

    Rows ``Q`` keep, rows ``P`` join: ``x = [Q; P]^T z`` with ``z`` least squares of ``y`` over the
    mean atoms ``A [Q; P]^T`` of unit-norm columns; the next ``Q`` are the first rows of softsort of
    ``|w_j x_j|``. As ``tau`` goes to 0 it tends to the hard algorithm wherever scores differ.
    Differentiable in ``A``, ``y``, ``tau``, ``weights`` and ``penalty``.

    Args:
        A: matrix of shape ``(m, n)`` or an operator with ``shape``, ``matvec`` and ``rmatvec``
            (and ``column_norms``, or prepared by `greedyjax.dictionary`). Columns of any
            norms.
        y: measurements, shape ``(m,)``.
        sparsity: number of atoms, static, between 1 and ``min(m, n)``; as in
            `subspace_pursuit`.
        tau: temperature > 0 in the units of ``y``; one, or one per step; traced. See
            `greedyjax.relative_tau`.
        num_steps: number of steps, static, at least 1.
        weights: real, shape ``(n,)``, or one row per step, ``(num_steps, n)``, or a
            `greedyjax.policies.Policy`; only magnitudes matter. None means ones.
        penalty: of the fits, real and >= 0, shape ``(n,)``, as in `greedyjax.omp`,
            of the dense ``x``.
        relaxation: of the sort, a class that is called with ``tau`` and gives soft rows; see
            `greedyjax.sorting`.
        structure: which atoms are chosen together, or share snapshots, as in `greedyjax.omp`.

    Returns:
        A `Recovery` with dense ``x``; ``support`` is the argmax of each soft row that keeps.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

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
