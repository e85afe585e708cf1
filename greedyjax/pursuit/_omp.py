"""Orthogonal matching pursuit, hard and soft: one step with two selectors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import matmul, norm
from greedyjax._types import Matrix, Recovery, Scalar
from greedyjax.linalg.dictionary import as_dictionary
from greedyjax.linalg.operators import Dense, join, split
from greedyjax.pursuit._driver import Arguments, arguments, soft_selectors, turns_of
from greedyjax.pursuit._orthogonal import Choice, Steps, take_steps
from greedyjax.sorting import HardSort


def omp(
    A: Matrix,
    y: Inexact[Array, " m"],
    *,
    sparsity: int,
    weights: Float[Array, "*sparsity n"] | None = None,
    rtol: Scalar = 0.0,
    penalty: Float[Array, " n"] | None = None,
) -> Recovery:
    """Weighted orthogonal matching pursuit.

    From ``r = y`` each step adds the atom ``argmax_j |w_j a_j* r| / ||a_j||`` not chosen before
    and sets ``r`` to what least squares on the chosen atoms leaves of ``y``. Weights choose atoms;
    they never enter the fit; a weight of 0 puts an atom last. One product with ``A`` a step, and
    ``jax.vmap(lambda y: omp(A, y, sparsity=s))(Y)`` makes it one matrix product over a batch.
    Differentiable in ``A`` and ``y`` on the support found.

    Args:
        A: matrix of shape ``(m, n)`` or an operator with ``shape``, ``matvec`` and ``rmatvec``
            (whose columns are then computed once). Columns need not have norm 1.
        y: measurements, shape ``(m,)``.
        sparsity: largest number of atoms, static, between 1 and ``min(m, n)``.
        weights: real, shape ``(n,)``, or one row per step, ``(sparsity, n)``; only their magnitudes
            matter. None means ones.
        rtol: stops once ``||r|| <= rtol ||y||``; traced, >= 0. In a batch each signal stops on
            its own.
        penalty: real and >= 0, shape ``(n,)``, in the units of ``A^2``: the fit minimises
            ``||y - A x||^2 + sum_j penalty_j |x_j|^2`` on the atoms chosen, which a prior variance
            of ``1 / penalty_j`` times that of the noise makes the best estimate. None means 0.

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
    rtol = _checks.scalar("rtol", rtol, positive=False)
    problem, sparsity = prepare(A, y, weights, sparsity, penalty)
    return recovery(problem, pursue(problem, HardSort(), sparsity, rtol), rtol)


def soft_omp(
    A: Matrix,
    y: Inexact[Array, " m"],
    *,
    sparsity: int,
    tau: Scalar | Float[Array, " sparsity"],
    weights: Float[Array, "*sparsity n"] | None = None,
    remat: bool = False,
    penalty: Float[Array, " n"] | None = None,
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
        weights: real, shape ``(n,)``, or one row per step, ``(sparsity, n)``; only their magnitudes
            matter. None means ones.
        remat: static; True keeps no soft row and makes each again from the residual it came from,
            in the backward pass too. Memory then grows with ``sparsity * (m + sparsity)``, not
            with ``sparsity * n``, and a step with its gradient takes about 1.5 times as long.
        penalty: as in `omp`, of the dense ``x``.

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
    problem, sparsity = prepare(A, y, weights, sparsity, penalty)
    selectors = soft_selectors(tau, sparsity, problem.args.scale)
    steps = pursue(problem, selectors, sparsity, keep_rows=not remat)
    return recovery(problem, steps)


class OMPPath(NamedTuple):
    """The choices that hard OMP met, and its answer.

    Attributes:
        x: the answer, shape ``(n,)``.
        correlations: ``|a_j* r| / ||a_j||`` before each step, shape ``(sparsity, n)``, in the units
            of ``y``; weights times them are the scores it chose by.
    """

    x: Inexact[Array, " n"]
    correlations: Float[Array, "sparsity n"]


def omp_path(
    A: Matrix, y: Inexact[Array, " m"], *, sparsity: int, weights=None, penalty=None
) -> OMPPath:
    """Runs `omp` and returns what it chose from, for losses that score the choice itself."""
    problem, sparsity = prepare(A, y, weights, sparsity, penalty)
    steps = pursue(problem, HardSort(), sparsity, rtol=0.0, record=True)
    assert steps.correlations is not None
    return OMPPath(recovery(problem, steps).x, problem.args.scale * steps.correlations)


def soft_omp_layers(
    A: Matrix, y: Inexact[Array, " m"], *, sparsity: int, tau, weights=None, penalty=None
) -> Inexact[Array, "sparsity n"]:
    """The answers of `soft_omp` after each of its steps, from one run."""
    problem, sparsity = prepare(A, y, weights, sparsity, penalty)
    _, column_scale, args, _ = problem
    steps = pursue(problem, soft_selectors(tau, sparsity, args.scale), sparsity)
    x = jax.vmap(join)(matmul(steps.path, steps.rows))
    return args.scale * (column_scale[None, :] * x)


class OMPProblem(NamedTuple):
    """Unit-norm columns, the factors that made them so, and the other arguments.

    The penalty is that of coefficients over these columns.
    """

    A: Dense
    column_scale: Float[Array, " n"]
    args: Arguments
    penalty: Float[Array, " n"] | None = None


def prepare(
    A, y, weights, sparsity, penalty=None, *, num_steps: int | None = None
) -> tuple[OMPProblem, int]:
    """Checks the arguments that every form of OMP has, and scales columns and ``y``.

    ``num_steps`` is the number of rows that weights may have: ``sparsity`` unless given.
    """
    dictionary = as_dictionary(A)
    sparsity = omp_sparsity(sparsity, dictionary.shape)
    args = arguments(dictionary, y, weights, num_steps=sparsity if num_steps is None else num_steps)
    penalty = unit_penalty(penalty, dictionary.column_scale)
    return OMPProblem(dictionary.unit, dictionary.column_scale, args, penalty), sparsity


def unit_penalty(penalty, column_scale: Float[Array, " n"]) -> Float[Array, " n"] | None:
    """Checks a penalty, and gives that of coefficients over unit columns."""
    if penalty is None:
        return None
    penalty = _checks.penalty(penalty, len(column_scale)).astype(column_scale.dtype)
    return penalty * column_scale * column_scale


def omp_sparsity(sparsity, shape: tuple[int, int]) -> int:
    """Checks the number of atoms: no more of them can be independent than there are rows."""
    return _checks.static_int(
        "sparsity", sparsity, minimum=1, maximum=min(shape), why=f" for A of shape {shape}"
    )


def pursue(
    problem: OMPProblem,
    selectors,
    sparsity: int,
    rtol: Scalar | None = None,
    *,
    keep_rows: bool = True,
    record: bool = False,
) -> Steps:
    """The pursuit of ``y / scale``.

    ``rtol=None`` never stops, so that gradients at ``r = 0`` are right.
    """
    A, _, args, penalty = problem
    threshold = None if rtol is None else (rtol * norm(args.y)).astype(args.scale.dtype)
    choice, y = Choice(A, args.weights, penalty), split(args.y)
    turns = turns_of(selectors, args.weights)
    return take_steps(sparsity, keep_rows, record, choice, turns, y, threshold)


def recovery(problem: OMPProblem, steps: Steps, rtol: Scalar = 0.0) -> Recovery:
    """The result in the units of the arguments."""
    A, column_scale, args, _ = problem
    residual_norm = norm(steps.residual.reshape(len(steps.x), -1)[:, : A.shape[0]])
    return Recovery(
        x=args.scale * (column_scale * join(steps.x)),
        support=jnp.where(steps.taken, steps.support, -1),
        residual_norm=args.scale * residual_norm,
        num_steps=jnp.sum(steps.taken, dtype=jnp.int32),
        converged=residual_norm <= rtol * norm(args.y),
    )
