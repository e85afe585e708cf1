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
        inverse: of the Gram matrix of the rows whose coefficients are positive, 0 elsewhere.
    """

    coefficients: Float[Array, " k"]
    residual: Float[Array, " row"]
    inverse: Float[Array, "k k"]


@jax.custom_jvp
def nonnegative_least_squares(
    B: Float[Array, "k row"], y: Float[Array, " row"], start: Float[Array, " k"]
) -> NonNegativeFit:
    """Minimises ``||y - B^T z||`` over ``z >= 0`` by the method of Lawson and Hanson.

    Rows are columns of norm 1, or means of such. One within ``8 sqrt(eps)`` of the span of those
    that are fitted is none to add: its coefficient is 0.

    Args:
        B: the rows; one that is 0 has coefficient 0.
        y: what is fitted.
        start: coefficients that are near; those that are positive are fitted first.

    References:
        Lawson and Hanson, "Solving least squares problems", Prentice-Hall 1974, chapter 23.
    """
    nothing = 8 * eps(y.dtype) * norm(y)
    gram, along = matmul(B, B.T), matmul(B, y)
    z, inverse = positive_coefficients(gram, along, jnp.maximum(start, 0), nothing)
    # A Gram matrix squares what rounding does; the residual of z does not.
    z = z + matmul(inverse, matmul(B, y - matmul(z, B)))
    z = jnp.where(z <= 0, 0, z)
    return NonNegativeFit(z, y - matmul(z, B), inverse)


# Which coefficients are positive is constant almost everywhere, and the others are constant. So
# with H the inverse Gram matrix of those, 0 elsewhere, and r the residual,
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
    """Between two exchanges.

    Attributes:
        tableau: ``[G, c]``, its `fitted` rows exchanged, see `_exchanged`.
        fitted: the rows whose coefficients may be positive.
        z: coefficients that are feasible, and better after each exchange.
        next: the row to exchange; -1 where there is none.
        count: of exchanges.
    """

    tableau: Float[Array, "k columns"]
    fitted: Bool[Array, " k"]
    z: Float[Array, " k"]
    next: Int[Array, ""]
    count: Int[Array, ""]


def positive_coefficients(
    gram: Float[Array, "k k"], along: Float[Array, " k"], start: Float[Array, " k"], nothing
) -> tuple[Float[Array, " k"], Float[Array, "k k"]]:
    """``z >= 0`` of least ``z^T G z / 2 - c^T z``, and the inverse of ``G`` where it is positive.

    Args:
        gram: ``G``.
        along: ``c``.
        start: coefficients >= 0; those that are positive are fitted first.
        nothing: an entry of ``c - G z`` that is rounding.
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

    The last column of the tableau has the coefficients of least squares on the rows that are
    fitted. Where one of them is not positive, ``z`` goes towards them until its first entry is 0,
    and that row leaves. Else ``z`` gets there, and the row enters that correlates best with what
    is left, the last column of the other rows.
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
    """Whether what the fitted rows leave of a row is more than rounding; of the others alone.

    Its squared length is on the diagonal.
    """
    return jnp.diagonal(tableau) > 64 * eps(tableau.dtype)


def _exchanged(tableau: Float[Array, "k columns"], j: Int[Array, ""]):
    """A step of Gauss and Jordan at row ``j``, which a second one takes back.

    Once the rows ``S`` of ``[G, c]`` have been exchanged there are ``G_SS^-1`` and ``G_SS^-1 c_S``
    in those rows, and in the others the Gram matrix and the correlations of what is left.
    """
    k, columns = tableau.shape
    here, there = jnp.arange(k) == j, jnp.arange(columns) == j
    # By masks, which a batch computes faster than it gathers rows of their own for each signal.
    row = jnp.sum(jnp.where(here[:, None], tableau, 0), axis=0)
    column = jnp.sum(jnp.where(there[None, :], tableau, 0), axis=1)
    pivot = jnp.sum(jnp.where(here, column, 0))
    pivot = jnp.where(pivot == 0, 1, pivot)
    row = jnp.where(there, 1, row) / pivot
    rest = jnp.where(there[None, :], 0, tableau) - column[:, None] * row[None, :]
    return jnp.where(here[:, None], row[None, :], rest)
