"""What does a batch cost whose signals stop at a tolerance, each at a number of atoms of its own?

5,000 patches of 8 x 8 pixels of a photograph that scikit-learn brings, less their means, over 256
atoms, two-dimensional cosines of 16 frequencies each way. A patch stops once its squared error is
below the tolerance, or at 64 atoms. Beside `omp_batch` stand `jax.vmap(omp)`, where no signal ends
before the last one does, and scikit-learn's `orthogonal_mp_gram`, which takes one signal after the
other; runs are interleaved. Counts are compared where a patch is above the tolerance at all:
scikit-learn gives every signal one atom at least.

    python benchmarks/tolerance.py [--repeats N]
"""

import argparse
import warnings

import jax
import numpy as np
from common import interleaved, write_result
from sklearn.datasets import load_sample_image
from sklearn.linear_model import orthogonal_mp_gram

import greedyjax as gj

SIDE, FREQUENCIES, NUM, SPARSITY = 8, 16, 5000, 64
TOLERANCES = (0.5, 0.1, 0.05, 0.02, 0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times batches with a tolerance.")
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    A, Y = cosines(), patches()
    rows = [row(A, Y, tolerance, repeats) for tolerance in TOLERANCES]
    setting = {"signals": NUM, "shape": A.shape, "sparsity": SPARSITY, "repeats": repeats}
    print("wrote", write_result("tolerance", {**setting, "rows": rows}))


def patches() -> np.ndarray:
    """Shape ``(NUM, SIDE^2)``, of mean 0, in units of the brightest pixel."""
    image = load_sample_image("china.jpg").mean(axis=-1) / 255
    rng = np.random.default_rng(0)
    corners = rng.integers(0, np.subtract(image.shape, SIDE) + 1, (NUM, 2))
    found = np.stack([image[i : i + SIDE, j : j + SIDE].ravel() for i, j in corners])
    return (found - found.mean(axis=1, keepdims=True)).astype(np.float32)


def cosines() -> np.ndarray:
    """Columns of norm 1, all but the first of mean 0, as the K-SVD literature has them."""
    pixels, frequencies = np.arange(SIDE) + 0.5, np.arange(FREQUENCIES)
    one = np.cos(np.outer(pixels, frequencies) * np.pi / FREQUENCIES)
    one[:, 1:] -= one[:, 1:].mean(axis=0)
    A = np.kron(one, one)
    return (A / np.linalg.norm(A, axis=0)).astype(np.float32)


def row(A: np.ndarray, Y: np.ndarray, tolerance: float, repeats: int) -> dict:
    """Times of one tolerance, and what was found."""
    atol = float(np.sqrt(tolerance))
    batch = jax.jit(lambda A, Y: gj.omp_batch(A, Y, sparsity=SPARSITY, atol=atol))
    one = lambda A, y: gj.omp(A, y, sparsity=SPARSITY, atol=atol)
    each = jax.jit(jax.vmap(one, in_axes=(None, 0)))

    def reference():
        wide, signals = A.astype(float), Y.astype(float)
        squares = np.sum(signals**2, axis=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of atoms that are dependent.
            return orthogonal_mp_gram(
                wide.T @ wide, wide.T @ signals.T, tol=tolerance, norms_squared=squares
            )

    times = interleaved(
        {
            "omp_batch": lambda: jax.block_until_ready(batch(A, Y)),
            "vmap of omp": lambda: jax.block_until_ready(each(A, Y)),
            "scikit-learn": reference,
        },
        repeats,
        rest=0.3,
    )
    counts = np.asarray(batch(A, Y).num_steps)
    theirs = np.sum(reference() != 0, axis=0)
    above = np.sum(Y**2, axis=1) > tolerance
    ratio = times["scikit-learn"]["median_s"] / times["omp_batch"]["median_s"]
    result = {
        "tolerance": tolerance,
        "mean_count": float(counts.mean()),
        "largest_count": int(counts.max()),
        "above_tolerance": float(above.mean()),
        "equal_counts": float(np.mean((counts == theirs)[above])),
        "times": times,
        "scikit_learn_over_omp_batch": ratio,
    }
    print({name: value for name, value in result.items() if name != "times"})
    return result


if __name__ == "__main__":
    main()
