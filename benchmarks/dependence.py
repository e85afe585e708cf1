"""Where do weights help that see what was chosen, and where do they not?

Problems whose supports depend on each other, by construction or in recordings, and problems where
they do not; one draw of the matrix or a few, each method with default settings on the same data:

- pairs: half of the atoms at random, each with its partner; nothing else is known of them;
- tree: coefficients of a binary wavelet tree, which persist from a parent to its children;
- digits: handwritten digits of 8 x 8 pixels in a cosine basis, from scikit-learn;
- patches: 16 x 16 patches of a photograph in a cosine basis, tested on another photograph;
- paper: the model of arXiv 2505.15661, whose supports are independent within a hidden set, in its
  real form.

The last tenth of the training signals chooses temperatures, epochs and what is kept; from
measurements alone, hidden measurements do. Test signals choose nothing.

    python benchmarks/dependence.py [--parts pairs tree digits patches paper] [--quick]
"""

import argparse
from time import perf_counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from common import write_result
from interactions import BATCH, EPOCHS, MLP, linear
from scipy.fft import dctn
from sklearn.datasets import load_digits, load_sample_images
from sklearn.feature_extraction.image import extract_patches_2d

import greedyjax as gj
from greedyjax import metrics, problems, training
from greedyjax.commands._baselines import generic_network
from greedyjax.commands._learning import adam
from greedyjax.nets import OMPNet

FRACTIONS = (0.1, 0.01)  # Of the mean largest first score, for one weight per atom.
FRACTION = 0.01  # For interactions.


class Problem(NamedTuple):
    A: jax.Array
    train: tuple
    test: tuple
    sparsity: int
    truth: np.ndarray | None  # The supports of the test signals, where they are known.


def measured(rng, X, X_test, m, sparsity, truth=None) -> Problem:
    """Random measurements with noise of a thousandth."""
    A = rng.standard_normal((m, X.shape[1])) / np.sqrt(m)

    def measure(X):
        Y = X @ A.T
        noise = rng.standard_normal(Y.shape) / np.sqrt(m)
        return Y + 1e-3 * np.linalg.norm(X, axis=1, keepdims=True) * noise

    pairs = [(jnp.asarray(measure(X)), jnp.asarray(X)) for X in (X, X_test)]
    return Problem(jnp.asarray(A), *pairs, sparsity, truth)


def pairs(seed: int) -> Problem:
    rng, half, k = np.random.default_rng(seed), 64, 12
    X = np.zeros((3000, 2 * half))
    for x in X:
        first = rng.choice(half, k // 2, replace=False)
        x[np.concatenate([first, half + first])] = rng.standard_normal(k)
    return measured(rng, X[:2000], X[2000:], 32, k, X[2000:] != 0)


def tree(seed: int) -> Problem:
    """Each node is in use with its parent in four of five cases, and without it in one of 50."""
    rng, n, k = np.random.default_rng(seed), 128, 20
    in_use = np.zeros((3000, n), bool)
    in_use[:, :4] = True
    for j in range(4, n):
        likely = np.where(in_use[:, j // 2], 0.55, 0.01)
        in_use[:, j] = rng.random(len(in_use)) < likely
    X = in_use * rng.standard_normal(in_use.shape) * 2.0 ** (-np.log2(np.arange(n) + 1) / 4)
    return measured(rng, X[:2000], X[2000:], 40, k, in_use[2000:])


def digits(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    X = dctn(load_digits().images, axes=(1, 2), norm="ortho").reshape(-1, 64)
    X = X[rng.permutation(len(X))]
    return measured(rng, X[:1300], X[1300:], 24, 12)


def patches(seed: int) -> Problem:
    rng, size, num = np.random.default_rng(seed), (16, 16), 3000

    def coefficients(photograph):
        cut = extract_patches_2d(photograph.mean(axis=2), size, max_patches=num, random_state=seed)
        cut = cut[cut.std(axis=(1, 2)) > 1]  # Nothing to recover in an even one.
        return dctn(cut / 255, axes=(1, 2), norm="ortho").reshape(len(cut), -1)

    X, X_test = map(coefficients, load_sample_images().images)
    return measured(rng, X, X_test[:1000], 64, 24)


def paper(seed: int) -> Problem:
    A, Y, X, *_ = problems.sparse_in_levels(jax.random.key(seed), num_signals=2536)
    A, Y = gj.stack_real(A, Y)
    X = X.real
    return Problem(A, (Y[:1536], X[:1536]), (Y[1536:], X[1536:]), 10, np.asarray(X[1536:] != 0))


PARTS = {each.__name__: each for each in (pairs, tree, digits, patches, paper)}
DRAWS = {**dict.fromkeys(PARTS, 1), "paper": 10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--quick", action="store_true", help="one draw of each: a check")
    options = parser.parse_args()
    rows = []
    for part in options.parts:
        for draw in range(1 if options.quick else DRAWS[part]):
            found = one_draw(PARTS[part](draw), jax.random.key(draw))
            rows += [
                {"problem": part, "draw": draw, "method": name, **row}
                for name, row in found.items()
            ]
            shown = (f"{name} {row['nmse']:.2e}" for name, row in found.items())
            print(part, draw, "; ".join(shown), flush=True)
            metric = "mean relative squared error of the test signals"
            write_result("dependence", {"config": vars(options), "metric": metric, "rows": rows})
        jax.clear_caches()  # A process may hold only so many compiled programs.


def one_draw(problem: Problem, key) -> dict[str, dict]:
    """Test error of each method, what it kept, and the seconds that learning took."""
    A, (Y, X), (Y_test, X_test) = problem.A, problem.train, problem.test
    cut = len(Y) - len(Y) // 10
    train, val = (Y[:cut], X[:cut]), (Y[cut:], X[cut:])
    scale = jnp.mean(jax.vmap(lambda y: gj.relative_tau(A, y, 1.0))(Y))
    net = lambda fraction: OMPNet(A, sparsity=problem.sparsity, tau=fraction * scale)
    kept, best = {}, {}

    def plain():
        return net(1.0).harden()

    def weights():
        fits = [
            training.fit(
                net(fraction), train, val, optimizer=adam(3e-2, EPOCHS * (len(train[0]) // BATCH)),
                num_epochs=EPOCHS, batch_size=BATCH, key=key, progress=False,
                val_loss=training.losses.hard_reconstruction,
            )
            for fraction in FRACTIONS
        ]  # fmt: skip
        best["net"] = min(fits, key=lambda fitted: fitted.best_val_loss).net
        return best["net"].harden()

    def interactions():
        begin = net(FRACTION).rebuild(weights=best["net"].atom_weights)
        found = training.learn_interactions(begin, train, val, key=key, progress=False)
        kept["interactions"] = found.kept
        return found.solver

    def blind():
        found = training.learn_interactions(net(FRACTION), (Y, None), key=key, progress=False)
        kept["measurements alone"] = found.kept
        return found.solver

    ways = {
        "w = 1": plain,
        "weights": weights,
        "interactions": interactions,
        "measurements alone": blind,
        "linear MMSE": lambda: linear(A, X),
        "MLP": lambda: generic_network(A, (Y, X), **MLP, key=key),
    }
    if problem.truth is not None:
        ways["true support"] = lambda: lambda Y: on_support(A, Y, problem.truth)
    found = {}
    for name, learn in ways.items():
        start = perf_counter()
        solve = learn()
        seconds = perf_counter() - start
        error = float(np.mean(metrics.nmse(jnp.asarray(solve(Y_test)), X_test)))
        found[name] = {"nmse": error, "seconds": seconds, "kept": kept.get(name)}
    return found


def on_support(A, Y, supports):
    """Least squares on the true supports."""
    A, Y, X = np.asarray(A), np.asarray(Y), np.zeros(supports.shape, np.asarray(Y).dtype)
    for x, y, support in zip(X, Y, supports, strict=True):
        x[support] = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    return X


if __name__ == "__main__":
    main()
