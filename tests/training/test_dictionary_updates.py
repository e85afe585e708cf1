"""One step of each dictionary update, against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import greedyjax as gj
from dictionary_oracles import ksvd_sweep, mod, relative_error
from greedyjax.pursuit import OMP
from greedyjax.training import KSVD, MOD, Coded, OnlineGradient
from helpers import assert_close, slow_but
from oracles import finite_difference

M, N, K, NUM = 6, 9, 2, 400
NONE = np.zeros(N, bool)
BOTH = pytest.mark.parametrize("dtype", slow_but([np.complex128], [np.float64, np.complex128]))


def coded(dtype, num=NUM):
    """A dictionary, signals, their codes, and the codes with their zeros, a signal a column."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real

    A = normal(M, N)
    A /= np.linalg.norm(A, axis=0)
    Y = normal(num, M)
    codes = gj.encode(OMP(K), A, Y)
    X = np.array(codes.dense(N)).T
    residual = jnp.asarray(Y - (A @ X).T)
    energy = jnp.asarray(np.sum(np.abs(Y) ** 2))
    return A, Y.T, Coded(codes.coefficients, codes.support, residual, energy), X


def stepped(update, A, codes, fresh=NONE):
    A = jnp.asarray(A)
    return jax.jit(type(update).step)(update, update.init(A), A, codes, jnp.asarray(fresh))


@BOTH
def test_mod_is_least_squares(dtype):
    A, Y, codes, X = coded(dtype)
    assert_close(stepped(MOD(), A, codes)[1], mod(Y, X))


@BOTH
def test_mod_with_decay_is_least_squares_with_weights(dtype):
    A, Y, codes, X = coded(dtype)
    first = jax.tree.map(lambda z: z[:200] if z.ndim else z, codes)
    second = jax.tree.map(lambda z: z[200:] if z.ndim else z, codes)
    update, A = MOD(decay=0.25), jnp.asarray(A)
    state, between = update.step(update.init(A), A, first, jnp.asarray(NONE))
    # The second batch was coded with A, but meets another dictionary.
    moved = second._replace(residual=jnp.asarray((Y - between @ X).T[200:]))
    got = update.step(state, between, moved, jnp.asarray(NONE))[1]
    weights = np.where(np.arange(NUM) < 200, 0.5, 1)
    assert_close(got, mod(Y * weights, X * weights))


def test_mod_leaves_an_atom_that_nobody_uses():
    A, Y, codes, X = coded(np.float64)
    used = np.asarray(codes.support != 3)
    codes = codes._replace(coefficients=codes.coefficients * used)
    X[3] = 0
    codes = codes._replace(residual=jnp.asarray((Y - A @ X).T))
    got = stepped(MOD(), A, codes)[1]
    assert_close(got[:, 3], A[:, 3])
    others = np.arange(N) != 3
    assert_close(got[:, others], mod(Y, X[others]))


@BOTH
@pytest.mark.parametrize("num", [7, NUM])
def test_ksvd_is_the_loop_over_atoms(dtype, num):
    A, Y, codes, X = coded(dtype, num)
    assert_close(stepped(KSVD(), A, codes)[1], ksvd_sweep(A, Y, X)[0])


def test_ksvd_lowers_the_error_in_each_sweep():
    A, Y, codes, X = coded(np.float64)
    errors = [relative_error(A, Y, X)]
    for _ in range(5):
        A = np.asarray(stepped(KSVD(), A, codes)[1])
        # The codes of least squares on the same supports.
        for i, support in enumerate(np.asarray(codes.support)):
            X[support, i] = np.linalg.lstsq(A[:, support], Y[:, i], rcond=None)[0]
        at = jnp.asarray(np.take_along_axis(X.T, np.asarray(codes.support), axis=1))
        codes = codes._replace(coefficients=at, residual=jnp.asarray((Y - A @ X).T))
        errors.append(relative_error(A, Y, X))
    assert np.all(np.diff(errors) < 0)


def test_the_gradient_is_that_of_the_error_with_coefficients_of_least_squares():
    """On fixed supports: by the envelope theorem it does not matter that coefficients follow."""
    A, Y, codes, _ = coded(np.float64, num=20)
    supports = np.asarray(codes.support)

    def half_error(flat):
        A = flat.reshape(M, N)
        parts = [A[:, s] for s in supports]
        fits = [P @ np.linalg.lstsq(P, y, rcond=None)[0] for P, y in zip(parts, Y.T, strict=True)]
        return np.linalg.norm(Y.T - fits) ** 2 / (2 * np.linalg.norm(Y) ** 2)

    got = A - stepped(OnlineGradient(optax.sgd(1.0)), A, codes)[1]
    expected = finite_difference(half_error, A.reshape(-1))
    # What finite differences are good to.
    assert_close(got.reshape(-1), expected, rtol=1e-6, atol=1e-9)


def test_the_gradient_of_complex_numbers_descends_along_real_and_imaginary_parts():
    A, Y, codes, X = coded(np.complex128, num=20)

    def half_error(parts):
        A = (parts[: M * N] + 1j * parts[M * N :]).reshape(M, N)
        return relative_error(A, Y, X) / 2

    got = A - np.asarray(stepped(OnlineGradient(optax.sgd(1.0)), A, codes)[1])
    parts = lambda Z: np.concatenate([Z.real.reshape(-1), Z.imag.reshape(-1)])
    expected = finite_difference(half_error, parts(A))
    assert_close(parts(got), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("update", [KSVD(), MOD(), MOD(0.5), OnlineGradient(optax.adam(0.1))])
def test_signals_of_0_leave_the_dictionary(update):
    A = coded(np.float64)[0]
    zeros = Coded(jnp.zeros((5, K)), jnp.full((5, K), -1), jnp.zeros((5, M)), jnp.zeros(()))
    assert_close(stepped(update, A, zeros)[1], A)
