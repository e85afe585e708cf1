"""Packed codes: the stored arrays, their rounding errors, and the products `A x`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
from greedyjax.pursuit import OMP
from greedyjax.structures import SharedSupport
from helpers import assert_close, jit, random_problem, slow_but

M, N, K, NUM = 24, 60, 5, 40


def coded(dtype, snapshots=(), num=NUM, decades=6):
    """Codes of noise, of which every third signal stops early; the first and last are 0."""
    A, rng = random_problem(0, M, N, K, dtype)[0], np.random.default_rng(1)
    X = np.zeros((num, N, *snapshots))
    for i, x in enumerate(X[1:-1]):
        x[rng.choice(N, 1 + i % K, replace=False)] = rng.standard_normal((1 + i % K, *snapshots))
    X *= 10.0 ** rng.integers(-decades, decades + 1, num).reshape(-1, *[1] * (X.ndim - 1))
    Y = np.einsum("mn,in...->im...", A, X).astype(dtype)
    method = OMP(K, rtol=1e-3, structure=SharedSupport() if snapshots else gj.structures.Plain())
    return A, jit(partial(gj.encode, method))(A, Y)


def slots(packed, i):
    """The atoms of a signal, and its coefficients by the formula of the class."""
    own = slice(packed.pointers[i], packed.pointers[i + 1])
    values = packed.coefficients[own]
    if packed.scales is not None:
        values = values.astype(packed.scales.dtype) * packed.scales[i]
        if packed.dtype.kind == "c":
            values = values[..., 0] + 1j * values[..., 1]
    return packed.support[own], values


CASES = [
    (np.float32, ()),
    (np.float64, ()),
    (np.complex64, ()),
    (np.complex128, ()),
    (np.float32, (3,)),
    (np.complex64, (2,)),
]
SOME = slow_but([(np.float32, (3,)), (np.complex128, ())], CASES)


@pytest.mark.parametrize(("dtype", "snapshots"), SOME)
def test_8_bits_are_off_by_half_a_step(dtype, snapshots):
    _, codes = coded(dtype, snapshots)
    packed = codes.packed(N)
    assert packed.coefficients.dtype == np.int8
    assert packed.support.dtype == np.uint16
    assert len(set(np.diff(packed.pointers).tolist())) > 2
    for i, (support, exact) in enumerate(
        zip(np.asarray(codes.support), np.asarray(codes.coefficients), strict=True)
    ):
        atoms, values = slots(packed, i)
        used = support >= 0
        np.testing.assert_array_equal(atoms, support[used])
        parts = [exact[used].real, exact[used].imag]
        largest = max(np.abs(part).max(initial=0) for part in parts)
        np.testing.assert_allclose(packed.scales[i], largest / 127, rtol=1e-6)
        error = values - exact[used]
        half = packed.scales[i] / 2 * (1 + 1e-4)  # Its own rounding, in single precision.
        assert np.abs(error.real).max(initial=0) <= half
        assert np.abs(error.imag).max(initial=0) <= half


@pytest.mark.parametrize(("dtype", "snapshots"), SOME)
@pytest.mark.parametrize("coefficient_bits", [8, None])
def test_measurements_and_slots_come_back(dtype, snapshots, coefficient_bits, monkeypatch):
    monkeypatch.setattr(gj._packed, "_BLOCK", 7)
    A, codes = coded(dtype, snapshots)
    packed = codes.packed(N, coefficient_bits=coefficient_bits, index_bits=32)
    X = np.zeros((NUM, N, *snapshots), dtype)
    for i, x in enumerate(X):
        atoms, values = slots(packed, i)
        x[atoms] = values
    expected = np.einsum("mn,in...->im...", A, X)
    found, size = packed.measurements(A), np.abs(expected).max()
    assert found.dtype == dtype
    assert_close(found / size, expected / size)

    support, coefficients = packed.decode()
    assert coefficients.dtype == dtype
    decoded = codes._replace(support=support, coefficients=coefficients).dense(N)
    np.testing.assert_array_equal(decoded, X)
    if coefficient_bits is None:
        np.testing.assert_array_equal(decoded, codes.dense(N))


@pytest.mark.parametrize(("dtype", "snapshots"), SOME)
def test_measurements_of_codes_are_sums_of_their_atoms(dtype, snapshots):
    A, codes = coded(dtype, snapshots)
    expected = np.zeros((NUM, M, *snapshots), dtype)
    for i, (support, values) in enumerate(
        zip(np.asarray(codes.support), np.asarray(codes.coefficients), strict=True)
    ):
        for atom, value in zip(support, values, strict=True):
            if atom >= 0:
                expected[i] += np.multiply.outer(A[:, atom], value)
    assert (np.asarray(codes.support) == -1).any()
    size = np.abs(expected).max()
    for found in (codes.measurements(A), jit(gj.Codes.measurements)(codes, A)):
        assert found.dtype == dtype
        assert_close(found / size, expected / size)
    # A place that is not used adds nothing, whatever number is in it.
    dirty = jnp.where((codes.support < 0)[(...,) + (None,) * len(snapshots)], 7, codes.coefficients)
    assert_close(codes._replace(coefficients=dirty).measurements(A) / size, expected / size)


def test_measurements_of_codes_in_half_precision_and_of_no_signal():
    A, codes = coded(np.float32, decades=1)
    half = codes._replace(coefficients=codes.coefficients.astype(jnp.float16))
    found = half.measurements(A.astype(np.float16))
    assert found.dtype == np.float16
    exact = np.asarray(codes.dense(N)) @ A.T
    assert np.abs(np.asarray(found) - exact).max() < 0.01 * np.abs(exact).max()
    assert gj.Codes(*(field[:0] for field in codes)).measurements(A).shape == (0, M)


@pytest.mark.wrong_types
def test_a_matrix_with_too_few_atoms_or_none():
    A, codes = coded(np.float32)
    last = int(np.asarray(codes.support).max())
    message = rf"A: expected at least {last + 1} columns, .* atom {last}, got shape \({M}, {last}\)"
    with pytest.raises(ValueError, match=message):
        codes.measurements(A[:, :last])
    with pytest.raises(
        TypeError, match="A: expected an array, got MatrixFree, an operator; jax.vmap"
    ):
        codes.measurements(gj.operators.MatrixFree(abs, abs, shape=(M, N), dtype=jnp.float32))


def test_a_slot_takes_3_bytes():
    _, codes = coded(np.float32)
    packed = codes.packed(N)
    slots_used = int((np.asarray(codes.support) >= 0).sum())
    assert packed.nbytes == 3 * slots_used + 4 * NUM + 8 * (NUM + 1)
    assert f"{packed.nbytes:,} bytes" in repr(packed)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_comes_back_in_half_precision(dtype):
    A, codes = coded(np.float32, decades=1)
    A, half = jnp.asarray(A, dtype), codes._replace(coefficients=codes.coefficients.astype(dtype))
    packed = half.packed(N)
    assert packed.scales.dtype == np.float32
    assert packed.decode()[1].dtype == packed.measurements(A).dtype == dtype
    wide = packed.measurements(A).astype(np.float32)
    exact = np.asarray(codes.dense(N)) @ np.asarray(A, np.float32).T
    size = np.abs(exact).max()
    assert np.abs(wide - exact).max() < 0.05 * size


def test_every_degenerate_signal_is_finite():
    """No slot, coefficients of 0, and numbers too small for a step of their own."""
    tiny = np.finfo(np.float32).smallest_subnormal
    support = np.array([[-1, -1], [3, -1], [4, 9], [9, 2], [0, 1]], np.int32)
    largest = np.finfo(np.float32).max
    values = np.array([[0, 0], [0, 0], [tiny, tiny], [largest, -largest], [1, -0.1]], np.float32)
    fields = np.zeros(5, np.float32), np.zeros(5, np.int32), np.zeros(5, np.int32)
    packed = gj.Codes(values, support, *fields).packed(10)
    assert packed.pointers.tolist() == [0, 0, 1, 3, 5, 7]
    assert packed.coefficients.tolist() == [0, 0, 0, 127, -127, 127, -13]
    _, back = packed.decode()
    assert np.isfinite(back).all()
    np.testing.assert_allclose(back, values, rtol=1e-6, atol=1 / 254)
    none = gj.Codes(values[:1], support[:1], *(field[:1] for field in fields)).packed(10)
    np.testing.assert_array_equal(none.measurements(np.eye(10, dtype=np.float32)), 0)
    assert none.decode()[0].shape == (1, 0)


def test_65536_atoms_are_the_most_of_16_bits():
    support = np.array([[65_535, 0]], np.int32)
    fields = np.zeros(1, np.float32), np.zeros(1, np.int32), np.zeros(1, np.int32)
    codes = gj.Codes(np.ones((1, 2), np.float32), support, *fields)
    assert codes.packed(65_536).decode()[0].tolist() == [[65_535, 0]]
    message = "num_atoms: expected at most 65536 with index_bits=16, got 65537; index_bits=32"
    with pytest.raises(ValueError, match=message):
        codes.packed(65_537)
    assert codes.packed(65_537, index_bits=32).decode()[0].tolist() == [[65_535, 0]]


@pytest.mark.wrong_types
def test_bad_arguments_are_named():
    A, codes = coded(np.float32)
    bad = [
        ({"num_atoms": 0}, ValueError, "num_atoms: expected an int >= 1"),
        ({"num_atoms": 9}, ValueError, "num_atoms: expected more than"),
        ({"coefficient_bits": 4}, ValueError, "coefficient_bits: expected 8, or None, got 4"),
        ({"index_bits": 8}, ValueError, "index_bits: expected 16 or 32, got 8"),
    ]
    for arguments, error, message in bad:
        with pytest.raises(error, match=message):
            codes.packed(**{"num_atoms": N, **arguments})
    with pytest.raises(ValueError, match="coefficients: expected finite numbers, got NaN"):
        codes._replace(coefficients=np.nan * codes.coefficients).packed(N)
    with pytest.raises(ValueError, match="codes.support: .*; pack the codes of each dictionary"):
        jax.tree.map(lambda leaf: leaf[None], codes).packed(N)
    with pytest.raises(TypeError, match="codes: expected arrays to pack outside of jit"):
        jax.jit(lambda codes: codes.packed(N))(codes)
    with pytest.raises(ValueError, match="A: expected 60 columns, as many as atoms were packed"):
        codes.packed(N).measurements(A[:, 1:])
