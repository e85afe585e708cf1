"""Dictionaries learned from signals with missing entries, against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dictionary_oracles import ksvd_sweep, masked_ksvd_sweep, masked_omp, mod
from greedyjax.training import KSVD, MOD, OnlineGradient, learn_dictionary
from greedyjax.training._dictionary_coding import Batch, coded
from helpers import assert_close, slow_but
from oracles import finite_difference

M, N, K, NUM = 8, 12, 2, 300
NONE = np.zeros(N, bool)
BOTH = pytest.mark.parametrize("dtype", slow_but([np.complex128], [np.float64, np.complex128]))
UPDATES = {"K-SVD": KSVD(), "MOD": MOD(), "gradient": OnlineGradient(optax.adam(3e-2))}
EACH = pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
# Without a mask each finds a dictionary in the quick tests.
KSVD_ALONE = pytest.mark.parametrize("update", slow_but([KSVD()], UPDATES.values()), ids=UPDATES)


def signals(dtype=np.float64, num=NUM, missing=0.3, noise=0.3, m=M, n=N):
    """A dictionary, signals with noise, one a row, and which of their entries there are."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real

    A = normal(m, n)
    A /= np.linalg.norm(A, axis=0)
    X = np.zeros((num, n), dtype)
    supports = np.argsort(rng.random((num, n)), axis=1)[:, :K]
    np.put_along_axis(X, supports, normal(num, K), axis=1)
    return A, X @ A.T + noise * normal(num, m), rng.random((num, m)) >= missing


def codes_of(A, Y, observed):
    """What an update is given, and the codes with their zeros, a signal a column."""
    batch = Batch(jnp.asarray(np.where(observed, Y, 0)), jnp.asarray(observed))
    codes = jax.jit(coded, static_argnames="sparsity")(jnp.asarray(A), batch, sparsity=K)
    X = np.zeros((len(Y), N), Y.dtype)
    used = np.asarray(codes.support) >= 0
    rows = np.broadcast_to(np.arange(len(Y))[:, None], used.shape)
    X[rows[used], np.asarray(codes.support)[used]] = np.asarray(codes.coefficients)[used]
    return codes, X.T


def stepped(update, A, codes):
    A = jnp.asarray(A)
    return jax.jit(type(update).step)(update, update.init(A), A, codes, jnp.asarray(NONE))[1]


@BOTH
def test_codes_are_those_of_the_rows_that_are_there(dtype):
    A, Y, observed = signals(dtype)
    codes, X = codes_of(A, Y, observed)
    expected = np.array([masked_omp(A, *each, K) for each in zip(Y, observed, strict=True)])
    assert_close(X.T, expected, rtol=1e-8)  # Some signals have few entries, and atoms resemble.
    assert_close(codes.residual, np.where(observed, Y - (A @ X).T, 0), rtol=1e-8)
    assert_close(codes.energy, np.sum(np.abs(Y[observed]) ** 2))


@BOTH
def test_ksvd_is_least_squares_on_the_entries_there_are(dtype):
    A, Y, observed = signals(dtype)
    codes, X = codes_of(A, Y, observed)
    expected, X_new = masked_ksvd_sweep(A, Y.T, X, observed.T)
    assert_close(stepped(KSVD(), A, codes), expected, rtol=1e-8)
    error = lambda A, X: np.linalg.norm((Y.T - A @ X)[observed.T])
    assert error(expected, X_new) < error(A, X)


@pytest.mark.slow
def test_ksvd_leaves_an_entry_that_no_signal_has():
    A, Y, observed = signals()
    observed[:, 3] = False
    codes, X = codes_of(A, Y, observed)
    expected = masked_ksvd_sweep(A, Y.T, X, observed.T)[0]
    got = np.asarray(stepped(KSVD(), A, codes))
    assert_close(got, expected, rtol=1e-8)
    assert np.all(got[3] != 0)


@BOTH
def test_mod_takes_the_dictionary_for_what_is_missing(dtype):
    A, Y, observed = signals(dtype)
    codes, X = codes_of(A, Y, observed)
    completed = np.where(observed.T, Y.T, A @ X)
    assert_close(stepped(MOD(), A, codes), mod(completed, X))


def test_the_gradient_is_that_of_the_entries_there_are():
    A, Y, observed = signals(num=20)
    codes, X = codes_of(A, Y, observed)

    def half_error(flat):
        errors = (Y.T - flat.reshape(M, N) @ X)[observed.T]
        return np.sum(errors**2) / (2 * np.sum(Y[observed] ** 2))

    got = A - stepped(OnlineGradient(optax.sgd(1.0)), A, codes)
    # What finite differences are good to.
    assert_close(got.ravel(), finite_difference(half_error, A.ravel()), rtol=1e-6, atol=1e-9)


@EACH
def test_a_mask_without_missing_entries_is_none(update):
    A, Y, observed = signals(missing=0)
    codes, X = codes_of(A, Y, observed)
    whole = codes._replace(observed=None)
    assert_close(stepped(update, A, codes), stepped(update, A, whole))
    if isinstance(update, KSVD):
        assert_close(stepped(update, A, whole), ksvd_sweep(A, Y.T, X)[0])


def learn(Y, update=KSVD(), **changes):  # noqa: B008
    settings = {"key": jax.random.key(0), "batch_size": NUM, "progress": False, **changes}
    return learn_dictionary(Y, N, K, update=update, **settings)


def masked(num=3000, missing=0.3, **settings):
    A, Y, observed = signals(num=num, missing=missing, **settings)
    return A, np.ma.array(np.where(observed, Y, np.nan), mask=~observed)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", slow_but([np.float64], [np.float64, np.complex128]))
@KSVD_ALONE
def test_a_planted_dictionary_is_found(update, dtype):
    A, Y = masked(noise=0.02, dtype=dtype, m=16, n=20)
    settings = {"batch_size": 100 if isinstance(update, OnlineGradient) else 500}
    found = learn_dictionary(
        Y, 20, K, key=jax.random.key(0), update=update, num_epochs=40, progress=False, **settings
    )
    inner = np.abs(A.conj().T @ np.asarray(found.A))
    assert np.mean(inner.max(axis=1) >= 0.99) >= 0.95


@pytest.mark.slow
def test_what_a_missing_entry_holds_does_not_matter():
    _, Y = masked()
    other = np.ma.array(Y.filled(7.0), mask=Y.mask)
    first, second = (learn(Z, val=Z[:100], num_epochs=2) for Z in (Y, other))
    assert np.array_equal(first.A, second.A)
    assert np.array_equal(first.history["val_error"], second.history["val_error"])


@pytest.mark.slow
def test_files_and_several_sets_as_arrays_in_memory(tmp_path):
    _, Y = masked(num=600)
    np.save(tmp_path / "Y.npy", Y.data)
    np.save(tmp_path / "missing.npy", Y.mask)
    of_files = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("Y", "missing"))
    expected = learn(Y, num_epochs=2)
    assert np.array_equal(
        learn(np.ma.array(next(of_files), mask=next(of_files)), num_epochs=2).A, expected.A
    )
    several = learn(np.ma.stack([Y, Y[::-1]]), val=np.ma.stack([Y, Y]), num_epochs=2)
    assert_close(several.A[0], expected.A)
    assert several.history["val_error"].shape == (3, 2)


@pytest.mark.slow
def test_a_lost_atom_becomes_a_signal_whose_missing_entries_were_filled_in():
    A, Y = masked(num=NUM * 3)
    A[:, 5] = A[:, 4]
    update = OnlineGradient(optax.sgd(0.0))
    found = learn(Y, update, initial=A, num_epochs=1, batch_size=len(Y))
    codes, X = codes_of(A, Y.filled(0), ~Y.mask)
    worst = np.argmax(np.linalg.norm(codes.residual, axis=1))
    signal = np.where(Y.mask[worst], A @ X[:, worst], Y.data[worst])
    assert found.history["replaced"][1] == 1
    assert_close(found.A[:, 5], signal / np.linalg.norm(signal))


@pytest.mark.slow
@EACH
def test_signals_without_any_entry_are_coded_as_0(update):
    _, Y = masked(num=600)
    Y[::2] = np.ma.masked
    found = learn(Y, update, num_epochs=3)
    assert np.all(np.isfinite(found.A))


def test_a_mask_of_everything_is_refused():
    """Who takes True for an entry that is there gets no dictionary of error 0."""
    _, Y = masked(num=600)
    with pytest.raises(ValueError, match="Y: expected entries that are not masked"):
        learn(np.ma.array(Y, mask=True))


def test_infinity_in_an_entry_that_is_there_is_refused():
    _, Y = masked(num=600)
    Y[3, 2] = np.inf
    with pytest.raises(ValueError, match="Y: expected finite numbers, got NaN or infinity"):
        learn(Y)
