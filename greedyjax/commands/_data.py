"""The arrays that `greedyjax train` reads: checked, split and scaled."""

from argparse import Namespace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from greedyjax import stack_real
from greedyjax.commands import _files
from greedyjax.commands._files import CommandError


class Data(NamedTuple):
    """The user's arrays for the solver, in units in which a typical ``||y||`` is 1.

    Attributes:
        A_given: the user's matrix, which the model stores.
        A: the matrix for the solver, shape ``(m, n)``; with ``--real`` the stacked real matrix.
        train: pair ``(Y, X)`` for training; ``X`` is None if not given.
        val: pair ``(Y, X)`` for validation.
        support: atoms of the hidden set, or None.
        unit: the number by which ``Y`` and ``X`` were divided.
    """

    A_given: np.ndarray
    A: Any
    train: tuple[Any, Any]
    val: tuple[Any, Any]
    support: np.ndarray | None
    unit: float


def read_data(options: Namespace) -> Data:
    """Reads the file and checks its arrays against each other and against the options."""
    arrays = _files.read_npz(options.data)
    A, signals = _checked(arrays, options)
    support = _support(arrays, A.shape[1])

    solved = jnp.asarray(A)
    Y = {name: jnp.asarray(signals[name]) for name in ("Y", "Y_val") if name in signals}
    if options.real:
        Y = {name: stack_real(solved, value)[1] for name, value in Y.items()}
        solved = stack_real(solved, jnp.zeros(len(A), solved.dtype))[0]
    m, n = solved.shape
    _check_sparsity(m, n, options)

    train, val = (Y["Y"], signals.get("X")), (Y.get("Y_val"), signals.get("X_val"))
    if val[0] is None:
        train, val = _split(*train)
    # In double precision, squares of single-precision numbers never overflow.
    unit = float(np.sqrt(np.mean(np.sum(np.abs(np.asarray(train[0], complex)) ** 2, axis=1))))
    if unit == 0:
        raise CommandError("Y: expected a signal that is not 0, got none")
    return Data(A, solved, _scaled(train, unit), _scaled(val, unit), support, unit)


def _checked(arrays: dict[str, np.ndarray], options: Namespace):
    """The matrix and the given arrays of signals, with checked shapes."""
    for name in ("A", "Y"):
        if name not in arrays:
            hint = f"; rename {name.lower()!r} to {name!r}" if name.lower() in arrays else ""
            expected = f"expected a key {name!r}, got {sorted(arrays)}{hint}"
            raise CommandError(f"{options.data}: {expected}")
    for given, missing in (("X_val", "X"), ("X_val", "Y_val"), ("Y_val", "X_val")):
        needed = given in arrays and (missing != "X_val" or "X" in arrays)
        if needed and missing not in arrays:
            raise CommandError(f"{options.data}: {given!r} is there, but {missing!r} is not")

    A = _files.numbers("A", arrays["A"], ("m", "n"))
    m, n = A.shape
    Y_shape = np.shape(arrays["Y"])
    if len(Y_shape) == 2 and Y_shape[1] == n != m:
        raise CommandError(f"A: expected {n} rows as Y has columns, got {m}; A looks transposed")
    shapes = {"Y": ("num", m), "Y_val": ("num_val", m), "X": ("num", n), "X_val": ("num_val", n)}
    signals = {
        name: _files.numbers(name, arrays[name], shape)
        for name, shape in shapes.items()
        if name in arrays
    }
    for Y, X in (("Y", "X"), ("Y_val", "X_val")):
        if X not in signals:
            continue
        num, got = len(signals[Y]), len(signals[X])
        if num != got:
            raise CommandError(f"{X}: expected {num} rows as {Y} has, got {got}")
        if options.real and np.iscomplexobj(signals[X]):
            raise CommandError(f"{X}: expected real signals with --real, got {signals[X].dtype}")
    if options.loss == "reconstruction" and "X" not in signals:
        raise CommandError(f"{options.data}: --loss reconstruction needs the true signals, key 'X'")
    return A, signals


def _check_sparsity(m: int, n: int, options: Namespace) -> None:
    if m < 2:
        raise CommandError("A: expected at least 2 measurements, to hide one of them, got 1")
    limit = min(m, n) if options.method == "omp" else n
    if options.sparsity > limit:
        raise CommandError(
            f"--sparsity: expected at most {limit} for {m} measurements of {n} atoms, "
            f"got {options.sparsity}"
        )


def _support(arrays: dict[str, np.ndarray], n: int) -> np.ndarray | None:
    if "support" not in arrays:
        return None
    support = arrays["support"]
    if support.ndim != 1 or not np.issubdtype(support.dtype, np.integer) or len(support) == 0:
        raise CommandError(
            f"support: expected a list of atoms, got {support.dtype} of shape {support.shape}"
        )
    if support.min() < 0 or support.max() >= n:
        got = f"{support.min()} to {support.max()}"
        raise CommandError(f"support: expected atoms between 0 and {n - 1}, got {got}")
    return support


def _split(Y, X):
    """Holds out the last third."""
    cut = len(Y) - len(Y) // 3
    if cut == len(Y):
        raise CommandError(f"Y: expected at least 3 signals, a third to validate, got {len(Y)}")
    train = (Y[:cut], None if X is None else X[:cut])
    val = (Y[cut:], None if X is None else X[cut:])
    return train, val


def _scaled(pair, unit: float):
    Y, X = pair
    return Y / unit, None if X is None else jnp.asarray(X) / unit
