"""A hard solver with fixed weights, as a value."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Inexact

from greedyjax import _checks
from greedyjax._meshes import on_any_mesh
from greedyjax._precision import as_given
from greedyjax._types import ByIdentity, Recovery, static
from greedyjax.pursuit._blocks import recover_batch
from greedyjax.pursuit._cutting import batch_that_fits, in_blocks, in_rows
from greedyjax.pursuit._method import Method
from greedyjax.pursuit._refit import GaussianPrior


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)  # Hashed by identity, which jit needs.
class Hardened:
    """Maps measurements ``(..., m)`` to signals ``(..., n)`` by a hard solver with fixed weights.

    Attributes:
        method: the hard method.
        A: matrix, shape ``(m, n)``, or an operator.
        policy: the argument ``weights=`` of the method.
        prior: prior for a last fit of all coefficients once the atoms are chosen, or None.
        function: the user's own solver in place of the method, or None.
    """

    method: Method
    A: Any
    policy: Any
    prior: GaussianPrior | None = None
    function: ByIdentity | None = static(default=None)

    @classmethod
    def of(
        cls, method: Method, solver: Any, A: Any, policy: Any, prior: GaussianPrior | None = None
    ) -> "Hardened":
        """Makes it for a method, or for another ``solver`` with the same weights."""
        m, n = A.shape
        if prior is not None:
            _checks.instance("prior", prior, GaussianPrior, "greedyjax.GaussianPrior")
            prior = prior.checked(n)
        if solver is None:
            return cls(method, A, policy, prior)
        if isinstance(solver, Method):
            return cls(solver.checked((m, n), A.dtype), A, policy, prior)
        _checks.function("solver", solver)
        return cls(method, A, policy, prior, ByIdentity(solver))

    def __call__(self, Y: Inexact[ArrayLike, "..."]) -> Inexact[Array, "..."]:
        """Recovers one signal or a batch of any shape."""
        given, snapshots = Y, self.method.structure.snapshots
        Y = _checks.batch("Y", Y, self.A.shape[0], snapshots=snapshots)
        rows, lead = in_rows(Y, snapshots)
        if self.function is None:
            found = recover_batch(self.method, self.A, rows, weights=self.policy)
        else:
            found = _by_function(self, rows)
        X = found.x if self.prior is None else self.prior.refit(self.A, rows, found.support)
        return as_given(X.reshape(*lead, *X.shape[1:]), self.A, given)

    def __repr__(self) -> str:
        m, n = self.A.shape
        how = self.method if self.function is None else self.function.value
        parts = [str(how), f"A of shape ({m}, {n})", _described(self.policy)]
        if self.prior is not None:
            elsewhere, noise = self.prior.elsewhere, self.prior.noise
            parts.append(f"GaussianPrior(elsewhere={elsewhere}, noise={noise})")
        return f"Hardened({', '.join(parts)})"


def _described(policy: Any) -> str:
    """A description of weights: their shape, or the name of a policy and its size."""
    if not callable(policy):
        return f"weights of shape {jnp.shape(policy)}"
    if isinstance(policy, ByIdentity):
        return getattr(policy.value, "__name__", type(policy.value).__name__)
    count = sum(jnp.size(leaf) for leaf in jax.tree.leaves(policy))
    return f"{type(policy).__name__} of {count:,} numbers"


@jax.jit
@on_any_mesh(rows=(1,))
def _by_function(hardened: Hardened, Y: Array) -> Recovery:
    """Recovers signal by signal under vmap, in blocks that limit the memory."""
    assert hardened.function is not None
    solver: Any = hardened.function.value
    A, sparsity = hardened.A, hardened.method.sparsity

    def one(y):
        found = solver(A, y, sparsity=sparsity, weights=hardened.policy)
        if not isinstance(found, Recovery):
            got = f"one that returns {type(found).__name__}"
            _checks.fail(TypeError, "solver", "a function that returns a Recovery", got)
        return found

    size = batch_that_fits(4 * A.shape[1] + 4 * A.shape[0] * sparsity, Y.dtype)
    return in_blocks(jax.vmap(one), size, Y)
