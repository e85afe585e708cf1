"""What do greedy solvers make of an MRI slice from a quarter of its frequencies?

Slices of 256 x 256 with values from 0 to 1, axial ones of the T1 template that nilearn ships. Each
coefficient of the Fourier transform is measured at random, those of low frequencies more often,
25 % of all. Slices are sparse in wavelets. What a method has to be told or taught comes from four
slices of the lower half of the head, the wavelet among it; the results are for eight of the upper
half, and for a coronal slice of another head, which dipy ships. Nothing of size m x n is formed.

FISTA minimises ``||y - A x||^2 / 2 + penalty ||details of x||_1``. Times are those of one compiled
call for one slice, in turn with the others.

    pip install nilearn dipy
    python benchmarks/mri.py [--quick]
"""

import argparse
from collections.abc import Callable
from functools import cache, partial
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from common import interleaved, write_result
from flax import nnx
from jax import lax
from nilearn.datasets import load_mni152_template

import greedyjax as gj
from greedyjax.nets import IHTNet, StepSize, Temperature, Weights
from greedyjax.operators import MaskedFFT, Product, Wavelet
from greedyjax.policies import Tree
from greedyjax.sorting import BoundaryGate
from greedyjax.structures import Levels, Plain, local_sparsities
from greedyjax.training import fit, losses

SIDE, SHARE, STEPS = 256, 0.25, 30
KNOWN, HELD_OUT = range(52, 84, 8), range(96, 128, 4)
WAVELETS, LEVELS = ("haar", "sym4", "db4"), 5
SPARSITIES = (8000, 12000, 16000)
PENALTIES, FISTA_STEPS = (1e-4, 2e-4, 4e-4), (100,)
CLOSED = (0.3, 0.5)
TAU, EPOCHS, RATE = 3e-3, 60, 2e-2
IN_A_STEP = 8  # Slices, of the training step whose memory is measured.
PICTURED = ("zeros for the rest", "FISTA", "iht", "IHT-Net, soft")

Solver = Callable[[Any], Any]  # From measurements of one slice to its coefficients.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two slices, few settings, no result")
    quick = parser.parse_args().quick
    some = slice(0, 2) if quick else slice(None)
    slices = {
        "known": template(KNOWN)[some], "held out": template(HELD_OUT)[some],
        "another head": other(),
    }  # fmt: skip
    scans = {name: jax.vmap(scanned)(jnp.asarray(images)) for name, images in slices.items()}
    rows, pictures, runs = [], {}, {}
    for name, (solver, settings) in methods(scans["known"], slices["known"], quick).items():
        run = jax.jit(solver)
        found = {where: pictured(run, Y) for where, Y in scans.items()}
        psnr = {
            w: [decibels(*pair) for pair in zip(found[w], slices[w], strict=True)] for w in found
        }
        rows.append({"method": name, "settings": settings, "psnr_db": psnr})
        pictures[name] = found["held out"][0]
        runs[name] = partial(lambda run, y: jax.block_until_ready(run(y)), run, scans["known"][0])
        print(name, settings, {w: round(float(np.mean(p)), 2) for w, p in psnr.items()}, flush=True)
    for row, times in zip(rows, interleaved(runs, 3 if quick else 9).values(), strict=True):
        row["median_s"] = times["median_s"]
        print(f"{row['method']:30} {row['median_s']:.3f} s")
    memory = training_memory(WAVELETS[0])
    print(f"a training step of {IN_A_STEP} slices: {memory / 1e9:.2f} GB")
    if not quick:
        setting = {"side": SIDE, "share": SHARE, "steps": STEPS, "training_bytes": memory}
        print("wrote", write_result("mri", {**setting, "rows": rows}))
        draw(slices["held out"][0], {name: pictures[name] for name in PICTURED})


def template(heights: range) -> np.ndarray:
    """Axial slices of the T1 template, padded to squares."""
    volume = np.asarray(load_mni152_template(resolution=1).get_fdata(), np.float32)
    pad = [(each // 2, each - each // 2) for each in (SIDE - n for n in volume.shape[:2])]
    return np.stack([np.pad(volume[:, :, z], pad) / volume[:, :, z].max() for z in heights])


def other() -> np.ndarray:
    """A coronal slice of another head."""
    path = files("dipy") / "data" / "files" / "t1_coronal_slice.npy"
    image = np.load(str(path), allow_pickle=False)
    return (image / image.max())[None].astype(np.float32)


@cache
def fourier() -> MaskedFFT:
    """The frequencies that are measured."""
    frequency = np.fft.fftfreq(SIDE)
    radius = np.minimum(2 * np.hypot(frequency[:, None], frequency), 1)
    density = (1 - 0.98 * radius) ** 3
    few, many = 0.0, 1e3  # Scaled so that the mean of the probabilities is the share.
    for _ in range(60):
        middle = (few + many) / 2
        below = np.minimum(middle * density, 1).mean() < SHARE
        few, many = (middle, many) if below else (few, middle)
    kept = np.random.default_rng(0).random((SIDE, SIDE)) < np.minimum(few * density, 1)
    return MaskedFFT(np.flatnonzero(kept), (SIDE, SIDE))


@cache
def wavelets(name: str) -> Wavelet:
    """From coefficients to an image."""
    return Wavelet((SIDE, SIDE), name, num_levels=LEVELS)


@cache
def matrix(wavelet: str):
    """From real coefficients to frequencies, whose real and imaginary parts are stacked."""
    F = fourier()
    return gj.stack_real(Product([F, wavelets(wavelet)]), jnp.zeros(F.shape[0], F.dtype))[0]


def scanned(image):
    """The frequencies of an image, real and imaginary parts stacked."""
    y = fourier().matvec(image.ravel())
    return jnp.concatenate([y.real, y.imag])


def pictured(run: Solver, Y) -> np.ndarray:
    """The image that a solver finds, of each slice."""
    return np.stack([np.asarray(run(y)).reshape(SIDE, SIDE) for y in Y])


def decibels(found: np.ndarray, truth: np.ndarray) -> float:
    """The peak signal-to-noise ratio, for a peak of 1."""
    return float(-10 * np.log10(np.mean((found - truth) ** 2)))


def methods(Y, images: np.ndarray, quick: bool) -> dict[str, tuple[Solver, dict]]:
    """Each method with the settings that are best on the known slices."""
    best = partial(tuned, Y, images, wavelet=WAVELETS[:1] if quick else WAVELETS)
    sparsities = SPARSITIES[1:3] if quick else SPARSITIES
    found = {"zeros for the rest": (lambda y: fourier().rmatvec(complex_of(y)).real, {})}
    found["FISTA"] = best(
        fista, penalty=PENALTIES[:2] if quick else PENALTIES, num_steps=FISTA_STEPS
    )
    found["iht"] = best(iht, sparsity=sparsities)
    structures = partial(in_levels, images)
    found["iht, levels"] = best(
        lambda y, wavelet, sparsity: iht(y, wavelet, sparsity, structures(wavelet, sparsity)),
        sparsity=sparsities,
    )
    found["iht, tree"] = best(
        lambda y, wavelet, sparsity, closed: iht(
            y, wavelet, sparsity, weights=Tree(wavelets(wavelet).parents, closed)
        ),
        sparsity=sparsities, closed=CLOSED[quick:],
    )  # fmt: skip
    settings = found["iht"][1]
    W, net = wavelets(settings["wavelet"]), network(**settings)
    net = trained(net, Y, coefficients(W, images), 2 if quick else EPOCHS)
    hard = net.harden()
    found["IHT-Net, soft"] = (lambda y: W.matvec(net(y)), settings)
    found["IHT-Net, its hard solver"] = (lambda y: W.matvec(hard(y)), settings)
    return found


def complex_of(y):
    """The frequencies again."""
    return y[: len(y) // 2] + 1j * y[len(y) // 2 :]


def coefficients(W: Wavelet, images: np.ndarray):
    """Of each image."""
    return jax.vmap(W.rmatvec)(jnp.asarray(images.reshape(len(images), -1)))


def tuned(Y, images: np.ndarray, solve: Callable, **grid: tuple) -> tuple[Solver, dict]:
    """The solver with the best settings of a grid."""
    found = []
    for values in product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        run = partial(solve, **settings)
        pairs = zip(pictured(jax.jit(run), Y), images, strict=True)
        found.append((float(np.mean([decibels(*pair) for pair in pairs])), run, settings))
        print(f"    {settings} {found[-1][0]:.2f} dB", flush=True)
    _, run, settings = max(found, key=lambda each: each[0])
    return run, settings


def iht(y, wavelet: str, sparsity: int, structure=Plain(), weights=None):
    """The image of so many coefficients."""
    x = gj.iht(
        matrix(wavelet), y, sparsity=sparsity, num_steps=STEPS, step_size=1.0,
        structure=structure, weights=weights,
    ).x  # fmt: skip
    return wavelets(wavelet).matvec(x)


def in_levels(images: np.ndarray, wavelet: str, sparsity: int) -> Levels:
    """As many coefficients of each level as the images have."""
    W = wavelets(wavelet)
    with jax.ensure_compile_time_eval():
        X = np.asarray(coefficients(W, images))
    return Levels(W.levels, local_sparsities(X, W.levels, sparsity=sparsity))


def fista(y, wavelet: str, penalty: float, num_steps: int):
    """Beck and Teboulle 2009, for a matrix of norm 1."""
    A, W = matrix(wavelet), wavelets(wavelet)
    threshold = penalty * (W.levels > 0)

    def step(state, _):
        x, z, t = state
        u = z + A.rmatvec(y - A.matvec(z))
        after = jnp.sign(u) * jnp.maximum(jnp.abs(u) - threshold, 0)
        later = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        return (after, after + (t - 1) / later * (after - x), later), None

    zero = jnp.zeros(SIDE * SIDE)
    (x, *_), _ = lax.scan(step, (zero, zero, jnp.ones(())), length=num_steps)
    return W.matvec(x)


def network(wavelet: str, sparsity: int) -> IHTNet:
    """Learns weights for each level in each step, the temperature and the step size."""
    groups = wavelets(wavelet).levels
    return IHTNet(
        matrix(wavelet), sparsity=sparsity, num_layers=STEPS, relaxation=BoundaryGate,
        weights=Weights(groups=groups, per_layer=True, positive=True),
        tau=Temperature(TAU, learned=True), step_size=StepSize(1.0, learned=True),
    )  # fmt: skip


def trained(net: IHTNet, Y, X, epochs: int) -> IHTNet:
    """The network after so many steps with all known slices in each."""
    return fit(
        net, (Y, X), (Y, X), loss=losses.reconstruction, optimizer=optax.adam(RATE),
        num_epochs=epochs, batch_size=len(Y), key=jax.random.key(0),
    ).net  # fmt: skip


def training_memory(wavelet: str) -> int:
    """Bytes that a training step of eight slices needs beside its arguments."""
    graph, params, rest = nnx.split(network(wavelet, SPARSITIES[-1]), nnx.Param, ...)
    loss = lambda params, Y, X: losses.reconstruction(nnx.merge(graph, params, rest), Y, X)
    Y, X = (jnp.zeros((IN_A_STEP, size)) for size in matrix(wavelet).shape)
    compiled = jax.jit(jax.grad(loss)).lower(params, Y, X).compile()
    return int(compiled.memory_analysis().temp_size_in_bytes)


def draw(truth: np.ndarray, images: dict[str, np.ndarray]) -> None:
    """The slice as each method has it, and below ten times its error."""
    rows = {"the slice": truth, **images}
    middle = slice(28, 228)
    figure, axes = plt.subplots(2, len(rows), figsize=(9, 4), layout="constrained")
    for column, (name, image) in zip(axes.T, rows.items(), strict=True):
        title = name if image is truth else f"{name}\n{decibels(image, truth):.1f} dB"
        column[0].set_title(title, fontsize=10)
        column[0].imshow(image[middle, middle].T, cmap="gray", vmin=0, vmax=1, origin="lower")
        error = 10 * np.abs(image - truth)
        shown = column[1].imshow(
            error[middle, middle].T, cmap="magma", vmin=0, vmax=1, origin="lower"
        )
        for each in column:
            each.set_axis_off()
    bar = figure.colorbar(shown, ax=axes[1], shrink=0.9, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0", "0.05", "0.1"])
    bar.set_label("absolute error")
    figure.savefig(Path(__file__).parents[1] / "docs" / "images" / "mri.png", dpi=150)


if __name__ == "__main__":
    main()
