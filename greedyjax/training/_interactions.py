"""Learned weights that depend on the chosen atoms, kept only if they lower the error."""

import dataclasses
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from greedyjax import _checks
from greedyjax.nets import Unrolled
from greedyjax.policies import Interactions
from greedyjax.pursuit import GaussianPrior, Hardened
from greedyjax.training import _arguments
from greedyjax.training._arguments import Checked, Data
from greedyjax.training._counting import NUM_ROUNDS, weights_of
from greedyjax.training._fit import fit
from greedyjax.training._judging import Candidate, Judge, clearly_less, covariance_of

# Largest number of signals whose hidden measurements are predicted.
_JUDGED = 256


class Learned(NamedTuple):
    """The result of `learn_interactions`.

    Attributes:
        solver: function from measurements ``(..., m)`` to signals ``(..., n)``, made from the
            candidate that was kept.
        policy: the argument ``weights=`` of this solver.
        prior: the prior of the solver's last fit; None if least squares was as good.
        kept: the name of the candidate that was kept, a key of ``errors``.
        errors: relative squared error of each candidate, on the validation signals, or on hidden
            measurements if no signals are known. ``"w = 1"`` is one of the candidates.
    """

    solver: Hardened
    policy: Any
    prior: GaussianPrior | None
    kept: str
    errors: dict[str, float]


def learn_interactions(
    net: Unrolled,
    train: Data,
    val: Data | None = None,
    *,
    key: Array,
    rank: int = 32,
    num_epochs: int = 10,
    num_rounds: int = 12,
    batch_size: int = 64,
    learning_rate: float = 2e-2,
    decay: float = 0.0,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Learned:
    """Learns a policy that sees the chosen atoms, from true signals or from measurements alone.

    From pairs ``(Y, X)``, `greedyjax.policies.Interactions` are trained by the selection loss, on
    the choices of the hard solver of ``net``. The training starts from the weights of ``net``. From
    ``(Y, None)`` the solver's own answers replace the signals, in rounds. A round recovers all
    signals and trains on the answers. The rounds end once they no longer predict hidden
    measurements better. Rounds are short, so that a training does not learn the mistakes of the
    answers. Then the coefficients get a last fit by the covariance of the signals, or of the
    answers.

    The simplest candidate is kept, unless another is clearly better. The candidates are
    ``w = 1``, the weights of ``net``, and the policy, each with the solver's own fit and with a
    last fit. A candidate replaces a simpler one if its error is smaller by more than the standard
    error of the difference. Errors are measured on the validation signals. From measurements alone,
    the error is that of predicting measurements that were hidden from the solver. Then the kept
    candidate is trained once more on all signals, including the validation signals. Ctrl-C ends the
    present training, and the candidates so far are compared.

    Args:
        net: the network with the method, matrix and temperature, and the weights to start from.
            Weights that were trained before are a good start. The network is not changed.
        train: ``(Y, X)`` of shapes ``(num, m)`` and ``(num, n)``, or ``(Y, None)``.
        val: a pair like ``train``, to choose the candidate by. None means the last tenth of
            ``train``, or from measurements alone the last 256 vectors.
        key: random key for the first interactions and for the shuffles.
        rank: rank of the interactions.
        num_epochs: epochs of each training; a round has half as many.
        num_rounds: largest number of rounds, from measurements alone.
        batch_size: signals per step.
        learning_rate: learning rate of Adam, which falls to 0 along a cosine.
        decay: weight decay of the interactions. Each step subtracts ``decay`` times the learning
            rate times the interactions, separately from Adam's own step, as `optax.adamw` does.
        checkpoint_dir: a folder for checkpoints, from which an interrupted training continues.
        progress: whether to show progress bars, if there is a terminal.

    Returns:
        A `Learned`.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity; or the
            network does not have one weight per atom.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from greedyjax import nets, training
        >>> Y = jax.random.normal(jax.random.key(0), (40, 3)) * jnp.array([2.0, 1.0, 0.0])
        >>> net = nets.OMPNet(jnp.eye(3), sparsity=1, tau=0.1)
        >>> found = training.learn_interactions(
        ...     net, (Y, Y), key=jax.random.key(1), rank=2, num_epochs=1, progress=False)
        >>> found.kept in found.errors, found.solver(Y).shape
        (True, (40, 3))

    References:
        Interactions, and learning them in turn with a pursuit, by pseudo-likelihood: Peleg, Eldar
        and Elad, "Exploiting statistical dependencies in sparse representations for signal
        recovery", IEEE Transactions on Signal Processing 60 (2012). Learning them along the
        solver's own path, and choosing by hidden measurements, are this library's additions.
    """
    key = _checks.prng_key("key", key)
    if not isinstance(net, Unrolled):
        _checks.fail(TypeError, "net", "a network of greedyjax.nets", type(net).__name__)
    if net.learn_atoms:
        expected = "a network with a fixed matrix, such as net.rebuild(A=nets.Atoms(net.A))"
        _checks.fail(ValueError, "net", expected, "one that learns its atoms")
    num_rounds = _checks.static_int("num_rounds", num_rounds, minimum=1)
    num_epochs = _checks.static_int("num_epochs", num_epochs, minimum=1)
    data = _arguments.data("train", train, net)
    pairs, judged = _parts(data, None if val is None else _arguments.data("val", val, net))
    judge, known = Judge(net, *judged), data[1] is not None
    initial, shuffles = jax.random.split(key)
    given = _weights(net)
    even = Interactions.initial(initial, len(given), rank=rank, weights=jnp.ones_like(given))
    begin = dataclasses.replace(even, bias=jnp.log(given))
    if not known and bool(jnp.all(given == 1)):
        begin = _counted(judge, even, pairs[0])
    ones = judge.better(None, "w = 1", even, pairs)
    best = judge.better(ones, "weights", begin, pairs)

    def trained(pairs: Checked, epochs: int, folder: str) -> tuple[Any, bool]:
        """The policy, and whether its training was interrupted."""
        num_steps = epochs * max(len(pairs[0]) // batch_size, 1)
        fitted = fit(
            net.rebuild(weights=begin),
            pairs,
            pairs,
            optimizer=_optimizer(learning_rate, num_steps, decay),
            num_epochs=epochs,
            batch_size=min(batch_size, len(pairs[0])),
            key=shuffles,
            val_loss=_no_loss,
            checkpoint_dir=checkpoint_dir and Path(checkpoint_dir) / folder,
            progress=progress,
        )
        return fitted.net.policy, len(fitted.history["tau"]) <= epochs

    if known:
        best = _from_pairs(judge, trained, best, pairs, judged, num_epochs)
    else:
        epochs = max(num_epochs // 2, 1)
        # Rounds start from w = 1. Answers under learned weights resemble each other, and training
        # on them would keep their mistakes.
        best = _from_answers(judge, trained, best, ones, pairs[0], num_rounds, epochs)
    solver = Hardened.of(net.method, None, net.A, best.policy, best.prior)
    return Learned(solver, best.policy, best.prior, best.name, judge.table)


def _from_pairs(judge: Judge, trained, best: Candidate, pairs, judged, num_epochs: int):
    """The best candidate, with interactions that were learned from known signals among them."""
    every = _joined(pairs, judged)
    # Some signals are used twice, so that this training has as many signals as the last one. Then
    # one compilation serves both.
    policy, interrupted = trained(_resized(pairs, len(every[0])), num_epochs, "pairs")
    best = judge.better(best, "interactions", policy, pairs)
    if best.policy is policy and not interrupted:
        policy, interrupted = trained(every, num_epochs, "all")
        best = best if interrupted else best._replace(policy=policy)
    if best.prior is not None:
        prior = dataclasses.replace(best.prior, covariance=covariance_of(every[1]))
        best = best._replace(prior=prior)
    return best


def _from_answers(
    judge: Judge, trained, best: Candidate, now: Candidate, Y, num_rounds: int, num_epochs: int
) -> Candidate:
    """The best candidate, with the candidates of each round, as long as rounds get better."""
    for i in range(num_rounds):
        before = now
        answered = Y, judge.answers(Y, now.policy)
        policy, interrupted = trained(answered, num_epochs, f"round-{i + 1}")
        now = judge.better(None, f"interactions, round {i + 1}", policy, (Y, None))
        best = now if clearly_less(now.errors, best.errors) else best
        if interrupted or (i > 0 and not clearly_less(now.errors, before.errors)):
            break
    return best


def _no_loss(net, Y, X) -> Array:
    """A loss that is the same in each epoch, so that `fit` keeps the last finished epoch."""
    return jnp.zeros(())


@lru_cache
def _optimizer(rate: float, num_steps: int, decay: float) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(rate, num_steps)
    matrices = lambda params: jax.tree.map(lambda leaf: leaf.ndim == 2, params)
    # The decay is separate from the gradient. As a part of the gradient, Adam would divide it by
    # the size of the gradient. It would then dominate where choices are right already and the
    # gradient is nearly 0.
    adam = optax.adamw(schedule, weight_decay=decay, mask=matrices)
    return optax.chain(optax.clip_by_global_norm(1.0), adam)


def _parts(train: Checked, val: Checked | None) -> tuple[Checked, Checked]:
    """The data for training, and the data on which candidates are compared."""
    Y, X = train
    if val is not None:
        if (val[1] is None) != (X is None):
            expected = "(Y, X)" if X is not None else "(Y, None)"
            _checks.fail(ValueError, "val", f"a pair {expected}, as train is", "the other kind")
        return train, val
    if X is None:
        return train, (Y[-_JUDGED:], None)
    cut = len(Y) - max(len(Y) // 10, 1)
    if cut < 1:
        expected = "at least 2 signals, as one of them is for validation"
        _checks.fail(ValueError, "train Y", expected, str(len(Y)))
    return (Y[:cut], X[:cut]), (Y[cut:], X[cut:])


def _joined(*pairs: Checked) -> Checked:
    """All signals of several pairs."""
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *pairs)


def _resized(pairs: Checked, num: int) -> Checked:
    """The signals, repeated until there are ``num``."""
    return jax.tree.map(lambda each: jnp.resize(each, (num, *each.shape[1:])), pairs)


def _weights(net: Unrolled) -> Float[Array, " n"]:
    """The magnitudes of the network's weights, none of them 0."""
    weights = jnp.abs(net.atom_weights)
    if weights.ndim == 2:
        _checks.fail(ValueError, "net", "one weight per atom", "weights of each layer")
    return jnp.maximum(weights, 1e-6 * jnp.max(weights))


def _counted(judge: Judge, policy: Interactions, Y: Array) -> Interactions:
    """The policy with weights as from `count_weights`, but from the answers of the method."""
    for _ in range(NUM_ROUNDS):
        counted = weights_of(judge.answers(Y, policy))
        policy = dataclasses.replace(policy, bias=jnp.log(counted).astype(policy.bias.dtype))
    return policy
