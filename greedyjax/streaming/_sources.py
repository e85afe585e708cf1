"""The sources of a run's signals: files, arrays that are read by slices, or a function."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from greedyjax import _checks

_KINDS = "a folder of .npy files, an .npy file, a zarr array, an array, or a function of an index"


class Signals(NamedTuple):
    """Signals, one per row, that are read part by part.

    Attributes:
        num: the number of signals.
        read: function that returns the rows of a shard. Its arguments are the index of the shard,
            its first row, and the row after its last row.
        shape: shape of one signal; None for a function that has not been called yet.
        names: a hash of the names and lengths of files, which tells apart folders of equal shapes.
            It is empty for other sources.
    """

    num: int
    read: Callable[[int, int, int], np.ndarray]
    shape: tuple[int, ...] | None
    names: str = ""

    def shard(
        self, index: int, start: int, stop: int, shape: tuple[int, ...] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a shard, with zeros in place of bad rows, and which rows are bad.

        A row is bad if it is not finite in the dtype that JAX computes in.

        Raises:
            TypeError: the rows do not hold floating-point or complex numbers.
            ValueError: the rows have another shape than ``(stop - start, *shape)``.
        """
        rows = np.asarray(self.read(index, start, stop))
        where = f"source: shard {index}"
        if not jnp.issubdtype(rows.dtype, jnp.inexact):
            got = f"dtype {rows.dtype}"
            _checks.fail(TypeError, where, "floating-point or complex numbers", got)
        wanted = "(m,) or (m, L)" if shape is None else str(shape)
        fits = rows.ndim in (2, 3) and 0 not in rows.shape if shape is None else True
        if not fits or len(rows) != stop - start or rows.shape[1:] != (shape or rows.shape[1:]):
            expected = f"{stop - start} rows of shape {wanted}"
            _checks.fail(ValueError, where, expected, f"shape {rows.shape}")
        dtype = jax.dtypes.canonicalize_dtype(rows.dtype.newbyteorder("="))
        with np.errstate(over="ignore"):
            rows = rows.astype(dtype, copy=False)
        finite = np.isfinite(rows)
        bad = np.zeros(len(rows), bool)
        if not finite.all():  # This check of all rows is much faster than a check of each row.
            bad = np.logical_not(finite.reshape(len(rows), -1).all(axis=1))
            rows = np.where(bad.reshape(-1, *[1] * (rows.ndim - 1)), 0, rows)
        return rows, bad


def opened(source: Any, num: int | None) -> Signals:
    """Opens a source of any kind without reading a row.

    Raises:
        TypeError: the source is of no known kind, or does not hold floating-point or complex
            numbers.
        ValueError: the shape of the source or of one of its files is wrong; or ``num`` is missing
            for a function, or given for another source.
        OSError: there is no such file.
    """
    is_function = callable(source) and not hasattr(source, "shape")
    if is_function:
        if num is None:
            _checks.fail(ValueError, "num", "the number of signals, for a function", "None")
        num = _checks.static_int("num", num, minimum=1)
        function: Callable[[int], Any] = source
        return Signals(num, lambda index, start, stop: function(index), None)
    if num is not None:
        _checks.fail(ValueError, "num", "None, as the source has its own", str(num))
    if isinstance(source, (str, os.PathLike)):
        return _of_path(Path(source))
    if not hasattr(source, "shape") or not hasattr(source, "dtype"):
        _checks.fail(TypeError, "source", _KINDS, type(source).__name__)
    return _of_array("source", source)


def _of_path(path: Path) -> Signals:
    if path.is_dir():
        drivers = {".zarray": "zarr", "zarr.json": "zarr3"}
        for file, driver in drivers.items():
            if (path / file).is_file():
                return _of_array(str(path), _zarr(path, driver))
        return _of_files(sorted(path.glob("*.npy")), path)
    if not path.exists():
        raise FileNotFoundError(f"source: {path}: no such file or folder")
    return _of_array(str(path), _mapped(path))


def _of_array(name: str, array: Any) -> Signals:
    dtype = getattr(array.dtype, "numpy_dtype", array.dtype)  # TensorStore has its own dtypes.
    _check(name, array.shape, dtype)
    return Signals(array.shape[0], lambda _, start, stop: array[start:stop], tuple(array.shape[1:]))


def _of_files(files: Sequence[Path], folder: Path) -> Signals:
    """The rows of all files one after the other, in the given order of files."""
    if not files:
        _checks.fail(ValueError, "source", "a folder with .npy files in it", f"{folder} with none")
    shapes, dtypes = [], []
    for file in files:
        array = _mapped(file)
        _check(str(file), array.shape, array.dtype)
        shapes.append(array.shape)
        dtypes.append(array.dtype)
        if array.shape[1:] != shapes[0][1:] or array.dtype != dtypes[0]:
            expected = f"{dtypes[0]} of shape (num, {', '.join(map(str, shapes[0][1:]))})"
            expected += f", as in {files[0].name}"
            got = f"{array.dtype} of shape {array.shape}"
            _checks.fail(ValueError, f"source: {file}", expected, got)
    ends = np.cumsum([shape[0] for shape in shapes])

    def read(_, start: int, stop: int) -> np.ndarray:
        parts = []
        for i in range(int(np.searchsorted(ends, start, side="right")), len(files)):
            first = int(ends[i]) - shapes[i][0]
            if first >= stop:
                break
            parts.append(_mapped(files[i])[max(start - first, 0) : stop - first])
        return np.concatenate(parts)

    lengths = [[file.name, shape[0]] for file, shape in zip(files, shapes, strict=True)]
    names = hashlib.sha256(json.dumps(lengths).encode()).hexdigest()
    return Signals(int(ends[-1]), read, shapes[0][1:], names)


def _mapped(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        reason = f"source: {path}: cannot be read as NumPy data: {error}"
        raise ValueError(reason) from error
    if not isinstance(array, np.ndarray):
        _checks.fail(ValueError, f"source: {path}", "an .npy with one array", "an .npz")
    return array


def _zarr(path: Path, driver: str) -> Any:
    from greedyjax.streaming._store import tensorstore

    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}}
    try:
        return tensorstore().open(spec, open=True).result()
    except ValueError as error:
        raise ValueError(f"source: {path}: cannot be read as a zarr array: {error}") from error


def _check(name: str, shape: tuple[int, ...], dtype: Any) -> None:
    name = name if name == "source" else f"source: {name}"
    if not jnp.issubdtype(dtype, jnp.inexact):
        _checks.fail(TypeError, name, "floating-point or complex numbers", f"dtype {dtype}")
    if len(shape) not in (2, 3) or 0 in shape:
        expected = "shape (num, m), or (num, m, L) for snapshots"
        _checks.fail(ValueError, name, expected, f"shape {tuple(shape)}")
