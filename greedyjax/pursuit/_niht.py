"""Normalised iterative hard thresholding, hard and soft: one step with two selectors."""

from typing import Any

from jax.typing import ArrayLike
from jaxtyping import Float, Inexact

from greedyjax._types import Matrix, Recovery, Scalar
from greedyjax.policies import Policy
from greedyjax.pursuit._normalised import NIHT
from greedyjax.pursuit._recover import recover, temperature_given
from greedyjax.sorting import SoftSort
from greedyjax.structures import Plain, Structure


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
    """Normalised iterative hard thresholding: `iht` that measures how long each step may be.

    Each step is ``u = x + mu A*(y - A x)``, of which the ``sparsity`` entries of largest
    ``|w_j u_j|`` are kept. With ``d`` the mask of the entries kept before and ``g`` the gradient,
    ``mu = ||d g||^2 / ||A (d g)||^2``; before any was kept, those of steepest descent count. Where
    other entries are kept, ``mu`` is halved until the step to ``x'`` has
    ``mu <= 0.99 ||x' - x||^2 / ||A (x' - x)||^2``. So without weights the residual falls in each
    step, whatever the units of ``A`` are, and steps are as long as the few columns in use allow. A
    step costs twice the products of one of `iht`, and one more for each halving.
    Differentiable in ``A`` and ``y`` on the support found.

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
        A `Recovery`; ``support`` by falling score, -1 where ``x`` is 0.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

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

    The length of a step is made of the soft mask too, and is differentiated. How often it is halved
    is a constant to derivatives, and entries count as changed where a mask crosses a half. As
    ``tau`` goes to 0 it tends to `niht` wherever scores differ. Differentiable in ``A``, ``y``,
    ``tau``, ``weights`` and ``x0``.

    Args:
        A: matrix of shape ``(m, n)``, or an operator with ``shape``, ``matvec`` and ``rmatvec``.
        y: measurements, shape ``(m,)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        tau: temperature > 0 in the units of ``x``; one, or one per step; traced.
        num_steps: number of steps, static, at least 0.
        weights: as in `niht`.
        x0: start, shape ``(n,)``; None means 0.
        relaxation: of the sort, a class that is called with ``tau`` and gives a mask, such as those
            of `greedyjax.sorting`; a `greedyjax.sorting.Gate` is enough.
        structure: which atoms are chosen together, or share snapshots, as in `greedyjax.omp`.

    Returns:
        A `Recovery` with dense ``x``; ``support`` is the argmax of each soft row of the last step.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> found = gj.soft_niht(A, jnp.array([0.0, 2.0]), sparsity=1, tau=0.01, num_steps=5)
        >>> found.x.round(3).tolist()
        [0.0, 2.0, 0.0]

    References:
        Those of `niht`.
    """
    method = NIHT(sparsity, num_steps, x0=x0, structure=structure)
    return recover(method, A, y, weights=weights, tau=temperature_given(tau), relaxation=relaxation)
