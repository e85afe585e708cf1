"""What holds of sorting any scores, checked in bulk, as in `properties.py`; none is undecided."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import greedyjax as gj
from helpers import jit, tolerance
from rounding import double


def draw_scores(rng, num: int, n: int, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Scores of every kind, ties and near ties among them, and a temperature for each."""
    eps = np.finfo(dtype).eps
    normal, few = rng.standard_normal((num, n)), rng.integers(-2, 3, (num, n)) / 2
    apart = 1 + eps * rng.integers(-16, 17, (num, n))
    kinds = [normal, few, few * apart, 0 * normal, 1 + 0 * normal, np.abs(normal), 10 * normal**7]
    scores = np.stack(kinds)[rng.integers(len(kinds), size=num), np.arange(num)]
    units = 10.0 ** rng.choice([0, 0, 0, -20, 20, -5, 5], (num, 1))
    tau = 10 ** rng.uniform(-8, 3, num) * units[:, 0]
    return (scores * units).astype(dtype), tau.astype(dtype)


@functools.cache
def _sorted(k: int):
    def everything(v, tau):
        def soft(v, tau):
            return gj.softsort(v, tau=tau, k=k), gj.soft_topk_mask(v, k=k, tau=tau)

        def loss(v, tau):
            rows, mask = soft(v, tau)
            numbers = jnp.arange(v.size, dtype=v.dtype)
            return jnp.sum(rows @ numbers) + mask @ numbers

        gradients = jax.grad(loss, (0, 1))(v, tau), jax.jvp(loss, (v, tau), (v, tau))[1]
        return *soft(v, tau), gj.hardsort(v, k=k), gj.topk_mask(v, k=k), gradients

    return jit(jax.vmap(everything))


def violations(rng, num: int, n: int, k: int, dtype) -> dict[str, np.ndarray]:
    """Of each property, which of ``num`` drawn cases violate it."""
    run = _sorted(k)
    v, tau = draw_scores(rng, num, n, dtype)
    rows, mask, hard_rows, hard_mask, gradients = run(v, tau)
    rows, mask, hard_rows, hard_mask = map(double, (rows, mask, hard_rows, hard_mask))
    # Sums of n numbers in [0, 1], k of them for the mask.
    rtol = 0.1 * tolerance(dtype)[0]
    off = lambda difference, scale=1.0: (
        ~(np.abs(difference) <= rtol * scale).reshape(num, -1).all(1)
    )

    order = np.argsort(rng.random((num, n)))
    moved = run(np.take_along_axis(v, order, axis=1), tau)
    permute = lambda each: np.take_along_axis(each, order if each.ndim == 2 else order[:, None], -1)
    exponent = rng.integers(-20, 21)
    scaled = run(np.ldexp(v, exponent), np.ldexp(tau, exponent))

    # Scores within rounding count as ties: rows and mask do not say of all the same ones.
    wide, rounding = double(v), 4 * np.finfo(dtype).eps * np.abs(double(v)).max(axis=1)
    apart = np.abs(wide[:, :, None] - wide[:, None, :])
    near = ((apart > 0) & (apart <= rounding[:, None, None])).any((1, 2))
    unsure = np.where(near, 2 * rounding / double(tau) / rtol, 0)[:, None]

    in_order = np.take_along_axis(v, np.argsort(-v, axis=1, kind="stable")[:, :k], axis=1)
    derivatives = [np.isfinite(leaf).reshape(num, -1).all(1) for leaf in jax.tree.leaves(gradients)]
    return {
        "rows of softsort sum to 1": off(rows.sum(axis=2) - 1),
        "entries of softsort are between 0 and 1": ~((rows >= 0) & (rows <= 1)).all((1, 2)),
        "soft_topk_mask sums to k": off(mask.sum(axis=1) - k, k),
        "soft_topk_mask is the column sums of softsort": off(
            mask - rows.sum(axis=1), k * (1 + unsure)
        ),
        "topk_mask is the column sums of hardsort": off(hard_mask - hard_rows.sum(axis=1)),
        "hardsort sorts": ((hard_rows @ double(v)[:, :, None])[..., 0] != in_order).any(1),
        "permuting scores permutes soft rows and mask": off(double(moved[0]) - permute(rows))
        | off(double(moved[1]) - permute(mask), k),
        "scores and temperature share their units": off(double(scaled[0]) - rows)
        | off(double(scaled[1]) - mask, k),
        "derivatives of sorting are finite": ~np.all(derivatives, axis=0),
    }
