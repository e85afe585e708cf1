"""The texts that dictionaries are learned from, and those that the model predicts: news and Python.

News: the 300 stories of Lee, Pincombe and Welsh (2005) that `gensim` ships. Source: modules of the
standard library. What is learned from and what is predicted have no token in common.
"""

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import kv_model
import numpy as np

# The tokens of a module before are its licence and its imports.
FIRST = 400

# The last tokens of the news, which nothing is learned from.
HELD_OUT = 4096

# What is predicted.
MODULES = (
    "argparse", "ast", "base64", "bdb", "calendar", "cmd", "codecs", "configparser", "copy",
    "csv", "dataclasses", "difflib", "dis", "enum", "filecmp", "fractions", "ftplib", "functools",
    "gzip", "heapq", "inspect", "locale", "mailbox", "pickle", "statistics", "textwrap",
)  # fmt: skip

# What is learned from.
LEARNED_MODULES = (
    "code", "contextlib", "doctest", "fileinput", "gettext", "glob", "hashlib", "imaplib",
    "ipaddress", "mimetypes", "netrc", "pdb", "platform", "plistlib", "posixpath", "pprint",
    "queue", "random", "selectors", "shlex", "shutil", "socket", "subprocess", "tempfile",
    "threading", "tokenize", "typing", "weakref",
)  # fmt: skip


class Texts(NamedTuple):
    """Sequences of tokens, each ``(num, tokens)``, int32."""

    news: np.ndarray
    code: np.ndarray


def learned_from(tokenizer: Any, num: int, tokens: int) -> Texts:
    """The first news, and the first sequences of all modules, then their second ones, and so on."""
    of_each = -(-num // len(LEARNED_MODULES))
    code = np.stack([_of(tokenizer, name, of_each, tokens) for name in LEARNED_MODULES], axis=1)
    return Texts(_cut(_news(tokenizer)[:-HELD_OUT], num, tokens), code.reshape(-1, tokens)[:num])


def predicted(tokenizer: Any, num: int, tokens: int) -> Texts:
    """The last news, from the last `HELD_OUT` tokens, and one sequence of each module."""
    news = _news(tokenizer)[-HELD_OUT:][-num * tokens :]
    code = [_of(tokenizer, name, 1, tokens)[0] for name in MODULES[:num]]
    return Texts(_cut(news, num, tokens), np.stack(code))


def _news(tokenizer: Any) -> np.ndarray:
    path = kv_model.package_file("gensim", "test", "test_data", "lee_background.cor")
    return np.array(tokenizer.encode(path.read_text(encoding="utf-8")).ids, np.int32)


def _of(tokenizer: Any, module: str, num: int, tokens: int) -> np.ndarray:
    path = Path(importlib.import_module(module).__file__ or "")
    ids = tokenizer.encode(path.read_text(encoding="utf-8")).ids
    return _cut(np.array(ids[FIRST:], np.int32), num, tokens)


def _cut(ids: np.ndarray, num: int, tokens: int) -> np.ndarray:
    """The first tokens, in sequences."""
    if len(ids) < num * tokens:
        raise SystemExit(f"a text has {len(ids)} tokens, and {num} sequences of {tokens} need more")
    return ids[: num * tokens].reshape(num, tokens)
