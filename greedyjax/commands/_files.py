"""Files that the commands read and write: checked before any work, and never half written."""

import dataclasses
import json
import math
import os
import platform
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from greedyjax import GaussianPrior, policies

_MARK = "written_by"
# Format 1 has one weight per atom. Format 2 has the name and the arrays of a policy of
# greedyjax.policies. Format 3 is format 1 or 2 with the prior of a last fit.
_WEIGHTS, _POLICY, _PRIOR = 1, 2, 3


class CommandError(Exception):
    """An error that the user can correct. The command prints one line and exits with 2."""


class Model(NamedTuple):
    """What `greedyjax train` learned, as stored in ``model.npz``.

    Attributes:
        A: the user's matrix, shape ``(m, n)``.
        weights: shape ``(n,)``, or a policy of `greedyjax.policies` whose fields are arrays.
        method: "omp" or "iht".
        sparsity: atoms per signal.
        tau: temperature of the soft solver, in the units of the data.
        real: whether the real system ``[Re A; Im A]`` is solved.
        num_layers: number of steps of IHT; 0 for OMP.
        step_size: step size of IHT; 0 for OMP.
        prior: prior of the last fit, or None.
    """

    A: np.ndarray
    weights: Any
    method: str
    sparsity: int
    tau: float
    real: bool
    num_layers: int
    step_size: float
    prior: GaussianPrior | None = None


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an ``.npz``, refusing pickled ones."""
    loaded = _load(path)
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise CommandError(f"{path}: expected an .npz with named arrays, got a single array")
    arrays = {}
    with loaded:
        for name in loaded:
            try:
                arrays[name] = loaded[name]
            except Exception as error:  # zlib, zip and NumPy raise various types for damaged files.
                raise _unreadable(f"{path}: key {name!r}", error) from error
            if not isinstance(arrays[name], np.ndarray):
                raise CommandError(f"{path}: key {name!r}: expected an array, got other data")
    return arrays


def read_npy(path: str | Path) -> np.ndarray:
    """Opens one array without reading it into memory, refusing a pickled one."""
    loaded = _load(path, mmap_mode="r")
    if not isinstance(loaded, np.ndarray):
        raise CommandError(f"{path}: expected an .npy with one array, got an .npz")
    return loaded


def numbers(name: str, array: np.ndarray, shape: tuple[int | str, ...]) -> np.ndarray:
    """Checks an array of floating-point or complex numbers. Letters in ``shape`` allow any length.

    Numbers must be finite, also in the precision of JAX, which is single by default.
    """
    wanted = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    if not np.issubdtype(array.dtype, np.inexact):
        raise CommandError(f"{name}: expected floating-point or complex numbers, got {array.dtype}")

    def fits(sizes: tuple[int, ...]) -> bool:
        pairs = zip(shape, sizes, strict=True)
        return all(isinstance(want, str) or want == got for want, got in pairs)

    if len(shape) != array.ndim or not fits(array.shape):
        hint = ""
        if len(shape) == array.ndim == 2 and fits(array.shape[::-1]):
            hint = f"; {name} looks transposed"
        raise CommandError(f"{name}: expected shape {wanted}, got {array.shape}{hint}")
    if 0 in array.shape:
        raise CommandError(f"{name}: expected at least one number, got shape {array.shape}")
    largest = max(float(np.max(np.abs(extremes))) for extremes in _extremes(array))
    if not largest < np.inf:
        bad = np.argwhere(~np.isfinite(array))
        where = f" in row {bad[0, 0]}" if array.ndim and len(bad) else ""
        raise CommandError(f"{name}: expected finite numbers, got NaN or infinity{where}")
    if array.dtype.itemsize > np.dtype(np.float64).itemsize * (1 + np.iscomplexobj(array)):
        raise CommandError(f"{name}: expected double precision at most, got {array.dtype}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    dtype = np.finfo(jax.dtypes.canonicalize_dtype(array.dtype)).dtype
    if not _holds(dtype, largest):
        raise CommandError(f"{name}: expected numbers that {dtype} holds, got {largest:.3g}")
    return array


def _holds(dtype, size: float) -> bool:
    """Whether a number of this magnitude neither overflows nor vanishes."""
    limits = np.finfo(dtype)
    return size == 0 or float(limits.tiny) <= size <= float(limits.max)


def _extremes(array: np.ndarray) -> list[list[float]]:
    """Smallest and largest real and imaginary parts, without copies. A NaN gives NaN."""
    parts = [np.real(array), np.imag(array)] if np.iscomplexobj(array) else [array]
    return [[part.min(), part.max()] for part in parts]


def write_model(path: Path, model: Model) -> None:
    """Writes a model; it loads without pickle."""
    arrays = {**model._asdict(), "format": _WEIGHTS}
    prior = arrays.pop("prior")
    if callable(model.weights):
        policy = arrays.pop("weights")
        arrays |= {"format": _POLICY, "policy": type(policy).__name__, **_fields("policy", policy)}
    if prior is not None:
        arrays |= {"format": _PRIOR, **_fields("prior", prior)}
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **{k: np.asarray(v) for k, v in arrays.items()})


def _fields(name: str, value: Any) -> dict[str, Any]:
    """The arrays of a dataclass by name, with ``name.`` as a prefix."""
    return {
        f"{name}.{field.name}": getattr(value, field.name) for field in dataclasses.fields(value)
    }


def read_model(path: str | Path) -> Model:
    """Reads and checks a model that `write_model` wrote."""
    arrays = read_npz(path)
    names = {*Model._fields, "format"} - {"weights", "prior"}
    model_format = _setting(path, arrays, "format", int) if "format" in arrays else _WEIGHTS
    has_policy = model_format == _POLICY or "policy" in arrays
    names |= {"policy"} if has_policy else {"weights"}
    if not names <= set(arrays):
        missing = sorted(names - set(arrays))
        raise CommandError(f"{path}: expected a model of greedyjax train, got no {missing[0]!r}")
    if model_format not in (_WEIGHTS, _POLICY, _PRIOR):
        raise CommandError(f"{path}: expected model format 1, 2 or 3, got {model_format}")
    settings = {
        name: _setting(path, arrays, name, kind)
        for name, kind in Model.__annotations__.items()
        if name not in ("A", "weights", "prior")
    }
    A = numbers(f"{path}: A", arrays["A"], ("m", "n"))
    if settings["method"] not in ("omp", "iht"):
        raise CommandError(f"{path}: expected method omp or iht, got {settings['method']!r}")
    if has_policy:
        weights = _policy(path, arrays)
    else:
        weights = numbers(f"{path}: weights", arrays["weights"], (A.shape[1],))
    prior = None
    if model_format == _PRIOR:
        prior = GaussianPrior(**_read_fields(path, arrays, "prior", GaussianPrior))
        try:
            prior.checked(A.shape[1])
        except (TypeError, ValueError) as error:
            raise CommandError(f"{path}: prior.{error}") from error
    return Model(A=A, weights=weights, prior=prior, **settings)


def _policy(path, arrays: dict[str, np.ndarray]) -> Any:
    """The policy of a model. The model stores the name of a dataclass in `greedyjax.policies`."""
    name = _setting(path, arrays, "policy", str)
    kind: Any = getattr(policies, name, None) if name in policies.__all__ else None
    if not dataclasses.is_dataclass(kind):
        raise CommandError(f"{path}: expected a policy of greedyjax.policies, got {name!r}")
    make: Any = kind
    return make(**_read_fields(path, arrays, "policy", kind))


def _read_fields(path, arrays: dict[str, np.ndarray], name: str, kind: Any) -> dict[str, Any]:
    """The arrays that `_fields` wrote, checked."""
    fields = {}
    for field in dataclasses.fields(kind):
        key = f"{name}.{field.name}"
        if key not in arrays:
            raise CommandError(f"{path}: expected the key {key!r} of {kind.__name__}, got none")
        fields[field.name] = numbers(f"{path}: {key}", arrays[key], ("...",) * arrays[key].ndim)
    return fields


def _setting(path, arrays: dict[str, np.ndarray], name: str, kind: type) -> Any:
    """One setting of a model: a text, a bool, or a number within single precision."""
    array = arrays[name]
    letters = {str: "U", bool: "b", int: "iu", float: "iuf"}[kind]
    if array.shape != () or array.dtype.kind not in letters:
        got = f"{array.dtype} of shape {array.shape}"
        raise CommandError(f"{path}: {name}: expected one {kind.__name__}, got {got}")
    if kind is float and not _holds(np.float32, abs(array.item())):
        got = f"{array.item():g}"
        raise CommandError(f"{path}: {name}: expected a number that float32 holds, got {got}")
    return kind(array.item())


def claim_folder(
    folder: Path, names: tuple[str, ...], command: str, *, mark: str = "metrics.json"
) -> None:
    """Makes the output folder, and refuses to replace files that this program did not write.

    Files count as written by this program if ``mark``, a JSON file among them, says so. All other
    files in the folder stay unchanged.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{folder}: cannot make the folder: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(f"{folder}: the folder cannot be written to")
    taken = [name for name in names if (folder / name).exists()]
    if taken and read_json(folder / mark) is None:
        raise CommandError(
            f"{folder / taken[0]}: exists and was not written by greedyjax; "
            "move it or choose another folder"
        )
    # From now on the folder is marked as ours, even if the command is interrupted.
    write_json(folder / mark, {"finished": False}, command)


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a file of `write_json`; None if there is no file, or another program's."""
    try:
        content = json.loads(path.read_text())
        return content if str(content.get(_MARK, "")).startswith("greedyjax") else None
    except (OSError, ValueError, AttributeError):
        return None


def write_json(path: Path, content: dict[str, Any], command: str) -> None:
    """Writes results, with the command, versions and machine that computed them."""
    packages = ("greedyjax", "jax", "flax", "optax", "numpy")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    machine = {"device": jax.devices()[0].device_kind, "processors": os.cpu_count()}
    marked = {_MARK: f"greedyjax {command}", **content, "versions": versions, "machine": machine}
    text = json.dumps(_finite(marked), indent=2, allow_nan=False)
    # Each list of numbers is on one line.
    text = re.sub(r"\[\s+([^\[\]{}\"]*?)\s+\]", lambda list_: f"[{_one_line(list_[1])}]", text)
    with replacing(path) as file:
        file.write(f"{text}\n".encode())


def write_csv(path: Path, columns: Mapping[str, np.ndarray], index: str) -> None:
    """Writes columns of equal length, with rows numbered from 0."""
    with replacing(path) as file:
        rows = zip(*columns.values(), strict=True)
        lines = [[index, *columns], *([i, *map(_short, row)] for i, row in enumerate(rows))]
        text = "".join(",".join(map(str, line)) + "\n" for line in lines)
        file.write(text.encode())


def draw(path: Path, plot: Callable[..., Any], *args: Any, **settings: Any) -> bool:
    """Draws a picture with a function of `greedyjax.plotting`. Without matplotlib returns False."""
    try:
        import matplotlib.figure
    except ImportError:
        return False
    figure = plot(*args, figure=matplotlib.figure.Figure(layout="constrained"), **settings)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)
    return True


@contextmanager
def replacing(path: Path):
    """A binary file that replaces ``path`` only once it is completely written."""
    name = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except OSError as error:
        raise CommandError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        if name is not None:
            Path(name).unlink(missing_ok=True)


def _finite(content: Any) -> Any:
    """The content with numbers of six digits, and null for NaN and infinity."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    if isinstance(content, float):
        return float(f"{content:.6g}") if math.isfinite(content) else None
    return content


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _short(value: float) -> str:
    return f"{value:.6g}"


def _load(path, **settings):
    try:
        with open(path, "rb") as file:
            start = file.read(6)
        # NumPy treats every unknown file as a pickle.
        if start != b"\x93NUMPY" and start[:2] != b"PK":
            raise CommandError(f"{path}: expected an .npy or .npz file, got something else")
        return np.load(path, allow_pickle=False, **settings)
    except CommandError:
        raise
    except FileNotFoundError as error:
        raise CommandError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        inside = Path(path, "model.npz")
        way = f"; it holds {inside}" if inside.is_file() else ""
        raise CommandError(f"{path}: expected a file, got a folder{way}") from error
    except Exception as error:  # As above: readers raise various types for damaged files.
        raise _unreadable(path, error) from error


def _unreadable(what, error: Exception) -> CommandError:
    if "pickle" in str(error) or "Python objects" in str(error):
        return CommandError(f"{what}: holds pickled objects, which are refused as unsafe")
    return CommandError(f"{what}: cannot be read as NumPy data: {error or type(error).__name__}")
