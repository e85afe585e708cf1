"""What do local sparsities gain over one sparsity for all levels?

Problems with levels, each solver with one sparsity and with local sparsities of the same sum:

- the hidden level: the problem of `greedyjax.problems.sparse_in_levels`, whose 10 nonzeros lie
  among 20 of 256 atoms, from 36 frequencies; the levels are those atoms and all others;
- two levels: 24 nonzeros among the first half of 256 atoms and 4 among the second, Gaussian
  measurements without noise; the share of signals that are found;
- functions: piecewise smooth functions with jumps, 512 samples, in 7 levels of Haar wavelets, from
  128 Gaussian measurements. The sum is chosen for each solver by its error on other functions, and
  the local sparsities are those of these functions.

Beside them stands least squares on the support: the true one, or for functions the largest entries.
At last a tree: 24 nonzeros that hang together in the tree of wavelets, from 64 and 96 Gaussian
measurements, with `greedyjax.policies.Tree` and without.

    python benchmarks/levels.py [--signals N] [--problems hidden two functions tree]
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from common import load_result, write_result

import greedyjax as gj
from greedyjax import problems
from greedyjax.policies import Tree
from greedyjax.structures import Levels, Plain, local_sparsities

SOLVERS = {
    "OMP": gj.omp_batch,
    "IHT": partial(gj.iht_batch, num_steps=300, debias=True),
    "NIHT": partial(gj.niht_batch, num_steps=60),
    "HTP": partial(gj.htp_batch, num_steps=30),
    "subspace pursuit": partial(gj.subspace_pursuit_batch, num_steps=15),
    "CoSaMP": partial(gj.cosamp_batch, num_steps=15),
}
MEASUREMENTS = (84, 96)  # For two levels.
SAMPLES, SPLITS = 512, 6
SPARSITIES = (24, 40)  # Of functions.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--signals", type=int, default=256)
    text = "some of the problems; of the others the results stay as they are"
    parser.add_argument(
        "--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS), help=text
    )
    options = parser.parse_args()
    found = {name: PROBLEMS[name](options.signals) for name in options.problems}
    if len(found) < len(PROBLEMS):
        found = {name: load_result("levels")[name] for name in PROBLEMS} | found
    content = {"signals": options.signals, **found}
    print("wrote", write_result("levels", content))


def hidden(num: int) -> list[dict]:
    """Errors on the library's problem."""
    A, Y, X, support = problems.sparse_in_levels(
        jax.random.key(0), num_signals=num, num_measurements=36
    )
    ids = jnp.zeros(256, jnp.int32).at[support].set(1)
    rows = [row("least squares on the true support", None, oracle(A, Y, X), X)]
    for name, solve in SOLVERS.items():
        for levels in (None, Levels(ids, (0, 10))):
            found = solve(A, Y, sparsity=10, structure=levels or Plain()).x
            rows.append(row(name, levels, found, X))
    return rows


def two_levels(num: int) -> list[dict]:
    """The share of signals found, by the number of measurements."""
    rng, sparsities = np.random.default_rng(0), (24, 4)
    X = np.zeros((num, 256), np.float32)
    for x in X:
        for level, sparsity in enumerate(sparsities):
            places = 128 * level + rng.choice(128, sparsity, replace=False)
            x[places] = rng.standard_normal(sparsity)
    levels, rows = Levels(np.arange(256) // 128, sparsities), []
    for m in MEASUREMENTS:
        A = problems.gaussian(jax.random.key(m), m, 256)
        for name in ("OMP", "NIHT", "CoSaMP"):
            for structure in (None, levels):
                solve = partial(SOLVERS[name], sparsity=28, structure=structure or Plain())
                error = norms(np.asarray(solve(A, X @ A.T).x) - X) / norms(X)
                share = float(np.mean(error < 1e-2))
                rows.append({"m": m, "method": name, "levels": bool(structure), "found": share})
                print(f"{m:4} {name:20}{'levels' if structure else '':8}{share:6.2f}")
    return rows


def functions(num: int) -> dict:
    """Errors on functions, and the local sparsities that they have."""
    W = gj.operators.Wavelet(SAMPLES, "haar", SPLITS)
    ids = W.levels
    coefficients = jax.vmap(W.rmatvec)(jnp.asarray(piecewise(2 * num)))
    X_seen, X = coefficients[:num], coefficients[num:]
    A = problems.gaussian(jax.random.key(1), 128, SAMPLES)  # Of functions, or of coefficients:
    rows, learned = [], {}  # a Gaussian matrix times an orthogonal one is Gaussian.
    for sparsity in SPARSITIES:
        learned[sparsity] = Levels(ids, local_sparsities(X_seen, ids, sparsity=sparsity))
    for name in ("OMP", "IHT", "NIHT", "CoSaMP"):
        solve = SOLVERS[name]
        for structured in (False, True):
            method = lambda s, f=solve, b=structured: partial(
                f, sparsity=s, structure=learned[s] if b else Plain()
            )
            tried = {s: nmse(method(s)(A, X_seen @ A.T).x, X_seen) for s in SPARSITIES}
            best = min(tried, key=lambda s: tried[s])
            made = row(name, structured, method(best)(A, X @ A.T).x, X)
            rows.append({**made, "sparsity": best})
    for sparsity in SPARSITIES:
        kept = np.asarray(jax.vmap(partial(gj.topk_mask, k=sparsity))(jnp.abs(X)) * X)
        made = row("least squares on the largest", None, oracle(A, X @ A.T, kept), X)
        rows.append({**made, "sparsity": sparsity})
    return {
        "rows": rows,
        "local_sparsities": {s: levels.sparsities for s, levels in learned.items()},
        "level_sizes": np.bincount(np.asarray(ids)).tolist(),
    }


def tree(num: int) -> list[dict]:
    """Errors on signals that hang together in a tree, by how closed the others are."""
    W, rng = gj.operators.Wavelet(256, "haar", 5), np.random.default_rng(0)
    parents, rows = np.asarray(W.parents), []
    X = np.zeros((num, 256), np.float32)
    for x in X:
        x[parents < 0] = rng.standard_normal(8)
        for _ in range(24 - 8):
            begun = np.flatnonzero((x == 0) & (parents >= 0) & (x[parents] != 0))
            x[rng.choice(begun)] = rng.standard_normal()
    for m in (64, 96):
        A = problems.gaussian(jax.random.key(m), m, 256)
        for name in ("OMP", "IHT", "NIHT"):
            for closed in (None, 0.0, 0.3):
                weights = None if closed is None else Tree(parents, closed)
                found = SOLVERS[name](A, X @ A.T, sparsity=24, weights=weights).x
                made = {"m": m, "method": name, "closed": closed, "nmse_db": to_db(nmse(found, X))}
                rows.append(made)
                print(f"{m:4} {name:20}{closed!s:8}{made['nmse_db']:8.2f} dB")
    return rows


def piecewise(num: int) -> np.ndarray:
    """Functions that are cubic between three jumps at random places."""
    rng, t = np.random.default_rng(2), (np.arange(SAMPLES) + 0.5) / SAMPLES
    made = np.zeros((num, SAMPLES), np.float32)
    for f in made:
        piece = np.searchsorted(np.sort(rng.random(3)), t)
        f[:] = sum(c[piece] * (t - 0.5) ** k for k, c in enumerate(rng.standard_normal((4, 4))))
        f /= np.linalg.norm(f)
    return made


def oracle(A, Y, X) -> np.ndarray:
    """Least squares on the support of each signal."""
    A, found = np.asarray(A), np.zeros(X.shape, np.result_type(A.dtype, X.dtype))
    for y, x, z in zip(np.asarray(Y), np.asarray(X), found, strict=True):
        atoms = np.flatnonzero(x)
        z[atoms] = np.linalg.lstsq(A[:, atoms], y, rcond=None)[0]
    return found


def norms(X) -> np.ndarray:
    return np.linalg.norm(np.asarray(X), axis=1)


def nmse(found, X) -> float:
    """The normalised mean squared error, over all signals."""
    return float(np.sum(norms(np.asarray(found) - X) ** 2) / np.sum(norms(X) ** 2))


def to_db(error: float) -> float:
    return float(10 * np.log10(error))


def row(name: str, levels, found, X) -> dict:
    error_db = to_db(nmse(found, X))
    print(f"{name:36}{'levels' if levels else '':8}{error_db:8.2f} dB")
    return {"method": name, "levels": bool(levels), "nmse_db": error_db}


PROBLEMS = {"hidden": hidden, "two": two_levels, "functions": functions, "tree": tree}

if __name__ == "__main__":
    main()
