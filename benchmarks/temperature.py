"""What does the temperature do to the answers of the soft solvers, and to their gradients?

The paper's two problems, seed 0, 512 signals, double precision: the mean squared error with w = 1
and with oracle weights, and the norm of the gradient of either loss with respect to the weights
(median over batches of 64), over temperatures relative to the largest score.

    python benchmarks/temperature.py
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import write_result

from greedyjax.commands import _learning
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.problems import partial_fourier, sparse_in_levels
from greedyjax.training import losses

FRACTIONS = np.logspace(-8, 1, 28)
NUM_SIGNALS, BATCH = 512, 64


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    rows = []
    for name, m in (("OMP-Net", 20), ("IHT-Net", 36)):
        A, Y, X, support = sparse_in_levels(
            jax.random.key(0),
            num_signals=NUM_SIGNALS,
            num_measurements=m,
            matrix=lambda key, m, n: partial_fourier(key, m, n, dtype=jnp.float64),
        )
        net = OMPNet(A, sparsity=10)
        if name == "IHT-Net":
            net = IHTNet(A, sparsity=10, num_layers=30, step_size=0.5)
        scale = _learning.score_scale_of(net, Y)
        oracle = jnp.full(A.shape[1], 1e-3).at[support].set(1)
        batches = jax.tree.map(lambda a: a.reshape(-1, BATCH, a.shape[-1]), (Y, X))
        for weights_name, weights in (("w = 1", jnp.ones_like(oracle)), ("oracle", oracle)):
            hard = losses.hard_reconstruction(net.rebuild(weights=weights), Y, X)
            measured = jax.jit(measure)
            for fraction in FRACTIONS:
                net.tau = jnp.full_like(net.tau, fraction * scale)
                values = [float(value) for value in measured(net, weights, batches)]
                keys = ("mse", "gradient_of_reconstruction", "gradient_of_selection")
                row = {"net": name, "weights": weights_name, "fraction": float(fraction)}
                rows.append(row | dict(zip(keys, values, strict=True)) | {"hard_mse": float(hard)})
            print(name, weights_name, "done")
    write_result("temperature", {"rows": rows})


def measure(net, weights, batches):
    """The error of the soft solver, and the median norms of the gradients."""

    def one(batch):
        Y, X = batch

        def of(loss):
            return lambda w: loss(net.rebuild(weights=w), Y, X)

        value, gradient = jax.value_and_grad(of(losses.reconstruction))(weights)
        selection = jax.grad(of(losses.selection))(weights)
        return value, jnp.linalg.norm(gradient), jnp.linalg.norm(selection)

    mse, reconstruction, selection = jax.lax.map(one, batches)
    return jnp.mean(mse), jnp.median(reconstruction), jnp.median(selection)


if __name__ == "__main__":
    main()
