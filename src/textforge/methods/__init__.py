"""One file per paper. A module in this package is a method; there is no other registration."""

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast, runtime_checkable

from textforge.decoding import Generator
from textforge.errors import CallError, nearest
from textforge.options import require_types
from textforge.run import Run
from textforge.task import Task
from textforge.text import Vocabulary


@runtime_checkable
class Method(Protocol):
    """What every module of this package holds; `Config` is a frozen dataclass, and the presets are instances of it."""

    Config: type[Any]
    PRESETS: Mapping[str, Any]
    CITATION: str

    def networks(self, config: Any, vocabulary: Vocabulary, max_length: int) -> Mapping[str, Any]:
        """Build the untrained networks by name; one is "generator"."""

    def train(self, config: Any, task: Task, run: Run) -> Generator:
        """Train on the task and return the generator."""


def names() -> list[str]:
    """Return the names of all methods."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Method:
    """Import a method by name; raises CallError where there is none of that name."""
    if name not in names():
        raise CallError(f"there is no method '{name}'; choose from {', '.join(names())}{nearest(name, names())}")
    return cast(Method, import_module(f"{__name__}.{name}"))


def configure(method: str, preset: str, fields: Mapping[str, Any]) -> Any:
    """Return a preset of a method with some fields replaced.

    Raises CallError for an unknown preset or field, and for a value of the wrong type or out of range.
    """
    module = load(method)
    if preset not in module.PRESETS:
        known = list(module.PRESETS)
        raise CallError(f"{method} has no preset '{preset}'; choose from {', '.join(known)}{nearest(preset, known)}")
    base = module.PRESETS[preset]
    for field in fields:
        if field not in vars(base):
            raise CallError(f"{method} has no field '{field}'{nearest(field, vars(base))}")
    require_types(module.Config, fields)
    return module.Config(**{**vars(base), **fields})
