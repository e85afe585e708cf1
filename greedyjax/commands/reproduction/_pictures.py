"""The pictures of the figures, drawn from the contents of their JSON files."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from greedyjax.commands.reproduction._fig3 import OURS, PAPER
from greedyjax.plotting import BLACK, BLUE, GREEN, GREY, ORANGE, RED

LINES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"))
NAMES = {"omp": "OMP", "iht": "IHT"}


def draw_fig1(result: dict[str, Any], *, figure: Figure) -> Figure:
    """The hard and the soft matrices as heat maps, and the sorted values."""
    ranks = np.arange(len(result["scores"]))
    panels = [("sort", result["hard_matrix"])]
    panels += [(f"softsort, τ = {row['tau']:g}", row["matrix"]) for row in result["soft"]]
    figure.set_size_inches(11, 5.6)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    top, bottom = halves
    axes = top.subplots(1, len(panels), sharey=True)
    image = None
    for panel, (title, matrix) in zip(axes, panels, strict=True):
        image = panel.imshow(np.array(matrix), cmap="cividis", vmin=0, vmax=1)
        panel.set_title(title, fontsize=10)
        panel.set_xticks(ranks[::3])
        panel.set_xlabel("entry of v")
    axes[0].set_ylabel("rank")
    top.colorbar(image, ax=axes, label="weight", shrink=0.8)
    panel = bottom.subplots()
    panel.plot(ranks, result["sorted"], "-", color=BLACK, linewidth=3, alpha=0.4, label="sorted v")
    for row, (color, marker) in zip(result["soft"], LINES, strict=True):
        label = f"softsort, τ = {row['tau']:g}"
        panel.plot(ranks, row["values"], marker=marker, color=color, linewidth=1, label=label)
    _finish(panel, "rank", "value")
    panel.set_xticks(ranks)
    panel.legend(fontsize=9)
    return figure


def draw_fig2(result: dict[str, Any], algorithm: str, *, figure: Figure) -> Figure:
    """Recovery error, and the difference to the hard iterates, against tau."""
    figure.set_size_inches(11, 4.6)
    recovery, difference = figure.subplots(1, 2)
    taus, name = np.array(result["taus"]), NAMES[algorithm]
    for row, line in zip(result["recovery"], LINES, strict=True):
        _curve(recovery, taus, row["soft"], line, f"σ = {row['noise']:g}")
        hard = row["hard"]["geometric_mean"]
        recovery.axhline(hard, color=line[0], linestyle="--", linewidth=1)
        _published(recovery, result, f"soft, noise {row['noise']:g}", line)
    for row, line in zip(result["difference"], LINES, strict=True):
        _curve(difference, taus, row["soft"], line, f"n = {row['steps']}", floor=1e-17)
        _published(difference, result, f"difference after {row['steps']} steps", line)
    recovery.set_title(f"Soft-{name}: recovery error", fontsize=10, loc="left")
    difference.set_title(f"Soft-{name} against {name} after n steps", fontsize=10, loc="left")
    for panel, label in ((recovery, "‖x̂ − x‖"), (difference, "‖xⁿ − x̃ⁿ‖ / ‖xⁿ‖")):
        panel.set_xscale("log")
        panel.set_yscale("log")
        _finish(panel, "temperature τ", label)
    difference.set_ylim(1e-17, 30)
    recovery.legend(loc="upper left", fontsize=8)
    difference.legend(loc="upper left", fontsize=8)
    styles: dict[str, dict[str, Any]] = {
        "geometric mean, ± 1 std of log10": {"linestyle": "-"},
        "median": {"linestyle": ":"},
        f"hard {name}": {"linestyle": "--"},
        "published": {"linestyle": "", "marker": "o", "fillstyle": "none"},
    }
    handles = [Line2D([], [], color=BLACK, label=label, **style) for label, style in styles.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return figure


def draw_fig3(result: dict[str, Any], algorithm: str, *, figure: Figure) -> Figure:
    """Losses of the paper's training, weights of the first seed, and relative errors."""
    figure.set_size_inches(11, 9)
    thirds: Any = figure.subfigures(3, 1, height_ratios=(1, 1.1, 1.3))
    losses, stems, boxes = thirds
    _draw_losses(losses.subplots(), result, algorithm)
    _draw_weights(stems, result)
    systems = list(dict.fromkeys(row["system"] for row in result["rows"]))
    panels = boxes.subplots(1, len(systems), squeeze=False)[0]
    for panel, system in zip(panels, systems, strict=True):
        _draw_errors(panel, result, system)
    return figure


def draw_quick(draw: Callable[..., Figure], text: str, *, figure: Figure) -> Figure:
    """The picture of another function, under a line with the given text."""
    draw(figure=figure)
    figure.suptitle(text, color=RED)
    return figure


def _draw_losses(panel, result, algorithm) -> None:
    for i, training in enumerate(result["training"]):
        label = {"label": "validation, one line per seed"} if i == 0 else {}
        panel.plot(training["epochs"], training["val_loss"], color=BLUE, linewidth=0.8, **label)
        label = {"label": "best epoch of each"} if i == 0 else {}
        best = (training["best_epoch"], training["best_val_loss"])
        panel.plot(*best, "o", color=BLACK, fillstyle="none", **label)
    train = [training["train_loss"] for training in result["training"]]
    epochs = result["training"][0]["epochs"]
    panel.plot(epochs, np.median(np.array(train, float), axis=0), color=ORANGE, linewidth=1.2,
               label="training, median")  # fmt: skip
    first = result["seeds"][0]
    for method, color, style in (
        ("hard, w = 1", BLACK, ":"),
        ("hard, oracle weights", BLACK, "--"),
        (f"hard, {OURS}", RED, "-."),
    ):
        mse = _rows(result, "complex")[first, method]["val"]["mse"]
        text = method.replace("hard", f"hard {NAMES[algorithm]}")
        text += " (5 epochs)" if method.endswith(OURS) else ""
        panel.axhline(mse, color=color, linestyle=style, linewidth=1.2,
                      label=f"{text}, seed {first}")  # fmt: skip
    panel.set_yscale("log")
    panel.set_title(f"{NAMES[algorithm]}-Net as the paper trains it", fontsize=10, loc="left")
    _finish(panel, "epoch", "mean squared error")
    panel.legend(fontsize=7, ncols=2, loc="upper right")


def _draw_weights(subfigure, result) -> None:
    hidden = np.array(result["hidden_set"][0])
    panels = subfigure.subplots(2, 1, sharex=True)
    for panel, name in zip(panels, (PAPER, f"{OURS}, complex"), strict=True):
        weights = np.array(result["weights"][name][0])
        panel.axhline(1, color=GREY, linewidth=1)
        panel.vlines(np.arange(len(weights)), 0, weights, color=BLUE, linewidth=1)
        panel.vlines(hidden, 0, weights[hidden], color=RED, linewidth=1.4)
        panel.plot(hidden, weights[hidden], "o", color=RED, markersize=3, label="hidden set")
        found = result["hidden_set_found"][name][0]
        title = f"weights by {name}: {found} of the {len(hidden)} largest are the hidden set"
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_ylabel("|w|")
        panel.set_xlim(-1, len(weights))
    panels[0].legend(fontsize=8, loc="upper right")
    panels[1].set_xlabel(f"atom (grey line: w = 1, the start); seed {result['seeds'][0]}")


def _draw_errors(panel, result, system) -> None:
    first = result["seeds"][0]
    rows = [row for (seed, _), row in _rows(result, system).items() if seed == first]
    boxes = []
    for row in reversed(rows):
        low, quarter, median, third, high = row["test"]["quantiles_5_25_50_75_95"]
        label = f"{row['method']}\nMSE {row['test']['mse']:.1e}"
        box = {"whislo": low, "q1": quarter, "med": median, "q3": third, "whishi": high}
        boxes.append({**box, "label": label})
    style = {"color": RED, "linewidth": 1.5}
    panel.bxp(boxes, orientation="horizontal", showfliers=False, widths=0.6, medianprops=style)
    panel.set_xscale("log")
    title = f"{system} system, test set, seed {first}"
    panel.set_title(title, fontsize=10, loc="left")
    _finish(panel, "relative error (box: quartiles, whiskers: 5 % to 95 %)", "")
    panel.tick_params(axis="y", labelsize=7)


def _rows(result, system) -> dict[tuple[int, str], dict[str, Any]]:
    return {(row["seed"], row["method"]): row for row in result["rows"] if row["system"] == system}


def _curve(panel, taus, statistics, line, label, floor=0.0) -> None:
    color, _ = line
    mean = np.array(statistics["geometric_mean"])
    spread = 10 ** np.array(statistics["std_of_log10"])
    panel.fill_between(taus, mean / spread, mean * spread, color=color, alpha=0.15, linewidth=0)
    panel.plot(taus, mean, color=color, label=label)
    panel.plot(taus, np.maximum(statistics["median"], floor), ":", color=color)


def _published(panel, result, what, line) -> None:
    color, marker = line
    rows = [row for row in result["comparison"] if row["what"] == what]
    taus, values = [row["tau"] for row in rows], [row["published"] for row in rows]
    panel.plot(taus, values, marker, color=color, fillstyle="none", markersize=7)


def _finish(panel, x, y) -> None:
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.grid(color=GREY, linewidth=0.4)
