"""Array aliases, the operator protocol, and the result types of solvers."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Inexact, Int, Real

from greedyjax import _checks
from greedyjax._packed import PackedCodes, packed
from greedyjax._precision import as_given, widened

Scalar: TypeAlias = Real[ArrayLike, ""]

static = partial(dataclasses.field, metadata={"static": True})
"""A dataclass field that determines shapes or code. It is static, and compares by value."""

Named = TypeVar("Named", bound=type)


def exportable(kind: Named) -> Named:
    """Registers a NamedTuple, so that serialised `jax.export` programs can take and return it."""
    export.register_namedtuple_serialization(kind, serialized_name=f"greedyjax.{kind.__name__}")
    return kind


@runtime_checkable
class Operator(Protocol):
    """A linear map given by its products; a matrix-free stand-in for a matrix ``A``."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        ...

    def matvec(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        """Returns ``A x``."""
        ...

    def rmatvec(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        """Returns ``A* y``, with the conjugate transpose of ``A``."""
        ...


@runtime_checkable
class Sparse(Protocol):
    """A sparse matrix of SciPy or JAX."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(m, n)``."""
        ...

    def todense(self) -> Any:
        """The matrix with its zeros."""
        ...


Matrix: TypeAlias = Inexact[ArrayLike, "m n"] | Operator | Sparse


@exportable
class Recovery(NamedTuple):
    """The result of a solver for one signal; under ``jax.vmap`` every field has a batch axis.

    Attributes:
        x: the recovered signal, shape ``(n,)``, or ``(n, L)`` for ``L`` snapshots, in the promoted
            dtype of ``A`` and ``y``.
        support: indices of the atoms, shape ``(sparsity,)``, int32. The OMP family lists them in
            the order in which they were chosen, the IHT family by falling score. Hard solvers mark
            an unused place with -1; soft solvers give the index of the largest entry of each soft
            row.
        residual_norm: ``||y - A x||_2``, in the units of ``y``.
        num_steps: the number of steps taken, int32.
        status: why the solver stopped, int32: `RESIDUAL_REACHED`, `STATIONARY` or `STEPS_USED`.
    """

    x: Inexact[Array, "n *snapshots"]
    support: Int[Array, " sparsity"]
    residual_norm: Float[Array, ""]
    num_steps: Int[Array, ""]
    status: Int[Array, ""]

    STEPS_USED = 0
    """The solver used all steps, and neither of the next two is true: more steps may help."""
    RESIDUAL_REACHED = 1
    """``residual_norm`` is at most ``max(rtol * ||y||, atol)``, or at most rounding,
    ``100 eps ||y||``, or at most ``10 sqrt(eps) ||y||`` when the last step did not change ``x``."""
    STATIONARY = 2
    """The last step changed ``x`` by at most ``sqrt(eps) * ||x||``, and the residual is larger than
    for `RESIDUAL_REACHED`. Only noise is left, or the solver is stuck. More steps change
    nothing."""

    @property
    def converged(self) -> Bool[Array, "*batch"]:
        """Whether the measurements are explained: ``status == RESIDUAL_REACHED``."""
        return self.status == self.RESIDUAL_REACHED

    @property
    def stationary(self) -> Bool[Array, "*batch"]:
        """Whether the solver stopped making progress: ``status == STATIONARY``."""
        return self.status == self.STATIONARY


@exportable
class Codes(NamedTuple):
    """The result of `greedyjax.encode`: a `Recovery` of many signals that stores no zeros.

    It is a NamedTuple, so ``len(codes)`` is the number of its fields. The number of signals is
    ``len(codes.support)``.

    Attributes:
        coefficients: ``x`` at the atoms of ``support``, shape ``(num, sparsity)``, or
            ``(num, sparsity, L)`` for ``L`` snapshots; 0 in unused places.
        support: as in `Recovery`, shape ``(num, sparsity)``; -1 in unused places.
        residual_norm: as in `Recovery`, shape ``(num,)``, as are the fields below.
        num_steps: as in `Recovery`; -1 for a signal that contains NaN or infinity.
        status: as in `Recovery`, or `BAD`.
    """

    coefficients: Inexact[Array, "num sparsity *snapshots"]
    support: Int[Array, "num sparsity"]
    residual_norm: Float[Array, " num"]
    num_steps: Int[Array, " num"]
    status: Int[Array, " num"]

    BAD = -1
    """The signal contains NaN or infinity, so it was not recovered."""

    @property
    def bad(self) -> Int[np.ndarray, " num_bad"]:
        """The indices of the signals whose status is `BAD`, as a NumPy array."""
        return np.flatnonzero(np.asarray(self.status) == self.BAD)

    @property
    def converged(self) -> Bool[Array, " num"]:
        """As in `Recovery`."""
        return self.status == Recovery.RESIDUAL_REACHED

    @property
    def stationary(self) -> Bool[Array, " num"]:
        """As in `Recovery`."""
        return self.status == Recovery.STATIONARY

    def dense(self, num_atoms: int) -> Inexact[Array, "num n *snapshots"]:
        """``x`` with its zeros, shape ``(num, n)`` for ``n = num_atoms``.

        Raises:
            ValueError: ``num_atoms`` is too small for an atom of the support.
        """
        if not isinstance(self.support, Tracer) and num_atoms <= self.support.max():
            last = int(self.support.max())
            raise ValueError(f"num_atoms: expected more than {last}, an atom, got {num_atoms}")

        def one(coefficients, support):
            x = jnp.zeros((num_atoms, *coefficients.shape[1:]), coefficients.dtype)
            # Unused slots get an index past the end, and are dropped.
            places = jnp.where(support < 0, num_atoms, support)
            return x.at[places].set(coefficients, mode="drop")

        return jax.vmap(one)(self.coefficients, self.support)

    def measurements(
        self, A: Inexact[ArrayLike, "m n"]
    ) -> Inexact[Array, "num m"] | Inexact[Array, "num m snapshots"]:
        """``A x`` of every signal, summed over its atoms, without forming ``x``.

        Args:
            A: the dictionary, shape ``(m, n)``.

        Returns:
            Shape ``(num, m)``, or ``(num, m, L)`` for snapshots, in the promoted dtype of ``A`` and
            the coefficients.

        Raises:
            TypeError: ``A`` is not an array of floating-point or complex numbers.
            ValueError: ``A`` has too few columns for an atom of the support, or holds NaN or
                infinity.

        Example:
            >>> import greedyjax as gj, jax.numpy as jnp
            >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
            >>> Y = jnp.array([[0.0, 2.0], [3.0, 4.0]])
            >>> codes = gj.encode(gj.pursuit.OMP(sparsity=1), A, Y)
            >>> codes.measurements(A).round(3).tolist()
            [[0.0, 2.0], [3.0, 4.0]]
        """
        given = _checks.numbers("A", A, ndim=2)
        if not isinstance(self.support, Tracer):
            last = int(np.asarray(self.support).max(initial=-1))
            if last >= given.shape[1]:
                expected = f"at least {last + 1} columns, as the support has atom {last}"
                _checks.fail(ValueError, "A", expected, f"shape {given.shape}")
        products = sum_of_atoms(widened(self.coefficients), self.support, widened(given).T)
        return as_given(products, given, self.coefficients)

    def packed(
        self, num_atoms: int, *, coefficient_bits: int | None = 8, index_bits: int = 16
    ) -> PackedCodes:
        """The atoms and coefficients in fewer bytes, on the host, without the other fields.

        Unused places are not stored. With 8-bit coefficients and 16-bit indices, an atom takes 3
        bytes, compared with 8 bytes in `Codes` of float32. Each signal takes 12 bytes more.

        Args:
            num_atoms: ``n``, the number of columns of the dictionary.
            coefficient_bits: 8 rounds the coefficients of a signal to multiples of a 127th of the
                largest magnitude; None does not round.
            index_bits: 16, or 32 for more than 65,536 atoms.

        Returns:
            A `greedyjax.PackedCodes`.

        Raises:
            TypeError: the arrays are traced.
            ValueError: there are more atoms than ``index_bits`` can index; an atom is not below
                ``num_atoms``; a number of bits is not supported; or a coefficient is NaN or
                infinity.

        Example:
            >>> import greedyjax as gj, numpy as np
            >>> from greedyjax.pursuit import OMP
            >>> A = np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32)
            >>> Y = np.stack([A[:, 3], A[:, 4] - A[:, 9]] * 500)
            >>> codes = gj.encode(OMP(2, rtol=1e-3), A, Y)
            >>> packed = codes.packed(50)
            >>> packed
            PackedCodes(1,000 signals of 50 atoms, 1,500 coefficients, 16,508 bytes)
            >>> bool(np.abs(packed.measurements(A) - Y).max() < 0.02)
            True
        """
        return packed(self, num_atoms, coefficient_bits, index_bits)


@jax.jit
def sum_of_atoms(coefficients: Array, support: Array, atoms: Array) -> Array:
    """``sum_i c_i a_i`` of each signal, added place by place, so that memory is ``num m``."""
    num, k, *snapshots = coefficients.shape
    values = coefficients.reshape(num, k, math.prod(snapshots))
    values = jnp.where(support[..., None] >= 0, values, 0)

    def add(total, place):
        c, atom = place
        return total + c[:, None, :] * atoms[atom][:, :, None], None

    shape, dtype = (num, atoms.shape[1], values.shape[2]), jnp.result_type(values, atoms)
    total, _ = lax.scan(add, jnp.zeros(shape, dtype), (jnp.moveaxis(values, 1, 0), support.T))
    return total.reshape(num, atoms.shape[1], *snapshots)


Solver: TypeAlias = Callable[..., Recovery]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class ByIdentity:
    """An object of a type unknown to JAX, as a static part of a pytree.

    It equals only itself. So a function that was compiled for it is not compiled again as long as
    the same object is passed. It has the attributes of the object, and calls the object.
    """

    value: Any

    @classmethod
    def unless_pytree(cls, value: Any) -> Any:
        """The value itself if its type is a pytree, so that its arrays can be traced."""
        return cls(value) if jax.tree_util.all_leaves([value]) else value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)

    def __getattr__(self, name: str) -> Any:
        if name == "value" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.value, name)

    def __call__(self, *args: Any) -> Any:
        """Calls the object."""
        return self.value(*args)
