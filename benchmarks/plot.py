"""Draws the pictures of the docs from the results.

python benchmarks/plot.py [name of a picture ...]
"""

import sys
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
from common import load_result
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from greedyjax.plotting import BLACK, BLUE, GREY, ORANGE

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"


def temperature() -> Figure:
    """Errors above, gradients below, one column per network."""
    rows = load_result("temperature")["rows"]
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for column, net in enumerate(("OMP-Net", "IHT-Net")):
        error, gradient = panels[:, column]
        for weights, color in (("w = 1", ORANGE), ("oracle", BLUE)):
            mine = [row for row in rows if (row["net"], row["weights"]) == (net, weights)]
            fractions = [row["fraction"] for row in mine]
            error.plot(fractions, [row["mse"] for row in mine], color=color, label=f"{weights}")
            error.axhline(mine[0]["hard_mse"], color=color, linestyle="--", linewidth=1)
            for loss, style in (("reconstruction", "-"), ("selection", ":")):
                values = [max(row[f"gradient_of_{loss}"], 1e-17) for row in mine]
                label = f"{loss} loss, {weights}"
                gradient.plot(fractions, values, style, color=color, label=label)
        gradient.axhline(1e-12, color=BLACK, linewidth=0.8)
        error.set_title(f"{net}: error of the soft solver (dashed: hard)", loc="left", fontsize=10)
        gradient.set_title(f"{net}: gradient of the weights", loc="left", fontsize=10)
        error.set_ylabel("mean squared error")
        gradient.set_ylabel("norm, median over batches")
        gradient.set_xlabel("temperature / largest score")
        gradient.set_ylim(1e-17, 1e4)
        for panel in (error, gradient):
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.grid(color=GREY, linewidth=0.4)
            panel.legend(fontsize=8)
    return figure


def batch_omp() -> Figure:
    """Time against each of the four sizes, the others as they are."""
    result = load_result("batch_omp")
    rows = [row for row in result["rows"] if "grows" in row]
    names = {"m": "measurements m", "n": "atoms n", "k": "steps k", "batch": "signals"}
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    lines = ((BLUE, "o"), (GREY, "v"), (ORANGE, "s"), (BLACK, "^"))
    panels = figure.subplots(1, 4, sharey=True)
    for panel, (size, name) in zip(panels, names.items(), strict=True):
        mine = [row for row in rows if row["grows"] == size]
        methods = dict.fromkeys(row["method"] for row in mine)
        for method, (color, marker) in zip(methods, lines, strict=False):  # Fewer without peers.
            ours = [row for row in mine if row["method"] == method]
            sizes, seconds = [row[size] for row in ours], [row["median_s"] for row in ours]
            panel.plot(sizes, seconds, color=color, marker=marker, label=method, markersize=4)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xlabel(name)
        panel.grid(color=GREY, linewidth=0.4)
    panels[0].set_ylabel("seconds")
    panels[0].legend(fontsize=7)
    figure.suptitle(
        "Hard OMP: m = 256, n = 1024, k = 32 and 2,048 signals but for the size below", fontsize=10
    )
    return figure


def objectives() -> Figure:
    """Test error over the oracle's, a dot per seed, a line per objective, a panel per problem."""
    result = load_result("objectives")
    problems = list(result["config"]["epochs"])
    titles = [t for t in dict.fromkeys(r["objective"] for r in result["rows"]) if t != "oracle"]
    errors = {(r["problem"], r["objective"], r["seed"]): r["test_mse"] for r in result["rows"]}
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    panels = figure.subplots(2, -(-len(problems) // 2), sharey=True).ravel()
    for panel, problem in zip(panels, problems, strict=False):
        seeds = [seed for name, title, seed in errors if (name, title) == (problem, "oracle")]
        for place, title in enumerate(titles):
            ratios = [
                errors[problem, title, seed] / errors[problem, "oracle", seed] for seed in seeds
            ]
            blind = title in result["from_measurements_alone"]
            color = BLACK if title == "w = 1" else ORANGE if blind else BLUE
            panel.plot(ratios, [place] * len(ratios), "o", color=color, markersize=4, alpha=0.4)
            panel.plot(median(ratios), place, "|", color=color, markersize=14)
        panel.axvline(1, color=GREY, linewidth=0.8)
        panel.set_xscale("log")
        low, high = panel.get_xlim()
        if high < 30 * low:  # Too short for powers of ten.
            ticks = [tick for tick in (0.2, 0.5, 1, 2, 5, 10) if low < tick < high]
            panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_title(problem, loc="left", fontsize=10)
        panel.set_yticks(range(len(titles)), titles, fontsize=8)
        panel.grid(axis="x", color=GREY, linewidth=0.3)
    panels[0].invert_yaxis()
    figure.supxlabel(
        "test error / that of the oracle's weights (blue: from true signals, orange: from"
        " measurements alone; bars: medians)",
        fontsize=9,
    )
    return figure


def generalisation_shift() -> Figure:
    """One column per quantity that differs from where weights were learned, one row per solver."""
    rows = _generalisation("shift")
    first = rows[0]  # The centre's.
    names = {
        "num_measurements": "complex measurements m",
        "noise": "noise, norm / norm of the signal",
        "sparsity": "nonzeros s of 20 possible",
    }
    lines = {
        "w = 1": (BLACK, "-", "^"),
        "here, true signals": (BLUE, "-", "o"),
        "centre, true signals": (BLUE, ":", "s"),
        "here, measurements alone": (ORANGE, "-", "o"),
        "centre, measurements alone": (ORANGE, ":", "s"),
        "oracle": (GREY, "-", None),
    }
    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = figure.subplots(2, 3, sharey=True)
    for column, (grid, name) in enumerate(names.items()):
        others = [key for key in names if key != grid]
        along = [row for row in rows if all(row[key] == first[key] for key in others)]
        for panel, solver in zip(panels[:, column], ("OMP", "subspace pursuit"), strict=True):
            for title, (color, style, marker) in lines.items():
                mine = [r for r in along if (r["solver"], r["weights"]) == (solver, title)]
                width = 5 if title == "oracle" else 1.5
                label = title.replace("here", "learned there").replace(
                    "centre", "learned at the line"
                )
                _medians(panel, mine, grid, "test_mse", color, style, marker, label, width=width)
            panel.axvline(first[grid], color=BLACK, linewidth=0.8, linestyle=(0, (1, 4)))
            panel.set_yscale("log")
            panel.set_title(f"hard {solver}", loc="left", fontsize=10)
            if grid == "noise":
                panel.set_xscale("log")
            else:
                panel.set_xticks(sorted({row[grid] for row in along}))
        panels[1, column].set_xlabel(name)
    for panel in panels[:, 0]:
        panel.set_ylabel("mean squared error")
    _legend(figure, panels[0, 0])
    return figure


def generalisation_patient() -> Figure:
    """A row per method; the panels are the recordings that are recovered."""
    rows = _generalisation("patient")
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, person in zip(panels, ("A", "B"), strict=True):
        for place, method in enumerate(methods):
            found = [r["snr_db"] for r in rows if (r["tested_on"], r["method"]) == (person, method)]
            about = method.removeprefix("OMP: ").removeprefix("linear MMSE: ")
            color = BLACK if about == "w = 1" else BLUE if about.startswith("A") else ORANGE
            shown = np.maximum(found, 0)
            panel.plot(shown, [place] * len(found), "o", color=color, markersize=5, alpha=0.4)
            panel.plot(np.median(shown), place, "|", color=color, markersize=16, markeredgewidth=2)
        panel.set_title(f"held-out windows of person {person}", loc="left", fontsize=10)
        panel.set_xlabel("SNR (dB); below 0 shown as 0")
        panel.set_xlim(left=-0.4)
        panel.xaxis.get_major_locator().set_params(integer=True, steps=[1, 2, 5])
        panel.grid(axis="x", color=GREY, linewidth=0.4)
    panels[0].set_yticks(range(len(methods)), methods, fontsize=9)
    panels[0].invert_yaxis()
    return figure


def generalisation_few() -> Figure:
    """Errors over the number of training signals; dotted without training."""
    rows = _generalisation("few")
    lines = {
        "true signals": (BLUE, "-", "o"),
        "true signals, one per level": (BLUE, ":", "s"),
        "measurements alone": (ORANGE, "-", "o"),
        "measurements alone, one per level": (ORANGE, ":", "s"),
        "counting": (GREY, "--", "v"),
        "sparse Bayes": (BLACK, "-", "x"),
    }
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    titles = {"paper": "the paper's problem", "ECG": "electrocardiogram"}
    for panel, (problem, name) in zip(panels, titles.items(), strict=True):
        mine = [row for row in rows if row["problem"] == problem]
        for title, (color, style, marker) in lines.items():
            each = [row for row in mine if row["weights"] == title and row["size"]]
            if each:
                _medians(panel, each, "size", "test_mse", color, style, marker, title)
        for title, style in (("w = 1", (0, (1, 3))), ("oracle", (0, (5, 5)))):
            level = [row["test_mse"] for row in mine if row["weights"] == title]
            if level:
                panel.axhline(np.median(level), color=BLACK, linewidth=1, linestyle=style)
                at, pixels = (0.99, np.median(level)), (0, 3)
                panel.annotate(
                    title, at, pixels, ("axes fraction", "data"), "offset points", ha="right"
                )
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        sizes = sorted({row["size"] for row in mine if row["size"]})
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_xlabel("training signals")
        panel.set_ylabel("mean squared error of hard OMP")
    _legend(figure, panels[1])
    return figure


def generalisation_drift() -> Figure:
    """Error of each block of signals as the hidden set drifts, slowly and fast."""
    rows = _generalisation("drift")
    lines = {
        "w = 1": (BLACK, "-", None),
        "learned once, true signals": (BLUE, "-", None),
        "refreshed from its own weights": (ORANGE, ":", None),
        "refreshed from half-way back to 1": (ORANGE, "--", None),
        "refreshed from w = 1": (ORANGE, "-", None),
        "sparse Bayes": (BLACK, ":", None),
        "oracle": (GREY, "-", None),
    }
    periods = list(dict.fromkeys(row["period"] for row in rows))
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(periods), sharey=True))
    for panel, period in zip(panels, periods, strict=True):
        for title, (color, style, marker) in lines.items():
            mine = [r for r in rows if (r["period"], r["weights"]) == (period, title)]
            width = 4 if title == "oracle" else 1.6
            settings = {"width": width, "ranges": False}
            _medians(panel, mine, "signals", "mse", color, style, marker, title, **settings)
        panel.set_yscale("log")
        panel.set_title(f"one of 20 replaced every {period} signals", loc="left", fontsize=10)
        panel.set_xlabel("signals since weights were learned")
    panels[0].set_ylabel("mean squared error of hard OMP")
    _legend(figure, panels[0])
    return figure


def _generalisation(part: str) -> list[dict]:
    return load_result("generalisation")["rows"][part]


def _medians(panel, rows, x, y, color, style, marker, title, *, width=1.5, ranges=True) -> None:
    """A line through the medians over the seeds, with a band from the lowest to the highest."""
    values: dict = {}
    for row in rows:
        values.setdefault(row[x], []).append(row[y])
    places = sorted(values)
    over = [np.percentile(values[place], (0, 50, 100)) for place in places]
    low, middle, high = np.transpose(over)
    panel.plot(
        places, middle, style, color=color, marker=marker, label=title, linewidth=width,
        markersize=5, markerfacecolor="none" if marker == "s" else color,
    )  # fmt: skip
    if ranges:
        panel.fill_between(places, low, high, color=color, alpha=0.1, linewidth=0)
    panel.grid(color=GREY, linewidth=0.3)


def _legend(figure: Figure, panel) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)


def self_training() -> Figure:
    """Errors over measurements and size of the hidden set: a column per method, a row per count."""
    rows = load_result("self_training")["phase"]
    axes = ("m", "size", "vectors", "method")
    sizes, counts = ({row[axis]: None for row in rows} for axis in ("size", "vectors"))
    measurements = {row["m"]: None for row in rows}
    titles = {
        "w = 1": "w = 1",
        "counting": "counting",
        "self-selection": "self-selection",
        "sparse Bayes, then self-selection": "sparse Bayes,\nthen self-selection",
        "sparse Bayes": "sparse Bayes",
        "sparse Bayes, tempered": "sparse Bayes,\ntempered",
        "oracle": "oracle",
    }
    found = {row["method"] for row in rows}
    titles = {method: say for method, say in titles.items() if method in found}
    errors = {}
    for row in rows:
        errors.setdefault(tuple(row[axis] for axis in axes), []).append(row["mse"])
    figure = Figure(figsize=(13, 6.2), layout="constrained")
    panels = figure.subplots(len(counts), len(titles), sharex=True, sharey=True)
    for (i, count), (j, title) in product(enumerate(counts), enumerate(titles)):
        panel = panels[i, j]
        table = [[median(errors[m, size, count, title]) for m in measurements] for size in sizes]
        image = panel.imshow(table, norm=LogNorm(1e-4, 2), cmap="cividis", aspect="auto")
        for (y, size), (x, m) in product(enumerate(sizes), enumerate(measurements)):
            best = errors[m, size, count, "oracle"]
            pairs = zip(errors[m, size, count, title], best, strict=True)
            if all(error <= max(1.25 * least, 1e-3) for error, least in pairs):
                panel.plot(x, y, "o", color="white", markeredgecolor=BLACK, markersize=6)
        panel.set_xticks(range(len(measurements)), [str(m) for m in measurements])
        panel.set_yticks(range(len(sizes)), [str(size) for size in sizes])
        if i == 0:
            panel.set_title(titles[title], fontsize=10)
        if j == 0:
            panel.set_ylabel(f"{count:,} vectors\nsize of the hidden set", fontsize=9)
    figure.supxlabel(
        "measurements m of 256 atoms, 10 of them used (dots: within 25 % of the oracle's error, or"
        " under 1e-3, from every seed)",
        fontsize=9,
    )
    figure.colorbar(image, ax=panels, label="test MSE of hard OMP (signals of norm 1)", pad=0.01)
    return figure


def ecg() -> Figure:
    """Signal to noise over the number of measurements; true signals left, measurements right."""
    rows = load_result("ecg")["rows"]
    linear = ("linear MMSE", BLACK, "--", None)
    lines = (
        (
            ("selection on a background", BLUE, "-", "o"),
            ("selection, ridge", ORANGE, "-", "s"),
            ("selection", ORANGE, ":", "s"),
            ("selection, one weight per level", BLUE, ":", "^"),
            ("RMS of each level", GREY, "-", "v"),
            linear,
            ("OMP", BLACK, ":", "x"),
        ),
        (
            ("Y alone: sparse Bayes on a background", BLUE, "-", "o"),
            ("Y alone: sparse Bayes", ORANGE, "-", "s"),
            ("Y alone: selection", ORANGE, ":", "s"),
            ("Y alone: selection, one weight per level", BLUE, ":", "^"),
            ("Y alone: counting", GREY, "-", "v"),
            linear,
            ("OMP", BLACK, ":", "x"),
        ),
    )
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = "with the true training windows", "from measurements alone (but linear MMSE)"
    for panel, some, title in zip(panels, lines, titles, strict=True):
        for method, color, style, marker in some:
            mine = [row for row in rows if row["method"] == method]
            sizes = list(dict.fromkeys(row["m"] for row in mine))
            errors = [np.mean([row["error"] for row in mine if row["m"] == m]) for m in sizes]
            label = method.removeprefix("Y alone: ")
            panel.plot(
                sizes, -10 * np.log10(errors), style, color=color, marker=marker, label=label
            )
        panel.set_xticks(sizes)
        panel.set_xlabel("measurements m of 256 samples")
        panel.set_title(title, loc="left", fontsize=10)
        panel.grid(color=GREY, linewidth=0.4)
        panel.legend(fontsize=8)
    panels[0].set_ylabel("signal to noise, test windows (dB)")
    return figure


FIGURES = (
    temperature,
    batch_omp,
    objectives,
    self_training,
    ecg,
    generalisation_shift,
    generalisation_patient,
    generalisation_few,
    generalisation_drift,
)

if __name__ == "__main__":
    wanted = sys.argv[1:] or [draw.__name__ for draw in FIGURES]
    for draw in FIGURES:
        if draw.__name__ in wanted:
            draw().savefig(IMAGES / f"{draw.__name__}.png", dpi=150)
