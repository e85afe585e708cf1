"""Draws docs/images/architecture.png, the picture of docs/architecture.md.

python docs/images/architecture.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

# The palette of Okabe and Ito: edge, and a pale fill of the same hue.
METHOD = "#0072B2", "#DCEBF5"
FIT = "#007A5A", "#D9F0E8"
POLICY = "#B87A00", "#FBEFD2"
SELECTOR = "#B84A00", "#FBE3D3"
DATA = "#444444", "#F0F0F0"


def box(ax, x, y, width, height, title, text="", *, colour=DATA, size=10):
    """A rounded box with a bold title and lines below; x and y are of its lower left corner."""
    edge, fill = colour
    style = "round,pad=0,rounding_size=0.9"
    patch = FancyBboxPatch((x, y), width, height, style, ec=edge, fc=fill, lw=1.6)
    ax.add_patch(patch)
    middle = x + width / 2
    if text:
        top = y + height - 1.4
        ax.text(middle, top, title, ha="center", va="top", size=size, weight="bold", color=edge)
        ax.text(middle, top - 3.1, text, ha="center", va="top", size=size - 1.5, linespacing=1.3)
    else:
        centre = y + height / 2
        ax.text(middle, centre, title, ha="center", va="center", size=size, color=edge,
                weight="bold")  # fmt: skip


def arrow(ax, start, end, colour="#444444", bend=0.0):
    """An arrow between two points."""
    style = {"arrowstyle": "-|>", "lw": 1.4, "color": colour, "shrinkA": 0, "shrinkB": 0}
    style["connectionstyle"] = f"arc3,rad={bend}"
    ax.annotate("", end, start, arrowprops=style)


def draw():
    """The figure."""
    figure, ax = plt.subplots(figsize=(9, 5.4), layout="constrained")
    ax.set(xlim=(-0.5, 100.5), ylim=(0, 60), xticks=[], yticks=[])
    ax.axis("off")

    # What comes in, and what becomes of it.
    box(ax, 0, 47, 10, 6, "A,  y")
    box(ax, 0, 28.5, 10, 6, "weights=", colour=POLICY)
    box(ax, 0, 10, 10, 6, "tau=", colour=SELECTOR)
    box(ax, 15, 45, 17, 10, "System, Problem", "prepared once,\nat unit scale")
    box(ax, 15, 26.5, 17, 10, "Policy", "called with\na Context", colour=POLICY)
    box(ax, 15, 8, 17, 10, "Selector", "HardSort, or\nSoftSort(tau)", colour=SELECTOR)
    for y in (50, 31.5, 13):
        arrow(ax, (10, y), (15, y))

    # The method, and one step of it.
    box(ax, 37, 1, 40, 58, "", colour=METHOD)
    edge = METHOD[0]
    ax.text(57, 57.4, "Method, run by one scan", ha="center", va="top", size=11, weight="bold",
            color=edge)  # fmt: skip
    box(ax, 39, 46.5, 36, 5.5, "init(problem, turn)", colour=(edge, "white"))
    box(ax, 39, 9.5, 36, 34.5, "", colour=(edge, "white"))
    ax.text(57, 43, "step(problem, state, turn), repeated", ha="center", va="top", size=9.5,
            weight="bold", color=edge)  # fmt: skip
    inside = {
        33.7: ("Fit: correlations, coefficients", FIT),
        26.1: ("Turn: policy × correlations = scores", POLICY),
        18.5: ("Turn: selector of scores = rows", SELECTOR),
        10.9: ("Fit: add the rows", FIT),
    }
    for y, (title, colour) in inside.items():
        box(ax, 40.5, y, 33, 5.4, title, colour=colour, size=9.5)
    for y in (33.7, 26.1, 18.5):
        arrow(ax, (57, y), (57, y - 2.2))
    box(ax, 39, 2.2, 36, 5, "answer(problem, state)", colour=(edge, "white"))
    arrow(ax, (57, 46.5), (57, 44), edge)
    arrow(ax, (57, 9.5), (57, 7.2), edge)
    arrow(ax, (32, 50), (37, 50))
    arrow(ax, (32, 31.5), (40.5, 28.8), POLICY[0])
    arrow(ax, (32, 13), (40.5, 21.2), SELECTOR[0])

    # What comes out.
    box(ax, 82, 45, 18, 10, "Recovery", "recover(...),\nrecover_batch(...)")
    box(ax, 82, 26.5, 18, 10, "Unrolled", "a network, and\nthe losses on it")
    box(ax, 82, 8, 18, 10, "Hardened", "the hard solver\nas a value")
    arrow(ax, (77, 50), (82, 50), edge)
    arrow(ax, (77, 31.5), (82, 31.5), edge)
    arrow(ax, (91, 26.5), (91, 18), edge)
    ax.text(92.2, 22.2, "harden()", ha="left", va="center", size=8.5)
    return figure


if __name__ == "__main__":
    draw().savefig(Path(__file__).with_suffix(".png"), dpi=150)
