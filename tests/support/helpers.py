"""What the tests share: one tolerance table, one comparison, one random problem."""

import functools
import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest

# Compiling is nearly all the time of the tests. The passes left out come after those that choose
# the order of operations, and cost more than they win on arrays of this size.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

DTYPES = (np.float32, np.float64, np.complex64, np.complex128)


def slow_but(quick, every):
    """Values of a parametrised test, tuples where it takes several: all but the quick are slow."""
    values = lambda each: each if isinstance(each, tuple) else (each,)
    marks = lambda each: () if each in quick else pytest.mark.slow
    return [pytest.param(*values(each), marks=marks(each)) for each in every]


# The quick two have nothing in common: one is real and single, the other complex and double.
EACH_DTYPE = slow_but((np.float32, np.complex128), DTYPES)

# dtype -> (rtol, atol) for a few dozen steps on a well-conditioned problem of unit scale: about a
# thousand roundings, and atol a tenth of that for the entries that should be zero. A test that
# needs more passes its own and says why.
_TOLERANCES = {
    np.dtype(np.float32): (1e-4, 1e-5),
    np.dtype(np.float64): (1e-10, 1e-11),
    np.dtype(np.complex64): (1e-4, 1e-5),
    np.dtype(np.complex128): (1e-10, 1e-11),
}


def forget_programs():
    """Before there are too many: each keeps memory mappings, and a process may have 65,530."""
    mappings = Path("/proc/self/maps")
    if not mappings.exists() or mappings.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()


@contextmanager
def configured(**settings):
    """Other settings of JAX, by their names without `jax_`, and then what there was before."""
    before = {name: jax.config.values[f"jax_{name}"] for name in settings}
    try:
        for name, value in settings.items():
            jax.config.update(f"jax_{name}", value)
        yield
    finally:
        for name, value in before.items():
            jax.config.update(f"jax_{name}", value)


def tolerance(dtype):
    """The house (rtol, atol) of a dtype; integers and booleans have to agree exactly."""
    dtype = np.dtype(dtype)
    if dtype.kind in "biu":
        return 0.0, 0.0
    return _TOLERANCES[dtype]


def assert_close(actual, expected, dtype=None, *, rtol=None, atol=None):
    """Asserts equal shapes, and equal values to the tolerance of `dtype`.

    Args:
        actual: What the library gave.
        expected: What the oracle gave, in any precision.
        dtype: Whose tolerance to use; that of `actual` by default.
        rtol: Overrides the table's relative tolerance; say why where it is used.
        atol: Overrides the table's absolute tolerance; say why where it is used.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    # assert_allclose broadcasts scalars and lets NaN equal NaN; neither is agreement here.
    assert actual.shape == expected.shape, f"shape: got {actual.shape}, expected {expected.shape}"
    house_rtol, house_atol = tolerance(actual.dtype if dtype is None else dtype)
    np.testing.assert_allclose(
        actual,
        expected,
        rtol=house_rtol if rtol is None else rtol,
        atol=house_atol if atol is None else atol,
        equal_nan=False,
    )


def random_problem(seed, m, n, k, dtype, noise=0.0):
    """A Gaussian dictionary with unit columns and a k-sparse signal measured through it.

    The nonzero entries have magnitudes in [1, 2] and random signs (phases where `dtype` is
    complex): none is small enough for a solver to miss by rounding.

    Args:
        seed: Seed of the NumPy generator; single and double precision draw the same numbers.
        m: Number of measurements.
        n: Number of atoms.
        k: Number of nonzero entries of the signal.
        dtype: dtype of the three arrays.
        noise: Norm of the noise relative to that of the clean measurements.

    Returns:
        NumPy arrays A (m, n), x (n,) and y (m,).
    """
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)

    def normal(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if dtype.kind == "c" else real

    A = normal(m, n)
    A = (A / np.linalg.norm(A, axis=0)).astype(dtype)
    direction = normal(k)
    x = np.zeros(n, direction.dtype)
    x[rng.choice(n, size=k, replace=False)] = rng.uniform(1, 2, k) * direction / np.abs(direction)
    x = x.astype(dtype)
    # Measured in double precision, so that y is the rounding of the exact A x.
    y = A.astype(np.promote_types(dtype, np.float64)) @ x
    e = normal(m)
    y = y + noise * np.linalg.norm(y) / np.linalg.norm(e) * e
    return A, x, y.astype(dtype)


def benchmark(name):
    """A script of the benchmarks, imported as a module of its own."""
    folder = Path(__file__).parents[2] / "benchmarks"
    sys.path.insert(0, str(folder))  # For what the scripts share.
    try:
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
    finally:
        sys.path.remove(str(folder))
    return script


def interrupt_fit(monkeypatch, name, call):
    """Ctrl-C instead of one call, counted over all trainings, of a part of an epoch of `fit`."""
    from greedyjax.training import _fit

    of_one, calls = _fit.of_one, []

    def patched(setup):
        parts = of_one(setup)

        def part(*args):
            calls.append(1)
            if len(calls) == call:
                raise KeyboardInterrupt
            return getattr(parts, name)(*args)

        return parts._replace(**{name: part})

    monkeypatch.setattr(_fit, "of_one", patched)
