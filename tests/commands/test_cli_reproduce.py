"""`greedyjax reproduce`: small figures against plain NumPy, and files nobody else's."""

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.image import imread

import greedyjax as gj
import oracles
from greedyjax.cli import main
from greedyjax.commands import _files, _reproduce
from greedyjax.commands.reproduction import _fig2, _fig3
from greedyjax.commands.reproduction._published import LEARNING
from helpers import assert_close

TAUS = np.array([1e-10, 1e-4, 1e-2, 1.0])


def content(folder, figure):
    return json.loads((folder / f"{figure}.json").read_text())


# --- Figure 1 ------------------------------------------------------------------------------------


def test_fig1(tmp_path, capsys):
    assert main(["reproduce", "fig1", "--out", str(tmp_path), "--seeds", "3"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fig1.json", "fig1.png"]
    height, width, _ = imread(tmp_path / "fig1.png").shape
    assert width > height > 400
    found = content(tmp_path, "fig1")
    assert found["finished"]
    assert "ours" in found["note"]
    scores = np.array(found["scores"])
    ordered = np.sort(scores)[::-1]
    assert_close(found["sorted"], ordered, np.float32)
    for row in found["soft"]:
        logits = -np.abs(ordered[:, None] - scores[None, :]) / row["tau"]
        rows = np.exp(logits)
        rows /= rows.sum(axis=1, keepdims=True)
        # Six digits are written, of scores of size 1 over a tau of 0.01.
        np.testing.assert_allclose(row["matrix"], rows, atol=1e-4)
        np.testing.assert_allclose(row["values"], rows @ scores, atol=1e-4)
        assert row["distance"] <= row["bound"] * (1 + 1e-5)
    assert "bound" in capsys.readouterr().out


# --- Figure 2 ------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Figure 2 with 40 atoms, 24 measurements, 3 nonzeros and 6 repeats."""
    for name, value in {
        "NUM_ATOMS": 40,
        "NUM_MEASUREMENTS": 24,
        "SPARSITY": 3,
        "TAUS": TAUS,
        "RECOVERY_STEPS": {"omp": 3, "iht": 5},
        "ITERATES": {"omp": (2, 3, 4), "iht": (1, 2, 3)},
        "REPEATS": {"omp": 6, "iht": 6},
    }.items():
        monkeypatch.setattr(_fig2, name, value)
    for function in (_fig2._recovery, _fig2._difference):
        function.clear_cache()
    yield
    for function in (_fig2._recovery, _fig2._difference):
        function.clear_cache()


@pytest.mark.parametrize("x64", [False, True])
def test_fig2_against_plain_numpy(small, x64):
    """The errors of all repeats; in double precision, and nobody's setting is changed."""
    jax.config.update("jax_enable_x64", x64)
    try:
        found = _fig2.fig2("omp", [4])
        assert jax.config.jax_enable_x64 == x64
        assert jnp.ones(1).dtype == (np.float64 if x64 else np.float32)
    finally:
        jax.config.update("jax_enable_x64", True)
    keys = _fig2._keys([4], 0, 6)
    draw = jax.jit(_fig2._draw)
    for row in found["recovery"]:
        hard, soft = [], []
        for key in keys:
            A, x, y = map(np.asarray, draw(key, row["noise"]))
            assert np.count_nonzero(x) <= 3
            assert x[0] == 0
            hard.append(np.linalg.norm(oracles.omp(A, y, 3).x - x))
            soft.append([np.linalg.norm(soft_omp(A, y, tau) - x) for tau in TAUS])
        assert_statistics(row["hard"], np.array(hard))
        assert_statistics(row["soft"], np.array(soft))
    # Cold, the two agree to rounding; the certificates are never wrong.
    assert max(row["soft"]["quantiles_10_90"][1][0] for row in found["difference"]) < 1e-12
    assert [row["wrong"] for row in found["certificate"]] == [0, 0, 0]
    assert [row["proven"][0] for row in found["certificate"]] == [1, 1, 1]


@jax.jit
def soft_omp(A, y, tau):
    return gj.soft_omp(A, y, sparsity=3, tau=tau).x


def assert_statistics(found, errors):
    logs = np.log10(errors)
    # Rounding in the errors of the least squares, of 1e-12 or so relative to 1e-5.
    close = {"rtol": 1e-7, "atol": 1e-12}
    np.testing.assert_allclose(found["geometric_mean"], 10 ** logs.mean(axis=0), **close)
    np.testing.assert_allclose(found["std_of_log10"], logs.std(axis=0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found["median"], np.median(errors, axis=0), **close)
    quantiles = np.quantile(errors, (0.1, 0.9), axis=0)
    np.testing.assert_allclose(found["quantiles_10_90"], quantiles, **close)


def test_fig2_through_the_command(small, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["reproduce", "fig2", "--algorithm", "iht", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"fig2-iht.png", "fig2.json", "notes.txt"}
    found = content(tmp_path, "fig2")
    assert found["finished"]
    assert set(found) & {"omp", "iht"} == {"iht"}
    for row in found["iht"]["comparison"]:
        assert row["ratio"] == pytest.approx(row["ours"] / row["published"], rel=1e-4)
        assert row["factor_by_chance"] >= 1
    published = [row["published"] for row in found["iht"]["comparison"] if row["tau"] is None]
    assert published == [4.36e-6, 3.02e-4, 3.59e-2]
    assert "published" in capsys.readouterr().out


# --- Figure 3 ------------------------------------------------------------------------------------


def test_fig3_rows(monkeypatch):
    """Two methods computed again, by other means; every method on every system and seed."""
    for name, value in {"NUM_TRAIN": 64, "NUM_VAL": 32, "PAPER_EPOCHS": 1, "OUR_EPOCHS": 1}.items():
        monkeypatch.setattr(_fig3, name, value)
    monkeypatch.setattr(_fig3, "NUM_TEST", 48)
    found = _fig3.fig3("omp", [5, 6])
    assert found["seeds"] == [5, 6]
    rows = {(row["seed"], row["system"], row["method"]): row for row in found["rows"]}
    assert len(rows) == len(found["rows"]) == 2 * (8 + 7)
    for (_, system, method), row in rows.items():
        assert ("published" in row) == (system == "complex" and method in LEARNING["omp"])
    for seed in (5, 6):
        drawn = _fig3.draw("omp", seed, 48)
        A = np.asarray(drawn.A)
        for name, (Y, X) in {"val": drawn.val, "test": drawn.test}.items():
            plain, fitted = [], []
            for y, x in zip(np.asarray(Y), np.asarray(X), strict=True):
                plain.append(np.sum((oracles.omp(A, y, 10).x.real - x) ** 2))
                there = np.flatnonzero(x)
                z = np.linalg.lstsq(A[:, there], y, rcond=None)[0]
                fitted.append(np.sum((z.real - x[there]) ** 2))
            got = rows[seed, "complex", "hard, w = 1"][name]
            # A near tie decided otherwise in single precision changes one signal of dozens.
            np.testing.assert_allclose(got["mse"], np.mean(plain), rtol=0.1)
            np.testing.assert_allclose(got["median"], np.median(np.sqrt(plain)), rtol=0.1)
            got = rows[seed, "complex", "least squares on the true support"][name]
            np.testing.assert_allclose(got["mse"], np.mean(fitted), rtol=1e-2)
        sets = [{x.tobytes() for x in np.asarray(X)} for _, X in drawn[1:4]]
        assert [len(one) for one in sets] == [64, 32, 48]
        assert len(set.union(*sets)) == 64 + 32 + 48


def test_rmsprop_is_that_of_pytorch():
    """v <- 0.99 v + 0.01 g^2, p <- p - lr g / (sqrt(v) + 1e-8), after clipping to norm 1."""
    optimizer = _fig3._paper_optimizer()
    steps = _fig3.HALVED_EVERY * (_fig3.NUM_TRAIN // _fig3.BATCH_SIZE)
    assert steps == 8000
    rng = np.random.default_rng(0)
    p, v = np.ones(4), np.zeros(4)
    params = jnp.array(p)
    state = optimizer.init(params)
    for step in range(20):
        g = rng.standard_normal(4) * (3.0 if step % 2 else 0.1)
        updates, state = optimizer.update(jnp.array(g), state, params)
        params = optax.apply_updates(params, updates)
        g = g / max(1, np.linalg.norm(g))
        v = 0.99 * v + 0.01 * g**2
        p = p - 1e-2 * g / (np.sqrt(v) + 1e-8)
        np.testing.assert_allclose(params, p, rtol=1e-6)
    schedule = optax.exponential_decay(_fig3.PAPER_RATE, steps, 0.5, staircase=True)
    np.testing.assert_allclose(
        [schedule(steps - 1), schedule(steps), schedule(2 * steps)], [1e-2, 5e-3, 2.5e-3], rtol=1e-6
    )


def test_hidden_set_is_counted():
    assert _fig3._found([0.1, 3.0, 2.0, 0.5], [1, 2]) == 2
    assert _fig3._found([0.1, 3.0, 2.0, 0.5], [0, 1]) == 1


# --- The command ---------------------------------------------------------------------------------


def test_an_interrupt_keeps_the_algorithm_that_is_done(tmp_path, monkeypatch):
    done = _fig2.fig2

    def compute(algorithm, seeds, *, quick):
        if algorithm == "iht":
            raise KeyboardInterrupt
        return done(algorithm, seeds, quick=quick)

    monkeypatch.setattr(_reproduce, "fig2", compute)
    monkeypatch.setattr(_fig2, "TAUS", TAUS)
    assert main(["reproduce", "fig2", "--quick", "--out", str(tmp_path)]) == 130
    found = content(tmp_path, "fig2")
    assert found["finished"] is False
    assert found["omp"]["seconds"] > 0
    assert (tmp_path / "fig2-omp.png").exists()


@pytest.mark.parametrize("name", ["fig1.json", "fig1.png"])
def test_files_of_others_stay(tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    assert main(["reproduce", "fig1", "--out", str(tmp_path)]) == 2
    assert f"{name}: exists and was not written by greedyjax" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"


def test_its_own_files_are_written_again(tmp_path):
    for seed in ("0", "1"):
        assert main(["reproduce", "fig1", "--out", str(tmp_path), "--seeds", seed]) == 0
        assert content(tmp_path, "fig1")["seeds"] == [int(seed)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fig1", "--algorithm", "omp"], "--algorithm: expected none for fig1"),
        (["fig4"], "invalid choice: 'fig4'"),
        (["fig2", "--seeds", "-1"], "expected an integer >= 0, got '-1'"),
        (["fig2", "--seeds"], "expected at least one argument"),
        (["fig2", "--algorithm", "cosamp"], "invalid choice: 'cosamp'"),
    ],
)
def test_bad_input(tmp_path, capsys, arguments, message):
    try:
        code = main(["reproduce", *arguments, "--out", str(tmp_path)])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_json_is_written_for_readers(tmp_path):
    values = {"curve": [1.0, 2.123456789, float("nan")], "nested": [[1, 2], [3, 4]], "name": "a"}
    _files.write_json(tmp_path / "one.json", values, "test")
    text = (tmp_path / "one.json").read_text()
    assert '"curve": [1.0, 2.12346, null]' in text
    assert "[1, 2]" in text
    assert json.load(io.StringIO(text))["nested"] == [[1, 2], [3, 4]]


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["fig1", "fig2", "fig3"])
def test_quick(tmp_path, figure):
    """Every figure at its real sizes, in seconds: under 30 on two idle cores."""
    assert main(["reproduce", figure, "--quick", "--out", str(tmp_path)]) == 0
    assert content(tmp_path, figure)["finished"]
    pictures = sorted(tmp_path.glob("*.png"))
    assert len(pictures) == (1 if figure == "fig1" else 2)
    for picture in pictures:
        assert min(imread(picture).shape[:2]) > 400
