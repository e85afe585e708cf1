"""What is a language model's key-value cache worth that dictionaries code?

The model is SmolLM2 with 135 million parameters: 30 layers, each with 3 heads of keys and values of
64 numbers. For each layer a dictionary of 1,024 atoms is learned for keys before the rotary
embedding, and one for values, all in one call, from news or from news and Python source. Then the
model predicts the next tokens of other news, and of other modules of the standard library, from a
cache that holds bytes: the atoms of each key and value, or integers as KIVI has them. Perplexity
stands beside that of the same model with a cache as it is. Queries see the tokens of their own
block of 32 as they are.

Bytes are those of what is stored for each coded token, over two for each of its numbers. The
dictionaries are of the model, as its weights are, and not counted.

    pip install greedyjax[kv]
    python benchmarks/kv_cache.py [--quick] [--only NAME ...]

`--only learn` learns the dictionaries again, and other names are those of rows, of the rows with
longer sequences as `long: NAME`, or `selection`; what they find is put beside what earlier runs of
the same sizes found. `--quick` has fewer sequences and signals, and writes nothing.
"""

import argparse
import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import kv_model
import kv_selection
import kv_texts
import numpy as np
from common import RESULTS, load_result, write_result
from kv_coders import CodedCache, Frame, Integers, Packed, Sparse
from kv_learning import KINDS, Source, learned
from kv_texts import Texts

from greedyjax.pursuit import OrderRecursive

NAME = "kv_cache"
LEARNED = Path(__file__).parent.parent / "build" / "kv_cache"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of everything.

    Attributes:
        tokens: of a sequence.
        batch: sequences of one kind of text at a time.
        batches: of each kind of text.
        long_tokens: of a longer sequence.
        long_batch: longer sequences of one kind of text at a time.
        long_batches: of each kind of text.
        learning: sequences of one kind of text that dictionaries are learned from.
        num_atoms: of a dictionary.
        sparsity: of the codes that dictionaries are learned for.
    """

    tokens: int = 96
    batch: int = 13
    batches: int = 2
    long_tokens: int = 384
    long_batch: int = 4
    long_batches: int = 2
    learning: int = 28
    num_atoms: int = 1024
    sparsity: int = 8


FULL = Sizes()
QUICK = Sizes(batch=4, batches=1, long_batch=2, long_batches=1, learning=4)

SOURCES = {
    "news": Source(baselines=True),
    "both": Source(code=1),
    "both, 3 epochs": Source(code=1, epochs=3),
    "3 times both": Source(news=3, code=3),
    "3 times both, 3 epochs": Source(news=3, code=3, epochs=3),
    "longer both, 3 epochs": Source(code=1, epochs=3, longer=True),
}


class Row(NamedTuple):
    """What a cache holds.

    Attributes:
        coder: a function of a dictionary and its frame, a number of bits, or None for a cache as
            it is.
        dictionary: its name among those that were learned from ``source``.
        source: a key of `SOURCES`.
        rotated_first: whether keys are coded after the rotary embedding.
        everywhere: whether on all sequences; others are compared on half of them.
        exact: how many of the first tokens are stored as they are.
    """

    coder: Callable | int | None
    dictionary: str = "learned"
    source: str = "news"
    rotated_first: bool = False
    everywhere: bool = False
    exact: int = 0


_sparse = lambda sparsity, **options: partial(Sparse, sparsity=sparsity, bits=6, **options)

ROWS: dict[str, Row] = {
    "as it is": Row(None, everywhere=True),
    "learned from both, 11 atoms": Row(_sparse(11), source="both", everywhere=True),
    "learned from both, 6 atoms": Row(_sparse(6), source="both", everywhere=True),
    "KIVI, 2 bits": Row(2, rotated_first=True, everywhere=True),
    "learned, 11 atoms": Row(_sparse(11), everywhere=True),
    "learned, 6 atoms": Row(_sparse(6), everywhere=True),
    "learned from both, 6 atoms, `OrderRecursive`": Row(
        _sparse(6, fit=OrderRecursive()), source="both", everywhere=True
    ),
    "learned from both, 4 atoms": Row(_sparse(4), source="both", everywhere=True),
    "learned from both in 3 epochs, 11 atoms": Row(
        _sparse(11), source="both, 3 epochs", everywhere=True
    ),
    "learned from both in 3 epochs, 6 atoms": Row(
        _sparse(6), source="both, 3 epochs", everywhere=True
    ),
    "learned from 3 times as much of both, 6 atoms": Row(
        _sparse(6), source="3 times both", everywhere=True
    ),
    "learned from 3 times as much of both in 3 epochs, 6 atoms": Row(
        _sparse(6), source="3 times both, 3 epochs", everywhere=True
    ),
    "learned from longer texts of both in 3 epochs, 11 atoms": Row(
        _sparse(11), source="longer both, 3 epochs", everywhere=True
    ),
    "learned from longer texts of both in 3 epochs, 6 atoms": Row(
        _sparse(6), source="longer both, 3 epochs", everywhere=True
    ),
    "drawn from both, 6 atoms": Row(_sparse(6), "drawn", "both", everywhere=True),
    "KIVI, 3 bits": Row(3, rotated_first=True),
    "KIVI, 4 bits": Row(4, rotated_first=True),
    "KIVI, 1 bit": Row(1, rotated_first=True),
    "KIVI before rotary, 2 bits": Row(2),
    "learned, 4 atoms": Row(_sparse(4)),
    "random, 11 atoms": Row(_sparse(11), "random"),
    "random, 6 atoms": Row(_sparse(6), "random"),
    "learned, 8 atoms, `Codes.packed`": Row(partial(Packed, sparsity=8)),
    "learned, 6 atoms, `OrderRecursive`": Row(_sparse(6, fit=OrderRecursive())),
    "drawn, 6 atoms": Row(_sparse(6), "drawn"),
    "drawn, no metric, 6 atoms": Row(_sparse(6), "drawn plain"),
    "drawn after rotary, 6 atoms": Row(_sparse(6), "drawn", rotated_first=True),
}
# Those that are tried with the first token stored as it is too.
EXACT = (
    "learned from both, 6 atoms", "learned from both in 3 epochs, 6 atoms",
    "learned from longer texts of both in 3 epochs, 11 atoms",
    "learned from longer texts of both in 3 epochs, 6 atoms",
)  # fmt: skip
ROWS |= {f"{name}, the first token exact": ROWS[name]._replace(exact=1) for name in EXACT}
# Those that are also judged on longer sequences.
LONG = (
    "as it is", "learned from both, 11 atoms", "learned from both, 6 atoms", "KIVI, 2 bits",
    "learned from 3 times as much of both in 3 epochs, 6 atoms",
    "learned from longer texts of both in 3 epochs, 11 atoms",
    "learned from longer texts of both in 3 epochs, 6 atoms",
    *(f"{name}, the first token exact" for name in EXACT),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    names = ["learn", *(f"long: {name}" for name in LONG), *ROWS, "selection"]
    parser.add_argument("--only", nargs="+", metavar="NAME", default=names, choices=names)
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    content = {"sizes": dataclasses.asdict(sizes), "learning": {}, "selection": []}
    content |= {"rows": {}, "long": {}}
    if not options.quick and (RESULTS / f"{NAME}.json").exists():
        before = load_result(NAME)
        if before["sizes"] == content["sizes"]:
            content |= {key: before[key] for key in ("learning", "selection", "rows", "long")}
    settings, params, tokenizer = kv_model.load()
    folder = LEARNED.with_stem("kv_cache_quick") if options.quick else LEARNED
    if "learn" in options.only:
        texts = {
            longer: kv_texts.learned_from(
                tokenizer,
                most(longer) * sizes.learning,
                sizes.long_tokens if longer else sizes.tokens,
            )
            for longer in (False, True)
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in SOURCES.items():
            start = perf_counter()
            tokens = source.of(texts[source.longer], sizes.learning)
            of_code = sizes.num_atoms, sizes.sparsity
            found, known = learned(settings, params, tokens, source, *of_code)
            content["learning"][name] = known | {"seconds": perf_counter() - start}
            print(f"{name:16} {content['learning'][name]}", flush=True)
            np.savez(folder / f"{name}.npz", **found)
            save(content, options)
    found = {name: dict(np.load(folder / f"{name}.npz", allow_pickle=False)) for name in SOURCES}
    judge = partial(judged, settings, params, found)
    parts = (
        ("long", "long: ", sizes.long_tokens, sizes.long_batch, sizes.long_batches),
        ("rows", "", sizes.tokens, sizes.batch, sizes.batches),
    )
    for key, prefix, tokens, batch, batches in parts:
        texts = kv_texts.predicted(tokenizer, batch * batches, tokens)
        for name in (name for name in ROWS if prefix + name in options.only):
            start = perf_counter()
            row = judge(texts, ROWS[name], batch, batches if ROWS[name].everywhere else 1)
            content[key][name] = row | {"seconds": perf_counter() - start}
            ratios = np.exp([np.mean(losses) for losses in row["losses"]])
            print(f"{prefix}{name:36} {row['share']:.4f} {ratios}", flush=True)
            save(content, options)
    if "selection" in options.only:
        content["selection"] = kv_selection.rows(found["news"])
        save(content, options)


def most(longer: bool) -> int:
    """How many times ``Sizes.learning`` sequences of a kind of text the sources take at most."""
    return max(
        max(source.news, source.code) for source in SOURCES.values() if source.longer == longer
    )


def save(content: dict, options: argparse.Namespace) -> None:
    """After each part, so that what is interrupted goes on with `--only`."""
    if not options.quick:
        print("wrote", write_result(NAME, content), flush=True)


def judged(settings, params, found: dict, texts: Texts, row: Row, batch: int, batches: int) -> dict:
    """Mean losses of the sequences of each kind of text, and the share of the bytes.

    The second half of each sequence is predicted.
    """
    cache = None
    if row.coder is not None:
        coders = coders_of(row, found[row.source])
        options = {"rotated_first": row.rotated_first, "exact": row.exact}
        cache = CodedCache(*coders, base=settings.base, **options)
    losses = []
    for text in texts:
        start = text.shape[1] // 2
        parts = [
            kv_model.forward(settings, params, part, cache, start=start)
            for part in np.split(text[: batch * batches], batches)
        ]
        losses.append([round(float(loss), 5) for part in parts for loss in part.mean(axis=1)])
    return {"share": 1.0 if cache is None else cache.share, "losses": losses}


def coders_of(row: Row, found: dict[str, np.ndarray]) -> tuple[list, list]:
    """Coders of the keys and of the values of each layer."""
    coder, layers = row.coder, len(found["values, learned"])
    if isinstance(coder, int):
        return [Integers(coder, along_tokens=True)] * layers, [Integers(coder)] * layers
    assert coder is not None
    frame = "plain" if "plain" in row.dictionary else "metric"

    def of(kind: str) -> list:
        fields = [found[f"{kind}, {frame}, {field}"] for field in ("mean", "W", "inverse")]
        frames = [Frame(*arrays) for arrays in zip(*fields, strict=True)]
        pairs = zip(found[f"{kind}, {row.dictionary}"], frames, strict=True)
        return [coder(A, frame) for A, frame in pairs]

    return of(KINDS[1 if row.rotated_first else 0]), of(KINDS[2])


if __name__ == "__main__":
    main()
