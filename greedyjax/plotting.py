"""Pictures of weights, interactions, trainings and recoveries; they need matplotlib.

Every function draws on a matplotlib figure and returns it. Without the argument ``figure`` it makes
a new figure. Colours are those of Okabe and Ito, which colour-blind readers can tell apart.
"""

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from greedyjax import _checks

__all__ = ["plot_interactions", "plot_recovery", "plot_training", "plot_weights"]

BLACK, ORANGE, BLUE, GREEN, RED = "#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00"
GREY = "#BBBBBB"


def plot_weights(
    weights: dict[str, Any],
    *,
    groups: Any = None,
    group_names: dict[int, str] | None = None,
    support: Any = None,
    atoms: str = "atom (column of A)",
    figure: Figure | None = None,
) -> Figure:
    """Magnitudes of learned weights over the atoms, one panel per set of weights.

    Args:
        weights: a dict from titles to weights of shape ``(n,)``.
        groups: group of each atom, shape ``(n,)``, drawn as bands; atoms of a group are adjacent.
        group_names: names for the bands.
        support: atoms to mark, such as the hidden set that weights should find.
        atoms: label of the axis of atoms.
        figure: the figure to draw on.

    Returns:
        The figure.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: shapes do not fit together.

    Example:
        >>> import numpy as np
        >>> from greedyjax.plotting import plot_weights
        >>> len(plot_weights({"learned": np.array([1.0, 0.2, 0.9])}, support=[0, 2]).axes)
        1
    """
    if not isinstance(weights, dict) or not weights:
        _checks.fail(
            TypeError, "weights", "a dict of one title or more to weights", type(weights).__name__
        )
    n = np.size(next(iter(weights.values())))
    _fits("weights", weights, n)
    for title, values in weights.items():
        if not np.isfinite(values).all():
            _checks.fail(ValueError, f"weights[{title!r}]", "finite numbers", "NaN or infinity")
    if groups is not None and np.shape(groups) != (n,):
        _checks.fail(ValueError, "groups", f"shape ({n},)", f"shape {np.shape(groups)}")
    if support is not None and not _are_atoms(np.asarray(support), n):
        _checks.fail(ValueError, "support", f"atoms between 0 and {n - 1}", str(support))
    figure = figure or Figure(layout="constrained")
    figure.set_size_inches(8, 0.8 + 2.0 * len(weights))
    panels = figure.subplots(len(weights), sharex=True, squeeze=False)[:, 0]
    for axes, (title, values) in zip(panels, weights.items(), strict=True):
        values = np.abs(np.asarray(values))
        if groups is not None:
            _bands(axes, np.asarray(groups), group_names)
        axes.vlines(np.arange(len(values)), 0, values, color=BLUE, linewidth=1.2, label="weight")
        if support is not None:
            marked = np.asarray(support)
            axes.vlines(marked, 0, values[marked], color=RED, linewidth=1.6, label="hidden set")
            axes.plot(marked, values[marked], "o", color=RED, markersize=3)
            axes.legend(
                loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, ncols=2, frameon=False
            )
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylabel("|weight|")
        axes.set_xlim(-1, len(values))
        axes.set_ylim(0, 1.18 * max(values.max(), 1e-12))
    panels[-1].set_xlabel(atoms)
    return figure


def plot_interactions(
    matrix: Any,
    *,
    groups: Any = None,
    group_names: dict[int, str] | None = None,
    title: str = "",
    figure: Figure | None = None,
) -> Figure:
    """Learned interactions: the factor by which each chosen atom changes the weights of others.

    Blue means that the chosen atom raises the weight, and red that it lowers the weight. The colour
    scale ends at the factor that one pair in a hundred exceeds. Larger factors have the strongest
    colour.

    Args:
        matrix: the logarithms of the factors, shape ``(n, n)``, as in
            `greedyjax.policies.Interactions`. Row ``i`` is added once atom ``i`` is chosen.
        groups: group of each atom, shape ``(n,)``; atoms of a group are adjacent.
        group_names: names of the groups.
        title: the title of the figure.
        figure: the figure to draw on.

    Returns:
        The figure.

    Raises:
        ValueError: shapes do not fit together, or ``matrix`` has NaN or infinity.

    Example:
        >>> import numpy as np
        >>> from greedyjax.plotting import plot_interactions
        >>> plot_interactions(np.eye(3)).axes[0].get_ylabel()
        'atom that has been chosen'
    """
    values = np.asarray(matrix)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        _checks.fail(ValueError, "matrix", "shape (n, n)", f"shape {values.shape}")
    if not np.isfinite(values).all():
        _checks.fail(ValueError, "matrix", "finite numbers", "NaN or infinity")
    n = len(values)
    if groups is not None and np.shape(groups) != (n,):
        _checks.fail(ValueError, "groups", f"shape ({n},)", f"shape {np.shape(groups)}")
    figure = figure or Figure(layout="constrained")
    figure.set_size_inches(7, 6)
    axes = figure.subplots()
    largest = max(float(np.quantile(np.abs(values), 0.99)), 1e-12)
    picture = axes.imshow(values, cmap="RdBu", vmin=-largest, vmax=largest, interpolation="nearest")
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, extend="both")
    bar.set_label("factor on its weight")
    ticks = np.linspace(-largest, largest, 5)
    bar.set_ticks(ticks.tolist(), labels=[f"{np.exp(tick):.2g}" for tick in ticks])
    axes.set_ylabel("atom that has been chosen")
    axes.set_xlabel("atom that may be chosen next")
    axes.set_title(title, loc="left", fontsize=10)
    if groups is not None:
        starts, ends = _runs(groups)
        names = [_name(groups[start], group_names) for start in starts]
        centres = ((starts + ends - 1) / 2).tolist()
        axes.set_xticks(centres, labels=names, fontsize=8)
        axes.set_yticks(centres, labels=names, fontsize=8)
        axes.tick_params(length=0)
        for edge in starts[1:] - 0.5:
            axes.axhline(edge, color=BLACK, linewidth=0.5)
            axes.axvline(edge, color=BLACK, linewidth=0.5)
    return figure


def plot_training(
    history: dict[str, Any],
    *,
    best_epoch: int | None = None,
    val_measure: str | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Training and validation loss of each epoch, from the history of `training.fit`.

    Args:
        history: arrays indexed by epoch, with keys ``train_loss`` and ``val_loss``.
        best_epoch: the epoch to mark; None marks the epoch with the lowest validation loss.
        val_measure: the name of the validation loss, if it is not the training loss. It then has
            its own panel.
        figure: the figure to draw on.

    Returns:
        The figure.

    Raises:
        TypeError: ``history`` is not a dict.
        ValueError: ``history`` lacks a key, or shapes do not fit together.

    Example:
        >>> import numpy as np
        >>> from greedyjax.plotting import plot_training
        >>> history = {"train_loss": np.array([np.nan, 2.0]), "val_loss": np.array([3.0, 2.5])}
        >>> plot_training(history).axes[0].get_xlabel()
        'epoch'
    """
    if not isinstance(history, dict):
        _checks.fail(TypeError, "history", "a dict, FitResult.history", type(history).__name__)
    if not {"train_loss", "val_loss"} <= set(history):
        _checks.fail(ValueError, "history", "train_loss and val_loss", f"keys {sorted(history)}")
    num_epochs = len(history["val_loss"])
    _fits("history", {"train_loss": history["train_loss"]}, num_epochs)
    if best_epoch is not None and not 0 <= best_epoch < num_epochs:
        expected = f"an epoch between 0 and {num_epochs - 1}"
        _checks.fail(ValueError, "best_epoch", expected, str(best_epoch))
    figure = figure or Figure(layout="constrained")
    num_panels = 1 if val_measure is None else 2
    figure.set_size_inches(7, 2 + 2 * num_panels)
    panels = figure.subplots(num_panels, sharex=True, squeeze=False)[:, 0]
    train, val = np.asarray(history["train_loss"]), np.asarray(history["val_loss"])
    epochs = np.arange(len(val))
    panels[0].plot(epochs, train, ".-", color=ORANGE, label="training")
    panels[-1].plot(epochs, val, ".-", color=BLUE, label="validation")
    if best_epoch is None and np.isfinite(val).any():
        best_epoch = int(np.nanargmin(np.where(np.isfinite(val), val, np.nan)))
    if best_epoch is not None:
        mark = {"color": BLACK, "fillstyle": "none", "label": f"best epoch, {best_epoch}"}
        panels[-1].plot(best_epoch, val[best_epoch], "o", **mark)
    panels[0].set_ylabel("loss")
    if val_measure is not None:
        panels[-1].set_ylabel(val_measure)
    for axes in panels:
        shown = np.concatenate([line.get_ydata() for line in axes.lines])
        if np.nanmin(shown, initial=np.inf) > 0:
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=GREY, linewidth=0.4)
        axes.legend()
    panels[-1].set_xlabel("epoch")
    return figure


def plot_recovery(
    time: Any,
    windows: list[dict[str, Any]],
    *,
    titles: list[str],
    unit: str,
    figure: Figure | None = None,
) -> Figure:
    """Signals over time, one panel per window and one line per method.

    Args:
        time: times of the samples in seconds, shape ``(samples,)``.
        windows: one dict per panel, from names to signals of shape ``(samples,)``. The first entry
            is the true signal.
        titles: the title of each panel.
        unit: the unit of the signals.
        figure: the figure to draw on.

    Returns:
        The figure.

    Raises:
        TypeError: ``windows`` is not a list of dicts.
        ValueError: lengths do not fit together.

    Example:
        >>> import numpy as np
        >>> from greedyjax.plotting import plot_recovery
        >>> t = np.linspace(0, 1, 5)
        >>> figure = plot_recovery(t, [{"true": t, "OMP": t**2}], titles=["lead I"], unit="mV")
        >>> figure.axes[0].get_ylabel()
        'mV'
    """
    if not isinstance(windows, (list, tuple)) or not windows:
        _checks.fail(TypeError, "windows", "a list with one dict per panel", type(windows).__name__)
    for i, signals in enumerate(windows):
        _fits(f"windows[{i}]", signals, len(time))
    if isinstance(titles, str) or len(titles) != len(windows):
        _checks.fail(ValueError, "titles", f"a list of {len(windows)}, one per panel", repr(titles))
    figure = figure or Figure(layout="constrained")
    figure.set_size_inches(8, 0.6 + 2.1 * len(windows))
    panels = figure.subplots(len(windows), sharex=True, squeeze=False)[:, 0]
    styles = [
        {"color": BLACK, "linewidth": 2.2, "alpha": 0.45},
        {"color": ORANGE, "linewidth": 1.0},
        {"color": BLUE, "linewidth": 1.2},
        {"color": GREEN, "linewidth": 1.0},
        {"color": RED, "linewidth": 1.0, "linestyle": "--"},
    ]
    for axes, signals, title in zip(panels, windows, titles, strict=True):
        for (name, signal), style in zip(signals.items(), cycle(styles), strict=False):
            axes.plot(time, signal, label=name, **style)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylabel(unit)
        axes.grid(color=GREY, linewidth=0.4)
    panels[-1].set_xlabel("time (s)")
    panels[0].legend(loc="upper right", fontsize=8, ncols=len(styles))
    return figure


def _are_atoms(support: np.ndarray, n: int) -> bool:
    return (
        support.ndim == 1
        and np.issubdtype(support.dtype, np.integer)
        and bool(np.all((support >= 0) & (support < n)))
    )


def _fits(name: str, arrays: dict[str, Any], length: int) -> None:
    for key, array in arrays.items():
        if np.shape(array) != (length,):
            _checks.fail(
                ValueError, f"{name}[{key!r}]", f"shape ({length},)", f"shape {np.shape(array)}"
            )


def _bands(axes, groups, names):
    for i, (start, end) in enumerate(zip(*_runs(groups), strict=True)):
        if i % 2:
            axes.axvspan(start - 0.5, end - 0.5, color=GREY, alpha=0.3, linewidth=0)
        name = _name(groups[start], names)
        axes.text((start + end - 1) / 2, 0.97, name, ha="center", va="top", fontsize=7,
                  transform=axes.get_xaxis_transform())  # fmt: skip


def _runs(groups) -> tuple[np.ndarray, np.ndarray]:
    """Where each group of adjacent atoms starts and ends."""
    edges = np.flatnonzero(np.diff(groups)) + 1
    return np.r_[0, edges], np.r_[edges, len(groups)]


def _name(group, names: dict[int, str] | None) -> str:
    return (names or {}).get(int(group), str(group))
