"""Invalid calls raise errors that name the argument, what was expected and what was given."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import greedyjax as gj

pytestmark = pytest.mark.wrong_types

A = np.linspace(-1, 1, 12).reshape(3, 4) ** 3
y = np.array([1.0, -2.0, 0.5])
w = np.ones(4)
v = np.array([1.0, 3.0, 2.0, 0.0])
NAN, INF = np.nan, np.inf
NAN_Y = jnp.full(3, NAN)

omp = functools.partial(gj.omp, sparsity=2)
soft_omp = functools.partial(gj.soft_omp, sparsity=2, tau=0.1)
iht = functools.partial(gj.iht, sparsity=2, num_steps=3)
soft_iht = functools.partial(gj.soft_iht, sparsity=2, tau=0.1, num_steps=3)
softsort = functools.partial(gj.softsort, tau=0.1)
mask = functools.partial(gj.soft_topk_mask, k=2, tau=0.1)
SOLVERS = {"omp": omp, "soft_omp": soft_omp, "iht": iht, "soft_iht": soft_iht}
STEPPING = {
    solver.__name__: functools.partial(solver, sparsity=2, num_steps=3)
    for solver in (gj.htp, gj.cosamp, gj.subspace_pursuit)
}
SOFT_STEPPING = {
    solver.__name__: functools.partial(solver, sparsity=2, num_steps=3, tau=0.1)
    for solver in (gj.soft_htp, gj.soft_cosamp, gj.soft_subspace_pursuit)
}
EVERY = SOLVERS | STEPPING | SOFT_STEPPING


def with_value(array, value):
    array = array.copy()
    array.flat[1] = value
    return array


# What any solver checks: (id, arguments A and y, keywords, exception, message).
SHARED = [
    ("A vector", (y, y), {}, ValueError, r"A: expected .*2 axes, got shape \(3,\)"),
    ("A stack", (A[None], y), {}, ValueError, r"A: expected .*2 axes, got shape \(1, 3, 4\)"),
    ("A empty", (A[:, :0], y), {}, ValueError, r"A: expected at least one .*got shape \(3, 0\)"),
    ("A integers", (A.astype(int), y), {}, TypeError, r"A: expected floating.* got dtype int64"),
    ("A None", (None, y), {}, TypeError, r"A: expected an array, got NoneType"),
    ("A text", ("A", y), {}, TypeError, r"A: expected an array, got str"),
    ("A NaN", (with_value(A, NAN), y), {}, ValueError, r"A: expected finite numbers, got NaN"),
    ("A inf", (with_value(A, INF), y), {}, ValueError, r"A: expected finite .*got .*infinity"),
    ("A ragged", ([[1.0], [1.0, 2.0]], y), {}, TypeError, r"A: expected an array .*, got list"),
    ("y long", (A, w), {}, ValueError, r"y: expected shape \(3,\), got shape \(4,\)"),
    ("y batch", (A, y[None]), {}, ValueError, r"y: expected .*1 axes, got shape \(1, 3\)"),
    ("y scalar", (A, 1.0), {}, ValueError, r"y: expected .*1 axes, got shape \(\)"),
    ("y integers", (A, y.astype(int)), {}, TypeError, r"y: expected floating.*got dtype int64"),
    ("y booleans", (A, y > 0), {}, TypeError, r"y: expected floating.*got dtype bool"),
    ("y None", (A, None), {}, TypeError, r"y: expected an array, got NoneType"),
    ("y NaN", (A, with_value(y, NAN)), {}, ValueError, r"y: expected finite numbers, got NaN"),
    ("y inf", (A, with_value(y, -INF)), {}, ValueError, r"y: expected finite .*got .*infinity"),
    ("y complex NaN", (A, with_value(y + 0j, 1j * INF)), {}, ValueError, r"y: .*finite .*got"),
    ("w long", (A, y), {"weights": y}, ValueError, r"weights: .*shape \(4,\),? .*shape \(3,\)"),
    ("w scalar", (A, y), {"weights": 2.0}, ValueError, r"weights: .*one row .*, got shape \(\)"),
    ("w rows", (A, y), {"weights": w[None]}, ValueError,
     r"weights: expected shape \(4,\) or, one row per step, \([23], 4\), got shape \(1, 4\)"),
    ("w deep", (A, y), {"weights": np.ones((3, 4, 1))}, ValueError,
     r"weights: .*one row per step, \([23], 4\), got shape \(3, 4, 1\)"),
    ("w integers", (A, y), {"weights": w.astype(int)}, TypeError, r"weights: .*got dtype int64"),
    ("w complex", (A, y), {"weights": w + 0j}, TypeError, r"weights: .*real.*got dtype complex128"),
    ("w NaN", (A, y), {"weights": NAN * w}, ValueError, r"weights: expected finite .*got NaN"),
    ("sparsity 0", (A, y), {"sparsity": 0}, ValueError, r"sparsity: expected an int .*1.*got 0"),
    ("sparsity < 0", (A, y), {"sparsity": -2}, ValueError, r"sparsity: expected an int .*got -2"),
    ("sparsity > n", (A, y), {"sparsity": 5}, ValueError, r"sparsity: .*1 and [34].*\(3, 4\).*5"),
    ("sparsity 2.0", (A, y), {"sparsity": 2.0}, TypeError, r"sparsity: expected an int, got 2.0"),
    ("sparsity True", (A, y), {"sparsity": True}, TypeError, r"sparsity: .* an int, got True"),
    ("sparsity None", (A, y), {"sparsity": None}, TypeError, r"sparsity: .* an int, got None"),
    ("sparsity text", (A, y), {"sparsity": "2"}, TypeError, r"sparsity: .* an int, got '2'"),
]  # fmt: skip

# Of whatever fits, as all do but IHT without debiasing.
PENALTY = [
    ("penalty < 0", {"penalty": with_value(w, -1.0)}, ValueError, "penalty: .*>= 0, got -1"),
    ("penalty short", {"penalty": y}, ValueError, r"penalty: expected shape \(4,\), got .*\(3,\)"),
    ("penalty scalar", {"penalty": 0.1}, ValueError, r"penalty: expected .*1 axes, got shape \(\)"),
    ("penalty NaN", {"penalty": NAN * w}, ValueError, "penalty: expected finite numbers, got NaN"),
    ("penalty inf", {"penalty": INF * w}, ValueError, "penalty: expected finite numbers, got NaN"),
    ("penalty complex", {"penalty": w + 0j}, TypeError, "penalty: expected real .*got dtype compl"),
    ("penalty integers", {"penalty": np.ones(4, int)}, TypeError, "penalty: .*got dtype int64"),
]

TAU = [
    ("tau 0", {"tau": 0.0}, ValueError, r"tau: expected .*positive.* got 0"),
    ("tau < 0", {"tau": -0.1}, ValueError, r"tau: expected .*positive.* got -0.1"),
    ("tau NaN", {"tau": NAN}, ValueError, r"tau: expected .*positive, finite.* got nan"),
    ("tau inf", {"tau": INF}, ValueError, r"tau: expected .*positive, finite.* got inf"),
    ("tau complex", {"tau": 1j}, TypeError, r"tau: expected .*real.* got dtype complex"),
    ("tau True", {"tau": True}, TypeError, r"tau: expected .*real.* got dtype bool"),
    ("tau None", {"tau": None}, TypeError, r"tau: expected .*, got None"),
    (
        "tau matrix",
        {"tau": np.ones((1, 1))},
        ValueError,
        r"tau: expected a scalar.* got shape \(1,",
    ),
    ("tau long", {"tau": np.ones(7)}, ValueError, r"tau: expected a scalar.* got shape \(7,\)"),
]

NUM_STEPS = [
    ("num_steps < 0", {"num_steps": -1}, ValueError, r"num_steps: expected an int >= 0, got -1"),
    ("num_steps 3.0", {"num_steps": 3.0}, TypeError, r"num_steps: expected an int, got 3.0"),
    ("num_steps None", {"num_steps": None}, TypeError, r"num_steps: expected an int, got None"),
    ("step_size 0", {"step_size": 0.0}, ValueError, r"step_size: expected a positive.* got 0"),
    ("step_size < 0", {"step_size": -1.0}, ValueError, r"step_size: .*positive.* got -1"),
    ("step_size NaN", {"step_size": NAN}, ValueError, r"step_size: .*positive, finite.* got nan"),
    ("step_size long", {"step_size": w}, ValueError, r"step_size: .*scalar, got shape \(4,\)"),
    ("step_size text", {"step_size": "auto"}, TypeError, r"step_size: expected an array, got str"),
    ("x0 short", {"x0": y}, ValueError, r"x0: expected shape \(4,\), got shape \(3,\)"),
    ("x0 scalar", {"x0": 0.0}, ValueError, r"x0: expected .*1 axes, got shape \(\)"),
    ("x0 NaN", {"x0": NAN * w}, ValueError, r"x0: expected finite numbers, got NaN"),
    ("x0 complex", {"x0": 1j * w}, TypeError, r"x0: expected real numbers.* got complex128"),
    ("x0 integers", {"x0": w.astype(int)}, TypeError, r"x0: expected floating.* got dtype int64"),
]

ROWS = [
    (f"{name}: {row}", solver, args, keywords, error, message)
    for name, solver in EVERY.items()
    for row, args, keywords, error, message in SHARED
]
ROWS += [
    (f"{solver.func.__name__}: {row}", solver, (A, y), keywords, error, message)
    for rows, solvers in (
        (TAU, (soft_omp, soft_iht, *SOFT_STEPPING.values())),
        (NUM_STEPS, (iht, soft_iht)),
        (NUM_STEPS[:7], (STEPPING["htp"], SOFT_STEPPING["soft_htp"])),
        (PENALTY, (omp, soft_omp, *STEPPING.values(), *SOFT_STEPPING.values())),
        (PENALTY, [functools.partial(f.func, **f.keywords, debias=True) for f in (iht, soft_iht)]),
    )
    for solver in solvers
    for row, keywords, error, message in rows
]
ROWS += [
    (f"{name}: {row}", solver, (A, y), keywords, ValueError, message)
    for name, solver in (STEPPING | SOFT_STEPPING).items()
    if "htp" not in name
    for row, keywords, message in [
        ("num_steps 0", {"num_steps": 0}, "num_steps: expected an int >= 1, got 0"),
        (
            "sparsity > m",
            {"sparsity": 4},
            r"sparsity: .*1 and 3 for A of shape \(3, 4\), as no more atoms than .*, got 4",
        ),
    ]
]
ROWS += [
    (f"{name}: penalty, but no fit", solver, args, {"penalty": w}, ValueError,
     "penalty: expected None, as nothing is fitted, got a penalty")
    for name, solver, args in [
        ("iht", iht, (A, y)), ("soft_iht", soft_iht, (A, y)),
        ("iht_batch", functools.partial(gj.iht_batch, sparsity=2, num_steps=3), (A, y[None])),
    ]
]  # fmt: skip
ROWS += [
    (f"{f.func.__name__}: {row}", f, (v,), keywords, error, message)
    for f in (softsort, mask)
    for row, keywords, error, message in TAU
]
ROWS += [
    (f"{f.func.__name__}: {row}", f, (scores,), keywords, error, message)
    for f in (softsort, mask, functools.partial(gj.hardsort), functools.partial(gj.topk_mask, k=2))
    for row, scores, keywords, error, message in [
        ("matrix", A, {}, ValueError, r"scores: expected .*1 axes, got shape \(3, 4\)"),
        ("empty", v[:0], {}, ValueError, r"scores: expected at least one .*got shape \(0,\)"),
        ("integers", np.arange(4), {}, TypeError, r"scores: expected floating.*got dtype int64"),
        ("complex", v + 0j, {}, TypeError, r"scores: expected real .*got dtype complex128"),
        ("NaN", with_value(v, NAN), {}, ValueError, r"scores: expected finite .*got NaN"),
        ("k 0", v, {"k": 0}, ValueError, r"k: expected an int between 1 and 4, got 0"),
        ("k > n", v, {"k": 5}, ValueError, r"k: expected an int between 1 and 4, got 5"),
        ("k 2.0", v, {"k": 2.0}, TypeError, r"k: expected an int, got 2.0"),
        ("k True", v, {"k": True}, TypeError, r"k: expected an int, got True"),
    ]
]
ROWS += [
    (name, f, args, keywords, error, message)
    for name, f, args, keywords, error, message in [
        ("omp: sparsity > m", omp, (A, y), {"sparsity": 4}, ValueError,
         r"sparsity: .*between 1 and 3 for A of shape \(3, 4\), as no more atoms than .*, got 4"),
        ("soft_omp: sparsity > m", soft_omp, (A, y), {"sparsity": 4}, ValueError,
         r"sparsity: .*between 1 and 3 for A of shape \(3, 4\), as no more atoms than .*, got 4"),
        ("omp: rtol < 0", omp, (A, y), {"rtol": -0.1}, ValueError, r"rtol: .*>= 0, got -0.1"),
        ("omp: rtol NaN", omp, (A, y), {"rtol": NAN}, ValueError, r"rtol: .*finite.*, got nan"),
        ("omp: rtol long", omp, (A, y), {"rtol": y}, ValueError, r"rtol: .*scalar, got shape"),
        ("omp: rtol None", omp, (A, y), {"rtol": None}, TypeError, r"rtol: .*got NoneType"),
        ("stack_real: A vector", gj.stack_real, (y, y), {}, ValueError, r"A: .*got shape \(3,\)"),
        ("stack_real: A integers", gj.stack_real, (A.astype(int), y), {}, TypeError,
         r"A: .*got dtype int64"),
        ("stack_real: y long", gj.stack_real, (A, w), {}, ValueError,
         r"y: expected shape \(\.\.\., 3\), got shape \(4,\)"),
        ("stack_real: y scalar", gj.stack_real, (A, 1.0), {}, ValueError, r"y: .*got shape \(\)"),
        ("stack_real: y NaN", gj.stack_real, (A, NAN * y), {}, ValueError, r"y: .*got NaN"),
        ("relative_tau: fraction 0", gj.relative_tau, (A, y, 0.0), {}, ValueError,
         r"fraction: expected a positive.* got 0"),
        ("relative_tau: fraction long", gj.relative_tau, (A, y, y), {}, ValueError,
         r"fraction: expected a scalar, got shape \(3,\)"),
        ("relative_tau: y long", gj.relative_tau, (A, w, 0.1), {}, ValueError,
         r"y: expected shape \(3,\), got shape \(4,\)"),
        ("relative_tau: A NaN", gj.relative_tau, (NAN * A, y, 0.1), {}, ValueError, r"A: .*NaN"),
        ("relative_tau: weights", gj.relative_tau, (A, y, 0.1), {"weights": y}, ValueError,
         r"weights: expected shape \(4,\), got shape \(3,\)"),
    ]
]  # fmt: skip


@pytest.mark.parametrize(
    ("f", "args", "keywords", "error", "message"),
    [row[1:] for row in ROWS],
    ids=[row[0] for row in ROWS],
)
def test_says_what_is_wrong(f, args, keywords, error, message):
    with pytest.raises(error, match=f"^{message}"):
        f(*args, **keywords)


@pytest.mark.parametrize(
    ("name", "f"),
    [
        ("sparsity", lambda k: gj.omp(A, y, sparsity=k)),
        ("sparsity", lambda k: gj.soft_omp(A, y, sparsity=k, tau=0.1)),
        ("sparsity", lambda k: gj.iht(A, y, sparsity=k, num_steps=3)),
        ("sparsity", lambda k: gj.soft_iht(A, y, sparsity=k, tau=0.1, num_steps=3)),
        ("num_steps", lambda k: gj.iht(A, y, sparsity=2, num_steps=k)),
        ("num_steps", lambda k: gj.soft_iht(A, y, sparsity=2, tau=0.1, num_steps=k)),
        ("k", lambda k: gj.softsort(v, tau=0.1, k=k)),
        ("k", lambda k: gj.soft_topk_mask(v, tau=0.1, k=k)),
        ("k", lambda k: gj.hardsort(v, k=k)),
        ("k", lambda k: gj.topk_mask(v, k=k)),
    ],
)
def test_a_traced_size_must_be_marked_static(name, f):
    message = f"^{name}: expected a Python int, got a traced value.*mark it static.*{name!r}"
    with pytest.raises(TypeError, match=message):
        jax.jit(f)(2)


@pytest.mark.parametrize(
    ("message", "f"),
    [
        ("A: expected finite numbers", lambda: omp(NAN * A, y)),
        ("y: expected finite numbers", lambda: omp(A, NAN * y)),
        ("weights: expected finite numbers", lambda: omp(A, y, weights=NAN * w)),
        ("y: expected finite numbers", lambda: omp(A, NAN_Y)),
        ("rtol: expected a finite number >= 0", lambda: omp(A, y, rtol=-0.1)),
        ("tau: expected positive, finite numbers", lambda: soft_omp(A, y, tau=-0.1)),
        ("tau: expected a positive, finite number", lambda: softsort(v, tau=0.0)),
        ("step_size: expected a positive, finite number", lambda: iht(A, y, step_size=-1.0)),
    ],
)
def test_what_is_known_inside_jit_is_checked_too(message, f):
    """A constant is not traced: a user writes tau=0 inside the function that is compiled."""
    with pytest.raises(ValueError, match=f"^{message}, got"):
        jax.jit(f)()


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_values_are_not_checked_while_tracing(solver):
    """Shapes still are."""

    def solve(A, y, w):
        return solver(A, y, weights=w)

    # Tracing is all it takes; what runs on NaN returns NaN, as any JAX function does.
    traced = jax.make_jaxpr(solve)(NAN * A, NAN * y, NAN * w)
    assert traced.out_avals[0].shape == (4,)
    with pytest.raises(ValueError, match=r"^y: expected shape \(3,\), got shape \(4,\)"):
        jax.make_jaxpr(solve)(A, w, w)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_nan_data_gives_nan_and_no_success(solver):
    """Nothing is raised under jit, and the other signals of the batch do not notice."""
    clean = np.stack([y, y, 2 * y])
    Y = np.stack([y, NAN * y, 2 * y])
    solve = jax.jit(jax.vmap(solver, (None, 0)))
    found, expected = solve(A, Y), solve(A, clean)
    for i in (0, 2):
        for field, other in zip(found, expected, strict=True):
            assert np.array_equal(field[i], other[i])
    assert np.any(np.isnan(found.x[1]))
    assert not found.converged[1]
    assert np.isnan(found.residual_norm[1])


def test_nan_scores_give_nan():
    assert np.isnan(jax.jit(gj.relative_tau)(A, NAN * y, 0.1))
    assert np.all(np.isnan(jax.jit(softsort)(NAN * v)))
    assert np.any(np.isnan(jax.jit(mask)(with_value(v, NAN))))


def test_any_python_or_numpy_integer_is_a_size():
    for k in (2, np.int64(2), np.array(2), jnp.asarray(2)):
        assert gj.topk_mask(v, k=k).tolist() == [0, 1, 1, 0]
    assert gj.softsort(v, tau=1, k=2).shape == (2, 4)  # An integer is a temperature, too.
