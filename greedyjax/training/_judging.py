"""Comparison of policies for the hard solver, with the solver's own fit and with a last fit."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from greedyjax._folds import row_folds
from greedyjax._numerics import abs_sq, safe_inverse
from greedyjax._types import Recovery
from greedyjax.linalg.checked import as_operator, restrict
from greedyjax.metrics import nmse
from greedyjax.nets import Unrolled
from greedyjax.pursuit import GaussianPrior, batch_that_fits, in_blocks, recover
from greedyjax.training._arguments import Checked

# Settings of the last fit that are tried: the shares of the other atoms and of the noise.
ELSEWHERE = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
NOISE = (1e-3, 1e-2)
# The number of folds of hidden measurements on which these settings are tried. Only the best
# setting is used on the other folds.
_FOLDS_TO_TRY_ON = 3


class Candidate(NamedTuple):
    """A candidate that may be kept.

    Attributes:
        name: the name of the candidate.
        policy: the policy of the hard solver.
        prior: the prior of its last fit, or None.
        errors: the error of each signal on which candidates are compared.
    """

    name: str
    policy: Any
    prior: GaussianPrior | None
    errors: np.ndarray


class Judge:
    """Compares candidates by the errors of the hard solver on the same signals.

    Errors are relative squared errors of the signals, if signals are known. Otherwise they are
    errors of predicted measurements: in turn, each tenth of the measurements is hidden from the
    solver.
    """

    def __init__(self, net: Unrolled, Y: Array, X: Array | None) -> None:
        self._method, self._A, self._Y, self._X = net.method, net.A, Y, X
        self.table: dict[str, float] = {}

    def better(self, best: Candidate | None, name: str, policy: Any, pairs: Checked) -> Candidate:
        """Compares ``best`` with a policy under its own fit, and then with a last fit.

        A candidate replaces ``best`` if it is clearly better. The last fit uses the covariance of
        the signals of ``pairs``, or of the answers if no signals are known.
        """
        Y, X = pairs
        own, prior, fitted = self._errors(
            policy, covariance_of(self.answers(Y, policy) if X is None else X)
        )
        last_fit = Candidate(f"{name}, last fit", policy, prior, fitted)
        for candidate in (Candidate(name, policy, None, own), last_fit):
            self.table[candidate.name] = float(candidate.errors.mean())
            if best is None or clearly_less(candidate.errors, best.errors):
                best = candidate
        assert best is not None
        return best

    def answers(self, Y: Array, policy: Any) -> Array:
        """The answers of the hard solver, with its own fit."""
        return _answers(self._method, self._A, policy, Y)

    def _errors(
        self, policy: Any, covariance: Array
    ) -> tuple[np.ndarray, GaussianPrior, np.ndarray]:
        """The errors with the solver's own fit, the best prior, and the errors with this prior.

        Each part is compiled separately and only once, for all folds and all settings.
        """
        problem = self._A, self._Y, self._X
        known = self._X is not None
        folds = [None] if known else list(zip(*row_folds(self._A.shape[0]), strict=True))
        found = [(fold, *_own(self._method, policy, *problem, fold)) for fold in folds]

        def fitted(prior, found):
            return np.sum([_last(prior, seen, *problem, fold) for fold, seen, _ in found], axis=0)

        first, others = found[:_FOLDS_TO_TRY_ON], found[_FOLDS_TO_TRY_ON:]
        priors = [GaussianPrior(covariance, *each) for each in _SETTINGS]
        tried = [fitted(prior, first) for prior in priors]
        best = int(np.argmin(np.mean(tried, axis=1)))
        own = np.sum([errors for *_, errors in found], axis=0)
        return own, priors[best], tried[best] + fitted(priors[best], others)


def clearly_less(errors: np.ndarray, than: np.ndarray) -> bool:
    """Whether the mean of ``errors`` is less, by more than the difference's standard error."""
    gain = than - errors
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))


@jax.jit
def covariance_of(X: Array) -> Array:
    """The covariance of signals scaled to norm 1; the choice of atoms does not see their scale."""
    unit = X * safe_inverse(jnp.linalg.norm(X, axis=1, keepdims=True))
    return unit.T @ unit.conj() / len(X)


_SETTINGS = [(elsewhere, noise) for elsewhere in ELSEWHERE for noise in NOISE]
# The hidden rows and the other rows, or None if the solver sees all rows.
_Fold = tuple[Int[Array, " hidden"], Int[Array, " kept"]] | None


@jax.jit
def _answers(method, A, policy, Y) -> Array:
    return _solved(method, A, policy, Y).x


@jax.jit
def _own(method, policy, A, Y, X, fold: _Fold) -> tuple[Array, Float[Array, " num"]]:
    """The supports that the solver chooses, and the errors of its own fit."""
    A_seen, Y_seen = _seen(A, Y, fold)
    found = _solved(method.within(A_seen.shape), A_seen, policy, Y_seen)
    return found.support, _error(found.x, A, Y, X, fold)


@jax.jit
def _last(prior: GaussianPrior, support, A, Y, X, fold: _Fold) -> Float[Array, " num"]:
    """The errors of a last fit."""
    return _error(prior.refit(*_seen(A, Y, fold), support), A, Y, X, fold)


def _seen(A, Y, fold: _Fold) -> tuple[Any, Array]:
    """The rows of the matrix and of the measurements that the solver sees."""
    return (A, Y) if fold is None else (restrict(A, fold[1]), Y[:, fold[1]])


def _error(X_hat, A, Y, X, fold: _Fold) -> Float[Array, " num"]:
    """The error of the signals, or of hidden measurements relative to all measurements."""
    if fold is None:
        return nmse(X_hat, X)
    energy = lambda Z: jnp.sum(abs_sq(Z), axis=-1)
    predicted = jax.vmap(as_operator(restrict(A, fold[0])).matvec)(X_hat)
    return energy(predicted - Y[:, fold[0]]) * safe_inverse(energy(Y))


def _solved(method, A, policy, Y) -> Recovery:
    """Recovery by the hard solver in blocks that bound the memory.

    It compiles faster than `recover_batch`.
    """
    size = batch_that_fits(4 * A.shape[1] + 2 * A.shape[0] * method.sparsity, Y.dtype)
    return in_blocks(jax.vmap(lambda y: recover(method, A, y, weights=policy)), size, Y)
