"""`greedyjax reproduce` as a command: its files, its folder and its messages."""

import contextlib
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import oracles
from greedyjax.cli import main
from greedyjax.commands import _files, _reproduce
from greedyjax.commands.reproduction import _fig2, _published


def run(*arguments):
    """Exit code and what was printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(["reproduce", *map(str, arguments)])
    return code, printed.getvalue()


def content_of(folder, figure):
    return json.loads((folder / f"{figure}.json").read_text())


def assert_picture(path):
    """An image of sensible size with something on it."""
    image = imread(path)
    assert 500 < image.shape[0] < 2000
    assert 1000 < image.shape[1] < 2500
    assert image[..., :3].std() > 0.05


def names_in(folder):
    return {path.name for path in folder.iterdir()}


# --- Figure 1 ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fig1(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fig1")
    (folder / "notes.txt").write_text("mine")
    code, printed = run("fig1", "--out", folder)
    assert code == 0
    return folder, printed, content_of(folder, "fig1")


def test_fig1_files(fig1):
    folder, printed, content = fig1
    assert names_in(folder) == {"fig1.json", "fig1.png", "notes.txt"}
    assert (folder / "notes.txt").read_text() == "mine"
    assert_picture(folder / "fig1.png")
    assert content["written_by"] == "greedyjax reproduce fig1"
    assert (content["finished"], content["quick"], content["seeds"]) == (True, False, [0])
    assert content["seconds"] > 0
    assert content["published"] is None, "nobody knows the published settings"
    assert f"wrote {folder}" in printed
    for row in content["soft"]:
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{row['tau']:g} ")]
        assert f"{row['distance']:.2g}" in line


def assert_fig1(content):
    v = np.array(content["scores"])
    gap = -np.diff(np.sort(v)[::-1]).max()
    hard = oracles.hardsort(v)
    # Six digits of the scores; those of their differences are fewer.
    np.testing.assert_array_equal(content["hard_matrix"], hard)
    np.testing.assert_allclose(content["sorted"], np.sort(v)[::-1], rtol=1e-5)
    np.testing.assert_allclose(content["smallest_gap"], gap, rtol=1e-3)
    assert [row["tau"] for row in content["soft"]] == [0.01, 0.1, 1.0]
    for row in content["soft"]:
        soft = oracles.softsort(v, row["tau"])
        np.testing.assert_allclose(row["matrix"], soft, rtol=1e-2, atol=1e-5)
        np.testing.assert_allclose(row["values"], soft @ v, rtol=1e-3, atol=1e-4)
        distance = np.abs(soft - hard).sum(axis=1).max()
        np.testing.assert_allclose(row["distance"], distance, rtol=1e-2, atol=1e-12)
        bound = min(2.0, 2 * (len(v) - 1) * np.exp(-gap / row["tau"]))
        np.testing.assert_allclose(row["bound"], bound, rtol=1e-2)
        # A weight next to 1 is rounded.
        assert row["distance"] <= row["bound"] + 1e-12
    assert content["soft"][0]["distance"] < content["soft"][2]["distance"]


def test_fig1_against_numpy(fig1):
    assert_fig1(fig1[2])


def test_fig1_again_with_another_seed(fig1, tmp_path, monkeypatch):
    """Into the folder of the first run, whose files are its own, even after a broken run."""
    folder, first = shutil.copytree(fig1[0], tmp_path / "again"), fig1[2]
    (folder / "fig1.json").write_text(json.dumps(first | {"finished": False}))
    (folder / "fig1.png").write_text("half a picture")
    # A seed whose smallest gap is large: bounds below the trivial one.
    drawn, draw = [], _files.draw
    monkeypatch.setattr(
        _files, "draw", lambda path, plot: drawn.append(plot(figure=Figure())) or draw(path, plot)
    )
    code, printed = run("fig1", "--seeds", "142", "--quick", "--out", folder)
    assert code == 0
    # That it was quick is said above the table, and above the picture.
    assert printed.startswith("--quick: a check that everything runs")
    assert [figure.get_suptitle() for figure in drawn] == [printed.splitlines()[0]]
    content = content_of(folder, "fig1")
    assert_fig1(content)
    assert [row["bound"] < 2 for row in content["soft"]] == [True, False, False]
    assert (content["seeds"], content["quick"], content["finished"]) == ([142], True, True)
    assert_picture(folder / "fig1.png")


# --- Folders and algorithms ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fig1.json", "fig1.png"])
def test_refuses_to_replace_what_it_did_not_write(name, tmp_path, capsys):
    (tmp_path / name).write_text('{"mine": 1}')
    assert run("fig1", "--out", tmp_path)[0] == 2
    assert (tmp_path / name).read_text() == '{"mine": 1}'
    assert names_in(tmp_path) == {name}
    assert capsys.readouterr().err.startswith(f"greedyjax reproduce: error: {tmp_path / name}: ")


def fake_fig2(algorithm, seeds, *, quick=False):
    """What fig2 gives, of errors that took no time to compute."""
    rng = np.random.default_rng(seeds)
    errors = lambda *shape: 10.0 ** rng.uniform(-6, 0, (2 if quick else 5, 3, *shape))
    hard, soft, difference = errors(), errors(len(_fig2.TAUS)), errors(len(_fig2.TAUS))
    rows = [_fig2._statistics(difference[:, i], 1e-12) for i in range(3)]
    return {
        "seeds": seeds,
        "repeats": {"recovery": len(hard), "difference": len(hard)},
        "taus": _fig2.TAUS.tolist(),
        "recovery": [
            {"noise": noise, "hard": _fig2._statistics(hard[:, i]), "soft": rows[i]}
            for i, noise in enumerate(_fig2.NOISES)
        ],
        "difference": [
            {"steps": n, "soft": rows[i]} for i, n in enumerate(_fig2.ITERATES[algorithm])
        ],
        "comparison": _fig2._comparison(algorithm, hard, soft, difference),
    }


def test_fig2_beside_fig1(fig1, tmp_path, monkeypatch):
    """Both algorithms, the seeds as given, and the files of the other figure untouched."""
    monkeypatch.setattr(_reproduce, "fig2", fake_fig2)
    folder = shutil.copytree(fig1[0], tmp_path / "both")
    before = (folder / "fig1.json").read_bytes()
    code, printed = run("fig2", "--seeds", "4", "2", "--out", folder)
    assert code == 0
    assert (folder / "fig1.json").read_bytes() == before
    pictures = {"fig2-omp.png", "fig2-iht.png"}
    assert names_in(folder) == {"fig1.json", "fig1.png", "notes.txt", "fig2.json"} | pictures
    for name in pictures:
        assert_picture(folder / name)
    content = content_of(folder, "fig2")
    assert (content["finished"], content["written_by"]) == (True, "greedyjax reproduce fig2")
    for algorithm in ("omp", "iht"):
        assert content[algorithm]["seeds"] == [4, 2]
        assert content[algorithm]["seconds"] >= 0
        table = printed[printed.index(f"{algorithm}: geometric") :].splitlines()[3:]
        for line, row in zip(table, content[algorithm]["comparison"], strict=False):
            assert line.startswith(row["what"])
            published, ours, ratio = map(float, line.split()[-3:])
            assert published == row["published"]
            assert ours == pytest.approx(row["ours"], rel=0.01)
            assert ratio == pytest.approx(row["ratio"], rel=1e-3, abs=0.006)


@pytest.mark.parametrize(("quick", "seeds"), [(True, 1), (False, 5)])
def test_seeds_unless_given(quick, seeds, tmp_path, monkeypatch):
    """One where it is quick, five otherwise; fig3 itself is not run."""
    called = []

    def stop(algorithm, seeds, *, quick):
        called.append((algorithm, seeds, quick))
        raise KeyboardInterrupt

    monkeypatch.setattr(_reproduce, "fig3", stop)
    options = ["--quick"] if quick else []
    assert run("fig3", *options, "--algorithm", "iht", "--out", tmp_path)[0] == 130
    assert called == [("iht", list(range(seeds)), quick)]


def test_an_interrupt_keeps_the_first_algorithm(tmp_path, monkeypatch, capsys):
    def compute(algorithm, seeds, *, quick):
        if algorithm == "iht":
            raise KeyboardInterrupt
        return fake_fig2(algorithm, seeds, quick=quick)

    monkeypatch.setattr(_reproduce, "fig2", compute)
    assert run("fig2", "--out", tmp_path)[0] == 130
    assert capsys.readouterr().err == "greedyjax reproduce: interrupted\n"
    content = content_of(tmp_path, "fig2")
    assert content["finished"] is False
    assert len(content["omp"]["comparison"]) == len(fake_fig2("omp", [0])["comparison"])
    assert "iht" not in content
    assert names_in(tmp_path) == {"fig2.json", "fig2-omp.png"}


def test_an_interrupted_training_is_kept_and_said(tmp_path, monkeypatch):
    """`fit_many` returns what it has; the second algorithm does not begin."""
    compute = lambda algorithm, seeds, *, quick: fake_fig2(algorithm, seeds) | {"interrupted": True}
    monkeypatch.setattr(_reproduce, "fig2", compute)
    assert run("fig2", "--out", tmp_path)[0] == 130
    content = content_of(tmp_path, "fig2")
    assert content["finished"] is False
    assert content["omp"]["interrupted"] is True
    assert "iht" not in content


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fig1", "--algorithm", "omp"], "--algorithm: expected none for fig1"),
        (["fig2", "--algorithm", "cosamp"], "--algorithm"),
        (["fig2", "--seeds", "-1"], "--seeds: expected an integer >= 0, got '-1'"),
        (["fig2", "--seeds", "0", "1.5"], "--seeds: expected an integer >= 0, got '1.5'"),
        (["fig2", "--seeds", "9" * 20], "--seeds: expected an integer >= 0"),
        (["fig2", "--seeds"], "--seeds"),
        (["fig4"], "'fig4'"),
        ([], "figure"),
    ],
)
def test_what_a_user_can_get_wrong(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["reproduce", *arguments])
    except SystemExit as stopped:  # argparse ends the program itself.
        code = stopped.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    *usage, line = err.splitlines()
    assert not usage or usage[0].startswith("usage: greedyjax reproduce")
    assert line.startswith("greedyjax reproduce: error: ")
    assert words in line
    assert names_in(tmp_path) == set(), "refused before anything is written"


# --- As a program --------------------------------------------------------------------------------


@pytest.mark.slow
def test_quick(tmp_path):
    """All figures, each in less than 30 s where nothing else runs; fig3 is OMP-Net unless asked."""
    runs = {"fig1": ["fig1"], "fig2": ["fig2"], "fig3": ["fig3"]}
    runs["fig3-iht"] = ["fig3", "--algorithm", "iht"]
    pictures = {"fig1": {"fig1.png"}, "fig2": {"fig2-omp.png", "fig2-iht.png"}}
    pictures |= {"fig3": {"fig3-omp.png"}, "fig3-iht": {"fig3-iht.png"}}
    for name, arguments in runs.items():
        folder = tmp_path / name
        command = [sys.executable, "-m", "greedyjax", "reproduce", *arguments, "--quick"]
        ran = subprocess.run(
            [*command, "--out", str(folder)], capture_output=True, text=True, timeout=500
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr == "", "no progress bar and no warning where there is no terminal"
        content = content_of(folder, arguments[0])
        assert (content["finished"], content["quick"]) == (True, True)
        assert names_in(folder) == pictures[name] | {f"{arguments[0]}.json"}
        for picture in pictures[name]:
            assert_picture(folder / picture)
        for algorithm in {"omp", "iht"} & set(content):
            if name == "fig2":
                certificates = content[algorithm].get("certificate", [])
                assert all(row["wrong"] == 0 for row in certificates)
                continue
            rows = content[algorithm]["rows"]
            assert {(row["seed"], row["system"]) for row in rows} == {(0, "complex")}
            published = [row["method"] for row in rows if "published" in row]
            assert set(published) == set(_published.LEARNING[algorithm])
