"""The functions of benchmarks/kv_cache.py, on a random model of two layers."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.pursuit import OMP
from helpers import assert_close, benchmark
from oracles import omp as oracle_omp

TOKENS, BLOCK = 12, 4


@pytest.fixture(scope="module")
def script():
    return benchmark("kv_cache")


@pytest.fixture(scope="module")
def coders(script):
    return sys.modules["kv_coders"]


@pytest.fixture(scope="module")
def model(script):
    """The module, settings and parameters: 4 heads of queries, 2 of keys, of 6 numbers."""
    kv_model, rng = sys.modules["kv_model"], np.random.default_rng(0)
    settings = kv_model.Settings(heads=4, kv_heads=2, base=100.0, epsilon=1e-5, block=BLOCK)
    width, inner, layers = 24, 20, 2
    shapes = {
        "attention_norm": (width,), "q": (24, width), "k": (12, width), "v": (12, width),
        "output": (width, 24), "ffn_norm": (width,), "gate": (inner, width), "up": (inner, width),
        "down": (width, inner),
    }  # fmt: skip
    draw = lambda *shape: rng.standard_normal(shape)
    params = {
        "embedding": draw(30, width),
        "norm": draw(width),
        "layers": {name: draw(layers, *shape) / 2 for name, shape in shapes.items()},
    }
    return kv_model, settings, params


def oracle_losses(settings, params, tokens, coded):
    """One sequence, head by head, in plain NumPy; ``coded`` changes older keys and values."""

    def normalised(x, gains):
        return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + settings.epsilon) * gains

    def turned(x):
        z = x.copy()
        for t in range(len(x)):
            for i in range(x.shape[1] // 2):
                angle = t * settings.base ** (-2 * i / x.shape[1])
                turn = np.exp(1j * angle) * (x[t, 2 * i] + 1j * x[t, 2 * i + 1])
                z[t, 2 * i], z[t, 2 * i + 1] = turn.real, turn.imag
        return z

    x, layers = params["embedding"][tokens], params["layers"]
    for i in range(len(layers["q"])):
        layer = {name: rows[i] for name, rows in layers.items()}
        z = normalised(x, layer["attention_norm"])
        size = len(layer["q"]) // settings.heads
        answers = []
        for head in range(settings.heads):
            shared = head // (settings.heads // settings.kv_heads)
            part = lambda name, which: z @ layer[name][which * size : (which + 1) * size].T  # noqa: B023
            q, k, v = turned(part("q", head)), part("k", shared), part("v", shared)
            k_coded, v_coded = turned(coded(k)), coded(v)
            k = turned(k)
            rows = []
            for t in range(len(x)):
                old = t // settings.block * settings.block
                seen_k = np.concatenate([k_coded[:old], k[old : t + 1]])
                seen_v = np.concatenate([v_coded[:old], v[old : t + 1]])
                p = np.exp(seen_k @ q[t] / np.sqrt(size))
                rows.append(p @ seen_v / p.sum())
            answers.append(np.stack(rows))
        x = x + np.concatenate(answers, axis=1) @ layer["output"].T
        z = normalised(x, layer["ffn_norm"])
        gate = z @ layer["gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (z @ layer["up"].T)) @ layer["down"].T
    logits = normalised(x, params["norm"]) @ params["embedding"].T
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(tokens) - 1), tokens[1:]])


@pytest.mark.parametrize("digits", [None, 0], ids=["as it is", "rounded"])
def test_the_forward_pass_is_that_of_plain_numpy(model, digits):
    kv_model, settings, params = model
    tokens = np.random.default_rng(1).integers(0, 30, (3, TOKENS))
    coded = (lambda x: x) if digits is None else (lambda x: np.round(x, digits))
    cache = None
    if digits is not None:

        def cache(layer, k, v):
            return kv_model.rotated(jnp.round(k), base=settings.base), jnp.round(v)

    expected = np.stack([oracle_losses(settings, params, each, coded) for each in tokens])
    arrays = jax.tree.map(jnp.asarray, params)
    got = kv_model.forward(settings, arrays, tokens, cache)
    assert_close(got, expected)
    later = kv_model.forward(settings, arrays, tokens, cache, start=5)
    assert_close(later, expected[:, 5:])


def test_no_token_sees_what_follows_it(model):
    kv_model, settings, params = model
    tokens = np.random.default_rng(2).integers(0, 30, (1, TOKENS))
    others = tokens.copy()
    others[0, 7:] = (others[0, 7:] + 1) % 30
    first, second = (kv_model.forward(settings, params, each)[0] for each in (tokens, others))
    np.testing.assert_array_equal(first[:6], second[:6])
    assert not np.allclose(first[7:], second[7:])


def test_moments_of_queries_are_those_of_the_vectors(model):
    kv_model, settings, params = model
    tokens = np.random.default_rng(3).integers(0, 30, (2, TOKENS))
    seen = []
    kv_model.forward(settings, params, tokens, queries=seen.append)
    layer = {name: jnp.asarray(rows[0]) for name, rows in params["layers"].items()}
    q, _, _ = kv_model.projected(settings, layer, jnp.asarray(params["embedding"])[tokens])
    q = np.asarray(q)
    for head in range(2):
        mine = [
            q[b, t, g] for b in range(2) for t in range(TOKENS) for g in (2 * head, 2 * head + 1)
        ]
        expected = sum(np.outer(z, z) for z in mine) / len(mine)
        assert_close(seen[0][head], expected)


def test_integers_come_back_from_their_bytes(coders):
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 32, (50, 7)), rng.integers(0, 1024, (50, 3))
    packed = coders.pack((first, 5), (second, 10))
    assert (packed.dtype, packed.shape) == (np.uint8, (50, -(-(7 * 5 + 3 * 10) // 8)))
    back = coders.unpack(packed, (7, 5), (3, 10))
    for got, expected in zip(back, (first, second), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("along_tokens", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_integers_are_the_nearest_of_their_group(coders, bits, along_tokens):
    """Against loops over the groups, and their bytes against those of the formula."""
    rng = np.random.default_rng(bits)
    x = rng.standard_normal((2, 8, 3, 8)).astype(np.float32)
    x[0, :, 0] = 1.5  # Groups whose numbers are all the same.
    stored = coders.Integers(bits, group=4, along_tokens=along_tokens)(x)
    expected = np.empty_like(x)
    for b in range(2):
        for head in range(3):
            for i in range(8):
                for start in (0, 4):
                    place = (b, slice(start, start + 4), head, i)
                    if not along_tokens:
                        place = (b, i, head, slice(start, start + 4))
                    group = x[place]
                    zero = np.float64(np.float16(group.min()))
                    # By way of single precision, as that may round to another float16.
                    step = (group.max() - group.min()) / np.float32(2**bits - 1)
                    scale = np.float64(np.float16(step))
                    levels = zero + scale * np.arange(2**bits)
                    nearest = np.abs(group[:, None] - levels).argmin(axis=1)
                    expected[place] = levels[nearest]
    assert_close(stored.values, expected)
    groups = x.size // 4
    assert stored.nbytes == groups * (-(-4 * bits // 8) + 2 * 2)


@pytest.mark.parametrize("bits", [5, 8])
def test_codes_are_those_of_omp_with_rounded_coefficients(coders, bits):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((6, 20)).astype(np.float32)
    A /= np.linalg.norm(A, axis=0)
    metric = np.stack([B @ B.T for B in rng.standard_normal((2, 6, 6))])
    mean = rng.standard_normal((2, 6))
    frame = coders.Frame.of(mean, metric)
    x = rng.standard_normal((3, 4, 2, 6)).astype(np.float32)
    x[0, 0, 0] = frame.mean[0]  # A vector of which nothing is left to code.
    stored = coders.Sparse(A, frame, sparsity=3, bits=bits)(x)
    assert stored.nbytes == 24 * (-(-3 * (bits + 5) // 8) + 2)
    levels = 2 ** (bits - 1) - 1
    for place in np.ndindex(3, 4, 2):
        head = place[2]
        z = (x[place].astype(np.float64) - mean[head]) @ frame.W[head].astype(np.float64)
        code = oracle_omp(A.astype(np.float64), z, 3)
        scale = np.float64(np.float16(np.abs(code.x).max() / levels))
        rounded = np.rint(code.x / scale).clip(-levels, levels) * scale if scale else code.x
        expected = A @ rounded @ np.linalg.inv(frame.W[head].astype(np.float64)) + mean[head]
        # Single precision may round to the neighbouring integer: a step of one atom.
        np.testing.assert_allclose(stored.values[place], expected, atol=1e-3)


def test_an_error_costs_what_the_metric_says(coders):
    rng = np.random.default_rng(1)
    metric = np.stack([B @ B.T for B in rng.standard_normal((2, 6, 6))])
    frame = coders.Frame.of(np.zeros((2, 6)), metric)
    error = rng.standard_normal((1, 2, 6))
    got = np.sum(frame.entered(error) ** 2, axis=1)
    for head in range(2):
        level = np.trace(metric[head]) / 6
        expected = error[0, head] @ (metric[head] / level + 0.03 * np.eye(6)) @ error[0, head]
        np.testing.assert_allclose(got[head], expected, rtol=1e-5)


@pytest.mark.slow
def test_packed_codes_of_the_library_are_counted_and_come_back(coders):
    rng = np.random.default_rng(2)
    A = rng.standard_normal((6, 20)).astype(np.float32)
    frame = coders.Frame.of(np.zeros((1, 6)), np.eye(6)[None])
    x = rng.standard_normal((2, 5, 1, 6)).astype(np.float32)
    stored = coders.Packed(A, frame, 3)(x)
    packed = gj.encode(OMP(3), A, frame.entered(x)).packed(20)
    assert stored.nbytes == packed.nbytes
    expected = frame.left(packed.measurements(A), x.shape)
    assert_close(stored.values, expected)


@pytest.mark.parametrize("rotated_first", [True, False])
def test_a_cache_turns_keys_once_and_counts_bytes(coders, model, rotated_first):
    """Integers of 8 bits change little, and only where keys are turned once is that so."""
    kv_model, settings, params = model
    integers = [coders.Integers(8, group=2)] * 2
    cache = coders.CodedCache(integers, integers, base=settings.base, rotated_first=rotated_first)
    tokens = np.random.default_rng(4).integers(0, 30, (2, TOKENS))
    exact = kv_model.forward(settings, params, tokens)
    np.testing.assert_allclose(kv_model.forward(settings, params, tokens, cache), exact, atol=0.1)
    numbers = 2 * 2 * 2 * TOKENS * 12  # Layers, keys and values, sequences, tokens, numbers.
    assert cache.numbers == numbers
    assert cache.nbytes == numbers // 2 * (2 + 2 * 2)
    assert cache.share == pytest.approx(1.5)


def test_the_first_tokens_may_be_stored_as_they_are(coders, model):
    _, settings, _ = model
    integers = coders.Integers(1, group=6)
    settled = {"base": settings.base, "rotated_first": True}
    cache = coders.CodedCache([integers], [integers], **settled, exact=2)
    x = np.random.default_rng(8).standard_normal((3, 5, 2, 6)).astype(np.float32)
    _, values = cache(0, jnp.asarray(x), jnp.asarray(x))
    np.testing.assert_array_equal(values[:, :2], x[:, :2].astype(np.float16))
    np.testing.assert_array_equal(values[:, 2:], integers(x[:, 2:]).values)
    # Of keys and values: 3 x 2 tokens of 12 numbers, and 3 x 3 of 2 groups of 1, 2 and 2 bytes.
    assert cache.nbytes == 2 * (6 * 12 * 2 + 9 * 2 * (1 + 2 + 2))
    assert cache.numbers == 2 * x.size


@pytest.fixture(scope="module")
def of_tiny_model(script, model):
    """What is learned of each source, from the model's sequences; settings and parameters."""
    learning, (_, settings, params) = sys.modules["kv_learning"], model
    draw = np.random.default_rng(5).integers(0, 30, (2, 12, 8))
    texts = sys.modules["kv_texts"].Texts(*draw)
    arrays = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    sources = {
        "news": learning.Source(epochs=2, baselines=True),
        "both": learning.Source(code=1, epochs=2),
    }
    found, known = {}, {}
    for name, source in sources.items():
        tokens = source.of(texts, 12)
        found[name], known[name] = learning.learned(settings, arrays, tokens, source, 16, 2)
    return found, known, texts, settings, arrays


@pytest.mark.slow  # Each kind compiles a learning of its own.
def test_dictionaries_of_all_layers_are_learned_in_one_call(script, of_tiny_model):
    """They code what they were learned from better than where learning started."""
    found, known, *_ = of_tiny_model
    for name, signals in (("news", 12 * 8 * 2), ("both", 24 * 8 * 2)):
        assert (known[name]["dictionaries"], known[name]["signals"]) == (4, signals)
        for kind in ("keys before", "values"):
            assert found[name][f"{kind}, learned"].shape == (2, 6, 16)
            assert known[name]["errors"][kind][-1] < known[name]["errors"][kind][0]
    assert "keys after, drawn" in found["news"]
    assert "keys after, drawn" not in found["both"]


@pytest.mark.slow  # Uses what the test before learned.
def test_dictionaries_of_both_texts_code_the_second_better(script, of_tiny_model):
    """Layer 0 of the second text's keys, coded by dictionaries that saw it and that did not."""
    found, _, texts, settings, arrays = of_tiny_model
    signals, moments = sys.modules["kv_learning"].collected(settings, arrays, texts.code)
    assert signals["keys before"].shape == (2, 12, 8, 2, 6)
    assert moments.shape == (2, 2, 6, 6)
    left = {}
    for source in ("news", "both"):
        keys, _ = script.coders_of(script.Row(script._sparse(2), source=source), found[source])
        x = signals["keys before"][0]
        left[source] = np.sum(
            keys[0].frame.entered(x - keys[0](x).values + keys[0].frame.mean) ** 2
        )
    assert left["both"] < left["news"]


@pytest.mark.slow  # Uses what the test before learned.
def test_rows_are_judged_on_the_second_half_of_as_many_sequences_as_they_say(script, of_tiny_model):
    found, _, texts, settings, arrays = of_tiny_model
    small = settings.__class__(**{**vars(settings), "block": 2})
    exact = script.judged(small, arrays, found, texts, script.Row(None), 3, 2)
    assert exact["share"] == 1.0
    for text, losses in zip(texts, exact["losses"], strict=True):
        expected = sys.modules["kv_model"].forward(small, arrays, text[:6], start=4).mean(axis=1)
        np.testing.assert_allclose(losses, expected, atol=1e-5)
    for name in ("learned", "random", "drawn", "drawn plain"):
        row = script.Row(script._sparse(2), name)
        coded = script.judged(small, arrays, found, texts, row, 3, 1)
        # Two atoms of 4 and 6 bits in 3 bytes, and a scale, of 6 numbers.
        assert coded["share"] == pytest.approx(5 / 12)
        assert [len(losses) for losses in coded["losses"]] == [3, 3]
        assert not np.allclose(coded["losses"], np.array(exact["losses"])[:, :3], atol=1e-3)


@pytest.mark.slow  # Uses what the test before learned.
def test_every_row_has_coders(script, of_tiny_model):
    found, *_ = of_tiny_model
    for row in script.ROWS.values():
        source = "news" if script.SOURCES[row.source].baselines else "both"
        if row.coder is not None:
            keys, values = script.coders_of(row, found[source])
            assert len(keys) == len(values) == 2


def test_longer_sequences_have_some_of_the_rows(script):
    assert "as it is" in script.LONG
    assert set(script.LONG) <= set(script.ROWS)


class Characters:
    """A tokenizer with a token for each character."""

    def encode(self, text):
        return SimpleNamespace(ids=[ord(c) for c in text])


def test_nothing_is_learned_from_what_is_predicted(script, monkeypatch):
    """Of news whose tokens are all different, and of modules that are in one list alone."""
    kv_texts, sizes = sys.modules["kv_texts"], script.FULL
    assert not set(kv_texts.MODULES) & set(kv_texts.LEARNED_MODULES)
    assert len(set(kv_texts.MODULES)) == sizes.batch * sizes.batches
    monkeypatch.setattr(kv_texts, "_news", lambda tokenizer: np.arange(20_000, dtype=np.int32))
    learned = [
        kv_texts.learned_from(Characters(), script.most(longer) * sizes.learning, tokens)
        for longer, tokens in ((False, sizes.tokens), (True, sizes.long_tokens))
    ]
    assert learned[0].news.shape == learned[0].code.shape == (3 * 28, 96)
    assert learned[1].news.shape == learned[1].code.shape == (28, 384)
    starts = {tuple(row[:96]) for texts in learned for row in texts.code}
    for num, tokens in (
        (sizes.batch * sizes.batches, sizes.tokens),
        (sizes.long_batch * sizes.long_batches, sizes.long_tokens),
    ):
        held_out = kv_texts.predicted(Characters(), num, tokens)
        assert held_out.news.shape == held_out.code.shape == (num, tokens)
        assert not any(np.isin(held_out.news, texts.news).any() for texts in learned)
        mine = {tuple(row[:96]) for row in held_out.code}
        assert len(mine) == num
        assert not mine & starts
    with pytest.raises(SystemExit, match="15904"):
        kv_texts.learned_from(Characters(), 200, sizes.tokens)


def test_each_multiple_of_a_source_takes_further_sequences_of_all_modules(script, monkeypatch):
    kv_texts = sys.modules["kv_texts"]
    monkeypatch.setattr(kv_texts, "_news", lambda tokenizer: np.arange(20_000, dtype=np.int32))
    num = len(kv_texts.LEARNED_MODULES)
    texts = kv_texts.learned_from(Characters(), 2 * num, 10)
    source = importlib.import_module(kv_texts.LEARNED_MODULES[1]).__file__
    ids = [ord(c) for c in Path(source).read_text(encoding="utf-8")][kv_texts.FIRST :]
    np.testing.assert_array_equal(texts.code[1], ids[:10])
    np.testing.assert_array_equal(texts.code[num + 1], ids[10:20])
    of = sys.modules["kv_learning"].Source(news=2, code=1).of(texts, num)
    np.testing.assert_array_equal(of, np.concatenate([texts.news, texts.code[:num]]))


@pytest.mark.slow  # Compiles four trainings.
def test_selections_are_compared_on_signals_that_nothing_was_learned_from(script):
    """Signals whose atoms come in pairs, so that weights have something to learn."""
    selection, rng = sys.modules["kv_selection"], np.random.default_rng(7)
    A = rng.standard_normal((8, 16)).astype(np.float32)
    A /= np.linalg.norm(A, axis=0)
    atoms = rng.choice(4, (300, 2))
    Y = (A.T[atoms] * rng.standard_normal((300, 2, 1))).sum(axis=1).astype(np.float32)
    row = selection.compared(jnp.asarray(A), jnp.asarray(Y[:200]), jnp.asarray(Y[200:]), 2)
    codes = [oracle_omp(A.astype(np.float64), y.astype(np.float64), 2) for y in Y[200:]]
    left = sum(np.sum((y - A @ c.x) ** 2) for y, c in zip(Y[200:], codes, strict=True))
    np.testing.assert_allclose(row["errors"]["OMP"], left / np.sum(Y[200:] ** 2), rtol=1e-3)
    # Four atoms of sixteen are used at all, which every weight can learn.
    for way in ("trained weights", "interactions", "interactions, small rate"):
        assert row["errors"][way] < row["errors"]["OMP"]
    assert row["kept"] in row["judged"]
