"""What do several snapshots of one support gain over one after the other, and what do they cost?

Frames of 8 snapshots of a line of 32 antennas: 4 paths whose directions are at least a beamwidth
apart, complex Gaussian gains, 15 dB. The dictionary has 128 steering vectors. Directions lie on its
grid, or anywhere. The error is that of the channel, the measurements without noise. Beside the
solvers stands least squares on the true directions. Times are those of one compiled call for all
frames, in turn with the others.

    python benchmarks/snapshots.py [--frames N] [--repeats N]
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from common import interleaved, write_result

import greedyjax as gj
from greedyjax.pursuit import OMP, OrderRecursive
from greedyjax.structures import SharedSupport

ANTENNAS, DIRECTIONS, SNAPSHOTS, PATHS, SNR_DB = 32, 128, 8, 4, 15.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    rows = []
    for on_grid in (True, False):
        rows += compared(on_grid, options.frames, options.repeats)
    setting = {
        "frames": options.frames, "repeats": options.repeats, "antennas": ANTENNAS,
        "directions": DIRECTIONS, "snapshots": SNAPSHOTS, "paths": PATHS, "snr_db": SNR_DB,
    }  # fmt: skip
    print("wrote", write_result("snapshots", {**setting, "rows": rows}))


def steering(frequencies: np.ndarray) -> np.ndarray:
    """Columns of norm 1, one for each frequency, on the last axis."""
    phases = np.arange(ANTENNAS)[:, None] * frequencies[..., None, :]
    return np.exp(2j * np.pi * phases) / np.sqrt(ANTENNAS)


def frames(num: int, on_grid: bool, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Measurements ``(num, m, L)``, the channel in them, and the true directions ``(num, k)``."""
    rng = np.random.default_rng(seed)
    # Gaps of a beamwidth each, and what is left of the circle divided at random.
    spare = rng.dirichlet(np.ones(PATHS), num) * (1 - PATHS / ANTENNAS)
    found = np.cumsum(spare + 1 / ANTENNAS, axis=1) + rng.random((num, 1))
    if on_grid:  # Rounding down keeps a gap of a beamwidth, which is four points.
        found = np.floor(found * DIRECTIONS) / DIRECTIONS
    gains = rng.standard_normal((2, num, PATHS, SNAPSHOTS))
    channel = steering(found) @ (gains[0] + 1j * gains[1])
    noise = rng.standard_normal((2, *channel.shape))
    level = np.sqrt(np.mean(np.abs(channel) ** 2) / 2) * 10 ** (-SNR_DB / 20)
    Y = channel + level * (noise[0] + 1j * noise[1])
    return Y.astype(np.complex64), channel, found, level * np.sqrt(2)


def compared(on_grid: bool, num: int, repeats: int) -> list[dict]:
    """Error and time of each method."""
    Y, channel, directions, deviation = frames(num, on_grid)
    A = steering(np.arange(DIRECTIONS) / DIRECTIONS).astype(np.complex64)
    noise = float(deviation * np.sqrt(ANTENNAS * SNAPSHOTS))
    shared, each = SharedSupport(), jnp.asarray(Y.swapaxes(1, 2).reshape(-1, ANTENNAS))
    dictionary, Y_all = gj.dictionary(A), jnp.asarray(Y)

    def method(fit=None, atol=None):
        fits = {} if fit is None else {"fit": fit}
        return OMP(PATHS, atol=atol, structure=shared, **fits)

    solvers = {
        "OMP, snapshot by snapshot": (partial(gj.omp_batch, sparsity=PATHS), each),
        "shared support": (partial(_recover, method()), Y_all),
        "shared, order-recursive": (partial(_recover, method(OrderRecursive())), Y_all),
        "shared, rank-aware": (
            partial(_recover, method(OrderRecursive(rank_aware=True), noise)), Y_all,
        ),
    }  # fmt: skip
    compiled = {name: jax.jit(lambda D, Y, s=s: s(D, Y).x) for name, (s, _) in solvers.items()}
    runs = {
        name: partial(lambda f, Y: jax.block_until_ready(f(dictionary, Y)), compiled[name], rows)
        for name, (_, rows) in solvers.items()
    }
    rows = []
    for name, times in interleaved(runs, repeats).items():
        X = np.asarray(runs[name]())
        if X.ndim == 2:
            X = X.reshape(num, SNAPSHOTS, DIRECTIONS).swapaxes(1, 2)
        rows.append(row(on_grid, name, A @ X, channel, num / times["median_s"]))
    true = steering(directions)
    fitted = true @ (np.linalg.pinv(true) @ Y)
    rows.append(row(on_grid, "least squares on the true directions", fitted, channel, None))
    return rows


def _recover(method: OMP, A, Y) -> gj.Recovery:
    return gj.recover_batch(method, A, Y)


def row(on_grid: bool, name: str, found: np.ndarray, channel: np.ndarray, rate) -> dict:
    """The normalised mean squared error in dB, over all frames."""
    error = np.sum(np.abs(found - channel) ** 2) / np.sum(np.abs(channel) ** 2)
    made = {"on_grid": on_grid, "method": name, "nmse_db": float(10 * np.log10(error))}
    made["frames_per_s"] = rate
    speed = "" if rate is None else f"{rate:9.0f} frames/s"
    where = "on the grid" if on_grid else "off the grid"
    print(f"{where:13}{name:38}{made['nmse_db']:7.2f} dB {speed}")
    return made


if __name__ == "__main__":
    main()
