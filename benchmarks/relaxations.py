"""Which relaxation of sorting is worth using for what?

The paper's two problems and the compressed ECG, each relaxation in the same network, trained in the
same way on the same signals. The temperature of each is chosen on a draw of its own, by validation,
from the same few fractions of the mean largest score; test signals choose nothing. For each:

- milliseconds of a training step (value and gradient), compiled, in turn with the others;
- the size of its gradient at the start, and how far the soft answer is from the hard one there;
- the error that training reaches, of the soft network and of its hard solver, over ten draws.

    python benchmarks/relaxations.py [--draws N] [--epochs N] [--parts paper-omp paper-iht ecg]
                                     [--relaxations SoftSort NeuralSort SparseSort BoundaryGate]
"""

import argparse
import dataclasses
from functools import partial
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import write_result
from flax import nnx

import greedyjax as gj
from greedyjax import metrics, problems
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.sorting import BoundaryGate, NeuralSort, SoftSort, SparseSort
from greedyjax.training import fit, losses

ROWS = (SoftSort, NeuralSort, SparseSort)
FRACTIONS = (0.3, 0.1, 0.03, 0.01)
TRAIN, VAL, TEST, BATCH = 1024, 256, 512, 64
TUNING_SEED = 100  # No draw that is reported.
REPEATS = 25


@dataclasses.dataclass(frozen=True)
class Problem:
    """One draw: a matrix, and three pairs of measurements and signals."""

    A: jax.Array
    train: tuple
    val: tuple
    test: tuple


def paper(seed: int, num_measurements: int = 20, stacked: bool = True) -> Problem:
    A, Y, X, *_ = problems.sparse_in_levels(
        jax.random.key(seed),
        num_signals=TRAIN + VAL + TEST,
        num_measurements=num_measurements,
    )
    if stacked:
        A, Y = gj.stack_real(A, Y)
    cut = np.cumsum([TRAIN, VAL])
    parts = list(zip(np.split(np.asarray(Y), cut), np.split(np.asarray(X), cut), strict=True))
    return Problem(A, *parts)


def ecg(seed: int) -> Problem:
    data = problems.ecg(jax.random.key(seed))
    order = np.random.default_rng(seed).permutation(len(data.Y_train))
    Y, X = np.asarray(data.Y_train)[order], np.asarray(data.X_train)[order]
    train, val = (Y[:-200], X[:-200]), (Y[-200:], X[-200:])
    return Problem(data.A, train, val, (data.Y_test, data.X_test))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    names = [each.__name__ for each in (*ROWS, BoundaryGate)]
    parser.add_argument("--relaxations", nargs="+", default=names, choices=names)
    options = parser.parse_args()
    rows = []
    for part in options.parts:
        draw, make, relaxations, loss_names = PARTS[part]
        relaxations = [each for each in relaxations if each.__name__ in options.relaxations]
        tuned = {}
        for relaxation in relaxations:
            for loss_name in loss_names:
                tuned[relaxation, loss_name] = tune(
                    draw(TUNING_SEED), make, relaxation, loss_name, options.epochs
                )
        times = step_times(draw(TUNING_SEED), make, tuned)
        for (relaxation, loss_name), fraction in tuned.items():
            found = [
                learn(draw(seed), make, relaxation, loss_name, fraction, options.epochs)
                for seed in range(options.draws)
            ]
            jax.clear_caches()  # A process may hold only so many compiled programs.
            row = {
                "problem": part, "relaxation": relaxation.__name__, "loss": loss_name,
                "fraction": fraction, **times[relaxation, loss_name],
                **{name: [each[name] for each in found] for name in found[0]},
            }  # fmt: skip
            rows.append(row)
            soft, hard = (np.exp(np.mean(np.log(row[name]))) for name in ("soft", "hard"))
            print(
                f"{part:10} {relaxation.__name__:13} {loss_name:15} fraction {fraction:<5} "
                f"{row['step_ms']:7.2f} ms, gradient {np.median(row['gradient']):.2e}, soft is "
                f"{np.median(row['softness']):.1e} off hard; test error soft {soft:.2e}, "
                f"hard {hard:.2e}",
                flush=True,
            )
            write_result("relaxations", {"settings": vars(options), "rows": rows})


def omp_net(problem: Problem, tau, relaxation):
    return OMPNet(problem.A, sparsity=10, tau=tau, relaxation=relaxation)


def ecg_net(problem: Problem, tau, relaxation):
    return OMPNet(problem.A, sparsity=28, tau=tau, relaxation=relaxation)


def iht_net(problem: Problem, tau, relaxation):
    return IHTNet(problem.A, sparsity=10, num_layers=30, tau=tau, relaxation=relaxation)


def temperature(problem: Problem, make, fraction: float) -> float:
    """A fraction of the mean largest score of the first choice."""
    net = make(problem, 1.0, SoftSort)
    scores = net.choices(problem.train[0][:BATCH]).met[0].scores[:, 0]
    return fraction * float(jnp.mean(jnp.max(scores, axis=-1)))


def train(problem: Problem, net, loss_name: str, epochs: int):
    steps = epochs * (len(problem.train[0]) // BATCH)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-2, steps))
    )
    return fit(
        net, problem.train, problem.val, loss=getattr(losses, loss_name),
        val_loss=losses.hard_reconstruction, optimizer=optimizer, num_epochs=epochs,
        batch_size=BATCH, key=jax.random.key(0), progress=False,
    ).net  # fmt: skip


def tune(problem: Problem, make, relaxation, loss_name: str, epochs: int) -> float:
    """The fraction whose hard solver has the least error on validation signals."""
    errors = {}
    for fraction in FRACTIONS:
        net = make(problem, temperature(problem, make, fraction), relaxation)
        net = train(problem, net, loss_name, epochs)
        errors[fraction] = float(losses.hard_reconstruction(net, *problem.val))
    return min(errors, key=errors.__getitem__)


def learn(problem: Problem, make, relaxation, loss_name, fraction: float, epochs: int) -> dict:
    """What training reaches on one draw, and what it began with."""
    net = make(problem, temperature(problem, make, fraction), relaxation)
    Y, X = (jnp.asarray(each[:BATCH]) for each in problem.train)
    _, gradient = jax.jit(nnx.value_and_grad(getattr(losses, loss_name)))(net, Y, X)
    hard = net.harden()(Y)
    softness = jnp.linalg.norm(net(Y) - hard, axis=-1) / jnp.linalg.norm(hard, axis=-1)
    begin = float(losses.hard_reconstruction(net, *problem.test))
    net = train(problem, net, loss_name, epochs)
    Y, X = map(jnp.asarray, problem.test)
    return {
        "gradient": float(optax.global_norm(gradient)),
        "softness": float(jnp.median(softness)),
        "untrained": begin,
        "soft": float(jnp.mean(metrics.squared_error(net(Y), X))),
        "hard": float(losses.hard_reconstruction(net, Y, X)),
    }


def step_times(problem: Problem, make, tuned: dict) -> dict:
    """Milliseconds of a loss with its gradient for one batch, all of them in turn."""
    Y, X = (jnp.asarray(each[:BATCH]) for each in problem.train)
    steps = {}
    for (relaxation, loss_name), fraction in tuned.items():
        net = make(problem, temperature(problem, make, fraction), relaxation)
        graph, params, rest = nnx.split(net, nnx.Param, ...)
        loss = getattr(losses, loss_name)

        def value(params, rest, Y, X, graph=graph, loss=loss):
            return loss(nnx.merge(graph, params, rest), Y, X)

        compiled = jax.jit(jax.value_and_grad(value)).lower(params, rest, Y, X).compile()
        steps[relaxation, loss_name] = lambda c=compiled, p=params, r=rest: jax.block_until_ready(
            c(p, r, Y, X)
        )
    runs = {key: [] for key in steps}
    for _ in range(REPEATS):
        for key, step in steps.items():
            begin = perf_counter()
            step()
            runs[key].append(1e3 * (perf_counter() - begin))
    quartiles = {key: np.quantile(each, [0.25, 0.5, 0.75]).tolist() for key, each in runs.items()}
    return {
        key: {"step_ms": median, "step_quartiles_ms": [low, high]}
        for key, (low, median, high) in quartiles.items()
    }


PARTS = {
    "paper-omp": (paper, omp_net, ROWS, ("reconstruction", "selection")),
    "paper-iht": (
        partial(paper, num_measurements=36, stacked=False),
        iht_net,
        (*ROWS, BoundaryGate),
        ("reconstruction", "selection"),
    ),
    "ecg": (ecg, ecg_net, ROWS, ("selection",)),
}

if __name__ == "__main__":
    main()
