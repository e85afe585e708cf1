"""Answers with non-negative entries, against SciPy's non-negative least squares."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import greedyjax as gj
import nonnegative_oracles as oracles
from greedyjax import nets, training
from greedyjax.pursuit import HTP, OMP, CoSaMP, GramMatrix, OrderRecursive
from greedyjax.pursuit._blocks import _plan_for
from greedyjax.pursuit._problem import EXACT
from greedyjax.structures import Blocks, NonNegative, Plain, SharedSupport
from greedyjax.training import losses
from helpers import assert_close, jit, slow_but
from oracles import finite_difference

M, N, K, STEPS, ETA = 16, 30, 4, 5, 0.3
POSITIVE = NonNegative()
IHT = {"num_steps": STEPS, "step_size": ETA}
SOLVERS = {
    "omp": {},
    "iht": IHT,
    "niht": {"num_steps": STEPS},
    "htp": IHT,
    "cosamp": {"num_steps": STEPS},
    "subspace_pursuit": {"num_steps": STEPS},
}
# One of each kind of code, where all of them would take too long.
some_solvers = pytest.mark.parametrize("name", slow_but(["omp", "iht", "htp"], SOLVERS))


def problem(seed=0, num=None, m=M, n=N, noise=0.3):
    """Atoms of any norms with a common part, and some coefficients that should be negative."""
    rng = np.random.default_rng(seed)
    A = (rng.standard_normal((m, n)) + 0.6 * rng.standard_normal((m, 1))) / m**0.5
    A *= np.linspace(0.7, 1.4, n)
    X = np.zeros((num or 1, n))
    for x in X:
        x[rng.choice(n, K + 2, replace=False)] = rng.uniform(0.5, 2, K + 2) * rng.choice(
            [1, 1, -1], K + 2
        )
    Y = X @ A.T
    Y += noise * rng.standard_normal(Y.shape) * np.linalg.norm(Y, axis=1, keepdims=True) / m**0.5
    return A, (Y if num else Y[0]), rng.uniform(0.5, 1.5, n)


def solve(name, A, y, soft=None, structure=POSITIVE, **more):
    settings = {"sparsity": K, "structure": structure} | SOLVERS[name] | more
    if soft is not None:
        return getattr(gj, f"soft_{name}")(A, y, tau=soft, **settings)
    return getattr(gj, name)(A, y, **settings)


# --- Hard ----------------------------------------------------------------------------------------


def _by_gram(A, Y, **settings):
    assert _plan_for(OMP(settings["sparsity"]), jnp.asarray(A), Y, EXACT).by_gram
    return gj.omp_batch(A, Y, **settings)


def _by_residuals(A, Y, **settings):
    return jax.vmap(lambda y: gj.omp(A, y, **settings))(Y)


@pytest.mark.parametrize(
    ("form", "m", "n", "k"), [(_by_gram, 20, 50, 8), (_by_residuals, 20, 30, 10)]
)
@pytest.mark.parametrize("hundreds", slow_but([1], [1, 5]))
def test_omp_is_greedy_non_negative_least_squares(form, m, n, k, hundreds):
    """The same atoms in the same order, the same coefficients."""
    zeros = 0
    for seed in range(hundreds):
        A, Y, _ = problem(seed, num=100, m=m, n=n, noise=1.0)
        found = form(A, Y, sparsity=k, structure=POSITIVE)
        for i, y in enumerate(Y):
            expected = oracles.omp(A, y, k)
            atoms = [atom for atom in found.support[i].tolist() if atom >= 0]
            assert atoms == expected.support.tolist()
            zeros += int(np.sum(expected.x[expected.support] == 0))
            assert_close(found.x[i], expected.x)
            assert_close(found.residual_norm[i], expected.residual_norm)
    assert zeros > 10, "no atom ever ends at 0"


@pytest.mark.parametrize("name", slow_but(["omp", "iht", "subspace_pursuit"], SOLVERS))
def test_hard_solvers_are_those_of_the_definition(name):
    differ = 0
    for seed in range(4):
        A, y, _ = problem(seed)
        expected = getattr(oracles, name)(A, y, K, **SOLVERS[name])
        found = solve(name, A, y)
        assert_close(found.x, expected.x)
        assert_close(found.residual_norm, expected.residual_norm)
        assert np.all(found.x >= 0)
        outside = np.setdiff1d(np.arange(N), found.support)
        assert np.all(found.x[outside] == 0)
        differ += bool(np.any(found.x != solve(name, A, y, structure=Plain()).x))
    assert differ > 0, "no sign matters"


@pytest.mark.parametrize("name", ["omp", "iht", "subspace_pursuit"])
def test_weights_multiply_positive_correlations(name):
    A, y, w = problem(7)
    expected = getattr(oracles, name)(A, y, K, weights=w, **SOLVERS[name])
    assert_close(solve(name, A, y, weights=w).x, expected.x)


def test_omp_stops_where_no_atom_correlates_positively():
    y = np.array([1.0, -3.0, 2.0])
    found = gj.omp(np.eye(3), y, sparsity=3, structure=POSITIVE)
    assert found.support.tolist() == [2, 0, -1]
    assert found.num_steps == 2
    assert found.x.tolist() == [1, 0, 2]
    nothing = gj.omp(np.eye(3), -np.abs(y), sparsity=3, structure=POSITIVE)
    assert nothing.support.tolist() == [-1, -1, -1]
    assert np.all(nothing.x == 0)
    assert_close(nothing.residual_norm, np.linalg.norm(y))


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("omp", {"rtol": 0.4}),
        ("iht", {}),
        pytest.param("omp", {}, marks=pytest.mark.slow),
        pytest.param("niht", {}, marks=pytest.mark.slow),
        pytest.param("htp", {}, marks=pytest.mark.slow),
        pytest.param("cosamp", {}, marks=pytest.mark.slow),
        pytest.param("subspace_pursuit", {}, marks=pytest.mark.slow),
    ],
)
def test_batches_equal_signals_alone(name, more):
    A, Y, _ = problem(num=6)
    settings = {"sparsity": 2 * K, "structure": POSITIVE} | SOLVERS[name] | more
    found = getattr(gj, f"{name}_batch")(A, Y, **settings)
    for i, y in enumerate(Y):
        alone = solve(name, A, y, sparsity=2 * K, **more)
        assert_close(found.x[i], np.asarray(alone.x), rtol=1e-8)
        assert found.support[i].tolist() == alone.support.tolist()


def test_what_is_negative_in_a_start_counts_as_0():
    A, y, _ = problem()
    start = np.random.default_rng(1).standard_normal(N)
    for x0 in (start, np.maximum(start, 0)):
        found = gj.iht(A, y, x0=x0, sparsity=K, structure=POSITIVE, **IHT).x
        assert_close(found, np.asarray(_iht_from(np.maximum(start, 0), A, y)))


def _iht_from(x, A, y):
    for _ in range(STEPS):
        u = np.maximum(x + ETA * A.T @ (y - A @ x), 0)
        x = np.where(np.isin(np.arange(N), np.argsort(-u, kind="stable")[:K]), u, 0)
    return x


def test_a_last_fit_of_iht_is_not_negative():
    A, y, _ = problem(2)
    settings = {"sparsity": 2 * K, "num_steps": 2, "step_size": ETA, "structure": POSITIVE}
    found = gj.iht(A, y, debias=True, **settings)
    kept = np.flatnonzero(gj.iht(A, y, **settings).x)
    expected = np.zeros(N)
    expected[kept] = oracles.nnls(A[:, kept], y)
    assert_close(found.x, expected)


@pytest.mark.parametrize("form", ["omp", "omp_batch"])
def test_a_penalty_counts_in_the_fit(form):
    """Non-negative least squares of the longer vectors that the penalty makes of the atoms."""
    A, y, w = problem(3)
    settings = {"sparsity": K, "penalty": w, "structure": POSITIVE}
    if form == "omp":
        found = gj.omp(A, y, **settings)
    else:  # By the Gram matrix.
        found = jax.tree.map(lambda z: z[0], gj.omp_batch(gj.dictionary(A), y[None], **settings))
    atoms = found.support
    B = np.vstack([A[:, atoms], np.diag(np.sqrt(w[atoms]))])
    assert_close(found.x[atoms], oracles.nnls(B, np.append(y, np.zeros(K))))


# --- With other structures -----------------------------------------------------------------------


def test_blocks_are_scored_by_their_positive_correlations():
    A, y, _ = problem(4)
    ids = np.arange(N) // 3
    found = gj.omp(A, y, sparsity=2, structure=NonNegative(Blocks(ids)))
    norms, x, chosen = np.linalg.norm(A, axis=0), np.zeros(N), []
    for _ in range(2):
        energies = np.bincount(ids, np.maximum(A.T @ (y - A @ x) / norms, 0) ** 2)
        energies[chosen] = -1
        chosen.append(int(np.argmax(energies)))
        atoms = np.flatnonzero(np.isin(ids, chosen))
        x[atoms] = oracles.nnls(A[:, atoms], y)
    assert_close(found.x, x)


@pytest.mark.parametrize("name", ["omp", "htp"])
def test_snapshots_share_atoms_and_not_which_of_them_are_0(name):
    A, Y, _ = problem(5, num=3)
    found = solve(name, A, Y.T, structure=NonNegative(SharedSupport()))
    norms, X, chosen = np.linalg.norm(A, axis=0), np.zeros((N, 3)), []
    for _ in range(K if name == "omp" else STEPS):
        C = A.T @ (Y.T - A @ X)
        if name == "omp":
            scores = np.linalg.norm(np.maximum(C / norms[:, None], 0), axis=1)
            scores[chosen] = -1
            chosen.append(int(np.argmax(scores)))
        else:
            scores = np.linalg.norm(np.maximum(X + ETA * C, 0), axis=1)
            chosen = np.argsort(-scores, kind="stable")[: min(K, np.sum(scores > 0))]
        X = np.zeros((N, 3))
        X[chosen] = np.stack([oracles.nnls(A[:, chosen], y) for y in Y], axis=1)
    assert_close(found.x, X)
    assert np.any(np.any(X == 0, axis=1) & np.any(X > 0, axis=1)), "no atom ends at 0 in some"


# --- Soft ----------------------------------------------------------------------------------------


@some_solvers
def test_soft_solvers_tend_to_the_hard_ones(name):
    A, y, _ = problem(1)
    assert_close(solve(name, A, y, soft=1e-6).x, np.asarray(solve(name, A, y).x))


@some_solvers
def test_soft_answers_are_not_negative(name):
    A, y, _ = problem(1)
    for tau in (0.05, 1.0):
        x = solve(name, A, y, soft=tau).x
        assert np.all(x >= 0)
        assert np.sum(x > 0) > K


@pytest.mark.parametrize(
    "name", ["omp", "iht", pytest.param("subspace_pursuit", marks=pytest.mark.slow)]
)
def test_gradients_are_those_of_finite_differences(name):
    A, y, w = problem(1)
    target = np.sin(np.arange(N))
    loss = lambda y, w: jnp.dot(target, solve(name, A, y, soft=0.2, weights=w).x)
    compiled = jax.jit(loss)
    in_y, in_w = jax.jit(jax.grad(loss, (0, 1)))(y, w)
    assert np.any(in_w != 0)
    assert_close(in_y, finite_difference(lambda y: compiled(y, w), y), rtol=1e-5, atol=1e-7)
    assert_close(in_w, finite_difference(lambda w: compiled(y, w), w), rtol=1e-5, atol=1e-7)


def _last_by_gram(A, y, **settings):
    return gj.omp_batch(gj.dictionary(A), y[None], **settings).x[0]


def _of_one(A, y, **settings):
    return gj.omp(A, y, **settings).x


@pytest.mark.parametrize("solved", slow_but([_last_by_gram], [_of_one, _last_by_gram]))
def test_the_gradient_of_omp_is_that_of_least_squares_on_the_positive_atoms(solved):
    A, y, _ = problem(2)
    settings = {"sparsity": 2 * K, "structure": POSITIVE}
    found = gj.omp(A, y, **settings)
    positive = np.flatnonzero(found.x)
    assert len(positive) < found.num_steps
    c = np.cos(np.arange(N))
    gradient = jax.grad(lambda y: jnp.dot(c, solved(A, y, **settings)))(y)
    assert_close(gradient, np.linalg.pinv(A[:, positive]).T @ c[positive])


@pytest.mark.parametrize(
    "make",
    [
        lambda A: nets.OMPNet(A, sparsity=3, tau=0.3, structure=POSITIVE),
        pytest.param(
            lambda A: nets.IHTNet(A, sparsity=3, num_layers=4, tau=0.3, structure=POSITIVE),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_networks_learn_which_atoms_are_used(make):
    rng = np.random.default_rng(0)
    A = problem()[0].astype(np.float32)
    X = np.zeros((120, N), np.float32)
    for x in X:
        x[rng.choice(10, 3, replace=False)] = rng.uniform(0.5, 2, 3)
    Y = X @ A.T + 0.1 * rng.standard_normal((120, M)).astype(np.float32)
    net = make(A)
    hard_error = jit(losses.hard_reconstruction)
    before = hard_error(net, Y[80:], X[80:])
    fitted = training.fit(
        net,
        (Y[:80], X[:80]),
        (Y[80:], X[80:]),
        optimizer=optax.adam(3e-2),
        num_epochs=4,
        batch_size=8,
        key=jax.random.key(0),
        val_loss=losses.hard_reconstruction,
        progress=False,
    )
    assert hard_error(fitted.net, Y[80:], X[80:]) < 0.9 * before
    weights = np.asarray(fitted.net.atom_weights)
    assert weights[:10].mean() > 1.1 * weights[10:].mean()
    assert np.all(fitted.net(Y) >= 0)
    assert np.all(fitted.net.harden()(Y) >= 0)


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_dtypes_are_kept(dtype):
    A, Y, _ = problem(num=2)
    A, Y = jnp.asarray(A, dtype), jnp.asarray(Y, dtype)
    found = gj.omp_batch(A, Y, sparsity=K, structure=POSITIVE)
    assert found.x.dtype == dtype
    exact = gj.omp_batch(np.float64(A), np.float64(Y), sparsity=K, structure=POSITIVE)
    assert found.support.tolist() == exact.support.tolist()
    assert_close(np.float64(found.x), np.asarray(exact.x), rtol=10 * jnp.finfo(dtype).eps)


# --- Bad calls -----------------------------------------------------------------------------------


@some_solvers
def test_complex_numbers_are_refused(name):
    A, y, _ = problem()
    with pytest.raises(TypeError, match="A and y: expected real numbers, as the structure is NonN"):
        solve(name, A + 0j, y)
    twice = {"step_size": ETA / 2} if name in ("iht", "htp") else {}
    found = solve(name, *gj.stack_real(A + 1j * A, y + 1j * y), **twice)
    assert_close(found.x, np.asarray(solve(name, A, y).x))


@dataclasses.dataclass(frozen=True)
class OwnFit:
    """A fit that knows nothing of signs."""

    def checked(self, num_atoms: int) -> Any:
        return self

    def prepared(self, system: Any) -> Any:
        return self


@pytest.mark.parametrize(
    ("method", "error", "got"),
    [
        (OMP(2, fit=GramMatrix(), structure=POSITIVE), ValueError, "GramMatrix"),
        (OMP(2, fit=OrderRecursive(), structure=POSITIVE), ValueError, "OrderRecursive"),
        (OMP(2, fit=OwnFit(), structure=POSITIVE), TypeError, "OwnFit"),
        (HTP(2, 3, fit=GramMatrix(), structure=POSITIVE), ValueError, "GramMatrix"),
        (CoSaMP(2, 3, GramMatrix(), POSITIVE), ValueError, "GramMatrix"),
    ],
)
def test_fits_of_any_sign_are_refused(method, error, got):
    A, y, _ = problem()
    with pytest.raises(
        error, match=rf"fit: expected LeastSquares\(\), as .* NonNegative, got {got}"
    ):
        gj.recover(method, A, y)


@pytest.mark.wrong_types
def test_structures_that_do_not_go_together_are_refused():
    A, Y, _ = problem(num=3)
    message = r"structure.inner: expected .*, got NonNegative; write NonNegative\(SharedSupport\(\)"
    with pytest.raises(TypeError, match=message):
        gj.omp(A, Y.T, sparsity=K, structure=SharedSupport(POSITIVE))
    with pytest.raises(TypeError, match="structure.inner: .* that allows negative entries, got"):
        gj.omp(A, Y[0], sparsity=K, structure=NonNegative(POSITIVE))
    with pytest.raises(TypeError, match=r"structure.inner: expected a greedyjax.structures.Struct"):
        gj.omp(A, Y[0], sparsity=K, structure=NonNegative("blocks"))


def test_two_made_alike_are_one():
    assert NonNegative() == NonNegative(Plain()) != NonNegative(SharedSupport())
    A, y, _ = problem()
    compiled = jit(lambda y: gj.omp(A, y, sparsity=K, structure=NonNegative()).x)
    assert_close(compiled(y), np.asarray(gj.omp(A, y, sparsity=K, structure=NonNegative()).x))


@pytest.mark.wrong_types
def test_the_class_in_place_of_the_structure_is_named():
    with pytest.raises(TypeError, match="structure: expected"):
        gj.omp(np.eye(4), np.ones(4), sparsity=2, structure=NonNegative)
