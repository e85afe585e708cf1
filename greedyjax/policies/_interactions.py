"""A policy that is learned: what has been chosen raises or lowers the weights of what has not."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from greedyjax import _checks
from greedyjax._numerics import magnitude, safe_inverse, safe_sqrt

# Of the entries of `seen` before training.
_SCALE = 0.05


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Interactions:
    """Weights that depend on which atoms have been chosen so far: ``exp(bias + f seen calls)``.

    ``f`` is the vector ``c`` of how far each atom has been chosen, or that and the sizes of their
    coefficients, ``[c, sqrt(|z| / max |z|)]``. The matrix ``seen calls`` of rank ``R`` says by how
    much an atom, once it is chosen, raises the logarithm of the weight of every other. With rank 0
    this is one weight per atom, ``exp(bias)``.

    Attributes:
        bias: of each atom, shape ``(n,)``.
        seen: shape ``(n, R)``, or ``(2 n, R)`` where coefficients count too.
        calls: shape ``(R, n)``.

    Example:
        >>> import jax.numpy as jnp, greedyjax as gj
        >>> from greedyjax.policies import Interactions
        >>> policy = Interactions(  # Atom 0 calls for atom 3.
        ...     bias=jnp.zeros(4), seen=jnp.eye(4)[:, :1], calls=2 * jnp.eye(4)[3:])
        >>> y = jnp.array([2.0, 0.0, 1.0, 0.5])
        >>> gj.omp(jnp.eye(4), y, sparsity=2).support.tolist()
        [0, 2]
        >>> gj.omp(jnp.eye(4), y, sparsity=2, weights=policy).support.tolist()
        [0, 3]

    References:
        The interactions of a Boltzmann machine over supports, Peleg, Eldar and Elad, "Exploiting
        statistical dependencies in sparse representations for signal recovery", IEEE Transactions
        on Signal Processing 60 (2012); low rank, and learned along the solver's path, here.
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
        """Where training begins: the same weights whatever has been chosen.

        Args:
            key: random key, for ``seen``.
            num_atoms: ``n``.
            rank: ``R``, at least 0.
            weights: the weights to begin with, shape ``(n,)``, none of them 0; None means ones.
            coefficients: whether the sizes of coefficients count too; a solver then computes them
                before each choice.

        Raises:
            TypeError: wrong kinds of argument.
            ValueError: wrong shapes or ranges, NaN or infinity; a weight of 0.
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
        """Entry ``(i, j)``: what atom ``i``, chosen, adds to the log of the weight of ``j``."""
        return jnp.asarray(self.seen)[: len(self.bias)] @ self.calls

    def __call__(self, context: Any) -> Float[Array, " n"]:
        """The weights of a step, from its `Context`."""
        features = context.chosen
        if len(self.seen) > len(self.bias):
            size = magnitude(context.coefficients)
            features = jnp.concatenate([features, safe_sqrt(size * safe_inverse(jnp.max(size)))])
        return jnp.exp(self.bias + (features @ self.seen) @ self.calls)
