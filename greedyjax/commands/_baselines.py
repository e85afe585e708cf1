"""Baselines for a learned solver: estimators that do not use sparsity."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from greedyjax.commands._learning import adam
from greedyjax.training import fit

WIDTH = 512
LEARNING_RATE = 3e-3


def linear_mmse(A, X) -> jax.Array:
    """The matrix ``E`` of the linear MMSE estimator ``Y -> Y @ E``, from training signals."""
    covariance = X.T @ X / len(X)
    measured = A @ covariance @ A.T
    ridge = 1e-6 * jnp.trace(measured) / len(A)
    return jnp.linalg.solve(measured + ridge * jnp.eye(len(A)), A @ covariance)


class GenericNetwork(nnx.Module):
    """The linear MMSE estimator plus a network with two hidden layers, which starts at 0."""

    def __init__(self, estimator: jax.Array, key) -> None:
        (m, n), rngs = estimator.shape, nnx.Rngs(key)
        self.estimator = nnx.Param(estimator)
        self.first = nnx.Linear(m, WIDTH, rngs=rngs)
        self.second = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.last = nnx.Linear(WIDTH, n, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)

    def __call__(self, Y) -> jax.Array:
        """Estimates signals from measurements."""
        hidden = jax.nn.gelu(self.second(jax.nn.gelu(self.first(Y))))
        return Y @ self.estimator[...] + self.last(hidden)


def generic_network(A, pairs, *, num_epochs: int, batch_size: int, key) -> Callable[..., Any]:
    """Trains a `GenericNetwork` on pairs ``(Y, X)``, and keeps the epoch with the least error."""
    steps = num_epochs * (len(pairs[0]) // batch_size)
    net = GenericNetwork(linear_mmse(A, pairs[1]), key)
    fitted = fit(
        net, pairs, pairs, loss=_error, optimizer=adam(LEARNING_RATE, steps),
        num_epochs=num_epochs, batch_size=batch_size, key=key, val_every=10, progress=False,
    )  # fmt: skip
    return fitted.net


def _error(net, Y, X) -> jax.Array:
    return jnp.mean(jnp.sum((net(Y) - X) ** 2, axis=1))
