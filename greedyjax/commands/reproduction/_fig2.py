"""Figure 2: how the soft algorithms approach the hard algorithms as the temperature falls."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from greedyjax import iht, omp, soft_iht, soft_omp
from greedyjax._numerics import norm
from greedyjax.certificates import same_path
from greedyjax.commands.reproduction._published import DIFFERENCE, RECOVERY
from greedyjax.problems import gaussian

NUM_ATOMS, NUM_MEASUREMENTS, SPARSITY = 400, 200, 15
TAUS = 10.0 ** np.arange(-10, 2, 0.5)
NOISES = (1e-5, 1e-3, 1e-1)
NOISE_OF_ITERATES = 1e-3
STEP_SIZE = 0.6  # Step size of IHT.
RECOVERY_STEPS = {"omp": SPARSITY, "iht": 30}
ITERATES = {"omp": (5, 15, 30), "iht": (1, 10, 30)}
REPEATS = {"omp": 50, "iht": 100}
FLOOR = 1e-12  # Added to the relative differences before the logarithm, as published.


def fig2(algorithm: str, seeds: list[int], *, quick: bool = False) -> dict[str, Any]:
    """Runs both experiments with one algorithm, always in double precision.

    Every seed adds the number of repeats over which the published tables average.

    Returns:
        ``recovery`` has the errors ``||x_hat - x||`` of the soft and the hard algorithm by noise
        level and tau. ``difference`` has ``||x - x_soft|| / ||x||`` by number of steps and tau. For
        OMP, ``certificate`` says how often `same_path` found a proof, by noise level and tau.
    """
    steps = ITERATES[algorithm]
    with jax.enable_x64(True):
        # For both algorithms the published recovery errors are averages over 50 repeats.
        recovery = _recovery(algorithm, _keys(seeds, 0, 4 if quick else REPEATS["omp"]))
        difference = _difference(algorithm, _keys(seeds, 1, 4 if quick else REPEATS[algorithm]))
        recovery, difference = jax.tree.map(np.asarray, (recovery, difference))
    hard, soft, certificate = recovery
    result = {
        "seeds": seeds,
        "repeats": {"recovery": len(hard), "difference": len(difference)},
        "taus": TAUS.tolist(),
        "recovery": [
            {"noise": noise, "hard": _statistics(hard[:, i]), "soft": _statistics(soft[:, i])}
            for i, noise in enumerate(NOISES)
        ],
        "difference": [
            {"steps": n, "soft": _statistics(difference[:, i], FLOOR)} for i, n in enumerate(steps)
        ],
        "comparison": _comparison(algorithm, hard, soft, difference),
    }
    if certificate is not None:
        result["certificate"] = _certificates(certificate)
    return result


def _keys(seeds: list[int], experiment: int, num_repeats: int):
    keys = [jax.random.split(jax.random.key(seed), 2)[experiment] for seed in seeds]
    return jnp.concatenate([jax.random.split(key, num_repeats) for key in keys])


def _solve(algorithm: str, A, y, num_steps: int):
    if algorithm == "omp":
        return omp(A, y, sparsity=num_steps)
    return iht(A, y, sparsity=SPARSITY, num_steps=num_steps, step_size=STEP_SIZE)


def _solve_soft(algorithm: str, A, y, num_steps: int, tau):
    if algorithm == "omp":
        return soft_omp(A, y, sparsity=num_steps, tau=tau)
    steps = {"num_steps": num_steps, "step_size": STEP_SIZE}
    return soft_iht(A, y, sparsity=SPARSITY, tau=tau, **steps)


@partial(jax.jit, static_argnames="algorithm")
def _recovery(algorithm: str, keys):
    """Errors of shapes ``(repeats, noises)`` and ``(repeats, noises, taus)``; certificates."""

    def one(key, noise):
        A, x, y = _draw(key, noise)
        hard = _solve(algorithm, A, y, RECOVERY_STEPS[algorithm])

        def at(tau):
            soft = _solve_soft(algorithm, A, y, RECOVERY_STEPS[algorithm], tau)
            if algorithm != "omp":
                return norm(soft.x - x), None
            certificate = same_path(A, y, sparsity=SPARSITY, tau=tau)
            same = jnp.all(soft.support == hard.support)
            within = norm(soft.x - hard.x) <= certificate.error_bound
            return norm(soft.x - x), (certificate.same_path, same, within)

        return norm(hard.x - x), *jax.vmap(at)(jnp.asarray(TAUS))

    over_noises = jax.vmap(one, (None, 0))
    return jax.vmap(over_noises, (0, None))(keys, jnp.asarray(NOISES))


@partial(jax.jit, static_argnames="algorithm")
def _difference(algorithm: str, keys) -> Float[Array, "repeats iterates taus"]:
    """Relative differences of soft and hard iterates."""

    def one(key):
        A, _, y = _draw(key, NOISE_OF_ITERATES)

        def after(num_steps):
            x = _solve(algorithm, A, y, num_steps).x
            soft = jax.vmap(lambda tau: _solve_soft(algorithm, A, y, num_steps, tau).x)
            return jax.vmap(norm)(soft(jnp.asarray(TAUS)) - x[None, :]) / norm(x)

        return jnp.stack([after(num_steps) for num_steps in ITERATES[algorithm]])

    return jax.vmap(one)(keys)


def _draw(key, noise):
    """A Gaussian matrix, a signal of norm 1 and its measurements, as published.

    The support is drawn with replacement and without the first atom.
    """
    matrix_key, support_key, values_key, noise_key = jax.random.split(key, 4)
    A = gaussian(matrix_key, NUM_MEASUREMENTS, NUM_ATOMS, dtype=jnp.float64)
    support = jax.random.randint(support_key, (SPARSITY,), 1, NUM_ATOMS)
    x = jnp.zeros(NUM_ATOMS).at[support].set(jax.random.normal(values_key, (SPARSITY,)))
    x = x / norm(x)
    e = jax.random.normal(noise_key, (NUM_MEASUREMENTS,)) * noise / NUM_MEASUREMENTS**0.5
    return A, x, A @ x + e


def _statistics(errors: np.ndarray, floor: float = 0.0) -> dict[str, Any]:
    """Statistics over the repeats, the first axis: of the logarithm as published, and quantiles."""
    logs = np.log10(errors + floor)
    low, median, high = np.quantile(errors, (0.1, 0.5, 0.9), axis=0)
    return {
        "geometric_mean": (10 ** logs.mean(axis=0)).tolist(),
        "std_of_log10": logs.std(axis=0).tolist(),
        "median": median.tolist(),
        "quantiles_10_90": np.stack([low, high]).tolist(),
    }


def _comparison(algorithm: str, hard, soft, difference) -> list[dict[str, Any]]:
    """Our geometric means beside the published means."""
    rows = []

    def add(what, tau, published, errors, num_published=REPEATS["omp"], floor=0.0):
        logs = np.log10(errors + floor)
        ours = float(10 ** logs.mean())
        # Two averages over these numbers of independent draws differ by more than this factor in
        # one of twenty cases.
        chance = float(10 ** (1.96 * logs.std() * (1 / len(logs) + 1 / num_published) ** 0.5))
        row = {"what": what, "tau": tau, "published": published, "ours": ours}
        rows.append(row | {"ratio": ours / published, "factor_by_chance": chance})

    def index(tau):
        return int(np.argmin(np.abs(np.log10(TAUS / tau))))

    of_recovery = RECOVERY[algorithm]
    for i, noise in enumerate(NOISES):
        add(f"hard, noise {noise:g}", None, of_recovery["hard"][noise], hard[:, i])
        for tau, by_noise in of_recovery["soft"].items():
            errors = soft[:, i, index(tau)]
            add(f"soft, noise {noise:g}", tau, by_noise[noise], errors)
    for i, (num_steps, by_tau) in enumerate(DIFFERENCE[algorithm].items()):
        for tau, value in by_tau.items():
            errors = difference[:, i, index(tau)]
            add(
                f"difference after {num_steps} steps", tau, value, errors, REPEATS[algorithm], FLOOR
            )
    return rows


def _certificates(certificate) -> list[dict[str, Any]]:
    """Shares of runs with a proof and with the same atoms, and the number of wrong proofs."""
    proven, same, within = certificate
    wrong = proven & ~(same & within)
    return [
        {
            "noise": noise,
            "proven": proven[:, i].mean(axis=0).tolist(),
            "same_atoms": same[:, i].mean(axis=0).tolist(),
            "wrong": int(wrong[:, i].sum()),
            "runs": int(wrong[:, i].size),
        }
        for i, noise in enumerate(NOISES)
    ]
