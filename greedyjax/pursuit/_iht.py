"""Iterative hard thresholding, hard and soft: one step with two selectors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from greedyjax import _checks
from greedyjax._numerics import eps, magnitude_of, norm, power_of_two
from greedyjax._types import Matrix, Operator, Recovery, Scalar
from greedyjax.linalg.norms import step_size_of
from greedyjax.linalg.operators import Dense, adjoint_times, as_operator, join, split, times
from greedyjax.pursuit._driver import Arguments, arguments, run, soft_selectors
from greedyjax.sorting import HardSort
from greedyjax.sorting._choice import halfway
from greedyjax.sorting._hardsort import keep_only_order


def iht(
    A: Matrix,
    y: Inexact[Array, " m"],
    *,
    sparsity: int,
    num_steps: int,
    step_size: Scalar | None = None,
    weights: Float[Array, " n"] | None = None,
    x0: Inexact[Array, " n"] | None = None,
) -> Recovery:
    """Weighted iterative hard thresholding.

    ``u = x + eta A*(y - A x)``, then ``x = u`` on the ``sparsity`` largest ``|w_j u_j|`` and 0
    elsewhere. Weights choose entries; they never scale them. Two products with ``A`` a step, and
    ``jax.vmap(lambda y: iht(A, y, sparsity=s, num_steps=t))(Y)`` makes each one matrix product
    over a batch.

    Args:
        A: matrix of shape ``(m, n)``, or an operator with ``shape``, ``matvec`` and ``rmatvec``.
        y: measurements, shape ``(m,)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2`` by power iteration.
        weights: real, shape ``(n,)``; only their magnitudes matter. None means ones.
        x0: start, shape ``(n,)``; None means 0.

    Returns:
        A `Recovery`; ``support`` lists the kept entries by falling score, -1 where they are 0.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

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
    problem, sparsity, num_steps = _prepare(A, y, weights, sparsity, num_steps, step_size, x0)
    final, _ = _threshold(problem, HardSort(), sparsity, num_steps)
    used = jnp.any(final.x[:, final.support] != 0, axis=0)
    return _recovery(problem, final._replace(support=jnp.where(used, final.support, -1)), num_steps)


def soft_iht(
    A: Matrix,
    y: Inexact[Array, " m"],
    *,
    sparsity: int,
    tau: Scalar | Float[Array, " num_steps"],
    num_steps: int,
    step_size: Scalar | None = None,
    weights: Float[Array, " n"] | None = None,
    x0: Inexact[Array, " n"] | None = None,
) -> Recovery:
    """Soft-IHT: `iht` with the 0-1 mask replaced by `soft_topk_mask`.

    ``u = x + eta A*(y - A x)``, then ``x = d u`` with ``d`` the soft mask of ``|w_j u_j|``. As
    ``tau`` goes to 0 it tends to `iht` wherever scores differ; equal scores share the mask.
    Differentiable in ``A``, ``y``, ``tau``, ``step_size``, ``weights`` and ``x0``.

    Args:
        A: matrix of shape ``(m, n)``, or an operator with ``shape``, ``matvec`` and ``rmatvec``.
        y: measurements, shape ``(m,)``.
        sparsity: number of entries kept, static, between 1 and ``n``.
        tau: temperature > 0 in the units of ``x``; one, or one per step; traced.
        num_steps: number of steps, static, at least 0.
        step_size: ``eta > 0``, traced; None means ``1 / ||A||^2`` by power iteration.
        weights: real, shape ``(n,)``; only their magnitudes matter. None means ones.
        x0: start, shape ``(n,)``; None means 0.

    Returns:
        A `Recovery` with dense ``x``; ``support`` is the argmax of each soft row of the last step,
            the lowest index first where scores tie.

    Raises:
        TypeError: wrong kinds of argument, among them ``sparsity`` or ``num_steps`` traced.
        ValueError: wrong shapes or ranges, NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> found = gj.soft_iht(A, jnp.array([0.0, 2.0]), sparsity=1, tau=0.01, num_steps=50)
        >>> found.x.round(3).tolist()
        [0.0, 2.0, 0.0]

    References:
        Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy unfolding", arXiv 2505.15661.
    """
    problem, sparsity, num_steps = _prepare(A, y, weights, sparsity, num_steps, step_size, x0)
    selectors = soft_selectors(tau, num_steps, problem.args.scale / problem.matrix_scale)
    final, _ = _threshold(problem, selectors, sparsity, num_steps)
    return _recovery(problem, final, num_steps)


class IHTPath(NamedTuple):
    """The choices that hard IHT met, and its answer.

    Attributes:
        x: the answer, shape ``(n,)``.
        proposals: ``|u|`` before each thresholding, shape ``(num_steps, n)``; weights times them
            are the scores it chose by.
        thresholds: halfway between the scores kept and those not kept, shape ``(num_steps,)``.
    """

    x: Inexact[Array, " n"]
    proposals: Float[Array, "num_steps n"]
    thresholds: Float[Array, " num_steps"]


def iht_path(
    A: Matrix, y: Inexact[Array, " m"], *, sparsity: int, num_steps: int, step_size, weights=None
) -> IHTPath:
    """Runs `iht` and returns what it chose from, for losses that score the choice itself."""
    problem, sparsity, num_steps = _prepare(A, y, weights, sparsity, num_steps, step_size, None)
    final, recorded = _threshold(problem, HardSort(), sparsity, num_steps, record=True)
    assert recorded is not None
    scale = problem.args.scale / problem.matrix_scale
    return IHTPath(*(scale * each for each in (join(final.x), *recorded)))


class _Problem(NamedTuple):
    """The problem at unit scale: ``A / matrix_scale`` and ``y / scale``, with its own step size.

    Its solution is ``matrix_scale / scale`` times that of the problem given.
    """

    A: Operator
    matrix_scale: Float[Array, ""]
    args: Arguments
    step_size: Float[Array, ""]
    x0: Inexact[Array, " n"]


class _State(NamedTuple):
    """``x`` by real and imaginary part: compilers are better at real numbers than at pairs."""

    x: Float[Array, "parts n"]
    support: Int[Array, " sparsity"]
    stationary: Bool[Array, ""]


def _prepare(A, y, weights, sparsity, num_steps, step_size, x0) -> tuple[_Problem, int, int]:
    A = as_operator(A)
    n = A.shape[1]
    sparsity = _checks.static_int(
        "sparsity", sparsity, minimum=1, maximum=n, why=f" for A of shape {tuple(A.shape)}"
    )
    num_steps = _checks.static_int("num_steps", num_steps, minimum=0)
    args = arguments(A, y, weights)
    dtype = args.y.dtype
    A, matrix_scale = at_unit_scale(A, args.scale.dtype)
    step = unit_step(A, matrix_scale, step_size, dtype)

    if x0 is None:
        start = jnp.zeros(n, dtype)
    else:
        start = _checks.inexact("x0", x0, ndim=1, shape=(n,))
        if jnp.iscomplexobj(start) and not jnp.issubdtype(dtype, jnp.complexfloating):
            _checks.fail(TypeError, "x0", f"real numbers, as A and y are {dtype}", str(start.dtype))
        start = start.astype(dtype) * (matrix_scale / args.scale)
    return _Problem(A, matrix_scale, args, step, start), sparsity, num_steps


def at_unit_scale(A: Operator, real) -> tuple[Operator, Float[Array, ""]]:
    """``A / scale`` with entries of at most 1, and ``scale``; an operator is left as it is."""
    if not isinstance(A, Dense):
        return A, jnp.ones((), real)
    scale = power_of_two(A.parts).astype(real)
    return Dense(A.parts.astype(real) / scale), scale


def unit_step(A: Operator, scale: Float[Array, ""], step_size, dtype) -> Float[Array, ""]:
    """The step size for ``A``, given that for ``scale A``."""
    if step_size is None:
        return step_size_of(A, dtype)
    given = _checks.scalar("step_size", step_size, positive=True)
    return given.astype(scale.dtype) * scale * scale


def _threshold(problem: _Problem, selectors, sparsity: int, num_steps: int, *, record=False):
    """All steps, and each step's ``|u|`` and threshold if asked to record them."""
    A, _, args, step_size, x0 = problem
    tolerance = eps(args.y.dtype) ** 0.5
    y, start = split(args.y), split(x0)

    def keep(u, selector):
        size = magnitude_of(u)
        scores = args.weights * size
        mask, support = selector.keep(scores, sparsity)
        return mask[None, :] * u, support, (size, halfway(scores, mask)) if record else None

    if not isinstance(selectors, HardSort):
        # A backward pass keeps u and the order of its scores, and computes the mask again: that
        # takes less time than to store all it is made of, and a tenth of the memory. A hard mask
        # is made of nothing; and checkify cannot look for bad indices inside of a checkpoint.
        keep = jax.checkpoint(keep, prevent_cse=False, policy=keep_only_order)

    def step(carry, inputs):
        state, recorded = carry
        i, selector = inputs
        u = state.x + step_size * adjoint_times(A, y - times(A, state.x))
        x, support, met = keep(u, selector)
        moved, length = lax.stop_gradient((norm(x - state.x), norm(x)))
        recorded = jax.tree.map(lambda all, one: all.at[i].set(one), recorded, met)
        return (_State(x, support, moved <= tolerance * length), recorded), None

    # Before the first step the support is that of x0.
    support = HardSort().keep(args.weights * magnitude_of(start), sparsity)[1]
    state = _State(start, support, jnp.asarray(False))
    # Carried, not stacked by the scan, which under vmap would put the steps before the batch.
    empty = [jnp.zeros((num_steps, *shape), y.dtype) for shape in ((A.shape[1],), ())]
    recorded = tuple(empty) if record else None
    (final, recorded), _ = run(step, (state, recorded), selectors, num_steps)
    return final, recorded


def _recovery(problem: _Problem, final: _State, num_steps: int) -> Recovery:
    A, matrix_scale, args, *_ = problem
    return Recovery(
        x=(args.scale / matrix_scale) * join(final.x),
        support=final.support,
        residual_norm=args.scale * norm(split(args.y) - times(A, final.x)),
        num_steps=jnp.asarray(num_steps, jnp.int32),
        converged=final.stationary,
    )
