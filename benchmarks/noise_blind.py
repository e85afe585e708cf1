"""When to stop, where neither the number of atoms nor the noise is known.

Signals of 2 to 14 atoms in noise of 5 to 40 dB below the measurements, of which no solver is told
anything. Each has one setting, the same for all signals, that served the training signals best;
the one with a tolerance in the units of the noise is told the noise of each signal besides.

    python benchmarks/noise_blind.py
"""

import numpy as np
from common import write_result

import greedyjax as gj
from greedyjax.pursuit import OMP, RootLasso

M, N, NUM, MOST = 64, 256, 4000, 24
WAYS = {
    "OMP, one number of atoms": (4, 6, 8, 10, 12, 14),
    "OMP, one `rtol`": (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
    "OMP, `RootLasso(level)`": (0.25, 0.3, 0.35, 0.4, 0.45, 0.5),
    "OMP, `atol` of the true noise": (0.8, 0.9, 1.0, 1.1, 1.2, 1.3),
}


def main() -> None:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((M, N)).astype(np.float32)
    A /= np.linalg.norm(A, axis=0)
    train, test = signals(rng, A), signals(rng, A)
    rows = []
    for name, settings in WAYS.items():
        best = min(settings, key=lambda s: errors(solved(A, name, s, train), train).mean())
        X_hat = solved(A, name, best, test)
        error = errors(X_hat, test)
        row = {
            "method": name, "setting": best, "mean_db": decibels(error.mean()),
            "median_db": decibels(np.median(error)), "f1": f1(X_hat, test["X"]),
        }  # fmt: skip
        print(row)
        rows.append(row)
    error = errors(on_support(A, test), test)
    rows.append(
        {
            "method": "least squares on the true support", "setting": None,
            "mean_db": decibels(error.mean()), "median_db": decibels(np.median(error)), "f1": 1.0,
        }
    )  # fmt: skip
    setting = {"m": M, "n": N, "num": NUM, "most_atoms": MOST, "snr_db": [5, 40], "seed": 0}
    print("wrote", write_result("noise_blind", {**setting, "rows": rows}))


def signals(rng, A) -> dict[str, np.ndarray]:
    X = np.zeros((NUM, N), np.float32)
    for x in X:
        chosen = rng.choice(N, rng.integers(2, 15), replace=False)
        x[chosen] = rng.standard_normal(len(chosen))
    clean, noise = X @ A.T, rng.standard_normal((NUM, M))
    level = 10 ** (-rng.uniform(5, 40, NUM) / 20) * np.linalg.norm(clean, axis=1)
    noise *= (level / np.linalg.norm(noise, axis=1))[:, None]
    return {"X": X, "Y": clean + noise.astype(np.float32), "level": level.astype(np.float32)}


def solved(A, name: str, setting: float, data: dict[str, np.ndarray]) -> np.ndarray:
    methods = {
        "OMP, one number of atoms": lambda: OMP(int(setting)),
        "OMP, one `rtol`": lambda: OMP(MOST, rtol=setting),
        "OMP, `RootLasso(level)`": lambda: OMP(MOST, fit=RootLasso(level=setting)),
        "OMP, `atol` of the true noise": lambda: OMP(MOST, atol=setting * data["level"]),
    }
    return np.asarray(gj.recover_batch(methods[name](), A, data["Y"]).x)


def on_support(A, data: dict[str, np.ndarray]) -> np.ndarray:
    found = np.zeros_like(data["X"])
    for x_hat, x, y in zip(found, data["X"], data["Y"], strict=True):
        support = np.flatnonzero(x)
        x_hat[support] = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    return found


def errors(X_hat, data: dict[str, np.ndarray]) -> np.ndarray:
    """Relative squared error of each signal."""
    X = data["X"]
    return np.sum((X_hat - X) ** 2, axis=1) / np.sum(X**2, axis=1)


def decibels(error: float) -> float:
    return float(10 * np.log10(error))


def f1(X_hat, X) -> float:
    """Of the supports, in the mean."""
    found, true = X_hat != 0, X != 0
    both, either = np.sum(found & true, axis=1), np.sum(found, axis=1) + np.sum(true, axis=1)
    return float(np.mean(2 * both / np.maximum(either, 1)))


if __name__ == "__main__":
    main()
