"""Figure 1: a sort and its relaxation. The paper's settings were not published; these are ours."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from greedyjax import hardsort, softsort

NUM_SCORES = 12
TAUS = (0.01, 0.1, 1.0)


def fig1(seeds: list[int]) -> dict[str, Any]:
    """The matrix of softsort for normal scores, and the sorted values, for several tau.

    Returns:
        The scores and the matrix of `hardsort`. For each tau, the matrix ``P`` of `softsort`, the
        values ``P v``, the distance to the hard matrix, ``max_i ||row_i - e_i||_1``, and the bound
        of this distance, ``2 (n - 1) exp(-gap / tau)``. Here ``gap`` is the smallest difference of
        two scores.
    """
    scores = jax.random.normal(jax.random.key(seeds[0]), (NUM_SCORES,))
    hard = hardsort(scores)
    gap = float(jnp.min(-jnp.diff(hard @ scores)))
    rows = []
    for tau in TAUS:
        soft = softsort(scores, tau=tau)
        distance = float(jnp.max(jnp.sum(jnp.abs(soft - hard), axis=1)))
        bound = 2 * (NUM_SCORES - 1) * float(np.exp(-gap / tau))
        values = (soft @ scores).tolist()
        row = {"tau": tau, "matrix": soft.tolist(), "values": values}
        rows.append(row | {"distance": distance, "bound": min(bound, 2.0)})
    return {
        "seeds": seeds[:1],
        "scores": scores.tolist(),
        "sorted": (hard @ scores).tolist(),
        "smallest_gap": gap,
        "hard_matrix": hard.tolist(),
        "soft": rows,
        "published": None,
        "note": "the settings of the published figure are not known; these are ours",
    }
