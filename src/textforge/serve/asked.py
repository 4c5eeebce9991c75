"""What may be asked, and how much of it: requests as dataclasses, read from JSON that anybody may have written."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from textforge.errors import CallError, nearest
from textforge.options import PLAIN, Strategy, require_types
from textforge.resampling import PATIENCE

BODY = 32_768
"""Bytes of a request."""
CHARACTERS = 4_000
"""Of a prompt."""
NUM = 20
"""Texts at once."""
CHOICES = {"k": 1_000_000, "width": 64, "candidates": 64, "simulations": 200}
"""The greatest settings of a strategy."""
WORK = 4_000_000
"""Tokens that one request may cost to draw."""
STEPS = 60_000
"""Steps of the generator, one behind the other, that one request may cost: about a minute of a small one."""
TEMPERATURES = (0.01, 10.0)
LARGEST_SEED = 2**53 - 1
"""Beyond it, JavaScript does not know whole numbers exactly."""
NAMED = 8
"""Runs that one game may mix."""

T = TypeVar("T")
BLANK = "___"


@dataclass(frozen=True)
class Draw:
    """Texts of a run: free ones, continuations of `text`, or fillings where it has blanks."""

    run: int
    text: str = ""
    num: int = 5
    temperature: float = 1.0
    seed: int | None = None
    strategy: Strategy = field(default=PLAIN)

    def __post_init__(self) -> None:
        """Check the ranges."""
        within("num", self.num, 1, NUM)
        within("temperature", self.temperature, *TEMPERATURES)
        if self.seed is not None:
            within("seed", self.seed, 0, LARGEST_SEED)
        for name, most in CHOICES.items():
            within(name, vars(self.strategy)[name], 1, most)
        if len(self.text) > CHARACTERS:
            raise CallError(f"the text has {len(self.text)} characters; shorten it to {CHARACTERS}")
        if self.blanks and self.strategy.decode != "ancestral":
            raise CallError(f"blanks are filled by the model itself, not by {self.strategy.decode}; choose ancestral")

    @property
    def blanks(self) -> bool:
        """Whether there are any to be filled."""
        return BLANK in self.text

    def cost(self, max_length: int) -> int:
        """Return about how many tokens must be drawn."""
        match self.strategy.decode:
            case "rerank" | "resample":
                rows = self.num * self.strategy.candidates
            case "beam":
                rows = self.strategy.width
            case "mcts":
                rows = self.num * self.strategy.simulations * max_length
            case "reject":
                rows = PATIENCE * (self.num + 1)  # at the worst
            case _:
                rows = self.num
        return rows * max_length

    def steps(self, max_length: int) -> int:
        """Return about how many steps follow each other: for a tree search a roll-out, half a text, a simulation."""
        searches = self.strategy.decode == "mcts"
        return max_length * (self.strategy.simulations * max_length // 2 if searches else 1)


@dataclass(frozen=True)
class NewGame:
    """A game of real or not, with texts of these runs, mixed."""

    runs: list[int]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        within("temperature", self.temperature, *TEMPERATURES)
        within("the number of runs", len(self.runs), 1, NAMED)


@dataclass(frozen=True)
class Guess:
    """Which of the two texts of a round is held to be real."""

    choice: int

    def __post_init__(self) -> None:
        """Check the range."""
        within("choice", self.choice, 0, 1)


def read(kind: type[T], body: bytes) -> T:
    """Read a request; raises CallError for what is none, with the reason."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise CallError("the request is not JSON; send an object") from None
    return _made(kind, values)


def _made(kind: type[T], values: object) -> T:
    if not isinstance(values, dict):
        raise CallError(f"the request is {type(values).__name__}, not an object; send one")
    names = [entry.name for entry in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            raise CallError(f"there is nothing named {name!r:.40} to be asked for{nearest(name, names)}")
    if isinstance(strategy := values.get("strategy"), Mapping):
        values = {**values, "strategy": _made(Strategy, strategy)}
    require_types(kind, values)
    try:
        return kind(**values)
    except TypeError:
        missing = [name for name in names if name not in values]
        raise CallError(f"something is missing among {', '.join(missing)}; send it, too") from None


def within(name: str, value: Any, low: float, high: float) -> None:
    """Raise CallError for a value out of its range; NaN is in none."""
    if not low <= value <= high:
        raise CallError(f"{name} must be between {low:g} and {high:g}, not {value}")
