"""Invalid arguments of ready-made operators are named, and the message says what to do."""

import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pylops
import pytest
import pywt

import greedyjax as gj
from greedyjax.operators import (
    DCT,
    Convolution,
    HStack,
    MaskedFFT,
    MatrixFree,
    Product,
    Steering,
    Sum,
    VStack,
    Wavelet,
    from_pylops,
)

pytestmark = pytest.mark.wrong_types

H = np.ones((2, 3))
UNEQUAL = types.SimpleNamespace(dec_lo=[1.0, 0.0], dec_hi=[1.0])
CASES = {
    "a mask": (
        lambda: MaskedFFT(np.ones(8, bool), 8),
        "TypeError: kept: expected indices of frequencies, got a mask; jnp.flatnonzero(mask) gives "
        "its indices",
    ),
    "no integers": (
        lambda: MaskedFFT(np.ones(3), 8),
        "TypeError: kept: expected indices of frequencies, got dtype float64",
    ),
    "no frequency": (
        lambda: MaskedFFT(np.zeros(0, int), 8),
        "ValueError: kept: expected indices of at least one frequency, with one axis, got shape",
    ),
    "two axes of indices": (
        lambda: MaskedFFT(np.zeros((2, 2), int), 8),
        "ValueError: kept: expected indices of at least one frequency, with one axis, got shape",
    ),
    "out of range": (
        lambda: MaskedFFT(np.array([0, 16]), (4, 4)),
        "ValueError: kept: expected indices from 0 to 15, got 16",
    ),
    "from behind": (
        lambda: MaskedFFT(np.array([0, -1]), (4, 4)),
        "ValueError: kept: expected indices from 0 to 15, got -1",
    ),
    "four axes": (
        lambda: MaskedFFT(np.array([0]), (2, 2, 2, 2)),
        "ValueError: image_shape: expected the lengths of 1 to 3 axes, got (2, 2, 2, 2)",
    ),
    "no axis": (lambda: DCT(()), "ValueError: image_shape: expected the lengths of 1 to 3 axes, "),
    "half a pixel": (lambda: DCT(2.5), "TypeError: image_shape: expected an int, got 2.5"),
    "no pixel": (lambda: DCT((4, 0)), "ValueError: image_shape: expected an int >= 1, got 0"),
    "real FFT": (
        lambda: MaskedFFT(np.array([0]), 4, np.float32),
        "TypeError: dtype: expected complex numbers, complex64 or complex128, got float32",
    ),
    "complex DCT": (
        lambda: DCT(4, np.complex64),
        "TypeError: dtype: expected real floating-point numbers, got complex64; "
        "a real operator takes complex vectors too",
    ),
    "DCT of integers": (
        lambda: DCT(4, int), "TypeError: dtype: expected floating-point or complex numbers, got <cl"
    ),
    "too few directions": (
        lambda: Steering(8, 4),
        "ValueError: directions: expected at least as many as antennas, (8,), got (4,)",
    ),
    "other axes": (
        lambda: Steering((8, 8), 64), "ValueError: directions: expected 2 axes, as antennas, got ("
    ),
    "a filter alone": (
        lambda: Convolution(H[0], 8),
        "ValueError: filters: expected shape (num_filters, ...), one filter per row, got shape",
    ),
    "filters of images": (
        lambda: Convolution(H, (8, 8)),
        "ValueError: filters: expected shape (num_filters, ..., ...), one filter per row, got ",
    ),
    "long filters": (
        lambda: Convolution(H, 2),
        "ValueError: filters: expected filters no longer than image_shape, (2,), got shape (2, 3)",
    ),
    "filters of integers": (
        lambda: Convolution(H.astype(int), 8),
        "TypeError: filters: expected floating-point or complex numbers, got dtype int64",
    ),
    "NaN": (
        lambda: Convolution(np.nan * H, 8), "ValueError: filters: expected finite numbers, got NaN"
    ),
    "odd sides": (
        lambda: Wavelet((8, 12), "haar", 3),
        "ValueError: image_shape: expected multiples of 2**num_levels = 8, got (8, 12)",
    ),
    "no levels": (
        lambda: Wavelet(8, "haar", 0), "ValueError: num_levels: expected an int >= 1, got 0"
    ),
    "an unknown wavelet": (
        lambda: Wavelet(8, "daubechies", 1),
        "ValueError: wavelet: expected one of pywt.wavelist(kind=\"discrete\"), got 'daubechies'",
    ),
    "a continuous wavelet": (
        lambda: Wavelet(8, "morl", 1), "ValueError: wavelet: expected one of pywt.wavelist(kind="
    ),
    "a biorthogonal wavelet": (
        lambda: Wavelet(8, pywt.Wavelet("bior2.2"), 1),
        "ValueError: wavelet: expected an orthogonal wavelet, such as haar, db4, sym5 or coif2, "
        "got bior2.2",
    ),
    "a wavelet cut off": (
        lambda: Wavelet(8, "dmey", 1), "ValueError: wavelet: expected an orthogonal wavelet, such"
    ),
    "no wavelet": (
        lambda: Wavelet(8, 4, 1),
        "TypeError: wavelet: expected the name of a wavelet, or an object with its filters dec_lo "
        "and dec_hi, got int",
    ),
    "unequal filters": (
        lambda: Wavelet(8, UNEQUAL, 1),
        "ValueError: wavelet: expected two filters of the same even length, got lengths (2,) ",
    ),
    "one operator": (
        lambda: Product(DCT(4)),
        "TypeError: operators: expected a list of matrices or operators, got DCT",
    ),
    "no operators": (
        lambda: Sum([]), "ValueError: operators: expected at least one matrix or operator, got none"
    ),
    "a product that does not fit": (
        lambda: Product([DCT(4), H]),
        "ValueError: operators[1]: expected 4 rows, as many as operators[0] has columns, got 2",
    ),
    "other rows": (
        lambda: HStack([DCT(4), H]),
        "ValueError: operators[1]: expected 4 rows, as many as operators[0] has, got 2",
    ),
    "other columns": (
        lambda: VStack([DCT(4), H]),
        "ValueError: operators[1]: expected 4 columns, as many as operators[0] has, got 3",
    ),
    "other shapes": (
        lambda: Sum([DCT(4), H]),
        "ValueError: operators[1]: expected shape (4, 4), that of operators[0], got shape (2, 3)",
    ),
    "a vector for an operator": (
        lambda: Sum([DCT(4), np.ones(4)]),
        "ValueError: A: expected an array with 2 axes, got shape (4,)",
    ),
    "an image for a vector": (
        lambda: DCT((2, 2)).matvec(np.ones((2, 2))),
        "ValueError: x: expected shape (4,), got shape (2, 2); many vectors, one per row: jax.vmap",
    ),
    "many vectors": (
        lambda: DCT(4).rmatvec(np.ones((3, 4))),
        "ValueError: y: expected shape (4,), got shape (3, 4); many vectors, one per row: "
        "jax.vmap(A.rmatvec)(Y)",
    ),
    "@": (lambda: DCT(4) @ np.ones(4), "TypeError: @: expected arrays, got DCT, an operator"),
    "NumPy @": (lambda: np.ones(4) @ DCT(4), "TypeError: @: expected arrays, got DCT"),
    "JAX @": (lambda: jnp.ones(4) @ DCT(4), "TypeError: @: expected arrays, got DCT"),
    "@ of functions": (
        lambda: np.ones((2, 3)) @ MatrixFree(abs, abs, shape=(3, 3), dtype=jnp.float32),
        "TypeError: @: expected arrays, got MatrixFree, an operator A; its products are "
        "A.matvec(x), A.rmatvec(y), or for many vectors in rows, jax.vmap(A.matvec)(X)",
    ),
    "x for y": (
        lambda: Steering(4, 8).rmatvec(np.ones(8)),
        "ValueError: y: expected shape (4,), got shape (8,)",
    ),
    "PyLops without JAX": (
        lambda: from_pylops(pylops.Identity(3)),
        "TypeError: operator: expected a pylops.JaxOperator, got a Identity; "
        "pylops.JaxOperator(operator) makes it one",
    ),
    "no PyLops": (
        lambda: from_pylops(H), "TypeError: operator: expected a pylops.JaxOperator, got ndarray"
    ),
    "norms that are not known": (
        lambda: gj.omp(Product([DCT(4)]), np.ones(4), sparsity=1),
        "ValueError: A: expected an operator with column_norms, as this solver scales columns to",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_message_says_what_is_wrong(name):
    call, message = CASES[name]
    with pytest.raises((TypeError, ValueError)) as info:
        call()
    assert f"{info.typename}: {info.value}".startswith(message)


def test_the_place_of_a_part_is_named():
    with pytest.raises(ValueError, match="2 axes") as info:
        Sum([DCT(4), np.ones(4)])
    assert info.value.__notes__ == ["A is operators[1]"]


@pytest.mark.parametrize(
    ("package", "call", "way_out"),
    [
        ("pywt", lambda: Wavelet(8, "haar", 1), 'pip install "greedyjax[wavelets]" brings it'),
        ("pylops", lambda: from_pylops(None), "pip install pylops"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, package, call, way_out):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=re.escape(way_out)):
        call()


def test_what_sets_shapes_is_not_traced():
    with pytest.raises(TypeError, match="^image_shape: expected a Python int, got a traced value"):
        jax.jit(lambda n: DCT(n).matvec(jnp.ones(4)))(4)
