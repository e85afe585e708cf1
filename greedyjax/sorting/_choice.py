"""How likely the relaxations make the right choice: losses of a score vector, step by step."""

import jax
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
    return -jax.nn.logsumexp(jax.nn.log_softmax(scores / tau) + jnp.log(targets + _FLOOR))


def kept_choice_loss(
    scores: Float[Array, " n"], targets: Float[Array, " n"], tau: Float[Array, ""], k: int
) -> Float[Array, ""]:
    """``-k sum_{j in S} t_j log s(z_j) - (k/n) sum_{j not in S} log s(-z_j)``, ``s`` the sigmoid.

    The loss of keeping the ``k`` largest scores. ``z = (scores - theta) / tau`` with ``theta``
    halfway between the ``k``-th and the next score, a constant to derivatives; ``S`` holds the
    ``k`` largest nonzero targets.
    """
    n = len(scores)
    # Averages the k-th and the next by a product: indexing them would hide the top_k from XLA,
    # which then sorts everything, five times slower. Below all n scores comes 0.
    largest = lax.top_k(lax.stop_gradient(scores), min(k + 1, n))[0]
    halfway = jnp.zeros(len(largest), scores.dtype).at[k - 1 :].set(0.5)
    z = (scores - jnp.dot(largest, halfway)) / tau

    chosen = lax.top_k(targets, k)[1]
    wanted = jnp.zeros(n, bool).at[chosen].set(True, unique_indices=True) & (targets > 0)
    log_likelihood = jax.nn.log_sigmoid(jnp.where(wanted, z, -z))
    return -k * jnp.sum(jnp.where(wanted, targets, 1 / n) * log_likelihood)
