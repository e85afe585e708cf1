"""Programs that are compiled in half the time on a CPU, and run as fast."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import jax

# XLA's newer emitters of fused loops take half of the time of compiling a hard solver, and its
# steps, whose loops are short, gain nothing from them.
_OPTIONS = {"xla_cpu_use_fusion_emitters": False}


def quick_jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` for functions around a hard solver, which are called outside all others."""
    # Once it is called: importing a module starts no backend.
    compiled = lru_cache(lambda: jax.jit(function, compiler_options=quick_options()))
    return wraps(function)(lambda *args: compiled()(*args))


@lru_cache
def quick_options() -> dict[str, Any] | None:
    """The options, or None where this XLA has other ones or compiles for another device."""
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=_OPTIONS)()
    except jax.errors.JaxRuntimeError:
        return None
    return _OPTIONS
