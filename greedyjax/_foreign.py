"""Errors for calls in the manner of another library, which name the arguments of this library."""

import inspect
from collections.abc import Callable
from functools import update_wrapper
from types import FunctionType
from typing import Any, TypeVar, cast

from greedyjax import _checks

Function = TypeVar("Function", bound=Callable[..., Any])

_NAMES = {
    "n_nonzero_coefs": "sparsity=, the number of atoms",
    "tol": "atol=, the norm of the residual; the square tol of scikit-learn is atol=sqrt(tol)",
}
_SPARSITY = "the largest number of atoms"
_ALONE = "; to stop by atol or rtol alone give sparsity=min(A.shape)"
_TAU = (
    "a temperature > 0; start with tau=gj.relative_tau(A, y, 0.1), times the step size for the IHT "
    "family"
)


def names_foreign_arguments(function: Function) -> Function:
    """The function, with a clear error if a call has arguments that belong to another library."""

    def door(*args, **keywords):
        check(call, parameters, args, keywords)
        return function(*args, **keywords)

    check, call, parameters = _check, function.__name__, inspect.signature(function).parameters
    # It has the globals of the function. By these doctest recognises the function's module.
    own = FunctionType(door.__code__, function.__globals__, None, None, door.__closure__)
    return cast(Function, update_wrapper(own, function))


def _check(call: str, parameters: Any, args: tuple, keywords: dict[str, Any]) -> None:
    """Raises a TypeError for names of scikit-learn, and for a misplaced or missing argument."""
    for name, way in _NAMES.items():
        if name in keywords and way.partition("=")[0] in parameters:
            _checks.fail(TypeError, name, way, f"{name}=")
    by_place = [
        each.name for each in parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD
    ]
    if "sparsity" not in parameters:
        if "sparsity" in keywords:
            rest = ", ".join(by_place[1:])
            way = f"a method that has the sparsity, {call}(OMP(sparsity=8), {rest})"
            _checks.fail(TypeError, by_place[0], way, "sparsity=")
        return
    if len(args) > len(by_place):
        way = f"the number of atoms as a keyword, {call}({', '.join(by_place)}, sparsity=8)"
        _checks.fail(TypeError, "sparsity", way, f"{len(args)} arguments without a keyword")
    if "sparsity" not in keywords:
        way = _SPARSITY + (_ALONE if "atol" in parameters else "")
        _checks.fail(TypeError, "sparsity", way, "none")
    if "tau" in parameters and "tau" not in keywords:
        _checks.fail(TypeError, "tau", _TAU, "none")
