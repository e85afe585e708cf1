"""A last fit: coefficients by a prior over all atoms, once a solver has chosen some of them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Inexact, Int

from greedyjax import _checks
from greedyjax._meshes import on_any_mesh
from greedyjax._numerics import matmul, promoted, real_dtype, safe_inverse, times_real
from greedyjax._precision import as_given
from greedyjax._types import Matrix
from greedyjax.linalg.checked import as_operator, operator_dtype
from greedyjax.pursuit._cutting import batch_that_fits, in_blocks, in_rows


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GaussianPrior:
    """A normal prior of all coefficients, for a last fit after a solver has chosen atoms.

    The prior is ``x = D g``, where ``g`` is normal with mean 0 and a full ``covariance``, and ``D``
    is diagonal: 1 for the chosen atoms, and ``elsewhere`` for all others. The solver's own fit,
    least squares on the chosen atoms, does not use the correlations of coefficients, and sets the
    coefficients of all other atoms to 0.

    Attributes:
        covariance: covariance of the coefficients, shape ``(n, n)``, Hermitian and positive
            semidefinite. A factor does not matter.
        elsewhere: a number between 0 and 1. With 0 all other coefficients are 0. With 1 the choice
            of atoms has no effect, and the fit is the linear estimator of least mean squared error.
        noise: a number > 0, the share of the noise in the energy of a measurement.

    Example:
        >>> import jax.numpy as jnp, greedyjax as gj
        >>> A = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        >>> y = jnp.array([2.0, 1.0])
        >>> found = gj.omp(A, y, sparsity=1)
        >>> together = jnp.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 1.0]])
        >>> prior = gj.GaussianPrior(together, elsewhere=0.5, noise=1e-3)
        >>> prior.refit(A, y, found.support).round(1).tolist()
        [0.7, -0.3, 1.3]

    References:
        The mean of a normal posterior given a support: Elad and Yavneh, "A plurality of sparse
        representations is better than the sparsest one alone", IEEE Transactions on Information
        Theory 55 (2009). There coefficients are independent, and 0 outside the support.
    """

    covariance: Any
    elsewhere: Any = 0.1
    noise: Any = 1e-3

    def refit(
        self,
        A: Matrix,
        Y: Inexact[ArrayLike, "..."],
        support: Int[ArrayLike, "*batch k"],
    ) -> Inexact[Array, "..."]:
        """The posterior mean ``D C D A* (A D C D A* + l I)^-1 y``, for one or many signals.

        ``l`` is ``noise`` times the mean of the diagonal of ``A D C D A*``. Every atom gets a
        coefficient. Atoms that were not chosen get small coefficients.

        Args:
            A: matrix, shape ``(m, n)``, or an operator. The product ``A C`` is formed.
            Y: measurements, shape ``(..., m)``, or ``(..., m, L)`` for snapshots with one support.
            support: indices of the chosen atoms, shape ``(..., k)``, from any solver; -1 in unused
                places.

        Returns:
            Shape ``(..., n)``, or ``(..., n, L)``.

        Raises:
            TypeError: an argument has a wrong type.
            ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.
        """
        operator = as_operator(A)
        given, (m, n) = Y, operator.shape
        support = _checks.as_array("support", support)
        snapshots = jnp.ndim(Y) == support.ndim + 1 and jnp.shape(Y)[-2] == m
        Y = _checks.batch("Y", Y, m, snapshots=snapshots)
        prior = self.checked(n)
        if not jnp.issubdtype(support.dtype, jnp.integer):
            _checks.fail(TypeError, "support", "indices of atoms", str(support.dtype))
        rows, lead = in_rows(Y, snapshots)
        if support.shape[:-1] != lead or support.ndim == 0:
            expected = f"shape {(*lead, 'k')} for Y of shape {Y.shape}"
            _checks.fail(ValueError, "support", expected, f"shape {support.shape}")
        X = _refit(prior, operator, rows, support.reshape(-1, support.shape[-1]))
        return as_given(X.reshape(*lead, *X.shape[1:]), operator, given)

    def checked(self, num_atoms: int) -> "GaussianPrior":
        """The prior with checked fields, and arrays in place of numbers."""
        shape = (num_atoms, num_atoms)
        covariance = _checks.inexact("covariance", self.covariance, ndim=2, shape=shape)
        elsewhere = _checks.scalar("elsewhere", self.elsewhere, positive=False)
        if not _checks.is_traced(self.elsewhere) and float(self.elsewhere) > 1:
            _checks.fail(ValueError, "elsewhere", "a number between 0 and 1", str(self.elsewhere))
        noise = _checks.scalar("noise", self.noise, positive=True)
        return GaussianPrior(covariance, elsewhere, noise)


@jax.jit
@on_any_mesh(rows=(2, 3))
def _refit(prior: GaussianPrior, A: Any, Y: Array, support: Array) -> Array:
    dtype = promoted(operator_dtype(A), prior.covariance, Y)
    A, C, Y = A.astype(real_dtype(dtype)), prior.covariance.astype(dtype), Y.astype(dtype)
    elsewhere, noise = (each.astype(dtype) for each in (prior.elsewhere, prior.noise))
    AC = jax.vmap(A.matvec, 1, 1)(C)  # A C, once for all signals.
    everything = jax.vmap(A.matvec, 1, 1)(AC.conj().T)  # A C A*
    more = 1 - elsewhere

    def one(y, support):
        # D = elsewhere I + more P, where P is the projection to the chosen atoms.
        used = support >= 0
        chosen = jnp.where(used, support, 0)
        atoms = jnp.where(used, jax.vmap(A.column, 0, 1)(chosen), 0)
        cross = matmul(jnp.where(used, AC[:, chosen], 0), atoms.conj().T)
        inner = matmul(matmul(atoms, C[chosen][:, chosen]), atoms.conj().T)
        gram = elsewhere**2 * everything + elsewhere * more * (cross + cross.conj().T)
        gram = gram + more**2 * inner
        level = jnp.mean(jnp.diagonal(gram).real)
        gram = times_real(safe_inverse(level), gram) + noise * jnp.eye(len(y), dtype=dtype)
        z = times_real(safe_inverse(level), _solved(gram, y))
        into = lambda v, values: v.at[chosen].add(jnp.where(used, values, 0))
        ahead = into(elsewhere * A.rmatvec(z), more * matmul(atoms.conj().T, z))
        x = matmul(C, ahead)
        return into(elsewhere * x, more * x[chosen])

    each = one if Y.ndim == 2 else jax.vmap(one, (1, None), 1)  # Each snapshot on one support.
    m, k = len(AC), support.shape[1]
    size = batch_that_fits(3 * m * m + 3 * m * k + 2 * len(C), dtype)
    return in_blocks(jax.vmap(each), size, Y, support)


def _solved(S: Array, y: Array) -> Array:
    """``S^-1 y`` for a positive definite matrix, by elimination, which then needs no pivots.

    This does not use LAPACK. On a CPU, JAX 0.10 and the threads of LAPACK share the processors. So
    several batches of its factorisations in one compiled function can wait for each other forever.
    """

    def eliminated(S, y):
        def step(j, system):
            row = system[j] / system[j, j]
            return (system - system[:, j][:, None] * row[None, :]).at[j].set(row)

        system = jnp.concatenate([S, y[:, None]], axis=1)
        return lax.fori_loop(0, len(y), step, system)[:, -1]

    return lax.custom_linear_solve(
        lambda x: matmul(S, x),
        y,
        lambda _, y: eliminated(S, y),
        transpose_solve=lambda _, y: eliminated(S.T, y),
    )
