"""Hard thresholding pursuit, hard and soft: IHT whose every step ends with least squares."""

from jaxtyping import Array, Float, Inexact

from greedyjax._types import Matrix, Recovery, Scalar
from greedyjax.pursuit._thresholding import (
    Recorded,
    layers,
    prepare,
    record,
    recovery,
    selectors_of,
    threshold,
)
from greedyjax.sorting import HardSort


def htp(
    A: Matrix,
    y: Inexact[Array, " m"],
    *,
    sparsity: int,
    num_steps: int,
    step_size: Scalar | None = None,
    weights: Float[Array, "*num_steps n"] | None = None,
    penalty: Float[Array, " n"] | None = None,
) -> Recovery:
    """Weighted hard thresholding pursuit.

    ``u = x + eta A*(y - A x)``, then ``x`` is least squares on the ``sparsity`` largest
    ``|w_j u_j|``. Weights choose entries; they never enter the fit. A few steps do what `iht` needs
    many for. Differentiable in ``A``, ``y`` and ``penalty`` on the support found.

    Args:
        A: matrix of shape ``(m, n)``, or an operator with ``shape``, ``matvec`` and ``rmatvec``
            (whose columns are then computed once).
        y: measurements, shape ``(m,)``.
        sparsity: number of entries, static, between 1 and ``n``; an entry whose column depends on
            those of larger ones is 0.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2`` by power iteration.
        weights: real, shape ``(n,)``, or one row per step, ``(num_steps, n)``; only their
            magnitudes matter. None means ones.
        penalty: of the fits, real and >= 0, shape ``(n,)``, as in `greedyjax.omp`.

    Returns:
        A `Recovery`; ``support`` lists the entries by falling score, -1 where they are 0.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> gj.htp(A, jnp.array([0.0, 2.0]), sparsity=1, num_steps=3).x.tolist()
        [0.0, 2.0, 0.0]

    References:
        Foucart, "Hard thresholding pursuit: an algorithm for compressive sensing", 2011.
    """
    problem, sparsity, num_steps = prepare(
        A, y, weights, sparsity, num_steps, step_size, fits=True, penalty=penalty
    )
    final, *_ = threshold(problem, HardSort(), sparsity, num_steps, num_steps)
    return recovery(problem, final, num_steps, only_used=True)


def soft_htp(
    A: Matrix,
    y: Inexact[Array, " m"],
    *,
    sparsity: int,
    tau: Scalar | Float[Array, " num_steps"],
    num_steps: int,
    step_size: Scalar | None = None,
    weights: Float[Array, "*num_steps n"] | None = None,
    penalty: Float[Array, " n"] | None = None,
) -> Recovery:
    """Soft-HTP: `htp` with the choice of entries replaced by the first rows ``P`` of `softsort`.

    ``u = x + eta A*(y - A x)``, then ``x = P^T z`` with ``z`` least squares of ``y`` over the mean
    atoms ``A P^T`` of unit-norm columns. As ``tau`` goes to 0 it tends to `htp` wherever scores
    differ. Differentiable in ``A``, ``y``, ``tau``, ``step_size``, ``weights`` and ``penalty``.

    Args:
        A: matrix of shape ``(m, n)``, or an operator, as in `htp`.
        y: measurements, shape ``(m,)``.
        sparsity: number of entries, static, between 1 and ``n``.
        tau: temperature > 0 in the units of ``x``; one, or one per step; traced.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2`` by power iteration.
        weights: real, shape ``(n,)`` or ``(num_steps, n)``, as in `htp`.
        penalty: as in `htp`, of the dense ``x``.

    Returns:
        A `Recovery` with dense ``x``; ``support`` is the argmax of each soft row of the last step.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> found = gj.soft_htp(A, jnp.array([0.0, 2.0]), sparsity=1, tau=0.01, num_steps=3)
        >>> found.x.round(3).tolist()
        [0.0, 2.0, 0.0]

    Source: this library's own, after `soft_iht`.
    """
    problem, sparsity, num_steps = prepare(
        A, y, weights, sparsity, num_steps, step_size, fits=True, penalty=penalty
    )
    selectors = selectors_of(problem, tau, num_steps)
    final, *_ = threshold(problem, selectors, sparsity, num_steps, num_steps)
    return recovery(problem, final, num_steps)


def soft_htp_layers(
    A, y, *, sparsity: int, tau, num_steps: int, step_size=None, weights=None, penalty=None
) -> Inexact[Array, "num_steps n"]:
    """The answers of `soft_htp` after each of its steps, from one run."""
    problem, sparsity, num_steps = prepare(
        A, y, weights, sparsity, num_steps, step_size, fits=True, penalty=penalty
    )
    return layers(problem, tau, sparsity, num_steps, num_steps)


def htp_path(
    A: Matrix,
    y: Inexact[Array, " m"],
    *,
    sparsity: int,
    num_steps: int,
    step_size=None,
    weights=None,
    penalty=None,
) -> Recorded:
    """Runs `htp` and returns what it chose from, for losses that score the choice itself."""
    problem, sparsity, num_steps = prepare(
        A, y, weights, sparsity, num_steps, step_size, fits=True, penalty=penalty
    )
    return record(problem, sparsity, num_steps, num_steps)
