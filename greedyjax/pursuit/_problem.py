"""A problem as steps use it: checked once, at unit scale, with the matrix prepared for all signals.

Solvers are homogeneous. If ``A`` is divided by a power of two and ``y`` by another, then ``x`` is
multiplied by the first power and divided by the second. So these scales are constants to
derivatives, and data in any units neither overflow nor vanish.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, Int

from greedyjax import _checks
from greedyjax._numerics import (
    abs_sq,
    in_units,
    norm,
    power_of_two,
    promoted,
    real_dtype,
    safe_sqrt,
    times_atoms,
)
from greedyjax.linalg.checked import as_operator, checked_matrix, operator_dtype
from greedyjax.linalg.dictionary import gram_of
from greedyjax.linalg.operators import Dense, in_memory, join, split, unit_columns
from greedyjax.linalg.products import Dictionary, Products


class System(NamedTuple):
    """A matrix, and everything that is computed from it once for all signals.

    Attributes:
        A: ``A / scale``, with entries of at most 1; an operator is unchanged.
        scale: a power of two, or 1.
        atoms: ``A diag(column_scale)``, with columns of norm 1, if a method reads them.
        column_scale: the inverse norms of the columns, shape ``(n,)``; 0 where a column is 0.
        gram: ``gram[j, i] = a_i* a_j`` over the atoms, if a fit reads it.
        one_by_one: a transposed copy of dense atoms, by parts, shape ``(parts, n, m)``, if there is
            a Gram matrix. In this copy the entries of an atom are next to each other in memory.
    """

    A: Any
    scale: Float[Array, ""]
    atoms: Any = None
    column_scale: Any = None
    gram: Any = None
    one_by_one: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        return self.A.shape

    def columns(self, support: Int[Array, " k"]) -> Inexact[Array, "k m"]:
        """The atoms of a support, one atom per row."""
        if self.one_by_one is None:
            return jax.vmap(self.atoms.column)(support)
        return join(self.one_by_one.at[:, support].get(mode="promise_in_bounds"))


class Tolerance(NamedTuple):
    """The tolerance at which a signal stops: ``||r|| <= max(rtol ||y||, atol)``.

    Attributes:
        rtol: relative tolerance; None means 0.
        atol: absolute tolerance, in the units of the measurements; None means 0.
    """

    rtol: Any = None
    atol: Any = None


#: A signal stops only if its residual is 0.
EXACT = Tolerance()


class Problem(NamedTuple):
    """The measurements of one signal, and a `System`.

    Arrays are stored *by parts*: real and imaginary parts have a leading axis, ``(parts, ...)``,
    with one part if all numbers are real. Compilers handle real numbers better than complex
    numbers.

    Attributes:
        system: the matrix.
        y: ``y / scale`` by parts, shape ``(parts, m)``, or ``(parts, L, m)`` for ``L`` snapshots.
        scale: a power of two.
        projections: ``A* y`` over the atoms, if it was computed for a whole batch at once.
        enough: the norm of the residual at which a signal stops; None means 0.
    """

    system: System
    y: Float[Array, "parts *snapshots m"]
    scale: Float[Array, ""]
    projections: Inexact[Array, " n"] | None = None
    enough: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        return self.system.shape

    @property
    def atoms(self) -> Any:
        """The columns, scaled to norm 1."""
        return self.system.atoms

    @property
    def unit(self) -> Float[Array, ""]:
        """The unit of signals and temperatures: ``x`` of the user's problem over ``x`` of this."""
        return self.scale / self.system.scale

    @property
    def parts(self) -> int:
        """1 if all numbers are real, and else 2."""
        return len(self.y)

    @property
    def has_snapshots(self) -> bool:
        """Whether there are several snapshots with one support."""
        return self.y.ndim == 3

    def each(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Applies a function of arrays by parts to each snapshot."""
        return jax.vmap(function, 1, 1) if self.has_snapshots else function

    def correlations(
        self, residual: Float[Array, "parts *snapshots m"]
    ) -> Float[Array, "parts *snapshots n"]:
        """``a_j* r`` over columns of norm 1, by parts."""
        return self.each(self.atoms.adjoint_times)(residual)

    def residual(self, x: Float[Array, "parts *snapshots n"]) -> Float[Array, "parts *snapshots m"]:
        """``y - A x`` by parts."""
        return self.y - self.each(self.system.A.times)(x)

    def zeros(self) -> Float[Array, "parts *snapshots n"]:
        """A signal of zeros, by parts."""
        return jnp.zeros((*self.y.shape[:-1], self.shape[1]), self.y.dtype)

    def over_columns(
        self, x: Float[Array, "parts *snapshots n"]
    ) -> Float[Array, "parts *snapshots n"]:
        """Coefficients over the columns of ``A``, from coefficients over columns of norm 1."""
        return times_atoms(self.system.column_scale, x)

    def signal(self, x: Float[Array, "parts *snapshots n"]) -> Inexact[Array, "n *snapshots"]:
        """The signal with these parts, in the shape of an answer."""
        return join(x).T  # It has one axis, or two for snapshots.

    def sizes(self, x: Float[Array, "parts *snapshots n"]) -> Inexact[Array, " n"]:
        """Coefficients as a policy sees them. For several snapshots they are norms."""
        whole = join(x)
        return safe_sqrt(jnp.sum(abs_sq(whole), axis=0)) if self.has_snapshots else whole


class Known(NamedTuple):
    """What a method knows before a choice, as functions, so that only what is used is computed.

    Attributes:
        chosen: a function that returns the mask of atoms chosen so far, shape ``(n,)``, soft or
            0-1.
        coefficients: a function that returns their coefficients, shape ``(n,)``.
    """

    chosen: Callable[[], Any]
    coefficients: Callable[[], Any]


class Answer(NamedTuple):
    """The answer of a method, in the units of its `Problem`.

    Attributes:
        x: the signal, shape ``(n,)``, or ``(n, L)`` for ``L`` snapshots.
        residual: ``y - A x`` by parts, of the shape of ``problem.y``.
        support: indices of atoms, int32.
        num_steps: the number of steps taken.
        stationary: whether the last step did not change ``x``.
    """

    x: Inexact[Array, "n *snapshots"]
    residual: Float[Array, "parts *snapshots m"]
    support: Array
    num_steps: Any
    stationary: Any = False


def system_of(
    A: Any, dtype, *, uses_matrix: bool, uses_columns: bool, uses_gram: bool = False
) -> System:
    """Prepares a checked operator or `Dictionary` for problems of a dtype.

    Args:
        A: an array, an operator, or a `Dictionary`, as `checked_operator` returns it.
        dtype: the dtype of the problems.
        uses_matrix: whether steps multiply by ``A`` itself, which is then brought to unit scale.
        uses_columns: whether steps read columns of norm 1.
        uses_gram: whether steps read the Gram matrix of these columns.
    """
    real = real_dtype(dtype)
    prepared = A if isinstance(A, Dictionary) else None
    operator = (prepared.A if prepared else as_operator(A)).astype(real)
    scale = jnp.ones((), real)
    if isinstance(operator, Dense) and uses_matrix:
        scale = power_of_two(operator.parts)
        operator = Dense(operator.parts / scale)
    if not uses_columns:
        return System(operator, scale)
    if prepared:
        atoms, column_scale = prepared.unit.astype(real), prepared.column_scale * scale
    else:
        atoms, column_scale = unit_columns(operator)
        atoms = atoms.astype(real)
    gram, one_by_one = None, None
    if uses_gram:
        atoms = in_memory(atoms)
        one_by_one = atoms.parts.mT if isinstance(atoms, Dense) else None
        gram = prepared.gram if prepared else None
        gram = gram_of(atoms) if gram is None or gram.dtype != dtype else gram
        gram = gram.astype(dtype)
    return System(operator, scale, atoms, column_scale.astype(real), gram, one_by_one)


def problem_of(
    system: System,
    y: Inexact[Array, "m *snapshots"],
    projections=None,
    tolerance: Tolerance = EXACT,
) -> Problem:
    """The problem of one signal, or of several snapshots."""
    scale = power_of_two(y)
    parts = split(in_units(y.T, scale))
    enough, (rtol, atol) = None, tolerance
    if rtol is not None:
        enough = rtol.astype(parts.dtype) * norm(parts)
    if atol is not None:
        enough = jnp.maximum(atol.astype(parts.dtype) / scale, 0 if enough is None else enough)
    return Problem(system, parts, scale, projections, enough)


def checked_operator(A: Any, *, uses_columns: bool) -> Any:
    """Checks ``A`` and returns an array, an operator or a `Dictionary` for jitted functions.

    Raises:
        ValueError: columns are used, and the operator does not know their norms.
    """
    A = checked_matrix(A)
    if uses_columns and isinstance(A, Products) and not A.has_norms:
        raise ValueError(
            "A: expected an operator with column_norms, as this solver scales columns to norm 1, "
            "got one without; give them to greedyjax.operators.MatrixFree, or prepare the operator "
            "once: greedyjax.dictionary(A)"
        )
    return A


def checked_measurements(
    name: str, y: Any, A: Any, *, ndim: int, snapshots: bool = False
) -> Inexact[Array, "..."]:
    """The checked measurements in the dtype of the answer: ``y``, or one signal per row.

    Snapshots are columns.
    """
    (m, n), shape = A.shape, _checks.as_array(name, y).shape
    if snapshots:
        lead = "(num, " if ndim == 2 else "("
        if len(shape) != ndim + 1 or shape[-2] != m or shape[-1] == 0:
            expected = f"shape {lead}{m}, L), as the structure has L snapshots, one per column"
            _checks.fail(ValueError, name, expected, f"shape {shape}")
        y = _checks.inexact(name, y, ndim=ndim + 1)
        return y.astype(promoted(operator_dtype(A), y.dtype))
    if ndim == 1 and len(shape) == 2:
        way = (
            "for many signals, one per row, use omp_batch, recover_batch or another batch function"
        )
        if shape == (m, 1):
            way = f"one column: {name}[:, 0]"
        _checks.fail(ValueError, name, "an array with 1 axes", f"shape {shape}; {way}")
    if ndim == 2 and len(shape) == 1:
        way = f"for one signal, use omp, recover or another function without batch, or {name}[None]"
        _checks.fail(ValueError, name, "an array with 2 axes", f"shape {shape}; {way}")
    y = _checks.inexact(name, y, ndim=ndim)
    if shape[-1] != m:
        expected = f"shape (num, {m})" if ndim == 2 else f"shape {(m,)}"
        way = _checks.turned(shape, m)
        if shape[-1] == n:
            way = (
                f"; that would fit the transpose of A, which has shape {(m, n)}: atoms are columns"
            )
        _checks.fail(ValueError, name, expected, f"shape {shape}{way}")
    return y.astype(promoted(operator_dtype(A), y.dtype))
