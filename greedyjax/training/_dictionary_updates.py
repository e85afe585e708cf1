"""Three ways to improve a dictionary, given the codes of signals."""

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from greedyjax._numerics import (
    abs_sq,
    eps,
    index_range,
    matmul,
    norm,
    real_dtype,
    safe_inverse,
    times_real,
)
from greedyjax._types import static, sum_of_atoms

# The number of uses of one atom that K-SVD reads at a time.
_CHUNK = 128


class Coded(NamedTuple):
    """Signals with their codes, as an update sees them.

    Attributes:
        coefficients: ``x`` at the atoms of ``support``, shape ``(num, sparsity)``, 0 in unused
            slots.
        support: the atoms of each signal, shape ``(num, sparsity)``; -1 in unused slots.
        residual: ``y - A x``, shape ``(num, m)``, 0 where an entry of ``y`` is missing.
        energy: ``sum ||y||^2`` over all entries that are present.
        observed: True where an entry is present, shape ``(num, m)``. None means that all entries
            are present.
    """

    coefficients: Inexact[Array, "num sparsity"]
    support: Int[Array, "num sparsity"]
    residual: Inexact[Array, "num m"]
    energy: Float[Array, ""]
    observed: Bool[Array, "num m"] | None = None


@runtime_checkable
class DictionaryUpdate(Protocol):
    """How `greedyjax.training.learn_dictionary` improves a dictionary; a pytree."""

    def init(self, A: Inexact[Array, "m n"]) -> Any:
        """The state of the update before the first batch, which is passed on between batches."""
        ...

    def step(
        self, state: Any, A: Inexact[Array, "m n"], coded: Coded, fresh: Bool[Array, " n"]
    ) -> tuple[Any, Inexact[Array, "m n"]]:
        """The next state, and a better dictionary, whose columns may have any norm.

        Args:
            state: the present state of the update.
            A: columns of norm 1, with which the batch was coded.
            coded: the batch.
            fresh: which atoms were replaced after the last batch.
        """
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OnlineGradient:
    """A step of an optimizer along the gradient through hard OMP.

    Least squares makes the error stationary in the coefficients. So its derivative can be taken
    with supports and coefficients fixed:

    ``f(A) = sum_i ||y_i - A x_i||^2 / (2 sum_i ||y_i||^2)``,
    ``grad f(A) = -sum_i r_i x_i^* / sum_i ||y_i||^2``.

    If entries are missing, norms are taken over the entries that are present. The codes are sparse:
    no array larger than the batch and the dictionary is formed.

    Args:
        optimizer: an optax optimizer. The error is relative, so learning rates do not depend on
            the units of the signals.

    Example:
        >>> import optax
        >>> from greedyjax.training import OnlineGradient
        >>> update = OnlineGradient(optax.adam(1e-2))

    References:
        Olshausen and Field, "Sparse coding with an overcomplete basis set: A strategy employed by
        V1?", Vision Research 37 (1997), for another penalty.
    """

    optimizer: optax.GradientTransformation | optax.MultiSteps = static()

    def init(self, A: Inexact[Array, "m n"]) -> Any:
        """The state of the optimizer."""
        return self.optimizer.init(A)

    def step(
        self, state: Any, A: Inexact[Array, "m n"], coded: Coded, fresh: Bool[Array, " n"]
    ) -> tuple[Any, Inexact[Array, "m n"]]:
        """One step of the optimizer."""
        gradient = times_real(-safe_inverse(coded.energy), residual_products(coded, A.shape[1]))
        with jax.numpy_dtype_promotion("standard"):  # Optimizers rely on this promotion.
            updates, state = self.optimizer.update(gradient, state, A)
            return state, jnp.asarray(optax.apply_updates(A, updates))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MOD:
    """The method of optimal directions: the dictionary of least error for fixed codes.

    ``A = B C^-1`` with ``B = sum y_i x_i^*`` and ``C = sum x_i x_i^*``. It is computed as the
    change ``(B - A C)(C + delta I)^-1`` of the present dictionary. Here ``delta`` is of the order
    of rounding, so atoms that no signal used do not change.

    A missing entry is replaced by the entry of ``A x`` for the present dictionary. This is one step
    of expectation maximisation. The error of the entries that are present does not rise. The more
    entries are missing, the more slowly it falls.

    Args:
        decay: the factor by which ``B`` and ``C`` are multiplied from one batch to the next,
            between 0 and 1, traced. With 0 and all signals in a batch this is the method as
            published. With small batches, ``1 - batch_size / num`` remembers about one epoch.

    Example:
        >>> from greedyjax.training import MOD
        >>> MOD(decay=0.9)
        MOD(decay=0.9)

    References:
        Engan, Aase and Husoy, "Method of optimal directions for frame design", ICASSP 1999.
        Sums that forget: Mairal, Bach, Ponce and Sapiro, "Online learning for matrix factorization
        and sparse coding", Journal of Machine Learning Research 11 (2010).
    """

    decay: Any = 0.0

    def init(self, A: Inexact[Array, "m n"]) -> tuple[Array, Array]:
        """``B`` and ``C`` before any signal: zeros."""
        return jnp.zeros_like(A), jnp.zeros((A.shape[1], A.shape[1]), A.dtype)

    def step(
        self,
        state: tuple[Array, Array],
        A: Inexact[Array, "m n"],
        coded: Coded,
        fresh: Bool[Array, " n"],
    ) -> tuple[tuple[Array, Array], Inexact[Array, "m n"]]:
        """Solves least squares with the sums so far."""
        n, decay = A.shape[1], jnp.asarray(self.decay, real_dtype(A.dtype))
        C_now = code_products(coded, n)
        B_now = residual_products(coded, n) + matmul(A, C_now)
        kept = lambda z: times_real(decay, jnp.where(fresh[None], 0, z))
        B, C = kept(state[0]) + B_now, kept(jnp.where(fresh[:, None], 0, state[1])) + C_now
        diagonal = jnp.diagonal(C).real
        delta = n * eps(A.dtype) * jnp.max(diagonal)
        delta = jnp.where(delta > 0, delta, 1).astype(A.dtype)
        factor = jax.scipy.linalg.cho_factor(C + delta * jnp.eye(n, dtype=A.dtype))
        change = jax.scipy.linalg.cho_solve(factor, (B - matmul(A, C)).conj().T).conj().T
        return (B, C), A + change


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KSVD:
    """Approximate K-SVD: improves one atom after the other, each together with its coefficients.

    Let ``g_i`` be the coefficients of the signals that use atom ``j``, and let
    ``e_i = r_i + a_j g_i`` be their errors without this atom. The new atom is
    ``a_j = sum_i e_i g_i^*``, scaled to norm 1, and the new coefficients are ``g_i = a_j^* e_i``.
    This is one step of the power method for the leading singular vectors of the errors. The error
    of the batch does not rise. Later atoms are fitted to the residual that earlier atoms left.

    Missing entries are left out of the same two fits. Entry ``p`` of the atom is
    ``sum_i e_ip g_i^* / sum_i |g_i|^2`` over the signals that have this entry. It does not change
    if no signal has the entry. Then ``g_i = a_j^* e_i / ||a_j||^2`` over the entries of signal
    ``i`` that are present.

    Example:
        >>> from greedyjax.training import KSVD
        >>> KSVD()
        KSVD()

    References:
        Rubinstein, Zibulevsky and Elad, "Efficient implementation of the K-SVD algorithm using
        batch orthogonal matching pursuit", 2008; Aharon, Elad and Bruckstein, "K-SVD: An algorithm
        for designing overcomplete dictionaries for sparse representation", IEEE Transactions on
        Signal Processing 54 (2006). Weights of entries: Mairal, Elad and Sapiro, "Sparse
        representation for color image restoration", IEEE Transactions on Image Processing 17
        (2008).
    """

    def init(self, A: Inexact[Array, "m n"]) -> tuple[()]:
        """The empty state: this update remembers nothing."""
        return ()

    def step(
        self, state: tuple[()], A: Inexact[Array, "m n"], coded: Coded, fresh: Bool[Array, " n"]
    ) -> tuple[tuple[()], Inexact[Array, "m n"]]:
        """One sweep over all atoms."""
        uses = _uses_of_each(coded.support, A.shape[1])

        def of_atom(carry, given):
            a, start, end = given
            used = lambda i, carry: _without(a, coded, carry, uses.order, start + i * _CHUNK, end)

            def add(i, sums):
                use = used(i, carry)
                total, weight = sums
                return total + matmul(use.errors.T, use.g.conj()), weight + use.energies

            def refit(i, carry):
                use = used(i, carry)
                residual, coefficients = carry
                g = matmul(use.errors, d.conj())
                left = use.errors - g[:, None] * d[None]
                if use.seen is not None:
                    g = times_real(safe_inverse(matmul(use.seen, abs_sq(d))), g)
                    left = use.errors - use.seen.astype(d.dtype) * g[:, None] * d[None]
                # Indices past the end are dropped.
                return (
                    residual.at[use.signals].set(left, mode="drop"),
                    coefficients.at[use.slots].set(g, mode="drop"),
                )

            chunks = -(-(end - start) // _CHUNK)
            zeros = jnp.zeros_like(a), jnp.zeros_like(a.real)
            d, weight = lax.fori_loop(0, chunks, add, zeros)
            if coded.observed is not None:
                d = jnp.where(weight > 0, times_real(safe_inverse(weight), d), a)
            length = norm(d)
            d = jnp.where(length > 0, times_real(safe_inverse(length), d), a)
            return lax.fori_loop(0, chunks, refit, carry), d

        carry = coded.residual, coded.coefficients.reshape(-1)
        _, atoms = lax.scan(of_atom, carry, (A.T, uses.starts[:-1], uses.starts[1:]))
        return state, atoms.T


class _Uses(NamedTuple):
    """The slots of all signals, sorted by atom: atom j has ``order[starts[j]:starts[j + 1]]``."""

    order: Int[Array, " slots"]
    starts: Int[Array, " n_plus_1"]


class _Use(NamedTuple):
    """A chunk of the uses of an atom ``a``. Unused places have indices past the end.

    Attributes:
        slots: the indices of the coefficients.
        signals: the indices of the signals.
        g: the coefficients.
        errors: ``r + a g``, 0 where an entry is missing.
        seen: 1 where an entry is present, and 0 otherwise. None means that all are present.
        energies: ``sum |g|^2`` over the signals that have an entry, if some entries are missing.
    """

    slots: Int[Array, " chunk"]
    signals: Int[Array, " chunk"]
    g: Inexact[Array, " chunk"]
    errors: Inexact[Array, "chunk m"]
    seen: Float[Array, "chunk m"] | None
    energies: Float[Array, "*m"]


def _without(a, coded: Coded, carry: tuple[Array, Array], order, start, end) -> _Use:
    """A chunk of the uses of ``a``, with the residuals of its signals without ``a``."""
    residual, coefficients = carry
    places = start + index_range(_CHUNK)
    slots, used = order[places], places < end
    g = jnp.where(used, coefficients[slots], 0)
    signals = jnp.where(used, slots // coded.support.shape[1], len(residual))
    slots = jnp.where(used, slots, coefficients.size)
    errors = residual.at[signals].get(mode="fill", fill_value=0) + g[:, None] * a[None]
    if coded.observed is None:
        return _Use(slots, signals, g, errors, None, jnp.zeros((), a.real.dtype))
    seen = coded.observed.at[signals].get(mode="fill", fill_value=False).astype(a.real.dtype)
    energies = matmul(seen.T, abs_sq(g))
    return _Use(slots, signals, g, errors * seen.astype(a.dtype), seen, energies)


def _uses_of_each(support: Int[Array, "num sparsity"], num_atoms: int) -> _Uses:
    atoms = jnp.where(support < 0, num_atoms, support).reshape(-1)
    order = jnp.argsort(atoms, stable=True).astype(jnp.int32)
    starts = jnp.searchsorted(atoms[order], index_range(num_atoms + 1)).astype(jnp.int32)
    return _Uses(jnp.pad(order, (0, _CHUNK)), starts)


def decoded(A: Inexact[Array, "m n"], codes: Any) -> Inexact[Array, "num m"]:
    """``A x`` of each signal, from its chosen atoms alone."""
    return sum_of_atoms(codes.coefficients.astype(A.dtype), codes.support, A.T)


def residual_products(coded: Coded, num_atoms: int) -> Inexact[Array, "m n"]:
    """``sum_i r_i x_i^*``."""
    residual = coded.residual
    start = jnp.zeros((num_atoms, residual.shape[1]), residual.dtype)

    # Unused slots add 0, to the last atom.
    def slot(sum_, s):
        rows = coded.coefficients[:, s, None].conj() * residual
        return sum_.at[coded.support[:, s]].add(rows), None

    return lax.scan(slot, start, index_range(coded.support.shape[1]))[0].T


def code_products(coded: Coded, num_atoms: int) -> Inexact[Array, "n n"]:
    """``sum_i x_i x_i^*``."""
    X, support = coded.coefficients, coded.support

    def slot(sum_, s):
        products = X[:, s, None] * X.conj()
        return sum_.at[support[:, s, None], support].add(products), None

    start = jnp.zeros((num_atoms, num_atoms), X.dtype)
    return lax.scan(slot, start, index_range(support.shape[1]))[0]


def energy_of(Y: Inexact[Array, "num m"]) -> Float[Array, ""]:
    """``sum_i ||y_i||^2``."""
    return jnp.sum(abs_sq(Y))
