"""The functions of benchmarks/kv_cache.py, on a random model of two layers."""

import sys

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


@pytest.mark.slow  # Each kind compiles a learning of its own.
def test_dictionaries_of_all_layers_are_learned_in_one_call(script, model):
    """They code what they were learned from better than where learning started."""
    _, settings, params = model
    sizes = script.Sizes(tokens=8, learning=12, num_atoms=16, sparsity=2, epochs=2)
    tokens = np.random.default_rng(5).integers(0, 30, (12, 8))
    arrays = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    found, known = script.learned(settings, arrays, tokens, sizes)
    assert (known["dictionaries"], known["signals"]) == (4, 12 * 8 * 2)
    for kind in script.LEARNED_KINDS:
        assert found[f"{kind}, learned"].shape == (2, 6, 16)
        assert known["errors"][kind][-1] < known["errors"][kind][0]
    for which in ("learned", "random", "drawn", "drawn plain"):
        keys, values = script.coders_of((script.Sparse, which, 2, 6), found, False)
        assert len(keys) == len(values) == 2
        x = np.random.default_rng(6).standard_normal((2, 4, 2, 6)).astype(np.float32)
        assert keys[1](x).values.shape == x.shape


def test_every_row_has_a_coder_and_as_many_modules_as_sequences(script):
    kinds = [spec[0] for spec, _, _ in script.ROWS.values() if isinstance(spec, tuple)]
    assert set(kinds) == {script.Sparse, script.Packed}
    assert len(script.MODULES) == script.FULL.batch * script.FULL.batches >= 25
