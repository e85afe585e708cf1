"""Checkpoints of a training: written completely or not at all, and resumed bit for bit."""

import base64
import json
import logging
import os
import shutil
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from greedyjax import _checks
from greedyjax._meshes import are_shared

# The version of the contents of a checkpoint and of their order. Checkpoints of greedyjax 0.1 have
# no such number.
FORMAT = 2
_WAY_OUT = {
    "processes": "; go on with as many as before, or choose another folder",
}
_PROBE = "0.orbax-checkpoint-tmp-probe-"


class Saved(NamedTuple):
    """The contents of a checkpoint: arrays, and the history so far."""

    tree: Any
    rows: Sequence[np.ndarray]


class Checkpoints:
    """The checkpoints of one training in one folder; the newest two are kept.

    Args:
        folder: path of a folder that holds nothing but checkpoints. It is created if needed.
        every: number of epochs from one checkpoint to the next.
        identity: numbers and names by which the same training is recognised.
        shared: whether all processes write the checkpoints together, in a folder that all of them
            see.
        who: the name of the function that trains, for warnings.

    Raises:
        TypeError: the folder is not a path.
        OSError: the folder cannot be made or written to.
        ValueError: the folder holds other files.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int,
        identity: dict[str, Any],
        shared: bool = False,
        who: str = "fit",
    ) -> None:
        import orbax.checkpoint as ocp

        if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
            _checks.fail(TypeError, "checkpoint_dir", "the path of a folder", repr(folder))
        self._ocp, self.every, self._who = ocp, every, who
        self._identity = {"format": FORMAT, **identity}
        self._folder = Path(folder).absolute()
        self._failed = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            others = [path.name for path in self._folder.iterdir() if not _is_checkpoint(path)]
            if others:
                got = f"{self._folder} with {sorted(others)[0]!r} in it"
                _checks.fail(ValueError, "checkpoint_dir", "a folder of checkpoints alone", got)
            me = jax.process_index()
            probe = self._folder / f"{_PROBE}{me}"
            probe.mkdir(exist_ok=True)
            probe.rmdir()
            processes = {"primary_host": me, "active_processes": {me}}
            options = ocp.CheckpointManagerOptions(
                max_to_keep=2,
                enable_async_checkpointing=False,
                cleanup_tmp_directories=True,
                create=False,
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    **({} if shared or jax.process_count() == 1 else processes)
                ),
            )
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(f"checkpoint_dir: {self._folder}: cannot be written: {reason}") from error

    def save(self, tree: Any, rows: Sequence[np.ndarray]) -> None:
        """Writes a checkpoint. If that fails, it warns once and keeps the older checkpoints.

        A checkpoint is one JSON file, which orbax writes in one thread. So nothing is still being
        written after an error.

        Args:
            tree: all arrays that the next epoch depends on.
            rows: the history so far, from epoch 0.
        """
        args, state, epoch = self._ocp.args, _packed(tree), len(rows) - 1
        content = {
            "identity": {**self._identity, "bytes of state": len(state)},
            "rows": [np.asarray(row, np.float64).tolist() for row in rows],
            "state": base64.b64encode(state).decode(),
        }
        history = {**content, "digest": _checksum(content)}
        try:
            if epoch in self._manager.all_steps():
                self._manager.delete(epoch)  # This checkpoint could not be read; see `restore`.
            with _without_logs():
                self._manager.save(
                    epoch, args=args.Composite(history=args.JsonSave(history)), force=True
                )
        except Exception as error:  # The storage layer raises various types for a full disk.
            self._remove_unfinished()
            if self._failed:
                return
            self._failed = True
            warnings.warn(
                f"{self._who}: no checkpoint after epoch {epoch}: {self._folder}: "
                f"{_first_line(error)}; training goes on",
                RuntimeWarning,
                stacklevel=4,
            )

    def restore(self, like: Any) -> Saved | None:
        """The newest checkpoint that can be read, in the form of ``like``; None if there is none.

        Raises:
            ValueError: there are checkpoints, but none can be read or they are of another
                training.
        """
        size, damaged = len(_packed(like)), []
        wanted = self._ocp.args.Composite(history=self._ocp.args.JsonRestore())
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            try:
                history = self._manager.restore(epoch, args=wanted)["history"]
                self._check_identity(history, size)
                state = base64.b64decode(history["state"])
            except _OtherTraining as error:
                raise ValueError(str(error)) from None
            except Exception as error:  # Readers raise various types for damaged files.
                damaged.append(f"epoch {epoch}: {_first_line(error)}")
                continue
            if damaged:
                text = f"{self._who}: {self._folder}: damaged ({'; '.join(damaged)})"
                text = f"{text}; resumed at {epoch}"
                warnings.warn(text, RuntimeWarning, stacklevel=4)
            rows = [np.array(row, np.float64) for row in history["rows"]]
            return Saved(_unpacked(state, like), rows)
        if damaged:
            got = f"{self._folder} with {'; '.join(damaged)}"
            _checks.fail(ValueError, "checkpoint_dir", "a checkpoint that can be read", got)
        return None

    def close(self) -> None:
        """Releases the resources of the manager."""
        self._manager.close()
        self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        """Removes the files that a failed save left, which would take up room on a full disk."""
        for path in self._folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(path, ignore_errors=True)

    def _check_identity(self, history: dict[str, Any], size: int) -> None:
        """Checks that a checkpoint is of this training, and unchanged since it was written."""
        found = history["identity"]
        if "format" not in found:
            raise _OtherTraining(
                f"checkpoint_dir: {self._folder}: expected checkpoints of this version, got those "
                "of greedyjax 0.1, whose networks store their numbers in another order; finish "
                "that training with 0.1, or choose another folder"
            )
        if _checksum(history) != history["digest"]:
            raise ValueError("its checksum does not match its contents")
        for name, value in {**self._identity, "bytes of state": size}.items():
            if found.get(name, 1) != value:
                raise _OtherTraining(
                    f"checkpoint_dir: {self._folder}: expected checkpoints of this training, got "
                    f"{name} {found.get(name, 1)} instead of {value}{_WAY_OUT.get(name, '')}"
                )


class _OtherTraining(Exception):
    pass


def _is_checkpoint(path: Path) -> bool:
    # Another process may remove its probe at any time.
    return path.name.startswith(_PROBE) or (path.is_dir() and path.name.split(".")[0].isdigit())


def numbers_of(key: Any) -> list[int]:
    """The numbers of a PRNG key, by which a training is recognised."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(key) if typed else key).tolist()


def digest(arrays: Any) -> int:
    """A checksum of arrays, which differs if the arrays differ."""
    found = 0
    for leaf in jax.tree.leaves(arrays):
        parts = [leaf]
        if are_shared(leaf):
            mine = [np.asarray(part.data) for part in leaf.addressable_shards]
            parts = process_allgather(np.uint32(digest(mine)))
        for part in parts:
            found = zlib.crc32(np.ascontiguousarray(part).tobytes(), found)
    return found


def _packed(tree: Any) -> bytes:
    """All numbers of a tree as one block, so that damage never leaves half a state."""
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree))


def _unpacked(packed: bytes, like: Any) -> Any:
    """The tree that `_packed` turned into bytes, with the shapes and dtypes of ``like``."""
    leaves, start = [], 0
    for leaf in map(np.asarray, jax.tree.leaves(like)):
        found = np.frombuffer(packed, leaf.dtype, leaf.size, start)
        leaves.append(found.reshape(leaf.shape))
        start += leaf.nbytes
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _checksum(content: dict[str, Any]) -> int:
    """A checksum of the contents, without the entry that stores the checksum."""
    others = {name: value for name, value in content.items() if name != "digest"}
    return zlib.crc32(json.dumps(others, sort_keys=True).encode())


@contextmanager
def _without_logs() -> Iterator[None]:
    """Silences orbax, which logs pages about an error that this module reports itself."""
    logger, not_orbax = logging.getLogger("absl"), lambda record: "orbax" not in record.pathname
    logger.addFilter(not_orbax)
    try:
        yield
    finally:
        logger.removeFilter(not_orbax)


def _first_line(error: Exception) -> str:
    """The start of an error message of the storage layer; these messages can fill pages."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return line if len(line) < 100 else f"{line[:100]}..."
