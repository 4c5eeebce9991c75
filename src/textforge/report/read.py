"""Reading a run folder, also while the run is still writing it.

Whatever is missing or damaged is told in `RunFolder.notes`, as are the warnings of the run itself; only a folder that
is no run at all is an error.
"""

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textforge.errors import UserError

# What reading JSON that somebody else wrote can raise: syntax or encoding, absurd numbers, absurd nesting.
_UNREADABLE = (ValueError, OverflowError, RecursionError)
_NO_SCALARS = frozenset({"phase", "step", "iteration", "seconds"})


@dataclass(frozen=True)
class Record:
    """One line of metrics.jsonl: `step` counts iterations over all phases, a scalar that was not finite is NaN."""

    phase: str
    step: int
    seconds: float
    scalars: Mapping[str, float]


@dataclass(frozen=True)
class SampleFile:
    """The samples drawn at one step, as the run wrote them (newlines inside a sample are escaped)."""

    phase: str
    step: int
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """What the run kept of one evaluation to be drawn: plain values, of a kind that names how."""

    phase: str
    step: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One row of evaluation.json: the trained model, or something that it is compared with."""

    name: str
    metrics: Mapping[str, object]
    kind: str = "model"
    samples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """evaluation.json: rows of metrics, and the settings without which they mean nothing."""

    rows: tuple[Row, ...]
    settings: Mapping[str, object]
    verdict: tuple[str, ...] = ()
    """The headline, and behind it the reasons; empty where nothing was said."""


@dataclass(frozen=True)
class RunFolder:
    """What a run folder holds; `notes` says in whole sentences what could not be read, and what the run warned of."""

    name: str
    config: Mapping[str, object]
    environment: Mapping[str, object]
    records: tuple[Record, ...]
    samples: tuple[SampleFile, ...]
    pictures: tuple[Picture, ...]
    evaluation: Evaluation | None
    notes: tuple[str, ...]


def read(folder: Path) -> RunFolder:
    """Read the files of a run folder; `UserError` where the folder is no run."""
    config = read_config(folder)
    notes: list[str] = []
    records = tuple(_records(folder / "metrics.jsonl", notes))
    order = {phase: i for i, phase in enumerate(dict.fromkeys(record.phase for record in records))}
    return RunFolder(
        name=folder.resolve().name,
        config=config,
        environment=_mapping(folder / "environment.json", notes) or {},
        records=records,
        samples=tuple(
            sorted(_samples(folder / "samples"), key=lambda file: (file.step, order.get(file.phase, len(order))))
        ),
        pictures=tuple(
            sorted(_pictures(folder / "samples", notes), key=lambda it: (it.step, order.get(it.phase, len(order))))
        ),
        evaluation=_evaluation(folder / "evaluation.json", notes),
        notes=tuple(notes),
    )


def unevaluated(folder: Path) -> str:
    """Say that a run has no evaluation.json, or a damaged one, and which command writes it; empty where it has one."""
    path = folder / "evaluation.json"
    notes: list[str] = []
    if _evaluation(path, notes) is not None:
        return ""
    command = shlex.join(["textforge", "train", str(read_config(folder)["method"]), "--resume", "--out", str(folder)])
    return f"{path} is {'damaged' if notes else 'missing'}; `{command}` writes it"


def read_config(folder: Path) -> dict[str, object]:
    """Read config.json alone, which names the method; `UserError` where the folder is no run."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            f"{folder} is no run: it has no config.json; give the folder that `textforge train --out` wrote"
        )
    try:
        config = json.loads(path.read_bytes())
    except _UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {error}; write it again from a copy, or repeat the run") from error
    if not isinstance(config, dict) or not isinstance(config.get("method"), str):
        raise UserError(f"{path} names no method; give the folder that `textforge train --out` wrote")
    return config


def _mapping(path: Path, notes: list[str]) -> dict[str, object] | None:
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_bytes())
    except _UNREADABLE as error:
        notes.append(f"{path.name} cannot be read and is left out: {error}.")
        return None
    if isinstance(data, dict):
        return data
    notes.append(f"{path.name} holds no JSON object and is left out.")
    return None


def _records(path: Path, notes: list[str]) -> Iterator[Record]:
    """Yield the readable records. What stands behind the last newline may be half a record: silently left out."""
    if not path.is_file():
        return
    damaged = 0
    with path.open("rb") as lines:
        for line in lines:
            try:
                data = json.loads(line)
                record = _record(data)
            except _UNREADABLE:
                damaged += line.endswith(b"\n") and not line.isspace()
            else:
                yield record
                if isinstance(words := data.get("warning"), str):
                    notes.append(f"Warning of the run, in {record.phase} at step {record.step}: {words}.")
    if damaged:
        notes.append(f"Damaged lines of {path.name}, left out: {damaged}.")


def _record(data: Any) -> Record:
    match data:
        case {"phase": str(phase), "step": int(step), "seconds": int() | float() as seconds}:
            return Record(phase, step, float(seconds), dict(_scalars(data)))
    raise ValueError("a record has a phase, a step and seconds")


def _scalars(data: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for name, value in data.items():
        if name in _NO_SCALARS:
            continue
        if value is None:  # what was infinite or not a number when it was recorded, which JSON cannot say
            yield name, math.nan
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)


def _samples(folder: Path) -> Iterator[SampleFile]:
    """Yield one `SampleFile` for each `<phase>-<step>.txt`; other files are none of ours."""
    for phase, step, path in _named(folder, "*.txt"):
        text = path.read_bytes().decode(errors="replace")
        # Only a line feed ends a sample: str.splitlines would also cut at U+2028, form feeds and others.
        lines = text.removesuffix("\n").split("\n") if text else []
        yield SampleFile(phase, step, tuple(lines))


def _pictures(folder: Path, notes: list[str]) -> Iterator[Picture]:
    """Yield one `Picture` for each `<phase>-<step>.json`."""
    for phase, step, path in _named(folder, "*.json"):
        values = _mapping(path, notes)
        if values is not None:
            yield Picture(phase, step, values)


def _named(folder: Path, pattern: str) -> Iterator[tuple[str, int, Path]]:
    for path in sorted(folder.glob(pattern)):
        phase, _, step = path.stem.rpartition("-")
        if phase and step.isascii() and step.isdigit():
            yield phase, int(step), path


def _evaluation(path: Path, notes: list[str]) -> Evaluation | None:
    data = _mapping(path, notes)
    if data is None:
        return None
    rows, settings = data.get("rows"), data.get("settings", {})
    if isinstance(rows, list) and all(map(_is_row, rows)) and isinstance(settings, dict):
        return Evaluation(tuple(map(_row, rows)), settings, _verdict(data.get("verdict")))
    notes.append(f"{path.name} is left out: it should hold rows, each with a name and metrics, and settings.")
    return None


def _row(row: Mapping[str, Any]) -> Row:
    samples = row.get("samples", [])
    kept = tuple(text for text in samples if isinstance(text, str)) if isinstance(samples, list) else ()
    return Row(row["name"], row["metrics"], str(row.get("kind", "model")), kept)


def _verdict(said: object) -> tuple[str, ...]:
    match said:
        case {"headline": str(headline), "reasons": list(reasons)}:
            return (headline, *(reason for reason in reasons if isinstance(reason, str)))
    return ()


def _is_row(row: object) -> bool:
    match row:
        case {"name": str(), "metrics": dict()}:
            return True
    return False
