"""`greedyjax demo`: structure learned on one part of a real ECG, tested on the rest."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from greedyjax import metrics
from greedyjax.commands import _files, _learning, _long_runs
from greedyjax.commands._baselines import generic_network, linear_mmse
from greedyjax.commands._files import CommandError
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.training import fit, learn_interactions

OUTPUTS = ("metrics.json", "recovery.png", "weights.png", "interactions.png")
NUM_MEASUREMENTS = 64
SPARSITY = 28
# A fraction of the largest score. It is low, because wavelet coefficients decay gradually.
TAU = 0.01
NUM_VAL = 96  # The last windows of the training part: 8 times, 12 leads.
BATCH_SIZE = 64
NUM_EPOCHS = 25
LEARNING_RATE = 3e-2
IHT_LAYERS = 30
GENERIC_EPOCHS = 150
NUM_ROUNDS = 3  # Rounds of learning from answers; more rounds gain little and take long.

WEIGHTS = (
    "learned from true signals",
    "learned from measurements alone",
    "per-level RMS of the true signals",
)
LEVEL_NAMES = {0: "a5", 1: "d5", 2: "d4", 3: "d3", 4: "d2", 5: "d1"}
ATOMS = "wavelet coefficient (a5: coarse approximation; d5 to d1: details, coarse to fine)"


class Pictured(NamedTuple):
    """Learned structure for the pictures: weights by their origin, and the interactions."""

    weights: dict[str, np.ndarray]
    interactions: Any


def demo(options: Namespace) -> None:
    """Runs every method on each draw of the measurement matrix, and writes the comparison."""
    try:
        from greedyjax import plotting
        from greedyjax.problems import ecg, second_ecg
    except ImportError as error:
        raise CommandError(f'the demo needs pip install "greedyjax[demo]": {error}') from error
    folder = Path(options.out)
    _files.claim_folder(folder, OUTPUTS, "demo")

    start = perf_counter()
    # For each draw, a dict from method to the coefficients of both persons.
    answers: list[dict[str, Any]] = []
    seconds: dict[str, float] = {}
    problem, second, learned = None, None, None
    for draw in range(options.draws):
        key = jax.random.fold_in(jax.random.key(options.seed), draw)
        try:
            drawn = ecg(key, num_measurements=NUM_MEASUREMENTS)
            other = second_ecg(key, num_measurements=NUM_MEASUREMENTS)
        except ImportError as error:
            raise CommandError(str(error)) from error
        _long_runs.stage(f"draw {draw + 1} of {options.draws}, by each method: a minute or two")
        found, spent, structure = _run(drawn, other, key)
        answers.append(found)
        for method, value in spent.items():
            seconds[method] = seconds.get(method, 0.0) + value
        if draw == 0:
            problem, second, learned = drawn, other, structure
        print(f"draw {draw + 1} of {options.draws} done after {perf_counter() - start:.0f} s")

    assert problem is not None
    assert second is not None
    assert learned is not None
    true = problem.X_test, second.X_test
    rows = [_row(method, true, answers, seconds) for method in answers[0]]
    _print_table(rows)
    _draw(plotting, folder, problem, answers[0], learned)
    total = perf_counter() - start
    content = {
        "finished": True,
        "rows": rows,
        "config": _config(options, problem),
        "seconds": total,
    }
    _files.write_json(folder / "metrics.json", content, "demo")
    print(f"wrote {folder}/ after {total:.0f} s")


def _draw(plotting, folder: Path, problem, answers: dict[str, Any], learned: Pictured) -> None:
    """Draws the pictures of recovered signals and learned structure of one draw."""
    signals = {
        "true": problem.X_test,
        "plain OMP": answers["OMP"][0],
        "weights": answers["OMP (learned weights)"][0],
        "interactions": answers["OMP (interactions)"][0],
    }
    time, windows, titles = _pictured(problem, signals)
    _files.draw(
        folder / "recovery.png", plotting.plot_recovery, time, windows, titles=titles, unit="mV"
    )
    _files.draw(
        folder / "weights.png",
        plotting.plot_weights,
        learned.weights,
        groups=problem.levels,
        group_names=LEVEL_NAMES,
        atoms=ATOMS,
    )
    _files.draw(
        folder / "interactions.png",
        plotting.plot_interactions,
        learned.interactions,
        groups=problem.levels,
        group_names=LEVEL_NAMES,
        title="interactions of wavelets, learned from true signals",
    )


def _config(options: Namespace, problem) -> dict[str, Any]:
    """The settings of the comparison."""
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
        "generic_epochs": GENERIC_EPOCHS,
        "num_rounds": NUM_ROUNDS,
    }


def _run(problem, second, key):
    """Recovers the test windows of one draw, and another person's, with every method.

    Returns:
        A dict from method to the recovered coefficients of both persons; a dict from method to the
        seconds of learning and recovery; and the learned structure for the pictures.
    """
    A, Y, X = problem.A, problem.Y_train, problem.X_train
    train, val = slice(0, len(Y) - NUM_VAL), slice(len(Y) - NUM_VAL, None)
    answers, seconds = {}, {}

    def record(method: str, learn: Callable[[], Any], solver: Callable[[Any], Any] = _itself):
        """Recovers with ``solver(learn())``, and returns what was learned."""
        _long_runs.stage(method)
        start = perf_counter()
        learned = learn()
        solve = solver(learned)
        first = np.asarray(solve(problem.Y_test))
        seconds[method] = perf_counter() - start
        answers[method] = first, np.asarray(solve(second.Y_test))
        return learned

    def pairs(known: bool):
        return [(Y[part], X[part] if known else None) for part in (train, val)]

    def omp_net(weights=None):
        net = OMPNet(A, sparsity=SPARSITY, weights=weights)
        net.tau = jnp.full_like(net.tau, TAU * _learning.score_scale_of(net, Y))
        return net

    def weights(known: bool):
        steps = NUM_EPOCHS * (len(Y[train]) // BATCH_SIZE)
        fitted = fit(
            omp_net(), *pairs(known), optimizer=_learning.adam(LEARNING_RATE, steps),
            num_epochs=NUM_EPOCHS, batch_size=BATCH_SIZE, key=key,
        )  # fmt: skip
        if len(fitted.history["val_loss"]) <= NUM_EPOCHS:
            raise KeyboardInterrupt  # A table of interrupted methods would be misleading.
        return fitted.net

    def interactions(known: bool):
        given = pairs(True) if known else [(Y, None)]
        return learn_interactions(
            omp_net(), *given, key=key, batch_size=BATCH_SIZE, num_rounds=NUM_ROUNDS
        )

    def generic():
        return generic_network(A, (Y, X), num_epochs=GENERIC_EPOCHS, batch_size=BATCH_SIZE, key=key)

    record("OMP", omp_net, _hard)
    record("IHT", lambda: IHTNet(A, sparsity=SPARSITY, num_layers=IHT_LAYERS), _hard)
    supervised = record("OMP (learned weights)", lambda: weights(True), _hard)
    blind = record("OMP (weights from measurements alone)", lambda: weights(False), _hard)
    of_levels = record(
        "OMP (per-level RMS weights)", lambda: omp_net(_level_rms(X, problem.levels)), _hard
    )
    seeing = record("OMP (interactions)", lambda: interactions(True), _solver)
    record("OMP (interactions from measurements alone)", lambda: interactions(False), _solver)
    record("linear MMSE", lambda: linear_mmse(A, X), lambda estimator: lambda Y: Y @ estimator)
    record("generic network", generic)

    pictured = dict(zip(WEIGHTS, (supervised, blind, of_levels), strict=True))
    weights_of = {name: _unit(net.atom_weights) for name, net in pictured.items()}
    return answers, seconds, Pictured(weights_of, seeing.policy.matrix)


def _itself(learned):
    return learned


def _hard(net):
    return lambda Y: _learning.solve_hard(net, Y, net.atom_weights)


def _solver(found):
    return found.solver


def _level_rms(X, levels):
    """Root mean square of the training coefficients of each wavelet level."""
    energy = jnp.mean(X**2, axis=0)
    sums = jnp.zeros(int(levels.max()) + 1).at[levels].add(energy)
    return jnp.sqrt(sums / jnp.bincount(levels))[levels]


def _unit(weights):
    weights = np.abs(np.asarray(weights))
    return weights / weights.max()


def _row(method, true, answers, seconds) -> dict[str, Any]:
    """The row of a method in the table: its SNR for both persons, and its time."""
    found = [each[method] for each in answers]
    errors, others = (
        np.array([np.asarray(metrics.nmse(each[i], true[i])) for each in found]) for i in (0, 1)
    )
    per_draw, second = (-10 * np.log10(each.mean(axis=1)) for each in (errors, others))
    return {
        "method": method,
        "snr_db": float(per_draw.mean()),
        "snr_db_median": float(-10 * np.log10(np.median(errors))),
        "snr_db_second": float(second.mean()),
        "seconds": seconds[method] / len(answers),
        "snr_db_draws": [float(value) for value in per_draw],
    }


def _print_table(rows) -> None:
    width = max(len(row["method"]) for row in rows)
    print(f"\n{'method':{width}}  SNR (dB)  median  2nd person  seconds  each draw (dB)")
    best = max(row["snr_db"] for row in rows)
    for row in rows:
        draws = "  ".join(f"{value:5.1f}" for value in row["snr_db_draws"])
        mark = "*" if row["snr_db"] == best else " "
        print(
            f"{row['method']:{width}}  {row['snr_db']:7.1f}{mark} {row['snr_db_median']:7.1f}"
            f"  {row['snr_db_second']:10.1f}  {row['seconds']:7.1f}  {draws}"
        )
    print(
        "SNR: from the mean error over the held-out windows, averaged over draws of the matrix; "
        "* marks the best.\n2nd person: the same for another person, whose recording no method has "
        "seen.\nseconds: learning and recovery for one draw, with its share of the compilation."
    )


def _pictured(problem, signals):
    """Three test windows with a good, a typical and a poor recovery."""
    errors = np.asarray(metrics.nmse(signals["interactions"], signals["true"]))
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
