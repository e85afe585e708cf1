"""Does the gradient through Soft-OMP learn a better dictionary than the one through hard OMP?

A planted dictionary of 32 Gaussian atoms with 16 numbers; 2,000 signals of 3 atoms with normal
coefficients, at 30 dB. A dictionary starts from signals drawn at random and follows the gradient of
`sum ||y - A x||^2 / (2 sum ||y||^2)` with respect to `A`, through the codes `x` of the solver as
well, by Adam with a learning rate that falls; its columns are scaled to norm 1 after each step. The
solver is hard OMP, or Soft-OMP at one of several temperatures or at one that falls. All see the
same batches from the same starts, and no atom is replaced. Dictionaries are judged by the share of
planted atoms with which an atom has an inner product of 0.99, and by the relative squared error of
1,000 other signals coded by hard OMP. Each learning rate is tried, and each way is shown at its own
best one, by that error.

    python benchmarks/soft_dictionary.py [--seeds N] [--epochs N]
"""

import argparse
from functools import partial
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import write_result
from jax import lax

import greedyjax as gj

SETTING = {"m": 16, "num_atoms": 32, "sparsity": 3, "signals": 2_000, "held_out": 1_000}
SETTING |= {"snr_db": 30.0, "batch_size": 100}
RATES = (5e-3, 2e-2)
# In the units of the signals, whose coefficients are of the size of 1: at the start and at the end.
TEMPERATURES = {
    "hard OMP": None,
    "Soft-OMP, 0.3": (0.3, 0.3),
    "Soft-OMP, 0.1": (0.1, 0.1),
    "Soft-OMP, 0.03": (0.03, 0.03),
    "Soft-OMP, 0.3 to 0.01": (0.3, 0.01),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    problems = jax.vmap(problem)(jax.random.split(jax.random.key(0), options.seeds))
    rows = []
    for name, taus in TEMPERATURES.items():
        for rate in RATES:
            train = jax.jit(jax.vmap(partial(learned, taus, rate, options.epochs)))
            start = perf_counter()
            found, error = jax.block_until_ready(train(*problems))
            row = {"solver": name, "rate": rate, "share_found": found.tolist()}
            rows.append(row | {"error": error.tolist(), "seconds": perf_counter() - start})
            print(f"{name:24} {rate:g}: {np.mean(found):.1%} found, error {np.mean(error):.4f}, "
                  f"{rows[-1]['seconds']:.0f} s", flush=True)  # fmt: skip
    setting = {**SETTING, "epochs": options.epochs, "seeds": options.seeds}
    print("wrote", write_result("soft_dictionary", {"setting": setting, "rows": rows}))


def problem(key):
    """A dictionary, signals of it with noise to learn from and others, and a key for the rest."""
    m, n, k, num, held_out, snr_db, _ = SETTING.values()
    of_A, of_support, of_x, of_noise, rest = jax.random.split(key, 5)
    A = unit(jax.random.normal(of_A, (m, n)))
    places = jax.random.split(of_support, num + held_out)
    supports = jax.vmap(lambda key: jax.random.permutation(key, n)[:k])(places)
    X = jax.random.normal(of_x, supports.shape)
    Y = jnp.einsum("ik,mik->im", X, A[:, supports])
    noise = jax.random.normal(of_noise, Y.shape)
    noise *= 10 ** (-snr_db / 20) * jnp.linalg.norm(Y) / jnp.linalg.norm(noise)
    return A, (Y + noise)[:num], (Y + noise)[num:], rest


def learned(taus, rate: float, epochs: int, planted, Y, held_out, key):
    """The share of planted atoms found, and the error of the signals held out."""
    steps = epochs * (len(Y) // SETTING["batch_size"])
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))
    start, shuffles = jax.random.split(key)
    A = unit(Y[jax.random.permutation(start, len(Y))[: SETTING["num_atoms"]]].T)

    def step(carry, i):
        A, state = carry
        places = jax.random.choice(
            jax.random.fold_in(shuffles, i), len(Y), (SETTING["batch_size"],), replace=False
        )
        tau = None if taus is None else taus[0] * (taus[1] / taus[0]) ** (i / steps)
        gradient = jax.grad(relative_error)(A, Y[places], tau) / 2
        updates, state = optimizer.update(gradient, state)
        return (unit(optax.apply_updates(A, updates)), state), None

    (A, _), _ = lax.scan(step, (A, optimizer.init(A)), jnp.arange(steps))
    best = jnp.max(jnp.abs(planted.T @ A), axis=1)
    return jnp.mean(best >= 0.99), relative_error(A, held_out, None)


def relative_error(A, Y, tau):
    """``sum ||y - A x||^2 / sum ||y||^2`` of the codes of hard OMP, or of Soft-OMP at ``tau``."""
    k = SETTING["sparsity"]
    if tau is None:
        X = jax.vmap(lambda y: gj.omp(A, y, sparsity=k).x)(Y)
    else:
        X = jax.vmap(lambda y: gj.soft_omp(A, y, sparsity=k, tau=tau).x)(Y)
    return jnp.sum((Y - X @ A.T) ** 2) / jnp.sum(Y**2)


def unit(A):
    """Columns of norm 1."""
    return A / jnp.linalg.norm(A, axis=0)


if __name__ == "__main__":
    main()
