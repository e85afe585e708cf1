"""What do answers that are not negative cost, and how good are they, of a diffusion-MRI size?

290 measurements, 100 atoms, 6 of them in a signal with weights from 0.5 to 2, and noise. Of two
dictionaries one is Gaussian. The other has the signals of diffusion along 100 fibres, measured in
290 directions at three strengths: all positive, and neighbours nearly the same. Beside the greedy
solvers stand non-negative least squares on all atoms, which knows nothing of how few there are, and
greedy steps by SciPy, a signal at a time.

Times are those of one call for all signals, in turn with the others; SciPy has fewer of them, and
its rate is that of those. Errors are over the signals that SciPy has.

    python benchmarks/nonnegative.py [--signals N] [--repeats N]
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from common import interleaved, write_result

import greedyjax as gj
from greedyjax.structures import NonNegative

MEASUREMENTS, ATOMS, SPARSITY, SNR_DB = 290, 100, 6, 30.0
LOOPED = 200  # Signals for SciPy, one after the other.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--signals", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for name, A in (("Gaussian", gaussian()), ("diffusion", diffusion())):
        rows += compared(name, A, options.signals, options.repeats)
    setting = {
        "signals": options.signals, "looped": LOOPED, "repeats": options.repeats,
        "measurements": MEASUREMENTS, "atoms": ATOMS, "sparsity": SPARSITY, "snr_db": SNR_DB,
    }  # fmt: skip
    print("wrote", write_result("nonnegative", {**setting, "rows": rows}))


def gaussian() -> np.ndarray:
    """Columns of norm 1."""
    A = np.random.default_rng(0).standard_normal((MEASUREMENTS, ATOMS))
    return (A / np.linalg.norm(A, axis=0)).astype(np.float32)


def diffusion() -> np.ndarray:
    """``exp(-b (d_1 cos^2 + d_2 sin^2))`` of the angle between a fibre and what is measured.

    Strengths b of 1, 2 and 3, with diffusion 1.7 along a fibre and 0.2 across, in units of each
    other's inverse. Directions are those of a spiral on the sphere, fibres those of its half.
    """
    strengths = np.resize([1.0, 2.0, 3.0], MEASUREMENTS)
    cosines = _spiral(MEASUREMENTS) @ _spiral(2 * ATOMS)[:ATOMS].T
    A = np.exp(-strengths[:, None] * (0.2 + 1.5 * cosines**2))
    return (A / np.linalg.norm(A, axis=0)).astype(np.float32)


def _spiral(num: int) -> np.ndarray:
    """Points that cover the sphere evenly, those of the upper half first."""
    height = 1 - (2 * np.arange(num) + 1) / num
    turn = np.pi * (3 - 5**0.5) * np.arange(num)
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)


def signals(A: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Signals, and what is measured of them."""
    rng = np.random.default_rng(1)
    X = np.zeros((num, ATOMS))
    for x in X:
        x[rng.choice(ATOMS, SPARSITY, replace=False)] = rng.uniform(0.5, 2, SPARSITY)
    clean = X @ A.T
    noise = rng.standard_normal(clean.shape) * np.linalg.norm(clean, axis=1, keepdims=True)
    return X, (clean + 10 ** (-SNR_DB / 20) * noise / MEASUREMENTS**0.5).astype(np.float32)


def greedy_by_scipy(A: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The atom of the largest positive correlation, and `nnls` on all so far, again and again."""
    x, chosen = np.zeros(ATOMS), []
    for _ in range(SPARSITY):
        correlations = A.T @ (y - A @ x)
        correlations[chosen] = 0
        best = int(np.argmax(correlations))
        if correlations[best] <= 0:
            break
        chosen.append(best)
        x[chosen] = scipy.optimize.nnls(A[:, chosen], y)[0]
    return x


def compared(name: str, A: np.ndarray, num: int, repeats: int) -> list[dict]:
    """Error and time of each method."""
    X, Y = signals(A, num)
    few, A_double = Y[:LOOPED].astype(np.float64), A.astype(np.float64)
    steps = {"sparsity": SPARSITY, "num_steps": 20, "structure": NonNegative()}
    solvers = {
        "`omp_batch`, any sign": partial(gj.omp_batch, sparsity=SPARSITY),
        "`omp_batch`, `NonNegative`": partial(
            gj.omp_batch, sparsity=SPARSITY, structure=NonNegative()
        ),
        "`htp_batch`, `NonNegative`, 20 steps": partial(gj.htp_batch, **steps),
    }
    A_all, Y_all = jnp.asarray(A), jnp.asarray(Y)
    compiled = {title: jax.jit(lambda A, Y, s=s: s(A, Y).x) for title, s in solvers.items()}
    runs = {
        title: partial(lambda f: np.asarray(jax.block_until_ready(f(A_all, Y_all))), f)
        for title, f in compiled.items()
    }
    each = lambda solve: lambda: np.stack([solve(A_double, y) for y in few])
    runs["the same steps, SciPy in a loop"] = each(greedy_by_scipy)
    runs["SciPy's `nnls`, all atoms, in a loop"] = each(lambda A, y: scipy.optimize.nnls(A, y)[0])
    rows = []
    for title, times in interleaved(runs, repeats).items():
        found = runs[title]()
        rate = len(found) / times["median_s"]
        rows.append(row(name, title, found[:LOOPED], X[:LOOPED], A_double, rate))
    return rows


def row(name: str, title: str, found, X, A, rate: float) -> dict:
    """Normalised errors of signals and of what is measured without noise; how many are positive."""
    size = lambda Z: float(np.sum(Z**2))
    made = {
        "dictionary": name,
        "method": title,
        "nmse_db": 10 * np.log10(size(found - X) / size(X)),
        "measured_db": 10 * np.log10(size((found - X) @ A.T) / size(X @ A.T)),
        "nonzeros": float(np.mean(np.sum(found != 0, axis=1))),
        "negative": float(np.mean(np.any(found < 0, axis=1))),
        "signals_per_s": rate,
    }
    print(
        f"{name:10}{title:52}{made['nmse_db']:7.1f} dB {made['measured_db']:7.1f} dB"
        f"{made['nonzeros']:6.1f} {made['negative']:5.0%} {rate:9.0f} signals/s"
    )
    return made


if __name__ == "__main__":
    main()
