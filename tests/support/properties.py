"""What holds of every problem, checked in bulk.

`test_invariances.py` checks a few problems of each property, `benchmarks/fuzz.py` very many. A
property compares what an algorithm gives for a batch of problems with what it gives for another
batch that has the same answers, or answers known from them.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import greedyjax as gj
from algorithms import ALGORITHMS, Algorithm, Problem, representable, x_of
from helpers import jit, tolerance
from rounding import column_norms, double, scatter


class Found(NamedTuple):
    """What a property found in a batch: one entry a problem.

    Attributes:
        counted: the answer was determined, and it was compared.
        violated: it was, and did not agree.
    """

    counted: np.ndarray
    violated: np.ndarray


class Setting(NamedTuple):
    """What is fixed while a program runs: it was compiled for this."""

    algorithm: str
    sparsity: int
    dtype: type


# --- The compiled functions ----------------------------------------------------------------------


@functools.cache
def solver(name: str, sparsity: int, optimised: bool = False):
    """The algorithm over a batch; one compilation for each dtype and shape."""
    solve = lambda A, y, w, tau: ALGORITHMS[name].solve(A, y, w, tau, sparsity)
    return (jax.jit if optimised else jit)(jax.vmap(solve))


@functools.cache
def derivatives(name: str, sparsity: int):
    """Gradients of a loss of x with respect to everything, and a forward derivative of it."""

    def loss(A, y, w, tau):
        x = x_of(ALGORITHMS[name].solve(A, y, w, tau, sparsity))
        return jnp.sum((1 + jnp.arange(len(x), dtype=x.real.dtype)) * (x.real + x.imag))

    def both(*args):
        forward = jax.jvp(loss, args, args)[1]
        return jax.grad(loss, (0, 1, 2, 3))(*args), forward

    return jit(jax.vmap(both))


def answers(setting: Setting, problems: Problem, optimised=False) -> np.ndarray:
    """x of each problem, in double precision."""
    out = solver(setting.algorithm, setting.sparsity, optimised)(*problems.astype(setting.dtype))
    return double(x_of(out))


# --- Agreement up to rounding --------------------------------------------------------------------


def in_units_of_y(problems: Problem, x) -> np.ndarray:
    """Lengths of signals: each coefficient times the norm of its column."""
    return np.linalg.norm(column_norms(problems.A) * x, axis=1)


def compare(setting: Setting, problems: Problem, x, expected, of=None) -> Found:
    """Whether answers to the same problems agree wherever the answer is determined.

    Those that differ by more than the house tolerance are shown to the oracle, see `judge`.

    Args:
        setting: what was run.
        problems: whose answers they are.
        x: answers.
        expected: other answers.
        of: problems that the expected answers were found from, if not these.
    """
    problems = Problem(*map(double, problems.astype(setting.dtype)))
    size = in_units_of_y(problems, expected) + np.linalg.norm(problems.y, axis=1)
    off = in_units_of_y(problems, x - expected) / np.where(size > 0, size, 1)
    both = [problems] if of is None else [problems, of]
    return judge(setting, both, off, tolerance(setting.dtype)[0])


def judge(setting: Setting, problems: list[Problem], off, rtol) -> Found:
    """Whether relative errors ``off`` are within ``rtol`` or, if not, explained by rounding.

    They are where it moves the oracle's own answer to one of the problems by a tenth as much. By
    more than 1 %, and that answer is not determined (see `rounding.scatter`).
    """
    oracle = lambda *args: ALGORITHMS[setting.algorithm].oracle(*args, setting.sparsity)
    agree = off <= rtol  # NaN is no agreement.
    counted, violated = np.ones(len(agree), bool), np.zeros(len(agree), bool)
    for i in np.flatnonzero(~agree):
        uncertain = max(
            scatter(oracle, Problem(*(each[i] for each in some)), setting.dtype, 0.01)
            for some in problems
        )
        counted[i] = uncertain <= 0.01
        violated[i] = counted[i] and not off[i] <= 10 * uncertain
    return Found(counted, violated)


# --- Changes of a problem that change its answer in a known way -----------------------------------


class Change(NamedTuple):
    """A batch of other problems, and their answers from those of the batch that it is made of."""

    problems: Problem
    expected: Callable[[np.ndarray], np.ndarray]


def permute_atoms(rng, algorithm: Algorithm, problems: Problem) -> Change:
    A, y, w, tau = problems
    order = np.argsort(rng.random(w.shape))
    moved = np.take_along_axis(A, order[:, None, :], axis=2)
    w = np.take_along_axis(w, order, axis=1)
    return Change(Problem(moved, y, w, tau), lambda x: np.take_along_axis(x, order, axis=1))


def change_units(rng, algorithm: Algorithm, problems: Problem) -> Change:
    """The temperature has units too: those of y for the OMP family, of x for the IHT family."""
    A, y, w, tau = problems
    a, b = 10.0 ** rng.choice([(0, -20), (0, 20), (-20, -20), (20, 20), (20, 0), (-4, 7)])
    tau = tau if algorithm.hard else tau * algorithm.tau_units(a, b)
    return Change(Problem(a * A, b * y, w, tau), lambda x: x * (b / a))


def scale_y(rng, algorithm: Algorithm, problems: Problem) -> Change:
    """By any number, where signs go over to the answer of either sign or of any phase."""
    A, y, w, tau = problems
    c = 10 ** rng.uniform(-3, 3, (len(y), 1))
    if algorithm.signed:
        c = c * rng.choice([-1.0, 1.0], (len(y), 1))
    tau = tau if algorithm.hard else tau * np.abs(c[:, 0])
    if algorithm.signed and np.iscomplexobj(y):
        c = c * np.exp(2j * np.pi * rng.random(c.shape))
    return Change(Problem(A, c * y, w, tau), lambda x: c * x)


def scale_columns(rng, algorithm: Algorithm, problems: Problem) -> Change:
    """Each coefficient changes by the inverse factor, and nothing else.

    By positive factors where the algorithm is soft: it means atoms, so that an atom and its
    neighbour cancel where they would have added, if the sign of one changes.
    """
    A, y, w, tau = problems
    d = 10 ** rng.uniform(-1, 1, w.shape)
    signed = algorithm.hard and algorithm.signed
    if signed:
        d = d * rng.choice([-1.0, 1.0], w.shape)
    if signed and np.iscomplexobj(y):
        d = d * np.exp(2j * np.pi * rng.random(d.shape))
    return Change(Problem(A * d[:, None, :], y, w, tau), lambda x: x / d)


def scale_weights(rng, algorithm: Algorithm, problems: Problem) -> Change:
    """Only magnitudes matter, and their common factor only against the temperature."""
    A, y, w, tau = problems
    c = 10 ** rng.uniform(-3, 3, (len(w), 1))
    signs = rng.choice([-1.0, 1.0], w.shape)
    tau = tau if algorithm.hard else tau * c[:, 0]
    return Change(Problem(A, y, c * signs * w, tau), lambda x: x)


def rotate(rng, algorithm: Algorithm, problems: Problem) -> Change:
    """A unitary matrix on A and y."""
    A, y, w, tau = problems
    num, m, _ = A.shape
    G = rng.standard_normal((num, m, m))
    if np.iscomplexobj(A):
        G = G + 1j * rng.standard_normal((num, m, m))
    U = np.linalg.qr(G)[0]
    return Change(Problem(U @ A, np.einsum("bij,bj->bi", U, y), w, tau), lambda x: x)


class Invariance(NamedTuple):
    """A change, and the algorithms that it holds for."""

    change: Callable[..., Change]
    holds_for: Callable[[Algorithm], bool] = lambda algorithm: True


INVARIANCES = {
    "permuting atoms permutes the answer": Invariance(permute_atoms),
    "units do not matter": Invariance(change_units),
    "scaling y scales x": Invariance(scale_y),
    "scaling columns rescales their coefficients": Invariance(scale_columns, lambda a: a.fits),
    "scaling weights changes nothing": Invariance(scale_weights),
    "a unitary on (A, y) changes nothing": Invariance(rotate),
}


def invariance(setting: Setting, rng, problems: Problem, which: str, optimised=False) -> Found:
    """One of `INVARIANCES` on a batch."""
    # The answers are those to the rounded problem, and so is its change.
    problems = Problem(*map(double, problems.astype(setting.dtype)))
    change = INVARIANCES[which].change(rng, ALGORITHMS[setting.algorithm], problems)
    base = answers(setting, problems, optimised)
    changed = answers(setting, change.problems, optimised)
    return compare(setting, change.problems, changed, change.expected(base), of=problems)


def real_as_complex(setting: Setting, rng, problems: Problem, optimised=False) -> Found:
    """A real problem solved as a complex one has the same answer, with imaginary parts of 0."""
    wide = np.result_type(setting.dtype, np.complex64)
    base = answers(setting, problems, optimised)
    found = answers(setting._replace(dtype=wide), problems, optimised)
    agreed = compare(setting, problems, found.real, base)
    return agreed._replace(violated=agreed.violated | np.any(found.imag != 0, axis=1))


def equals_oracle(setting: Setting, rng, problems: Problem, optimised=False) -> Found:
    """The plain NumPy definition."""
    oracle = ALGORITHMS[setting.algorithm].oracle
    exact = Problem(*map(double, problems.astype(setting.dtype)))
    expected = np.stack(
        [
            oracle(A, y, w, float(tau), setting.sparsity).x
            for A, y, w, tau in zip(*exact, strict=True)
        ]
    )
    return compare(setting, problems, answers(setting, problems, optimised), expected)


# --- Properties of one answer --------------------------------------------------------------------


def finite(setting: Setting, rng, problems: Problem, optimised=False) -> Found:
    """Answers and derivatives, reverse and forward, at every scale of the data.

    Derivatives are counted where they are numbers of the precision (see `representable`).
    """
    name, sparsity, dtype = setting
    A, y, w, tau = problems
    a, b = 10.0 ** rng.choice([(0, 0), (0, 0), (0, -20), (0, 20), (-20, -20), (20, 20)])
    algorithm, counted = ALGORITHMS[name], np.ones(len(y), bool)
    if not algorithm.hard:
        counted = representable(dtype, tau, a, b)
    args = Problem(a * A, b * y, w, algorithm.tau(tau, a, b)).astype(dtype)

    def good(tree):
        leaves = [
            np.isfinite(leaf).reshape(len(y), -1).all(axis=1) for leaf in jax.tree.leaves(tree)
        ]
        return np.all(leaves, axis=0)

    values = good(solver(name, sparsity, optimised)(*args))
    return Found(counted, ~values | (counted & ~good(derivatives(name, sparsity)(*args))))


def honest(setting: Setting, rng, problems: Problem, optimised=False) -> Found:
    """residual_norm is ||y - A x||, and what is not in the support of a hard answer is 0."""
    args = problems.astype(setting.dtype)
    found = solver(setting.algorithm, setting.sparsity, optimised)(*args)
    args = Problem(*map(double, args))
    x = double(found.x)
    residual = args.y - np.einsum("bmn,bn->bm", args.A, x)
    off = np.abs(np.linalg.norm(residual, axis=1) - double(found.residual_norm))
    # Where atoms are close to dependent, x is large, and rounding of x is that of A x.
    size = np.linalg.norm(args.y, axis=1) + in_units_of_y(args, x)
    off = off / np.where(size > 0, size, 1)
    counted, wrong = judge(setting, [args], off, 10 * tolerance(setting.dtype)[0])
    if ALGORITHMS[setting.algorithm].hard:
        support, rows = np.asarray(found.support), np.arange(len(x))[:, None]
        outside = np.ones(x.shape, bool)
        outside[np.broadcast_to(rows, support.shape)[support >= 0], support[support >= 0]] = False
        wrong |= np.any((x != 0) & outside, axis=1)
        for i, chosen in enumerate(support):  # No atom twice.
            chosen = chosen[chosen >= 0]
            wrong[i] |= len(set(chosen.tolist())) < len(chosen)
    return Found(counted, wrong)


@functools.cache
def _omp_growing(num_steps: int, optimised: bool):
    def growing(A, y, w):
        return [gj.omp(A, y, sparsity=k + 1, weights=w) for k in range(num_steps)]

    return (jax.jit if optimised else jit)(jax.vmap(growing))


def omp_residuals(setting: Setting, rng, problems: Problem, optimised=False) -> Found:
    """Hard OMP: residuals are orthogonal to the atoms chosen, and never grow with the steps."""
    rtol = 10 * tolerance(setting.dtype)[0]
    args = problems.astype(setting.dtype)
    A, y = double(args.A), double(args.y)
    norms = np.linalg.norm(A, axis=1)
    previous = np.linalg.norm(y, axis=1)
    wrong = np.zeros(len(y), bool)
    for found in _omp_growing(setting.sparsity, optimised)(args.A, args.y, args.w):
        x, support = double(found.x), np.asarray(found.support)
        residual = y - np.einsum("bmn,bn->bm", A, x)
        size = np.linalg.norm(y, axis=1) + np.linalg.norm(norms * x, axis=1)
        along = np.abs(np.einsum("bmn,bm->bn", A.conj(), residual))
        along = np.take_along_axis(along, np.maximum(support, 0), axis=1)
        lengths = np.take_along_axis(norms, np.maximum(support, 0), axis=1)
        wrong |= ~np.all((along <= rtol * lengths * size[:, None]) | (support < 0), axis=1)
        length = np.linalg.norm(residual, axis=1)
        wrong |= ~(length <= previous + rtol * size)
        previous = length
    return Found(np.ones(len(y), bool), wrong)


class Property(NamedTuple):
    """A check of a batch, and the settings that it is for."""

    check: Callable[..., Found]
    holds_for: Callable[[Setting], bool] = lambda setting: True


def _of_algorithm(holds_for):
    return lambda setting: holds_for(ALGORITHMS[setting.algorithm])


PROPERTIES = {
    which: Property(functools.partial(invariance, which=which), _of_algorithm(each.holds_for))
    for which, each in INVARIANCES.items()
} | {
    "a real problem solved as complex": Property(
        real_as_complex, lambda setting: np.dtype(setting.dtype).kind == "f"
    ),
    "the answer is the oracle's": Property(equals_oracle),
    "answers and derivatives are finite": Property(finite),
    "residual_norm and support are honest": Property(
        honest, lambda setting: "Net" not in setting.algorithm
    ),
    "OMP's residual is orthogonal and never grows": Property(
        omp_residuals, lambda setting: setting.algorithm == "omp"
    ),
}
