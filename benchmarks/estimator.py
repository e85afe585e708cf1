"""How long does coding the patches of photographs take, beside scikit-learn's `SparseCoder`?

50,000 patches of 8 x 8 pixels of the two photographs that scikit-learn brings, less their means,
over 256 atoms, with 8 atoms a patch. There are two dictionaries: cosines of 16 frequencies each
way, and atoms that scikit-learn learns from 10,000 other patches. The same arrays go to both
classes, in float64, which is what scikit-learn computes in unless told otherwise, and in float32.

Beside the times stand the share of the patches for which both chose the same atoms, and the share
whose residual is at most 1e-4 above scikit-learn's, relative to it. Then patches stop at a squared
residual: there the counts of atoms are compared with those of scikit-learn's function, as its class
ignores the tolerance.

    python benchmarks/estimator.py [--repeats N]
"""

import argparse
import warnings

import numpy as np
import sklearn
from common import interleaved, write_result
from sklearn.datasets import load_sample_images
from sklearn.decomposition import MiniBatchDictionaryLearning
from sklearn.decomposition import SparseCoder as ScikitLearns
from sklearn.linear_model import orthogonal_mp_gram
from tolerance import SIDE, cosines

from greedyjax.sklearn import SparseCoder

NUM, LEARNED_FROM, NUM_ATOMS, COUNT, TOL = 50_000, 10_000, 256, 8, 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description="Times SparseCoder beside scikit-learn's.")
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    X = patches(NUM + LEARNED_FROM)
    X, others = X[:NUM], X[NUM:]
    dictionaries = {"cosines": cosines().T.astype(float), "learned": learned(others)}
    rows = []
    for name, atoms in dictionaries.items():
        for dtype in (np.float64, np.float32):
            found = row(atoms.astype(dtype), X.astype(dtype), repeats)
            rows.append({"dictionary": name, "dtype": np.dtype(dtype).name, **found})
            print({key: value for key, value in rows[-1].items() if key != "times"})
    setting = {
        "scikit_learn": sklearn.__version__,
        "signals": NUM, "features": SIDE**2, "atoms": NUM_ATOMS, "count": COUNT, "tol": TOL,
        "repeats": repeats,
    }  # fmt: skip
    print("wrote", write_result("estimator", {**setting, "rows": rows}))


def patches(num: int) -> np.ndarray:
    """Shape ``(num, SIDE^2)``, of mean 0, in units of the brightest pixel; half of each image."""
    rng, found = np.random.default_rng(0), []
    for image in load_sample_images().images:
        grey = image.mean(axis=-1) / 255
        corners = rng.integers(0, np.subtract(grey.shape, SIDE) + 1, (num // 2, 2))
        found += [grey[i : i + SIDE, j : j + SIDE].ravel() for i, j in corners]
    found = rng.permutation(found)
    return found - found.mean(axis=1, keepdims=True)


def learned(X: np.ndarray) -> np.ndarray:
    """A dictionary by scikit-learn, atoms of norm 1."""
    learner = MiniBatchDictionaryLearning(
        NUM_ATOMS, alpha=0.1, max_iter=5, batch_size=256, random_state=0
    )
    atoms = learner.fit(X).components_
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


def row(atoms: np.ndarray, X: np.ndarray, repeats: int) -> dict:
    """Times and agreement for one dictionary and one dtype."""
    settings = {"transform_n_nonzero_coefs": COUNT}
    coders = {
        "greedyjax": SparseCoder(atoms, **settings),
        "scikit-learn": ScikitLearns(atoms, **settings),
        "scikit-learn, n_jobs=2": ScikitLearns(atoms, n_jobs=2, **settings),
    }
    warnings.simplefilter("ignore")  # Of atoms that are dependent.
    transforms = {name: lambda coder=coder: coder.transform(X) for name, coder in coders.items()}
    times = interleaved(transforms, repeats, rest=0.3)
    ours, theirs = transforms["greedyjax"](), transforms["scikit-learn"]()
    error, least = residuals(atoms, X, ours), residuals(atoms, X, theirs)
    # A residual that is rounding of the patch is none.
    rounding = 100 * np.finfo(X.dtype).eps * np.linalg.norm(X, axis=1)
    seconds = {name: time["median_s"] for name, time in times.items()}
    return {
        "times": times,
        "speedup": seconds["scikit-learn"] / seconds["greedyjax"],
        "speedup_n_jobs_2": seconds["scikit-learn, n_jobs=2"] / seconds["greedyjax"],
        "equal_supports": float(np.mean(np.all((ours != 0) == (theirs != 0), axis=1))),
        "residual_at_most": float(np.mean(error <= 1.0001 * least + rounding)),
        "mean_residual": float(error.mean()),
        "mean_residual_scikit_learn": float(least.mean()),
        "equal_counts_tol": equal_counts(atoms, X),
    }


def residuals(atoms: np.ndarray, X: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Norms, in double precision."""
    return np.linalg.norm(X - codes.astype(float) @ atoms.astype(float), axis=1)


def equal_counts(atoms: np.ndarray, X: np.ndarray) -> float:
    """Share of the patches with as many atoms as `orthogonal_mp_gram` gives them."""
    ours = SparseCoder(atoms, transform_alpha=TOL).transform(X)
    theirs = orthogonal_mp_gram(
        atoms @ atoms.T, atoms @ X.T, tol=TOL, norms_squared=np.sum(X**2, axis=1)
    ).T
    return float(np.mean(np.count_nonzero(ours, axis=1) == np.count_nonzero(theirs, axis=1)))


if __name__ == "__main__":
    main()
