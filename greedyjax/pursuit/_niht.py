"""Normalised iterative hard thresholding, hard and soft: one step with two selectors."""

from typing import Any

from jax.typing import ArrayLike
from jaxtyping import Float, Inexact

from greedyjax._foreign import names_foreign_arguments
from greedyjax._types import Matrix, Recovery, Scalar
from greedyjax.policies import Policy
from greedyjax.pursuit._normalised import NIHT
from greedyjax.pursuit._recover import recover, temperature_given
from greedyjax.sorting import SoftSort
from greedyjax.structures import Plain, Structure


@names_foreign_arguments
def niht(
    A: Matrix,
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    sparsity: int,
    num_steps: int,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    x0: Inexact[ArrayLike, "n *snapshots"] | None = None,
    structure: Structure = Plain(),
) -> Recovery:
    """Normalised iterative hard thresholding: `iht` with a step size that each step computes.

    Each step computes ``u = x + mu A*(y - A x)``, and keeps the ``sparsity`` entries with the
    largest ``|w_j u_j|``. With ``d`` the mask of the entries that the step before kept, and ``g``
    the gradient, the step size is ``mu = ||d g||^2 / ||A (d g)||^2``. In the first step, ``d`` has
    the entries that steepest descent would keep. If the kept entries change, ``mu`` is halved until
    the step to ``x'`` has ``mu <= 0.99 ||x' - x||^2 / ||A (x' - x)||^2``.

    So without weights the residual falls in each step, whatever the units of ``A`` are, and steps
    are as large as the few columns in use allow. A step costs twice as many products as a step of
    `iht`, and one more for each halving. The answer is differentiable in ``A`` and ``y``, on the
    chosen atoms.

    Args:
        A: matrix of shape ``(m, n)``, or an operator with ``shape``, ``matvec`` and ``rmatvec``.
        y: measurements, shape ``(m,)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_steps: number of steps, static, at least 0.
        weights: real, shape ``(n,)``, or one row per step, ``(num_steps, n)``, or a
            `greedyjax.policies.Policy`; only magnitudes matter. None means ones.
        x0: start, shape ``(n,)``; None means 0.
        structure: which atoms are chosen together, or share snapshots, as in `greedyjax.omp`.

    Returns:
        A `Recovery`; ``support`` lists the atoms by falling score, with -1 where ``x`` is 0.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> gj.niht(A, jnp.array([0.0, 2.0]), sparsity=1, num_steps=5).x.round(3).tolist()
        [0.0, 2.0, 0.0]

    References:
        Blumensath and Davies, "Normalized iterative hard thresholding: guaranteed stability and
        performance", IEEE Journal of Selected Topics in Signal Processing 4 (2010).
    """
    method = NIHT(sparsity, num_steps, x0=x0, structure=structure)
    return recover(method, A, y, weights=weights)


@names_foreign_arguments
def soft_niht(
    A: Matrix,
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    sparsity: int,
    tau: Scalar | Float[ArrayLike, " num_steps"],
    num_steps: int,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    x0: Inexact[ArrayLike, "n *snapshots"] | None = None,
    relaxation: Any = SoftSort,
    structure: Structure = Plain(),
) -> Recovery:
    """Soft-NIHT: `niht` with the 0-1 masks replaced by `soft_topk_mask`.

    The step size depends on the soft mask too, and derivatives pass through it. Derivatives treat
    the number of halvings as a constant. An entry counts as changed if its mask crosses one half.
    As ``tau`` goes to 0 the answer tends to that of `niht`, wherever scores differ. The answer is
    differentiable in ``A``, ``y``, ``tau``, ``weights`` and ``x0``.

    Args:
        A: matrix of shape ``(m, n)``, or an operator with ``shape``, ``matvec`` and ``rmatvec``.
        y: measurements, shape ``(m,)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        tau: temperature > 0 in the units of ``x``; one, or one per step; traced.
        num_steps: number of steps, static, at least 0.
        weights: as in `niht`.
        x0: start, shape ``(n,)``; None means 0.
        relaxation: what replaces the sort, a class that makes a mask and is called with ``tau``;
            see `greedyjax.sorting`. A `greedyjax.sorting.Gate` is enough.
        structure: which atoms are chosen together, or share snapshots, as in `greedyjax.omp`.

    Returns:
        A `Recovery` with dense ``x``; ``support`` is the argmax of each soft row of the last step.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> found = gj.soft_niht(A, jnp.array([0.0, 2.0]), sparsity=1, tau=0.01, num_steps=5)
        >>> found.x.round(3).tolist()
        [0.0, 2.0, 0.0]

    References:
        As for `niht`.
    """
    method = NIHT(sparsity, num_steps, x0=x0, structure=structure)
    return recover(method, A, y, weights=weights, tau=temperature_given(tau), relaxation=relaxation)
