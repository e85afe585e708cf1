"""Weights by repeated counting: a baseline without gradients."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from greedyjax import _checks
from greedyjax._numerics import abs_sq, promoted, real_dtype, safe_inverse
from greedyjax._precision import as_given
from greedyjax.linalg.dictionary import dictionary
from greedyjax.pursuit import omp_batch

# The defaults of counting.
EXPONENT, FLOOR, NUM_ROUNDS = 0.25, 1e-4, 8


def count_weights(
    A: Inexact[ArrayLike, "m n"],
    Y: Inexact[ArrayLike, "num m"],
    *,
    sparsity: int,
    num_rounds: int = NUM_ROUNDS,
    exponent: float = EXPONENT,
    floor: float = FLOOR,
    batch_size: int | None = None,
) -> Float[Array, " n"]:
    """Weights from measurements alone: recover, count which atoms were used, and repeat.

    Each round recovers every signal by hard OMP with the present weights, which start at 1. Then it
    sets ``w_j = (mean over the signals of |x_j|^2 / ||x||^2 + floor) ** exponent``. A small
    exponent keeps the ratios of the weights small, so that later rounds can correct wrong choices
    of the first round. With an exponent of 1 wrong choices are permanent.

    Args:
        A: matrix, shape ``(m, n)``.
        Y: measurements, shape ``(num, m)``.
        sparsity: atoms per signal, static, between 1 and ``min(m, n)``.
        num_rounds: number of rounds, static, at least 1.
        exponent: a number > 0.
        floor: a number > 0, the energy fraction of an atom that is never used.
        batch_size: number of signals recovered at a time, static; None means that the library
            chooses.

    Returns:
        Positive weights, shape ``(n,)``.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.training import count_weights
        >>> weights = count_weights(jnp.eye(3), jnp.array([[0.0, 2.0, 0.0]]), sparsity=1)
        >>> weights.round(2).tolist()
        [0.1, 1.0, 0.1]
    """
    given = A, Y
    A = _checks.inexact("A", A, ndim=2)
    Y = _checks.inexact("Y", Y, ndim=2)
    if Y.shape[1] != A.shape[0] or len(Y) == 0:
        _checks.fail(ValueError, "Y", f"shape (num, {A.shape[0]})", f"shape {Y.shape}")
    num_rounds = _checks.static_int("num_rounds", num_rounds, minimum=1)
    exponent_ = _checks.scalar("exponent", exponent, positive=True)
    floor_ = _checks.scalar("floor", floor, positive=True)
    settings = {"sparsity": sparsity, "num_rounds": num_rounds, "batch_size": batch_size}
    weights = _counted(dictionary(A, gram=False), Y, exponent_, floor_, **settings)
    return as_given(weights, *given)


@partial(jax.jit, static_argnames=("sparsity", "num_rounds", "batch_size"))
def _counted(A, Y, exponent, floor, *, sparsity, num_rounds, batch_size) -> Float[Array, " n"]:
    dtype = real_dtype(promoted(A.dtype, Y))

    def one_round(weights, _):
        answers = omp_batch(A, Y, sparsity=sparsity, weights=weights, batch_size=batch_size)
        return weights_of(answers.x, exponent, floor).astype(dtype), None

    return jax.lax.scan(one_round, jnp.ones(A.shape[1], dtype), length=num_rounds)[0]


@jax.jit
def weights_of(
    X: Inexact[Array, "num n"], exponent: Any = EXPONENT, floor: Any = FLOOR
) -> Float[Array, " n"]:
    """The weights that one round finds from the answers ``X``."""
    energy = abs_sq(X)
    fractions = energy * safe_inverse(jnp.sum(energy, axis=1, keepdims=True))
    return (jnp.mean(fractions, axis=0) + floor) ** exponent
