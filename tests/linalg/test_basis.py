"""The growing orthonormal basis, against NumPy's least squares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from greedyjax.linalg.basis import empty_basis, extend
from greedyjax.linalg.operators import join, split
from helpers import EACH_DTYPE, assert_close
from oracles import finite_difference


def normal(*shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


@jax.jit
def grow(atoms, active):
    """The basis of the rows of `atoms`, added one by one, its transform, and the rows as added."""

    def step(basis, inputs):
        slot, atom, active = inputs
        return extend(basis, split(atom).ravel(), slot, active)

    k, m = atoms.shape
    parts = len(split(atoms))
    empty = empty_basis(k, m, parts, split(atoms).dtype)
    basis, rows = jax.lax.scan(step, empty, (jnp.arange(k), atoms, active))

    def vectors(held):
        """Complex or real vectors, whose multiples by i are held as well."""
        z, *iz = (join(jnp.stack(jnp.split(held[:, i], parts, axis=1))) for i in range(parts))
        return jnp.where(jnp.all(jnp.array([jnp.all(1j * z == w) for w in iz])), z, jnp.nan)

    return tuple(vectors(held) for held in (*basis, rows))


def coefficients(atoms, y, active):
    """Those of y over the atoms, as the solvers take them from a basis."""
    Q, T, _ = grow(atoms, active)
    return (Q.conj() @ y) @ T


ALL = np.ones(5, bool)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_rows_are_orthonormal_combinations_of_the_atoms(dtype):
    atoms = normal(5, 8, dtype=dtype)
    Q, T, rows = (np.asarray(field) for field in grow(atoms, ALL))
    assert Q.dtype == T.dtype == dtype
    assert_close(Q @ Q.conj().T, np.eye(5, dtype=dtype))
    assert_close(T @ atoms, Q)
    assert_close(T, np.tril(T), rtol=0, atol=0)  # Row i uses the first i atoms only.
    assert_close(rows, Q, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_projections_give_least_squares(dtype):
    atoms, y = normal(5, 8, dtype=dtype), normal(8, dtype=dtype, seed=1)
    expected = np.linalg.lstsq(atoms.T, y, rcond=None)[0]
    assert_close(coefficients(atoms, y, ALL), expected)


def test_nearly_dependent_atoms_give_an_orthonormal_basis():
    """One pass of Gram-Schmidt would leave rows 1e-6 away from orthogonal."""
    atoms = normal(1, 8) + 1e-10 * normal(5, 8, seed=1)
    Q = np.asarray(grow(atoms, ALL)[0])
    assert_close(Q @ Q.T, np.eye(5), rtol=0, atol=1e-13)


def dependent_atoms(dtype):
    """A multiple of the first, zero, and a combination of the two that are independent."""
    atoms = normal(5, 8, dtype=dtype)
    atoms[1] = -2.5 * atoms[0]
    atoms[2] = 0
    atoms[4] = atoms[0] + 0.3 * atoms[3]
    return atoms


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_a_dependent_atom_adds_a_row_of_zeros(dtype):
    atoms, y = dependent_atoms(dtype), normal(8, dtype=dtype, seed=1)
    for field in grow(atoms, ALL):
        assert np.all(np.asarray(field)[[1, 2, 4]] == 0)
    z = np.zeros(5, dtype)
    z[[0, 3]] = np.linalg.lstsq(atoms[[0, 3]].T, y, rcond=None)[0]
    assert_close(coefficients(atoms, y, ALL), z)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_an_atom_that_has_cancelled_adds_a_row_of_zeros(dtype):
    """What a mean of unit columns leaves where they cancel is rounding, however well it divides."""
    atoms = normal(5, 8, dtype=dtype)
    atoms[[1, 3]] *= np.finfo(dtype).eps ** 2
    for field in grow(atoms, ALL):
        assert np.all(np.asarray(field)[[1, 3]] == 0)
        assert np.all(np.asarray(field)[[0, 2, 4]].any(axis=1))


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_what_uncertain_rows_leave_of_an_atom_is_no_direction(dtype):
    """The second atom tells d to a relative eps^0.6, so that is what is left of a + d."""
    a, d, b = normal(3, 8, dtype=dtype)
    atoms = np.stack([a, a + np.finfo(dtype).eps ** 0.4 * d, 0.3 * a + d, b])
    atoms = (atoms / np.linalg.norm(atoms, axis=1, keepdims=True)).astype(dtype)
    for field in grow(atoms, ALL[:4]):
        assert np.all(np.asarray(field)[2] == 0)
        assert np.all(np.asarray(field)[[0, 1, 3]].any(axis=1))


def test_an_inactive_atom_adds_a_row_of_zeros():
    atoms, y = normal(5, 8), normal(8, seed=1)
    active = np.array([True, False, True, False, True])
    Q, _, _ = grow(atoms, active)
    assert np.all(np.asarray(Q)[~active] == 0)
    z = np.zeros(5)
    z[active] = np.linalg.lstsq(atoms[active].T, y, rcond=None)[0]
    assert_close(coefficients(atoms, y, active), z)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_gradients(dtype):
    y, cotangent = normal(8, dtype=dtype, seed=1), normal(5, dtype=dtype, seed=2)

    def loss(atoms, y):
        return jnp.real(jnp.vdot(cotangent, coefficients(atoms, y, ALL)))

    gradients = jax.jit(jax.grad(loss, (0, 1)))

    def oracle(atoms, y, cotangent):
        return np.real(np.vdot(cotangent, np.linalg.lstsq(atoms.T, y, rcond=None)[0]))

    atoms = normal(5, 8, dtype=dtype)
    by_atoms, by_y = gradients(atoms, y)
    expected = finite_difference(lambda atoms: oracle(atoms, y, cotangent), atoms)
    # Central differences of step 1e-6 are good to about 1e-8 here.
    assert_close(by_atoms, expected, rtol=1e-6, atol=1e-7)
    expected = finite_difference(lambda y: oracle(atoms, y, cotangent), y)
    assert_close(by_y, expected, rtol=1e-6, atol=1e-7)

    # Dependent atoms get gradient 0, and leave the others what they have without them.
    atoms = dependent_atoms(dtype)
    by_atoms, by_y = gradients(atoms, y)
    expected = np.zeros_like(atoms)
    expected[[0, 3]] = finite_difference(lambda a: oracle(a, y, cotangent[[0, 3]]), atoms[[0, 3]])
    assert_close(by_atoms, expected, rtol=1e-6, atol=1e-7)
    expected = finite_difference(lambda y: oracle(atoms[[0, 3]], y, cotangent[[0, 3]]), y)
    assert_close(by_y, expected, rtol=1e-6, atol=1e-7)
