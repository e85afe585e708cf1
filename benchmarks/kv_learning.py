"""Dictionaries of keys and values, learned in one call for all layers of the model."""

import dataclasses
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import kv_model
import numpy as np
from kv_coders import Frame
from kv_texts import Texts

from greedyjax.training import KSVD, learn_dictionary

KINDS = ("keys before", "keys after", "values")  # Before and after the embedding.
LEARNED_KINDS = KINDS[::2]


@dataclasses.dataclass(frozen=True)
class Source:
    """What dictionaries are learned from.

    Attributes:
        news: sequences of news, in multiples of ``Sizes.learning``.
        code: the same of Python source.
        epochs: of learning.
        longer: whether sequences have ``Sizes.long_tokens``, and not ``Sizes.tokens``.
        baselines: whether dictionaries that were not learned are made too.
    """

    news: int = 1
    code: int = 0
    epochs: int = 1
    longer: bool = False
    baselines: bool = False

    def of(self, texts: Texts, learning: int) -> np.ndarray:
        """Its sequences, the first ones of each kind."""
        news, code = learning * self.news, learning * self.code
        return np.concatenate([texts.news[:news], texts.code[:code]])


def learned(
    settings, params, tokens: np.ndarray, source: Source, num_atoms: int, sparsity: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Dictionaries and frames of all layers, and what is known of the learning.

    The metric of keys is the second moment of the queries that meet them, ``E q q^T``: it gives
    the mean square error of a score. That of values is ``W_o^T W_o``: it gives the square error of
    what the heads add to the next layer.
    """
    kinds = KINDS if source.baselines else LEARNED_KINDS
    signals, queries = collected(settings, params, tokens, kinds)
    outputs = np.asarray(params["layers"]["output"])
    outputs = outputs.reshape(*outputs.shape[:2], *queries[0].shape[:1], -1, queries.shape[-1])
    costs = np.asarray(jnp.einsum("ldhgs,ldhgr->lhsr", outputs, outputs))
    metrics = dict(zip(KINDS, (queries, queries, costs), strict=True))
    plain = np.broadcast_to(np.eye(queries.shape[-1]), queries.shape)
    found, sets = {}, []
    rng = np.random.default_rng(0)
    for kind, of_kind in signals.items():
        names = {"metric": metrics[kind]} | ({"plain": plain} if source.baselines else {})
        for name, metric in names.items():
            pairs = zip(of_kind, metric, strict=True)
            frames = [Frame.of(X.mean(axis=(0, 1)), M) for X, M in pairs]
            for field in ("mean", "W", "inverse"):
                found[f"{kind}, {name}, {field}"] = np.stack([getattr(f, field) for f in frames])
            Y = np.stack([f.entered(X) for f, X in zip(frames, of_kind, strict=True)])
            places = rng.choice(Y.shape[1], num_atoms, replace=False)
            drawn = Y[:, places].swapaxes(1, 2)
            drawn = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
            found[f"{kind}, drawn{' plain' * (name == 'plain')}"] = drawn
            if name == "metric" and kind in LEARNED_KINDS:
                sets.append(Y)
    del signals
    Y = np.concatenate(sets)
    initial = np.concatenate([found[f"{kind}, drawn"] for kind in LEARNED_KINDS])
    start = perf_counter()
    answer = learn_dictionary(
        Y, num_atoms, sparsity, key=jax.random.key(0), update=KSVD(), initial=initial,
        num_epochs=source.epochs, batch_size=Y.shape[1] // 2, val=Y[:, ::16],
    )  # fmt: skip
    seconds = perf_counter() - start
    A = np.asarray(answer.A).reshape(2, -1, *answer.A.shape[1:])
    random = rng.standard_normal(A.shape[1:]).astype(np.float32)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    for kind, mine, held in zip(LEARNED_KINDS, A, sets, strict=True):
        found |= {f"{kind}, learned": mine, f"{kind}, random": random}
        found[f"{kind}, signals"] = held[:: max(1, len(held) // 3)]  # Of layers, for the selection.
    errors = np.asarray(answer.history["val_error"]).reshape(source.epochs + 1, 2, -1)
    return found, {
        "dictionaries": len(Y),
        "signals": Y.shape[1],
        "errors": dict(zip(LEARNED_KINDS, errors.mean(axis=2).T.tolist(), strict=True)),
        "learning_seconds": seconds,
    }


def collected(settings, params, tokens: np.ndarray, kinds=KINDS) -> tuple[dict, np.ndarray]:
    """Keys and values of all layers, ``(layers, num, tokens, kv_heads, size)``; ``E q q^T``."""
    parts, moments = {kind: [] for kind in kinds}, 0.0
    for batch in np.split(tokens, range(12, len(tokens), 12)):
        layers = []

        def keep(layer, k, v, layers=layers):
            turned = kv_model.rotated(k, base=settings.base)
            layers.append([np.asarray(each) for each in (k, turned, v)])
            return turned, v

        seen: list[np.ndarray] = []
        # Of the losses, which nobody asks for, only the last.
        last = batch.shape[1] - 2
        kv_model.forward(settings, params, batch, keep, start=last, queries=seen.append)
        for kind, of_kind in zip(KINDS, zip(*layers, strict=True), strict=True):
            if kind in parts:
                parts[kind].append(np.stack(of_kind))
        moments = moments + np.stack(seen) * len(batch) / len(tokens)
    return {kind: np.concatenate(each, axis=1) for kind, each in parts.items()}, np.asarray(moments)
