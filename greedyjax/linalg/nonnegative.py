"""Least squares over a few vectors, with coefficients that are at least 0."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from greedyjax._meshes import varying_like
from greedyjax._numerics import eps, matmul, norm


class NonNegativeFit(NamedTuple):
    """Non-negative least squares of ``y`` over the rows of ``B``.

    Attributes:
        coefficients: ``z >= 0``.
        residual: ``y - B^T z``.
        inverse: the inverse Gram matrix of the rows with positive coefficients, 0 elsewhere.
    """

    coefficients: Float[Array, " k"]
    residual: Float[Array, " row"]
    inverse: Float[Array, "k k"]


@jax.custom_jvp
def nonnegative_least_squares(
    B: Float[Array, "k row"], y: Float[Array, " row"], start: Float[Array, " k"]
) -> NonNegativeFit:
    """Minimises ``||y - B^T z||`` over ``z >= 0`` by the method of Lawson and Hanson.

    Rows are columns of norm 1, or means of such columns. A row within ``8 sqrt(eps)`` of the span
    of the fitted rows is not added, and its coefficient is 0.

    Args:
        B: the rows; a row of zeros has coefficient 0.
        y: the vector that is fitted.
        start: approximate coefficients; rows with positive entries are fitted first.

    References:
        Lawson and Hanson, "Solving least squares problems", Prentice-Hall 1974, chapter 23.
    """
    nothing = 8 * eps(y.dtype) * norm(y)
    gram, along = matmul(B, B.T), matmul(B, y)
    z, inverse = positive_coefficients(gram, along, jnp.maximum(start, 0), nothing)
    # A Gram matrix squares the effect of rounding. One correction by the residual of z undoes this.
    z = z + matmul(inverse, matmul(B, y - matmul(z, B)))
    z = jnp.where(z <= 0, 0, z)
    return NonNegativeFit(z, y - matmul(z, B), inverse)


# The set of positive coefficients is constant almost everywhere, and the other coefficients are 0.
# So with H the inverse Gram matrix of the rows in this set, 0 elsewhere, and r the residual,
#
#     s = dy - dB^T z,    dz = H (dB r + B s),    dr = s - B^T dz,    dH = -H (dB B^T + B dB^T) H.
@nonnegative_least_squares.defjvp
def _differentiate(primals, tangents):
    B, y, _ = primals
    dB, dy, _ = tangents
    z, r, H = fit = nonnegative_least_squares(*primals)
    s = dy - matmul(z, dB)
    dz = matmul(H, matmul(dB, r) + matmul(B, s))
    cross = matmul(dB, B.T)
    dH = -matmul(H, matmul(cross + cross.T, H))
    return fit, NonNegativeFit(dz, s - matmul(dz, B), dH)


class _State(NamedTuple):
    """The state between two exchanges.

    Attributes:
        tableau: ``[G, c]`` after an exchange of each fitted row, see `_exchanged`.
        fitted: which rows may have positive coefficients.
        z: feasible coefficients, which improve with each exchange.
        next: the row to exchange; -1 if there is none.
        count: the number of exchanges.
    """

    tableau: Float[Array, "k columns"]
    fitted: Bool[Array, " k"]
    z: Float[Array, " k"]
    next: Int[Array, ""]
    count: Int[Array, ""]


def positive_coefficients(
    gram: Float[Array, "k k"], along: Float[Array, " k"], start: Float[Array, " k"], nothing
) -> tuple[Float[Array, " k"], Float[Array, "k k"]]:
    """Minimises ``z^T G z / 2 - c^T z`` over ``z >= 0``.

    Args:
        gram: ``G``.
        along: ``c``.
        start: coefficients >= 0; rows with positive entries are fitted first.
        nothing: the size up to which an entry of ``c - G z`` is rounding.

    Returns:
        ``z``, and the inverse of ``G`` over the rows where ``z`` is positive, 0 elsewhere.
    """
    k = len(along)

    def enter(j, now):
        tableau, fitted = now
        enters = (start[j] > 0) & _adds(tableau)[j]
        entered = _exchanged(tableau, j)
        return jnp.where(enters, entered, tableau), fitted.at[j].set(enters)

    begin = jnp.concatenate([gram, along[:, None]], axis=1), jnp.zeros(k, bool)
    begin = varying_like(begin, gram, along, start)
    tableau, fitted = lax.fori_loop(0, k, enter, begin)

    def exchange(now: _State) -> _State:
        tableau = _exchanged(now.tableau, now.next)
        fitted = now.fitted ^ (jnp.arange(k) == now.next)
        return _State(tableau, fitted, *_decided(tableau, fitted, now.z, nothing), now.count + 1)

    first = _decided(tableau, fitted, jnp.where(fitted, start, 0), nothing)
    state = varying_like(_State(tableau, fitted, *first, jnp.zeros((), jnp.int32)), tableau)
    # Rounding could exchange the same rows forever.
    done = lax.while_loop(lambda now: (now.next >= 0) & (now.count < 3 * k + 3), exchange, state)
    both = done.fitted[:, None] & done.fitted[None, :]
    return jnp.where(done.fitted, done.tableau[:, k], 0), jnp.where(both, done.tableau[:, :k], 0)


def _decided(tableau, fitted, z, nothing) -> tuple[Float[Array, " k"], Int[Array, ""]]:
    """The next feasible ``z``, and the row to exchange after it.

    In fitted rows, the last column of the tableau has the least-squares coefficients. If one of
    these is not positive, ``z`` moves towards them until one of its entries becomes 0, and this row
    leaves. Otherwise ``z`` takes these coefficients. Then the row with the largest correlation with
    the residual enters; in rows that are not fitted, the last column has these correlations.
    """
    target = tableau[:, -1]
    blocks = fitted & (target <= 0)
    room = jnp.maximum(z - target, jnp.finfo(z.dtype).tiny)
    steps = jnp.where(blocks, z / room, jnp.inf)
    leaving = jnp.argmin(steps)
    halted = jnp.any(blocks)

    step = jnp.where(halted, steps[leaving], 1)
    moved = jnp.where(fitted, z + step * (target - z), 0)
    moved = jnp.where(halted & (jnp.arange(len(z)) == leaving), 0, jnp.maximum(moved, 0))
    gains = jnp.where(~fitted & _adds(tableau), target, 0)
    entering = jnp.argmax(gains)
    entering = jnp.where(gains[entering] > nothing, entering, -1)
    return moved, jnp.where(halted, leaving, entering).astype(jnp.int32)


def _adds(tableau: Float[Array, "k columns"]) -> Bool[Array, " k"]:
    """For rows that are not fitted: whether their part outside the fitted span exceeds rounding.

    The diagonal has the squared length of this part.
    """
    return jnp.diagonal(tableau) > 64 * eps(tableau.dtype)


def _exchanged(tableau: Float[Array, "k columns"], j: Int[Array, ""]):
    """A Gauss-Jordan step at row ``j``. A second step at the same row undoes it.

    After an exchange of the rows ``S`` of ``[G, c]``, these rows have ``G_SS^-1`` and
    ``G_SS^-1 c_S``. The other rows have the Gram matrix and the correlations of their parts outside
    the span of ``S``.
    """
    k, columns = tableau.shape
    here, there = jnp.arange(k) == j, jnp.arange(columns) == j
    # For a batch, masks are faster than gathers of a different row for each signal.
    row = jnp.sum(jnp.where(here[:, None], tableau, 0), axis=0)
    column = jnp.sum(jnp.where(there[None, :], tableau, 0), axis=1)
    pivot = jnp.sum(jnp.where(here, column, 0))
    pivot = jnp.where(pivot == 0, 1, pivot)
    row = jnp.where(there, 1, row) / pivot
    rest = jnp.where(there[None, :], 0, tableau) - column[:, None] * row[None, :]
    return jnp.where(here[:, None], row[None, :], rest)
