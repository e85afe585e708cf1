"""How likely the relaxations make the right choice: losses of a score vector, step by step."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_FLOOR = 1e-6  # Keeps the loss of a step that can choose nothing right finite.


def next_choice_loss(
    scores: Float[Array, " n"], targets: Float[Array, " n"], tau: Float[Array, ""]
) -> Float[Array, ""]:
    """``-log sum_j p_j (t_j + 1e-6)`` with ``p = softmax(scores / tau)``.

    The loss of choosing one atom next by softsort's first row, where ``targets`` say how much of
    the signal's energy each atom carries.
    """
    # The largest score has e = 1 and at least the floor for a target: neither sum can vanish.
    e = jnp.exp((scores - lax.stop_gradient(jnp.max(scores))) / tau)
    return jnp.log(jnp.sum(e)) - jnp.log(jnp.sum(e * (targets + _FLOOR)))


def kept_choice_loss(
    scores: Float[Array, " n"],
    targets: Float[Array, " n"],
    tau: Float[Array, ""],
    threshold: Float[Array, ""],
    k: int,
) -> Float[Array, ""]:
    """``-k sum_{j in S} t_j log s(z_j) - (k/n) sum_{j not in S} log s(-z_j)``, ``s`` the sigmoid.

    The loss of keeping the ``k`` scores above a threshold, which is a constant to derivatives.
    ``z = (scores - threshold) / tau``; ``S`` holds the ``k`` largest nonzero targets.
    """
    n = len(scores)
    z = (scores - lax.stop_gradient(threshold)) / tau
    chosen = lax.top_k(targets, k)[1]
    wanted = jnp.zeros(n, bool).at[chosen].set(True, unique_indices=True) & (targets > 0)
    return -k * jnp.sum(jnp.where(wanted, targets, 1 / n) * _log_sigmoid(jnp.where(wanted, z, -z)))


def halfway(scores: Float[Array, " n"], mask: Float[Array, " n"]) -> Float[Array, ""]:
    """Halfway from the smallest score that a 0-1 mask keeps to the largest that it does not.

    Scores are at least 0, and below all of them comes 0.
    """
    kept = mask > 0
    smallest = jnp.min(jnp.where(kept, scores, jnp.inf))
    return (smallest + jnp.max(jnp.where(kept, 0, scores))) / 2


def _log_sigmoid(z: Float[Array, "..."]) -> Float[Array, "..."]:
    # Half the operations of jax.nn.log_sigmoid, which also cares for infinite z.
    return jnp.minimum(z, 0) - jnp.log1p(jnp.exp(-jnp.abs(z)))
