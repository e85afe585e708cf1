"""Ready-made operators give the products of their matrices, under all JAX transformations."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj
import oracles
from greedyjax.operators import DCT, Convolution, HStack, MaskedFFT, Steering, Wavelet
from helpers import assert_close, jit, slow_but, tolerance
from ready_operators import (
    KEPT,
    PYLOPS,
    READY,
    cosine_matrix,
    fourier_matrix,
    grid,
    in_precision,
    made,
    matrix_of,
)

KEY = jax.random.key(0)
every_operator = pytest.mark.parametrize("name", READY)
# One of each kind of code, where products have been compared and more takes long.
FEW = ["MaskedFFT", "Wavelet", "Convolution", "HStack", "from PyLops"]
few_operators = pytest.mark.parametrize("name", slow_but(FEW, READY))


def vectors(length, seed=0, num=3):
    """Complex ones, a row each."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num, length)) + 1j * rng.standard_normal((num, length))


def is_close(found, wanted, dtype):
    """As close as the precision allows, and of the dtype that both promote to."""
    assert found.dtype == dtype
    assert_close(found, wanted, atol=20 * tolerance(dtype)[1])  # Entries of products are up to 20.


# --- Values --------------------------------------------------------------------------------------


@every_operator
def test_products_are_those_of_the_matrix(name):
    A, M = made(name), matrix_of(name)
    assert A.shape == M.shape
    assert A.dtype == M.dtype
    X, Y = vectors(M.shape[1]), vectors(M.shape[0])
    one = lambda x, y: (A.matvec(x), A.rmatvec(y))
    both = jit(lambda X, Y: (one(X[0], Y[0]), one(X[0].real, Y[0].real), jax.vmap(one)(X, Y)))
    *alone, (AX, AY) = both(X, Y)
    for (Ax, Ay), x, y in zip(alone, (X[0], X[0].real), (Y[0], Y[0].real), strict=True):
        is_close(Ax, M @ x, np.result_type(M, x))
        is_close(Ay, M.conj().T @ y, np.result_type(M, y))
    assert_close(AX, X @ M.T, atol=1e-9)
    assert_close(AY, Y @ M.conj(), atol=1e-9)


# Each operation is a program then.
@pytest.mark.parametrize("name", slow_but(["MaskedFFT"], READY))
def test_products_of_arrays_of_numpy_need_not_be_compiled(name):
    A, M = made(name), matrix_of(name)
    X, Y = vectors(M.shape[1]), vectors(M.shape[0])
    for x, y in ((X[0], Y[0]), (X[0].real, Y[0].real)):
        is_close(A.matvec(x), M @ x, np.result_type(M, x))
        is_close(A.rmatvec(y), M.conj().T @ y, np.result_type(M, y))


@few_operators
def test_products_in_a_loop_are_those_of_the_matrix(name):
    """XLA reuses memory there, and JAX 0.10 may write over what is still to be read."""
    A, M = made(name), matrix_of(name)
    X, Y = vectors(M.shape[1]), vectors(M.shape[0])
    loop = jax.jit(lambda A, X, Y: (jax.lax.map(A.matvec, X), jax.lax.map(A.rmatvec, Y)))
    operator = gj.operators.as_operator(A)
    for x, y in ((X, Y), (X.real, Y.real)):
        Ax, Ay = loop(operator, x, y)
        assert_close(Ax, x @ M.T, atol=1e-9)
        assert_close(Ay, y @ M.conj(), atol=1e-9)


@every_operator
def test_columns_and_their_norms_are_those_of_the_matrix(name):
    A, M = made(name), matrix_of(name)
    operator = gj.operators.as_operator(A)
    assert operator.has_norms == READY[name].norms
    places = (0, M.shape[1] // 2, M.shape[1] - 1)

    @jit  # One program instead of one for each operation.
    def norms_and_columns(A):
        prepared = A if READY[name].norms else gj.dictionary(A)
        return prepared.column_norms, [A.column(jnp.asarray(j)) for j in places]

    norms, columns = norms_and_columns(operator)
    assert norms.dtype == np.float64
    assert_close(norms, np.linalg.norm(M, axis=0))
    for j, column in zip(places, columns, strict=True):
        assert_close(column, M[:, j], atol=1e-10)
    if not READY[name].norms:
        assert operator.column_norms is None


@few_operators
@pytest.mark.parametrize("dtype", slow_but([np.float32], [np.float32, np.float64]))
def test_adjoints_pass_their_test(name, dtype):
    A = made(name, dtype)
    if name != "from PyLops":
        assert np.finfo(A.dtype).dtype == dtype
    gj.operators.check_adjoint(A, KEY)


@few_operators
def test_half_precision_is_computed_in_single(name):
    A, M = made(name, np.float16), matrix_of(name)
    x = np.linspace(-1, 1, M.shape[1], dtype=np.float16)
    found = jit(A.matvec)(x)
    half = A.dtype == np.float16
    assert found.dtype == np.result_type(A.dtype, np.float16)
    # Its arrays are rounded to three digits, and so is what comes out.
    size = np.abs(M) @ np.abs(x.astype(np.float64))
    assert np.all(np.abs(np.asarray(found, np.complex128) - M @ x) <= 2e-3 * size)
    if half:
        in_single = jit(A.matvec)(x.astype(np.float32))
        assert in_single.dtype == np.float32
        assert np.all(found == in_single.astype(np.float16))


def test_signals_in_double_precision_are_solved_for_in_double_precision():
    """Though operators without arrays are in single precision unless they are told otherwise."""
    A = HStack([MaskedFFT(KEPT, 12), DCT(6)])
    assert A.dtype == np.complex64
    M = np.hstack([fourier_matrix(KEPT, (12,)), cosine_matrix((6,))])
    y = vectors(6)[0]
    stacked = np.vstack([M.real, M.imag])
    for operator in (A, gj.dictionary(A)):
        found = gj.omp(operator, y, sparsity=3)
        assert found.x.dtype == np.complex128
        assert_close(found.x, oracles.omp(M, y, 3).x)
        found = gj.omp(*gj.stack_real(operator, y), sparsity=3)
        assert found.x.dtype == np.float64
        assert_close(found.x, oracles.omp(stacked, np.append(y.real, y.imag), 3).x)


def test_frequencies_of_steering_vectors():
    A = Steering((3, 2), (5, 4), np.complex128)
    turns = grid((3, 2)) @ np.asarray(A.frequencies).T
    assert_close(jax.vmap(A.matvec)(np.eye(20)).T, np.exp(2j * np.pi * turns) / np.sqrt(6))
    assert A.frequencies.min() == -0.5
    assert A.frequencies.max() < 0.5


# --- Derivatives ---------------------------------------------------------------------------------


@few_operators
def test_derivatives_in_vectors_are_products(name):
    """In both modes, one after the other, and over a batch."""
    A, M = made(name), matrix_of(name)
    x = vectors(M.shape[1])[0].real
    cotangent = vectors(M.shape[0], 1)[0]
    if M.dtype == np.float64:
        cotangent = cotangent.real
    loss = lambda x: jnp.sum(jnp.abs(A.matvec(x)) ** 2)

    @jit
    def derivatives(x, cotangent):
        along = jax.jvp(A.matvec, (x,), (2 * x,))[1]
        (back,) = jax.vjp(A.matvec, x)[1](cotangent)
        batch = jax.vmap(jax.grad(loss))(jnp.stack([x, 3 * x]))
        return along, back, batch, jax.hessian(loss)(x)

    along, back, batch, hessian = derivatives(x, cotangent)
    assert_close(along, 2 * M @ x, atol=1e-9)
    assert_close(back, np.real(M.T @ cotangent), atol=1e-9)
    gram = 2 * np.real(M.conj().T @ M)
    assert_close(batch, [gram @ x, 3 * gram @ x], atol=1e-8)
    assert_close(hessian, gram, atol=1e-8)


@pytest.mark.parametrize(
    "name", slow_but(FEW, [name for name, each in READY.items() if each.arrays])
)
def test_derivatives_in_arrays_are_finite_differences(name):
    ready = READY[name]
    M = matrix_of(name)
    x, y = vectors(M.shape[1])[0], vectors(M.shape[0], 1)[0]

    def loss(arrays):
        A = ready.make(np.float64, *arrays)
        norms = A.column_norms if ready.norms else jnp.zeros(1)
        products = jnp.real(jnp.vdot(y, A.matvec(x))) + jnp.sum(jnp.abs(A.rmatvec(y)) ** 2)
        return products + jnp.sum(norms**3)

    def oracle(arrays):
        M = ready.matrix(*arrays)
        norms = np.linalg.norm(M, axis=0) if ready.norms else np.zeros(1)
        products = np.real(np.vdot(y, M @ x)) + np.sum(np.abs(M.conj().T @ y) ** 2)
        return products + np.sum(norms**3)

    value, gradients = jit(jax.value_and_grad(loss))(in_precision(ready.arrays, np.float64))
    assert_close(value, oracle(ready.arrays), np.float64)
    h = 1e-6
    for i, (array, gradient) in enumerate(zip(ready.arrays, gradients, strict=True)):
        direction = vectors(array.size, 2 + i)[0].reshape(array.shape)
        direction = direction if np.iscomplexobj(array) else direction.real
        moved = [
            [*ready.arrays[:i], array + step * direction, *ready.arrays[i + 1 :]]
            for step in (h, -h)
        ]
        slope = (oracle(moved[0]) - oracle(moved[1])) / (2 * h)
        assert_close(np.real(np.sum(gradient * direction)), slope, rtol=1e-6)


# --- As JAX sees them ----------------------------------------------------------------------------


@every_operator
def test_equal_operators_share_one_compilation(name):
    A, M = made(name), matrix_of(name)
    x = vectors(M.shape[1])[0]
    traced = []

    @jax.jit
    def multiply(A, x):
        traced.append(1)
        return A.matvec(x)

    for _ in range(2):
        assert_close(multiply(made(name), x), M @ x, atol=1e-9)
    assert len(traced) == 1
    if name != "from PyLops":  # Which holds compiled functions.
        assert_close(multiply(pickle.loads(pickle.dumps(A)), x), M @ x, atol=1e-9)
        assert len(traced) == 1
    assert jax.tree.structure(made(name)) == jax.tree.structure(A)


def test_other_settings_do_not():
    structures = [
        jax.tree.structure(each)
        for each in (
            DCT(8), DCT((8, 1)), DCT(8, np.float64), Wavelet(8, "haar", 1), Wavelet(8, "db2", 1),
            Wavelet(8, "haar", 2), Steering(4, 8), Steering(5, 8),
        )
    ]  # fmt: skip
    assert len(set(structures)) == len(structures)
    assert jax.tree.structure(DCT(8)) == jax.tree.structure(DCT((8,)))


def test_operators_may_be_mapped_over():
    """Other frequencies for each signal, and other filters."""
    kept = np.array([[0, 2, 5], [1, 2, 7]])
    x = vectors(8)[0]
    F = np.exp(-2j * np.pi * np.outer(np.arange(8), np.arange(8)) / 8) / np.sqrt(8)
    found = jax.vmap(lambda kept: MaskedFFT(kept, 8).matvec(x))(kept)
    assert_close(found, [F[rows] @ x for rows in kept])

    filters = np.random.default_rng(0).standard_normal((2, 1, 3))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(Convolution(h, 8) for h in filters))
    found = jax.vmap(lambda A: A.matvec(x))(stacked)
    assert_close(found, [Convolution(h, 8).matvec(x) for h in filters])


@pytest.mark.filterwarnings("error")
def test_a_real_operator_of_pylops_keeps_imaginary_parts():
    """Which its own products drop, with a warning."""
    M = matrix_of("from PyLops")
    x = vectors(12)[0]
    A = gj.operators.from_pylops(PYLOPS)
    assert_close(A.matvec(x), M @ x)
    assert_close(A.matvec(x.astype(np.complex64)), M @ x, np.float32)


# --- In solvers ----------------------------------------------------------------------------------


# Each compiles three solvers.
@pytest.mark.parametrize("name", slow_but(["MaskedFFT", "HStack"], READY))
def test_solvers_find_what_they_find_with_the_matrix(name):
    M = matrix_of(name)
    A = made(name) if READY[name].norms else gj.dictionary(made(name))
    y = vectors(M.shape[0])[0]
    y = y if M.dtype == np.complex128 else y.real
    w = np.linspace(0.5, 1.5, M.shape[1])

    assert_close(gj.omp(A, y, sparsity=3, weights=w).x, oracles.omp(M, y, 3, w).x, atol=1e-9)
    steps = {"sparsity": 3, "num_steps": 4, "step_size": 0.05}
    assert_close(gj.iht(A, y, weights=w, **steps).x, oracles.iht(M, y, 3, 4, 0.05, w).x, atol=1e-9)

    def loss(A, w):
        return jnp.sum(jnp.abs(gj.soft_omp(A, y, sparsity=2, tau=0.1, weights=w).x) ** 2)

    value, slope = jax.value_and_grad(loss, 1)(A, w)
    soft = lambda w: np.sum(np.abs(oracles.soft_omp(M, y, 2, 0.1, w).x) ** 2)
    assert_close(value, soft(w), rtol=1e-8)
    along = np.cos(np.arange(len(w)))
    wanted = (soft(w + 1e-6 * along) - soft(w - 1e-6 * along)) / 2e-6
    assert_close(slope @ along, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_networks_and_batches_take_them():
    A = made("HStack")
    M = matrix_of("HStack")
    Y = vectors(M.shape[0]).real
    found = gj.omp_batch(A, Y, sparsity=3)
    assert_close(found.x, np.stack([oracles.omp(M, y, 3).x for y in Y]), atol=1e-9)
    net = gj.nets.IHTNet(A, sparsity=3, num_layers=2, tau=0.1)
    assert net(Y).shape == (3, M.shape[1])
    assert_close(net(Y), gj.nets.IHTNet(M, sparsity=3, num_layers=2, tau=0.1)(Y), atol=1e-9)
