"""What networks with gradient steps share: the step size, fixed or learned."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Inexact, Int

from greedyjax import _checks
from greedyjax._numerics import power_of_two
from greedyjax.linalg.norms import step_size_of
from greedyjax.linalg.operators import dense
from greedyjax.nets._unrolled import Unrolled


class Stepping(Unrolled):
    """An `Unrolled` solver that takes a ``step_size``."""

    def __init__(
        self,
        A: Inexact[Array, "m n"],
        *,
        sparsity: int,
        num_layers: int,
        tau: Any = 1e-3,
        step_size: Any = None,
        weights: Float[Array, "..."] | None = None,
        per_layer: bool = False,
        groups: Int[Array, " n"] | None = None,
        positive: bool = False,
        learn_tau: bool = False,
        learn_step_size: bool = False,
        penalty: Float[Array, " n"] | None = None,
    ) -> None:
        super().__init__(
            A,
            sparsity=sparsity,
            num_layers=num_layers,
            tau=tau,
            weights=weights,
            per_layer=per_layer,
            groups=groups,
            positive=positive,
            learn_tau=learn_tau,
            penalty=penalty,
        )
        self.learn_step_size = _checks.flag("learn_step_size", learn_step_size)
        # In the units of A the step may be too large or too small a number for single precision:
        # it is kept for A / unit, whose entries are at most 1.
        # Said to be data: under jit a constant does not look like it.
        self.unit = nnx.data(power_of_two(self.A))
        if step_size is None:
            unit_step = step_size_of(dense(self.A / self.unit), self.A.dtype)
        else:
            step_size = _checks.scalar("step_size", step_size, positive=True)
            unit_step = step_size.astype(self.unit.dtype) * self.unit * self.unit
        if self.learn_step_size:
            self.log_step = nnx.Param(jnp.log(unit_step))
        else:
            self._unit_step = nnx.data(unit_step)

    @property
    def unit_step(self) -> Float[Array, ""]:
        """The step size for ``A / unit``."""
        return jnp.exp(self.log_step[...]) if self.learn_step_size else self._unit_step

    @property
    def step_size(self) -> Float[Array, ""]:
        """The step size in the units of the matrix given."""
        return self.unit_step / self.unit / self.unit

    def _problem(self, y):
        """The same problem, in the units that the step size is for."""
        return self.A / self.unit, y / self.unit

    def _settings(self) -> dict[str, Any]:
        penalty = self.penalty
        return {
            **super()._settings(),
            "penalty": None if penalty is None else penalty / self.unit / self.unit,
            "num_steps": self.num_layers,
            "step_size": self.unit_step,
        }
