"""One file per paper. A module in this package is a method; there is no other registration."""

import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from textforge.decoding import Generator
from textforge.errors import CallError, nearest
from textforge.nets.mlp import PointGenerator
from textforge.options import Options, require_types
from textforge.oracles import worlds
from textforge.oracles.worlds import World
from textforge.run import Run
from textforge.task import Task, WorldTask, load_task, load_world
from textforge.text import Vocabulary


@runtime_checkable
class Method(Protocol):
    """What a module of this package holds; `Config` is a frozen dataclass, and the presets are instances of it.

    `LENGTHS` are its fields that say how long to train: less of all of them is a shorter training of the same kind.
    """

    Config: type[Any]
    PRESETS: Mapping[str, Any]
    LENGTHS: Sequence[str]
    CITATION: str

    def networks(self, config: Any, vocabulary: Vocabulary, max_length: int) -> Mapping[str, Any]:
        """Build the untrained networks by name; one is "generator"."""

    def train(self, config: Any, task: Task, run: Run) -> Generator:
        """Train on the task and return the generator."""


@runtime_checkable
class WorldMethod(Protocol):
    """The same for a method of points instead of sequences: it has players where the others have networks."""

    Config: type[Any]
    PRESETS: Mapping[str, Any]
    LENGTHS: Sequence[str]
    CITATION: str

    def players(self, config: Any, world: World) -> Mapping[str, Any]:
        """Build the untrained networks by name; one is "generator"."""

    def train(self, config: Any, task: WorldTask, run: Run) -> PointGenerator:
        """Train on the task and return the generator."""


def names() -> list[str]:
    """Return the names of all methods."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Method:
    """Import a method of sequences by name; raises CallError where there is none of that name."""
    method = find(name)
    if isinstance(method, WorldMethod):
        raise CallError(f"{name} learns worlds of points, not sequences; choose another: see textforge methods")
    return method


def find(name: str) -> Method | WorldMethod:
    """Import a method of either kind by name; raises CallError where there is none of that name."""
    if name not in names():
        raise CallError(f"there is no method '{name}'; choose from {', '.join(names())}{nearest(name, names())}")
    module: object = import_module(f"{__name__}.{name}")
    assert isinstance(module, Method | WorldMethod), f"{name} has neither networks nor players"
    return module


def default_data(name: str) -> str:
    """Return what a method learns from when it is not told."""
    return "temperatures" if isinstance(find(name), WorldMethod) else Options.data


def load_data(name: str, options: Options) -> Task | WorldTask:
    """Return what the options name as a task of the kind that the method learns.

    Raises CallError, with what would go, for data of the other kind.
    """
    if isinstance(find(name), WorldMethod):
        try:
            return load_world(options)
        except CallError as error:
            raise CallError(f"{name} learns points: {error}") from None
    if options.data in worlds.names() and not Path(options.data).exists():
        raise CallError(
            f"{options.data} is a world of points, and {name} learns texts; give --data {Options.data} or another "
            "language (textforge data list), or take a method of worlds (textforge methods)"
        )
    return load_task(options)


def configure(method: str, preset: str, fields: Mapping[str, Any]) -> Any:
    """Return a preset of a method with some fields replaced.

    Raises CallError for an unknown preset or field, and for a value of the wrong type or out of range.
    """
    module = find(method)
    if preset not in module.PRESETS:
        known = list(module.PRESETS)
        raise CallError(f"{method} has no preset '{preset}'; choose from {', '.join(known)}{nearest(preset, known)}")
    base = module.PRESETS[preset]
    for field in fields:
        if field not in vars(base):
            raise CallError(f"{method} has no field '{field}'{nearest(field, vars(base))}")
    require_types(module.Config, fields)
    return module.Config(**{**vars(base), **fields})


def train(name: str, config: Any, task: Task | WorldTask, run: Run) -> Generator | PointGenerator:
    """Train a method on a task of its kind."""
    module = find(name)
    match task:
        case Task():
            assert isinstance(module, Method), f"{name} learns no texts"
            return module.train(config, task, run)
        case WorldTask():
            assert isinstance(module, WorldMethod), f"{name} learns no worlds"
            return module.train(config, task, run)
