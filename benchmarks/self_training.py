"""When are weights learned from measurements alone as good as those that know the truth?

A phase diagram: 256 atoms, 10 nonzeros of a hidden set, a Gaussian matrix, over the number of
measurements, the size of the hidden set (all atoms: no structure) and the number of vectors to
learn from; and the paper's two problems from 1,024 and from 32 vectors. Each row is the mean
squared error of a hard solver with learned weights on 512 other signals (8,192 of the paper's,
where few failures decide), beside w = 1 and the weights that know the hidden set. Nothing but the
measurements is used to learn or to choose.

    python benchmarks/self_training.py [--quick] [--seeds 10] [--phase-seeds 3] [--parts PART ...]
        [--methods NAME ...]
"""

import argparse
import json
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import product
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import RESULTS, write_result

import greedyjax as gj
from greedyjax import nets, problems, training

N, S, NUM_TEST, NOISE = 256, 10, 512, 1e-3
NUM_TEST_PAPER = 8192
MEASUREMENTS, SIZES, VECTORS = (16, 24, 36, 64), (20, 40, 80, 160, 256), (32, 128, 1024)
TAU = 0.15  # Of the mean of the largest first scores.
BATCH, STEPS, RATE = 128, 160, 3e-2


class Problem(NamedTuple):
    """One matrix, measurements to learn from, and signals that judge what was learned."""

    A: Any
    Y: Any
    test: tuple[Any, Any]
    hidden: Any  # (n,) whether an atom is in the hidden set.


# --- Problems ------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames="num")
def signals(key, size, num: int):
    """Signals of norm 1 with `S` normal values at places of a hidden set of that size."""
    set_key, place_key, value_key = jax.random.split(key, 3)
    hidden = jax.random.permutation(set_key, N) < size
    ranks = jnp.where(hidden, jax.random.uniform(place_key, (num, N)), -1)
    chosen = ranks >= jnp.sort(ranks, axis=1)[:, -S, None]
    X = jnp.where(chosen, jax.random.normal(value_key, (num, N)), 0)
    return X / jnp.linalg.norm(X, axis=1, keepdims=True), hidden


def gaussian(seed: int, m: int, size: int, vectors: int) -> Problem:
    """The same signals for every ``m``, and the first ones of the same for few vectors."""
    key, matrix_key, noise_key = jax.random.split(jax.random.key(seed), 3)
    X, hidden = signals(key, size, max(VECTORS) + NUM_TEST)
    A = problems.gaussian(matrix_key, m, N)
    Y = X @ A.T + NOISE / m**0.5 * jax.random.normal(noise_key, (len(X), m))
    return Problem(A, Y[NUM_TEST:][:vectors], (Y[:NUM_TEST], X[:NUM_TEST]), hidden)


def paper(seed: int, m: int, vectors: int) -> tuple[Problem, tuple[Any, Any]]:
    """The paper's problem, and the pairs to learn from with true signals."""
    num = max(VECTORS) + NUM_TEST_PAPER
    A, Y, X, support = _levels(jax.random.key(seed), num_measurements=m, num_signals=num)
    hidden = jnp.zeros(N, bool).at[support].set(True)
    (test_Y, Y), (test_X, X) = ((each[:NUM_TEST_PAPER], each[NUM_TEST_PAPER:]) for each in (Y, X))
    return Problem(A, Y[:vectors], (test_Y, test_X), hidden), (Y, X)


_levels = jax.jit(problems.sparse_in_levels, static_argnames=("num_measurements", "num_signals"))


# --- Ways to weights -----------------------------------------------------------------------------


@lru_cache
def adam(rate: float, steps: int):
    decayed = optax.adam(optax.cosine_decay_schedule(rate, steps))
    return optax.chain(optax.clip_by_global_norm(1.0), decayed)


@jax.jit
def score_scale(A, Y):
    return jnp.mean(jax.vmap(lambda y: gj.relative_tau(A, y, 1.0))(Y))


def select(
    A, Y, X=None, weights=None, *, steps: int, rate: float = RATE, net=nets.OMPNet, sparsity=None
):
    """The selection loss, on the solver's own answers unless ``X`` is given."""
    num_batches = max(1, len(Y) // BATCH)
    epochs = -(-steps // num_batches)
    tau = TAU * score_scale(A, Y)
    if net is not nets.OMPNet:  # IHT's first scores are those times its step.
        tau, net = tau / 2, partial(net, num_layers=30, step_size=0.5)
    fitted = training.fit(
        net(A, sparsity=sparsity or S, tau=tau, weights=weights), (Y, X), (Y, X),
        optimizer=adam(rate, epochs * num_batches), num_epochs=epochs,
        batch_size=min(BATCH, len(Y)), key=jax.random.key(0), val_every=epochs, progress=False,
    )  # fmt: skip
    return jnp.abs(fitted.net.atom_weights)


@jax.jit
def bayes(A, Y):
    """Sparse Bayes, of the real system where there is a complex one: the signals are real."""
    return training.sparse_bayes(*(gj.stack_real(A, Y) if jnp.iscomplexobj(A) else (A, Y))).weights


@jax.jit
def count(A, Y):
    return training.count_weights(A, Y, sparsity=S)


METHODS = (
    "counting",
    "self-selection",
    "sparse Bayes",
    "sparse Bayes, tempered",
    "sparse Bayes, then self-selection",
)


def learn(methods, A, Y, net, rows: int) -> dict[str, Any]:
    """Weights by each method; with rows of zeros up to ``rows``, so that one compilation serves."""
    padded = _padded(A.T, rows).T, _padded(Y, rows)
    ways = (
        lambda: count(*padded),
        lambda: select(*padded, steps=STEPS),
        lambda: bayes(A, Y),
        lambda: training.temper_weights(net(A), Y, partial(bayes, A)),
        lambda: select(*padded, weights=bayes(A, Y), steps=STEPS // 4),
    )
    pairs = zip(METHODS, ways, strict=True)
    return {method: way() for method, way in pairs if method in methods}


def _padded(Y, rows: int):
    return jnp.pad(Y, ((0, 0), (0, rows - Y.shape[1])))


# --- Runs ----------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("make", "solvers"))
def hard_errors(make, solvers, A, Y, X, weights):
    """Errors of hard solvers with each of the weights; None is the network's own.

    Others see the first `NUM_TEST` signals alone.
    """

    def errors(weights):
        net = make(A, weights=weights)
        found = []
        for solver in solvers:
            num = len(Y) if solver is None else NUM_TEST
            x = net.harden(solver)(Y[:num])
            found.append(jnp.mean(jnp.sum((x.real - X[:num]) ** 2, axis=1)))
        return found

    return jax.lax.map(errors, weights)


OMP = partial(nets.OMPNet, sparsity=S)
IHT = partial(nets.IHTNet, sparsity=S, num_layers=30, step_size=0.5)
OWN = {"mse": None}
BOTH = {**OWN, "mse_of_subspace_pursuit": partial(gj.subspace_pursuit, num_steps=20)}


def rows_of(problem: Problem, found: dict[str, Any], make: Callable, rows: int, solvers, facts):
    """A row for each method, w = 1 and the oracle among them."""
    oracle = jnp.where(problem.hidden, 1.0, 1e-3)
    found = {"w = 1": jnp.ones(N), "oracle": oracle, **found}
    A, (Y, X) = _padded(problem.A.T, rows).T, problem.test
    stacked = jnp.stack(list(found.values()))
    errors = hard_errors(make, tuple(solvers.values()), A, _padded(Y, rows), X, stacked)
    errors = np.stack(errors, axis=1).tolist()
    size = int(problem.hidden.sum())
    for (title, weights), each in zip(found.items(), errors, strict=True):
        largest = np.argsort(-np.asarray(weights), kind="stable")[:size]
        share = float(np.mean(np.asarray(problem.hidden)[largest]))
        errors_of = dict(zip(solvers, each, strict=True))
        yield {**facts, "method": title, **errors_of, "hidden_set_found": share}


def run_phase(methods, measurements, sizes, vectors, seeds) -> list[dict]:
    rows, most = [], max(measurements)
    for m, num in product(measurements, vectors):
        start = perf_counter()
        for size, seed in product(sizes, seeds):
            problem = gaussian(seed, m, size, num)
            found = learn(methods, problem.A, problem.Y, OMP, most)
            facts = {"m": m, "size": size, "vectors": num, "seed": seed}
            rows += rows_of(problem, found, OMP, most, OWN, facts)
        for size in sizes:
            mine = [row for row in rows if (row["m"], row["vectors"]) == (m, num)]
            print(f"m {m}, {num} vectors, set of {size}:", summary(mine, "size", size), flush=True)
        print(f"  {perf_counter() - start:.0f} s", flush=True)
    return rows


def run_without_structure(methods, measurements, vectors, seeds) -> list[dict]:
    """Sparse Bayes where there is nothing to learn."""
    rows = []
    for m, num in product(measurements, vectors):
        for seed in seeds:
            problem = gaussian(seed, m, N, num)
            found = learn(methods, problem.A, problem.Y, OMP, m)
            facts = {"m": m, "vectors": num, "seed": seed}
            rows += rows_of(problem, found, OMP, m, OWN, facts)
        mine = [row for row in rows if row["m"] == m]
        print(f"no structure, m {m}, {num} vectors:", summary(mine, "vectors", num), flush=True)
    return rows


def run_paper(methods, seeds, vectors) -> list[dict]:
    rows = []
    for (name, make, m), num in product((("OMP", OMP, 20), ("IHT", IHT, 36)), vectors):
        for seed in seeds:
            problem, train = paper(seed, m, num)
            net = nets.OMPNet if name == "OMP" else nets.IHTNet
            found = learn(methods, problem.A, problem.Y, make, m)
            if "supervised" in methods:
                found["supervised"] = select(problem.A, *train, steps=8, rate=0.1, net=net)
            facts = {"problem": name, "m": m, "vectors": num, "seed": seed}
            rows += rows_of(problem, found, make, m, BOTH, facts)
        mine = [row for row in rows if row["problem"] == name]
        print(f"paper's {name}, {num} vectors:", summary(mine, "vectors", num), flush=True)
    return rows


def summary(rows, key: str, value) -> str:
    """The median error of each method and the largest; those of subspace pursuit behind it."""
    mine, texts = [row for row in rows if row[key] == value], []
    for title in dict.fromkeys(row["method"] for row in mine):
        text = title
        for solver in BOTH:
            errors = [row[solver] for row in mine if row["method"] == title and solver in row]
            text += f" {np.median(errors):.1e} ({max(errors):.1e})" if errors else ""
        texts.append(text)
    return ", ".join(texts)


BAYES = ("sparse Bayes", "sparse Bayes, tempered")  # The others have shown what they do there.
PARTS = {
    "paper": (run_paper, (*METHODS, "supervised"), {"vectors": (1024, 32)}),
    "no_structure": (
        run_without_structure, BAYES, {"measurements": (48, 64), "vectors": VECTORS},
    ),
    "phase": (
        run_phase, METHODS, {"measurements": MEASUREMENTS, "sizes": SIZES, "vectors": VECTORS},
    ),
}  # fmt: skip


def merged(before: list[dict], rows: list[dict]) -> list[dict]:
    """The rows, new ones in the place of old ones of the same facts and method."""
    key = lambda row: tuple(str(v) for v in row.values() if not isinstance(v, float))  # noqa: E731
    return list({key(row): row for row in before + rows}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two cells; writes nothing")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--phase-seeds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="those not named keep the"
                        " rows that they have")  # fmt: skip
    options = parser.parse_args()
    if options.quick:
        run_phase(METHODS, (36,), (20, 256), (128,), range(1))
        return
    found = {}
    for name in options.parts:
        run, methods, sizes = PARTS[name]
        methods = [each for each in methods if each in (options.methods or methods)]
        seeds = options.phase_seeds if name == "phase" else options.seeds
        found[name] = run(methods, **sizes, seeds=range(seeds))
    path = RESULTS / "self_training.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    parts = {name: merged(before.get(name, []), found.get(name, [])) for name in PARTS}
    config = {"tau": TAU, "batch": BATCH, "steps": STEPS, "learning_rate": RATE, "noise": NOISE}
    write_result("self_training", {"config": config, **parts})


if __name__ == "__main__":
    main()
