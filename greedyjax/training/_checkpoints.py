"""Checkpoints of a training: written whole or not at all, and resumed bit for bit."""

import logging
import shutil
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from greedyjax import _checks


class Saved(NamedTuple):
    """What a checkpoint holds: the epoch it was made after, arrays, and the history so far."""

    epoch: int
    tree: Any
    rows: Sequence[Any]


class Checkpoints:
    """The checkpoints of one training in one folder; the newest two are kept.

    Args:
        folder: made if need be. It holds nothing but checkpoints.
        every: epochs from one checkpoint to the next.
        identity: numbers and names by which the same training is recognised.

    Raises:
        OSError: the folder cannot be made or written to.
        ValueError: the folder holds other things.
    """

    def __init__(self, folder: str | Path, every: int, identity: dict[str, Any]) -> None:
        import orbax.checkpoint as ocp

        self._ocp, self.every, self._identity = ocp, every, identity
        self._folder = Path(folder).absolute()
        self._failed = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            others = [path.name for path in self._folder.iterdir() if not _is_checkpoint(path)]
            if others:
                got = f"{self._folder} with {sorted(others)[0]!r} in it"
                _checks.fail(ValueError, "checkpoint_dir", "a folder of checkpoints alone", got)
            probe = self._folder / "0.orbax-checkpoint-tmp-probe"
            probe.mkdir(exist_ok=True)
            probe.rmdir()
            options = ocp.CheckpointManagerOptions(
                max_to_keep=2, enable_async_checkpointing=False, cleanup_tmp_directories=True
            )
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(f"checkpoint_dir: {self._folder}: cannot be written: {reason}") from error

    def save(self, saved: Saved) -> None:
        """Writes a checkpoint; where that fails, says so once and leaves the older ones alone."""
        args, state = self._ocp.args, _packed(saved.tree)
        history = {
            "identity": {**self._identity, "bytes of state": state.size},
            "digest": zlib.crc32(state.tobytes()),
            "rows": [np.asarray(row, np.float64).tolist() for row in saved.rows],
        }
        try:
            if saved.epoch in self._manager.all_steps():
                self._manager.delete(saved.epoch)  # It could not be read; see `restore`.
            contents = args.Composite(
                state=args.StandardSave({"bytes": state}), history=args.JsonSave(history)
            )
            with _without_logs():
                self._manager.save(saved.epoch, args=contents, force=True)
        except Exception as error:  # A full disk surfaces as whatever the storage layer raises.
            self._remove_unfinished()
            if self._failed:
                return
            self._failed = True
            warnings.warn(
                f"fit: no checkpoint after epoch {saved.epoch}: {self._folder}: "
                f"{_first_line(error)}; training goes on",
                RuntimeWarning,
                stacklevel=4,
            )

    def restore(self, like: Any) -> Saved | None:
        """The newest checkpoint that can be read, in the form of ``like``; None if there is none.

        Raises:
            ValueError: none of those there can be read, or they are of another training.
        """
        args, state = self._ocp.args, _packed(like)
        damaged = []
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            try:
                # First what says whose it is: arrays of another training do not fit.
                wanted = args.Composite(history=args.JsonRestore())
                history = self._manager.restore(epoch, args=wanted)["history"]
                self._check_identity(history["identity"], state.size)
                wanted = args.Composite(state=args.StandardRestore({"bytes": state}))
                found = np.asarray(self._manager.restore(epoch, args=wanted)["state"]["bytes"])
                if zlib.crc32(found.tobytes()) != history["digest"]:
                    raise ValueError("the numbers are not those that were written")
            except _OtherTraining as error:
                raise ValueError(str(error)) from None
            except Exception as error:  # Damaged files raise whatever their readers do.
                damaged.append(f"epoch {epoch}: {_first_line(error)}")
                continue
            if damaged:
                text = f"fit: {self._folder}: damaged ({'; '.join(damaged)}); resumed at {epoch}"
                warnings.warn(text, RuntimeWarning, stacklevel=4)
            rows = [np.array(row, np.float64) for row in history["rows"]]
            return Saved(epoch, _unpacked(found, like), rows)
        if damaged:
            got = f"{self._folder} with {'; '.join(damaged)}"
            _checks.fail(ValueError, "checkpoint_dir", "a checkpoint that can be read", got)
        return None

    def close(self) -> None:
        """Releases what the manager holds."""
        self._manager.close()
        self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        """What a save that failed has left: on a full disk it would be in the way of the next."""
        for path in self._folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(path, ignore_errors=True)

    def _check_identity(self, found: dict[str, Any], size: int) -> None:
        for name, value in {**self._identity, "bytes of state": size}.items():
            if found.get(name) != value:
                raise _OtherTraining(
                    f"checkpoint_dir: {self._folder}: expected checkpoints of this training, got "
                    f"{name} {found.get(name)} instead of {value}"
                )


class _OtherTraining(Exception):
    pass


def _is_checkpoint(path: Path) -> bool:
    return path.is_dir() and path.name.split(".")[0].isdigit()


def _packed(tree: Any) -> np.ndarray:
    """All numbers of a tree as bytes: in one array damage is one error, and no half a state."""
    leaves = jax.tree.leaves(tree)
    return np.frombuffer(b"".join(np.asarray(leaf).tobytes() for leaf in leaves), np.uint8)


def _unpacked(packed: np.ndarray, like: Any) -> Any:
    """The tree that `_packed` made bytes of, with the shapes and types of ``like``."""
    leaves, start = [], 0
    for leaf in map(np.asarray, jax.tree.leaves(like)):
        part = packed[start : start + leaf.nbytes].tobytes()
        leaves.append(np.frombuffer(part, leaf.dtype).reshape(leaf.shape))
        start += leaf.nbytes
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


@contextmanager
def _without_logs() -> Iterator[None]:
    """Without what the storage layer logs: its errors run to pages, and are reported here.

    Where one of its threads fails, others go on writing and logging for a while.
    """
    logger = logging.getLogger("absl")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        for thread in threading.enumerate():
            if type(thread).__module__.startswith("orbax."):
                threading.Thread.join(thread, timeout=60)  # Their own join raises.
        logger.disabled = before


def _first_line(error: Exception) -> str:
    """The start of an error of the storage layer, whose messages run to pages."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return line if len(line) < 100 else f"{line[:100]}..."
