"""How long does hard IHT of many signals take?

Gaussian dictionaries with unit columns, signals of k standard normal entries, no noise, float32,
30 steps. No other library here has IHT for a batch; what stands beside it is the plain loop in
NumPy, and the time that its matrix products alone would take at the machine's measured rate.

    python benchmarks/batch_iht.py
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from batch_omp import exact_recovery, prepare, problem
from common import interleaved, write_result

import greedyjax as gj
from greedyjax import streaming

CONFIGURATIONS = [(256, 1024, 16, 2048), (64, 256, 4, 8192), (512, 2048, 32, 512)]
STEPS, REPEATS = 30, 5

solve = jax.jit(gj.iht_batch, static_argnames=("sparsity", "num_steps"))
product = jax.jit(partial(jnp.matmul, precision="highest"))


def main() -> None:
    rows = []
    for sizes in CONFIGURATIONS:
        rows += measure(*sizes)
    write_result("batch_iht", {"dtype": "float32", "steps": STEPS, "rows": rows})


def measure(m: int, n: int, k: int, num: int) -> list[dict]:
    """One row per method for one problem."""
    A, X, Y = problem(m, n, k, num)
    step = np.float32(1 / np.linalg.norm(A, 2) ** 2)
    run = partial(solve, prepare(A), sparsity=k, num_steps=STEPS, step_size=step)
    methods = {
        "greedyjax": lambda: streaming.recover(run, Y).x,
        "greedyjax, one call": lambda: np.asarray(run(Y).x),
        "NumPy": lambda: in_numpy(A, Y, k, step),
    }
    products = {"products": lambda: jax.block_until_ready(product(Y, A))}
    times = interleaved(methods | products, REPEATS)
    limit = 2 * STEPS * times["products"]["median_s"]
    rows = []
    for name, function in methods.items():
        sizes = {"m": m, "n": n, "k": k, "batch": num}
        recovered = exact_recovery(function(), X)
        rows.append({**sizes, "method": name, "exact_recovery": recovered, **times[name]})
        rows[-1]["products_alone_s"] = limit
        seconds = times[name]["median_s"]
        print(f"{m, n, k, num} {name:22} {seconds:.4f} s, its products {limit:.4f} s")
    return rows


def in_numpy(A, Y, k: int, step) -> np.ndarray:
    """The same steps, one product over the batch each."""
    X = np.zeros((len(Y), A.shape[1]), np.float32)
    for _ in range(STEPS):
        U = X + step * (Y - X @ A.T) @ A
        largest = np.argpartition(-np.abs(U), k - 1, axis=1)[:, :k]
        X = np.zeros_like(U)
        np.put_along_axis(X, largest, np.take_along_axis(U, largest, axis=1), axis=1)
    return X


if __name__ == "__main__":
    main()
