"""What the papers print, how to measure the same here, and what came out: the rows of ledger.toml."""

import itertools
import math
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from textforge.errors import CallError, nearest

LEDGER = Path(__file__).parent / "ledger.toml"
Status = Literal["run", "needs-gpu", "not-comparable"]
Derivation = Literal["entropy", "uniform", "unigram"]
SEED = "{seed}"
OUT = "{out}/"
FILES = "{files}/"


@dataclass(frozen=True)
class Value:
    """One number of a paper, as printed there: the digits say how exactly it is known."""

    metric: str
    """Its name in what `textforge evaluate --json` prints; of a row that cannot be run, what it is, in words."""
    published: str | None = None
    """None: the paper prints none."""
    spread: str | None = None
    """What the paper prints behind ±."""
    exact: float | None = None
    """Where the paper gives a formula: its value, with which ours is compared in place of the digits."""

    @property
    def decimals(self) -> int:
        """The printed digits behind the point."""
        return 0 if self.published is None else len(self.published.partition(".")[2])

    @property
    def rounding(self) -> float:
        """How far the number may lie from the one that was rounded to it."""
        return 0.0 if self.exact is not None else 0.5 * 10.0**-self.decimals

    @property
    def target(self) -> float:
        """What ours is compared with; only of a number that was published."""
        assert self.published is not None
        return float(self.published) if self.exact is None else self.exact


@dataclass(frozen=True)
class Ours:
    """What was measured: for each metric one value a seed, or one alone where chance has no part."""

    date: str
    version: str
    seeds: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Row:
    """A number of a paper, or some of one table, and the commands that measure the same."""

    name: str
    paper: str
    """Key of `Ledger.papers`."""
    where: str
    """Table, figure or file."""
    quantity: str
    protocol: str
    status: Status
    values: tuple[Value, ...]
    reason: str = ""
    """Why it was not run, or cannot be compared."""
    note: str = ""
    """What to know about the result."""
    commands: tuple[tuple[str, ...], ...] = ()
    """Calls of textforge. The last prints one JSON object whose `metrics` are read."""
    derivation: Derivation | None = None
    """A number of the oracle itself, which no command prints, in place of commands."""
    oracle: str = ""
    """The oracle of the derivation."""
    files: tuple[str, ...] = ()
    """What the commands read and the package has not; keys of `Ledger.files`."""
    seeds: int = 0
    """How many runs were planned; 0: chance has no part in it."""
    minutes: float = 0
    """Processor time of one run, in minutes of one core."""
    ours: Ours | None = None

    def arguments(self, seed: int, out: str, files: str) -> list[list[str]]:
        """Return the commands with their places filled in; an empty `out` or `files` is the folder one stands in."""
        return [[filled(argument, seed, out, files) for argument in command] for command in self.commands]


@dataclass(frozen=True)
class Ledger:
    """The rows, the papers that they are of, and where the files lie that they need."""

    papers: Mapping[str, str]
    files: Mapping[str, str]
    rows: tuple[Row, ...]

    def find(self, name: str) -> Row:
        """Return a row by name; raises CallError where there is none of that name."""
        for row in self.rows:
            if row.name == name:
                return row
        known = [row.name for row in self.rows]
        raise CallError(f"there is no row '{name}'{nearest(name, known)}; `textforge replicate` lists them")


def filled(argument: str, seed: int, out: str, files: str) -> str:
    """Fill the places of one argument."""
    for place, folder in ((OUT, out), (FILES, files)):
        argument = argument.replace(place, f"{folder}/" if folder else "")
    return argument.replace(SEED, str(seed))


@cache
def read(path: Path = LEDGER) -> Ledger:
    """Read a ledger; a malformed one is a fault of the package, which an AssertionError names."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    ledger = Ledger(table["papers"], table["files"], tuple(_row(dict(entry)) for entry in table["row"]))
    names = [row.name for row in ledger.rows]
    assert len(set(names)) == len(names), "a name stands twice"
    for row in ledger.rows:
        _check(row, ledger)
    return ledger


def _row(entry: dict[str, Any]) -> Row:
    values = tuple(Value(**value) for value in entry.pop("values"))
    commands = tuple(tuple(shlex.split(command)) for command in entry.pop("commands", []))
    ours = entry.pop("ours", None)
    if ours is not None:
        date, version, seeds = ours.pop("date"), ours.pop("version"), tuple(ours.pop("seeds"))
        ours = Ours(str(date), version, seeds, {metric: tuple(column) for metric, column in ours.items()})
    files = tuple(entry.pop("files", ()))
    return Row(values=values, commands=commands, files=files, ours=ours, **entry)


def _check(row: Row, ledger: Ledger) -> None:
    """Refuse a row that says less or more than its status allows."""
    assert row.paper in ledger.papers, f"{row.name}: no paper {row.paper}"
    assert row.status in get_args(Status), f"{row.name}: no status {row.status}"
    assert set(row.files) <= ledger.files.keys(), f"{row.name}: unknown files"
    assert row.values, f"{row.name}: nothing to compare"
    assert len({value.metric for value in row.values}) == len(row.values), f"{row.name}: a metric stands twice"
    assert all(math.isfinite(float(value.published or 0)) for value in row.values), row.name
    assert all(value.exact is None or _rounds(value) for value in row.values), f"{row.name}: not what was printed"
    can_run = bool(row.commands) != (row.derivation is not None)
    assert can_run == (row.status != "not-comparable"), f"{row.name}: {row.status}, but commands say otherwise"
    assert row.derivation is None or (row.derivation in get_args(Derivation) and row.oracle), row.name
    assert row.ours is not None or row.reason, f"{row.name}: neither measured nor a reason"
    assert row.ours is None or can_run, f"{row.name}: measured, but by what?"
    if can_run:
        assert row.minutes > 0, f"{row.name}: how long does it take?"
        _check_commands(row)
    if row.ours is not None:
        assert row.ours.values.keys() == {value.metric for value in row.values}, f"{row.name}: other metrics"
        assert all(len(column) == max(1, len(row.ours.seeds)) for column in row.ours.values.values()), row.name
        assert bool(row.ours.seeds) == bool(row.seeds), f"{row.name}: seeds where chance has no part, or none"


def _rounds(value: Value) -> bool:
    """Whether the printed digits are those of the exact value."""
    return value.published is not None and f"{value.exact:.{value.decimals}f}" == value.published


def _check_commands(row: Row) -> None:
    """Demand that commands write below {out} alone, and that the last prints metrics."""
    for command in row.commands:
        assert command[0] == "textforge", f"{row.name}: {command[0]} is another program"
        for flag, value in itertools.pairwise(command):
            assert flag != "--out" or value.startswith(OUT), f"{row.name}: writes to {value}"
        assert "train" not in command or {"--out", "--resume"} <= set(command), f"{row.name}: cannot be resumed"
    if row.commands:
        assert row.commands[-1][1] == "evaluate", f"{row.name}: the last command measures nothing"
        assert "--json" in row.commands[-1], f"{row.name}: the last command prints no JSON"
    places = " ".join((*(argument for command in row.commands for argument in command), row.oracle))
    assert row.derivation is not None or (SEED in places) == bool(row.seeds), f"{row.name}: seeds without a place"
    read_names = {place.split()[0].split("/")[0] for place in places.split(FILES)[1:]}
    assert read_names == set(row.files), f"{row.name}: reads {read_names} and names {row.files}"


def as_toml(ours: Ours) -> str:
    """Return a measurement as it is pasted below its row of ledger.toml."""
    lines = [f"date = {ours.date}", f'version = "{ours.version}"', f"seeds = {list(ours.seeds)}"]
    lines += [f"{metric} = [{', '.join(f'{value:.8g}' for value in column)}]" for metric, column in ours.values.items()]
    return "\n".join(["[row.ours]", *lines]) + "\n"
