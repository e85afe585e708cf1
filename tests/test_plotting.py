"""Pictures show the given data, and every axis has a label."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from greedyjax import plotting

WEIGHTS = {"first": np.array([1.0, -0.5, 0.25, 0.0]), "second": np.array([0.0, 2.0, 1.0, 3.0])}
HISTORY = {
    "train_loss": np.array([np.nan, 2.0, 1.0, 0.5]),
    "val_loss": np.array([3.0, 2.5, 0.75, 0.8]),
}
TIME = np.linspace(0, 1, 5)
WINDOWS = [
    {"true": TIME, "OMP": TIME**2, "learned": TIME**3},
    {"true": -TIME, "OMP": 1 - TIME, "learned": 0 * TIME},
]


def png(figure, path):
    figure.savefig(path, format="png")
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(data) > 5000
    return data


def stems(collection):
    """Positions and heights of vertical lines that start at 0."""
    segments = np.array(collection.get_segments())
    np.testing.assert_array_equal(segments[:, 0, 1], 0)
    np.testing.assert_array_equal(segments[:, 0, 0], segments[:, 1, 0])
    return segments[:, 1].T


def lines(axes):
    return {line.get_label(): np.array(line.get_xydata()) for line in axes.lines}


def test_weights(tmp_path):
    figure = plotting.plot_weights(WEIGHTS)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["first", "second"]
    for axes, values in zip(figure.axes, WEIGHTS.values(), strict=True):
        positions, heights = stems(axes.collections[0])
        np.testing.assert_array_equal(positions, np.arange(4))
        np.testing.assert_array_equal(heights, np.abs(values))
        assert axes.get_ylabel() == "|weight|"
        low, high = axes.get_ylim()
        assert low <= 0
        assert high > np.abs(values).max()
    assert "atom" in figure.axes[-1].get_xlabel()
    png(figure, tmp_path / "weights.png")


def test_weights_with_a_hidden_set():
    axes = plotting.plot_weights({"w": WEIGHTS["first"]}, support=[1, 2], atoms="column").axes[0]
    positions, heights = stems(axes.collections[1])
    np.testing.assert_array_equal(positions, [1, 2])
    np.testing.assert_array_equal(heights, [0.5, 0.25])
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "hidden set" in names
    assert axes.get_xlabel() == "column"


def test_weights_in_named_groups(tmp_path):
    groups = np.array([0, 0, 1, 2])
    figure = plotting.plot_weights(WEIGHTS, groups=groups, group_names={0: "a", 1: "b"})
    for axes in figure.axes:
        texts = {text.get_text(): text.get_position()[0] for text in axes.texts}
        assert texts == {"a": 0.5, "b": 2.0, "2": 3.0}
    png(figure, tmp_path / "groups.png")


def test_weights_that_are_all_zero():
    axes = plotting.plot_weights({"none": np.zeros(3)}).axes[0]
    assert axes.get_ylim()[1] > 0


def test_interactions_in_named_groups(tmp_path):
    matrix = np.diag([0.5, -0.5, 1.0, 0.0])
    groups = np.array([0, 0, 1, 2])
    figure = plotting.plot_interactions(matrix, groups=groups, group_names={0: "a"}, title="t")
    axes, bar = figure.axes
    np.testing.assert_array_equal(axes.images[0].get_array(), matrix)
    # A scale that is as far from 0 on either side, and says what a weight is multiplied by.
    low, high = axes.images[0].get_clim()
    assert low == -high
    ticks = [text.get_text() for text in bar.get_yticklabels()]
    assert ticks[2] == "1"
    assert float(ticks[-1]) == pytest.approx(np.exp(high), rel=0.05)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "1", "2"]
    np.testing.assert_array_equal(axes.get_xticks(), [0.5, 2, 3])
    assert axes.get_title(loc="left") == "t"
    png(figure, tmp_path / "interactions.png")


@pytest.mark.parametrize(
    ("matrix", "settings", "message"),
    [
        (np.zeros((2, 3)), {}, "matrix: expected shape"),
        (np.full((2, 2), np.nan), {}, "matrix: expected finite"),
        (np.zeros((2, 2)), {"groups": [0]}, "groups: expected shape"),
    ],
)
def test_interactions_that_cannot_be_drawn(matrix, settings, message):
    with pytest.raises(ValueError, match=message):
        plotting.plot_interactions(matrix, **settings)


def test_training(tmp_path):
    figure = plotting.plot_training(HISTORY)
    (axes,) = figure.axes
    drawn = lines(axes)
    np.testing.assert_array_equal(drawn["training"][:, 1], HISTORY["train_loss"])
    np.testing.assert_array_equal(drawn["validation"][:, 1], HISTORY["val_loss"])
    np.testing.assert_array_equal(drawn["validation"][:, 0], np.arange(4))
    np.testing.assert_array_equal(drawn["best epoch, 2"], [[2, 0.75]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")
    assert axes.get_yscale() == "log"
    names = {text.get_text() for text in axes.get_legend().get_texts()}
    assert names == {"training", "validation", "best epoch, 2"}
    png(figure, tmp_path / "training.png")


@pytest.mark.parametrize(
    ("train", "val", "scale"),
    [
        ([np.nan, 1.0], [1.0, 0.0], "linear"),  # A logarithm would lose the best epoch.
        ([np.nan], [2.0], "log"),
        ([np.nan, np.nan], [np.nan, np.nan], None),
        ([], [], None),
    ],
)
def test_histories_that_are_hardly_there(tmp_path, train, val, scale):
    """Losses that reach 0, no epoch, nothing finite, and an interrupt before the first value."""
    figure = plotting.plot_training({"train_loss": np.array(train), "val_loss": np.array(val)})
    if scale:
        assert figure.axes[0].get_yscale() == scale
    png(figure, tmp_path / "training.png")


def test_training_with_another_validation(tmp_path):
    """Quantities that differ have axes that differ."""
    figure = plotting.plot_training(HISTORY, best_epoch=3, val_measure="squared error")
    above, below = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "squared error"]
    assert set(lines(above)) == {"training"}
    assert set(lines(below)) == {"validation", "best epoch, 3"}
    np.testing.assert_array_equal(lines(below)["best epoch, 3"], [[3, HISTORY["val_loss"][3]]])
    png(figure, tmp_path / "training.png")


def test_recovery(tmp_path):
    figure = plotting.plot_recovery(TIME, WINDOWS, titles=["lead I", "lead II"], unit="mV")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["lead I", "lead II"]
    for axes, signals in zip(figure.axes, WINDOWS, strict=True):
        drawn = lines(axes)
        assert set(drawn) == set(signals)
        for name, signal in signals.items():
            np.testing.assert_array_equal(drawn[name], np.stack([TIME, signal], axis=1))
        assert axes.get_ylabel() == "mV"
        assert len({line.get_color() for line in axes.lines}) == 3
    assert figure.axes[-1].get_xlabel() == "time (s)"
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["true", "OMP", "learned"]
    png(figure, tmp_path / "recovery.png")


def test_recovery_draws_every_method():
    """One line per method, however many."""
    signals = {f"method {i}": i * TIME for i in range(6)}
    axes = plotting.plot_recovery(TIME, [signals], titles=["all"], unit="mV").axes[0]
    assert set(lines(axes)) == set(signals)


def test_every_plot_draws_on_the_figure_given():
    given = Figure()
    assert plotting.plot_weights(WEIGHTS, figure=given) is given
    given = Figure()
    assert plotting.plot_training(HISTORY, figure=given) is given
    given = Figure()
    assert plotting.plot_interactions(np.eye(3), figure=given) is given
    given = Figure()
    settings = {"titles": ["", ""], "unit": "", "figure": given}
    assert plotting.plot_recovery(TIME, WINDOWS, **settings) is given
    assert len(given.axes) == 2
