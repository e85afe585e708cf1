"""What are weights of one epoch worth, of ten epochs, and in which hard solver?

Ten fresh draws of each of the paper's two problems, as complex systems and stacked into real ones.
Weights from one and from ten epochs of the selection loss over 1,024 signals are used in the hard
solver they were learned with and in all others, beside the oracle's weights and w = 1, on test
signals that chose nothing. Settings are fixed here; they were chosen on other seeds.

    python benchmarks/solvers.py [--quick]
"""

import argparse
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import write_result

import greedyjax as gj
from greedyjax import nets, problems, training
from greedyjax.metrics import squared_error

SEEDS, TRAIN = range(10), 1024
TEST, TEST_OTHERS = 16384, 2048  # Signals, for a network's own solver and for the others.
TAU, RECIPES = 0.1, {1: (128, 0.1), 10: (64, 3e-2)}  # By epochs: batch size and learning rate.
SPARSITY, LAYERS, STEP = 10, 30, 0.5
MEASUREMENTS = {"OMP": 20, "IHT": 36}
SOLVERS = {
    "OMP": gj.omp,
    "IHT, 30 steps": partial(gj.iht, num_steps=30, step_size=STEP),
    "IHT, 30 steps, debiased": partial(gj.iht, num_steps=30, step_size=STEP, debias=True),
    "HTP, 30 steps": partial(gj.htp, num_steps=30, step_size=STEP),
    "CoSaMP, 20 steps, debiased": partial(gj.cosamp, num_steps=20, debias=True),
    "subspace pursuit, 20 steps": partial(gj.subspace_pursuit, num_steps=20),
}
OWN = {"OMP": "OMP", "IHT": "IHT, 30 steps"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="two seeds, 2,048 test signals")
    quick = parser.parse_args().quick
    seeds, num_test = (SEEDS[:2], 2048) if quick else (SEEDS, TEST)
    rows = []
    for problem in MEASUREMENTS:
        for stacked in (False, True):
            found = one_problem(problem, stacked, seeds, num_test)
            rows += found
            report(problem, stacked, found)
    if quick:
        return
    config = {
        "train": TRAIN, "test": TEST, "test of other solvers": TEST_OTHERS, "tau": TAU,
        "batch and learning rate by epochs": {str(e): recipe for e, recipe in RECIPES.items()},
        "sparsity": SPARSITY, "layers": LAYERS, "step_size": STEP,
    }  # fmt: skip
    metric = "test MSE of hard solvers, and of least squares on the true support"
    write_result("solvers", {"config": config, "metric": metric, "rows": rows})


def report(problem: str, stacked: bool, rows: list[dict]) -> None:
    own = OWN[problem]
    print(f"{problem}, {'stacked' if stacked else 'complex'}")
    for epochs in RECIPES:
        learned = f"learned, {epochs}"
        ratios = [row[learned][own] / row["oracle"][own] for row in rows]
        found = sum(row["hidden_set_found"][epochs] == 20 for row in rows)
        print(
            f"  {learned} over oracle: {min(ratios):.2f} to {max(ratios):.2f}; {found} sets found"
        )
    kinds = "ones", *(f"learned, {epochs}" for epochs in RECIPES), "oracle"
    for name in SOLVERS:
        each = [[row[kind][name] for row in rows] for kind in kinds]
        cells = [f"{np.median(some):.2g} (worst {max(some):.2g})" for some in each]
        print(f"  {name}: {', '.join(cells)}", flush=True)
    truth = [row["true_support"] for row in rows]
    print(f"  least squares on the true support: {np.median(truth):.2g}", flush=True)


def one_problem(problem: str, stacked: bool, seeds, num_test: int) -> list[dict]:
    """All seeds at once in training, one after the other in testing."""
    drawn = [draw(seed, MEASUREMENTS[problem], stacked, num_test) for seed in seeds]
    learned = {epochs: learn(problem, drawn, epochs) for epochs in RECIPES}
    rows = []
    for i, (seed, (A, Y, X, hidden)) in enumerate(zip(seeds, drawn, strict=True)):
        n = A.shape[1]
        weights = {"ones": jnp.ones(n), "oracle": jnp.zeros(n).at[hidden].set(1)}
        weights |= {f"learned, {epochs}": each[i] for epochs, each in learned.items()}
        test = Y[TRAIN:], X[TRAIN:]
        row = {"problem": problem, "system": "stacked real" if stacked else "complex", "seed": seed}
        row["hidden_set_found"] = {e: in_top(each[i], hidden) for e, each in learned.items()}
        for kind, w in weights.items():
            row[kind] = {
                name: float(error(name, A, *few(test, name != OWN[problem]), w)) for name in SOLVERS
            }
        row["true_support"] = float(on_true_support(A, *few(test, True)))
        rows.append(row)
    return rows


def few(test, other: bool):
    """The test signals, or the first of them where they are for another solver."""
    return tuple(each[: TEST_OTHERS if other else None] for each in test)


def in_top(weights, hidden) -> int:
    """How many of the hidden atoms are among as many atoms of largest weight."""
    top = np.argsort(-np.asarray(weights))[: len(hidden)]
    return len(set(top.tolist()) & set(np.asarray(hidden).tolist()))


def learn(problem: str, drawn, epochs: int) -> list:
    """Weights of each draw after so many epochs of the selection loss."""
    batch_size, _ = RECIPES[epochs]
    fitted = training.fit_many(
        [network(problem, A) for A, *_ in drawn],
        [(Y[:TRAIN], X[:TRAIN]) for _, Y, X, _ in drawn],
        # No other data are looked at: the weights of the last epoch are better on these.
        [(Y[:TRAIN], X[:TRAIN]) for _, Y, X, _ in drawn],
        optimizer=optimizer(epochs),
        num_epochs=epochs,
        batch_size=batch_size,
        key=jax.random.key(0),
        val_every=epochs,
        progress=False,
    )
    return [jnp.abs(result.net.weights[...]) for result in fitted]


def draw(seed: int, m: int, stacked: bool, num_test: int):
    key = jax.random.key(seed)
    A, Y, X, hidden = problems.sparse_in_levels(
        key, num_signals=TRAIN + num_test, num_measurements=m
    )
    return (*gj.stack_real(A, Y), X, hidden) if stacked else (A, Y, X, hidden)


def network(problem: str, A):
    if problem == "OMP":
        return nets.OMPNet(A, sparsity=SPARSITY, tau=TAU)
    return nets.IHTNet(A, sparsity=SPARSITY, num_layers=LAYERS, step_size=STEP, tau=TAU)


@lru_cache
def optimizer(epochs: int):
    batch_size, rate = RECIPES[epochs]
    schedule = optax.cosine_decay_schedule(rate, epochs * (TRAIN // batch_size))
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


@partial(jax.jit, static_argnums=0)
def error(name: str, A, Y, X, weights):
    solve = lambda y: SOLVERS[name](A, y, sparsity=SPARSITY, weights=weights).x
    return jnp.mean(squared_error(jax.lax.map(solve, Y, batch_size=256), X))


@jax.jit
def on_true_support(A, Y, X):
    """What nobody can know: least squares on the support of each signal."""

    def solve(inputs):
        y, x = inputs
        return gj.omp(A, y, sparsity=SPARSITY, weights=(x != 0).astype(x.dtype)).x

    return jnp.mean(squared_error(jax.lax.map(solve, (Y, X), batch_size=256), X))


if __name__ == "__main__":
    main()
