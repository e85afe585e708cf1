"""Does another selection of atoms code keys and values better than OMP's?"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from kv_learning import LEARNED_KINDS

import greedyjax as gj
from greedyjax import nets, training
from greedyjax.policies import Interactions
from greedyjax.pursuit import OMP, OrderRecursive

# The temperature of a training, in units of the largest first score.
TAU = 0.01
EPOCHS, BATCH = 10, 64
# Learning rates; the first is the default of `training.learn_interactions`.
FAST, SLOW = 2e-2, 2e-3


def rows(found: dict[str, np.ndarray], sparsity: int = 6, num: int = 3000) -> list[dict]:
    """Relative squared errors of signals that nothing was learned from, by how atoms are chosen.

    Args:
        found: dictionaries, and signals of some layers, as `kv_learning.learned` has them.
        sparsity: atoms of a signal.
        num: signals to learn weights from, and signals to compare on; half of all where there are
            fewer.
    """
    table = []
    for kind in LEARNED_KINDS:
        signals = found[f"{kind}, signals"]
        step = len(found[f"{kind}, learned"]) // len(signals)
        for i, Y in enumerate(signals):
            A = jnp.asarray(found[f"{kind}, learned"][i * step])
            cut = min(num, len(Y) // 2)
            row = compared(A, jnp.asarray(Y[:cut]), jnp.asarray(Y[cut : 2 * cut]), sparsity)
            table.append({"kind": kind, "layer": i * step, **row})
            print(table[-1], flush=True)
    return table


def compared(A: jax.Array, first: jax.Array, rest: jax.Array, sparsity: int) -> dict[str, Any]:
    """The error of ``rest`` by each way, and what `training.learn_interactions` says and keeps."""
    net, (Y, X) = taught(A, first, sparsity)
    even = Interactions.initial(jax.random.key(0), A.shape[1])
    learned = training.learn_interactions(net, (Y, X), key=jax.random.key(0), progress=False)
    plain = OMP(sparsity)
    ways = {
        "OMP": (plain, None),
        "counted weights": (plain, training.count_weights(A, first, sparsity=sparsity)),
        "trained weights": (plain, trained(net, Y, X, SLOW)),
        "interactions": (plain, trained(net.rebuild(weights=even), Y, X, FAST)),
        "interactions, small rate": (plain, trained(net.rebuild(weights=even), Y, X, SLOW)),
        "OrderRecursive": (OMP(sparsity, fit=OrderRecursive()), None),
    }
    errors = {name: error(method, A, rest, w) for name, (method, w) in ways.items()}
    return {"errors": errors, "kept": learned.kept, "judged": learned.errors}


def error(method: OMP, A: jax.Array, Y: jax.Array, weights: Any) -> float:
    """Relative squared error of all signals together."""
    codes = gj.encode(method, A, Y, weights=weights)
    return float(jnp.sum(codes.residual_norm**2) / jnp.sum(Y**2))


def taught(A: jax.Array, Y: jax.Array, sparsity: int) -> tuple[nets.OMPNet, tuple]:
    """A network, and signals at norm 1 with the codes that it shall learn to choose.

    These are the codes of orthogonal least squares, whose errors are smaller than OMP's own.
    """
    Y = Y / jnp.linalg.norm(Y, axis=1, keepdims=True)
    codes = gj.encode(OMP(sparsity, fit=OrderRecursive()), A, Y)
    tau = TAU * jnp.mean(jnp.max(jnp.abs(Y @ A), axis=1))
    return nets.OMPNet(A, sparsity=sparsity, tau=tau), (Y, codes.dense(A.shape[1]))


def trained(net: nets.OMPNet, Y: jax.Array, X: jax.Array, rate: float) -> Any:
    """The policy of the network after all epochs of the selection loss, better or not."""
    steps = EPOCHS * max(len(Y) // BATCH, 1)
    fitted = training.fit(
        net, (Y, X), (Y, X), optimizer=optax.adam(optax.cosine_decay_schedule(rate, steps)),
        num_epochs=EPOCHS, batch_size=min(BATCH, len(Y)), key=jax.random.key(0),
        val_loss=no_loss, progress=False,
    )  # fmt: skip
    return fitted.net.policy


def no_loss(net: nets.OMPNet, Y: jax.Array, X: Any = None) -> jax.Array:
    """The same for each epoch, so that `training.fit` keeps the last one."""
    return jnp.zeros(())
