"""What do learned weights give on fresh draws of the paper's OMP problem?

Five seeds of the generator; 1,024 signals to train on, 512 to validate, 1,024 to test. Hard OMP
with ones, with weights learned by the selection loss (5 epochs, with the true signals and from
the measurements alone), with counted weights and with oracle weights; the complex system and the
real one stacked from it. Test data choose nothing.

    python benchmarks/paper_problem.py
"""

from time import perf_counter

import jax
import jax.numpy as jnp
import optax
from common import write_result

import greedyjax as gj
from greedyjax import nets, problems, training
from greedyjax.training import losses

SEEDS = range(5)
EPOCHS, BATCH, TAU = 5, 64, 0.1
STEPS = EPOCHS * (1024 // BATCH)
OPTIMIZER = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-2, STEPS))
)


def main() -> None:
    rows = []
    for stacked in (False, True):
        for seed in SEEDS:
            row = {"seed": seed, "system": "stacked real" if stacked else "complex"}
            row |= one_seed(seed, stacked)
            rows.append(row)
            print(
                ", ".join(
                    f"{k}: {v:.3g}" if isinstance(v, float) else f"{v}" for k, v in row.items()
                )
            )
    config = {"epochs": EPOCHS, "batch": BATCH, "tau": TAU, "learning_rate": 3e-2}
    write_result(
        "paper_problem", {"config": config, "metric": "test MSE of hard OMP", "rows": rows}
    )


def one_seed(seed: int, stacked: bool) -> dict[str, float]:
    key = jax.random.key(seed)
    A, Y, X, support = problems.sparse_in_levels(key, num_signals=1024 + 512 + 1024)
    if stacked:
        A, Y = gj.stack_real(A, Y)
    train, val, test = slice(0, 1024), slice(1024, 1536), slice(1536, None)

    def test_error(weights=None):
        net = nets.OMPNet(A, sparsity=10, weights=weights)
        return float(hard_error(net, Y[test], X[test]))

    def learned(with_signals: bool):
        start = perf_counter()
        fitted = training.fit(
            nets.OMPNet(A, sparsity=10, tau=TAU),
            (Y[train], X[train] if with_signals else None),
            (Y[val], X[val] if with_signals else None),
            optimizer=OPTIMIZER,
            num_epochs=EPOCHS,
            batch_size=BATCH,
            key=key,
            progress=False,
        )
        return test_error(fitted.net.atom_weights), perf_counter() - start

    supervised, seconds = learned(True)
    blind, _ = learned(False)
    return {
        "ones": test_error(),
        "learned": supervised,
        "learned_from_measurements": blind,
        "counted_from_measurements": test_error(count(A, Y[train])),
        "oracle": test_error(jnp.zeros(A.shape[1]).at[support].set(1)),
        "fit_seconds": seconds,
    }


hard_error = jax.jit(losses.hard_reconstruction)
count = jax.jit(lambda A, Y: training.count_weights(A, Y, sparsity=10))


if __name__ == "__main__":
    main()
