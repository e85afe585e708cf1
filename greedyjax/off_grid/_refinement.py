"""The energy of one atom as a function of its parameters, and Newton steps to its maximum."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact

from greedyjax._numerics import abs_sq, eps, matmul, safe_inverse

Atom = Callable[[Float[Array, " d"]], Inexact[Array, " m"]]


class Peak(NamedTuple):
    """The energy ``F`` that an atom explains, and how it changes with the atom's parameters.

    Attributes:
        energy: ``F = sum_l |a* r_l|^2 / ||a||^2``, 0 for an atom of zeros.
        gradient: the gradient of ``F``.
        hessian: the Hessian of ``F``.
    """

    energy: Float[Array, ""]
    gradient: Float[Array, " d"]
    hessian: Float[Array, "d d"]


def peak(atom: Atom, theta: Float[Array, " d"], R: Inexact[Array, "L m"]) -> Peak:
    """The energy of the residuals that the atom of ``theta`` explains, with its derivatives.

    The least squares coefficients of the atom are eliminated (variable projection). In terms of
    ``N = sum_l |a* r_l|^2`` and ``D = ||a||^2``, ``F D = N``, which is differentiated twice.
    """
    slopes, m = jax.jacfwd(atom), R.shape[1]
    derivatives = atom(theta), slopes(theta), jax.jacfwd(slopes)(theta)
    a = jnp.concatenate([each.reshape(m, -1) for each in derivatives], axis=1)
    N, dN, ddN = _square(matmul(R, a.conj()), len(theta))
    D, dD, ddD = _square(a, len(theta))

    inverse = safe_inverse(D)
    F = inverse * N
    dF = inverse * (dN - F * dD)
    cross = dF[:, None] * dD[None, :]
    return Peak(F, dF, inverse * (ddN - F * ddD - cross - cross.T))


def _square(columns: Inexact[Array, "k derivatives"], d: int):
    """``||z||^2``, its gradient and its Hessian, from ``z`` and its derivatives as columns."""
    z, dz, ddz = columns[:, 0], columns[:, 1 : 1 + d], columns[:, 1 + d :].reshape(-1, d, d)
    sum_of = lambda products: jnp.sum(products.real, axis=0)
    gradient = 2 * sum_of(z.conj()[:, None] * dz)
    hessian = 2 * sum_of(dz.conj()[:, :, None] * dz[:, None, :] + z.conj()[:, None, None] * ddz)
    return jnp.sum(abs_sq(z)), gradient, hessian


def refined(
    atom: Atom, theta: Float[Array, " d"], R: Inexact[Array, "L m"], num_newton: int
) -> Float[Array, " d"]:
    """Parameters after ``num_newton`` Newton steps on the energy.

    A step is taken only where the energy is concave, so that it climbs to a maximum, and only if it
    does not lower the energy, up to rounding.
    """

    def newton(_, theta):
        F, dF, ddF = peak(atom, theta, R)
        step, concave = _solved(-ddF, dF)
        higher = energy(atom, theta + step, R) >= F * (1 - 4 * eps(F.dtype))
        return jnp.where(concave & higher, theta + step, theta)

    return lax.fori_loop(0, num_newton, newton, theta)


def energy(atom: Atom, theta: Float[Array, " d"], R: Inexact[Array, "L m"]) -> Float[Array, ""]:
    """``F = sum_l |a* r_l|^2 / ||a||^2``."""
    a = atom(theta)
    return jnp.sum(abs_sq(matmul(R, a.conj()))) * safe_inverse(jnp.sum(abs_sq(a)))


def _solved(
    H: Float[Array, "d d"], g: Float[Array, " d"]
) -> tuple[Float[Array, " d"], Bool[Array, ""]]:
    """``H^-1 g`` by elimination, or zeros if ``H`` is not positive definite; and whether it is.

    Parameters are few, so the loops are unrolled: no call of LAPACK for each path of each signal.
    """
    d, rows = len(g), [jnp.append(H[i], g[i]) for i in range(len(g))]
    definite = jnp.asarray(True)
    for i in range(d):
        definite &= rows[i][i] > 0
        rows[i] = rows[i] * safe_inverse(rows[i][i])
        for j in range(d):
            if j != i:
                rows[j] = rows[j] - rows[j][i] * rows[i]
    step = jnp.stack([row[d] for row in rows])
    definite &= jnp.isfinite(step).all()
    return jnp.where(definite, step, 0), definite
