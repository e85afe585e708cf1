"""Hard thresholding pursuit, hard and soft: IHT in which every step ends with least squares."""

from typing import Any

from jax.typing import ArrayLike
from jaxtyping import Float, Inexact

from greedyjax._foreign import names_foreign_arguments
from greedyjax._types import Matrix, Recovery, Scalar
from greedyjax.policies import Policy
from greedyjax.pursuit._recover import recover, temperature_given
from greedyjax.pursuit._thresholding import HTP
from greedyjax.pursuit.fits import LeastSquares
from greedyjax.sorting import SoftSort
from greedyjax.structures import Plain, Structure


@names_foreign_arguments
def htp(
    A: Matrix,
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    sparsity: int,
    num_steps: int,
    step_size: Scalar | None = None,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    penalty: Float[ArrayLike, " n"] | None = None,
    structure: Structure = Plain(),
) -> Recovery:
    """Weighted hard thresholding pursuit.

    Each step computes ``u = x + eta A*(y - A x)``. Then it fits ``y`` by least squares on the
    ``sparsity`` entries with the largest ``|w_j u_j|``. Weights choose entries and never enter the
    fit. `htp` needs fewer steps than `iht`. The answer is differentiable in ``A``, ``y`` and
    ``penalty``, on the chosen atoms.

    Args:
        A: matrix of shape ``(m, n)``, or an operator with ``shape``, ``matvec`` and ``rmatvec``
            (and ``column_norms``, or prepared by `greedyjax.dictionary`).
        y: measurements, shape ``(m,)``.
        sparsity: number of entries, static, between 1 and ``n``; an entry is 0 if its column is
            dependent on the columns of larger entries.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2`` by power iteration.
        weights: real, shape ``(n,)``, or one row per step, ``(num_steps, n)``, or a
            `greedyjax.policies.Policy`; only magnitudes matter. None means ones.
        penalty: ridge penalty of the fits, real and >= 0, shape ``(n,)``, as in `greedyjax.omp`.
        structure: which atoms are chosen together, or share snapshots, as in `greedyjax.omp`.

    Returns:
        A `Recovery`; ``support`` lists the entries by falling score, -1 where they are 0.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> gj.htp(A, jnp.array([0.0, 2.0]), sparsity=1, num_steps=3).x.tolist()
        [0.0, 2.0, 0.0]

    References:
        Foucart, "Hard thresholding pursuit: an algorithm for compressive sensing", 2011.
    """
    method = HTP(sparsity, num_steps, step_size, fit=LeastSquares(penalty), structure=structure)
    return recover(method, A, y, weights=weights)


@names_foreign_arguments
def soft_htp(
    A: Matrix,
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    sparsity: int,
    tau: Scalar | Float[ArrayLike, " num_steps"],
    num_steps: int,
    step_size: Scalar | None = None,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    penalty: Float[ArrayLike, " n"] | None = None,
    relaxation: Any = SoftSort,
    structure: Structure = Plain(),
) -> Recovery:
    """Soft-HTP: `htp` with the choice of entries replaced by the first rows ``P`` of `softsort`.

    Each step computes ``u = x + eta A*(y - A x)``, and then ``x = P^T z``. Here ``z`` has the
    least-squares coefficients of ``y`` over the mean atoms ``A P^T`` of columns with norm 1. As
    ``tau`` goes to 0 the answer tends to that of `htp`, wherever scores differ. The answer is
    differentiable in ``A``, ``y``, ``tau``, ``step_size``, ``weights`` and ``penalty``.

    Args:
        A: matrix of shape ``(m, n)``, or an operator, as in `htp`.
        y: measurements, shape ``(m,)``.
        sparsity: number of entries, static, between 1 and ``n``.
        tau: temperature > 0 in the units of ``x``; one, or one per step; traced.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2`` by power iteration.
        weights: shape ``(n,)`` or ``(num_steps, n)``, or a policy, as in `htp`.
        penalty: ridge penalty of the dense ``x``, as in `htp`.
        relaxation: what replaces the sort, a class that makes soft rows and is called with
            ``tau``; see `greedyjax.sorting`.
        structure: which atoms are chosen together, or share snapshots, as in `greedyjax.omp`.

    Returns:
        A `Recovery` with dense ``x``; ``support`` is the argmax of each soft row of the last step.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` or ``num_steps`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> found = gj.soft_htp(A, jnp.array([0.0, 2.0]), sparsity=1, tau=0.01, num_steps=3)
        >>> found.x.round(3).tolist()
        [0.0, 2.0, 0.0]

    Source: this library's own, after `soft_iht`.
    """
    method = HTP(sparsity, num_steps, step_size, fit=LeastSquares(penalty), structure=structure)
    return recover(method, A, y, weights=weights, tau=temperature_given(tau), relaxation=relaxation)
