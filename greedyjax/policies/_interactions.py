"""A learned policy: each chosen atom raises or lowers the weights of all others."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from greedyjax import _checks
from greedyjax._numerics import magnitude, safe_inverse, safe_sqrt

# The standard deviation of the entries of `seen` before training.
_SCALE = 0.05


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Interactions:
    """Weights that depend on which atoms have been chosen so far: ``exp(bias + f seen calls)``.

    The features ``f`` are a vector ``c`` that says how far each atom has been chosen. They may also
    contain the relative sizes of the coefficients ``z``: ``f = [c, sqrt(|z| / max |z|)]``. The
    matrix ``seen calls`` has rank ``R``. Once atom ``i`` is chosen, row ``i`` of this matrix is
    added to the logarithms of all weights. With rank 0 there is one fixed weight per atom,
    ``exp(bias)``.

    Attributes:
        bias: the logarithm of each atom's weight before any choice, shape ``(n,)``.
        seen: shape ``(n, R)``, or ``(2 n, R)`` if ``f`` contains coefficients.
        calls: shape ``(R, n)``.

    Example:
        >>> import jax.numpy as jnp, greedyjax as gj
        >>> from greedyjax.policies import Interactions
        >>> policy = Interactions(  # Atom 0 raises the weight of atom 3.
        ...     bias=jnp.zeros(4), seen=jnp.eye(4)[:, :1], calls=2 * jnp.eye(4)[3:])
        >>> y = jnp.array([2.0, 0.0, 1.0, 0.5])
        >>> gj.omp(jnp.eye(4), y, sparsity=2).support.tolist()
        [0, 2]
        >>> gj.omp(jnp.eye(4), y, sparsity=2, weights=policy).support.tolist()
        [0, 3]

    References:
        The interactions of a Boltzmann machine over supports, Peleg, Eldar and Elad, "Exploiting
        statistical dependencies in sparse representations for signal recovery", IEEE Transactions
        on Signal Processing 60 (2012). Here they have low rank, and are learned along the path of a
        solver.
    """

    bias: Any
    seen: Any
    calls: Any

    @classmethod
    def initial(
        cls,
        key: PRNGKeyArray,
        num_atoms: int,
        *,
        rank: int = 32,
        weights: Float[ArrayLike, " n"] | None = None,
        coefficients: bool = False,
    ) -> "Interactions":
        """The start of a training: weights that do not depend on the chosen atoms yet.

        Args:
            key: random key, for ``seen``.
            num_atoms: ``n``.
            rank: ``R``, at least 0.
            weights: the weights to start from, shape ``(n,)``, none of them 0; None means ones.
            coefficients: whether the sizes of coefficients are features too. A solver then computes
                coefficients before each choice.

        Raises:
            TypeError: an argument has a wrong type.
            ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity; or a
                weight is 0.
        """
        key = _checks.prng_key("key", key)
        n = _checks.static_int("num_atoms", num_atoms, minimum=1)
        rank = _checks.static_int("rank", rank, minimum=0)
        num_features = 2 * n if _checks.flag("coefficients", coefficients) else n
        seen = _SCALE * jax.random.normal(key, (num_features, rank))
        if weights is None:
            return cls(jnp.zeros(n), seen, jnp.zeros((rank, n)))
        given = _checks.real_or_steps("weights", weights, length=n, num_steps=None)
        _checks.positive("weights", jnp.abs(given))
        return cls(
            jnp.log(jnp.abs(given)), seen.astype(given.dtype), jnp.zeros((rank, n), given.dtype)
        )

    @property
    def matrix(self) -> Float[Array, "n n"]:
        """Entry ``(i, j)`` is added to the log of the weight of ``j`` once ``i`` is chosen."""
        return jnp.asarray(self.seen)[: len(self.bias)] @ self.calls

    def __call__(self, context: Any) -> Float[Array, " n"]:
        """The weights of a step, from its `Context`."""
        features = context.chosen
        if len(self.seen) > len(self.bias):
            size = magnitude(context.coefficients)
            features = jnp.concatenate([features, safe_sqrt(size * safe_inverse(jnp.max(size)))])
        return jnp.exp(self.bias + (features @ self.seen) @ self.calls)
