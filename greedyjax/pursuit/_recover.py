"""Recovery of one signal by any method: checks of arguments, then one compiled function."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float, Inexact

from greedyjax import _checks
from greedyjax._foreign import names_foreign_arguments
from greedyjax._meshes import on_any_mesh
from greedyjax._numerics import eps, norm, times_real
from greedyjax._precision import as_given
from greedyjax._types import Codes, Matrix, Recovery, Scalar
from greedyjax.policies import Policy, Weighting, as_weighting
from greedyjax.pursuit._method import Method, run
from greedyjax.pursuit._problem import (
    Answer,
    Problem,
    System,
    Tolerance,
    checked_measurements,
    checked_operator,
    problem_of,
    system_of,
)
from greedyjax.pursuit._turns import turns_of
from greedyjax.sorting import Relaxed, SoftSort, check_relaxation
from greedyjax.structures import Structure


@names_foreign_arguments
def recover(
    method: Method,
    A: Matrix,
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    weights: Float[ArrayLike, "*num_steps n"] | Policy | None = None,
    tau: Scalar | Float[ArrayLike, " num_steps"] | None = None,
    relaxation: Any = None,
) -> Recovery:
    """Recovers one signal by any method, hard or soft.

    `greedyjax.omp` calls this function with the method `greedyjax.pursuit.OMP`, and the other
    solvers call it with their methods. It also takes a method of your own.

    Args:
        method: a `greedyjax.pursuit.Method`.
        A: matrix of shape ``(m, n)`` or an operator with ``shape``, ``matvec`` and ``rmatvec``.
        y: measurements, shape ``(m,)``; ``(m, L)`` if the structure is
            `greedyjax.structures.SharedSupport`.
        weights: real, shape ``(n,)``, or one row per step, ``(num_steps, n)``, or a
            `greedyjax.policies.Policy`. Only their magnitudes matter. None means ones.
        tau: temperature > 0; one, or one per step; traced. None means the hard solver.
        relaxation: what replaces the sort in the soft solver, a class that is called with ``tau``;
            see `greedyjax.sorting`. None means `greedyjax.sorting.SoftSort`.

    Returns:
        A `Recovery`.

    Raises:
        TypeError: an argument has a wrong type, or a step of the method changes the form of the
            state.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> from greedyjax.pursuit import OMP
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> gj.recover(OMP(sparsity=1), A, jnp.array([0.0, 2.0])).x.tolist()
        [0.0, 2.0, 0.0]
    """
    given = y
    method, A, y, weighting, tolerance = checked(method, A, y, weights, name="y", ndim=1)
    if tau is None and relaxation is not None:
        _checks.fail(TypeError, "tau", "a temperature, as there is a relaxation", "None")
    relaxed = None if tau is None else relaxed_of(method, relaxation or SoftSort, tau)
    return as_given(_recover(method, A, y, weighting, relaxed, tolerance), A, given)


def temperature_given(tau: Any) -> Any:
    """Returns ``tau`` of a soft solver, or raises a TypeError if it is None."""
    if tau is None:
        _checks.fail(TypeError, "tau", "a temperature > 0", "None")
    return tau


def relaxed_of(method: Method, relaxation: Any, tau: Any) -> Relaxed:
    """A relaxation with its temperatures, checked for a method."""
    rows_for = type(method).__name__ if method.uses_rows else None
    relaxation = check_relaxation(relaxation, rows_for=rows_for)
    return Relaxed(_checks.scalar_or_steps("tau", tau, method.num_steps), relaxation)


def snapshots_of(method: Method) -> bool:
    """Whether the problems of a method have several snapshots."""
    # A field that is not a structure is an error in `method.checked`.
    return isinstance(method.structure, Structure) and method.structure.snapshots


def tolerance_given(rtol: Any, atol: Any) -> dict[str, Any]:
    """The tolerances of a function whose defaults are 0, as a dict; None is an error."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is None:
            _checks.fail(TypeError, name, "a number >= 0", "NoneType")
    return {"rtol": rtol, "atol": atol}


def check_method(method: Any) -> None:
    """Raises a TypeError unless ``method`` is a `Method` that JAX knows as a pytree."""
    if not isinstance(method, Method):
        got = type(method).__name__
        if isinstance(method, type):
            got = f"the class {method.__name__}; make one: {method.__name__}(...)"
        elif callable(method):
            name = getattr(method, "__name__", got)
            got = f"the function {name}; methods are classes, such as OMP(sparsity=8)"
        _checks.fail(TypeError, "method", "a greedyjax.pursuit.Method", got)
    if jax.tree_util.all_leaves([method]):
        expected = "a dataclass registered by jax.tree_util.register_dataclass"
        got = f"{type(method).__name__}, which is not registered"
        _checks.fail(TypeError, "method", expected, got)


def checked(method: Any, A: Any, y: Any, weights: Any, *, name: str, ndim: int):
    """The checked arguments of a recovery: method, operator, measurements, weighting, tolerance.

    The tolerance is taken out of the method, because in a batch it has one number per signal.
    """
    check_method(method)
    A = checked_operator(A, uses_columns=method.uses_columns)
    y = checked_measurements(name, y, A, ndim=ndim, snapshots=snapshots_of(method))
    tolerance = _tolerance_of(method, None if ndim == 1 else y)
    method = method.checked(A.shape, y.dtype)._with(rtol=None, atol=None)
    weighting = as_weighting(weights, A.shape[1], method.num_steps, y.dtype)
    return method, A, y, weighting, tolerance


def _tolerance_of(method: Method, Y: Any) -> Tolerance:
    """The tolerance of a method: for one signal, or for each row of ``Y``, on its device."""

    def checked(name: str) -> Any:
        value = getattr(method, name)
        if value is None:
            return None
        if Y is not None and jnp.ndim(value) > 0:
            found = _checks.at_least_0(name, value, Y.shape[0])
        else:
            found = _checks.scalar(name, value, positive=False)
            # With a known tolerance of 0 a Gram matrix is accurate enough, so it is not traced.
            if not _checks.is_traced(value) and float(value) == 0:
                return None
        if Y is None:
            return found
        return found + jnp.zeros_like(Y[(slice(None), *[0] * (Y.ndim - 1))], found.dtype)

    return Tolerance(checked("rtol"), checked("atol"))


def system_for(method: Method, A: Any, dtype) -> System:
    """The `System` with everything that a method reads of a matrix."""
    return system_of(
        A,
        dtype,
        uses_matrix=method.uses_matrix,
        uses_columns=method.uses_columns,
        uses_gram=method.uses_gram,
    )


@jax.jit
@on_any_mesh()
def _recover(
    method: Method, A, y, weighting: Weighting, relaxed: Relaxed | None, tolerance: Tolerance
) -> Recovery:
    system = system_for(method, A, y.dtype)
    problem = problem_of(system, y, tolerance=tolerance)
    return solve(method.prepared(system), problem, weighting, relaxed)


def solve(
    method: Method, problem: Problem, weighting: Weighting, relaxed: Relaxed | None = None
) -> Recovery:
    """Runs a prepared method on a problem."""
    turns = turns_of(problem, weighting, relaxed, method)
    state, *_ = run(method, problem, turns)
    return recovery(method, problem, method.answer(problem, state))


def recovery(method: Method, problem: Problem, answer: Answer) -> Recovery:
    """Turns an answer into the result in the units of the arguments."""
    residual, size = norm(answer.residual), norm(problem.y)
    enough = 100 * eps(problem.y.dtype) * size  # After an exact recovery the residual is rounding.
    if problem.enough is not None:
        enough = jnp.maximum(problem.enough, enough)
    # An iterate that is stationary to sqrt(eps) has a residual known only to sqrt(eps).
    near = answer.stationary & (residual <= 10 * eps(problem.y.dtype) ** 0.5 * size)
    status = jnp.where(
        (residual <= enough) | near,
        Recovery.RESIDUAL_REACHED,
        jnp.where(answer.stationary, Recovery.STATIONARY, Recovery.STEPS_USED),
    ).astype(jnp.int32)
    # A constant would be on all devices, and not only on the device of its signal. So the number is
    # made to depend on the status, which is never negative.
    num_steps = jnp.where(status < 0, status, jnp.asarray(answer.num_steps, jnp.int32))
    return Recovery(
        x=times_real(problem.unit, answer.x),
        support=answer.support.astype(jnp.int32),
        residual_norm=problem.scale * residual,
        num_steps=num_steps,
        status=status,
    )


def without_zeros(found: Recovery) -> Codes:
    """The recovery of one signal as `Codes`: the coefficients of its atoms."""
    used = (found.support >= 0).reshape(-1, *[1] * (found.x.ndim - 1))
    at_atoms = found.x.at[found.support].get(mode="fill", fill_value=0)
    return Codes(jnp.where(used, at_atoms, 0), *found[1:])
