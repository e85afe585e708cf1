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
from greedyjax.training import losses

SEEDS = 5
NUM_TRAIN, NUM_TEST, BATCH = 1024, 1024, 64
RATE = 3e-2  # Of Adam, with cosine decay.
# Epochs of NUM_TRAIN signals, and temperatures of the mean of the largest first scores.
LEVELS_EPOCHS, LEVELS_TAU = 6, 0.2
ECG_EPOCHS, ECG_TAU, ECG_SPARSITY = 12, 0.02, 28
SP_STEPS = 20

CENTRE = {"num_measurements": 20, "noise": 1e-3, "sparsity": 10}
GRIDS = {
    "num_measurements": (12, 16, 20, 24, 28),
    "noise": (1e-4, 1e-3, 1e-2, 3e-2, 1e-1),
    "sparsity": (4, 7, 10, 13, 16),
}
SIZES = (8, 32, 128, 1024)

# Signals between two changes of the hidden set; weights are refreshed after each block of signals.
PERIODS = (512, 128, 32)
BLOCK, BLOCKS, WINDOW = 128, 40, 512
REFRESH_RATE, REFRESH_EPOCHS, FORGET = 3e-2, 2, 0.1


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
    net = nets.OMPNet(A, sparsity=sparsity, tau=tau, weights=weights, groups=groups)
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


def levels_problem(seed: int, num_signals: int = NUM_TRAIN + NUM_TEST, **settings):
    """The paper's problem as a real system: the same hidden set whatever the settings."""
    draw = jax.jit(partial(problems.sparse_in_levels, num_signals=num_signals, **settings))
    A, Y, X, support = draw(jax.random.key(seed))
    return *gj.stack_real(A, Y), X, support


def oracle_of(support, n: int = 256):
    return jnp.zeros(n).at[support].set(1)


select_levels = partial(select, tau=LEVELS_TAU, epochs=LEVELS_EPOCHS)
select_ecg = partial(select, tau=ECG_TAU, epochs=ECG_EPOCHS, sparsity=ECG_SPARSITY)


# --- Parts ---------------------------------------------------------------------------------------


def shift(seeds, quick: bool) -> list[dict]:
    """Along each grid through the centre: the centre's weights, and those learned at the point."""
    rows, centre = [], {}
    points = [
        (grid, value, CENTRE | {grid: value}) for grid, all_ in GRIDS.items() for value in all_
    ]
    points.sort(key=lambda point: point[2] != CENTRE)  # The centre first.
    for grid, value, settings in points[:4] if quick else points:
        sparsity = settings["sparsity"]
        for seed in seeds:
            A, Y, X, support = levels_problem(seed, **settings)
            train, test = slice(NUM_TRAIN), slice(NUM_TRAIN, None)
            here = select_levels(A, Y[train], X[train], sparsity=sparsity)
            centre.setdefault(seed, (here, support))
            weights, hidden = centre[seed]
            np.testing.assert_array_equal(support, hidden)
            ways = {
                "w = 1": jnp.ones_like(here),
                "learned at the centre": weights,
                "learned here": here,
                "oracle": oracle_of(support),
            }
            for solver in ("OMP", "subspace pursuit"):
                for name, each in ways.items():
                    mse = error(A, Y[test], X[test], each, sparsity=sparsity, solver=solver)
                    rows.append(
                        {
                            "grid": grid, "value": value, "seed": seed, "solver": solver,
                            "weights": name, "test_mse": float(mse),
                        }
                    )  # fmt: skip
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
            "A's, refined on B's measurements": select_ecg(A, Y_b, None, weights=of_a),
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
    """Each block is recovered with weights from the signals before it, and then joins them."""
    rows = []
    for period in PERIODS[1:2] if quick else PERIODS:
        for seed in seeds:
            A, Y, X, supports = drifting(seed, period)
            once = select_levels(A, Y[:NUM_TRAIN], X[:NUM_TRAIN], sparsity=10)
            refreshed = once
            for block in range(4 if quick else BLOCKS):
                start = NUM_TRAIN + block * BLOCK
                now, window = slice(start, start + BLOCK), slice(start - WINDOW, start)
                refreshed = select_levels(
                    A, Y[window], None, sparsity=10, epochs=REFRESH_EPOCHS, num=WINDOW,
                    rate=REFRESH_RATE, weights=(1 - FORGET) * refreshed + FORGET,
                )  # fmt: skip
                ways = {
                    "w = 1": jnp.ones(A.shape[1]),
                    "learned once, true signals": once,
                    "refreshed, selection": refreshed,
                    "refreshed, sparse Bayes": bayes(A, Y[window]),
                    "refreshed, counting": count(A, Y[window], 10),
                    "oracle of the moment": oracle_of(supports[start + BLOCK // 2]),
                }
                replaced = 20 - len(np.intersect1d(supports[0], supports[start + BLOCK // 2]))
                for name, weights in ways.items():
                    mse = error(A, Y[now], X[now], weights, sparsity=10)
                    rows.append(
                        {
                            "period": period, "seed": seed, "signals_seen": start - NUM_TRAIN,
                            "replaced": replaced, "weights": name, "mse": float(mse),
                        }
                    )  # fmt: skip
    return rows


def drifting(seed: int, period: int):
    """The paper's problem as a real system, its set fixed for NUM_TRAIN signals, then drifting.

    Returns ``A``, ``Y``, ``X`` and the hidden set of each signal.
    """
    num, n, m, noise = NUM_TRAIN + BLOCKS * BLOCK, 256, *(
        CENTRE[name] for name in ("num_measurements", "noise")
    )
    start = problems.sparse_in_levels(jax.random.key(seed), num_signals=1, **CENTRE)
    generator = np.random.default_rng(seed)
    members, supports = np.array(start.support), np.empty((num, 20), int)
    X = np.zeros((num, n), np.float32)
    for i in range(num):
        if i > NUM_TRAIN and (i - NUM_TRAIN) % period == 0:
            others = np.setdiff1d(np.arange(n), members)
            members[generator.integers(20)] = generator.choice(others)
        supports[i] = members
        values = generator.standard_normal(CENTRE["sparsity"])
        chosen = generator.choice(members, CENTRE["sparsity"], replace=False)
        X[i, chosen] = values / np.linalg.norm(values)
    A = gj.stack_real(start.A, jnp.zeros(m, start.A.dtype))[0]
    E = generator.standard_normal((num, 2 * m)) * noise / (2 * m) ** 0.5
    return A, X @ A.T + jnp.asarray(E, jnp.float32), jnp.asarray(X), supports


def level_rms(X, levels):
    """Root mean square of the coefficients of each wavelet level."""
    energy = jnp.mean(X**2, axis=0)
    sums = jnp.zeros(6).at[levels].add(energy)
    return jnp.sqrt(sums / jnp.bincount(levels, length=6))[levels]


def linear_mmse(A, X):
    """The linear estimator ``Y -> X`` of least mean squared error, from training signals."""
    covariance = X.T @ X / len(X)
    measured = A @ covariance @ A.T
    ridge = 1e-6 * jnp.trace(measured) / len(A)
    return jnp.linalg.solve(measured + ridge * jnp.eye(len(A)), A @ covariance)


def decibels(mse) -> float:
    return float(-10 * np.log10(mse))


# --- Runs ----------------------------------------------------------------------------------------

PARTS = {"drift": drift, "few": few, "patient": patient, "shift": shift}


def run_part(name: str, seeds, quick: bool):
    """One part, pinned to nothing: rows and seconds."""
    start = perf_counter()
    rows = PARTS[name](seeds, quick)
    return rows, perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a little of each; writes nothing")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + (1 if options.quick else SEEDS))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), mp_context=spawn) as pool:
        runs = {n: pool.submit(run_part, n, seeds, options.quick) for n in options.parts}
    found = {name: each.result() for name, each in runs.items()}
    for name, (rows, seconds) in found.items():
        print(f"{name}: {len(rows)} rows, {seconds:.0f} s")


if __name__ == "__main__":
    main()
