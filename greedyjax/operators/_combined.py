"""Operators made of others: products, stacks and sums."""

import dataclasses
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import eps, power_of_two, promoted, safe_sqrt
from greedyjax.linalg.checked import as_operator
from greedyjax.operators._ready import Ready, registered


class _Combined(Ready):
    """What all combined operators share: checked parts, and the promoted dtype of the parts."""

    operators: Any

    @property
    def dtype(self) -> jnp.dtype:
        """The promoted dtype of the parts."""
        return promoted(*(each.dtype for each in self.operators))

    def _norms(self) -> list[Array]:
        """The column norms of each part, all in the least precise of their dtypes."""
        norms = [jnp.asarray(each.column_norms) for each in self.operators]
        least = max((each.dtype for each in norms), key=eps)
        return [each.astype(least) for each in norms]


class _Stacked(_Combined):
    """What the two stacks share: their column norms are known if those of all parts are."""

    @property
    def has_norms(self) -> bool:
        """Whether the column norms of all parts are known."""
        return all(each.has_norms for each in self.operators)


@registered
@dataclasses.dataclass(frozen=True)
class Product(_Combined):
    """The product ``A = A_1 A_2 ... A_k``, where ``A_k`` is applied first.

    The norms of its columns are not known; `greedyjax.dictionary` computes them.

    Attributes:
        operators: matrices or operators in any form that solvers take, each with as many columns
            as the next one has rows. Their arrays are traced and differentiated.

    Raises:
        TypeError: ``operators`` is not a list or tuple, or a part is neither a matrix nor an
            operator.
        ValueError: ``operators`` is empty, or shapes do not fit together.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> gain = jnp.diag(jnp.array([1.0, 2.0, 3.0, 4.0]))
        >>> A = gj.dictionary(gj.operators.Product([gain, gj.operators.DCT(4)]))
        >>> gj.omp(A, jnp.array([1.0, 2.0, 3.0, 4.0]), sparsity=1).support.tolist()
        [0]
    """

    operators: Any

    def __post_init__(self) -> None:
        parts = _checked(self.operators)
        for i, (left, right) in enumerate(zip(parts, parts[1:], strict=False)):
            _same(i + 1, "rows", right.shape[0], left.shape[1], f"operators[{i}] has columns")
        self._set(operators=parts)

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``: the rows of the first part and the columns of the last part."""
        return self.operators[0].shape[0], self.operators[-1].shape[1]

    def _times(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        return reduce(lambda z, A: A.matvec(z), reversed(self.operators), x)

    def _adjoint_times(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        return reduce(lambda z, A: A.rmatvec(z), self.operators, y)


@registered
@dataclasses.dataclass(frozen=True)
class Sum(_Combined):
    """``A = A_1 + A_2 + ... + A_k``.

    The norms of its columns are not known; `greedyjax.dictionary` computes them.

    Attributes:
        operators: matrices or operators in any form that solvers take, all of the same shape.
            Their arrays are traced and differentiated.

    Raises:
        TypeError: ``operators`` is not a list or tuple, or a part is neither a matrix nor an
            operator.
        ValueError: ``operators`` is empty, or shapes differ.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = gj.operators.Sum([jnp.eye(3), jnp.ones((3, 3))])
        >>> A.matvec(jnp.array([1.0, 2.0, 3.0])).tolist()
        [7.0, 8.0, 9.0]
    """

    operators: Any

    def __post_init__(self) -> None:
        parts = _checked(self.operators)
        for i, part in enumerate(parts):
            if part.shape != parts[0].shape:
                expected = f"shape {parts[0].shape}, that of operators[0]"
                _checks.fail(ValueError, f"operators[{i}]", expected, f"shape {part.shape}")
        self._set(operators=parts)

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``, the shape of each part."""
        return self.operators[0].shape

    def _times(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        return reduce(jnp.add, [A.matvec(x) for A in self.operators])

    def _adjoint_times(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        return reduce(jnp.add, [A.rmatvec(y) for A in self.operators])


@registered
@dataclasses.dataclass(frozen=True)
class HStack(_Stacked):
    """``A = [A_1, A_2, ..., A_k]``, side by side: several dictionaries in one.

    Attributes:
        operators: matrices or operators in any form that solvers take, all with the same number of
            rows. Their arrays are traced and differentiated.

    Raises:
        TypeError: ``operators`` is not a list or tuple, or a part is neither a matrix nor an
            operator.
        ValueError: ``operators`` is empty, or numbers of rows differ.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = gj.operators.HStack([jnp.eye(8), gj.operators.DCT(8)])
        >>> y = jnp.ones(8).at[2].add(5.0)  # A spike on a constant.
        >>> gj.omp(A, y, sparsity=2).support.tolist()
        [2, 8]

    Source: Donoho and Huo, "Uncertainty principles and ideal atomic decomposition", IEEE
    Transactions on Information Theory 47 (2001).
    """

    operators: Any

    def __post_init__(self) -> None:
        parts = _checked(self.operators)
        for i, part in enumerate(parts):
            _same(i, "rows", part.shape[0], parts[0].shape[0], "operators[0] has")
        self._set(operators=parts)

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``: as many columns as the parts have together."""
        return self.operators[0].shape[0], sum(each.shape[1] for each in self.operators)

    @property
    def column_norms(self) -> Float[Array, " n"] | None:
        """The column norms of the parts, or None if a part does not know its own."""
        if not self.has_norms:
            return None
        return jnp.concatenate(self._norms())

    def _times(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        parts = jnp.split(x, _ends([each.shape[1] for each in self.operators]))
        return reduce(jnp.add, [A.matvec(z) for A, z in zip(self.operators, parts, strict=True)])

    def _adjoint_times(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        return jnp.concatenate([A.rmatvec(y) for A in self.operators])


@registered
@dataclasses.dataclass(frozen=True)
class VStack(_Stacked):
    """``A = [A_1; A_2; ...; A_k]``, one above the other: several measurements of one signal.

    Attributes:
        operators: matrices or operators in any form that solvers take, all with the same number of
            columns. Their arrays are traced and differentiated.

    Raises:
        TypeError: ``operators`` is not a list or tuple, or a part is neither a matrix nor an
            operator.
        ValueError: ``operators`` is empty, or numbers of columns differ.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> A = gj.operators.VStack([jnp.eye(2), jnp.array([[1.0, -1.0]])])
        >>> A.matvec(jnp.array([3.0, 5.0])).tolist()
        [3.0, 5.0, -2.0]
    """

    operators: Any

    def __post_init__(self) -> None:
        parts = _checked(self.operators)
        for i, part in enumerate(parts):
            _same(i, "columns", part.shape[1], parts[0].shape[1], "operators[0] has")
        self._set(operators=parts)

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``: as many rows as the parts have together."""
        return sum(each.shape[0] for each in self.operators), self.operators[0].shape[1]

    @property
    def column_norms(self) -> Float[Array, " n"] | None:
        """The root of the sum of squares of the parts' norms, or None if a part's are unknown."""
        if not self.has_norms:
            return None
        norms = jnp.stack(self._norms())
        scale = power_of_two(norms, axis=0)
        return scale * safe_sqrt(jnp.sum(jnp.square(norms / scale[None]), axis=0))

    def _times(self, x: Inexact[Array, " n"]) -> Inexact[Array, " m"]:
        return jnp.concatenate([A.matvec(x) for A in self.operators])

    def _adjoint_times(self, y: Inexact[Array, " m"]) -> Inexact[Array, " n"]:
        parts = jnp.split(y, _ends([each.shape[0] for each in self.operators]))
        return reduce(jnp.add, [A.rmatvec(z) for A, z in zip(self.operators, parts, strict=True)])


def _checked(operators: Any) -> tuple[Any, ...]:
    """Each part as an operator.

    Raises:
        TypeError: ``operators`` is not a list or tuple, or a part is neither a matrix nor an
            operator.
        ValueError: ``operators`` is empty, or a part is not a valid matrix or operator.
    """
    if not isinstance(operators, (list, tuple)):
        got = type(operators).__name__
        _checks.fail(TypeError, "operators", "a list of matrices or operators", got)
    if not operators:
        _checks.fail(ValueError, "operators", "at least one matrix or operator", "none")
    return tuple(_part(i, each) for i, each in enumerate(operators))


def _part(i: int, given: Any) -> Any:
    try:
        return as_operator(given)
    except Exception as error:
        error.add_note(f"A is operators[{i}]")
        raise


def _same(i: int, what: str, found: int, expected: int, whose: str) -> None:
    """Raises a ValueError if a number of rows or columns is not the expected one."""
    if found != expected:
        said = f"{expected} {what}, as many as {whose}"
        _checks.fail(ValueError, f"operators[{i}]", said, f"{found}")


def _ends(lengths: list[int]) -> np.ndarray:
    """Where each part but the last one ends."""
    return np.cumsum(lengths)[:-1]
