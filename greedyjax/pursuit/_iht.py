"""Iterative hard thresholding, hard and soft: one step with two selectors."""

from typing import Any

from jax.typing import ArrayLike
from jaxtyping import Float, Inexact

from greedyjax._foreign import names_foreign_arguments
from greedyjax._types import Matrix, Recovery, Scalar
from greedyjax.policies import Policy
from greedyjax.pursuit._recover import recover, temperature_given
from greedyjax.pursuit._thresholding import IHT
from greedyjax.pursuit.fits import LeastSquares
from greedyjax.sorting import SoftSort
from greedyjax.structures import Plain, Structure


@names_foreign_arguments
def iht(
    A: Matrix,
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    sparsity: int,
    num_steps: int,
    step_size: Scalar | None = None,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    x0: Inexact[ArrayLike, "n *snapshots"] | None = None,
    debias: bool = False,
    penalty: Float[ArrayLike, " n"] | None = None,
    structure: Structure = Plain(),
) -> Recovery:
    """Weighted iterative hard thresholding.

    Each step computes ``u = x + eta A*(y - A x)``. Then it sets ``x = u`` on the ``sparsity``
    entries with the largest ``|w_j u_j|``, and ``x = 0`` elsewhere. Weights choose entries and
    never scale them. A step costs two products with ``A``. With
    ``jax.vmap(lambda y: iht(A, y, sparsity=s, num_steps=t))(Y)`` these are two matrix products for
    a whole batch.

    Args:
        A: matrix of shape ``(m, n)``, or an operator with ``shape``, ``matvec`` and ``rmatvec``.
        y: measurements, shape ``(m,)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2`` by power iteration.
        weights: real, shape ``(n,)``, or one row per step, ``(num_steps, n)``, or a
            `greedyjax.policies.Policy`; only magnitudes matter. None means ones.
        x0: start, shape ``(n,)``; None means 0.
        debias: static; True ends with least squares on the entries that the last step keeps.
        penalty: ridge penalty of that fit, real and >= 0, shape ``(n,)``, as in `greedyjax.omp`.
        structure: which atoms are chosen together, a `greedyjax.structures.Structure` such as
            `greedyjax.structures.Blocks`; ``sparsity`` then counts blocks, and ``support`` has
            as many places for each block as the largest block has atoms. With
            `greedyjax.structures.SharedSupport` ``y`` has shape ``(m, L)``, one column per
            snapshot.

    Returns:
        A `Recovery`; ``support`` lists the kept entries by falling score, -1 where they are 0.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> found = gj.iht(A, jnp.array([0.0, 2.0]), sparsity=1, num_steps=50)
        >>> found.x.round(3).tolist()
        [0.0, 2.0, 0.0]

    References:
        Blumensath and Davies, "Iterative hard thresholding for compressed sensing", 2009; weighted
        selection as in Mohammad-Taheri, Colbrook and Brugiapaglia, arXiv 2505.15661.
    """
    method = IHT(
        sparsity,
        num_steps,
        step_size,
        x0,
        LeastSquares(penalty),
        debias=debias,
        structure=structure,
    )
    return recover(method, A, y, weights=weights)


@names_foreign_arguments
def soft_iht(
    A: Matrix,
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    sparsity: int,
    tau: Scalar | Float[ArrayLike, " num_steps"],
    num_steps: int,
    step_size: Scalar | None = None,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    x0: Inexact[ArrayLike, "n *snapshots"] | None = None,
    debias: bool = False,
    penalty: Float[ArrayLike, " n"] | None = None,
    relaxation: Any = SoftSort,
    structure: Structure = Plain(),
) -> Recovery:
    """Soft-IHT: `iht` with the 0-1 mask replaced by `soft_topk_mask`.

    Each step computes ``u = x + eta A*(y - A x)``, and then ``x = d u`` with ``d`` the soft mask of
    ``|w_j u_j|``. As ``tau`` goes to 0 the answer tends to that of `iht`, wherever scores differ.
    Equal scores share the mask. The answer is differentiable in ``A``, ``y``, ``tau``,
    ``step_size``, ``weights`` and ``x0``.

    Args:
        A: matrix of shape ``(m, n)``, or an operator with ``shape``, ``matvec`` and ``rmatvec``.
        y: measurements, shape ``(m,)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        tau: temperature > 0 in the units of ``x``; one, or one per step; traced.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2`` by power iteration.
        weights: real, shape ``(n,)``, or one row per step, ``(num_steps, n)``, or a
            `greedyjax.policies.Policy`; only magnitudes matter. None means ones.
        x0: start, shape ``(n,)``; None means 0.
        debias: static; True ends with least squares over the soft rows of the last step.
        penalty: ridge penalty of that fit, as in `iht`.
        relaxation: what replaces the sort, a class that makes a mask and is called with ``tau``;
            see `greedyjax.sorting`. A `greedyjax.sorting.Gate` is enough unless ``debias``.
        structure: which atoms are chosen together, a `greedyjax.structures.Structure` such as
            `greedyjax.structures.Blocks`; ``sparsity`` then counts blocks, and ``support`` has
            as many places for each block as the largest block has atoms. With
            `greedyjax.structures.SharedSupport` ``y`` has shape ``(m, L)``, one column per
            snapshot.

    Returns:
        A `Recovery` with dense ``x``. ``support`` has the index of the largest entry of each soft
            row of the last step, the lowest index where scores tie.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> found = gj.soft_iht(A, jnp.array([0.0, 2.0]), sparsity=1, tau=0.01, num_steps=50)
        >>> found.x.round(3).tolist()
        [0.0, 2.0, 0.0]

    References:
        Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy unfolding", arXiv 2505.15661.
    """
    method = IHT(
        sparsity,
        num_steps,
        step_size,
        x0,
        LeastSquares(penalty),
        debias=debias,
        structure=structure,
    )
    return recover(method, A, y, weights=weights, tau=temperature_given(tau), relaxation=relaxation)
