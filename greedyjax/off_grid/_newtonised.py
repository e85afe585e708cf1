"""Newtonised orthogonal matching pursuit: the public functions, and the checks of arguments."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact, Int

from greedyjax import _checks
from greedyjax._foreign import names_foreign_arguments
from greedyjax._numerics import real_dtype
from greedyjax._precision import as_given, computing_dtype
from greedyjax._types import ByIdentity, Scalar, exportable, static
from greedyjax.off_grid._false_alarm import checked_rate, checked_variance
from greedyjax.off_grid._pursuit import Settings, pursued
from greedyjax.pursuit import batch_that_fits
from greedyjax.structures import Plain, SharedSupport, Structure


@exportable
class Paths(NamedTuple):
    """The paths of one signal. For a batch every field has a leading axis.

    Attributes:
        parameters: the parameters of each path, in the order in which the paths were found, shape
            ``(sparsity,)`` or ``(sparsity, d)``, as in the grid; zeros in unused places.
        coefficients: the coefficients of the paths, shape ``(sparsity,)``, or ``(sparsity, L)`` for
            ``L`` snapshots; zeros in unused places.
        count: the number of paths found, int32. Paths come before unused places.
        fitted: ``sum_k coefficients_k atom(parameters_k)``, the shape of ``y``.
        residual_norm: ``||y - fitted||``, over all snapshots, in the units of ``y``.
    """

    parameters: Float[Array, "sparsity *d"]
    coefficients: Inexact[Array, "sparsity *snapshots"]
    count: Int[Array, ""]
    fitted: Inexact[Array, "m *snapshots"]
    residual_norm: Float[Array, ""]


@names_foreign_arguments
def newtonised_omp(
    atom: Callable[..., Inexact[Array, " m"]],
    grid: Float[ArrayLike, "n *d"],
    y: Inexact[ArrayLike, "m *snapshots"],
    *,
    sparsity: int,
    false_alarm: Scalar | None = None,
    noise_variance: Scalar | None = None,
    structure: Structure = Plain(),
    num_newton: int = 1,
    num_cycles: int = 3,
) -> Paths:
    """Newtonised OMP: OMP over atoms with continuous parameters, not only the atoms of a grid.

    Each round chooses the atom of the grid with the largest correlation, ``|a* r| / ||a||``. It
    improves the parameters by Newton's method, to the maximum of ``|a* r|^2 / ||a||^2``. Then it
    refines all paths in turn, ``num_cycles`` times, and fits all coefficients together. A path is
    refined on ``y`` minus all other paths. A step of Newton's method is taken only where
    ``|a* r|^2 / ||a||^2`` is concave, and only if the step lowers the residual. In the paper the
    step holds the coefficient fixed. Here the coefficient follows the atom, so that a common phase
    of all antennas has no effect.

    With ``false_alarm`` the number of paths is found too. A path counts only if its energy is above
    a threshold, which the largest peak of white Gaussian noise exceeds with this probability. So in
    a signal of noise alone, a path is found with about this probability. Without
    ``noise_variance`` the noise is estimated from the residual. Paths that have not been found yet
    then count as noise, and many equal paths may hide each other. In the grid, neighbouring points
    should be next to each other, because the length of the curve through the atoms gives the number
    of independent atoms. If noise is not white, whiten ``y`` and the atoms.

    Args:
        atom: function from the parameters of one atom to the atom, shape ``(m,)``, such as
            `greedyjax.operators.Steering.atom`. The parameters are a scalar or have shape ``(d,)``,
            as in the grid. JAX must be able to differentiate the function twice. A function that is
            not a pytree is compared by identity: define it once, outside of loops.
        grid: real, shape ``(n,)``, or ``(n, d)`` for atoms of several parameters. It must be so
            fine that one step of Newton's method from a neighbour leads to the peak. Four points in
            each width of a peak are enough.
        y: measurements, shape ``(m,)``; ``(m, L)`` with `greedyjax.structures.SharedSupport`.
        sparsity: largest number of paths, static, between 1 and ``m``.
        false_alarm: the probability of a path in noise alone, at most 1/2; traced. None means
            ``sparsity`` paths, or fewer if only rounding is left.
        noise_variance: ``E |e_i|^2`` of each measurement, if it is known; traced.
        structure: `greedyjax.structures.Plain`, or `greedyjax.structures.SharedSupport` for
            snapshots whose paths have the same parameters.
        num_newton: Newton steps in each refinement, static.
        num_cycles: number of times that a round refines all paths, static; with 0 a path is refined
            only when it is found.

    Returns:
        A `Paths`. ``coefficients`` and ``fitted`` are differentiable in ``y``, and in the arrays of
        an ``atom`` that is a pytree. Derivatives treat the found parameters as constants.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = gj.operators.Steering(antennas=16, directions=64)
        >>> y = 3 * A.atom(jnp.array([0.123])) + 2 * A.atom(jnp.array([-0.311]))
        >>> found = gj.off_grid.newtonised_omp(A.atom, A.frequencies, y, sparsity=2)
        >>> found.parameters[:, 0].round(4).tolist(), jnp.abs(found.coefficients).tolist()
        ([0.123, -0.311], [3.0, 2.0])

    References:
        Mamandipoor, Ramasamy and Madhow, "Newtonized orthogonal matching pursuit: frequency
        estimation over the continuum", IEEE Transactions on Signal Processing 64 (2016). The
        coefficients are eliminated from the energy as in Golub and Pereyra, "The differentiation of
        pseudo-inverses and nonlinear least squares problems whose variables separate", SIAM Journal
        on Numerical Analysis 10 (1973).
    """
    found, given = _found(
        atom, grid, y, ("y", 1), sparsity, false_alarm, noise_variance, structure,
        num_newton, num_cycles, 1,
    )  # fmt: skip
    return as_given(jax.tree.map(lambda leaf: leaf[0], found), *given)


@names_foreign_arguments
def newtonised_omp_batch(
    atom: Callable[..., Inexact[Array, " m"]],
    grid: Float[ArrayLike, "n *d"],
    Y: Inexact[ArrayLike, "num m *snapshots"],
    *,
    sparsity: int,
    false_alarm: Scalar | None = None,
    noise_variance: Float[ArrayLike, "*num"] | None = None,
    structure: Structure = Plain(),
    num_newton: int = 1,
    num_cycles: int = 3,
    batch_size: int | None = None,
) -> Paths:
    """`newtonised_omp` for many signals, or for many frames of snapshots.

    Signals are solved in blocks, so that memory is limited. A block takes as many rounds as its
    signal with the most paths. `greedyjax.streaming.recover` uses all processors of a CPU.

    Args:
        atom: function of the parameters of one atom, as in `newtonised_omp`.
        grid: parameters of the candidates, as in `newtonised_omp`.
        Y: measurements, one signal per row, shape ``(num, m)``; ``(num, m, L)`` with
            `greedyjax.structures.SharedSupport`.
        sparsity: largest number of paths of one signal, static, between 1 and ``m``.
        false_alarm: the probability of a path in noise alone, as in `newtonised_omp`.
        noise_variance: the variance of the noise, if it is known, one number, or one per signal in
            shape ``(num,)``; traced.
        structure: whether there are snapshots, as in `newtonised_omp`.
        num_newton: Newton steps in each refinement, static.
        num_cycles: how often a round refines all paths, static.
        batch_size: number of signals in a block, static; None means that the library chooses.

    Returns:
        A `Paths` whose fields have a leading axis of ``num``.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = gj.operators.Steering(antennas=16, directions=64)
        >>> Y = jnp.stack([2 * A.atom(jnp.array([0.1])), 0 * A.atom(jnp.array([0.2]))])
        >>> found = gj.off_grid.newtonised_omp_batch(A.atom, A.frequencies, Y, sparsity=3)
        >>> found.count.tolist(), float(found.parameters[0, 0, 0])
        ([1, 0], 0.1)

    References:
        As for `newtonised_omp`.
    """
    found, given = _found(
        atom, grid, Y, ("Y", 2), sparsity, false_alarm, noise_variance, structure,
        num_newton, num_cycles, batch_size,
    )  # fmt: skip
    return as_given(found, *given)


def _found(
    atom, grid, Y, place, sparsity, false_alarm, noise_variance, structure,
    num_newton, num_cycles, batch_size,
) -> tuple[Paths, tuple]:  # fmt: skip
    """Checks the arguments and finds the paths of a batch.

    Returns:
        The paths, and the arrays that determine their dtype.
    """
    (name, ndim), has_snapshots = place, _has_snapshots(structure)
    signals = _measurements(name, Y, ndim, has_snapshots)
    rows = signals if ndim == 2 else signals[None]
    rows = rows.swapaxes(1, 2) if has_snapshots else rows[:, None]
    num, L, m = rows.shape

    settings = Settings(
        sparsity=_checks.static_int("sparsity", sparsity, minimum=1, maximum=m),
        num_newton=_checks.static_int("num_newton", num_newton, minimum=0),
        num_cycles=_checks.static_int("num_cycles", num_cycles, minimum=0),
        batch_size=1,
    )
    points, given = _grid(grid), jnp.asarray(grid)
    function = _function(atom)
    returned = _returned(function, given, m)
    dtype = computing_dtype(jnp.result_type(returned.dtype, rows.dtype))
    points = points.astype(real_dtype(dtype))

    if false_alarm is not None:
        false_alarm = checked_rate(false_alarm)
    if noise_variance is not None:
        if false_alarm is None:
            expected = "a probability, as there is a noise_variance"
            _checks.fail(TypeError, "false_alarm", expected, "None")
        noise_variance = checked_variance(noise_variance, num if ndim == 2 else None)
        # One number per signal, on the device of the signal.
        noise_variance = noise_variance + jnp.zeros_like(rows[:, 0, 0].real)

    if batch_size is None:
        # Blocks are four times smaller than memory allows. In a small block, fewer rounds are run
        # for the sake of a few signals.
        kept = (2 * points.shape[0] + 8 * m) * L + 4 * m * settings.sparsity
        batch_size = batch_that_fits(4 * kept, dtype)
    size = _checks.static_int("batch_size", batch_size, minimum=1)
    settings = dataclasses.replace(settings, batch_size=size)
    flat = points.reshape(len(points), -1)
    found = pursued(
        _Flat(function, points.shape[1:]), flat, rows.astype(dtype), noise_variance, false_alarm,
        settings,
    )  # fmt: skip

    parameters = found.thetas.reshape(*found.thetas.shape[:2], *points.shape[1:])
    coefficients, fitted = found.coefficients, found.fitted
    if has_snapshots:
        fitted = fitted.swapaxes(1, 2)
    else:
        coefficients, fitted = coefficients[..., 0], fitted[:, 0]
    paths = Paths(parameters, coefficients, found.count, fitted, found.residual_norm)
    return paths, (returned, jnp.asarray(Y))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Flat:
    """The function of atoms, wrapped so that it takes parameters of shape ``(d,)``."""

    function: Any
    shape: tuple[int, ...] = static()

    def __call__(self, theta: Float[Array, " d"]) -> Inexact[Array, " m"]:
        return self.function(theta.reshape(self.shape))


def _has_snapshots(structure: Any) -> bool:
    """Whether there are snapshots, from a structure that is `Plain` or `SharedSupport`."""
    _checks.instance("structure", structure, Structure, "greedyjax.structures.Structure")
    inner = structure.inner if isinstance(structure, SharedSupport) else structure
    if not isinstance(inner, Plain):
        expected = "Plain() or SharedSupport(), as only atoms of a grid can be chosen in groups"
        _checks.fail(TypeError, "structure", expected, repr(structure)[:60])
    return structure.snapshots


def _measurements(name: str, given: Any, ndim: int, snapshots: bool) -> Array:
    """The checked measurements: signals in rows, or frames with one snapshot per column."""
    shape = _checks.as_array(name, given).shape
    if len(shape) != ndim + snapshots:
        form = ", ".join(("num", "m", "L")[2 - ndim : 2 + snapshots])
        form += "," if form == "m" else ""
        way = ""
        if len(shape) > ndim and not snapshots:
            way = (
                "; snapshots of the same paths need structure=greedyjax.structures.SharedSupport()"
            )
            if ndim == 1:
                way += ", and many signals newtonised_omp_batch"
        _checks.fail(ValueError, name, f"shape ({form})", f"shape {shape}{way}")
    if 0 in shape[ndim - 1 :]:
        _checks.fail(ValueError, name, "at least one number in each signal", f"shape {shape}")
    return _checks.inexact(name, given, ndim=ndim + snapshots)


def _grid(grid: Any) -> Array:
    """The checked parameters of the candidates, one candidate per row."""
    shape = _checks.as_array("grid", grid).shape
    if len(shape) not in (1, 2) or 0 in shape:
        _checks.fail(ValueError, "grid", "shape (n,) or (n, d) of parameters", f"shape {shape}")
    return _checks.real("grid", grid, ndim=len(shape))


def _function(atom: Any) -> Any:
    """The function as a pytree. A method of a pytree becomes a function with the pytree traced."""
    _checks.function("atom", atom)
    if inspect.ismethod(atom) and not jax.tree_util.all_leaves([atom.__self__]):
        return jax.tree_util.Partial(atom.__func__, atom.__self__)
    return ByIdentity.unless_pytree(atom)


def _returned(function: Any, grid: Array, m: int) -> jax.ShapeDtypeStruct:
    """The shape and dtype of an atom, after a check that they fit the measurements."""
    leaves, tree = jax.tree.flatten(function)
    theta = jax.ShapeDtypeStruct(grid.shape[1:], grid.dtype)
    forms = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    expected = f"a function that returns shape ({m},), as the measurements have, for parameters"
    expected += f" of shape {theta.shape}"
    returned = _traced(tree, forms, theta)
    if not isinstance(returned, jax.ShapeDtypeStruct):
        _checks.fail(TypeError, "atom", expected, f"one that returns {type(returned).__name__}")
    if not jnp.issubdtype(returned.dtype, jnp.inexact):
        _checks.fail(TypeError, "atom", expected, f"one that returns dtype {returned.dtype}")
    if returned.shape != (m,):
        _checks.fail(ValueError, "atom", expected, f"one that returns shape {returned.shape}")
    return returned


@lru_cache(maxsize=64)
def _traced(tree: Any, forms: tuple, theta: jax.ShapeDtypeStruct) -> Any:
    """The result of a function of atoms, traced once for each form of leaves and parameters."""
    leaves = [jax.ShapeDtypeStruct(*form) for form in forms]
    return jax.eval_shape(lambda leaves, theta: tree.unflatten(leaves)(theta), leaves, theta)
