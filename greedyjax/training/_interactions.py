"""Selection that sees what has been chosen: learned, and kept only where it is worth something."""

import dataclasses
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float

from greedyjax import _checks
from greedyjax._folds import row_folds
from greedyjax._numerics import abs_sq, safe_inverse
from greedyjax._types import Recovery
from greedyjax.linalg.checked import as_operator, restrict
from greedyjax.metrics import nmse
from greedyjax.nets import Unrolled
from greedyjax.policies import Interactions
from greedyjax.pursuit import GaussianPrior, Hardened, batch_that_fits, recover
from greedyjax.training import _arguments
from greedyjax.training._arguments import Checked, Data
from greedyjax.training._counting import count_weights
from greedyjax.training._fit import fit

# Settings of the last fit that are tried: the share of the other atoms, and that of the noise.
ELSEWHERE = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
NOISE = (1e-3, 1e-2)
# Signals that hidden measurements are predicted of, at most.
_JUDGED = 256


class Learned(NamedTuple):
    """What was learned, and what it was worth.

    Attributes:
        solver: measurements ``(..., m)`` to signals ``(..., n)``, by what was kept.
        policy: what it takes as ``weights=``.
        prior: of its last fit; None where least squares was as good.
        kept: the name of what was kept, one of ``errors``.
        errors: relative squared error of each candidate: of the validation signals, or, where no
            signals are known, of hidden measurements. ``"w = 1"`` is among them.
    """

    solver: Hardened
    policy: Any
    prior: GaussianPrior | None
    kept: str
    errors: dict[str, float]


class _Candidate(NamedTuple):
    name: str
    policy: Any
    prior: GaussianPrior | None
    errors: np.ndarray  # Of each signal.


def learn_interactions(
    net: Unrolled,
    train: Data,
    val: Data | None = None,
    *,
    key: Array,
    rank: int = 32,
    num_epochs: int = 20,
    num_rounds: int = 6,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
    decay: float = 0.0,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Learned:
    """Learns a policy that sees what has been chosen, from true signals or from measurements alone.

    From pairs ``(Y, X)``, `greedyjax.policies.Interactions` are trained by the selection loss along
    the path of the hard solver of ``net``, from the weights that ``net`` has. From ``(Y, None)``
    the solver's own answers stand in for the signals: it recovers all of them, trains on these
    answers, recovers again, for as many rounds as predict hidden measurements better. Then the
    coefficients get a last fit by the covariance of the signals, or of the answers.

    None of that is kept unless it pays. The candidates are ``w = 1``, the weights of ``net``, and
    the policy, each with the solver's own fit and with the last one; a later one takes the place of
    the one before where its error is smaller by more than the standard error of the difference.
    The error is that of the validation signals; from measurements alone, that of predicting
    measurements that were hidden from the solver, and nothing else is looked at. Once the choice
    is made, what was kept is learned once more from all pairs, those of validation too. Ctrl-C ends
    the training under way, and what is known by then is compared.

    Args:
        net: its method, matrix, temperature and weights are where training starts; the weights of
            a network trained before serve it well. It is not changed.
        train: ``(Y, X)`` of shapes ``(num, m)`` and ``(num, n)``, or ``(Y, None)``.
        val: the same, to choose by, with signals exactly where ``train`` has them. None means the
            last tenth of ``train``; from measurements alone, the last 256.
        key: random key, of the first interactions and of the shuffles.
        rank: of the interactions.
        num_epochs: of each training; half of them in a round.
        num_rounds: at most; from measurements alone.
        batch_size: signals per step.
        learning_rate: of Adam, which falls to 0 along a cosine.
        decay: how strongly interactions are drawn to 0.
        checkpoint_dir: a folder for checkpoints, from which an interrupted training goes on.
        progress: shows bars, where there is a terminal.

    Returns:
        A `Learned`.

    Raises:
        TypeError: wrong kinds of argument.
        ValueError: wrong shapes or ranges, NaN or infinity; a network without one weight per atom.

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
        The interactions, and learning them in turn with a pursuit: Peleg, Eldar and Elad,
        "Exploiting statistical dependencies in sparse representations for signal recovery", IEEE
        Transactions on Signal Processing 60 (2012), by pseudo-likelihood. Learning them along the
        solver's own path, and choosing by hidden measurements, is this library's.
    """
    key = _checks.prng_key("key", key)
    if not isinstance(net, Unrolled):
        _checks.fail(TypeError, "net", "a network of greedyjax.nets", type(net).__name__)
    num_rounds = _checks.static_int("num_rounds", num_rounds, minimum=1)
    num_epochs = _checks.static_int("num_epochs", num_epochs, minimum=1)
    data = _arguments.data("train", train, net)
    pairs, judged = _parts(data, None if val is None else _arguments.data("val", val, net))
    judge, known = _Judge(net, *judged), data[1] is not None
    n, w = net.A.shape[1], _weights(net, pairs)
    initial, shuffles = jax.random.split(key)
    fixed = lambda weights: Interactions.initial(initial, n, rank=rank, weights=weights)
    ones = judge.better(None, "w = 1", fixed(jnp.ones_like(w)), pairs)
    best = judge.better(ones, "weights", fixed(w), pairs)

    def trained(pairs: Checked, epochs: int, folder: str) -> tuple[Any, bool]:
        """The policy, and whether its training was interrupted."""
        num_steps = epochs * max(len(pairs[0]) // batch_size, 1)
        fitted = fit(
            net.rebuild(weights=fixed(w)),
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
        # From the answers of w = 1: those of learned weights are all alike, and lock in.
        epochs = max(num_epochs // 2, 1)
        best = _from_answers(judge, trained, best, ones.policy, pairs[0], num_rounds, epochs)
    solver = Hardened.of(net.method, None, net.A, best.policy, best.prior)
    return Learned(solver, best.policy, best.prior, best.name, judge.table)


def _from_pairs(judge: "_Judge", trained, best: _Candidate, pairs, judged, num_epochs: int):
    """The best candidate with interactions among them, learned from signals that are known."""
    every = _joined(pairs, judged)
    # As many signals as in the last training, some of them twice: so both compile once.
    policy, interrupted = trained(_resized(pairs, len(every[0])), num_epochs, "pairs")
    best = judge.better(best, "interactions", policy, pairs)
    if best.policy is policy and not interrupted:
        policy, interrupted = trained(every, num_epochs, "all")
        best = best if interrupted else best._replace(policy=policy)
    if best.prior is not None:
        covariance = _covariance(every[1])
        best = best._replace(prior=dataclasses.replace(best.prior, covariance=covariance))
    return best


def _from_answers(
    judge: "_Judge", trained, best: _Candidate, policy, Y, num_rounds: int, num_epochs: int
) -> _Candidate:
    """The best candidate with those of each round among them, as long as rounds get better."""
    before = None
    for i in range(num_rounds):
        answered = Y, judge.answers(Y, policy)
        policy, interrupted = trained(answered, num_epochs, f"round-{i + 1}")
        now = judge.better(None, f"interactions, round {i + 1}", policy, (Y, None))
        best = now if _clearly_less(now.errors, best.errors) else best
        worse = before is not None and not _clearly_less(now.errors, before.errors)
        if interrupted or worse:
            break
        before = now
    return best


def _no_loss(net, Y, X) -> Array:
    """The same for each epoch, so that `fit` keeps the last one that was done."""
    return jnp.zeros(())


class _Judge:
    """Compares candidates by the errors of the hard solver on the same signals."""

    def __init__(self, net: Unrolled, Y: Array, X: Array | None) -> None:
        self._method, self._A, self._Y, self._X = net.method, net.A, Y, X
        self.table: dict[str, float] = {}

    def better(self, best: _Candidate | None, name: str, policy: Any, pairs: Checked) -> _Candidate:
        """The last that is better of ``best`` and a policy with its own fit and with a last one.

        The covariance of that is of the signals of ``pairs``, or of the answers.
        """
        Y, X = pairs
        covariance = _covariance(self.answers(Y, policy) if X is None else X)
        args = self._method, self._A, policy, covariance, self._Y, self._X
        own, *others = np.asarray(_errors(*args))
        least = int(np.argmin(np.mean(others, axis=1)))
        prior = GaussianPrior(covariance, *_SETTINGS[least])
        last_fit = _Candidate(f"{name}, last fit", policy, prior, others[least])
        for candidate in (_Candidate(name, policy, None, own), last_fit):
            self.table[candidate.name] = float(candidate.errors.mean())
            if best is None or _clearly_less(candidate.errors, best.errors):
                best = candidate
        assert best is not None
        return best

    def answers(self, Y: Array, policy: Any) -> Array:
        """Of the hard solver."""
        return _answers(self._method, self._A, policy, Y)


def _clearly_less(errors: np.ndarray, than: np.ndarray) -> bool:
    """Whether their mean is less, by more than the standard error of the difference."""
    gain = than - errors
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))


_SETTINGS = [(elsewhere, noise) for elsewhere in ELSEWHERE for noise in NOISE]


@lru_cache
def _optimizer(rate: float, num_steps: int, decay: float) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(rate, num_steps)
    matrices = lambda params: jax.tree.map(lambda leaf: leaf.ndim == 2, params)
    return optax.chain(
        optax.add_decayed_weights(decay, mask=matrices),
        optax.clip_by_global_norm(1.0),
        optax.adam(schedule),
    )


def _parts(train: Checked, val: Checked | None) -> tuple[Checked, Checked]:
    """What is trained on, and what candidates are compared on."""
    Y, X = train
    if val is not None:
        if (val[1] is None) != (X is None):
            expected = "(Y, X)" if X is not None else "(Y, None)"
            _checks.fail(ValueError, "val", f"a pair {expected}, as train is", "the other")
        return train, val
    if X is None:
        return train, (Y[-_JUDGED:], None)
    cut = len(Y) - max(len(Y) // 10, 1)
    if cut < 1:
        _checks.fail(ValueError, "train Y", "at least 2 signals, one to choose by", str(len(Y)))
    return (Y[:cut], X[:cut]), (Y[cut:], X[cut:])


def _joined(*pairs: Checked) -> Checked:
    """All signals of several pairs."""
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *pairs)


def _resized(pairs: Checked, num: int) -> Checked:
    """The signals again and again, until there are so many."""
    return jax.tree.map(lambda each: jnp.resize(each, (num, *each.shape[1:])), pairs)


def _weights(net: Unrolled, pairs: Checked) -> Float[Array, " n"]:
    """Those of the network; where they are ones and no signals are known, those of counting.

    Counting needs a matrix: with an operator they stay ones.
    """
    weights = jnp.abs(net.atom_weights)
    if weights.ndim == 2:
        _checks.fail(ValueError, "net", "one weight per atom", "weights of each layer")
    is_matrix = isinstance(net.A, jax.Array)
    if pairs[1] is None and is_matrix and bool(jnp.all(weights == 1)):
        return count_weights(net.A, pairs[0], sparsity=net.sparsity)
    return jnp.maximum(weights, 1e-6 * jnp.max(weights))


def _recovered(method, A, policy, Y) -> Recovery:
    """By the hard solver, in blocks that bound the memory; compiled faster than `recover_batch`."""
    size = batch_that_fits(4 * A.shape[1] + 2 * A.shape[0] * method.sparsity, Y.dtype)
    return lax.map(lambda y: recover(method, A, y, weights=policy), Y, batch_size=size)


@jax.jit
def _answers(method, A, policy, Y) -> Array:
    return _recovered(method, A, policy, Y).x


@jax.jit
def _covariance(X: Array) -> Array:
    """Of signals at norm 1, as the choice of atoms does not depend on their units."""
    unit = X * safe_inverse(jnp.linalg.norm(X, axis=1, keepdims=True))
    return unit.T @ unit.conj() / len(X)


@jax.jit
def _errors(method, A, policy, covariance, Y, X) -> Float[Array, "ways num"]:
    """Relative squared errors of each signal, by the solver's own fit and by each last fit.

    Of the signals where they are known, else of a tenth of the measurements at a time.
    """
    settings = tuple(jnp.asarray(_SETTINGS, covariance.real.dtype).T)

    def answers(A, Y):
        found = _recovered(method.within(A.shape), A, policy, Y)
        one = lambda setting: GaussianPrior(covariance, *setting).refit(A, Y, found.support)
        return jnp.concatenate([found.x[None], lax.map(one, settings)])

    if X is not None:
        return jax.vmap(nmse, (0, None))(answers(A, Y), X)

    def one_fold(rows):
        hidden, kept = rows
        unseen = as_operator(restrict(A, hidden))
        predicted = jax.vmap(jax.vmap(unseen.matvec))(answers(restrict(A, kept), Y[:, kept]))
        return _energy(predicted - Y[None, :, hidden])

    folds = tuple(map(jnp.asarray, row_folds(A.shape[0])))
    return jnp.sum(lax.map(one_fold, folds), axis=0) * safe_inverse(_energy(Y))[None]


def _energy(Z: Array) -> Float[Array, "*ways num"]:
    return jnp.sum(abs_sq(Z), axis=-1)
