"""Errors that a user can act on; the command line prints each as one line."""

import difflib
from collections.abc import Callable, Iterable


class UserError(ValueError):
    """The input is wrong. The message is one line: what, the offending value, what to do."""


class CallError(UserError):
    """The call itself is wrong: an unknown name, a field out of range. The command line exits with 2."""


class WorkError(RuntimeError):
    """The work failed on correct input: a loss that became NaN, a full disk, a damaged checkpoint.

    `shared` is set where all processes of a training raise the same, so that one of them tells it.
    """

    shared = False


class LostProcess(WorkError):
    """Another process of the training is gone, and the rest cannot go on without it."""


class Interrupted(WorkError):
    """The run was told to stop and has saved its state; the message says how to resume."""

    shared = True  # processes stop together


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a suggestion such as `; did you mean 'seqgan'?`, or an empty string where nothing is near."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def at_least(minimum: float, config: object, *fields: str) -> None:
    """Raise CallError for the first of the config's named fields that is set and lies below the minimum."""
    _require(config, fields, lambda value: value >= minimum, f"at least {minimum}")


def at_most(maximum: float, config: object, *fields: str) -> None:
    """Raise CallError for the first of the config's named fields that is set and lies above the maximum."""
    _require(config, fields, lambda value: value <= maximum, f"at most {maximum}")


def above(limit: float, config: object, *fields: str) -> None:
    """Raise CallError for the first of the config's named fields that is set and does not lie above the limit."""
    _require(config, fields, lambda value: value > limit, f"above {limit}")


def _require(config: object, fields: Iterable[str], holds: Callable[[float], bool], wish: str) -> None:
    for field in fields:
        value = vars(config)[field]
        if value is not None and not holds(value):  # NaN holds nothing
            raise CallError(f"--{field.replace('_', '-')} must be {wish}, not {value}")
