"""When is an answer determined? Where it survives rounding errors larger than the library's own.

Greedy choices are discontinuous, so two right programs may disagree wherever two scores agree to
rounding. The oracles decide whether that is so, in Monte Carlo arithmetic: run many times with
random errors of a few units of rounding in every array operation, they scatter by as much as a
right program in that precision may be off.
"""

import numpy as np

RUNS = 24  # Both sides of an exact tie are seen, but for one time in 2^23.
# Units of rounding in each operation: also more than the oracles' own least squares takes for none.
LEVEL = 64


def double(array) -> np.ndarray:
    """The same numbers in double precision."""
    array = np.asarray(array)
    return array.astype(np.promote_types(array.dtype, np.float64))


class Rounded(np.ndarray):
    """An array whose every ufunc, products of matrices included, has random relative errors.

    Attributes:
        errors: their generator and their size.
        rounding: what the oracles take for rounding: that size, or that of double precision.
    """

    errors: tuple[np.random.Generator, float] | None
    rounding: float

    @classmethod
    def of(cls, array, errors, rounding) -> "Rounded":
        """Wraps an array, itself rounded once."""
        array = double(array)
        rng, level = errors
        noisy = np.asarray(array * (1 + level * rng.standard_normal(array.shape))).view(cls)
        noisy.errors, noisy.rounding = errors, rounding
        return noisy

    def __array_finalize__(self, source):
        self.errors = getattr(source, "errors", None)
        self.rounding = getattr(source, "rounding", float(np.finfo(np.float64).eps))

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        plain = lambda each: each.view(np.ndarray) if isinstance(each, Rounded) else each
        if out is not None:
            kwargs["out"] = tuple(map(plain, out))
        result = np.asarray(getattr(ufunc, method)(*map(plain, inputs), **kwargs))
        first = next(each for each in inputs if isinstance(each, Rounded))
        if not np.issubdtype(result.dtype, np.inexact) or first.errors is None:
            return result
        return self.of(result, first.errors, first.rounding)


def error_in(array, size) -> float:
    """1 plus a random error: ``size`` of the rounding of ``array``, none if it has none."""
    if not isinstance(array, Rounded):
        return 1.0
    rng, level = array.errors
    return 1 + size(level / LEVEL) * rng.standard_normal()


def column_norms(A) -> np.ndarray:
    """Of atoms, and of the largest one in place of 0: what turns x into the units of y."""
    norms = np.linalg.norm(double(A), axis=-2)
    largest = norms.max(axis=-1, keepdims=True)
    return np.where(norms > 0, norms, np.where(largest > 0, largest, 1))


def scatter(oracle, arguments, dtype, enough: float) -> float:
    """How far rounding moves the oracle's answer, relative to it and y, in the units of y.

    Args:
        oracle: of A, y, weights and temperature.
        arguments: those four.
        dtype: whose rounding.
        enough: stops once above this.
    """
    A, y, w, tau = map(double, arguments)
    norms, exact = column_norms(A), oracle(A, y, w, tau).x
    size = np.linalg.norm(norms * exact) + np.linalg.norm(y)
    level, rng, most = LEVEL * np.finfo(dtype).eps, np.random.default_rng(0), 0.0
    for run in range(RUNS):
        # What is 0 or a tie but for rounding is so in some runs, and is not in the rest.
        rounding = (np.finfo(np.float64).eps, level, level / LEVEL)[run % 3]
        # In any order: where scores tie exactly, as those of weights 0 do, it decides.
        order = rng.permutation(len(w))
        given = A[:, order], y, w[order]
        rounded = (Rounded.of(each, (rng, level), rounding) for each in given)
        moved = np.zeros_like(exact)
        moved[order] = oracle(*rounded, tau).x
        most = max(most, float(np.linalg.norm(norms * (moved - exact)) / size) if size else 0.0)
        if most > enough:
            break
    return most
