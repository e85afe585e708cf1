"""One table: every algorithm keeps every promise of the design, on every degenerate input.

Each algorithm gets every input in every dtype, and keeps its promises on all of them: the answer of
the oracle; finite derivatives that agree with the oracle; forward mode equal to reverse mode; a
right residual norm; no effect of units; and the same answer in eager, compiled and batched calls.
A new algorithm is one line in `algorithms.py`, and a new input is one line in `degenerate.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import properties
from algorithms import ALGORITHMS, KINDS, PARTS, SOLVERS, Problem, representable, x_of
from contract import (
    COTANGENT,
    UNSCALED,
    M,
    Row,
    all_finite,
    direction,
    every_row,
    everything_of,
    failing,
    problem_of,
    results,
    rows_where,
    solver,
    tangents,
)
from degenerate import N, cases
from helpers import DTYPES, assert_close, slow_but, tolerance
from rounding import double

# --- Values --------------------------------------------------------------------------------------


@every_row
def test_answers_are_finite_and_agree_with_the_oracle(row):
    table, found = cases(row.dtype, row.m), results(row)
    inputs = [problem_of(case, row) for case in table.values()]
    oracle = ALGORITHMS[row.name].oracle
    expected = [oracle(*map(double, args), row.sparsity).x for args in inputs]
    problems = Problem(*map(np.stack, zip(*inputs, strict=True)))
    x = np.stack([double(x_of(each.answer)) for each in found.values()])
    assert not [name for name, each in found.items() if not all_finite(each.answer)]
    agreed = properties.compare(row.setting, problems, x, np.stack(expected))
    names = np.array(list(table))
    assert not names[agreed.violated].tolist()
    # Twice as many atoms as there are measurements are all of them: which ones a dependent fit
    # takes, and which scores after it are more than rounding, hangs on rounding, most often.
    all_merged = "cosamp, levels" in row.name and row.sparsity == row.m
    least = 0.25 if all_merged and np.finfo(row.dtype).eps > 1e-10 else 0.7
    assert agreed.counted.mean() > least, names[~agreed.counted].tolist()


@every_row
def test_zero_measurements_give_a_zero_signal(row):
    answer = results(row)["y = 0"].answer
    assert np.all(x_of(answer) == 0)
    if row.name in SOLVERS:
        assert answer.residual_norm == 0


@rows_where(lambda row: row.name in SOLVERS)  # A network gives the signal alone.
def test_the_residual_norm_is_the_norm_of_y_minus_A_x(row):
    rtol = 100 * tolerance(row.dtype)[0]  # Soft atoms are close to dependent.

    def honest(case, args, got):
        A, y = double(args.A), double(args.y)
        x = double(got.answer.x)
        residual_norm = np.linalg.norm(y - A @ x)
        # Where atoms are close to dependent, x is large, and rounding of x is that of A x.
        size = np.linalg.norm(y) + np.linalg.norm(np.linalg.norm(A, axis=0) * x)
        return np.abs(residual_norm - got.answer.residual_norm) <= rtol * size

    assert not failing(row, honest)


@every_row
def test_the_units_of_A_and_y_do_not_matter(row):
    plain = x_of(results(row)["no weights"].answer)
    rtol = 100 * tolerance(row.dtype)[0]  # 1e20 is no power of two: everything is rounded anew.

    def same(case, args, got):
        a, b = case.units
        if (a, b) == (1, 1):
            return True
        x = double(x_of(got.answer)) * a / b
        return np.linalg.norm(x - plain) <= rtol * np.linalg.norm(plain)

    assert not failing(row, same)


@pytest.mark.parametrize("name", slow_but(KINDS, SOLVERS))
def test_signals_one_by_one_and_in_a_batch_have_the_same_answers(name):
    """Supports may differ: a residual of rounding errors chooses the next atom at random."""
    row = Row(name, np.complex128)
    table, found = cases(row.dtype, row.m), results(row)
    inputs = [problem_of(case, row) for case in table.values()]
    alone = np.stack([double(x_of(solver(name, row.sparsity)(*args))) for args in inputs])
    batched = np.stack([double(x_of(each.answer)) for each in found.values()])
    problems = Problem(*map(np.stack, zip(*inputs, strict=True)))
    agreed = properties.compare(row.setting, problems, alone, batched)
    assert not np.array(list(table))[agreed.violated].tolist()
    assert agreed.counted.mean() > 0.8


@pytest.mark.parametrize("name", slow_but(KINDS, ALGORITHMS))
def test_eager_and_compiled_calls_have_the_same_answers(name):
    row = Row(name, np.complex128)
    args = problem_of(cases(row.dtype, row.m)["generic"], row)
    eager, compiled = ALGORITHMS[name].solve(*args, 3), solver(name, 3)(*args)
    rtol, atol = tolerance(row.dtype)  # A hundredfold, as soft atoms are close to dependent.
    assert_close(x_of(eager), x_of(compiled), rtol=100 * rtol, atol=100 * atol)
    if name in SOLVERS:
        assert eager.support.tolist() == compiled.support.tolist()
        assert eager.num_steps == compiled.num_steps
        assert eager.converged == compiled.converged
        assert_close(eager.residual_norm, compiled.residual_norm)


# --- Derivatives ---------------------------------------------------------------------------------


@every_row
def test_gradients_are_finite(row):
    assert not failing(row, lambda case, args, got: all_finite(got.gradients))


# Two of these m soft rows are made of the same two atoms, whose scores are close. Only their span
# counts, which hardly moves; but what the movement of each row adds to the derivative grows with
# their inverse distance, and cancels. Rounding leaves an error of 0.6% in each mode (rms over
# problems that differ in the last bit; JAX 0.10 and 0.12 alike, in any instruction set): the
# modes part by 0.9%.
CANCELLING = Row("soft_cosamp", np.float32, sparsity=M), "generic"
LOST_BY_CANCELLING = 5e-2


@pytest.mark.slow
def test_forward_and_reverse_mode_are_near_the_double_precision_derivative_where_terms_cancel():
    row, name = CANCELLING
    case = cases(row.dtype, row.m)[name]
    args = problem_of(case, row)
    along, double_args = tangents(case, args), Problem(*map(double, args))
    in_double = row._replace(dtype=np.float64)
    one = lambda problem: Problem(*(double(each)[None] for each in problem))
    exact = everything_of(in_double)(one(args), one(along))

    def reverse(gradients):
        terms = [np.ravel(double(g) * double(d)) for g, d in zip(gradients, along, strict=True)]
        return np.sum(np.concatenate(terms)), np.sum(np.abs(np.concatenate(terms)))

    derivative, size = reverse([gradient[0] for gradient in exact.gradients])
    rtol = 100 * tolerance(np.float64)[0]
    assert np.abs(exact.forward[0] - derivative) <= rtol * size

    def loss(h):
        moved = [arg + h * double(d) for arg, d in zip(double_args, along, strict=True)]
        return ALGORITHMS[row.name].oracle(*moved, row.sparsity).x @ COTANGENT

    for h in (-1e-7, 1e-7):  # From either side: it is no kink.
        assert np.abs((loss(h) - loss(0)) / h - derivative) <= 1e-4 * size
    single = results(row)[name]
    for found in (single.forward, reverse(single.gradients)[0]):
        assert np.abs(found - derivative) <= LOST_BY_CANCELLING * size


@every_row
def test_forward_mode_derivatives_are_finite_and_equal_reverse_mode(row):
    table, found, rounded = cases(row.dtype, row.m), results(row), results(row, rounded=True)

    def equal(name):
        args, got = problem_of(table[name], row), found[name]
        directions = tangents(table[name], args)
        rtol = 100 * tolerance(row.dtype)[0]  # Two long sums in different orders.
        if (row, name) == CANCELLING:
            rtol = LOST_BY_CANCELLING

        def along(gradients):
            pairs = zip(gradients, directions, strict=True)
            return [np.real(double(gradient) * double(each)) for gradient, each in pairs]

        terms = along(got.gradients)
        reverse = sum(np.sum(term) for term in terms)
        # A gradient of 1e-40, where A has units of 1e20, is 0 in single precision.
        lost = np.finfo(row.dtype).tiny * sum(np.sum(np.abs(double(d))) for d in directions)
        size = sum(np.sum(np.abs(term)) for term in terms)
        uncertain = 0.0
        if "near-duplicate" in name:
            # Fits on atoms that close have derivatives that rounding moves, by the inverse square.
            moved = sum(np.sum(term) for term in along(rounded[name].gradients))
            uncertain = 10 * np.abs(moved - reverse)
        return np.abs(got.forward - reverse) <= rtol * size + lost + uncertain

    # In single precision these scores differ by rounding, and each mode may order them otherwise:
    # both are derivatives at the kink of a tie.
    tied = [f"near-duplicate columns, {apart} apart" for apart in ("1e-06", "1e-09")]
    tied += ["identity and DCT"] if row.sparsity == row.m else []
    # Equal columns tie up to rounding, and each mode may order them otherwise.
    by_rounding = ["duplicate columns"] if row.name == "soft_cosamp, levels" else []
    if row.name == "soft_omp, root LASSO":
        # What is left of y is 1e-10 of it, so that angles to it are known to 1e-6.
        by_rounding = ["more steps than the signal has atoms"]
    if row.name == "soft_htp, nonnegative":
        # Of y 1e-9 is left, and whether a third row gets a positive coefficient hangs on that.
        by_rounding = ["identity and DCT"]
    single = np.finfo(row.dtype).eps > 1e-10 or row.name == "niht"  # Its length divides by that.
    allowed = [*by_rounding, *(tied if single else [])]
    assert not [name for name in table if not equal(name) and name not in allowed]


@pytest.mark.slow
def test_forward_and_reverse_mode_choose_the_same_atoms_if_only_rounding_is_left():
    """If a fit leaves only rounding, all scores are 0. Otherwise modes would choose other rows."""
    row = Row("htp", np.float32, sparsity=M)

    def solve(*args):
        answer = ALGORITHMS[row.name].solve(*args, row.sparsity)
        return jnp.sum(answer.x), answer.support

    def supports(args, along):
        (_, reverse), gradient = jax.value_and_grad(solve, (0, 1, 2, 3), has_aux=True)(*args)
        _, derivative, forward = jax.jvp(solve, args, along, has_aux=True)
        return reverse, forward, gradient, derivative

    table = cases(row.dtype, row.m)
    inputs = [problem_of(case, row) for case in table.values()]
    directions = [tangents(*pair) for pair in zip(table.values(), inputs, strict=True)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *zip(inputs, directions, strict=True))
    found = jax.jit(jax.vmap(lambda args, along: supports(tuple(args), tuple(along))))(*stacked)
    same = np.all(np.asarray(found[0] == found[1]), axis=1)
    assert not np.array(list(table))[~same].tolist()


@rows_where(lambda row: not ALGORITHMS[row.name].hard)
def test_derivatives_are_finite_at_every_temperature(row):
    table, tried = cases(row.dtype, row.m), 0
    for tau in 10.0 ** np.arange(-8, 4):
        found = {
            name: each
            for name, each in results(row, tau).items()
            if representable(row.dtype, tau, *table[name].units, ALGORITHMS[row.name].choices)
        }
        tried += len(found)
        assert not [name for name, each in found.items() if not all_finite(each)], tau
        assert all(all_finite(each.answer) for each in results(row, tau).values()), tau
    assert tried > 5 * len(table) / ALGORITHMS[row.name].choices


def slopes(row, args, which, directions, h=1e-6):
    """Of the oracle's loss along each direction, to the left and to the right."""
    oracle = ALGORITHMS[row.name].oracle

    def loss(moved):
        x = oracle(*args._replace(**{which: moved}), row.sparsity).x
        return float(np.real(x) @ COTANGENT + np.imag(x) @ COTANGENT)

    at, arg = loss(getattr(args, which)), getattr(args, which)
    sides = [(loss(arg - h * each), loss(arg + h * each)) for each in directions]
    return np.array([((at - left) / h, (right - at) / h) for left, right in sides])


@rows_where(lambda row: np.finfo(row.dtype).eps < 1e-10)
def test_gradients_equal_finite_differences_of_the_oracle(row):
    """Gradients in every argument, wherever the oracle has a derivative.

    Inputs on which a soft row equals an earlier row are left out. Such a row adds no direction, but
    would add one if it moved. There the gradient is chosen to be the gradient of the other rows.
    Rows that are fitted together are equal wherever scores tie, scores of 0 included. If columns
    are the same, mean atoms are equal too. Columns 1e-9 apart give rows just at the distance at
    which rows begin to count as different.
    """
    chosen = {"exact ties at a high temperature"}
    if row.name in ("soft_htp", "soft_htp, nonnegative", "soft_subspace_pursuit", "soft_cosamp"):
        chosen |= {"identity and DCT", "all columns equal"}
        chosen |= {"near-duplicate columns, 1e-09 apart"}
    if row.name == "omp, levels":  # A level may have no other atom left than the second of them.
        chosen |= {"near-duplicate columns, 1e-09 apart"}
    if row.name == "soft_cosamp, levels":  # A level may merge either of two equal columns.
        chosen |= {"duplicate columns", "near-duplicate columns, 1e-09 apart"}
    if row.name in PARTS:  # Sharper than softsort: the second row of a tie is the first again.
        chosen |= {"identity and DCT"}
    if row.name in UNSCALED:  # Rounding of a fast transform decides what ties.
        chosen |= {"exact ties"}
    if row.name == "omp, wavelets":  # Their mean is 0, and the oracle's columns are rounding.
        chosen |= {"all columns equal"}
    if row.name == "omp, pairs":  # Nothing is chosen at y = 0, the same pairs on all sides of it.
        chosen |= {"y = 0", "y orthogonal to every column"}
    if row.name in ("niht", "soft_niht"):  # Where the gradient is 0, a step has no length.
        chosen |= {"y = 0", "y orthogonal to every column"}
    if row.name in ("htp", "soft_htp"):  # Hard, it chooses among scores that are rounding errors.
        chosen |= {"more steps than the signal has atoms"}
    rng = np.random.default_rng(4)
    compared, wrong = dict.fromkeys(Problem._fields, 0), []
    for name, case in cases(row.dtype, row.m).items():
        if case.units != (1, 1) or name in chosen:
            continue
        args, gradients = problem_of(case, row), results(row)[name].gradients
        for which, arg, gradient in zip(Problem._fields, args, gradients, strict=True):
            two = [direction(rng, arg) for _ in range(2)]
            found = slopes(row, args, which, [*two, sum(two)])
            # Steps of 1e-6 see curvatures of up to 1e3. A derivative has no side and is linear; at
            # a kink or a jump, it is not.
            tolerances = 1e-3 * np.abs(found).max() + 1e-6
            one_sided = np.abs(found[:, 0] - found[:, 1]).max() > tolerances
            if one_sided or np.any(np.abs(found[0] + found[1] - found[2]) > tolerances):
                continue
            compared[which] += 1
            slope = [np.real(np.sum(gradient * each)) for each in two]
            if np.any(np.abs(slope - found[:2].mean(axis=1)) > tolerances):
                wrong.append((name, which, slope, found))
    assert not wrong
    assert min(compared.values()) >= (3 if row.name in PARTS else 6), compared


# --- Promises that need no numbers ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("A_dtype", "y_dtype"),
    slow_but(
        [(np.float32, np.float32), (np.float32, np.complex64), (np.complex64, np.float64)],
        [(dtype, dtype) for dtype in DTYPES]
        + [(np.float32, np.complex64), (np.complex64, np.float32)]
        + [(np.float32, np.float64), (np.complex64, np.float64), (np.float64, np.complex64)],
    ),
)
@pytest.mark.parametrize("name", SOLVERS)
def test_answers_have_the_promoted_dtype(name, A_dtype, y_dtype):
    real = jax.ShapeDtypeStruct((N,), np.float64), jax.ShapeDtypeStruct((), np.float64)
    A, y = jax.ShapeDtypeStruct((M, N), A_dtype), jax.ShapeDtypeStruct((M,), y_dtype)
    # Weights and temperature in double precision must not lift the answer's.
    found = jax.eval_shape(lambda *args: ALGORITHMS[name].solve(*args, 3), A, y, *real)
    dtype = np.result_type(A_dtype, y_dtype)
    assert found.x.dtype == dtype
    assert found.residual_norm.dtype == np.finfo(dtype).dtype
    assert found.support.dtype == found.num_steps.dtype == found.status.dtype == np.int32
    shapes = [field.shape for field in found]
    assert shapes == [(N,), (3,), (), (), ()]
