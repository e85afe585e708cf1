"""How long is a training step of the networks at the sizes of the paper, and what bounds it?

Value and gradient with respect to the weights, batch 64, N = 256, single precision; OMP-Net:
m = 20 complex, 10 layers; IHT-Net: m = 36 complex, 30 layers. Beside each time stands what its
products take at the fastest rate at which this machine multiplies matrices, and, given a checkout
of the authors' code, the time of their network, on one thread, in the same run. Then one epoch of
selection learning on the paper's OMP problem: 1,024 signals, and 512 to validate.

    python benchmarks/train_step.py [--reference DIR]

DIR is a checkout of github.com/sina-taheri/Deep_Greedy_Unfolding, which needs torch.
"""

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import interleaved, write_result
from flax import nnx

from greedyjax.nets import IHTNet, OMPNet
from greedyjax.problems import Levels, sparse_in_levels
from greedyjax.training import fit, losses

BATCH, N, SPARSITY, TAU, STEP_SIZE = 64, 256, 10, 1e-3, 0.5
RATE_SIZES = (256, 512, 1024, 2048)
REPEATS, EPOCHS = 30, 20
IN_A_ROW = 10  # Steps follow each other, as in training, and find the caches as they left them.


class Net(NamedTuple):
    net: OMPNet | IHTNet
    problem: Levels
    layers: int


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the training steps.")
    parser.add_argument("--reference", type=Path, help="a checkout of the authors' code")
    reference = parser.parse_args().reference

    omp, iht = (
        sparse_in_levels(jax.random.key(0), num_signals=BATCH, num_measurements=m) for m in (20, 36)
    )
    layers = 30
    iht_net = IHTNet(iht.A, sparsity=SPARSITY, num_layers=layers, step_size=STEP_SIZE)
    nets = {
        "OMP-Net": Net(OMPNet(omp.A, sparsity=SPARSITY), omp, SPARSITY),
        "IHT-Net": Net(iht_net, iht, layers),
    }
    functions = {f"product {size}": product(size) for size in RATE_SIZES}
    for name, net in nets.items():
        for loss in (losses.reconstruction, losses.selection):
            functions[f"{name}, {loss.__name__}"] = our_step(net, loss)
        if reference:
            functions[f"{name}, reference"] = reference_step(reference, name, net)
    times = interleaved(functions, REPEATS)

    rates = {size: 2 * size**3 / times[f"product {size}"]["median_s"] for size in RATE_SIZES}
    rate = max(rates.values())
    rows = []
    for name, net in nets.items():
        for loss in ("reconstruction", "selection"):
            time = times[f"{name}, {loss}"]
            operations = needed(name, loss, *net.problem.A.shape, net.layers)
            limit = operations / rate
            seconds = time["median_s"] / IN_A_ROW
            row = {
                "net": f"{name}, {net.layers} layers",
                "loss": loss,
                "median_ms": 1e3 * seconds,
                "quartiles_ms": [1e3 * each / IN_A_ROW for each in time["quartiles_s"]],
                "first_call_s": time["first_call_s"],
                "megaflops_needed": operations / 1e6,
                "limit_ms": 1e3 * limit,
                "over_limit": seconds / limit,
            }
            if reference and loss == "reconstruction":
                theirs = times[f"{name}, reference"]["median_s"]
                row |= {"reference_ms": 1e3 * theirs, "speedup": theirs / seconds}
            rows.append(row)
            print(
                ", ".join(
                    f"{k}: {v:.3g}" if isinstance(v, float) else f"{v}" for k, v in row.items()
                )
            )
    epoch = epoch_of_selection_learning()
    print(", ".join(f"{k}: {v:.3g}" for k, v in epoch.items()))
    gflops = {str(size): each / 1e9 for size, each in rates.items()}
    write_result(
        "train_step", {"batch": BATCH, "gflops_of_products": gflops, "rows": rows, "epoch": epoch}
    )


def product(size: int):
    """A product of square matrices of the shape that gives the machine's rate."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    multiply = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    return lambda: jax.block_until_ready(multiply(a))


def our_step(net: Net, loss):
    graph, params, rest = nnx.split(net.net, nnx.Param, ...)

    def objective(params, Y, X):
        return loss(nnx.merge(graph, params, rest), Y, X)

    step = jax.jit(jax.value_and_grad(objective))

    def steps():
        for _ in range(IN_A_ROW):
            jax.block_until_ready(step(params, net.problem.Y, net.problem.X))

    return steps


def needed(name: str, loss: str, m: int, n: int, layers: int) -> float:
    """Floating-point operations of the products with A and of Gram-Schmidt; nothing else.

    A complex product with a complex vector has ``8 m n``, with a real one ``4 m n``. Backwards
    there are as many again. The selection loss runs the hard solver, and goes backwards through
    no product.
    """
    soft = loss == "reconstruction"
    if name == "IHT-Net":
        per_layer = 16 * m * n  # A x and A* r.
        products = layers * per_layer * (2 if soft else 1)
        return BATCH * products
    per_layer = 8 * m * n  # A* r; the soft atom A p has a real p, the hard one is a column.
    products = layers * (2 * (per_layer + 4 * m * n) if soft else per_layer)
    rows_met = layers * (layers - 1) / 2
    passes = 16 * m * rows_met  # One pass over the rows so far: their products, and their sum.
    return BATCH * (products + passes * (4 if soft else 2))


def epoch_of_selection_learning() -> dict[str, float]:
    """Seconds of an epoch once compiled: the median of many, and how long validation takes."""
    problem = sparse_in_levels(jax.random.key(0), num_signals=1024 + 512)
    train = problem.Y[:1024], problem.X[:1024]
    val = problem.Y[1024:], problem.X[1024:]
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-2))

    def run():
        return fit(
            OMPNet(problem.A, sparsity=SPARSITY, tau=0.1), train, val, optimizer=optimizer,
            num_epochs=EPOCHS, batch_size=BATCH, key=jax.random.key(0), progress=False,
        ).history["seconds"]  # fmt: skip

    run()
    seconds = run()
    low, median, high = np.percentile(seconds[1:], [25, 50, 75])
    return {"median_s": median, "low_s": low, "high_s": high, "validation_s": seconds[0]}


def reference_step(checkout: Path, name: str, net: Net):
    """The same step by the authors' network, on one thread, which is its fastest setting."""
    # Their module imports packages for pictures that it makes no use of.
    for module in ("torchvision.transforms", "torchvision", "matplotlib.pyplot", "matplotlib"):
        sys.modules.setdefault(module, ModuleType(module))
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
    sys.modules["matplotlib"].pyplot = sys.modules["matplotlib.pyplot"]
    sys.path[:0] = [str(checkout / "models"), str(checkout / "utils")]
    import nnet_module
    import torch

    torch.set_num_threads(1)
    A, Y, X = (torch.tensor(np.asarray(array)) for array in net.problem[:3])
    m, n = A.shape
    settings = {"D": A, "num_inputs": m, "num_outputs": n, "s": SPARSITY, "tau": TAU}
    if name == "OMP-Net":
        theirs = nnet_module.MLP_soft_OMP(
            L=net.layers, n_OMP_layers=0, n_soft_OMP_layers=net.layers, **settings
        )
    else:
        theirs = nnet_module.MLP_soft_IHT(
            L=net.layers, eta=STEP_SIZE, n_IHT_layers=0, n_soft_IHT_layers=net.layers, **settings
        )

    def step():
        theirs.zero_grad()
        loss = torch.mean(torch.sum((theirs(Y).real - X) ** 2, dim=1))
        loss.backward()
        return loss.item()

    ours = float(losses.reconstruction(net.net, net.problem.Y, net.problem.X))
    if abs(step() - ours) > 0.01 * ours:
        raise ValueError(f"{name}: the reference's loss is {step()}, ours {ours}")
    return step


if __name__ == "__main__":
    main()
