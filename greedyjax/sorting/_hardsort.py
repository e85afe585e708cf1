"""Sorting as a 0-1 matrix, and the selector of the hard solvers."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name, checkpoint_policies
from jaxtyping import Array, Bool, Float, Int

from greedyjax import _checks
from greedyjax._numerics import first_argmax
from greedyjax.linalg.operators import Dense

# For `jax.checkpoint`: whatever is made of scores may be computed again, but not their order.
_ORDER = "order of the scores"
keep_only_order = checkpoint_policies.save_only_these_names(_ORDER)


def hardsort(scores: Float[Array, " n"], *, k: int | None = None) -> Float[Array, "k n"]:
    """First ``k`` rows of the permutation matrix that sorts ``scores`` in descending order.

    Row ``i`` is one-hot at the ``i``-th largest score; equal scores keep their order. It is the
    limit of `softsort` as ``tau`` goes to 0, and constant where it is differentiable.

    Args:
        scores: real, shape ``(n,)``.
        k: number of rows, static; all ``n`` if None.

    Returns:
        Shape ``(k, n)``, in the dtype of ``scores``.

    Raises:
        TypeError: ``scores`` are not real floating-point numbers, or ``k`` is no static int.
        ValueError: ``scores`` are not of shape ``(n,)``, hold NaN or infinity, or ``k`` is not
            between 1 and ``n``.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> gj.hardsort(jnp.array([1.0, 3.0, 2.0]), k=2).tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    scores, k = check_scores(scores, k)
    order = top_indices(scores, k)
    return (order[:, None] == jnp.arange(len(scores))[None, :]).astype(scores.dtype)


def topk_mask(scores: Float[Array, " n"], *, k: int) -> Float[Array, " n"]:
    """1 at the ``k`` largest scores, 0 elsewhere; of equal scores the first are kept.

    Args:
        scores: real, shape ``(n,)``.
        k: number of entries to keep, static.

    Returns:
        Shape ``(n,)``, in the dtype of ``scores``: the column sums of `hardsort`.

    Raises:
        TypeError: ``scores`` are not real floating-point numbers, or ``k`` is no static int.
        ValueError: ``scores`` are not of shape ``(n,)``, hold NaN or infinity, or ``k`` is not
            between 1 and ``n``.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> gj.topk_mask(jnp.array([1.0, 3.0, 2.0]), k=2).tolist()
        [0.0, 1.0, 1.0]
    """
    scores, k = check_scores(scores, k, all_by_default=False)
    return _keep(scores, k)[0]


class HardSort(NamedTuple):
    """The selector of the hard solvers: a row is an index, a mask is 0 or 1.

    A row is kept as the index of its one, so that an atom is a gather instead of a product.
    """

    def start(self, num_atoms: int) -> Bool[Array, " n"]:
        """What the selector remembers: the atoms already taken."""
        return jnp.zeros(num_atoms, bool)

    def empty_rows(self, num: int, num_atoms: int) -> Int[Array, " num"]:
        """Room for so many rows."""
        del num_atoms
        return jnp.zeros(num, jnp.int32)

    def next(
        self, scores: Float[Array, " n"], taken: Bool[Array, " n"]
    ) -> tuple[Int[Array, ""], Bool[Array, " n"]]:
        """The first atom of largest score among those not yet taken."""
        row = first_argmax(jnp.where(taken, -1, scores))
        return row, taken | (jnp.arange(len(scores)) == row)

    def again(self, scores: Float[Array, " n"], row: Int[Array, ""]) -> Int[Array, ""]:
        """The row that `next` chose, as a function of the scores: it is locally constant."""
        del scores
        return row

    def atom(self, A: Dense, row: Int[Array, ""]) -> Float[Array, "parts m"]:
        """The parts of the column that ``row`` selects."""
        return A.column_parts(row)

    def first(self, scores: Float[Array, " n"], k: int) -> Int[Array, " k"]:
        """The rows of the ``k`` largest scores."""
        return top_indices(scores, k)

    def room(self, num: int, num_atoms: int) -> int:
        """The length of `scaled` rows, of which there are ``num``."""
        del num_atoms
        return num

    def slots(self, rows: Int[Array, " k"]) -> Int[Array, " k"]:
        """The first row that selects what each row selects."""
        same = rows[:, None] == rows[None, :]
        place = jnp.arange(len(rows), dtype=jnp.int32)[None, :]
        return jnp.min(jnp.where(same, place, len(rows) - 1), axis=1)

    def scaled(
        self, factors: Float[Array, " n"], row: Int[Array, ""], slot: Int[Array, ""], room: int
    ) -> Float[Array, " room"]:
        """The row times a factor for each atom, in a space with one axis for each atom selected."""
        factor = factors.at[row].get(mode="promise_in_bounds")
        return jnp.where(jnp.arange(room) == slot, factor, 0)

    def combine(
        self, rows: Int[Array, " k"], coefficients: Float[Array, "parts k"], num_atoms: int
    ) -> Float[Array, "parts n"]:
        """``P^T z``: the coefficients put where the rows point, added up where they coincide."""
        x = jnp.zeros((len(coefficients), num_atoms), coefficients.dtype)
        return x.at[:, rows].add(coefficients, mode="promise_in_bounds")

    def support(self, row: Int[Array, "*k"]) -> Int[Array, "*k"]:
        """The atoms that rows select."""
        return row

    def mask(self, rows: Int[Array, " k"], num_atoms: int, dtype) -> Float[Array, " n"]:
        """The column sums of rows that are distinct."""
        ones = jnp.ones(len(rows), dtype)
        return jnp.zeros(num_atoms, dtype).at[rows].set(ones, mode="promise_in_bounds")

    def keep(
        self, scores: Float[Array, " n"], k: int
    ) -> tuple[Float[Array, " n"], Int[Array, " k"]]:
        """The 0-1 mask of the ``k`` largest scores, and their indices."""
        return _keep(scores, k)


def check_scores(
    scores, k: int | None, *, all_by_default: bool = True
) -> tuple[Float[Array, " n"], int]:
    """The argument checks that every sorting function shares."""
    scores = _checks.real("scores", scores, ndim=1)
    n = len(scores)
    if n == 0:
        _checks.fail(ValueError, "scores", "at least one score", f"shape {scores.shape}")
    if k is None and all_by_default:
        return scores, n
    return scores, _checks.static_int("k", k, minimum=1, maximum=n)


def top_indices(scores: Float[Array, " n"], k: int) -> Int[Array, " k"]:
    """Indices of the ``k`` largest scores in falling order, the lowest first where they tie."""
    scores = lax.stop_gradient(scores)
    # top_k sorts by bits, and would put -0 below 0.
    order = lax.top_k(jnp.where(scores == 0, 0, scores), k)[1]
    return checkpoint_name(order, _ORDER)


def _keep(scores, k):
    indices = top_indices(scores, k)
    mask = jnp.zeros_like(lax.stop_gradient(scores))
    ones = jnp.ones(k, scores.dtype)
    return mask.at[indices].set(ones, unique_indices=True, mode="promise_in_bounds"), indices
