"""How the suite checks annotations: the import hook of jaxtyping puts `check` on every function of the package."""

from collections.abc import Callable
from typing import Any, TypeVar

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception

Function = TypeVar("Function", bound=Callable[..., Any])

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for mypy


def check(function: Function) -> Function:
    """Check arguments and result of every call, but where `Self` stands: beartype knows that in whole classes only."""
    try:
        return _checked(function)
    except BeartypeDecorHintPep673Exception:
        return function
