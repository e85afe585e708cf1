"""Every network against its solver, step by step: weights per layer, and recorded choices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import greedyjax as gj
import oracles
from greedyjax.nets import CoSaMPNet, HTPNet, IHTNet, OMPNet, SubspacePursuitNet, Weights
from helpers import assert_close, random_problem

M, N, K, LAYERS, TAU, STEP = 12, 16, 3, 3, 0.1, 0.3
A, X, Y = (np.stack(each) for each in zip(*[random_problem(i, M, N, K, float, 0.2) for i in (0, 1)],
                                          strict=True))  # fmt: skip
A = A[0]
Y[1] = A @ X[1]
ROWS = np.random.default_rng(0).uniform(0.5, 1.5, (LAYERS, N))  # Weights, a row per layer.
LAYERED = Weights(ROWS, per_layer=True)
PENALTY = np.random.default_rng(1).uniform(0, 0.2, N)
ITERATED = {"sparsity": K, "num_layers": LAYERS, "tau": TAU, "weights": LAYERED}
NETS = {
    "omp": lambda: OMPNet(A, sparsity=K, tau=TAU, weights=LAYERED, penalty=PENALTY),
    "iht": lambda: IHTNet(A, **ITERATED, step_size=STEP, debias=True, penalty=PENALTY),
    "htp": lambda: HTPNet(A, **ITERATED, step_size=STEP, penalty=PENALTY),
    "subspace": lambda: SubspacePursuitNet(A, **ITERATED, penalty=PENALTY),
    "cosamp": lambda: CoSaMPNet(A, **ITERATED, debias=True),
}
SOLVERS = {
    "omp": (gj.omp, gj.soft_omp),
    "iht": (gj.iht, gj.soft_iht),
    "htp": (gj.htp, gj.soft_htp),
    "subspace": (gj.subspace_pursuit, gj.soft_subspace_pursuit),
    "cosamp": (gj.cosamp, gj.soft_cosamp),
}
EXTRAS = {
    "omp": {},
    "iht": {"num_steps": LAYERS, "step_size": STEP, "debias": True},
    "htp": {"num_steps": LAYERS, "step_size": STEP},
    "subspace": {"num_steps": LAYERS},
    "cosamp": {"num_steps": LAYERS, "debias": True, "penalty": None},
}


@jax.jit
def choices_and_slope(net, Y, targets):
    """The choices, and the value and gradient in the weights of what `losses.selection` means."""
    graph, params, rest = nnx.split(net, nnx.Param, ...)

    def loss(params):
        net = nnx.merge(graph, params, rest)
        choices = net.choices(Y)
        return jnp.mean(jax.vmap(net.choice_loss)(choices, targets)), choices

    (value, choices), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return choices, value, gradient["weights"][...]


@pytest.mark.slow  # Four solvers to compile for each; the steps by hand below are the quick part.
@pytest.mark.parametrize("name", NETS)
def test_a_network_is_its_solver_with_its_settings(name):
    hard, soft = SOLVERS[name]
    settings = {"sparsity": K, "weights": ROWS, "penalty": PENALTY, **EXTRAS[name]}
    # One call compiles both sides.
    both = jax.jit(
        lambda net, Y: (
            net(Y),
            jax.vmap(lambda y: soft(A, y, tau=TAU, **settings).x)(Y),
            net.harden()(Y),
            jax.vmap(lambda y: hard(A, y, **settings).x)(Y),
        )
    )
    got_soft, expected_soft, got_hard, expected_hard = both(NETS[name](), Y)
    assert_close(got_soft, np.asarray(expected_soft))
    assert_close(got_hard, np.asarray(expected_hard))


# --- Steps by hand -------------------------------------------------------------------------------


def fit(atoms, y, penalty=PENALTY):
    """Ridge regression on some atoms, as least squares with rows for the penalties."""
    atoms = sorted(set(atoms))
    extended = np.concatenate([A[:, atoms], np.diag(np.sqrt(penalty[atoms]))])
    x = np.zeros(N)
    x[atoms] = np.linalg.lstsq(extended, np.concatenate([y, np.zeros(len(atoms))]), rcond=None)[0]
    return x


def largest(scores, k):
    return list(np.argsort(-scores)[:k])


def halfway(scores, k):
    ordered = np.sort(np.append(scores, 0))[::-1]
    return ordered[k - 1 : k + 1].mean()


NONE = [[]] * LAYERS  # No atom is closed: each may be chosen again.


def omp_by_hand(y, rows):
    chosen, x, met, closed = [], np.zeros(N), [], []
    for w in rows:
        scores = w * np.abs(A.T @ (y - A @ x))
        met.append(scores)
        closed.append(list(chosen))
        chosen.append(int(np.argmax(np.where(np.isin(np.arange(N), chosen), -1, scores))))
        x = fit(chosen, y)
    return x, [(np.stack(met), None, closed)]


def thresholding_by_hand(y, rows, fits_each):
    x, met = np.zeros(N), []
    for w in rows:
        u = x + STEP * A.T @ (y - A @ x)
        met.append(w * np.abs(u))
        kept = largest(met[-1], K)
        x = fit(kept, y) if fits_each else np.where(np.isin(np.arange(N), kept), u, 0)
    return fit(kept, y), [(np.stack(met), K, NONE)]


def merging_by_hand(y, rows, candidates, refits, penalty):
    kept = largest(rows[0] * np.abs(A.T @ y), K)
    x = fit(kept, y, penalty) if refits else np.zeros(N)
    first, second, found = [], [], []
    for w in rows:
        first.append(w * np.abs(A.T @ (y - A @ x)))
        z = fit(kept + largest(first[-1], candidates), y, penalty)
        second.append(w * np.abs(z))
        kept = largest(second[-1], K)
        x = fit(kept, y, penalty) if refits else np.where(np.isin(np.arange(N), kept), z, 0)
        found.append((np.linalg.norm(y - A @ x), kept))
    best = min(found, key=lambda one: one[0])[1]
    return fit(best, y, penalty), [(np.stack(first), candidates, NONE), (np.stack(second), K, NONE)]


BY_HAND = {
    "omp": omp_by_hand,
    "iht": lambda y, rows: thresholding_by_hand(y, rows, False),
    "htp": lambda y, rows: thresholding_by_hand(y, rows, True),
    "subspace": lambda y, rows: merging_by_hand(y, rows, K, True, PENALTY),
    "cosamp": lambda y, rows: merging_by_hand(y, rows, 2 * K, False, np.zeros(N)),
}


def selection_by_hand(kinds, targets):
    """The mean loss of the choices of one signal, with thresholds as they were met."""
    each = []
    for scores, k, closed, thresholds in kinds:
        for row, before, threshold in zip(scores, closed, thresholds, strict=True):
            if k is None:
                still = ~np.isin(np.arange(N), before)
                p = np.exp((row[still] - row.max()) / TAU)
                each.append(-np.log((p / p.sum()) @ (targets[still] + 1e-6)))
                continue
            z = (row - threshold) / TAU
            wanted = np.isin(np.arange(N), largest(targets, k)) & (targets > 0)
            log_sigmoid = -np.logaddexp(0, np.where(wanted, -z, z))
            each.append(-k * np.sum(np.where(wanted, targets, 1 / N) * log_sigmoid))
    return np.mean(each)


@pytest.mark.parametrize("name", NETS)
def test_steps_choices_and_selection_with_weights_per_layer(name):
    targets = X**2 / np.sum(X**2, axis=1, keepdims=True)
    choices, value, gradient = choices_and_slope(NETS[name](), Y, targets)
    answers, met = zip(*[BY_HAND[name](y, ROWS) for y in Y], strict=True)
    tied = np.stack([BY_HAND[name](y, np.tile(ROWS[0], (LAYERS, 1)))[0] for y in Y])
    assert np.abs(tied - answers).max() > 1e-3, "the rows change nothing here"
    scores = np.stack([np.concatenate([each for each, *_ in kinds]) for kinds in met])
    assert_close(np.concatenate([each.scores for each in choices.met], axis=1), scores)
    assert_close(choices.x, np.stack(answers))

    # Thresholds and what the weights multiply are constants; the scores move with the weights.
    met = [
        [(s, k, closed, [halfway(row, k or 1) for row in s]) for s, k, closed in kinds]
        for kinds in met
    ]

    def loss(weights):
        return np.mean(
            [
                selection_by_hand([(weights / ROWS * s, *rest) for s, *rest in kinds], t)
                for kinds, t in zip(met, targets, strict=True)
            ]
        )

    assert_close(value, loss(ROWS))
    # Central differences with steps of 1e-6 of a loss near 10 err by about 1e-9.
    assert_close(gradient, oracles.finite_difference(loss, ROWS), rtol=1e-6, atol=1e-7)


def test_soft_layers_with_weights_of_their_own():
    """Of IHT, whose layers can be run one by one: values and derivatives in each row."""
    net = IHTNet(A, **ITERATED, step_size=STEP)

    def by_hand(rows):
        x = np.zeros_like(X)
        for w in rows:
            x = np.stack(
                [
                    oracles.soft_iht(A, y, K, TAU, 1, STEP, w, x0).x
                    for y, x0 in zip(Y, x, strict=True)
                ]
            )
        return x

    @jax.jit
    def value_and_gradient(net, Y):
        graph, params, rest = nnx.split(net, nnx.Param, ...)

        def loss(params):
            got = nnx.merge(graph, params, rest)(Y)
            return jnp.sum((got - 1) ** 2), got

        gradient, got = jax.grad(loss, has_aux=True)(params)
        return got, gradient["weights"][...]

    got, gradient = value_and_gradient(net, Y)
    assert_close(got, by_hand(ROWS))
    expected = oracles.finite_difference(lambda rows: np.sum((by_hand(rows) - 1) ** 2), ROWS)
    assert np.abs(expected).max(axis=1).min() > 1e-2, "a layer does nothing here"
    # Central differences with steps of 1e-6 of a loss near 30 err by about 1e-8.
    assert_close(gradient, expected, rtol=1e-6, atol=1e-6)
