"""What may be learned from measurements alone where the atoms are nearly alike?

Channels of an array of 32 antennas: each the sum of 4 paths out of 12 angles that all channels
share, which lie between the 128 angles of the dictionary. Neighbouring atoms have inner products of
0.9, and together the atoms explain white noise as well as channels. Channels are seen in noise, at
15 dB. Everything is learned from noisy channels, and judged on 1,000 others by the error of the
channel; the linear estimator alone knows the truth, the covariance of channel and noise.

    python benchmarks/coherent.py [--draws 10]
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from common import write_result
from self_training import select

import greedyjax as gj
from greedyjax import nets, training

M, N, ANGLES, PATHS, SNR_DB = 32, 128, 12, 4, 15
VECTORS, NUM_TEST, SPARSITY = (128, 2000), 1000, 6
STEPS = 160


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    rows = []
    for draw in range(options.draws):
        A, H, Y, noise, covariance = channels(draw)
        test = Y[:NUM_TEST], H[:NUM_TEST]
        for num in VECTORS:
            facts = {"draw": draw, "vectors": num}
            found = all_ways(A, Y[NUM_TEST:][:num], noise, covariance, test)
            rows += [{**facts, "method": name, **row} for name, row in found.items()]
            print(facts, {name: round(row["error_db"], 2) for name, row in found.items()})
    config = {
        "m": M, "n": N, "angles": ANGLES, "paths": PATHS, "snr_db": SNR_DB, "sparsity": SPARSITY,
    }  # fmt: skip
    metric = "error_db: mean ||A x - h||^2 over mean ||h||^2 of test channels, in dB; noise_ratio: "
    write_result(
        "coherent", {"config": config, "metric": metric + "estimated / true", "rows": rows}
    )


def steering(angles):
    """Unit columns: the phases of a plane wave at half a wavelength's distance, by its sine."""
    return np.exp(1j * np.pi * np.arange(M)[:, None] * angles) / np.sqrt(M)


def channels(draw: int):
    """Dictionary, channels, noisy channels, deviation of the noise, covariance of the channels."""
    rng = np.random.default_rng(draw)
    num = NUM_TEST + max(VECTORS)
    S = steering(rng.uniform(-1, 1, ANGLES))
    active = np.argsort(rng.random((num, ANGLES)))[:, :PATHS]
    gains = complex_normal(rng, (num, PATHS)) / np.sqrt(PATHS)
    H = np.einsum("ip,mip->im", gains, S[:, active])
    noise = 10 ** (-SNR_DB / 20) * np.sqrt(np.mean(np.abs(H) ** 2))
    Y = H + noise * complex_normal(rng, H.shape)
    A = steering(2 * np.arange(N) / N - 1)
    return (
        *(jnp.asarray(each, jnp.complex64) for each in (A, H, Y)),
        noise,
        S @ S.conj().T / ANGLES,
    )


def complex_normal(rng, shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def all_ways(A, Y, noise, covariance, test) -> dict[str, dict]:
    """Error of each way, the estimate of the noise where there is one."""
    Y_test, H = test
    net = nets.OMPNet(A, sparsity=SPARSITY)
    prior = _bayes(A, Y)
    tempered = training.temper_weights(net, Y, lambda Y: _bayes(A, Y).weights)
    counted = training.count_weights(A, Y, sparsity=SPARSITY)
    V = A * prior.deviations**2 @ A.conj().T
    answers = {
        "w = 1": _omp(A, Y_test, None, None),
        "counting": _omp(A, Y_test, counted, None),
        "self-selection": _omp(A, Y_test, select(A, Y, steps=STEPS, sparsity=SPARSITY), None),
        "sparse Bayes": _omp(A, Y_test, prior.weights, None),
        "sparse Bayes, tempered": _omp(A, Y_test, tempered, None),
        "sparse Bayes, tempered, ridge": _omp(A, Y_test, tempered, prior.penalties),
        "sparse Bayes, posterior mean": wiener(V, prior.noise, Y_test),
        "linear MMSE, true covariance": wiener(jnp.asarray(covariance), noise, Y_test),
    }
    found = {name: {"error_db": error_db(answer, H)} for name, answer in answers.items()}
    found["sparse Bayes"]["noise_ratio"] = float(prior.noise) / noise
    return found


_bayes = jax.jit(training.sparse_bayes)


@jax.jit
def _omp(A, Y, weights, penalties):
    return gj.omp_batch(A, Y, sparsity=SPARSITY, weights=weights, penalty=penalties).x @ A.T


def wiener(covariance, noise, Y):
    filter_ = covariance @ jnp.linalg.inv(covariance + noise**2 * jnp.eye(M))
    return Y @ filter_.T


def error_db(answer, H) -> float:
    error = jnp.mean(jnp.sum(jnp.abs(answer - H) ** 2, axis=1))
    return float(10 * jnp.log10(error / jnp.mean(jnp.sum(jnp.abs(H) ** 2, axis=1))))


if __name__ == "__main__":
    main()
