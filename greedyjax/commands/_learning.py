"""How the commands train: one optimizer, and temperatures relative to the scores."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import optax

from greedyjax import relative_tau
from greedyjax.nets import IHTNet, OMPNet

# The temperature for recovery by a soft solver, as a fraction of the largest score. On the paper's
# problem this is the paper's temperature, 1e-3.
SOFT_TAU = 2e-3
# The temperature of the choices when interactions are trained. If atoms depend on each other,
# coefficients mostly decay gradually, and a lower temperature is better.
INTERACTIONS_TAU = 1e-2


@lru_cache
def adam(learning_rate: float, num_steps: int) -> optax.GradientTransformation:
    """Adam with gradients clipped to norm 1 and a cosine decay. Cached, so it compiles once."""
    schedule = optax.cosine_decay_schedule(learning_rate, num_steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


@jax.jit
def score_scale(A, Y, step_size=1.0) -> jax.Array:
    """Mean over the signals of the largest first score: the unit of the temperatures."""
    return step_size * jnp.mean(jax.vmap(lambda y: relative_tau(A, y, 1.0))(Y))


def score_scale_of(net: OMPNet | IHTNet, Y) -> float:
    """`score_scale` for the scores of this network's family."""
    return float(score_scale(net.A, Y, getattr(net, "step_size", 1.0)))


@jax.jit
def solve_hard(net: OMPNet | IHTNet, Y, weights) -> jax.Array:
    """Recovers with the hard solver of a network, with given weights in place of its own."""
    return net.rebuild(weights=weights).harden()(Y)


@jax.jit
def solve_soft(net: OMPNet | IHTNet, Y) -> jax.Array:
    """Recovers with the network itself."""
    return net(Y)
