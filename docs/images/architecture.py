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
STRUCTURE = "#7A4E9A", "#EEE3F5"
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
    figure, ax = plt.subplots(figsize=(9, 6.1), layout="constrained")
    ax.set(xlim=(-0.5, 100.5), ylim=(0, 68), xticks=[], yticks=[])
    ax.axis("off")

    # What comes in, and what becomes of it.
    arguments = {
        58: ("A,  y", "System, Problem", "a matrix or an operator,\nprepared once", DATA),
        42: ("weights=", "Policy", "called with\na Context", POLICY),
        26: ("structure=", "Structure", "which atoms are\nchosen together", STRUCTURE),
        10: ("relaxation=,\ntau=", "Selector", "HardSort, or\nrelaxation(tau)", SELECTOR),
    }
    for y, (argument, title, text, colour) in arguments.items():
        box(ax, 0, y - 3.4, 12.5, 6.8, argument, colour=colour, size=9.5)
        box(ax, 15.5, y - 5, 19, 10, title, text, colour=colour, size=9.5)
        arrow(ax, (12.5, y), (15.5, y))

    # The method, and one step of it.
    box(ax, 40, 1, 38, 66, "", colour=METHOD)
    edge = METHOD[0]
    ax.text(59, 65.4, "Method, run by one scan", ha="center", va="top", size=11, weight="bold",
            color=edge)  # fmt: skip
    box(ax, 42, 55, 34, 5.5, "init(problem, turn)", colour=(edge, "white"))
    box(ax, 42, 9.5, 34, 43, "", colour=(edge, "white"))
    ax.text(59, 51.5, "step(problem, state, turn), repeated", ha="center", va="top", size=9.5,
            weight="bold", color=edge)  # fmt: skip
    inside = {
        42.4: ("Fit: correlations", FIT),
        34.6: ("Turn: magnitudes × policy", POLICY),
        26.8: ("Turn: pooled by structure = scores", STRUCTURE),
        19: ("Turn: selector of scores = rows", SELECTOR),
        11.2: ("Fit: add the rows", FIT),
    }
    for y, (title, colour) in inside.items():
        box(ax, 43.5, y, 31, 5.4, title, colour=colour, size=9)
    for y in list(inside)[:-1]:
        arrow(ax, (59, y), (59, y - 2.4))
    box(ax, 42, 2.2, 34, 5, "answer(problem, state)", colour=(edge, "white"))
    arrow(ax, (59, 55), (59, 52.5), edge)
    arrow(ax, (59, 9.5), (59, 7.2), edge)
    arrow(ax, (34.5, 58), (40, 58))
    arrow(ax, (34.5, 42), (43.5, 37.3), POLICY[0])
    arrow(ax, (34.5, 26), (43.5, 29.5), STRUCTURE[0])
    arrow(ax, (34.5, 10), (43.5, 21.7), SELECTOR[0])

    # What comes out.
    box(ax, 83, 53, 17, 10, "Recovery", "recover(...),\nrecover_batch(...)")
    box(ax, 83, 31, 17, 10, "Unrolled", "a network, and\nthe losses on it")
    box(ax, 83, 9, 17, 10, "Hardened", "the hard solver\nas a value")
    arrow(ax, (78, 58), (83, 58), edge)
    arrow(ax, (78, 36), (83, 36), edge)
    arrow(ax, (91.5, 31), (91.5, 19), edge)
    ax.text(92.7, 25, "harden()", ha="left", va="center", size=8.5)
    return figure


if __name__ == "__main__":
    draw().savefig(Path(__file__).with_suffix(".png"), dpi=150)
