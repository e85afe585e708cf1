"""Does the gradient through Soft-OMP learn a better dictionary than the one through hard OMP?

A planted dictionary of 128 Gaussian atoms with 64 entries, as in `dictionary_learning.py`: signals
of 4 atoms with normal coefficients, at 20 dB. `fit` trains a network with learned atoms by the loss
`losses.residual`, at one of three temperatures, or at one that falls; and with derivatives through
one choice at a time, by the relaxation `Stepwise(SoftSort)`. Beside it stand the same training
through hard OMP, and `learn_dictionary` with `OnlineGradient` and with `KSVD`, which also replace
useless atoms. All start from the same signals, and make as many passes over the data.

Gradients follow Adam with a learning rate that falls to 0. Each of three rates is tried, and the
one with the lower error of validation signals is shown. Dictionaries are judged on other signals by
their relative squared error, coded by hard OMP with all weights 1, and by the share of planted
atoms with which an atom has an inner product of 0.99.

    python benchmarks/soft_dictionary.py [--seeds N] [--signals N] [--epochs N]
"""

import argparse
from functools import partial
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import write_result

import greedyjax as gj
from greedyjax import nets
from greedyjax.pursuit import OMP
from greedyjax.sorting import SoftSort, Stepwise
from greedyjax.training import KSVD, OnlineGradient, fit, learn_dictionary, losses

SETTING = {"m": 64, "num_atoms": 128, "sparsity": 4, "snr_db": 20.0, "batch_size": 250}
SETTING |= {"validation": 1_000, "test": 2_000, "found": 0.99}
RATES = (1e-3, 5e-3, 2e-2)
# In the units of the scores: the coefficients have a deviation of 1.
FIXED, FALLING = (0.1, 0.03, 0.01), (0.3, 0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--signals", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    problems = [problem(seed, options.signals) for seed in range(options.seeds)]
    num_steps = options.epochs * (options.signals // SETTING["batch_size"])
    rows = []
    for name, rate, learn in ways(num_steps, options.epochs):
        row = {"way": name, "rate": rate, "seeds": []}
        for seed, (planted, start, (Y, *held_out)) in enumerate(problems):
            began = perf_counter()
            A = np.asarray(learn(start, Y, jax.random.key(seed)))
            seconds = perf_counter() - began  # The first seed compiles.
            best = np.max(np.abs(planted.T @ A), axis=1)
            found = {"share_found": float(np.mean(best >= SETTING["found"])), "seconds": seconds}
            val_error, test_error = (error(A, part) for part in held_out)
            row["seeds"].append(found | {"val_error": val_error, "test_error": test_error})
        rows.append(row)
        share, val = (
            np.mean([s[key] for s in row["seeds"]]) for key in ("share_found", "val_error")
        )
        print(f"{name:28} {rate or 0:g}: {share:6.1%} {val:.4f} {seconds:.1f} s", flush=True)
    setting = SETTING | {"signals": options.signals, "epochs": options.epochs, "falling": FALLING}
    print("wrote", write_result("soft_dictionary", {"setting": setting, "rows": rows}))


def problem(seed: int, num: int) -> tuple:
    """A planted dictionary, a start, and signals to learn from, to validate and to test on."""
    m, n, k, snr_db, *_ = SETTING.values()
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, n))
    A /= np.linalg.norm(A, axis=0)
    sizes = num, SETTING["validation"], SETTING["test"]
    X = np.zeros((sum(sizes), n))
    supports = np.argsort(rng.random(X.shape), axis=1)[:, :k]
    np.put_along_axis(X, supports, rng.standard_normal(supports.shape), axis=1)
    Y = X @ A.T
    noise = rng.standard_normal(Y.shape)
    Y += 10 ** (-snr_db / 20) * np.linalg.norm(Y) / np.linalg.norm(noise) * noise
    start = Y[rng.choice(num, n, replace=False)].T
    parts = np.split(Y.astype(np.float32), np.cumsum(sizes)[:2])
    return A, (start / np.linalg.norm(start, axis=0)).astype(np.float32), parts


def ways(num_steps: int, num_epochs: int):
    """Names, learning rates, and functions of a start, signals and a key that return a matrix."""
    yield "`KSVD()`", None, partial(by_codes, KSVD(), None, num_epochs)
    for rate in RATES:
        adam = optax.adam(optax.cosine_decay_schedule(rate, num_steps))
        update = OnlineGradient(adam)
        yield "`OnlineGradient`", rate, partial(by_codes, update, SETTING["batch_size"], num_epochs)
        atoms_only = optax.partition({"atoms": adam, "weights": optax.set_to_zero()}, names)
        train = partial(by_fit, atoms_only, num_epochs)
        yield "`fit`, hard OMP", rate, partial(train, hard_residual, None, 1.0)
        for tau in FIXED:
            yield f"`fit`, Soft-OMP at {tau:g}", rate, partial(train, losses.residual, None, tau)
        first, last = FALLING
        falling = optax.exponential_decay(first, num_steps, last / first)
        name = f"`fit`, Soft-OMP from {first:g} to {last:g}"
        yield name, rate, partial(train, losses.residual, falling, first)
        stepwise = partial(train, losses.residual, falling, first, relaxation=Stepwise(SoftSort))
        yield f"{name}, `Stepwise`", rate, stepwise


def names(params):
    """Which parameter each is."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key, params)


def by_codes(update, batch_size, num_epochs, start, Y, key):
    """A dictionary of `learn_dictionary`."""
    return learn_dictionary(
        Y, SETTING["num_atoms"], SETTING["sparsity"], key=key, update=update, initial=start,
        batch_size=batch_size, num_epochs=num_epochs,
    ).A  # fmt: skip


def by_fit(optimizer, num_epochs, loss, schedule, tau, start, Y, key, relaxation=SoftSort):
    """The atoms of a network, after the last epoch."""
    net = nets.OMPNet(
        nets.Atoms(start, learned=True), sparsity=SETTING["sparsity"], tau=tau,
        relaxation=relaxation,
    )  # fmt: skip
    few = Y[: SETTING["batch_size"]]  # No epoch is chosen: each validates equally well.
    return fit(
        net, (Y, None), (few, None), optimizer=optimizer, num_epochs=num_epochs, key=key, loss=loss,
        tau=schedule, batch_size=SETTING["batch_size"], val_loss=no_loss, val_every=num_epochs,
        progress=False,
    ).net.A  # fmt: skip


def no_loss(net, Y, X):
    """The same for each epoch, so that `fit` keeps the last one."""
    return jnp.zeros(())


def hard_residual(net, Y, X):
    """`losses.residual` of hard OMP, whose choices are constant to derivatives."""
    A = net.A
    X = jax.vmap(lambda y: gj.omp(A, y, sparsity=SETTING["sparsity"]).x)(Y)
    return jnp.mean(jnp.sum((Y - X @ A.T) ** 2, axis=1))


def error(A, Y) -> float:
    """Relative squared error, coded by hard OMP."""
    codes = gj.encode(OMP(SETTING["sparsity"]), jnp.asarray(A), jnp.asarray(Y))
    return float(np.sum(np.asarray(codes.residual_norm, np.float64) ** 2) / np.sum(Y**2))


if __name__ == "__main__":
    main()
