"""What a sweep came to: every number of every trial, and what the seeds of a setting have in common."""

import csv
import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from textforge.metrics.bootstrap import Interval, mean_interval
from textforge.report.compare_table import FEWEST
from textforge.run import finite, write_atomic
from textforge.sweeping.plan import Plan, Trial
from textforge.sweeping.trials import is_finished, measured


@dataclass(frozen=True)
class Line:
    """A setting at one temperature: of each metric a value for each seed, in their order; None where it is no number.

    `tried` is how many settings of its method were tried.
    """

    setting: str
    trials: tuple[Trial, ...]
    tried: int
    temperature: float
    metrics: Mapping[str, tuple[float | None, ...]]

    def values(self, metric: str) -> list[float]:
        """Return the values that are numbers."""
        return [value for value in self.metrics.get(metric, ()) if value is not None]

    def mean(self, metric: str) -> float | None:
        """Return the mean over seeds, None where one of them has no number."""
        values = self.values(metric)
        return mean(values) if len(values) == len(self.trials) else None

    def interval(self, metric: str) -> Interval | None:
        """Return the interval of the mean, None where seeds are too few for one."""
        values = self.values(metric)
        if len(values) < max(FEWEST, len(self.trials)):
            return None
        return mean_interval(np.array(values, dtype=np.float64))


def finished(plan: Plan, folder: Path) -> dict[str, list[Trial]]:
    """Return the trials of each setting that are finished; a setting of which none is, is left out."""
    found = {
        setting: [trial for trial in trials if is_finished(folder / trial.name, plan.temperatures)]
        for setting, trials in plan.settings.items()
    }
    return {setting: trials for setting, trials in found.items() if trials}


def lines(plan: Plan, folder: Path) -> list[Line]:
    """Gather the settings at each temperature of the plan, in its order."""
    found = []
    for setting, trials in finished(plan, folder).items():
        metrics_of = [measured(folder / trial.name).metrics for trial in trials]
        for temperature in plan.temperatures:
            if not all(temperature in one for one in metrics_of):
                continue  # noise has no temperature
            rows = [one[temperature] for one in metrics_of]
            names = dict.fromkeys(itertools.chain.from_iterable(rows))
            metrics = {name: tuple(row.get(name) for row in rows) for name in names}
            found.append(Line(setting, tuple(trials), plan.tried[trials[0].method], temperature, metrics))
    return found


def budgets(plan: Plan) -> str:
    """Say how many settings of each method were tried, and whether that is the same number."""
    words = ", ".join(f"{method} {num}" for method, num in plan.tried.items())
    return words if len({*plan.tried.values()}) == 1 else f"{words}: no equal budgets"


def write(
    plan: Plan,
    folder: Path,
    found: Sequence[Line],
    failed: Mapping[str, str],
    settings: Mapping[str, Any],
    command: str,
) -> None:
    """Write sweep.json and sweep.csv into the folder of the sweep."""
    record = {
        "command": command,
        "tried": plan.tried,
        "failed": failed,
        "settings": finite(settings),
        "lines": [
            {
                "setting": line.setting,
                "method": line.trials[0].method,
                "preset": line.trials[0].preset,
                "fields": line.trials[0].fields,
                "seeds": [trial.seed for trial in line.trials],
                "temperature": line.temperature,
                "metrics": {name: _numbers(line, name) for name in line.metrics},
            }
            for line in found
        ],
    }
    write_atomic(folder / "sweep.json", json.dumps(record, ensure_ascii=False, indent=1).encode() + b"\n")
    write_atomic(folder / "sweep.csv", _table(found).encode())


def _numbers(line: Line, metric: str) -> dict[str, Any]:
    interval = line.interval(metric)
    ends = (None, None) if interval is None else (interval.low, interval.high)
    low, high = (end if end is not None and math.isfinite(end) else None for end in ends)
    return {"values": line.metrics[metric], "mean": line.mean(metric), "low": low, "high": high}


def _table(found: Sequence[Line]) -> str:
    """Return a row for each number of a trial, and for the mean of each over seeds, whose `seed` is empty."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(("setting", "method", "preset", "seed", "temperature", "metric", "value", "low", "high"))
    for line in found:
        first = line.trials[0]
        for metric, values in line.metrics.items():
            numbers = _numbers(line, metric)
            ends = numbers["low"], numbers["high"]
            for seed, value, *interval in (
                *((trial.seed, value, None, None) for trial, value in zip(line.trials, values, strict=True)),
                ("", numbers["mean"], *ends),
            ):
                row = (line.setting, first.method, first.preset, seed, line.temperature, metric, value, *interval)
                out.writerow(row)
    return text.getvalue()
