"""Networks made from the solvers of this library."""

from typing import Any, TypeVar

import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from greedyjax import _checks
from greedyjax._numerics import power_of_two, real_dtype
from greedyjax._types import Matrix
from greedyjax.linalg.checked import as_operator, operator_dtype
from greedyjax.linalg.norms import step_size_of
from greedyjax.linalg.operators import Dense
from greedyjax.nets._parts import Atoms, StepSize
from greedyjax.nets._unrolled import Unrolled
from greedyjax.pursuit import HTP, IHT, NIHT, OMP, CoSaMP, LeastSquares, Method, SubspacePursuit
from greedyjax.sorting import SoftSort
from greedyjax.structures import Plain, Structure

Own = TypeVar("Own", bound="_Stepping")  # As in `_unrolled`.


class OMPNet(Unrolled):
    """Soft-OMP unrolled into ``sparsity`` layers, with trainable weights.

    Args:
        A: matrix, shape ``(m, n)``, an operator, or `Atoms`, as in `Unrolled`.
        sparsity: number of layers, static, between 1 and ``min(m, n)``.
        weights: `Weights`, an array or a policy, as in `Unrolled`.
        tau: a `Temperature`, or a number > 0 in the units of the measurements. One number for all
            layers, or one per layer.
        relaxation: as in `Unrolled`.
        penalty: ridge penalty of the fits, as in the solvers, real and >= 0, shape ``(n,)``.
        structure: which atoms are chosen together, as in the solvers.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import OMPNet
        >>> net = OMPNet(jnp.eye(3), sparsity=1)
        >>> net(jnp.array([[0.0, 2.0, 0.0]])).shape, net.harden()(jnp.array([0.0, 2.0, 0.0])).shape
        ((1, 3), (3,))

    References:
        Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy unfolding", arXiv 2505.15661.
    """

    def __init__(
        self,
        A: Matrix | Atoms,
        *,
        sparsity: int,
        weights: Any = None,
        tau: Any = 1e-3,
        relaxation: Any = SoftSort,
        penalty: Float[ArrayLike, " n"] | None = None,
        structure: Structure = Plain(),
    ) -> None:
        method = OMP(sparsity, fit=LeastSquares(penalty), structure=structure)
        super().__init__(method, A, weights=weights, tau=tau, relaxation=relaxation)


class _Stepping(Unrolled):
    """A network whose method takes a step size, fixed or learned.

    In the units of ``A`` the step size may be too large or too small for single precision. So the
    step size for ``A / unit`` is stored, whose entries are at most 1.
    """

    def __init__(self, method: HTP | IHT, A, *, weights, tau, relaxation, step_size) -> None:
        super().__init__(method, A, weights=weights, tau=tau, relaxation=relaxation)
        step_size = step_size if isinstance(step_size, StepSize) else StepSize(step_size)
        self.learn_step_size = _checks.flag("step_size.learned", step_size.learned)
        # Marked as data, because flax does not recognise a constant under jit as an array.
        dtype, (operator, scale) = operator_dtype(self.A), _in_units(self.A)
        self.unit = nnx.data(scale)
        if step_size.value is None:
            unit_step = step_size_of(operator, dtype)
        else:
            given = _checks.scalar("step_size", step_size.value, positive=True)
            unit_step = given.astype(self.unit.dtype) * self.unit * self.unit
        if self.learn_step_size:
            self.log_step = nnx.Param(jnp.log(unit_step))
        else:
            self._unit_step = nnx.data(unit_step)

    def rebuild(self: Own, *, A: Matrix | Atoms | None = None, weights: Any = None) -> Own:
        """As in `Unrolled`. The step size stays the same, in the units of the given matrices."""
        net = super().rebuild(A=A, weights=weights)
        if A is None:
            return net
        net.unit = nnx.data(_in_units(net.A)[1].astype(self.unit.dtype))
        ratio = net.unit / self.unit
        if self.learn_step_size:
            net.log_step = nnx.Param(self.log_step[...] + 2 * jnp.log(ratio))
        else:
            net._unit_step = nnx.data(self._unit_step * ratio * ratio)
        return net

    @property
    def unit_step(self) -> Float[Array, ""]:
        """The step size for ``A / unit``."""
        return jnp.exp(self.log_step[...]) if self.learn_step_size else self._unit_step

    @property
    def step_size(self) -> Float[Array, ""]:
        """The step size in the units of the given matrix."""
        return self.unit_step / self.unit / self.unit

    @property
    def method(self) -> Method:
        """The method, with the present step size."""
        method: Any = self._method
        step = self.unit_step
        if self.learn_atoms:  # A solver divides by the power of two of the present matrix.
            ratio = power_of_two(self.A).astype(step.dtype) / self.unit
            step = step * ratio * ratio
        return method.at_unit_scale(step)


def _in_units(A: Any) -> tuple[Any, Float[Array, ""]]:
    """The operator divided by a power of two, and that power.

    Solvers divide a matrix in memory by this power. For other operators it is 1.
    """
    dtype = real_dtype(operator_dtype(A))
    operator = as_operator(getattr(A, "A", A)).astype(dtype)
    if not isinstance(operator, Dense):
        return operator, jnp.ones((), dtype)
    scale = power_of_two(operator.parts)
    return Dense(operator.parts / scale), scale


class IHTNet(_Stepping):
    """Soft-IHT unrolled into ``num_layers`` layers, with trainable weights.

    Args:
        A: matrix, shape ``(m, n)``, an operator, or `Atoms`, as in `Unrolled`.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_layers: number of layers, static, at least 1.
        weights: `Weights`, an array or a policy, as in `Unrolled`.
        tau: a `Temperature`, or a number > 0 in the units of the signals. One number for all
            layers, or one per layer.
        relaxation: as in `Unrolled`. Without ``debias``, a `greedyjax.sorting.Gate` is enough.
        step_size: a `StepSize`, or a number > 0; None means ``1 / ||A||^2`` by power iteration,
            computed once.
        debias: whether the last layer ends with least squares on the kept entries.
        penalty: ridge penalty of that fit, as in the solvers, real and >= 0, shape ``(n,)``.
        structure: which atoms are kept together, as in the solvers.

    Attributes:
        step_size: array, in the units of ``1 / A^2``.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import IHTNet, Weights
        >>> net = IHTNet(jnp.eye(3), sparsity=1, num_layers=5)
        >>> net(jnp.array([[0.0, 2.0, 0.0]])).shape, net.harden()(jnp.array([0.0, 2.0, 0.0])).shape
        ((1, 3), (3,))
        >>> layered = Weights(per_layer=True)
        >>> IHTNet(jnp.eye(3), sparsity=1, num_layers=5, weights=layered).weights.shape
        (5, 3)

    References:
        Mohammad-Taheri, Colbrook and Brugiapaglia, "Deep greedy unfolding", arXiv 2505.15661.
    """

    def __init__(
        self,
        A: Matrix | Atoms,
        *,
        sparsity: int,
        num_layers: int,
        weights: Any = None,
        tau: Any = 1e-3,
        relaxation: Any = SoftSort,
        step_size: Any = None,
        debias: bool = False,
        penalty: Float[ArrayLike, " n"] | None = None,
        structure: Structure = Plain(),
    ) -> None:
        num_layers = _checks.static_int("num_layers", num_layers, minimum=1)
        fit = LeastSquares(penalty)
        method = IHT(sparsity, num_layers, fit=fit, debias=debias, structure=structure)
        super().__init__(
            method, A, weights=weights, tau=tau, relaxation=relaxation, step_size=step_size
        )


class NIHTNet(Unrolled):
    """Soft-NIHT unrolled into ``num_layers`` layers, with trainable weights.

    Like `IHTNet`, but each layer computes its own step size.

    Args:
        A: matrix, shape ``(m, n)``, an operator, or `Atoms`, as in `Unrolled`.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_layers: number of layers, static, at least 1.
        weights: as in `IHTNet`, as are the arguments below.
        tau: the temperature.
        relaxation: what replaces the sort; a `greedyjax.sorting.Gate` is enough.
        structure: which atoms are kept together, as in the solvers.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import NIHTNet
        >>> net = NIHTNet(jnp.eye(3), sparsity=1, num_layers=2)
        >>> net.harden()(jnp.array([0.0, 2.0, 0.0])).tolist()
        [0.0, 2.0, 0.0]
    """

    def __init__(
        self,
        A: Matrix | Atoms,
        *,
        sparsity: int,
        num_layers: int,
        weights: Any = None,
        tau: Any = 1e-3,
        relaxation: Any = SoftSort,
        structure: Structure = Plain(),
    ) -> None:
        num_layers = _checks.static_int("num_layers", num_layers, minimum=1)
        method = NIHT(sparsity, num_layers, structure=structure)
        super().__init__(method, A, weights=weights, tau=tau, relaxation=relaxation)


class HTPNet(_Stepping):
    """Soft-HTP unrolled into ``num_layers`` layers, with trainable weights.

    Like `IHTNet`, but every layer ends with least squares. So a few layers are enough.

    Args:
        A: matrix, shape ``(m, n)``, an operator, or `Atoms`, as in `Unrolled`.
        sparsity: number of entries kept, static, between 1 and ``n``.
        num_layers: number of layers, static, at least 1.
        weights: as in `IHTNet`, as are the arguments below.
        tau: the temperature.
        relaxation: what replaces the sort.
        step_size: the step size.
        penalty: ridge penalty of the least squares.
        structure: which atoms are chosen together, as in the solvers.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import HTPNet
        >>> net = HTPNet(jnp.eye(3), sparsity=1, num_layers=2)
        >>> net.harden()(jnp.array([0.0, 2.0, 0.0])).tolist()
        [0.0, 2.0, 0.0]
    """

    def __init__(
        self,
        A: Matrix | Atoms,
        *,
        sparsity: int,
        num_layers: int,
        weights: Any = None,
        tau: Any = 1e-3,
        relaxation: Any = SoftSort,
        step_size: Any = None,
        penalty: Float[ArrayLike, " n"] | None = None,
        structure: Structure = Plain(),
    ) -> None:
        num_layers = _checks.static_int("num_layers", num_layers, minimum=1)
        method = HTP(sparsity, num_layers, fit=LeastSquares(penalty), structure=structure)
        super().__init__(
            method, A, weights=weights, tau=tau, relaxation=relaxation, step_size=step_size
        )


class SubspacePursuitNet(Unrolled):
    """Soft subspace pursuit unrolled into ``num_layers`` layers, with trainable weights.

    A layer adds ``sparsity`` candidates to the kept atoms, and keeps the best ``sparsity`` of all.
    Weights enter both choices.

    Args:
        A: matrix, shape ``(m, n)``, an operator, or `Atoms`, as in `Unrolled`.
        sparsity: number of atoms of a signal, static, between 1 and ``min(m, n)``.
        num_layers: number of layers, static, at least 1.
        weights: as in `OMPNet`, as are the arguments below.
        tau: the temperature.
        relaxation: what replaces the sort.
        penalty: ridge penalty of the least squares.
        structure: which atoms are chosen together, as in the solvers.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import SubspacePursuitNet
        >>> net = SubspacePursuitNet(jnp.eye(3), sparsity=1, num_layers=2)
        >>> net.harden()(jnp.array([0.0, 2.0, 0.0])).tolist()
        [0.0, 2.0, 0.0]
    """

    def __init__(
        self,
        A: Matrix | Atoms,
        *,
        sparsity: int,
        num_layers: int,
        weights: Any = None,
        tau: Any = 1e-3,
        relaxation: Any = SoftSort,
        penalty: Float[ArrayLike, " n"] | None = None,
        structure: Structure = Plain(),
    ) -> None:
        num_layers = _checks.static_int("num_layers", num_layers, minimum=1)
        method = SubspacePursuit(sparsity, num_layers, LeastSquares(penalty), structure)
        super().__init__(method, A, weights=weights, tau=tau, relaxation=relaxation)


class CoSaMPNet(Unrolled):
    """Soft-CoSaMP unrolled into ``num_layers`` layers, with trainable weights.

    A layer adds ``2 sparsity`` candidates to the kept atoms, and keeps the best ``sparsity`` of
    all. Weights enter both choices.

    Args:
        A: matrix, shape ``(m, n)``, an operator, or `Atoms`, as in `Unrolled`.
        sparsity: number of atoms of a signal, static, between 1 and ``min(m, n)``.
        num_layers: number of layers, static, at least 1.
        weights: as in `OMPNet`.
        tau: the temperature, as in `OMPNet`.
        relaxation: what replaces the sort.
        debias: whether the last layer ends with least squares on the kept atoms.
        penalty: ridge penalty of the least squares.
        structure: which atoms are chosen together, as in the solvers.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.nets import CoSaMPNet
        >>> net = CoSaMPNet(jnp.eye(3), sparsity=1, num_layers=2)
        >>> net.harden()(jnp.array([0.0, 2.0, 0.0])).tolist()
        [0.0, 2.0, 0.0]
    """

    def __init__(
        self,
        A: Matrix | Atoms,
        *,
        sparsity: int,
        num_layers: int,
        weights: Any = None,
        tau: Any = 1e-3,
        relaxation: Any = SoftSort,
        debias: bool = False,
        penalty: Float[ArrayLike, " n"] | None = None,
        structure: Structure = Plain(),
    ) -> None:
        num_layers = _checks.static_int("num_layers", num_layers, minimum=1)
        method = CoSaMP(sparsity, num_layers, LeastSquares(penalty), structure, debias)
        super().__init__(method, A, weights=weights, tau=tau, relaxation=relaxation)
