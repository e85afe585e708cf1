"""The zarr store of a run of `recover_shards`: its plan, arrays, and marks of finished shards."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from greedyjax import _checks

FORMAT = 1
_KEY = "greedyjax"


class Shards(NamedTuple):
    """The contents of a store that `recover_shards` wrote, finished or not.

    Attributes:
        arrays: what the solver returned for all signals, by name. Each is a TensorStore with a
            leading axis of length ``num``. ``np.asarray(array[start:stop])`` reads rows.
        finished: for each shard whether it is stored, shape ``(num_shards,)``.
        bad: the indices of signals in finished shards that held NaN or infinity, shape
            ``(num_bad,)``. The row of such a signal is NaN in floating-point and complex arrays, -1
            in arrays of signed integers, and 0 in all others.
    """

    arrays: dict[str, Any]
    finished: Bool[np.ndarray, " num_shards"]
    bad: Int[np.ndarray, " num_bad"]


class Store:
    """A folder with a zarr group of arrays whose chunks are shards, and a mark per finished shard.

    The attributes of the group hold the plan of the run. Every key is written completely or not at
    all, and shards share no key. The mark of a shard is written last, so a shard with a mark is
    stored completely.

    Args:
        out: the folder, which need not exist.

    Raises:
        ImportError: tensorstore is not installed.
        OSError: the folder cannot be made.
        ValueError: the folder holds other files.
    """

    def __init__(self, out: str | os.PathLike) -> None:
        self.folder, ts = Path(out).absolute(), tensorstore()
        self.folder.mkdir(parents=True, exist_ok=True)
        # A killed process may leave lock files behind. The next process takes over these locks.
        others = [p.name for p in self.folder.iterdir() if not p.name.endswith(".__lock")]
        self._files = ts.KvStore.open({"driver": "file", "path": f"{self.folder}/"}).result()
        self.plan = self._read_plan()
        if others and self.plan is None:
            got = f"{self.folder} with {sorted(others)[0]!r} in it"
            _checks.fail(ValueError, "out", "a new folder, or one of recover_shards", got)

    def begin(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Writes the plan if the store is new. Returns the plan of the store, whoever wrote it."""
        group = {"zarr_format": 3, "node_type": "group", "attributes": {_KEY: plan}}
        text = json.dumps(group, indent=1).encode()
        found = self._files.read("zarr.json").result()
        if found.state == "missing":  # The write below fails if another process was faster.
            self._files.write("zarr.json", text, if_equal=found.stamp.generation).result()
        self.plan = self._read_plan()
        assert self.plan is not None
        return self.plan

    def arrays(self) -> dict[str, Any]:
        """The arrays of the plan by name. Arrays that do not exist are created."""
        assert self.plan is not None
        num, rows = self.plan["num"], self.plan["shard_size"]
        opened = {}
        for name, (dtype, shape) in self.plan["arrays"].items():
            codecs = [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "zstd", "configuration": {"level": 1}},
            ]
            chunks = {"name": "regular", "configuration": {"chunk_shape": [rows, *shape]}}
            metadata = {
                "shape": [num, *shape],
                "data_type": dtype,
                "chunk_grid": chunks,
                "codecs": codecs,
                "fill_value": _as_json(missing(jnp.dtype(dtype))),
            }
            path = {"driver": "file", "path": f"{self.folder / name}/"}
            spec = {"driver": "zarr3", "kvstore": path, "metadata": metadata}
            opened[name] = tensorstore().open(spec, open=True, create=True).result()
        return opened

    def finished(self) -> set[int]:
        """The indices of the shards that are stored."""
        marks = self.folder / "finished"
        if not marks.is_dir():
            return set()
        return {int(path.stem) for path in marks.glob("*.json")}

    def write(self, arrays: dict[str, Any], shard: int, rows: dict[str, np.ndarray]) -> None:
        """Stores the rows of a shard."""
        assert self.plan is not None
        start = shard * self.plan["shard_size"]
        writes = [
            arrays[name][start : start + len(part)].write(part) for name, part in rows.items()
        ]
        for write in writes:
            write.result()

    def mark(self, shard: int, bad: np.ndarray) -> None:
        """Marks a shard as stored, and records which of its rows are bad."""
        mark = json.dumps({"bad": np.flatnonzero(bad).tolist()}).encode()
        self._files.write(_mark(shard), mark).result()

    def bad(self) -> np.ndarray:
        """The indices of the bad signals of all shards that are stored."""
        assert self.plan is not None
        size, found = self.plan["shard_size"], [np.empty(0, np.int64)]
        for shard in sorted(self.finished()):
            rows = json.loads(self._files.read(_mark(shard)).result().value)["bad"]
            found.append(shard * size + np.array(rows, np.int64))
        return np.concatenate(found)

    def summary(self) -> Shards:
        """The present contents of the store."""
        assert self.plan is not None
        num_shards = -(-self.plan["num"] // self.plan["shard_size"])
        finished = np.isin(np.arange(num_shards), list(self.finished()))
        return Shards(self.arrays(), finished, self.bad())

    def _read_plan(self) -> dict[str, Any] | None:
        try:
            plan = json.loads(self._files.read("zarr.json").result().value)["attributes"][_KEY]
        except (ValueError, KeyError, TypeError):
            return None
        if plan.get("format") != FORMAT:
            got = f"format {plan.get('format')}, of another version of greedyjax"
            _checks.fail(ValueError, "out", f"a store of format {FORMAT}", got)
        return plan


def open_shards(out: str | os.PathLike) -> Shards:
    """Opens a store that `recover_shards` wrote, finished or not.

    Args:
        out: the folder.

    Returns:
        `Shards`: arrays that read rows, which shards are stored, and which signals are bad.

    Raises:
        FileNotFoundError: there is no such folder.
        ImportError: tensorstore is not installed.
        ValueError: the folder does not hold a store of `recover_shards`.

    Example:
        >>> import jax, numpy as np, tempfile
        >>> from greedyjax import streaming
        >>> out, Y = tempfile.mkdtemp(), np.arange(12.0, dtype=np.float32).reshape(6, 2)
        >>> _ = streaming.recover_shards(jax.jit(lambda Y: {"twice": 2 * Y}), Y, out, shard_size=4)
        >>> found = streaming.open_shards(out)
        >>> found.finished.tolist(), np.asarray(found.arrays["twice"][4:]).tolist()
        ([True, True], [[16.0, 18.0], [20.0, 22.0]])
    """
    if not Path(out).is_dir():
        raise FileNotFoundError(f"out: {out}: no such folder")
    store = Store(out)
    if store.plan is None:
        _checks.fail(ValueError, "out", "a folder that recover_shards wrote", str(out))
    return store.summary()


def names_of(tree: Any) -> dict[str, Any]:
    """The leaves of an answer by names that are valid for files."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    named = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    return {name or "answers": leaf for name, leaf in named.items()}


def missing(dtype: np.dtype) -> Any:
    """The value that stands for a missing number."""
    if np.issubdtype(dtype, np.signedinteger):
        return np.array(-1, dtype)
    if dtype.kind in "ub":
        return np.array(0, dtype)
    nan = complex(np.nan, np.nan) if dtype.kind == "c" else np.nan
    return np.array(nan, dtype)


def tensorstore() -> Any:
    """The package tensorstore.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        import tensorstore
    except ImportError as error:
        raise ImportError(
            "greedyjax.streaming.recover_shards needs tensorstore; "
            'pip install "greedyjax[shards]" brings it'
        ) from error
    return tensorstore


def _as_json(value: Any) -> Any:
    if value.dtype.kind == "c":
        return ["NaN", "NaN"]
    if value.dtype.kind == "b":
        return False
    return int(value) if np.issubdtype(value.dtype, np.integer) else "NaN"


def _mark(shard: int) -> str:
    return f"finished/{shard:08d}.json"
