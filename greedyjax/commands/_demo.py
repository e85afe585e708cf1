"""`greedyjax demo`: weights learned on one part of a real ECG, tested on the rest."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from greedyjax import metrics
from greedyjax.commands import _files, _learning
from greedyjax.commands._files import CommandError
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.training import count_weights, fit

OUTPUTS = ("metrics.json", "recovery.png", "weights.png")
NUM_MEASUREMENTS = 64
SPARSITY = 28
# Of the largest score: cold, because the levels of a wavelet basis differ by degrees.
TAU = 0.01
NUM_VAL = 96  # The last windows of the training part: 8 times, 12 leads.
BATCH_SIZE = 64
NUM_EPOCHS = 25
LEARNING_RATE = 3e-2
IHT_LAYERS = 30
IHT_EPOCHS = 6

PICTURED = (
    "learned from true signals",
    "learned from measurements alone",
    "counted from measurements alone",
    "per-level RMS of the true signals",
)
LEVEL_NAMES = {0: "a5", 1: "d5", 2: "d4", 3: "d3", 4: "d2", 5: "d1"}
ATOMS = "wavelet coefficient (a5: coarse approximation; d5 to d1: details, coarse to fine)"


def demo(options: Namespace) -> None:
    """Runs every method on each draw of the measurement matrix, and writes the comparison."""
    try:
        from greedyjax import plotting
        from greedyjax.problems import ecg
    except ImportError as error:
        raise CommandError(f'the demo needs pip install "greedyjax[demo]": {error}') from error
    folder = Path(options.out)
    _files.claim_folder(folder, OUTPUTS, "demo")

    start = perf_counter()
    answers: list[dict[str, np.ndarray]] = []  # For each draw, method to recovered coefficients.
    seconds: dict[str, float] = {}
    problem, weights = None, {}
    for draw in range(options.draws):
        key = jax.random.fold_in(jax.random.key(options.seed), draw)
        try:
            drawn = ecg(key, num_measurements=NUM_MEASUREMENTS)
        except ImportError as error:
            raise CommandError(str(error)) from error
        found, spent, learned = _run(drawn, key)
        answers.append(found)
        for method, value in spent.items():
            seconds[method] = seconds.get(method, 0.0) + value
        if draw == 0:
            problem, weights = drawn, learned
        print(f"draw {draw + 1} of {options.draws} done after {perf_counter() - start:.0f} s")
    assert problem is not None

    rows = [_row(method, problem.X_test, answers, seconds) for method in answers[0]]
    _print_table(rows)
    signals = {
        "true": problem.X_test,
        "plain OMP": answers[0]["OMP"],
        "learned": answers[0]["OMP (learned weights)"],
    }
    time, windows, titles = _pictured(problem, signals)
    _files.draw(
        folder / "recovery.png", plotting.plot_recovery, time, windows, titles=titles, unit="mV"
    )
    _files.draw(
        folder / "weights.png",
        plotting.plot_weights,
        weights,
        groups=problem.levels,
        group_names=LEVEL_NAMES,
        atoms=ATOMS,
    )
    total = perf_counter() - start
    content = {
        "finished": True,
        "rows": rows,
        "config": _config(options, problem),
        "seconds": total,
    }
    _files.write_json(folder / "metrics.json", content, "demo")
    print(f"wrote {folder}/ after {total:.0f} s")


def _config(options: Namespace, problem) -> dict[str, Any]:
    """What the comparison was made with."""
    return {
        "seed": options.seed,
        "draws": options.draws,
        "num_measurements": NUM_MEASUREMENTS,
        "sparsity": SPARSITY,
        "tau": TAU,
        "num_epochs": NUM_EPOCHS,
        "learning_rate": LEARNING_RATE,
        "batch_size": BATCH_SIZE,
        "num_train": len(problem.X_train) - NUM_VAL,
        "num_val": NUM_VAL,
        "num_test": len(problem.X_test),
        "iht_layers": IHT_LAYERS,
        "iht_epochs": IHT_EPOCHS,
    }


def _run(problem, key):
    """Recovers the test windows of one draw with every method.

    Returns:
        Method to recovered coefficients, method to seconds (learning and recovery), and the
        weights worth a picture.
    """
    A, Y_test = problem.A, problem.Y_test
    Y, X = problem.Y_train, problem.X_train
    train, val = slice(0, len(Y) - NUM_VAL), slice(len(Y) - NUM_VAL, None)
    answers, seconds = {}, {}

    def record(method: str, learn: Callable[[], Any], recover: Callable[[Any], Any]):
        start = perf_counter()
        learned = learn()
        learned_after = perf_counter()
        answers[method] = np.asarray(recover(learned))
        seconds[method] = perf_counter() - start
        return learned, learned_after - start

    def learn(net, X, num_epochs, fraction=TAU):
        scale = _learning.score_scale_of(net, Y)
        net.tau = jnp.full_like(net.tau, fraction * scale)
        pairs = [(Y[part], None if X is None else X[part]) for part in (train, val)]
        steps = num_epochs * (len(pairs[0][0]) // BATCH_SIZE)
        settings = {"num_epochs": num_epochs, "batch_size": BATCH_SIZE, "key": key}
        fitted = fit(net, *pairs, optimizer=_learning.adam(LEARNING_RATE, steps), **settings)
        if len(fitted.history["val_loss"]) <= num_epochs:
            raise KeyboardInterrupt  # A table of methods that were cut short says nothing.
        fitted.net.tau = jnp.full_like(net.tau, _learning.SOFT_TAU * scale)
        return fitted.net

    def omp_net(weights=None):
        return OMPNet(A, sparsity=SPARSITY, weights=weights)

    def iht_net(weights=None):
        return IHTNet(A, sparsity=SPARSITY, num_layers=IHT_LAYERS, weights=weights)

    def soft(net):
        return _learning.solve_soft(net, Y_test)

    def hard(net):
        return _learning.solve_hard(net, Y_test, net.atom_weights)

    record("OMP", omp_net, hard)
    record("IHT", iht_net, hard)
    supervised, spent = record("OMP-Net", lambda: learn(omp_net(), X, NUM_EPOCHS), soft)
    record("OMP (learned weights)", lambda: supervised, hard)
    seconds["OMP (learned weights)"] += spent  # The same training as the row above.
    blind, _ = record(
        "OMP (weights from measurements alone)", lambda: learn(omp_net(), None, NUM_EPOCHS), hard
    )
    counted, _ = record(
        "OMP (counting, measurements alone)", lambda: omp_net(_count(A, Y[train])), hard
    )
    trained, spent = record("IHT-Net", lambda: learn(iht_net(), X, IHT_EPOCHS), soft)
    record("IHT (learned weights)", lambda: trained, hard)
    seconds["IHT (learned weights)"] += spent
    rms = lambda: omp_net(_level_rms(X, problem.levels))  # noqa: E731
    by_level, _ = record("OMP (per-level RMS weights)", rms, hard)
    record("linear MMSE", lambda: _linear_mmse(A, X), lambda estimator: Y_test @ estimator)

    pictured = dict(zip(PICTURED, (supervised, blind, counted, by_level), strict=True))
    return answers, seconds, {name: _unit(net.atom_weights) for name, net in pictured.items()}


@jax.jit
def _count(A, Y):
    return count_weights(A, Y, sparsity=SPARSITY)


def _level_rms(X, levels):
    """Root mean square of the training coefficients of each wavelet level."""
    energy = jnp.mean(X**2, axis=0)
    sums = jnp.zeros(int(levels.max()) + 1).at[levels].add(energy)
    return jnp.sqrt(sums / jnp.bincount(levels))[levels]


def _linear_mmse(A, X):
    """The linear estimator ``Y -> X`` of least mean squared error, from training signals."""
    covariance = X.T @ X / len(X)
    measured = A @ covariance @ A.T
    ridge = 1e-6 * jnp.trace(measured) / len(A)
    return jnp.linalg.solve(measured + ridge * jnp.eye(len(A)), A @ covariance)


def _unit(weights):
    weights = np.abs(np.asarray(weights))
    return weights / weights.max()


def _row(method, X, answers, seconds) -> dict[str, Any]:
    errors = np.array([np.asarray(metrics.nmse(found[method], X)) for found in answers])
    per_draw = -10 * np.log10(errors.mean(axis=1))
    return {
        "method": method,
        "snr_db": float(per_draw.mean()),
        "snr_db_median": float(-10 * np.log10(np.median(errors))),
        "seconds": seconds[method] / len(answers),
        "snr_db_draws": [float(value) for value in per_draw],
    }


def _print_table(rows) -> None:
    width = max(len(row["method"]) for row in rows)
    print(f"\n{'method':{width}}  SNR (dB)  median  seconds  each draw (dB)")
    best = max(row["snr_db"] for row in rows)
    for row in rows:
        draws = "  ".join(f"{value:5.1f}" for value in row["snr_db_draws"])
        mark = "*" if row["snr_db"] == best else " "
        print(
            f"{row['method']:{width}}  {row['snr_db']:7.1f}{mark} {row['snr_db_median']:7.1f}"
            f"  {row['seconds']:7.1f}  {draws}"
        )
    print(
        "SNR: of the mean error over the held-out windows, averaged over the draws of the matrix; "
        "* the best.\nseconds: learning and recovery for one draw, compilation shared by the draws."
    )


def _pictured(problem, signals):
    """Three test windows whose learned recovery is good, typical and poor among all."""
    errors = np.asarray(metrics.nmse(signals["learned"], signals["true"]))
    chosen = np.argsort(errors)[[len(errors) // 10, len(errors) // 2, 9 * len(errors) // 10]]
    synthesis, scale = np.asarray(problem.synthesis), np.asarray(problem.scale_test)
    windows, titles = [], []
    for window, rank in zip(chosen, ("good", "typical", "poor"), strict=True):
        values = {name: scale[window] * (synthesis @ x[window]) for name, x in signals.items()}
        windows.append(values)
        each = ", ".join(
            f"{name} {float(metrics.snr_db(x[window], signals['true'][window])):.1f} dB"
            for name, x in list(signals.items())[1:]
        )
        titles.append(f"lead {problem.lead_test[window]}, a {rank} recovery: {each}")
    time = np.arange(synthesis.shape[0]) / problem.sampling_rate
    return time, windows, titles
