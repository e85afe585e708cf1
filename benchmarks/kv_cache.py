"""What is a language model's key-value cache worth that dictionaries code?

The model is SmolLM2 with 135 million parameters: 30 layers, each with 3 heads of keys and values of
64 numbers. For each layer a dictionary of 1,024 atoms is learned for keys before the rotary
embedding, and one for values, all in one call, from news text. Then the model predicts the next
tokens of other news, and of the standard library of Python, from a cache that holds bytes: the
atoms of each key and value, or integers as KIVI has them. Perplexity stands beside that of the same
model with a cache as it is. Queries see the tokens of their own block of 32 as they are.

Bytes are those of what is stored for each coded token, over two for each of its numbers. The
dictionaries are of the model, as its weights are, and not counted.

    pip install greedyjax[kv]
    python benchmarks/kv_cache.py [--quick] [--only NAME ...] [--tokens N] ...

`--only learn` learns the dictionaries again, and other names are those of rows; what they find is
put beside what earlier runs of the same sizes found. `--quick` has fewer sequences and signals, and
writes nothing.
"""

import argparse
import dataclasses
import importlib
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import kv_model
import numpy as np
from common import RESULTS, load_result, write_result
from kv_coders import CodedCache, Frame, Integers, Packed, Sparse

import greedyjax as gj
from greedyjax.pursuit import OMP, OrderRecursive
from greedyjax.training import KSVD, count_weights, learn_dictionary

NAME = "kv_cache"
KINDS = ("keys before", "keys after", "values")  # Before and after the embedding.
LEARNED_KINDS = KINDS[::2]
LEARNED = Path(__file__).parent.parent / "build" / "kv_cache.npz"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of everything.

    Attributes:
        tokens: of a sequence.
        start: of the tokens of a sequence, how many are not predicted.
        batch: sequences of one kind of text at a time.
        batches: of each kind of text.
        learning: sequences that dictionaries are learned from.
        num_atoms: of a dictionary.
        sparsity: of the codes that dictionaries are learned for.
        epochs: of learning.
    """

    tokens: int = 96
    start: int = 48
    batch: int = 13
    batches: int = 2
    learning: int = 28
    num_atoms: int = 1024
    sparsity: int = 8
    epochs: int = 1


FULL, QUICK = Sizes(), Sizes(batch=4, batches=1, learning=12)

# Name: the coder, whether keys are coded after the rotary embedding, whether on all sequences.
# Others are compared on half of them.
ROWS: dict[str, tuple[Any, bool, bool]] = {
    "as it is": (None, True, True),
    "learned, 11 atoms": ((Sparse, "learned", 11, 6), False, True),
    "learned, 6 atoms": ((Sparse, "learned", 6, 6), False, True),
    "KIVI, 2 bits": (2, True, True),
    "KIVI, 3 bits": (3, True, False),
    "KIVI, 4 bits": (4, True, False),
    "KIVI, 1 bit": (1, True, False),
    "KIVI before rotary, 2 bits": (2, False, False),
    "learned, 4 atoms": ((Sparse, "learned", 4, 6), False, False),
    "random, 11 atoms": ((Sparse, "random", 11, 6), False, False),
    "random, 6 atoms": ((Sparse, "random", 6, 6), False, False),
    "learned, 8 atoms, `Codes.packed`": ((Packed, "learned", 8), False, False),
    "learned, 6 atoms, `OrderRecursive`": (
        (Sparse, "learned", 6, 6, OrderRecursive()), False, False,
    ),
    "drawn, 6 atoms": ((Sparse, "drawn", 6, 6), False, False),
    "drawn, no metric, 6 atoms": ((Sparse, "drawn plain", 6, 6), False, False),
    "drawn after rotary, 6 atoms": ((Sparse, "drawn", 6, 6), True, False),
}  # fmt: skip

# One sequence of each.
MODULES = (
    "argparse", "ast", "base64", "bdb", "calendar", "cmd", "codecs", "configparser", "copy",
    "csv", "dataclasses", "difflib", "dis", "enum", "filecmp", "fractions", "ftplib", "functools",
    "gzip", "heapq", "inspect", "locale", "mailbox", "pickle", "statistics", "textwrap",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=["learn", "selection", *ROWS])
    for name in ("tokens", "learning", "epochs"):
        parser.add_argument(f"--{name}", type=int, help=f"{getattr(FULL, name)} unless given")
    options = parser.parse_args()
    changed = {name: getattr(options, name) for name in ("tokens", "learning", "epochs")}
    changed = {name: number for name, number in changed.items() if number is not None}
    sizes = dataclasses.replace(QUICK if options.quick else FULL, **changed)
    content = {"sizes": dataclasses.asdict(sizes), "learning": {}, "selection": [], "rows": {}}
    if not options.quick and (RESULTS / f"{NAME}.json").exists():
        before = load_result(NAME)
        if before["sizes"] == content["sizes"]:
            content |= {key: before[key] for key in ("learning", "selection", "rows")}
    settings, params, tokenizer = kv_model.load()
    news, code = texts(tokenizer, sizes)
    path = LEARNED.with_stem("kv_cache_quick") if options.quick else LEARNED
    if "learn" in options.only:
        start = perf_counter()
        found, content["learning"] = learned(settings, params, news[: sizes.learning], sizes)
        content["learning"]["seconds"] = perf_counter() - start
        path.parent.mkdir(exist_ok=True)
        np.savez(path, **found)
        save(content, options)
    found = dict(np.load(path, allow_pickle=False))
    if "selection" in options.only:
        content["selection"] = selection(found)
        save(content, options)
    held_out = [news[sizes.learning :], code]
    for name in (name for name in ROWS if name in options.only):
        start = perf_counter()
        row = judged(settings, params, held_out, name, found, sizes)
        content["rows"][name] = row | {"seconds": perf_counter() - start}
        print(f"{name:36} {row['share']:.4f} {np.exp(np.mean(row['losses'], axis=1))}", flush=True)
        save(content, options)


def save(content: dict, options: argparse.Namespace) -> None:
    """After each part, so that what is interrupted goes on with `--only`."""
    if not options.quick:
        print("wrote", write_result(NAME, content), flush=True)


def texts(tokenizer: Any, sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of sequences of news, those to learn from first, and of Python source.

    News: the 300 stories of Lee, Pincombe and Welsh (2005) that `gensim` ships. Source: modules of
    the standard library, one sequence of each.
    """
    of = lambda text: np.array(tokenizer.encode(text).ids, np.int32)
    held_out = sizes.batch * sizes.batches
    lee = of(kv_model.package_file("gensim", "test", "test_data", "lee_background.cor").read_text())
    cut = lambda ids, num: ids[: num * sizes.tokens].reshape(num, sizes.tokens)
    last = lee[-held_out * sizes.tokens :]
    news = np.concatenate([cut(lee, sizes.learning), cut(last, held_out)])
    sources = [Path(importlib.import_module(name).__file__ or "") for name in MODULES[:held_out]]
    # Past the licence and the imports.
    code = np.stack([of(path.read_text())[400 : 400 + sizes.tokens] for path in sources])
    return news, code


def learned(settings, params, tokens: np.ndarray, sizes: Sizes) -> tuple[dict, dict]:
    """Dictionaries and frames of all layers, and what is known of the learning.

    The metric of keys is the second moment of the queries that meet them, ``E q q^T``: it gives
    the mean square error of a score. That of values is ``W_o^T W_o``: it gives the square error of
    what the heads add to the next layer.
    """
    signals, queries = collected(settings, params, tokens)
    outputs = np.asarray(params["layers"]["output"])
    outputs = outputs.reshape(*outputs.shape[:2], *queries[0].shape[:1], -1, queries.shape[-1])
    costs = np.asarray(jnp.einsum("ldhgs,ldhgr->lhsr", outputs, outputs))
    metrics = dict(zip(KINDS, (queries, queries, costs), strict=True))
    found, sets = {}, []
    plain = np.broadcast_to(np.eye(queries.shape[-1]), queries.shape[1:])
    rng = np.random.default_rng(0)
    for kind in KINDS:
        for name, metric in (("metric", metrics[kind]), ("plain", [plain] * len(queries))):
            frames = [
                Frame.of(X.mean(axis=(0, 1)), M) for X, M in zip(signals[kind], metric, strict=True)
            ]
            for field in ("mean", "W", "inverse"):
                found[f"{kind}, {name}, {field}"] = np.stack([getattr(f, field) for f in frames])
            Y = np.stack([f.entered(X) for f, X in zip(frames, signals[kind], strict=True)])
            places = rng.choice(Y.shape[1], sizes.num_atoms, replace=False)
            drawn = Y[:, places].swapaxes(1, 2)
            drawn = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
            found[f"{kind}, drawn{' plain' * (name == 'plain')}"] = drawn
            if name == "metric" and kind in LEARNED_KINDS:
                sets.append(Y)
    Y = np.concatenate(sets)
    initial = np.concatenate([found[f"{kind}, drawn"] for kind in LEARNED_KINDS])
    start = perf_counter()
    answer = learn_dictionary(
        Y, sizes.num_atoms, sizes.sparsity, key=jax.random.key(0), update=KSVD(), initial=initial,
        num_epochs=sizes.epochs, batch_size=Y.shape[1] // 2, val=Y[:, ::16],
    )  # fmt: skip
    seconds = perf_counter() - start
    A = np.asarray(answer.A).reshape(2, -1, *answer.A.shape[1:])
    random = rng.standard_normal(A.shape[1:]).astype(np.float32)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    for kind, mine, held in zip(LEARNED_KINDS, A, sets, strict=True):
        found |= {f"{kind}, learned": mine, f"{kind}, random": random}
        found[f"{kind}, signals"] = held[:: max(1, len(held) // 3)]  # Of layers for `selection`.
    errors = np.asarray(answer.history["val_error"]).reshape(sizes.epochs + 1, 2, -1)
    return found, {
        "dictionaries": len(Y),
        "signals": Y.shape[1],
        "errors": dict(zip(LEARNED_KINDS, errors.mean(axis=2).T.tolist(), strict=True)),
        "learning_seconds": seconds,
    }


def collected(settings, params, tokens: np.ndarray) -> tuple[dict, np.ndarray]:
    """Keys and values of all layers, ``(layers, num, tokens, kv_heads, size)``; ``E q q^T``."""
    parts, moments = [], 0.0
    for batch in np.split(tokens, range(12, len(tokens), 12)):
        layers = []

        def keep(layer, k, v, layers=layers):
            turned = kv_model.rotated(k, base=settings.base)
            layers.append([np.asarray(each) for each in (k, turned, v)])
            return turned, v

        seen: list[np.ndarray] = []
        kv_model.forward(settings, params, batch, keep, queries=seen.append)
        parts.append([np.stack(kind) for kind in zip(*layers, strict=True)])
        moments = moments + np.stack(seen) * len(batch) / len(tokens)
    joined = [np.concatenate(kind, axis=1) for kind in zip(*parts, strict=True)]
    return dict(zip(KINDS, joined, strict=True)), np.asarray(moments)


def judged(settings, params, held_out, name: str, found: dict, sizes: Sizes) -> dict:
    """Mean losses of the sequences of each kind of text, and the share of the bytes."""
    spec, rotated_first, everywhere = ROWS[name]
    cache = None
    if spec is not None:
        coders = coders_of(spec, found, rotated_first)
        cache = CodedCache(*coders, base=settings.base, rotated_first=rotated_first)
    num = sizes.batch * (sizes.batches if everywhere else 1)
    losses = []
    for text in held_out:
        parts = [
            kv_model.forward(settings, params, batch, cache, start=sizes.start)
            for batch in np.split(text[:num], num // sizes.batch)
        ]
        losses.append([round(float(loss), 5) for part in parts for loss in part.mean(axis=1)])
    return {"share": 1.0 if cache is None else cache.share, "losses": losses}


def coders_of(spec: Any, found: dict, rotated_first: bool) -> tuple[list, list]:
    """Coders of the keys and of the values of each layer."""
    layers = len(found["values, learned"])
    if isinstance(spec, int):
        return [Integers(spec, along_tokens=True)] * layers, [Integers(spec)] * layers
    kind, which, *rest = spec
    frame = "plain" if "plain" in which else "metric"

    def of(what: str) -> list:
        fields = [found[f"{what}, {frame}, {field}"] for field in ("mean", "W", "inverse")]
        frames = [Frame(*rows) for rows in zip(*fields, strict=True)]
        pairs = zip(found[f"{what}, {which}"], frames, strict=True)
        return [kind(A, frame, *rest) for A, frame in pairs]

    return of(KINDS[1 if rotated_first else 0]), of(KINDS[2])


def selection(found: dict, sparsity: int = 6, num: int = 3000) -> list[dict]:
    """Relative squared errors of signals held out from the counting, by how atoms are chosen."""
    rows = []
    for kind in LEARNED_KINDS:
        signals = found[f"{kind}, signals"]
        step = len(found[f"{kind}, learned"]) // len(signals)
        for i, Y in enumerate(signals):
            A = jnp.asarray(found[f"{kind}, learned"][i * step])
            first, rest = jnp.asarray(Y[:num]), jnp.asarray(Y[num : 2 * num])
            ways = {
                "OMP": (OMP(sparsity), None),
                "counted weights": (OMP(sparsity), count_weights(A, first, sparsity=sparsity)),
                "OrderRecursive": (OMP(sparsity, fit=OrderRecursive()), None),
            }
            errors = {
                name: float(
                    jnp.sum(gj.encode(method, A, rest, weights=w).residual_norm ** 2)
                    / jnp.sum(rest**2)
                )
                for name, (method, w) in ways.items()
            }
            rows.append({"kind": kind, "layer": i * step, "errors": errors})
            print(rows[-1])
    return rows


if __name__ == "__main__":
    main()
