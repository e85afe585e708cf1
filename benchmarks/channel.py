"""How well is a channel estimated whose paths lie between the points of every grid?

The frames of snapshots.py whose directions lie anywhere: 32 antennas, 8 snapshots, 4 paths at least
a beamwidth apart, 15 dB. Solvers on a grid of 128 directions stand beside Newtonised OMP, linear
estimators, and least squares on the true directions. Some are told that there are 4 paths; others
find their number at a false-alarm rate of 1 %. Times are those of `streaming.recover` on all
processors, from arrays of NumPy to arrays of NumPy, in turn with the others.

    python benchmarks/channel.py [--frames N] [--repeats N]
    python benchmarks/channel.py --draw        # the picture of the docs, from the results
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from common import interleaved, load_result, write_result
from matplotlib.figure import Figure
from snapshots import ANTENNAS, DIRECTIONS, PATHS, SNAPSHOTS, SNR_DB, frames, steering

import greedyjax as gj
from greedyjax import off_grid, streaming
from greedyjax.plotting import BLACK, BLUE, GREY, ORANGE
from greedyjax.structures import SharedSupport

RATE, MOST = 0.01, 8
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "channel.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--draw", action="store_true")
    options = parser.parse_args()
    if options.draw:
        draw(load_result("channel")).savefig(PICTURE, dpi=150)
        print("wrote", PICTURE)
        return
    content = {
        "frames": options.frames, "repeats": options.repeats, "antennas": ANTENNAS,
        "directions": DIRECTIONS, "snapshots": SNAPSHOTS, "paths": PATHS, "snr_db": SNR_DB,
        "false_alarm": RATE, **compared(options.frames, options.repeats),
        "noise_alone": noise_alone(options.frames),
    }  # fmt: skip
    print("wrote", write_result("channel", content))


def compared(num: int, repeats: int) -> dict:
    """Error, number of paths and time of each method, and one frame to look at."""
    Y, channel, directions, deviation = frames(num, on_grid=False)
    solvers = solvers_for(float(deviation**2))
    # Eight batches, in turn on the processors that there are.
    runs = {
        name: partial(streaming.recover, solve, Y, batch_size=max(num // 8, 1))
        for name, solve in solvers.items()
    }
    rows, example = [], {"directions": directions[0].tolist()}
    for name, times in interleaved(runs, repeats).items():
        fitted, where, count = runs[name]()
        known = None if name.endswith("4 paths") else count
        rows.append(row(name, fitted, channel, num / times["median_s"], known))
        if name in ("OMP, shared support, 4 paths", "Newtonised OMP, noise unknown"):
            example[name] = (where[0, : count[0]] % 1).tolist()
    example |= spectrum(Y[0])

    true = steering(directions)
    fitted = true @ (np.linalg.pinv(true) @ Y)
    rows.append(row("linear MMSE", linear_mmse(Y, deviation**2), channel))
    rows.append(row("least squares on the true directions", fitted, channel))
    return {"rows": rows, "example": example}


def solvers_for(variance: float) -> dict:
    """Jitted functions of frames: what they fit, the frequencies, and the number of paths."""
    shared, A = SharedSupport(), gj.operators.Steering(ANTENNAS, DIRECTIONS)
    grid = jnp.arange(DIRECTIONS) / DIRECTIONS
    dictionary = gj.dictionary(steering(np.asarray(grid)).astype(np.complex64))
    atol = off_grid.noise_norm(ANTENNAS * SNAPSHOTS, variance, false_alarm=RATE, is_complex=True)

    def one_by_one(Y):
        each = Y.swapaxes(1, 2).reshape(-1, ANTENNAS)
        found = gj.omp_batch(dictionary, each, sparsity=PATHS)
        fitted = (found.x @ dictionary.A.matrix.T).reshape(-1, SNAPSHOTS, ANTENNAS)
        return fitted.swapaxes(1, 2), grid[found.support[::SNAPSHOTS]], found.num_steps[::SNAPSHOTS]

    def on_grid(Y, **options):
        found = gj.omp_batch(dictionary, Y, structure=shared, **options)
        return dictionary.A.matrix @ found.x, grid[found.support], found.num_steps

    def beyond(Y, **options):
        found = off_grid.newtonised_omp_batch(A.atom, A.frequencies, Y, structure=shared, **options)
        return found.fitted, found.parameters[:, :, 0], found.count

    unknown = {"sparsity": MOST, "false_alarm": RATE}
    solvers = {
        "OMP, snapshot by snapshot, 4 paths": one_by_one,
        "OMP, shared support, 4 paths": partial(on_grid, sparsity=PATHS),
        "OMP, shared support, noise known": partial(on_grid, sparsity=MOST, atol=atol),
        "Newtonised OMP, 4 paths": partial(beyond, sparsity=PATHS),
        "Newtonised OMP, noise known": partial(beyond, **unknown, noise_variance=variance),
        "Newtonised OMP, noise unknown": partial(beyond, **unknown),
    }
    return {name: jax.jit(solve) for name, solve in solvers.items()}


def linear_mmse(Y: np.ndarray, variance: float) -> np.ndarray:
    """The best linear estimate by the covariance of other channels."""
    _, others, *_ = frames(len(Y), on_grid=False, seed=1)
    rows = others.swapaxes(1, 2).reshape(-1, ANTENNAS)
    covariance = rows.T @ rows.conj() / len(rows)
    return covariance @ np.linalg.solve(covariance + variance * np.eye(ANTENNAS), Y)


def noise_alone(num: int) -> list[dict]:
    """How often noise is given a path, beside the rate that is stated."""
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((2, num, ANTENNAS, SNAPSHOTS)).astype(np.float32)
    Y, A = noise[0] + 1j * noise[1], gj.operators.Steering(ANTENNAS, DIRECTIONS)
    rows = []
    for rate in (0.1, 0.01, 0.001):
        for title, variance in (("known", 2.0), ("unknown", None)):
            found = off_grid.newtonised_omp_batch(
                A.atom, A.frequencies, Y, sparsity=1, structure=SharedSupport(), num_cycles=0,
                false_alarm=rate, noise_variance=variance,
            )  # fmt: skip
            share = float(np.mean(found.count))
            rows.append({"stated": rate, "noise": title, "measured": share})
            print(f"noise {title}: {rate:g} stated, {share:.4f} measured")
    return rows


def row(name: str, fitted, channel: np.ndarray, rate=None, counts=None) -> dict:
    """The normalised mean squared error in dB over all frames, and how often 4 paths are found."""
    error = np.sum(np.abs(fitted - channel) ** 2) / np.sum(np.abs(channel) ** 2)
    made = {"method": name, "nmse_db": float(10 * np.log10(error)), "frames_per_s": rate}
    made["counts"] = None
    if counts is not None:
        made["counts"] = np.bincount(counts, minlength=MOST + 1).tolist()
        made["exact"] = float(np.mean(counts == PATHS))
    print({key: value for key, value in made.items() if value is not None})
    return made


def spectrum(Y: np.ndarray) -> dict:
    """The energy in each direction of one frame, ``||a(f)* Y||^2``."""
    fine = np.arange(512) / 512
    energy = np.sum(np.abs(steering(fine).conj().T @ Y) ** 2, axis=1)
    return {"energy": [round(float(each), 3) for each in energy]}


def draw(result: dict) -> Figure:
    """One frame: the energy over the directions, the true ones, and those that were found.

    Beside all directions stand those around the two that are nearest to each other.
    """
    example = result["example"]
    true = np.sort(np.array(example["directions"]) % 1)
    nearest = np.argmin(np.diff(true))
    middle, half = np.mean(true[nearest : nearest + 2]), 2 / ANTENNAS
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    whole, near = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for axes in (whole, near):
        panel(axes, example, true)
    whole.set_xlim(0, 1)
    near.set_xticks(np.arange(DIRECTIONS) / DIRECTIONS, minor=True)
    near.tick_params(which="minor", length=6, color=ORANGE, width=1.5)
    near.tick_params(axis="x", which="major", pad=8)
    near.set_xlim(middle - half, middle + half)  # Ticks widen the limits that there are.
    whole.set_ylabel("energy of the frame, dB")
    whole.set_xlabel("direction: frequency, cycles from antenna to antenna")
    near.set_xlabel("the same, nearer; the grid in orange")
    handles, labels = whole.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    return figure


def panel(axes, example: dict, true: np.ndarray) -> None:
    """Energy, true directions and those that were found."""
    energy = 10 * np.log10(np.array(example["energy"]))
    top, bottom = energy.max() + 6, energy.max() - 25
    fine = np.arange(len(energy)) / len(energy)
    axes.plot(fine, energy, color=GREY, linewidth=1.5, label="energy")
    style = {"color": BLACK, "linestyle": "--", "linewidth": 1, "label": "true direction"}
    axes.vlines(true, bottom, top, **style)
    marks = {
        "OMP, shared support, 4 paths": ("s", ORANGE, "OMP on the grid, told 4 paths", 4),
        "Newtonised OMP, noise unknown": ("o", BLUE, "Newtonised OMP, number unknown", 2),
    }
    for name, (mark, color, label, lift) in marks.items():
        height = np.full(len(example[name]), energy.max() + lift)
        axes.plot(example[name], height, mark, color=color, markersize=6, label=label)
    axes.set_ylim(bottom, top)


if __name__ == "__main__":
    main()
