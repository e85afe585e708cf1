"""Which training objective learns weights best, with true signals and from measurements alone?

Every objective on every problem, one training per seed: what the hard solver with the learned
weights gives on test signals that chose nothing, how many epochs and seconds it takes until its
validation error is within 15 % of that of the oracle's weights, and what the oracle and w = 1
give. Objectives that see no true signal choose their epoch without them too. Each problem runs in
a process of its own on one processor; compilation is stated apart.

    python benchmarks/objectives.py [--quick] [--seeds 10] [--problems NAME ...]
        [--objectives NAME ...]
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from itertools import pairwise
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import write_result

import greedyjax as gj
from greedyjax import nets, problems, training
from greedyjax.training import losses

BATCH = 64
WITHIN = 1.15  # Of the oracle's validation error: level with it.
WARM, COLD = 0.2, 0.02  # Temperatures, of the mean of the largest first scores.
LONGER = 2


# --- Problems ------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """One draw of a problem: data as ``(Y, X)``, and weights that know the true signals."""

    A: Any
    train: tuple
    val: tuple
    test: tuple
    oracle: Any
    hidden: Any = None  # The indices of the hidden level, if there is one.


class Problem(NamedTuple):
    """A problem, the network for it, and how long to train."""

    draw: Callable[[int, int], Drawn]  # Of a seed and the number of training signals.
    net: Callable[..., Any]
    sparsity: int
    epochs: int  # Of the losses that score choices; those of answers have `LONGER` times as many.


def in_levels(num_measurements: int, stacked: bool, seed: int, num_train: int) -> Drawn:
    """The paper's problem; the oracle's weights are 1 on the hidden level and 0 off it."""
    num = num_train + 512 + 1024
    drawn = _levels(jax.random.key(seed), num_measurements=num_measurements, num_signals=num)
    A, Y, X, support = drawn
    if stacked:
        A, Y = gj.stack_real(A, Y)
    oracle = jnp.zeros(A.shape[1]).at[support].set(1)
    return Drawn(A, *_cut(Y, X, num_train), oracle, np.asarray(support))


def decaying(seed: int, num_train: int) -> Drawn:
    """Ten of 256 atoms, the first ones likelier: without replacement with ``exp(-j / 25)``."""
    num, m, n, s = num_train + 512 + 1024, 36, 256, 10
    A_key, choice_key, value_key, noise_key = jax.random.split(jax.random.key(seed), 4)
    A = problems.gaussian(A_key, m, n)
    ranks = jax.random.gumbel(choice_key, (num, n)) - jnp.arange(n)[None] / 25
    chosen = ranks >= jnp.sort(ranks, axis=1)[:, -s, None]
    X = jnp.where(chosen, jax.random.normal(value_key, (num, n)), 0)
    X = X / jnp.linalg.norm(X, axis=1, keepdims=True)
    Y = X @ A.T + 1e-3 / m**0.5 * jax.random.normal(noise_key, (num, m))
    return Drawn(A, *_cut(Y, X, num_train), profile(A, Y, X[:num_train], s))


def electrocardiogram(seed: int, num_train: int) -> Drawn:
    """The demo's: one recording, a new matrix for each seed."""
    drawn = problems.ecg(jax.random.key(seed), num_measurements=64)
    Y, X = drawn.Y_train, drawn.X_train
    train = Y[:-96][:num_train], X[:-96][:num_train]
    test = drawn.Y_test, drawn.X_test
    return Drawn(drawn.A, train, (Y[-96:], X[-96:]), test, profile(drawn.A, *train, 28))


def _cut(Y, X, num_train):
    edges = (0, num_train, num_train + 512, None)
    return [(Y[a:b], X[a:b]) for a, b in pairwise(edges)]


_levels = jax.jit(problems.sparse_in_levels, static_argnames=("num_measurements", "num_signals"))
OMP10 = partial(nets.OMPNet, sparsity=10)
IHT10 = partial(nets.IHTNet, sparsity=10, num_layers=30, step_size=0.5)
PROBLEMS = {
    "OMP, complex": Problem(partial(in_levels, 20, False), OMP10, 10, 12),
    "OMP, stacked": Problem(partial(in_levels, 20, True), OMP10, 10, 12),
    "IHT, complex": Problem(partial(in_levels, 36, False), IHT10, 10, 4),
    "IHT, stacked": Problem(partial(in_levels, 36, True), IHT10, 10, 4),
    "decaying profile": Problem(decaying, OMP10, 10, 12),
    "ECG": Problem(electrocardiogram, partial(nets.OMPNet, sparsity=28), 28, 8),
}


# --- Objectives ----------------------------------------------------------------------------------


class Stage(NamedTuple):
    """A part of a training: a loss, its optimizer, and a temperature from ``warm`` to ``cold``."""

    loss: Callable
    optimizer: Callable[[int], optax.GradientTransformation]  # Of the number of steps.
    warm: float
    cold: float
    share: float = 1.0  # Of the epochs.


class Objective(NamedTuple):
    """A way to weights: stages of training, or a function of ``(A, Y, X, sparsity)``."""

    way: tuple[Stage, ...] | Callable
    signals: bool


@lru_cache
def adam(rate: float, steps: int):
    """Adam with clipped gradients and cosine decay."""
    decayed = optax.adam(optax.cosine_decay_schedule(rate, steps))
    return optax.chain(optax.clip_by_global_norm(1.0), decayed)


@lru_cache
def rmsprop(rate: float, steps: int):
    """The paper's: that of PyTorch, after clipping; its rate is halved later than we train."""
    del steps
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.rmsprop(rate, decay=0.99, eps=1e-8, eps_in_sqrt=False),
    )


@lru_cache
def cooling(warm: float, cold: float, steps: int):
    """A temperature that falls geometrically from one to the other."""
    if warm == cold:
        return optax.constant_schedule(warm)
    return optax.exponential_decay(warm, steps, cold / warm)


def stage(loss, rate: float, warm: float, cold: float, share: float = 1.0) -> tuple[Stage, ...]:
    return (Stage(loss, partial(adam, rate), warm, cold, share),)


PAPER = (Stage(losses.reconstruction, partial(rmsprop, 1e-2), 2e-3, 2e-3),)


@partial(jax.jit, static_argnames="sparsity")
def bayes(A, Y, X, sparsity):
    return training.sparse_bayes(A, Y).weights


@partial(jax.jit, static_argnames="sparsity")
def count(A, Y, X, sparsity):
    return training.count_weights(A, Y, sparsity=sparsity)


@partial(jax.jit, static_argnames="sparsity")
def profile(A, Y, X, sparsity):
    """What counting gives that sees the true signals."""
    fractions = X**2 / jnp.sum(X**2, axis=1, keepdims=True)
    return (jnp.mean(fractions, axis=0) + 1e-4) ** 0.25


HIDDEN = losses.hidden_rows(folds=10)
SELECT, RECONSTRUCT = losses.selection, losses.reconstruction
OBJECTIVES = {
    "reconstruction, the paper's recipe": Objective(PAPER, True),
    "reconstruction, Adam, cold": Objective(stage(RECONSTRUCT, 1e-2, COLD, COLD), True),
    "reconstruction, annealed": Objective(stage(RECONSTRUCT, 1e-2, WARM, COLD), True),
    "deep supervision, annealed": Objective(stage(losses.deep_supervision, 1e-2, WARM, COLD), True),
    "straight-through, annealed": Objective(stage(losses.straight_through, 1e-2, WARM, COLD), True),
    "selection, warm": Objective(stage(SELECT, 3e-2, WARM, WARM), True),
    "selection, cold": Objective(stage(SELECT, 3e-2, COLD, COLD), True),
    "selection, annealed": Objective(stage(SELECT, 3e-2, WARM, COLD), True),
    "selection, then reconstruction": Objective(
        stage(SELECT, 3e-2, COLD, COLD, 0.5) + stage(RECONSTRUCT, 3e-3, COLD, COLD, 0.5), True
    ),
    "counting, true signals": Objective(profile, True),
    "self-selection, warm": Objective(stage(SELECT, 3e-2, WARM, WARM), False),
    "self-selection, cold": Objective(stage(SELECT, 3e-2, COLD, COLD), False),
    "hidden rows, annealed": Objective(stage(HIDDEN, 1e-2, WARM, COLD), False),
    "counting": Objective(count, False),
    "sparse Bayes": Objective(bayes, False),
}
QUICK = ("reconstruction, annealed", "selection, cold", "counting", "sparse Bayes")


# --- Runs ----------------------------------------------------------------------------------------


@jax.jit
def hard_error(net, Y, X, weights):
    return losses.hard_reconstruction(net.rebuild(weights=weights), Y, X)


@jax.jit
def score_scale(net, Y):
    scales = jax.vmap(lambda y: gj.relative_tau(net.A, y, 1.0))(Y)
    return getattr(net, "step_size", 1.0) * jnp.mean(scales)


class Learned(NamedTuple):
    """Weights, the hard solver's validation error after each epoch, and the seconds of each."""

    weights: Any
    errors: np.ndarray
    seconds: np.ndarray


def learn(
    problem: Problem,
    drawn: Drawn,
    objective: Objective,
    epochs: int,
    scale: float,
    stop: int = 1000,
) -> Learned:
    """One training, of temperatures in units of ``scale``, of no more than ``stop`` epochs a stage.

    What is compiled depends on all but ``drawn`` and ``stop``.
    """
    Y, X = drawn.train
    if callable(objective.way):
        start = perf_counter()
        weights = jax.block_until_ready(
            objective.way(drawn.A, Y, X if objective.signals else None, problem.sparsity)
        )
        seconds = perf_counter() - start
        error = hard_error(problem.net(drawn.A), *drawn.val, weights)
        return Learned(weights, np.array([error]), np.array([seconds]))

    net, errors, seconds = problem.net(drawn.A), [], []
    for stage in objective.way:
        num_epochs = round(stage.share * epochs * (1 if stage.loss is SELECT else LONGER))
        steps = num_epochs * (len(Y) // BATCH)
        train = partial(
            training.fit, net, (Y, X if objective.signals else None),
            optimizer=stage.optimizer(steps), num_epochs=min(num_epochs, stop), batch_size=BATCH,
            key=jax.random.key(0), loss=stage.loss, val_loss=hard_error_or(stage.loss),
            tau=cooling(stage.warm * scale, stage.cold * scale, steps), progress=False,
        )  # fmt: skip
        result = measured = train(drawn.val)
        if not objective.signals:  # The same training again, which chooses its epoch without them.
            result = train((drawn.val[0], None))
        begin = 1 if errors else 0
        errors += measured.history["val_loss"][begin:].tolist()
        seconds += result.history["seconds"][begin:].tolist()
        net = result.net
    return Learned(net.weights[...], np.array(errors), np.array(seconds))


@lru_cache
def hard_error_or(loss):
    """The hard solver's error where validation has signals, else the loss: a ``val_loss``."""
    return lambda net, Y, X: loss(net, Y, X) if X is None else losses.hard_reconstruction(net, Y, X)


def run_problem(
    name: str, titles, seeds: int, num_train: int = 1024, epochs: int | None = None
) -> tuple[list[dict], dict[str, float]]:
    """Objectives on one problem; rows, and the seconds of what each compiles."""
    problem = PROBLEMS[name]
    epochs = epochs or problem.epochs
    draws = [problem.draw(seed, num_train) for seed in range(seeds)]
    # One for all seeds, which so share what is compiled.
    scale = float(jnp.median(jnp.stack([score_scale(problem.net(d.A), d.train[0]) for d in draws])))
    rows, compile_s, levels = [], {}, []
    for seed, drawn in enumerate(draws):
        net = problem.net(drawn.A)
        levels.append(float(hard_error(net, *drawn.val, drawn.oracle)))
        for title, weights in (("w = 1", jnp.ones_like(drawn.oracle)), ("oracle", drawn.oracle)):
            error = float(hard_error(net, *drawn.test, weights))
            rows.append({"problem": name, "objective": title, "seed": seed, "test_mse": error})
    for title in titles:
        objective = OBJECTIVES[title]
        start = perf_counter()
        learn(problem, draws[0], objective, epochs, scale, stop=1)
        compile_s[title] = perf_counter() - start
        for seed, drawn in enumerate(draws):
            learned = learn(problem, drawn, objective, epochs, scale)
            reached = np.flatnonzero(learned.errors <= WITHIN * levels[seed])
            net = problem.net(drawn.A)
            row = {
                "problem": name,
                "objective": title,
                "seed": seed,
                "test_mse": float(hard_error(net, *drawn.test, learned.weights)),
                "seconds": float(learned.seconds.sum()),
                "epochs_to_oracle": int(reached[0]) if len(reached) else None,
                "seconds_to_oracle": (
                    float(learned.seconds[: reached[0] + 1].sum()) if len(reached) else None
                ),
            }
            if drawn.hidden is not None:
                largest = jnp.argsort(-jnp.abs(learned.weights))[: len(drawn.hidden)]
                row["hidden_set_found"] = len(np.intersect1d(largest, drawn.hidden))
            rows.append(row)
        print(summary(rows, name, title), flush=True)
    return rows, compile_s


def summary(rows, problem: str, objective: str) -> str:
    """One line: errors over those of the oracle, epochs, seconds."""
    of = lambda title: [  # noqa: E731
        row for row in rows if (row["problem"], row["objective"]) == (problem, title)
    ]
    mine, oracle = of(objective), of("oracle")
    ratios = [row["test_mse"] / best["test_mse"] for row, best in zip(mine, oracle, strict=True)]
    epochs = [row["epochs_to_oracle"] for row in mine if row["epochs_to_oracle"] is not None]
    error = np.median([row["test_mse"] for row in mine])
    reached = f"{len(epochs)} of {len(mine)}" + (f" by {max(epochs)}" if epochs else "")
    return (
        f"{problem:17} {objective:36} mse {error:.2e}, / oracle {np.median(ratios):7.2f}"
        f" (worst {max(ratios):8.2f}), oracle's level {reached}"
        f", {np.median([row['seconds'] for row in mine]):.2f} s"
    )


def run_pinned(place: int, *arguments):
    """`run_problem` on one of the processors, so that those beside it do not change its times."""
    if hasattr(os, "sched_setaffinity"):
        available = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {available[place % len(available)]})
    return run_problem(*arguments)


def run(names, titles, seeds: int):
    """Each problem in a process of its own, as many at a time as there are processors."""
    spawn, jobs = multiprocessing.get_context("spawn"), os.cpu_count() or 1
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        runs = [pool.submit(run_pinned, i, name, titles, seeds) for i, name in enumerate(names)]
    rows = [row for each in runs for row in each.result()[0]]
    return rows, {name: each.result()[1] for name, each in zip(names, runs, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="two epochs of one seed; writes nothing"
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    options = parser.parse_args()
    if options.quick:
        run_problem("OMP, stacked", QUICK, seeds=1, num_train=256, epochs=2)
        return
    start = perf_counter()
    rows, compile_s = run(options.problems, options.objectives, options.seeds)
    content = {
        "config": {
            "batch": BATCH, "within": WITHIN, "warm": WARM, "cold": COLD,
            "longer": LONGER, "epochs": {name: each.epochs for name, each in PROBLEMS.items()},
        },
        "metric": "test MSE of the hard solver with the learned weights",
        "from_measurements_alone": [t for t, each in OBJECTIVES.items() if not each.signals],
        "minutes": (perf_counter() - start) / 60,
        "compile_seconds": compile_s,
        "rows": rows,
    }  # fmt: skip
    if (options.problems, options.objectives) == (list(PROBLEMS), list(OBJECTIVES)):
        print(write_result("objectives", content))
    else:
        print(json.dumps(compile_s))


if __name__ == "__main__":
    main()
