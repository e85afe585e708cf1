"""Arguments by the names that other libraries have for them: the error says what they are here."""

from collections.abc import Callable
from functools import update_wrapper
from types import FunctionType
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

_NAMES = {
    "n_nonzero_coefs": "sparsity=, the number of atoms",
    "tol": "atol=, the norm of the residual; the square tol of scikit-learn is atol=sqrt(tol)",
}


def names_foreign_arguments(function: Function) -> Function:
    """The function, which says what a keyword of scikit-learn is called here."""

    def door(*args, **keywords):
        for name, way in names.items():
            if name in keywords:
                raise TypeError(f"{name}: expected {way}, got {name}=")
        return function(*args, **keywords)

    names = _NAMES
    # With the globals of the function, by which doctest knows that its example belongs there.
    own = FunctionType(door.__code__, function.__globals__, None, None, door.__closure__)
    return cast(Function, update_wrapper(own, function))
