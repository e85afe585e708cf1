"""What does a real electrocardiogram come back as, and what do learned weights add?

Windows of `problems.ecg`, m random measurements of each: the mean error on the test windows over
five draws of the matrix, for methods that know the training windows and for methods that know
their measurements alone. All settings are fixed here; they were chosen on other draws.

    python benchmarks/ecg.py [--quick]
"""

import argparse
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import write_result

import greedyjax as gj
from greedyjax import nets, problems, training

DRAWS, MEASUREMENTS = range(5), (32, 48, 64, 96)
EPOCHS, EPOCHS_FROM_Y = 36, 6  # The longer it takes its own answers for true, the surer it is.
BATCH, RATE = 64, 3e-2
TAU, TAU_OF_LEVELS = 0.01, 0.005  # Of the mean largest first score.
FRACTION = 0.44  # Of m: the sparsity where a signal has no background.
RIDGE = {32: 1e-3, 48: 3e-4, 64: 1e-4, 96: 1e-5}  # Penalties times mean squares, without one.
BACKGROUND_FRACTION = 0.25  # Of m: the sparsity beside a background.
BACKGROUND, BACKGROUND_FROM_Y = 0.3, 0.1  # Its part of the covariance.
SUBSPACE_STEPS = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one draw, m = 64")
    quick = parser.parse_args().quick
    rows = []
    for m in (64,) if quick else MEASUREMENTS:
        for draw in DRAWS[:1] if quick else DRAWS:
            for method, (error, seconds) in one_draw(m, draw).items():
                rows.append(
                    {"m": m, "draw": draw, "method": method, "error": error, "seconds": seconds}
                )
        for method in dict.fromkeys(row["method"] for row in rows):
            some = [row["error"] for row in rows if (row["m"], row["method"]) == (m, method)]
            print(f"m = {m}, {method}: {decibels(some):.2f} dB", flush=True)
    if quick:
        return
    config = {
        "epochs": EPOCHS, "epochs from Y alone": EPOCHS_FROM_Y, "batch": BATCH,
        "learning_rate": RATE, "tau": TAU, "tau of levels": TAU_OF_LEVELS,
        "sparsity": FRACTION, "ridge": {str(m): value for m, value in RIDGE.items()},
        "sparsity beside a background": BACKGROUND_FRACTION, "background": BACKGROUND,
        "background from measurements": BACKGROUND_FROM_Y,
    }  # fmt: skip
    metric = "mean squared error over test windows of norm 1; its mean over draws in dB"
    write_result("ecg", {"config": config, "metric": metric, "rows": rows})


def decibels(errors) -> float:
    """Signal to noise: of the mean error."""
    return float(-10 * np.log10(np.mean(errors)))


class Split(NamedTuple):
    """Measurements to learn from, with the windows or without, and those to recover."""

    A: jax.Array
    Y: jax.Array
    X: jax.Array | None
    Y_test: jax.Array


def one_draw(m: int, draw: int) -> dict[str, tuple[float, float]]:
    """Test error and training seconds of every method."""
    data = problems.ecg(jax.random.key(draw), num_measurements=m)
    n = data.A.shape[1]
    covariance = data.X_train.T @ data.X_train / len(data.X_train)
    squares = jnp.diag(covariance)
    many, few = round(FRACTION * m), round(BACKGROUND_FRACTION * m)
    known = Split(data.A, data.Y_train, data.X_train, data.Y_test)
    blind = known._replace(X=None)
    prior = bayes(data.A, data.Y_train)
    squares_from_y = prior.deviations**2

    weights, seconds = select(known, many)
    blind_weights, blind_seconds = select(blind, many)
    of_levels, level_seconds = select(known, many, data.levels)
    blind_levels, blind_level_seconds = select(blind, many, data.levels)
    levels = jnp.sqrt(jax.ops.segment_sum(squares, data.levels) / jnp.bincount(data.levels))
    ridge = RIDGE[m] / (squares + 1e-6)
    answers = {
        "OMP": (omp(data.A, data.Y_test, jnp.ones(n), many), 0.0),
        "linear MMSE": (linear(data.A, covariance, data.Y_test), 0.0),
        "RMS of each level": (omp(data.A, data.Y_test, levels[data.levels], many), 0.0),
        "selection": (omp(data.A, data.Y_test, weights, many), seconds),
        "selection, one weight per level": (
            omp(data.A, data.Y_test, of_levels, many), level_seconds,
        ),
        "selection, ridge": (omp(data.A, data.Y_test, weights, many, ridge), seconds),
        "selection, ridge, subspace pursuit": (
            subspace(data.A, data.Y_test, weights, many, ridge), seconds,
        ),
        "selection on a background": on_background(known, BACKGROUND * covariance, squares, few),
        "Y alone: counting": (omp(data.A, data.Y_test, count(data.A, data.Y_train, many), many), 0),
        "Y alone: selection": (omp(data.A, data.Y_test, blind_weights, many), blind_seconds),
        "Y alone: selection, one weight per level": (
            omp(data.A, data.Y_test, blind_levels, many), blind_level_seconds,
        ),
        "Y alone: sparse Bayes": (omp(data.A, data.Y_test, prior.weights, many), 0.0),
        "Y alone: sparse Bayes on a background": on_background(
            blind, BACKGROUND_FROM_Y * squares_from_y, squares_from_y, few, prior.weights
        ),
    }  # fmt: skip
    return {
        method: (float(jnp.mean(jnp.sum((x - data.X_test) ** 2, axis=1))), taken)
        for method, (x, taken) in answers.items()
    }


def on_background(split: Split, covariance, squares, sparsity: int, weights=None):
    """A sparse part by OMP with a prior in its fit, and the linear estimate of the rest."""
    back = covariance if covariance.ndim == 2 else jnp.diag(covariance)
    level = jnp.sqrt(1e-4 * jnp.trace(split.A @ back @ split.A.T) / len(split.A))
    whitened = gj.whiten(split.A, covariance, noise=level)
    seconds = 0.0
    if weights is None:
        inside = Split(whitened.A, whitened.measurements(split.Y), split.X, split.Y_test)
        weights, seconds = select(inside, sparsity)
    Y = whitened.measurements(split.Y_test)
    x = omp(whitened.A, Y, weights, sparsity, 1 / (squares + 1e-6))
    return whitened.complete(split.Y_test, x), seconds


def select(split: Split, sparsity: int, levels=None):
    """Weights by the selection loss from w = 1, and the seconds that its epochs took.

    One per atom, or one for all atoms of a level.
    """
    tau = TAU if levels is None else TAU_OF_LEVELS
    epochs = EPOCHS_FROM_Y if split.X is None else EPOCHS
    scale = first_score(split.A, split.Y)
    fitted = training.fit(
        nets.OMPNet(
            split.A, sparsity=sparsity, tau=tau * scale, weights=nets.Weights(groups=levels)
        ),
        (split.Y, split.X),
        (split.Y[:BATCH], None if split.X is None else split.X[:BATCH]),
        optimizer=optimizer(epochs * (len(split.Y) // BATCH)),
        num_epochs=epochs,
        batch_size=BATCH,
        key=jax.random.key(0),
        val_every=epochs,
        progress=False,
    )
    return jnp.abs(fitted.net.atom_weights), float(np.sum(fitted.history["seconds"][1:]))


@lru_cache
def optimizer(num_steps: int):
    """Adam with a cosine decay, clipped."""
    schedule = optax.cosine_decay_schedule(RATE, num_steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


@partial(jax.jit, static_argnums=3)
def omp(A, Y, weights, sparsity, penalty=None):
    return gj.omp_batch(A, Y, sparsity=sparsity, weights=weights, penalty=penalty).x


@partial(jax.jit, static_argnums=3)
def subspace(A, Y, weights, sparsity, penalty):
    settings = {"sparsity": sparsity, "num_steps": SUBSPACE_STEPS, "penalty": penalty}
    return jax.vmap(lambda y: gj.subspace_pursuit(A, y, weights=weights, **settings).x)(Y)


@jax.jit
def linear(A, covariance, Y):
    """The estimate that is linear in y and has least mean square error on the training windows."""
    level = jnp.sqrt(1e-6 * jnp.trace(A @ covariance @ A.T) / len(A))
    return gj.whiten(A, covariance, noise=level).complete(Y, jnp.zeros((len(Y), A.shape[1])))


@partial(jax.jit, static_argnums=2)
def count(A, Y, sparsity):
    return training.count_weights(A, Y, sparsity=sparsity)


@jax.jit
def first_score(A, Y):
    return jnp.mean(jax.vmap(lambda y: gj.relative_tau(A, y, 1.0))(Y))


bayes = jax.jit(training.sparse_bayes)


if __name__ == "__main__":
    main()
