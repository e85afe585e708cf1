"""Certificates: proofs that a soft run agrees with the hard run."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Inexact

from greedyjax._numerics import eps, index_range, matmul, norm, safe_inverse, times_real
from greedyjax._precision import as_given
from greedyjax._types import Matrix, Scalar, exportable
from greedyjax.linalg.operators import join
from greedyjax.pursuit import (
    OMP,
    checked,
    problem_of,
    relaxed_of,
    run,
    system_for,
    temperature_given,
    turns_of,
)
from greedyjax.sorting import SoftSort

__all__ = ["Certificate", "same_path"]

# A factor on the rounding of one product and of each step. Measured errors are a hundredth of this
# allowance.
_SAFETY = 8


@exportable
class Certificate(NamedTuple):
    """A proof about one soft run; under ``jax.vmap`` every field has a batch axis.

    Attributes:
        same_path: True means that `soft_omp` provably chose the same atoms as `omp`, in the same
            order. False means that there is no proof.
        error_bound: with a proof, an upper bound of ``||x_soft - x_omp||_2``, in the units of
            ``x``; otherwise infinite.
        margins: lower bounds of the difference, in `omp`, between the score of the chosen atom and
            all other scores at each step, shape ``(sparsity,)``, in the units of ``y``. A value
            that is not positive proves nothing, and neither do the values after it.
        smallest_singular_value: the smallest singular value of the chosen atoms, scaled to norm 1.
    """

    same_path: Bool[Array, ""]
    error_bound: Float[Array, ""]
    margins: Float[Array, " sparsity"]
    smallest_singular_value: Float[Array, ""]


def same_path(
    A: Matrix,
    y: Inexact[ArrayLike, " m"],
    *,
    sparsity: int,
    tau: Scalar | Float[ArrayLike, " sparsity"],
    weights: Float[ArrayLike, " n"] | None = None,
) -> Certificate:
    """Proves that Soft-OMP chose the same atoms as OMP, from the soft run alone.

    Let ``S`` be the atoms with the largest entries of the first ``k`` soft rows. Let ``B`` be the
    soft atoms, ``z`` the soft coefficients, ``r`` the soft residual, and ``E = B - A_S``. Let
    ``sigma`` be the smallest singular value of ``A_S``, whose columns have norm 1. If OMP chose
    ``S`` as well, its residual lies within

        ``delta = sqrt(||E z||^2 + ||E* r||^2 / sigma^2)``

    of ``r``. So no score ``|w_j a_j* r|`` of OMP differs from the soft score by more than
    ``|w_j| delta``. If the largest score leads by more than these differences, OMP makes the same
    next choice. The proof starts at ``k = 0``, where both residuals are ``y``. At the end

        ``||x_soft - x_omp|| <= ||x_soft - P_S^T z|| + ||E z|| / sigma + ||E* r|| / sigma^2``.

    These bounds are of first order in ``E``, which is exponentially small in the gaps between
    scores over ``tau``. Allowances for rounding are added. The function does not always find a
    proof, but a proof is never wrong.

    *Proof.* ``B* r = 0``. With ``Pi`` the projector on the span of ``A_S``, the residuals differ by
    ``r - (I - Pi) y = r - (I - Pi)(B z + r) = Pi r - (I - Pi) E z``. The two parts are orthogonal;
    the first has norm at most ``||A_S* r|| / sigma = ||E* r|| / sigma``. For the coefficients,
    ``A_S^+ y - z = A_S^+ E z - (A_S* A_S)^-1 E* r``.

    Args:
        A: matrix of shape ``(m, n)`` or an operator, as in `soft_omp`.
        y: measurements, shape ``(m,)``.
        sparsity: number of soft atoms, static, between 1 and ``min(m, n)``.
        tau: temperature > 0 in the units of ``y``; one, or one per step; traced.
        weights: real, shape ``(n,)``; only their magnitudes matter. None means ones.

    Returns:
        A `Certificate`. It is a constant to derivatives.

    Raises:
        TypeError: an argument has a wrong type, or ``sparsity`` is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.certificates import same_path
        >>> A = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> cold, hot = (same_path(A, jnp.array([0.0, 2.0]), sparsity=1, tau=t) for t in (0.02, 2))
        >>> bool(cold.same_path), bool(cold.error_bound < 1e-5), bool(hot.error_bound < 1)
        (True, True, False)

    Source: this library's own; it sharpens a perturbation bound for least squares (Wedin, 1973).
    """
    tau = temperature_given(tau)
    given = y
    method, A, y, weighting, _ = checked(OMP(sparsity), A, y, weights, name="y", ndim=1)
    found = _same_path(method, A, y, weighting, relaxed_of(method, SoftSort, tau))
    return as_given(found, A, given)


@jax.jit
def _same_path(method: OMP, A, y, weighting, relaxed) -> Certificate:
    system = system_for(method, A, y.dtype)
    problem = problem_of(system, y)
    turns = turns_of(problem, weighting, relaxed, method)
    method, problem, turns = lax.stop_gradient((method, problem, turns))
    fit, unit_A, sparsity = method.fit, problem.atoms, method.sparsity
    state, along, scores = run(
        method,
        problem,
        turns,
        of_states=lambda state: (
            join(fit.measured(problem, state.residual)),
            join(state.basis.coefficients(state.along).reshape(len(problem.y), -1)),
        ),
        of_choices=lambda choices: choices[0].scores,
    )
    # Row k of z holds the coefficients over the first k + 1 soft atoms.
    after, z = along
    y = join(problem.y)

    atoms = jax.vmap(unit_A.column)(state.support)
    E = jax.vmap(unit_A.matvec)(state.rows.weight) - atoms
    Ez = _norms(matmul(z, E))
    Er = _norms(jnp.tril(matmul(after, E.conj().T)))

    singular_values = jnp.linalg.svd(atoms, compute_uv=False)
    relative = _SAFETY * eps(y.dtype) * (len(y) ** 0.5 + sparsity)
    sigma = jnp.maximum(singular_values[-1] - relative * singular_values[0], 0)
    inverse = safe_inverse(sigma)
    rounding = relative * norm(y) * inverse

    # Not jnp.hypot: JAX 0.12 computes its derivatives along with it, and at 0 they are 0 / 0.
    delta = _norms(jnp.stack([Ez, Er * inverse], axis=1))
    delta = rounding + jnp.concatenate([jnp.zeros_like(delta[:1]), delta[:-1]])
    reach = turns.shared[None, :] * delta[:, None]
    chosen = state.support[:, None] == index_range(unit_A.shape[1])[None, :]
    least = jnp.min(jnp.where(chosen, scores - reach, jnp.inf), axis=1)
    margins = least - jnp.max(jnp.where(chosen, -jnp.inf, scores + reach), axis=1)

    x = fit.known(problem, state).coefficients()
    spread = x - jnp.zeros_like(x).at[state.support].add(z[-1])
    of_coefficients = Ez[-1] * inverse + Er[-1] * inverse**2 + rounding * inverse
    scale = system.column_scale
    bound = norm(times_real(scale, spread)) + jnp.max(scale[state.support]) * of_coefficients
    proven = (sigma > 0) & jnp.all(margins > 0)
    return Certificate(
        same_path=proven,
        error_bound=jnp.where(proven, problem.scale * bound, jnp.inf),
        margins=problem.scale * margins,
        smallest_singular_value=singular_values[-1],
    )


def _norms(rows: Inexact[Array, "k l"]) -> Float[Array, " k"]:
    return jax.vmap(norm)(rows)
