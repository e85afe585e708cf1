"""Newtonised OMP against NumPy: its values, dtypes, batches and degenerate input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import greedyjax as gj
import off_grid_oracles as oracles
from greedyjax.off_grid import newtonised_omp, newtonised_omp_batch
from greedyjax.off_grid._refinement import peak, refined
from greedyjax.operators import Steering
from greedyjax.structures import SharedSupport
from helpers import assert_close, slow_but

M, N, L, K = 12, 48, 3, 3
GRID = np.arange(N) / N
CENTRES = np.linspace(0, M - 1, 4 * M)
SHARED = SharedSupport()


def wave(f):
    phases = 2 * np.pi * jnp.arange(M) * f
    return jnp.cos(phases) + 1j * jnp.sin(phases)


def pulse(c):
    return jnp.exp(-0.5 * ((jnp.arange(M) - c) / 1.5) ** 2)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gains:
    """Antennas whose gains are to be learned."""

    gains: jax.Array

    def atom(self, f):
        return self.gains * wave(f)


#: The atom of the library and of the oracle, the grid, and parameters off it.
FAMILIES = {
    "waves": (wave, oracles.steering, GRID, np.array([0.113, 0.391, 0.774])),
    "pulses": (pulse, oracles.pulse, CENTRES, np.array([1.37, 5.21, 9.68])),
}
every_family = pytest.mark.parametrize("name", FAMILIES)


def draw(name, seed=0, snapshots=L, noise=0.1):
    """Measurements ``(M, L)`` of three paths."""
    _, family, _, thetas = FAMILIES[name]
    rng = np.random.default_rng(seed)

    def normal(*shape):
        real, imaginary = rng.standard_normal((2, *shape))
        return real + 1j * imaginary if name == "waves" else real

    B = np.stack([family(M, theta)[0] for theta in thetas + rng.uniform(-0.01, 0.01, 3)], axis=1)
    C = np.array([3.0, 2.0, 2.5])[:, None] * np.sign(normal(3, snapshots).real)
    return B @ (C * (1 + 0.1 * normal(3, snapshots))) + noise * normal(M, snapshots)


def solve(name, Y, **options):
    atom, _, grid, _ = FAMILIES[name]
    return newtonised_omp(atom, grid, Y, structure=SHARED, **{"sparsity": K, **options})


# --- One path ------------------------------------------------------------------------------------


@every_family
def test_derivatives_of_the_energy_are_those_in_closed_form(name):
    atom, family, *_ = FAMILIES[name]
    R = draw(name)
    at = jax.jit(lambda theta: peak(lambda z: atom(z[0]), theta[None], jnp.asarray(R.T)))
    for theta in np.linspace(0.1, 2.0, 5):
        found = at(theta)
        F, dF, ddF = oracles.energy(family, M, theta, R)
        assert_close(found.energy, F)
        assert_close(found.gradient, np.array([dF]))
        assert_close(found.hessian, np.array([[ddF]]))


def test_derivatives_of_the_energy_in_two_parameters_are_finite_differences():
    A, R = Steering((3, 4), (6, 8), jnp.complex128), draw("waves")
    step, theta = 1e-5, np.array([0.21, 0.34])
    at = jax.jit(lambda theta: peak(A.atom, theta, jnp.asarray(R.T)))
    found, eye = at(theta), np.eye(2)
    for i in range(2):
        ahead, behind = at(theta + step * eye[i]), at(theta - step * eye[i])
        slope = (ahead.energy - behind.energy) / (2 * step)
        # Central differences are right to the square of the step, times third derivatives.
        assert_close(found.gradient[i], slope, rtol=1e-6)
        bend = (ahead.gradient - behind.gradient) / (2 * step)
        assert_close(found.hessian[i], bend, rtol=1e-6, atol=1e-5)


def test_refinement_climbs_to_the_peak_and_nowhere_from_a_valley():
    R = 2 * wave(0.23)[None]
    of = lambda theta, steps: refined(lambda z: wave(z[0]), jnp.array([theta]), R, steps)[0]
    assert_close(of(0.235, 5), 0.23)
    valley = 0.23 + 1 / M  # Where the energy is 0: it is convex there.
    assert of(valley, 5) == valley


# --- Many paths ----------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("seed", range(3))
def test_paths_are_those_that_numpy_finds(name, seed):
    _, family, grid, _ = FAMILIES[name]
    Y = draw(name, seed)
    thetas, C, fitted = oracles.newtonised_omp(family, grid, Y, K)
    found = solve(name, Y)
    assert found.count == K
    # Newton's method halves no rounding error: it is as exact as the gradient.
    assert_close(found.parameters, thetas, rtol=1e-8)
    assert_close(found.coefficients, C, rtol=1e-7)
    assert_close(found.fitted, fitted, rtol=1e-7)
    assert_close(found.residual_norm, np.linalg.norm(Y - fitted), rtol=1e-7)


@pytest.mark.parametrize(("num_newton", "num_cycles"), slow_but([(2, 1)], [(1, 0), (2, 1)]))
def test_steps_and_cycles_are_those_asked_for(num_newton, num_cycles):
    Y = draw("waves")
    options = {"num_newton": num_newton, "num_cycles": num_cycles}
    thetas, _, fitted = oracles.newtonised_omp(oracles.steering, GRID, Y, K, **options)
    found = solve("waves", Y, **options)
    assert_close(found.parameters, thetas, rtol=1e-8)
    assert_close(found.fitted, fitted, rtol=1e-7)


def test_without_refinement_it_is_omp_on_the_grid():
    Y = draw("waves")
    found = solve("waves", Y, num_newton=0)
    A = jax.vmap(wave, out_axes=1)(GRID)
    on_grid = gj.omp(A, Y, sparsity=K, structure=SHARED)
    assert_close(found.parameters, GRID[on_grid.support])
    assert_close(found.fitted, A @ on_grid.x)
    assert_close(found.coefficients, on_grid.x[on_grid.support])


def test_paths_without_noise_are_found_exactly_and_no_more():
    Y = draw("pulses", snapshots=1, noise=0.0)[:, 0]
    found = newtonised_omp(pulse, CENTRES, Y, sparsity=6, num_cycles=60)
    assert found.residual_norm < 1e-10 * np.linalg.norm(Y)
    assert found.count == 3
    assert not np.any(found.coefficients[3:])
    assert not np.any(found.parameters[3:])


def test_a_plane_of_antennas_has_two_frequencies_for_each_path():
    A = Steering((5, 6), (20, 24), jnp.complex128)
    true = jnp.array([[0.231, -0.117], [-0.313, 0.402]])
    y = jnp.array([3.0, 2.0j]) @ jax.vmap(A.atom)(true)
    found = newtonised_omp(A.atom, A.frequencies, y, sparsity=2, num_cycles=20)
    assert_close(found.parameters, true)
    assert_close(found.coefficients, np.array([3.0, 2.0j]))


# --- Batches, dtypes, transformations ------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("false_alarm", slow_but([0.01], [None, 0.01]))
def test_batches_jit_and_vmap_agree(false_alarm):
    frames = jnp.stack([draw("waves", seed, noise=0.1 * (1 + seed)) for seed in range(5)])
    options = {"sparsity": 5, "structure": SHARED, "false_alarm": false_alarm}
    one = lambda Y, v: newtonised_omp(wave, GRID, Y, noise_variance=v, **options)
    levels = None if false_alarm is None else 0.02 * (1 + np.arange(5.0)) ** 2
    all_at_once = newtonised_omp_batch(
        wave, GRID, frames, noise_variance=levels, batch_size=2, **options
    )
    ways = {
        "vmap": jax.vmap(one, (0, None if levels is None else 0))(frames, levels),
        "loop": jax.tree.map(
            lambda *leaves: jnp.stack(leaves),
            *(one(Y, None if levels is None else levels[i]) for i, Y in enumerate(frames)),
        ),
    }
    for found in ways.values():
        for leaf, expected in zip(found, all_at_once, strict=True):
            assert_close(leaf, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.slow  # Two programs for each, one of them on two devices.
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_frames_on_two_devices_give_the_same(kind):
    frames = jnp.stack([draw("waves", seed) for seed in range(4)])
    mesh = jax.make_mesh((2,), ("signals",), axis_types=(kind,))
    there = jax.device_put(frames, NamedSharding(mesh, PartitionSpec("signals")))
    options = {"sparsity": 4, "structure": SHARED, "false_alarm": 0.01, "noise_variance": 0.02}
    expected = newtonised_omp_batch(wave, GRID, frames, **options)
    found = newtonised_omp_batch(wave, GRID, there, **options)
    for leaf, wanted in zip(found, expected, strict=True):
        assert_close(leaf, wanted, rtol=1e-8, atol=1e-9)
    assert found.count.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec("signals")), 1)


@pytest.mark.parametrize("dtype", slow_but([np.float16], [np.complex64, np.float16, np.float32]))
def test_answers_have_the_promoted_dtype(dtype):
    name = "waves" if np.issubdtype(dtype, np.complexfloating) else "pulses"
    real = np.finfo(dtype).dtype
    atom, family, grid, _ = FAMILIES[name]
    one = lambda theta: atom(theta).astype(dtype)
    Y = draw(name).astype(dtype)
    found = newtonised_omp(one, grid.astype(real), Y, sparsity=K, structure=SHARED)
    for leaf, wanted in zip(found, (real, dtype, np.int32, dtype, real), strict=True):
        assert leaf.dtype == wanted
    thetas, *_ = oracles.newtonised_omp(family, grid, draw(name), K)
    # Parameters of noisy signals, as rounding them to the dtype moves them.
    rtol = 3e-2 if dtype == np.float16 else 1e-4
    assert_close(found.parameters, thetas, np.float32, rtol=rtol)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_units_of_signals_and_of_atoms_do_not_matter(scale):
    Y, ones = draw("waves"), jnp.ones(M)
    solve = lambda gains, Y: newtonised_omp(
        Gains(gains).atom, GRID, Y, sparsity=K, structure=SHARED, false_alarm=0.1
    )
    found, small = solve(ones, Y), solve(scale * ones, Y)
    assert_close(small.parameters, found.parameters)
    assert_close(scale * small.coefficients, found.coefficients)
    other = solve(ones, scale * Y)
    assert_close(other.parameters, found.parameters)
    assert_close(other.coefficients / scale, found.coefficients)
    assert other.count == small.count == found.count == K


@pytest.mark.slow
def test_coefficients_are_differentiated_on_the_parameters_found():
    Y = jnp.asarray(draw("waves"))
    found = solve("waves", Y)
    B = jax.vmap(wave, out_axes=1)(found.parameters)
    direction = jnp.asarray(draw("waves", seed=9))
    of = lambda Y: solve("waves", Y)[:-1]
    _, moved = jax.jvp(lambda Y: (of(Y)[1], of(Y)[3], of(Y)[0]), (Y,), (direction,))
    fit = np.linalg.pinv(B) @ direction
    assert_close(moved[0], fit)
    assert_close(moved[1], B @ fit)
    assert not np.any(moved[2])
    loss = lambda Y: jnp.sum(jnp.abs(solve("waves", Y).fitted) ** 2)
    # Of ||P y||^2 with an orthogonal projection P; JAX conjugates.
    assert_close(jax.grad(loss)(Y), 2 * np.conj(B @ (np.linalg.pinv(B) @ Y)))


@pytest.mark.slow
def test_arrays_of_an_atom_are_traced_and_differentiated():
    Y = jnp.asarray(draw("waves"))

    def loss(gains):
        return newtonised_omp(
            Gains(gains).atom, GRID, Y, sparsity=K, structure=SHARED
        ).residual_norm

    gains = jnp.linspace(0.9, 1.1, M)
    slope, step = jax.grad(loss)(gains), 1e-6
    thetas = newtonised_omp(Gains(gains).atom, GRID, Y, sparsity=K, structure=SHARED).parameters

    def residual(gains):
        B = gains[:, None] * jax.vmap(wave, out_axes=1)(thetas)
        return np.linalg.norm(Y - B @ (np.linalg.pinv(B) @ Y))

    for i in (0, 5):
        e = step * np.eye(M)[i]
        difference = (residual(gains + e) - residual(gains - e)) / (2 * step)
        # Central differences are right to rounding over the step.
        assert_close(slope[i], difference, rtol=1e-5, atol=1e-7)


# --- Degenerate input ----------------------------------------------------------------------------


def _constant(f):
    return wave(0.2 + 0 * f)


ONES, ZEROS = Gains(jnp.ones(M)).atom, Gains(jnp.zeros(M)).atom


@pytest.mark.slow
@pytest.mark.parametrize(
    ("atom", "false_alarm"),
    slow_but(
        [(_constant, 0.1), (ZEROS, 0.1)],
        [(ONES, 0.1), (ZEROS, 0.1), (_constant, 0.1), (_constant, None)],
    ),
)
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_degenerate_input_gives_finite_values_and_derivatives(atom, scale, false_alarm):
    Y = scale * jnp.asarray(draw("waves"))
    options = {"sparsity": 4, "structure": SHARED, "false_alarm": false_alarm}

    def size(Y):
        found = newtonised_omp(atom, GRID, Y, **options)
        return jnp.sum(jnp.abs(found.coefficients) ** 2), found

    gradient, found = jax.grad(size, has_aux=True)(Y)
    assert all(np.isfinite(leaf).all() for leaf in found)
    assert np.isfinite(gradient).all()
    if scale == 0 or atom is ZEROS:
        assert found.count == 0
        assert_close(found.residual_norm, jnp.linalg.norm(Y))
    if scale == 1 and atom is _constant and false_alarm is None:
        assert found.count == 1  # The second path would be the first again.


def test_equal_scores_go_to_the_first_point_of_the_grid():
    grid = np.array([0.3, 0.1, 0.3, 0.1])
    y = wave(0.1) + wave(0.3)
    assert newtonised_omp(wave, grid, y, sparsity=1, num_newton=0).parameters[0] == 0.3
