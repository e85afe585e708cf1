"""What are learned weights worth away from what they were learned on?

Four parts, each over several seeds, by hard solvers with the weights:

- ``shift``: the paper's problem; weights learned at one number of measurements, noise and sparsity
  used at another, beside weights learned there, the oracle's and w = 1.
- ``patient``: weights learned on one person's electrocardiogram used on another's, beside those
  learned from the other's measurements alone.
- ``few``: 8 to 1024 training signals, with their true signals and from measurements alone.
- ``drift``: the hidden set changes one member at a time; weights learned once, beside weights
  refreshed on the measurements of a sliding window.

Nothing is held back to validate: all training signals there are train, for a fixed number of
steps, and the hyperparameters below were chosen on seeds from 100 on. Test signals choose nothing.

    python benchmarks/generalisation.py [--quick] [--parts NAME ...]
"""

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import write_result

import greedyjax as gj
from greedyjax import nets, problems, training
from greedyjax.commands._baselines import linear_mmse

SEEDS = 5
NUM_TRAIN, NUM_TEST, BATCH = 1024, 1024, 64
RATE = 3e-2  # Of Adam, with cosine decay.
# Epochs of NUM_TRAIN signals, and temperatures of the mean of the largest first scores.
LEVELS_EPOCHS, LEVELS_TAU = 6, 0.2
ECG_EPOCHS, ECG_TAU, ECG_SPARSITY = 6, 0.005, 28
REFINE_RATE = 1e-3  # Of one person's weights on the measurements of another.
SP_STEPS = 20

CENTRE = {"num_measurements": 20, "noise": 1e-3, "sparsity": 10}
GRIDS = {
    "num_measurements": (10, 14, 20, 28),
    "noise": (1e-3, 1e-2, 1e-1, 3e-1),
    "sparsity": (4, 10, 14, 18),
}
SIZES = (8, 32, 128, 1024)

# One member of the hidden set is replaced every so many signals; weights are refreshed, by as many
# epochs of a window, whenever a block has come.
PERIODS = (128, 32)
BLOCK, BLOCKS, WINDOW = 128, 16, 256
REFRESH_RATE, REFRESH_EPOCHS = 5e-2, 4
STARTS = {"its own weights": 0.0, "half-way back to 1": 0.5, "w = 1": 1.0}


# --- Learning and recovery -----------------------------------------------------------------------


@lru_cache
def adam(rate: float, steps: int):
    """Cached, so that training again does not compile again."""
    decayed = optax.adam(optax.cosine_decay_schedule(rate, steps))
    return optax.chain(optax.clip_by_global_norm(1.0), decayed)


@jax.jit
def score_scale(A, Y):
    return jnp.mean(jax.vmap(lambda y: gj.relative_tau(A, y, 1.0))(Y))


def select(A, Y, X, *, sparsity, tau, epochs, num=NUM_TRAIN, rate=RATE, weights=None, groups=None):
    """Weights by selection, from true signals or, where ``X`` is None, from measurements alone.

    Fewer than ``num`` signals are repeated, so that all trainings have as many steps and are
    compiled once.
    """
    tau = tau * score_scale(A, Y)
    Y, X = jax.tree.map(lambda data: jnp.resize(data, (num, data.shape[1])), (Y, X))
    weights = nets.Weights(weights, groups=groups)
    net = nets.OMPNet(A, sparsity=sparsity, tau=tau, weights=weights)
    fitted = training.fit(
        net, (Y, X), (Y[:BATCH], None if X is None else X[:BATCH]), num_epochs=epochs,
        optimizer=adam(rate, epochs * (num // BATCH)), batch_size=BATCH, val_loss=last,
        key=jax.random.key(0), progress=False,
    )  # fmt: skip
    return fitted.net.atom_weights


def last(net, Y, X):
    """Nothing validates: of equal losses `fit` takes the later."""
    return jnp.zeros(())


@partial(jax.jit, static_argnames="sparsity")
def count(A, Y, sparsity):
    return training.count_weights(A, Y, sparsity=sparsity)


@jax.jit
def bayes(A, Y):
    return training.sparse_bayes(A, Y).weights


@partial(jax.jit, static_argnames=("sparsity", "solver"))
def error(A, Y, X, weights, *, sparsity, solver="OMP"):
    """Mean squared error of a hard solver."""
    if solver == "OMP":
        X_hat = gj.omp_batch(A, Y, sparsity=sparsity, weights=weights).x
    else:
        pursue = partial(
            gj.subspace_pursuit, sparsity=sparsity, num_steps=SP_STEPS, weights=weights
        )
        X_hat = jax.vmap(lambda y: pursue(A, y).x)(Y)
    return jnp.mean(jnp.sum((X_hat - X) ** 2, axis=1))


draw_levels = jax.jit(
    problems.sparse_in_levels, static_argnames=("num_signals", "num_measurements", "sparsity")
)


def levels_problem(seed: int, num_signals: int = NUM_TRAIN + NUM_TEST, **settings):
    """The paper's problem as a real system: the same hidden set whatever the settings."""
    key = jax.random.key(seed)
    A, Y, X, support = draw_levels(key, num_signals=num_signals, **settings)
    return *gj.stack_real(A, Y), X, support


def oracle_of(support, n: int = 256):
    return jnp.zeros(n).at[support].set(1)


select_levels = partial(select, tau=LEVELS_TAU, epochs=LEVELS_EPOCHS)
select_ecg = partial(select, tau=ECG_TAU, epochs=ECG_EPOCHS, sparsity=ECG_SPARSITY)


# --- Parts ---------------------------------------------------------------------------------------


def shift(seeds, quick: bool) -> list[dict]:
    """Along each grid through the centre: the centre's weights, and those learned at the point."""
    rows, centre = [], {}
    points = [CENTRE | {grid: value} for grid, values in GRIDS.items() for value in values]
    points = [CENTRE, *(point for point in points if point != CENTRE)]
    for settings in points[:2] if quick else points:
        sparsity = settings["sparsity"]
        for seed in seeds:
            A, Y, X, support = levels_problem(seed, **settings)
            train, test = slice(NUM_TRAIN), slice(NUM_TRAIN, None)
            here = [select_levels(A, Y[train], S, sparsity=sparsity) for S in (X[train], None)]
            known, blind, hidden = centre.setdefault(seed, (*here, support))
            np.testing.assert_array_equal(support, hidden)
            ways = {
                "w = 1": jnp.ones(A.shape[1]),
                "centre, true signals": known,
                "centre, measurements alone": blind,
                "here, true signals": here[0],
                "here, measurements alone": here[1],
                "oracle": oracle_of(support),
            }
            for solver in ("OMP", "subspace pursuit"):
                for name, each in ways.items():
                    mse = error(A, Y[test], X[test], each, sparsity=sparsity, solver=solver)
                    row = {"seed": seed, "solver": solver, "weights": name, "test_mse": float(mse)}
                    rows.append(settings | row)
    return rows


def patient(seeds, quick: bool) -> list[dict]:
    """Weights and estimators of person A and of person B, on both, over draws of the matrix."""
    rows = []
    for seed in seeds:
        key = jax.random.key(seed)
        a, b = problems.ecg(key), problems.second_ecg(key)
        A, levels, Y_b = a.A, a.levels, b.Y_train
        of_a = select_ecg(A, a.Y_train, a.X_train)
        ways = {
            "w = 1": jnp.ones(A.shape[1]),
            "A, true signals": of_a,
            "A, true signals, one per level": select_ecg(A, a.Y_train, a.X_train, groups=levels),
            "A, RMS of each level": level_rms(a.X_train, levels),
            "A, measurements alone": select_ecg(A, a.Y_train, None),
            "A's, refined on B's measurements": select_ecg(
                A, Y_b, None, weights=of_a, rate=REFINE_RATE
            ),
            "B, measurements alone": select_ecg(A, Y_b, None),
            "B, measurements alone, one per level": select_ecg(A, Y_b, None, groups=levels),
            "B, measurements alone, sparse Bayes": bayes(A, Y_b),
            "B, measurements alone, counting": count(A, Y_b, ECG_SPARSITY),
            "B, true signals": select_ecg(A, Y_b, b.X_train),
        }
        for person, drawn in (("A", a), ("B", b)):
            Y, X = drawn.Y_test, drawn.X_test
            errors = {
                f"OMP: {name}": error(A, Y, X, weights, sparsity=ECG_SPARSITY)
                for name, weights in ways.items()
            }
            for other, known in (("A", a), ("B", b)):
                X_hat = Y @ linear_mmse(A, known.X_train)
                errors[f"linear MMSE: {other}"] = jnp.mean(jnp.sum((X_hat - X) ** 2, axis=1))
            rows += [
                {"tested_on": person, "method": method, "seed": seed, "snr_db": decibels(mse)}
                for method, mse in errors.items()
            ]
    return rows


def few(seeds, quick: bool) -> list[dict]:
    """From few training signals on either problem; each set holds the smaller ones."""
    rows = []

    def record(problem, seed, size, errors):
        rows.extend(
            {"problem": problem, "seed": seed, "size": size, "weights": name, "test_mse": float(e)}
            for name, e in errors.items()
        )

    sizes = SIZES[:2] if quick else SIZES
    for seed in seeds:
        A, Y, X, support = levels_problem(seed, **CENTRE)
        test_error = partial(error, A, Y[NUM_TRAIN:], X[NUM_TRAIN:], sparsity=10)
        fixed = {"w = 1": jnp.ones(A.shape[1]), "oracle": oracle_of(support)}
        record("paper", seed, None, {name: test_error(w) for name, w in fixed.items()})
        for size in sizes:
            Y_few, X_few = Y[:size], X[:size]
            ways = {
                "true signals": select_levels(A, Y_few, X_few, sparsity=10),
                "measurements alone": select_levels(A, Y_few, None, sparsity=10),
                "counting": count(A, jnp.resize(Y_few, Y[:NUM_TRAIN].shape), 10),
                "sparse Bayes": bayes(A, jnp.resize(Y_few, Y[:NUM_TRAIN].shape)),
            }
            record("paper", seed, size, {name: test_error(w) for name, w in ways.items()})
    for seed in () if quick else seeds:
        key = jax.random.key(seed)
        drawn = problems.ecg(key)
        A, levels = drawn.A, drawn.levels
        order = jax.random.permutation(key, len(drawn.Y_train))
        Y, X = drawn.Y_train[order], drawn.X_train[order]
        test_error = partial(error, A, drawn.Y_test, drawn.X_test, sparsity=ECG_SPARSITY)
        record("ECG", seed, None, {"w = 1": test_error(jnp.ones(A.shape[1]))})
        for size in sizes:
            Y_few, X_few = Y[:size], X[:size]
            repeated = jnp.resize(Y_few, (NUM_TRAIN, len(A)))
            ways = {
                "true signals": select_ecg(A, Y_few, X_few),
                "true signals, one per level": select_ecg(A, Y_few, X_few, groups=levels),
                "measurements alone": select_ecg(A, Y_few, None),
                "measurements alone, one per level": select_ecg(A, Y_few, None, groups=levels),
                "counting": count(A, repeated, ECG_SPARSITY),
                "sparse Bayes": bayes(A, repeated),
            }
            record("ECG", seed, size, {name: test_error(w) for name, w in ways.items()})
    return rows


def drift(seeds, quick: bool) -> list[dict]:
    """Block after block: its measurements and earlier ones refresh weights that recover it."""
    rows = []
    for period in PERIODS[:1] if quick else PERIODS:
        for seed in seeds:
            A, Y, X, supports = drifting(seed, period)
            once = select_levels(A, Y[:NUM_TRAIN], X[:NUM_TRAIN], sparsity=10)
            refreshed = dict.fromkeys(STARTS, once)
            for block in range(4 if quick else BLOCKS):
                end = NUM_TRAIN + (block + 1) * BLOCK
                now, window = slice(end - BLOCK, end), slice(end - WINDOW, end)
                for name, share in STARTS.items():
                    refreshed[name] = select_levels(
                        A, Y[window], None, sparsity=10, epochs=REFRESH_EPOCHS, num=WINDOW,
                        rate=REFRESH_RATE, weights=share + (1 - share) * refreshed[name],
                    )  # fmt: skip
                ways = {
                    "w = 1": jnp.ones(A.shape[1]),
                    "learned once, true signals": once,
                    **{f"refreshed from {name}": weights for name, weights in refreshed.items()},
                    "sparse Bayes": bayes(A, Y[window]),
                    "counting": count(A, Y[window], 10),
                    "oracle": oracle_of(np.unique(supports[now])),
                }
                kept = len(np.intersect1d(supports[0], supports[end - 1]))
                for name, weights in ways.items():
                    mse = error(A, Y[now], X[now], weights, sparsity=10)
                    rows.append(
                        {
                            "period": period, "seed": seed, "signals": end - NUM_TRAIN,
                            "replaced": 20 - kept, "weights": name, "mse": float(mse),
                        }
                    )  # fmt: skip
    return rows


def drifting(seed: int, period: int):
    """The paper's problem as a real system, its set fixed for NUM_TRAIN signals, then drifting.

    Returns ``A``, ``Y``, ``X`` and the hidden set of each signal.
    """
    num, n = NUM_TRAIN + BLOCKS * BLOCK, 256
    A, _, _, start = levels_problem(seed, num_signals=1, **CENTRE)
    generator = np.random.default_rng(seed)
    members, supports = np.array(start), np.empty((num, 20), int)
    X = np.zeros((num, n), np.float32)
    for i in range(num):
        if i > NUM_TRAIN and (i - NUM_TRAIN) % period == 0:
            others = np.setdiff1d(np.arange(n), members)
            members[generator.integers(20)] = generator.choice(others)
        supports[i] = members
        values = generator.standard_normal(CENTRE["sparsity"])
        chosen = generator.choice(members, CENTRE["sparsity"], replace=False)
        X[i, chosen] = values / np.linalg.norm(values)
    E = generator.standard_normal((num, len(A))) * CENTRE["noise"] / len(A) ** 0.5
    return A, X @ A.T + jnp.asarray(E, jnp.float32), jnp.asarray(X), supports


def level_rms(X, levels):
    """Root mean square of the coefficients of each wavelet level."""
    energy = jnp.mean(X**2, axis=0)
    sums = jnp.zeros(6).at[levels].add(energy)
    return jnp.sqrt(sums / jnp.bincount(levels, length=6))[levels]


def decibels(mse) -> float:
    return float(-10 * np.log10(mse))


# --- Runs ----------------------------------------------------------------------------------------

PARTS = {"drift": drift, "few": few, "patient": patient, "shift": shift}


def run_part(name: str, seeds, quick: bool):
    """One part: rows and seconds."""
    start = perf_counter()
    rows = PARTS[name](seeds, quick)
    return rows, perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a little of each; writes nothing")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    seeds = range(1 if options.quick else SEEDS)
    start = perf_counter()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), mp_context=spawn) as pool:
        runs = {name: pool.submit(run_part, name, seeds, options.quick) for name in options.parts}
    found = {name: run.result() for name, run in runs.items()}
    for name, (rows, seconds) in found.items():
        print(f"{name}: {len(rows)} rows, {seconds:.0f} s")
    if options.quick or options.parts != list(PARTS):
        return
    names = (
        "NUM_TRAIN", "NUM_TEST", "BATCH", "RATE", "LEVELS_EPOCHS", "LEVELS_TAU", "ECG_EPOCHS",
        "ECG_TAU", "ECG_SPARSITY", "REFINE_RATE", "SP_STEPS", "CENTRE", "BLOCK", "WINDOW",
        "REFRESH_RATE", "REFRESH_EPOCHS", "STARTS",
    )  # fmt: skip
    content = {
        "config": {name.lower(): globals()[name] for name in names},
        "seeds": list(seeds),
        "metric": "of a hard solver with the weights, on signals that chose nothing",
        "minutes": (perf_counter() - start) / 60,
        "rows": {name: rows for name, (rows, _) in found.items()},
    }
    print(write_result("generalisation", content))


if __name__ == "__main__":
    main()
