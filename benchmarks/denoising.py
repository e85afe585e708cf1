"""How well do learned dictionaries take noise out of photographs, and how fast?

The experiment of Elad and Aharon (2006): every patch of 8 x 8 pixels of a noisy photograph is coded
over 256 atoms by OMP, which stops at a residual of ``GAIN * sigma * 8``. All patches overlap; their
estimates are averaged with the noisy photograph, which has the weight ``30 / sigma``. The mean of a
patch is taken off before and put back after. Dictionaries are learned from the noisy photograph
itself, or from another photograph without noise, or are cosines.

scikit-learn learns by `MiniBatchDictionaryLearning` and codes by `orthogonal_mp_gram`, on the same
patches to the same residual. It gives every patch an atom, so it gets only the patches that need
one. Non-local means and total variation are those of scikit-image.

Two regions of 256 x 256 pixels of the photographs that scikit-learn brings are measured. What has
to be chosen is chosen on a third region, with other noise: `--parts choose` measures the choices.
Times are those after compilation, and those of coding include all but learning.

    pip install scikit-image
    python benchmarks/denoising.py [--parts PART ...] [--sigmas N ...] [--seeds N] [--quick]
"""

import argparse
import os
import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from common import RESULTS, load_result, versions, write_result
from PIL import Image
from sklearn.datasets import load_sample_image
from sklearn.decomposition import MiniBatchDictionaryLearning
from sklearn.feature_extraction.image import extract_patches_2d, reconstruct_from_patches_2d
from sklearn.linear_model import orthogonal_mp_gram
from tolerance import SIDE, cosines

import greedyjax as gj
from greedyjax import streaming
from greedyjax.pursuit import OMP
from greedyjax.training import KSVD, Coded, learn_dictionary

NAME = "denoising"
SIGMAS, SEEDS, CHOOSING_SEED = (10, 25, 50), 3, 100
REGIONS = {  # File, rows from, columns from.
    "temple": ("china.jpg", 60, 64),
    "flower": ("flower.jpg", 90, 180),
    "trees": ("china.jpg", 171, 384),  # Where settings are chosen.
}
SIZE, NUM_ATOMS, MOST = 256, 256, 32  # Pixels of a side of a region; atoms, and of a patch.
# Chosen by `choose`, but for the weight, which is the paper's.
GAIN, WEIGHT, EPOCHS = 1.1, 30.0, 3
SPARSITY = {10: 16, 25: 8, 50: 4}  # While learning.
FROM_OTHER = {"sparsity": 8, "patches": 50_000}
SCIKIT_LEARN = {"alpha_over_sigma": 2.0, "patches": 6144, "batch_size": 256}
NLM = {"patch_size": 5, "patch_distance": 6}
STRENGTHS = {  # In units of sigma.
    "non-local means": {10: 0.6, 25: 0.6, 50: 0.5},
    "total variation": {10: 0.3, 25: 0.5, 50: 0.8},
}

OWN, OTHER, FIXED = "learned from itself", "learned from the other photograph", "cosines"
THEIRS = "scikit-learn, learned from itself"


class Denoised(NamedTuple):
    """An image, the atoms of a patch on average, and the dictionary; seconds of both parts."""

    image: np.ndarray
    learn_s: float = 0.0
    code_s: float = 0.0
    atoms: float | None = None
    A: np.ndarray | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["measure", "draw"])
    parser.add_argument("--sigmas", type=int, nargs="+", default=SIGMAS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--methods", nargs="+", help="measures these, and keeps the other rows")
    parser.add_argument("--quick", action="store_true", help="a small region, and no result")
    options = parser.parse_args()
    if options.quick:
        rows = measured(options.sigmas, [0], {"temple": region("temple")[64:160, :96]})
        print(len(rows), "rows")
        return
    content = load_result(NAME) if (RESULTS / f"{NAME}.json").exists() else {}
    if "choose" in options.parts:
        others = [row for row in content.get("choices", ()) if row["sigma"] not in options.sigmas]
        content["choices"] = [*others, *choices(options.sigmas)]
    if "measure" in options.parts:
        content["setting"] = {
            "size": SIZE, "gain": GAIN, "weight": WEIGHT, "most_atoms": MOST, "epochs": EPOCHS,
            "sparsity": SPARSITY, "from_other": FROM_OTHER, "scikit_learn": SCIKIT_LEARN,
            "non_local_means": NLM, "strengths": STRENGTHS, "seeds": options.seeds,
            "versions": versions(("scikit-learn", "scikit-image")),
        }  # fmt: skip
        images = {name: region(name) for name in ("temple", "flower")}
        only = options.methods
        if not only:
            content["compile_s"] = {sigma: compiling(sigma) for sigma in options.sigmas}
        content["rows"] = [r for r in content.get("rows", ()) if only and r["method"] not in only]
        for seed in range(options.seeds):  # What is done stays if the run is stopped.
            content["rows"] += measured(options.sigmas, [seed], images, only)
            if not only:
                content["load_average"] = os.getloadavg()  # 2 or less if nothing else computes.
            write_result(NAME, content)
    if "draw" in options.parts:
        draw()
    print("wrote", write_result(NAME, content))


def grey(file: str) -> np.ndarray:
    """A photograph, from 0 to 255."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return load_sample_image(file).astype(np.float32) @ weights


def region(name: str) -> np.ndarray:
    """A square of a photograph."""
    file, top, left = REGIONS[name]
    return grey(file)[top : top + SIZE, left : left + SIZE]


def with_noise(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """The image, with normal noise of this deviation."""
    noise = np.random.default_rng(seed).standard_normal(image.shape)
    return image + (sigma * noise).astype(np.float32)


def decibels(found: np.ndarray, truth: np.ndarray) -> float:
    """The peak signal-to-noise ratio, for a peak of 255."""
    return float(20 * np.log10(255) - 10 * np.log10(np.mean((found - truth) ** 2)))


def patches(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All patches less their means, one a row, and the means."""
    Y = extract_patches_2d(image, (SIDE, SIDE)).reshape(-1, SIDE**2)
    means = Y.mean(axis=1, keepdims=True)
    return Y - means, means


def averaged(estimates: np.ndarray, noisy: np.ndarray, weight: float) -> np.ndarray:
    """``(weight * noisy + sum of the patches) / (weight + number of patches)`` at each pixel."""
    mean = reconstruct_from_patches_2d(estimates.reshape(-1, SIDE, SIDE), noisy.shape)
    rows, columns = (np.arange(size) + 1 for size in noisy.shape)
    over = lambda i: np.minimum(np.minimum(i, i[::-1]), min(SIDE, len(i) - SIDE + 1))
    counts = np.outer(over(rows), over(columns))
    return (weight * noisy + counts * mean) / (weight + counts)


@partial(jax.jit, static_argnums=0)
def _code(most: int, A, Y, limits):
    codes = gj.encode(OMP(most, atol=limits), A, Y)
    return codes.measurements(A), codes.num_steps


def coded(A: np.ndarray, Y: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """``A x`` of each patch up to the limit of its residual, and how many atoms that takes."""
    limits = np.full(len(Y), limit, Y.dtype)
    return streaming.recover(partial(_code, MOST, jnp.asarray(A)), Y, limits, batch_size=32_768)


def denoised(
    noisy: np.ndarray, sigma: float, learn: Callable, code: Callable = coded, gain: float = GAIN
) -> Denoised:
    """By the dictionary that ``learn`` makes of the patches, and the codes of ``code``."""
    start = perf_counter()
    Y, means = patches(noisy)
    limit = gain * sigma * SIDE
    begun = perf_counter()
    A = np.asarray(learn(Y, limit))
    learned = perf_counter()
    estimates, atoms = code(A, Y, limit)
    image = averaged(estimates + means, noisy, WEIGHT / sigma)
    learn_s = learned - begun
    return Denoised(image, learn_s, perf_counter() - start - learn_s, float(atoms.mean()), A)


def learned(Y: np.ndarray, limit: float, sparsity: int, num_epochs: int = EPOCHS):
    """K-SVD from cosines, with so many atoms a patch."""
    return learn_dictionary(
        Y, NUM_ATOMS, sparsity, key=jax.random.key(0), initial=cosines(), num_epochs=num_epochs,
        update=KSVD(), progress=False,
    ).A  # fmt: skip


@jax.jit
def _sweep(A, Y, limit):
    codes = gj.encode(OMP(MOST, atol=limit), A, Y)
    residual = Y - codes.measurements(A)
    batch = Coded(codes.coefficients, codes.support, residual, jnp.sum(Y**2))
    _, A = KSVD().step((), A, batch, jnp.zeros(A.shape[1], bool))
    return A / jnp.linalg.norm(A, axis=0, keepdims=True)


def learned_to_limit(Y: np.ndarray, limit: float, num_epochs: int = 10):
    """The same, with as many atoms as the limit asks for, as in the paper."""
    A, rng = jnp.asarray(cosines()), np.random.default_rng(0)
    size = min(10_000, len(Y))
    for _ in range(num_epochs):
        order = rng.permutation(len(Y))
        for places in order[: len(Y) // size * size].reshape(-1, size):
            A = _sweep(A, Y[places], limit)
    return A


@cache
def from_other(file: str) -> np.ndarray:
    """Learned from patches of a photograph without noise."""
    Y, _ = patches(grey(file))
    num = FROM_OTHER["patches"]
    drawn = Y[np.random.default_rng(0).choice(len(Y), num, replace=False)]
    return np.asarray(learned(drawn, 0.0, FROM_OTHER["sparsity"]))


def theirs(Y: np.ndarray, limit: float, alpha: float) -> np.ndarray:
    """scikit-learn's dictionary, from cosines, in one pass over some of the patches."""
    num = min(SCIKIT_LEARN["patches"], len(Y))
    model = MiniBatchDictionaryLearning(
        NUM_ATOMS, alpha=alpha, max_iter=1, batch_size=SCIKIT_LEARN["batch_size"],
        dict_init=cosines().T, fit_algorithm="cd", random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of coordinate descent that stops early.
        model.fit(Y[np.random.default_rng(0).choice(len(Y), num, replace=False)])
    A = model.components_.T
    norms = np.linalg.norm(A, axis=0)
    return A[:, norms > 0] / norms[norms > 0]


def coded_by_them(A: np.ndarray, Y: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """As `coded`, by scikit-learn."""
    squares = np.sum(Y**2, axis=1)
    above = squares > limit**2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of atoms that are dependent.
        X = orthogonal_mp_gram(
            A.T @ A, A.T @ Y[above].T, tol=limit**2, norms_squared=squares[above]
        ).T.reshape(-1, A.shape[1])  # fmt: skip
    estimates, atoms = np.zeros_like(Y), np.zeros(len(Y), int)
    estimates[above], atoms[above] = X @ A.T, np.count_nonzero(X, axis=1)
    return estimates, atoms


def smoothed(noisy: np.ndarray, sigma: float, name: str, strength: float) -> Denoised:
    """By a method of scikit-image."""
    from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

    start = perf_counter()
    if name == "total variation":
        image = denoise_tv_chambolle(noisy, weight=strength * sigma)
    else:
        image = denoise_nl_means(noisy, h=strength * sigma, sigma=sigma, fast_mode=True, **NLM)
    return Denoised(image, code_s=perf_counter() - start)


def methods(sigma: int, other: str) -> dict[str, Callable[[np.ndarray], Denoised]]:
    """From a noisy image to a denoised one."""
    by = lambda learn, **code: partial(denoised, sigma=sigma, learn=learn, **code)
    alpha = SCIKIT_LEARN["alpha_over_sigma"] * sigma
    found = {
        OWN: by(partial(learned, sparsity=SPARSITY[sigma])),
        OTHER: by(lambda Y, limit: from_other(other)),
        FIXED: by(lambda Y, limit: cosines()),
        THEIRS: by(partial(theirs, alpha=alpha), code=coded_by_them),
    }
    if find_spec("skimage"):
        for name, strengths in STRENGTHS.items():
            found[name] = partial(smoothed, sigma=sigma, name=name, strength=strengths[sigma])
    return found


def measured(sigmas, seeds, images: dict[str, np.ndarray], only=None) -> list[dict]:
    """A row for each image, noise, seed and method, or those of some methods."""
    rows = []
    files = {name: "china.jpg" if name == "flower" else "flower.jpg" for name in images}
    for file in files.values() if not only or OTHER in only else ():
        from_other(file)  # Learned once, and not in the times of an image.
    for seed in seeds:
        for name, image in images.items():
            for sigma in sigmas:
                noisy = with_noise(image, sigma, seed)
                case = {"photograph": name, "sigma": sigma, "seed": seed}
                if not only:
                    rows.append({**case, "method": "noisy", "psnr_db": decibels(noisy, image)})
                for method, run in methods(sigma, files[name]).items():
                    if only and method not in only:
                        continue
                    found = run(noisy)
                    rows.append({
                        **case, "method": method, "psnr_db": decibels(found.image, image),
                        "learn_s": found.learn_s, "code_s": found.code_s, "atoms": found.atoms,
                    })  # fmt: skip
                    print(rows[-1], flush=True)
    return rows


def compiling(sigma: int) -> float:
    """Seconds of the first run beyond those of the second."""
    noisy, seconds = with_noise(region("trees"), sigma, CHOOSING_SEED), []
    for _ in range(2):
        start = perf_counter()
        denoised(noisy, sigma, partial(learned, sparsity=SPARSITY[sigma], num_epochs=1))
        seconds.append(perf_counter() - start)
    return seconds[0] - seconds[1]


def choices(sigmas) -> list[dict]:
    """What settings are worth on the region where they are chosen."""
    image, rows = region("trees"), []
    for sigma in sigmas:
        noisy = with_noise(image, sigma, CHOOSING_SEED)

        def add(what: str, value, found: Denoised, sigma=sigma):
            row = {"sigma": sigma, "what": what, "value": value}
            row |= {"psnr_db": decibels(found.image, image), "seconds": found.learn_s}
            rows.append(row)
            print(row, flush=True)

        for value in (1.0, 1.05, 1.1, 1.15, 1.2):
            fixed = denoised(noisy, sigma, lambda Y, limit: cosines(), gain=value)
            add("gain, cosines", value, fixed)
        for value in (SPARSITY[sigma] // 2, SPARSITY[sigma], SPARSITY[sigma] * 3 // 2):
            add("sparsity", value, denoised(noisy, sigma, partial(learned, sparsity=value)))
        add("to the limit", None, denoised(noisy, sigma, learned_to_limit))
        for value in (1.0, 2.0, 4.0):
            add("alpha", value, denoised(noisy, sigma, partial(theirs, alpha=value * sigma)))
        for name in STRENGTHS if find_spec("skimage") else ():
            for value in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0):
                add(name, value, smoothed(noisy, sigma, name, value))
    return rows


def draw(sigma: int = 25) -> None:
    """Each region with noise and without it, and what was learned from the noisy one."""
    figure, axes = plt.subplots(2, 4, figsize=(10, 5.3), layout="constrained")
    for row, name in zip(axes, ("temple", "flower"), strict=True):
        image = region(name)
        noisy = with_noise(image, sigma, 0)
        found = denoised(noisy, sigma, partial(learned, sparsity=SPARSITY[sigma]))
        shown = {
            f"with noise, {decibels(noisy, image):.1f} dB": noisy,
            f"denoised, {decibels(found.image, image):.1f} dB": found.image,
            "the photograph": image,
        }
        for ax, (title, pixels) in zip(row, shown.items(), strict=False):
            ax.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            ax.set_title(title, fontsize=11)
        row[3].imshow(mosaic(found.A), cmap="gray", vmin=-1, vmax=1)
        row[3].set_title("the 256 learned atoms", fontsize=11)
    for ax in axes.flat:
        ax.set_axis_off()
    path = Path(__file__).parents[1] / "docs" / "images" / f"{NAME}.png"
    figure.savefig(path, dpi=150)
    Image.open(path).convert("L").save(path, optimize=True)  # In grey, half the bytes.


def mosaic(A: np.ndarray) -> np.ndarray:
    """Atoms side by side, each scaled to 1."""
    tiles = np.full((16, 16, SIDE + 1, SIDE + 1), 1.0)
    order = np.argsort(-np.abs(np.diff(A.T.reshape(-1, SIDE, SIDE), axis=2)).sum(axis=(1, 2)))[::-1]
    tiles[:, :, :SIDE, :SIDE] = (A / np.abs(A).max(axis=0)).T[order].reshape(16, 16, SIDE, SIDE)
    return tiles.transpose(0, 2, 1, 3).reshape(16 * (SIDE + 1), -1)[:-1, :-1]


if __name__ == "__main__":
    main()
