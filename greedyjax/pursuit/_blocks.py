"""Recovery of very many signals with one matrix, in blocks."""

import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._foreign import names_foreign_arguments
from greedyjax._meshes import on_any_mesh
from greedyjax._numerics import in_units, matmul, power_of_two
from greedyjax._precision import as_given
from greedyjax._types import Codes, Matrix, Recovery
from greedyjax.linalg.dictionary import GRAM_BYTES
from greedyjax.linalg.operators import Dense, join, split
from greedyjax.linalg.products import Dictionary
from greedyjax.policies import Policy, Weighting
from greedyjax.pursuit import _rounds
from greedyjax.pursuit._cutting import batch_that_fits, block_of_gram, block_that_fits, in_blocks
from greedyjax.pursuit._method import Method, run
from greedyjax.pursuit._orthogonal import OMP
from greedyjax.pursuit._problem import EXACT, Tolerance, problem_of
from greedyjax.pursuit._recover import checked, recovery, solve, system_for, without_zeros
from greedyjax.pursuit._turns import turns_of
from greedyjax.pursuit.fits import GramMatrix, LeastSquares
from greedyjax.pursuit.fits._gram_matrix import rows_read
from greedyjax.pursuit.fits._nonnegative import NonNegativeGram, NonNegativeLeastSquares
from greedyjax.structures import NonNegative, Plain

# Nanoseconds on one processor, fitted by benchmarks/plan_grid.py; see `plan`.
_GRAM_ATOM, _RESIDUAL_STEP, _MULTIPLICATION = 3.72, 694.0, 0.0417
# Numbers that a GPU could read or write in the same time; see `plan`.
_GPU_GRAM_PASSES, _GPU_RESIDUAL_PASSES, _GPU_BASIS_PASSES, _GPU_MULTIPLICATION = 17, 7, 5, 0.05


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Plan:
    """How `recover_batch` computes its answers.

    Attributes:
        by_gram: whether steps of OMP use the Gram matrix in place of residuals.
        batch_size: the number of signals in a block.
        dense: whether answers contain their zeros.
    """

    by_gram: bool
    batch_size: int
    dense: bool = True


@names_foreign_arguments
def recover_batch(
    method: Method,
    A: Matrix | Dictionary,
    Y: Inexact[ArrayLike, "num m *snapshots"],
    *,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    batch_size: int | None = None,
) -> Recovery:
    """`recover` for many signals with one matrix, by any hard method.

    The answers are those of ``jax.vmap(recover)``, up to rounding. Signals are solved in blocks, so
    that memory is limited whatever ``num`` is. Everything that depends only on the matrix is
    computed once. `OMP` uses the residuals, or the Gram matrix if that costs less (see
    ``greedyjax.pursuit.plan``). If the atoms of a block are so nearly dependent that a Gram matrix
    is not accurate enough, the block is solved again by residuals.

    If signals are in a file, or do not fit into memory, or if all processors of a CPU should work,
    use `greedyjax.streaming.recover`.

    Args:
        method: a `greedyjax.pursuit.Method`.
        A: matrix of shape ``(m, n)``, an operator, or the `greedyjax.dictionary` of either. A
            dictionary is not prepared again in each call.
        Y: measurements, one signal per row, shape ``(num, m)``; ``(num, m, L)`` if the structure is
            `greedyjax.structures.SharedSupport`.
        weights: as for `recover`.
        batch_size: number of signals in a block, static; None means that the library chooses.

    Returns:
        A `Recovery` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> from greedyjax.pursuit import HTP
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> Y = jnp.array([[0.0, 2.0], [3.0, 4.0]])
        >>> gj.recover_batch(HTP(sparsity=1, num_steps=3), A, Y).support.tolist()
        [[1], [2]]
    """
    return _in_batches(method, A, Y, weights, batch_size, dense=True)


@names_foreign_arguments
def encode(
    method: Method,
    A: Matrix | Dictionary,
    Y: Inexact[ArrayLike, "num m *snapshots"],
    *,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    batch_size: int | None = None,
) -> Codes:
    """`recover_batch` with sparse answers: the atoms of each signal and their coefficients.

    No array of shape ``(num, n)`` is formed, and memory beside ``A`` grows with ``num`` times the
    sparsity. With several dictionaries, ``A`` of shape ``(d, m, n)`` and ``Y`` of shape
    ``(d, num, m)``, use ``jax.vmap(partial(encode, method))(A, Y)``.

    A signal with NaN or infinity does not stop the others. It gets no atoms, and -1 for
    ``num_steps`` and ``status``. `Codes.bad` lists such signals.

    Args:
        method: a `greedyjax.pursuit.Method`, such as ``OMP(sparsity=8)``.
        A: as for `recover_batch`, as are the arguments below.
        Y: measurements, one signal per row, shape ``(num, m)``; ``(num, m, L)`` for snapshots.
        weights: as for `recover`.
        batch_size: number of signals in a block, static; None means that the library chooses.

    Returns:
        `Codes`, whose ``dense(n)`` is the ``x`` of `recover_batch`.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape or is out of range; or an argument other than
            ``Y`` has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> from greedyjax.pursuit import OMP
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> codes = gj.encode(OMP(sparsity=1), A, jnp.array([[0.0, 2.0], [3.0, 4.0]]))
        >>> codes.support.tolist(), codes.coefficients.round(3).tolist()
        ([[1], [2]], [[2.0], [5.0]])
        >>> codes.dense(3).round(3).tolist()
        [[0.0, 2.0, 0.0], [0.0, 0.0, 5.0]]
    """
    Y, bad = _without_bad(Y)
    codes = _in_batches(method, A, Y, weights, batch_size, dense=False)
    if _checks.is_traced(codes.residual_norm):
        bad = jnp.isnan(codes.residual_norm)  # A NaN in one signal changes no other signal.
    if bad is None:
        return codes
    of_each = lambda values: jnp.expand_dims(bad, tuple(range(1, values.ndim)))
    return Codes(
        coefficients=jnp.where(of_each(codes.coefficients), 0, codes.coefficients),
        support=jnp.where(of_each(codes.support), -1, codes.support),
        residual_norm=jnp.where(bad, jnp.nan, codes.residual_norm),
        num_steps=jnp.where(bad, -1, codes.num_steps),
        status=jnp.where(bad, Codes.BAD, codes.status),
    )


def _without_bad(Y: Any) -> tuple[Any, Any]:
    """Signals with 0 in place of bad signals, and which signals are bad, or None.

    A signal is bad if it has NaN or infinity. Traced signals are returned unchanged.
    """
    values = _checks.as_array("Y", Y)
    if values.ndim < 2 or not jnp.issubdtype(values.dtype, jnp.inexact):
        return Y, None  # A later check raises the error.
    if _checks.is_traced(Y) or _checks.all_finite(Y):
        return Y, None
    bad = ~jnp.all(jnp.isfinite(values), axis=tuple(range(1, values.ndim)))
    return jnp.where(jnp.expand_dims(bad, tuple(range(1, values.ndim))), 0, values), bad


def _in_batches(method: Any, A: Any, Y: Any, weights: Any, batch_size: int | None, *, dense: bool):
    given = Y
    method, A, Y, weighting, tolerance = checked(method, A, Y, weights, name="Y", ndim=2)
    best = _plan_for(method, A, Y, tolerance)
    size = best.batch_size
    if batch_size is not None:
        size = _checks.static_int("batch_size", batch_size, minimum=1)
    plan = dataclasses.replace(best, batch_size=size, dense=dense)
    return as_given(_recover_batch(method, A, Y, tolerance, weighting, plan), A, given)


@jax.jit
@on_any_mesh(rows=(2, 3))
def _recover_batch(
    method: Method, A, Y, tolerance: Tolerance, weighting: Weighting, plan: Plan
) -> Recovery | Codes:
    answer_of = (lambda found: found) if plan.dense else without_zeros

    def by_residuals(Y, tolerance=EXACT):
        def one(y, tolerance):
            problem = problem_of(system, y, tolerance=tolerance)
            return answer_of(solve(prepared, problem, weighting))

        return jax.vmap(one)(Y, tolerance)

    if not plan.by_gram:
        system = system_for(method, A, Y.dtype)
        prepared = method.prepared(system)
        if tolerance != EXACT and isinstance(prepared, OMP) and _rounds.serve(prepared, Y):
            settings = plan.batch_size, plan.dense
            return _rounds.in_rounds(prepared, system, Y, tolerance, weighting, *settings)
        return in_blocks(by_residuals, plan.batch_size, Y, tolerance)

    assert isinstance(method, OMP)
    fit_by_gram = NonNegativeGram if method.structure.nonnegative else GramMatrix
    by_gram = dataclasses.replace(method, fit=fit_by_gram(method.fit.penalty))
    system = system_for(by_gram, A, Y.dtype)
    prepared, by_gram = method.prepared(system), by_gram.prepared(system)

    def block(Y, projections):
        def pursue(y, projections):
            problem = problem_of(system, y, projections)
            return run(by_gram, problem, turns_of(problem, weighting, None, by_gram))[0]

        def fit(y, state):
            problem = problem_of(system, y)
            return answer_of(recovery(by_gram, problem, by_gram.answer(problem, state)))

        states = jax.vmap(pursue)(Y, projections)
        fitted = lambda: jax.vmap(fit)(Y, states)
        return lax.cond(states.accurate, fitted, lambda: by_residuals(Y))

    def projected(Y):
        # One product serves many signals, each at its own unit scale.
        units = power_of_two(Y, axis=-1)[:, None]
        projections = lax.stop_gradient(_projections(system.atoms, in_units(Y, units)))
        return in_blocks(block, plan.batch_size, Y, projections)

    if plan.dense:
        return projected(Y)
    return in_blocks(projected, batch_that_fits(2 * A.shape[1], Y.dtype), Y)


def _projections(atoms: Any, Y: Inexact[Array, "num m"]) -> Inexact[Array, "num n"]:
    """``a_j* y`` for all signals."""
    if isinstance(atoms, Dense):
        return matmul(Y, atoms.matrix.conj().astype(Y.dtype))
    return jax.vmap(lambda y: join(atoms.adjoint_times(split(y))))(Y)


def _plan_for(method: Method, A: Any, Y: Any, tolerance: Tolerance) -> Plan:
    (m, n), itemsize, backend = A.shape, Y.dtype.itemsize, jax.default_backend()
    structure = method.structure
    if isinstance(structure, NonNegative):
        structure = structure.inner
    if not (
        isinstance(method, OMP)
        and type(method.fit) in (LeastSquares, NonNegativeLeastSquares)
        and isinstance(structure, Plain)
    ):
        snapshots = Y.shape[2] if method.structure.snapshots else 1
        return Plan(False, batch_that_fits(snapshots * method.footprint((m, n)), Y.dtype))
    has_gram = isinstance(A, Dictionary) and A.gram is not None
    if not has_gram and not isinstance(A.A if isinstance(A, Dictionary) else A, (Dense, jax.Array)):
        return Plan(False, batch_that_fits(3 * n + 4 * m * method.sparsity, Y.dtype))
    # If the number of signals is only known when the program runs (`jax.export`), it counts as
    # large.
    num = Y.shape[0] if isinstance(Y.shape[0], int) else sys.maxsize
    return plan(
        m, n, method.sparsity, num, itemsize,
        has_gram=has_gram, gram_serves=tolerance == EXACT, backend=backend,
    )  # fmt: skip


def plan(
    m: int,
    n: int,
    sparsity: int,
    num: int,
    itemsize: int,
    *,
    has_gram: bool,
    gram_serves: bool,
    backend: str,
) -> Plan:
    """The cost rule of OMP: the form that takes less time, according to a model of both forms.

    With ``k`` the sparsity, a signal takes

        gram:       k GRAM_ATOM n  +  MULTIPLICATION m n^2 / num
        residuals:  k (RESIDUAL_STEP + MULTIPLICATION m n)

    The last term of the first line is the cost of the Gram matrix, which is 0 if the matrix exists
    already. The constants are for a CPU. ``benchmarks/plan_grid.py`` fits them to a grid of sizes,
    and tests the rule on other sizes.

    A GPU spends its time on reading and writing numbers. Counted in numbers, a signal costs

        gram:       k n (17 + d)  +  m n^2 / (20 num)
        residuals:  k (7 n + m n / 20 + 5 k m)

    where ``d`` is the mean number of rows of ``n`` numbers that a step reads. Twenty
    multiplications of a matrix product take as long as one number read. The other constants count
    the passes over such arrays, in a profile on an H200. ``benchmarks/gpu.py`` times both forms.

    With more than ``m / 2`` atoms, atoms are nearly dependent, and rounding would send blocks back
    to residuals. So then the form by residuals is used.

    In the Gram form, a block is so small that its ``n sparsity`` numbers per signal stay in the
    cache of a processor. It is large enough that the overhead of starting operations does not
    dominate.
    """
    by_residuals = Plan(False, block_that_fits(itemsize * (3 * n + 4 * m * sparsity), backend))
    if backend == "cpu":
        product = _MULTIPLICATION * m * n
        saved = sparsity * (_RESIDUAL_STEP + product - _GRAM_ATOM * n)
    else:
        product = _GPU_MULTIPLICATION * m * n
        of_gram = n * (_GPU_GRAM_PASSES * sparsity + rows_read(sparsity))
        of_residuals = _GPU_RESIDUAL_PASSES * n + product + _GPU_BASIS_PASSES * sparsity * m
        saved = sparsity * of_residuals - of_gram
    matrix = product * n
    pays = saved > 0 and (has_gram or num * saved > matrix)
    fits = has_gram or n * n * itemsize <= GRAM_BYTES
    if gram_serves and 2 * sparsity <= m and pays and fits:
        return Plan(True, block_of_gram(n * sparsity * itemsize, backend))
    return by_residuals
