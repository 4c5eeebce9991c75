"""For each method, a file of the settings under which every method's tests run.

`FURTHER` are settings beside the tiny preset, by name, that keep more state across iterations, with learning rates that
exhaust any patience. Under `LINES` the method learns a single line, and under `TABLE` a world of 27 sequences, in some
seconds. A method of points has `WORLDS` in place of these two.
"""

from importlib import import_module
from typing import Any, Protocol, cast


class Settings(Protocol):
    FURTHER: dict[str, dict[str, Any]]
    LINES: dict[str, Any]
    TABLE: dict[str, Any]


class WorldSettings(Protocol):
    FURTHER: dict[str, dict[str, Any]]
    WORLDS: dict[str, str]


def worlds_of(method: str) -> dict[str, str]:
    """The world that a method of points is tested on, under the tiny preset and under each of `FURTHER`."""
    return cast(WorldSettings, import_module(f"settings.{method}")).WORLDS


def of(method: str) -> Settings:
    return cast(Settings, import_module(f"settings.{method}"))
