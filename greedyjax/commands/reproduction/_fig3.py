"""Figure 3: OMP-Net and IHT-Net, trained as in the paper and by the selection loss."""

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import pairwise
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from greedyjax import omp, problems, stack_real, streaming
from greedyjax.commands import _learning
from greedyjax.commands.reproduction._published import LEARNING, PUBLISHED_EPOCH
from greedyjax.metrics import squared_error
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.training import FitResult, fit_many, losses

SPARSITY = 10
NUM_TRAIN, NUM_VAL, NUM_TEST = 1024, 512, 16384
BATCH_SIZE = 64
MEASUREMENTS = {"omp": 20, "iht": 36}

# The paper's training: RMSprop with the defaults of PyTorch, halved every 500 epochs.
PAPER_TAU = 1e-3
PAPER_EPOCHS = 1000
PAPER_RATE = 1e-2
HALVED_EVERY = 500
CHECKED_EVERY = 10

# Our training: the selection loss, with the same settings for both problems and both systems.
OUR_TAU = 0.1
OUR_EPOCHS = 5
OUR_RATE = 3e-2

PAPER, OURS = "the paper's training", "selection loss"


class Problem(NamedTuple):
    """One draw of the problem: pairs ``(Y, X)``, and the hidden set."""

    A: Array
    train: tuple[Array, Array]
    val: tuple[Array, Array]
    test: tuple[Array, Array]
    support: Array


def fig3(algorithm: str, seeds: list[int], *, quick: bool = False) -> dict[str, Any]:
    """Trains and compares on one draw of the problem per seed.

    Returns:
        ``rows`` has the errors of every method, system and seed on the validation and the test
        set. ``training`` has the losses of the paper's training, per seed. ``weights`` has the
        weights that each training learned, per seed. ``hidden_set_found`` says how many atoms of
        the hidden set are among the largest weights. With ``quick`` there are two epochs, few test
        signals, and only the complex system.
    """
    systems = ("complex",) if quick else ("complex", "stacked")
    num_test, paper_epochs = (512, 2) if quick else (NUM_TEST, PAPER_EPOCHS)
    drawn = [draw(algorithm, seed, num_test) for seed in seeds]
    begin = perf_counter()
    by_paper = train_as_published(algorithm, drawn, paper_epochs)
    seconds = {PAPER: perf_counter() - begin}
    weights = {PAPER: _weights(by_paper)}
    rows = []
    for system in systems:
        if system == "stacked":
            drawn = [_stacked(problem) for problem in drawn]
        begin = perf_counter()
        by_us = _train_by_selection(algorithm, drawn)
        seconds[f"{OURS}, {system}"] = perf_counter() - begin
        weights[f"{OURS}, {system}"] = _weights(by_us)
        for i, problem in enumerate(drawn):
            learned = {PAPER: by_paper[i].net.atom_weights, OURS: by_us[i].net.atom_weights}
            for method, X_hat in _answers(algorithm, problem, learned):
                row = {"seed": seeds[i], "system": system, "method": method}
                rows.append(row | _errors(problem, X_hat) | _published(algorithm, system, method))
    hidden = [problem.support.tolist() for problem in drawn]
    return {
        "seeds": seeds,
        "interrupted": len(by_paper[0].history["val_loss"]) <= paper_epochs,
        "rows": rows,
        "training": [_history(result) for result in by_paper],
        "published_best_epoch": PUBLISHED_EPOCH[algorithm],
        "seconds_for_all_seeds": seconds,
        "hidden_set": hidden,
        "weights": weights,
        "hidden_set_found": {
            name: [_found(*pair) for pair in zip(each, hidden, strict=True)]
            for name, each in weights.items()
        },
    }


def draw(algorithm: str, seed: int, num_test: int) -> Problem:
    """Signals of one seed, cut into training, validation and test sets."""
    sizes = {
        "num_measurements": MEASUREMENTS[algorithm],
        "num_signals": NUM_TRAIN + NUM_VAL + num_test,
    }
    make = jax.jit(partial(problems.sparse_in_levels, **sizes))  # Without jit this is far slower.
    A, Y, X, support = make(jax.random.key(seed))
    edges = (0, NUM_TRAIN, NUM_TRAIN + NUM_VAL, None)
    train, val, test = [(Y[a:b], X[a:b]) for a, b in pairwise(edges)]
    return Problem(A, train, val, test, support)


def _stacked(problem: Problem) -> Problem:
    """The same problem as a real system ``[Re A; Im A] x = [Re y; Im y]``."""
    A, train, val, test, support = problem
    sets = [(stack_real(A, Y)[1], X) for Y, X in (train, val, test)]
    return Problem(stack_real(A, val[0])[0], sets[0], sets[1], sets[2], support)


def _net(algorithm: str, A: Array, tau: float, weights: Array | None = None):
    if algorithm == "omp":
        return OMPNet(A, sparsity=SPARSITY, tau=tau, weights=weights)
    steps = {"num_layers": 30, "step_size": 0.5}
    return IHTNet(A, sparsity=SPARSITY, tau=tau, weights=weights, **steps)


@lru_cache
def _paper_optimizer() -> optax.GradientTransformation:
    """RMSprop as in PyTorch, after clipping of the gradient."""
    steps = HALVED_EVERY * (NUM_TRAIN // BATCH_SIZE)
    rate = optax.exponential_decay(PAPER_RATE, steps, 0.5, staircase=True)
    rmsprop = optax.rmsprop(rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)
    return optax.chain(optax.clip_by_global_norm(1.0), rmsprop)


def train_as_published(algorithm, drawn, num_epochs) -> list[FitResult]:
    """Trains all seeds at once from w = 1, with the paper's loss, optimizer and temperature."""
    return fit_many(
        [_net(algorithm, problem.A, PAPER_TAU) for problem in drawn],
        [problem.train for problem in drawn],
        [problem.val for problem in drawn],
        optimizer=_paper_optimizer(),
        num_epochs=num_epochs,
        batch_size=BATCH_SIZE,
        key=jax.random.key(0),
        loss=losses.reconstruction,
        val_every=CHECKED_EVERY,
    )


def _train_by_selection(algorithm, drawn) -> list[FitResult]:
    return fit_many(
        [_net(algorithm, problem.A, OUR_TAU) for problem in drawn],
        [problem.train for problem in drawn],
        [problem.val for problem in drawn],
        optimizer=_learning.adam(OUR_RATE, OUR_EPOCHS * (NUM_TRAIN // BATCH_SIZE)),
        num_epochs=OUR_EPOCHS,
        batch_size=BATCH_SIZE,
        key=jax.random.key(0),
        val_loss=losses.hard_reconstruction,
    )


def _answers(
    algorithm: str, problem: Problem, learned: dict[str, Array]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields each method with its answers to the validation signals, then the test signals."""
    Y, X = (np.concatenate(both) for both in zip(problem.val, problem.test, strict=True))
    ones = jnp.ones(problem.A.shape[1])
    oracle = jnp.zeros_like(ones).at[problem.support].set(1)
    net = _net(algorithm, problem.A, PAPER_TAU)

    def hard(weights, net=net):
        return streaming.recover(
            lambda Y: _learning.solve_hard(net, Y, weights), Y, batch_size=1024
        )

    def soft(weights):
        weighted = net.rebuild(weights=weights)
        return streaming.recover(lambda Y: _learning.solve_soft(weighted, Y), Y, batch_size=1024)

    yield "hard, w = 1", hard(ones)
    yield "soft, w = 1", soft(ones)
    if jnp.iscomplexobj(problem.A):
        yield f"network, {PAPER}", soft(learned[PAPER])
    for training, weights in learned.items():
        yield f"hard, {training}", hard(weights)
    yield "hard, oracle weights", hard(oracle)
    yield "soft, oracle weights", soft(oracle)
    if algorithm == "iht":
        yield "OMP, w = 1", hard(ones, _net("omp", problem.A, PAPER_TAU))
    yield "least squares on the true support", np.asarray(_least_squares(problem.A, Y, X))


@jax.jit
def _least_squares(A, Y, X):
    """The fit on the true support: OMP with weight 0 for every other atom."""

    def one(signal):
        y, x = signal
        return omp(A, y, sparsity=SPARSITY, weights=(x != 0).astype(x.dtype)).x

    return jax.lax.map(one, (Y, X), batch_size=1024)


def _errors(problem: Problem, X_hat: np.ndarray) -> dict[str, Any]:
    """Errors on both sets. Signals have norm 1, so absolute errors are also relative errors."""
    parts = {"val": (X_hat[:NUM_VAL], problem.val[1]), "test": (X_hat[NUM_VAL:], problem.test[1])}
    return {
        name: _summary(np.asarray(squared_error(jnp.asarray(pair[0]), pair[1])))
        for name, pair in parts.items()
    }


def _summary(squared: np.ndarray) -> dict[str, Any]:
    error = np.sqrt(squared)
    return {
        "mse": float(squared.mean()),
        "median": float(np.median(error)),
        "share_below_1e-2": float(np.mean(error < 1e-2)),
        "quantiles_5_25_50_75_95": np.quantile(error, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist(),
    }


def _published(algorithm: str, system: str, method: str) -> dict[str, Any]:
    """The published values for this row, if there are any."""
    if system != "complex" or method not in LEARNING[algorithm]:
        return {}
    mse, median, share = LEARNING[algorithm][method]
    return {"published": {"mse": mse, "median": median, "share_below_1e-2": share}}


def _history(result: FitResult) -> dict[str, Any]:
    """Losses at the epochs with a validation."""
    losses_ = np.array([result.history["train_loss"], result.history["val_loss"]])
    epochs = np.flatnonzero(np.isfinite(losses_[1]))
    train, val = losses_[:, epochs]
    return {
        "epochs": epochs.tolist(),
        "train_loss": train.tolist(),
        "val_loss": val.tolist(),
        "best_epoch": result.best_epoch,
        "best_val_loss": result.best_val_loss,
        "best_val_loss_by_epoch_600": float(val[epochs <= 600].min()),
    }


def _weights(results: list[FitResult]) -> list[list[float]]:
    return [np.abs(np.asarray(result.net.atom_weights)).tolist() for result in results]


def _found(weights: list[float], hidden: list[int]) -> int:
    """The number of atoms of the hidden set among the same number of largest weights."""
    largest = np.argsort(weights)[::-1][: len(hidden)]
    return len(set(largest.tolist()) & set(hidden))
