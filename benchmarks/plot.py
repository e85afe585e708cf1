"""Draws the pictures of the docs from the results.

python benchmarks/plot.py
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

from greedyjax.plotting import BLACK, BLUE, GREY, ORANGE

ROOT = Path(__file__).parent.parent
RESULTS, IMAGES = ROOT / "benchmarks" / "results", ROOT / "docs" / "images"


def temperature() -> Figure:
    """Errors above, gradients below, one column per network."""
    rows = json.loads((RESULTS / "temperature.json").read_text())["rows"]
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
    result = json.loads((RESULTS / "batch_omp.json").read_text())
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
    result = json.loads((RESULTS / "objectives.json").read_text())
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
            middle = sorted(ratios)[len(ratios) // 2]
            panel.plot(middle, place, "|", color=color, markersize=14)
        panel.axvline(1, color=GREY, linewidth=0.8)
        panel.set_xscale("log")
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


if __name__ == "__main__":
    for draw in (temperature, batch_omp, objectives):
        draw().savefig(IMAGES / f"{draw.__name__}.png", dpi=150)
