"""How long is one training step of the networks, at the sizes of the paper?

Batch 64, N = 256; OMP-Net: m = 20 complex, 10 layers; IHT-Net: m = 36 complex, 30 layers. Value
and gradient with respect to the weights, in single precision.

    python benchmarks/train_step.py
"""

import jax
from common import timed, write_result
from flax import nnx

from greedyjax.nets import IHTNet, OMPNet
from greedyjax.problems import sparse_in_levels
from greedyjax.training import losses

BATCH = 64


def main() -> None:
    omp_problem = sparse_in_levels(jax.random.key(0), num_signals=BATCH, num_measurements=20)
    iht_problem = sparse_in_levels(jax.random.key(0), num_signals=BATCH, num_measurements=36)
    nets = {
        "OMP-Net, 10 layers": (OMPNet(omp_problem.A, sparsity=10), omp_problem),
        "IHT-Net, 30 layers": (
            IHTNet(iht_problem.A, sparsity=10, num_layers=30, step_size=0.5),
            iht_problem,
        ),
    }
    rows = []
    for name, (net, problem) in nets.items():
        graph, params, rest = nnx.split(net, nnx.Param, ...)
        for loss in (losses.reconstruction, losses.selection):

            def objective(params, Y, X, graph=graph, rest=rest, loss=loss):
                return loss(nnx.merge(graph, params, rest), Y, X)

            step = jax.jit(jax.value_and_grad(objective))
            rows.append(
                {"net": name, "loss": loss.__name__, **timed(step, params, problem.Y, problem.X)}
            )
            print(f"{name}, {loss.__name__}: {rows[-1]['median_ms']:.1f} ms")
    write_result("train_step", {"batch": BATCH, "rows": rows})


if __name__ == "__main__":
    main()
