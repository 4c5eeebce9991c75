"""One trial: a run like any other, judged at each temperature."""

import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from textforge import frontier, results
from textforge.errors import UserError, WorkError
from textforge.fitting import train, with_objective
from textforge.launch import stand_alone
from textforge.model import Model, load_text_model
from textforge.options import Options
from textforge.run import finite, write_atomic
from textforge.sweeping.plan import Trial
from textforge.task import Task, load_task

FILE = "temperatures.json"
"""In the folder of a trial: what `textforge evaluate` measures at each temperature."""


@dataclass(frozen=True)
class Measured:
    """What a trial came to: metrics by temperature, None where they are no numbers, and how they were measured."""

    metrics: Mapping[float, Mapping[str, Any]]
    settings: Mapping[str, Any]


def log_of(folder: Path) -> Path:
    """Return the file, beside the folder of a trial, that holds what its worker says."""
    return folder.with_name(f"{folder.name}.log")


def measured(folder: Path) -> Measured:
    """Read what was measured so far; nothing where the trial was never judged."""
    record = _read(folder)
    rows = {row["temperature"]: row["metrics"] for row in record.get("temperatures", [])}
    return Measured(rows, record.get("settings", {}))


def is_finished(folder: Path, temperatures: Sequence[float]) -> bool:
    """Whether the trial is trained, and judged at all of these temperatures."""
    return (folder / results.FILE).exists() and {*temperatures} <= {*_read(folder).get("asked", [])}


def _read(folder: Path) -> dict[str, Any]:
    """Read what `_write` wrote."""
    try:
        record: dict[str, Any] = json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{folder / FILE} is not JSON ({error}); remove it, and the trial is judged anew") from None
    return record


def carry_out(trial: Trial, options: Options, temperatures: Sequence[float], folder: Path, command: list[str]) -> None:
    """Train and judge a trial in its folder, or go on where that was stopped; what is said goes to its log.

    `command` is recorded as what started it. Raises what `fitting.train` does.
    """
    sys.argv = command
    stand_alone()  # a worker has the environment of what started Ray, which may be one of many
    torch.set_num_threads(1)  # as many trials as cores
    folder.parent.mkdir(parents=True, exist_ok=True)
    with log_of(folder).open("a", encoding="utf-8", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        console = Console(file=log, highlight=False, markup=False, soft_wrap=True)
        try:
            _carry_out(trial, options, temperatures, folder, console)
        except (UserError, WorkError) as error:
            console.print(f"textforge: {error}")
            raise
        except Exception:
            traceback.print_exc()
            raise


def _carry_out(trial: Trial, options: Options, temperatures: Sequence[float], folder: Path, console: Console) -> None:
    config, task = with_objective(trial.config, load_task(options))
    assert isinstance(task, Task)
    if not (folder / results.FILE).exists():
        for note in task.notes:
            console.print(note)
        model = train(trial.method, options, config, task, folder, resume=folder.exists(), console=console)
        assert isinstance(model, Model), "methods of worlds are no trials"
        rows, settings = results.run_rows(folder, model, task, console)
        results.write_rows(folder, rows, settings)
        _write(folder, [], Measured({1.0: finite(rows[0].metrics)}, settings))
    _judge(load_text_model(folder), task, temperatures, folder, console)


def _judge(model: Model, task: Task, temperatures: Sequence[float], folder: Path, console: Console) -> None:
    """Measure samples at each temperature where that has not been done, and write the curve for `textforge compare`.

    Temperatures of earlier calls stay. A generator that noise drives has none, and is measured at 1.
    """
    known = measured(folder)
    found, settings = dict(known.metrics), known.settings
    asked = sorted({*temperatures, *_read(folder).get("asked", [])})
    own = [1.0] if model.generator.noise_dim else asked
    for temperature in own:
        if temperature not in found:
            console.print(f"evaluating: temperature {temperature:g}")
            judged = results.evaluate_model(
                model, task.texts.held_out, train=task.texts.train, task=task, temperature=temperature
            )
            found[temperature], settings = finite(judged.metrics), {**judged.settings, **settings}
    points = [
        frontier.Point(
            temperature,
            {name: value for name, value in found[temperature].items() if value is not None},
            model.draw(results.SHOWN, temperature=temperature, seed=model.settings["seed"]).texts,
        )
        for temperature in own
    ]
    sizes = {name: settings[name] for name in ("num_samples", "num_references")}
    frontier.write(folder, points, None, {**sizes, "control": None})
    _write(folder, asked, Measured(found, settings))


def _write(folder: Path, asked: Sequence[float], found: Measured) -> None:
    """Record what was measured; `asked` are the temperatures that need nothing more."""
    record = {
        "asked": list(asked),
        "temperatures": [{"temperature": at, "metrics": metrics} for at, metrics in sorted(found.metrics.items())],
        "settings": {name: value for name, value in found.settings.items() if name != "temperature"},
    }
    write_atomic(folder / FILE, json.dumps(record, ensure_ascii=False, indent=1).encode() + b"\n")
