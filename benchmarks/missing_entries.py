"""How well does a dictionary that was learned from signals with missing entries fill them in?

The 1,797 images of handwritten digits that scikit-learn ships, 8 x 8 pixels each. Pixels are
missing at random, in every image, and nobody sees a whole one. A dictionary of 32 atoms is learned
from the pixels that are there, and each image is coded from its own by OMP with 3 atoms. The error
is relative and squared, over the missing pixels: `sum (guess - pixel)^2 / sum pixel^2`. Beside it
the mean of each pixel over the images that have it, and scikit-learn's `KNNImputer` with the best
of several numbers of neighbours, chosen by that error itself.

    python benchmarks/missing_entries.py [--seeds N]
"""

import argparse
from functools import partial
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import write_result
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer

import greedyjax as gj
from greedyjax.pursuit import OMP, LeastSquares
from greedyjax.training import KSVD, MOD, OnlineGradient, learn_dictionary

NUM_ATOMS, SPARSITY, EPOCHS, GRADIENT_BATCH = 32, 3, 30, 100
SHARES = (0.25, 0.5, 0.75)
NEIGHBOURS = (2, 5, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    images = load_digits().data.astype(np.float32) / 16
    rows = []
    for share in SHARES:
        for seed in range(options.seeds):
            missing = np.random.default_rng(seed).random(images.shape) < share
            for name, fill in ways(len(images), seed).items():
                start = perf_counter()
                guess = np.asarray(fill(np.ma.array(images, mask=missing)))
                error = np.sum((guess - images)[missing] ** 2) / np.sum(images[missing] ** 2)
                row = {"way": name, "share": share, "seed": seed, "error": float(error)}
                rows.append(row | {"seconds": perf_counter() - start})
                print(rows[-1])
    setting = {"num_atoms": NUM_ATOMS, "sparsity": SPARSITY, "epochs": EPOCHS}
    print("wrote", write_result("missing_entries", {"setting": setting, "rows": rows}))


def ways(num: int, seed: int) -> dict:
    """What fills in missing pixels of a masked array."""
    schedule = optax.cosine_decay_schedule(2e-2, EPOCHS * (num // GRADIENT_BATCH))
    gradient = OnlineGradient(optax.adam(schedule))
    learned = partial(by_dictionary, seed=seed)
    return {
        "`KSVD()`": partial(learned, update=KSVD(), batch_size=num),
        "`MOD()`": partial(learned, update=MOD(), batch_size=num),
        "`OnlineGradient`": partial(learned, update=gradient, batch_size=GRADIENT_BATCH),
        "mean of each pixel": lambda Y: np.broadcast_to(Y.mean(axis=0).data, Y.shape),
        **{f"`KNNImputer({k})`": partial(by_neighbours, num=k) for k in NEIGHBOURS},
    }


def by_neighbours(Y, num: int):
    """The mean of the images nearest by the pixels that both have."""
    return KNNImputer(n_neighbors=num).fit_transform(Y.filled(np.nan))


def by_dictionary(Y, update, batch_size: int, seed: int):
    """``A x`` of the codes of what is there."""
    A = learn_dictionary(
        Y, NUM_ATOMS, SPARSITY, key=jax.random.key(seed), update=update, batch_size=batch_size,
        num_epochs=EPOCHS, progress=False,
    ).A  # fmt: skip
    return filled_in(A, jnp.asarray(Y.filled(0)), jnp.asarray(Y.mask))


@jax.jit
@partial(jax.vmap, in_axes=(None, 0, 0))
def filled_in(A, y, missing):
    """One image, coded as `learn_dictionary` codes it."""
    rows = A * ~missing[:, None]
    penalty = 0.1 * (1 - jnp.sum(rows**2, axis=0))
    return A @ gj.recover(OMP(SPARSITY, fit=LeastSquares(penalty)), rows, y).x


if __name__ == "__main__":
    main()
