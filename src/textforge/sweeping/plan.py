"""A file of settings to try becomes trials; whatever is wrong with it is told before anything starts."""

import dataclasses
import itertools
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textforge import methods
from textforge.decoding import require_temperature
from textforge.errors import CallError, UserError, nearest
from textforge.fitting import ABSENT, settings_of, with_objective
from textforge.options import Options, from_json, require_types
from textforge.run import require_same
from textforge.task import Task

LONGEST = 200
"""Bytes of the name of a folder; file systems end at 255."""


@dataclass(frozen=True)
class Trial:
    """One training. `fields` are those of the file, `config` is what the method makes of them and of its preset."""

    method: str
    preset: str
    fields: Mapping[str, Any]
    seed: int
    config: Any

    @property
    def setting(self) -> str:
        """What it has in common with the trials that differ by the seed: a name, and a folder of them all."""
        chosen = (f"{field}={_spelled(value)}" for field, value in self.fields.items())
        return "-".join([self.method, self.preset, *chosen])

    @property
    def name(self) -> str:
        """The path of its run, in the folder of the sweep."""
        return f"{self.setting}/seed-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """All trials, in the order of the file; of `options`, each replaces preset and seed by its own."""

    options: Options
    temperatures: tuple[float, ...]
    trials: tuple[Trial, ...]

    def options_of(self, trial: Trial) -> Options:
        """Return what one trial is asked for."""
        return dataclasses.replace(self.options, preset=trial.preset, seed=trial.seed)

    @property
    def settings(self) -> dict[str, list[Trial]]:
        """The trials of each setting."""
        found: dict[str, list[Trial]] = {}
        for trial in self.trials:
            found.setdefault(trial.setting, []).append(trial)
        return found

    @property
    def tried(self) -> dict[str, int]:
        """How many settings of each method are tried: its budget of tuning."""
        return dict(Counter(trials[0].method for trials in self.settings.values()))


@dataclass(frozen=True)
class _Tried:
    """What a file may say besides options; arrays list what is tried."""

    methods: list[str]
    preset: str = Options.preset
    seeds: int | list[int] = 1
    temperatures: list[float] = dataclasses.field(default_factory=lambda: [1.0])
    fields: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)


_OPTIONS = [field.name for field in dataclasses.fields(Options) if field.name not in ("preset", "seed", "device")]
_KNOWN = [*(field.name for field in dataclasses.fields(_Tried)), *_OPTIONS]


def read(path: Path, *, device: str) -> Plan:
    """Read a file; raises UserError for what is no TOML, and CallError, with the place, for what it must not say."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; give a file that says what to try") from None
    except ValueError as error:
        raise UserError(f"{path} is not TOML: {error}; see docs/sweeps.md for one that is") from None
    for key in content:
        if key not in _KNOWN:
            raise CallError(f"{path}: there is no key '{key}'{nearest(key, _KNOWN)}; choose from {', '.join(_KNOWN)}")
    if "methods" not in content:
        raise CallError(f'{path} names nothing to train; add methods = ["mle"]')
    with _at(f"{path}"):
        own = {key: value for key, value in content.items() if key not in _OPTIONS}
        require_types(_Tried, own)
        asked = _Tried(**own)
        given = {key: value for key, value in content.items() if key in _OPTIONS}
        options = Options.of({"preset": asked.preset, "seed": 0, "device": device, **given}).anchored()
    seeds = list(range(asked.seeds)) if isinstance(asked.seeds, int) else asked.seeds
    _require_distinct(path, "methods", asked.methods)
    _require_distinct(path, "seeds", seeds)
    _require_distinct(path, "temperatures", asked.temperatures)
    with _at(f"{path}, seeds"):
        for seed in seeds:
            dataclasses.replace(options, seed=seed)
    with _at(f"{path}, temperatures"):
        for temperature in asked.temperatures:
            require_temperature(temperature)
    trials = tuple(
        dataclasses.replace(first, seed=seed) for first in _settings(path, asked, seeds[0]) for seed in seeds
    )
    return Plan(options, tuple(map(float, asked.temperatures)), trials)


def _settings(path: Path, asked: _Tried, seed: int) -> list[Trial]:
    """Return each setting with one seed, in the order of the file: the last field varies fastest."""
    found: list[Trial] = []
    for entry in asked.methods:
        method, _, preset = entry.partition("/")
        with _at(f"{path}, methods"):
            methods.load(method)
            methods.configure(method, preset or asked.preset, {})
        choices = {
            field: [from_json(value) for value in (values if isinstance(values, list) else [values])]
            for field, values in asked.fields.get(method, {}).items()
        }
        for field, values in choices.items():
            _require_distinct(path, f"[fields.{method}] {field}", values)
        for chosen in itertools.product(*choices.values()):
            fields = dict(zip(choices, chosen, strict=True))
            with _at(f"{path}, [fields.{method}]" if fields else f"{path}, methods"):
                config = methods.configure(method, preset or asked.preset, fields)
            found.append(Trial(method, preset or asked.preset, fields, seed, config))
    named = [entry.partition("/")[0] for entry in asked.methods]
    for method in asked.fields:
        if method not in named:
            raise CallError(f"{path}: [fields.{method}] is of no method that is tried{nearest(method, named)}")
    _require_apart(path, found)
    return found


def _require_apart(path: Path, found: Sequence[Trial]) -> None:
    """Refuse settings that are the same training, or have no folder of their own."""
    for one, other in itertools.combinations(found, 2):
        if one.setting == other.setting or (one.method == other.method and one.config == other.config):
            raise CallError(f"{path} tries {one.setting} twice, the second time as {other.setting}; leave one out")
    for trial in found:
        if len(trial.setting.encode()) > LONGEST:
            raise CallError(f"{path}: {trial.setting} is too long for a folder; give fewer fields, or a preset")


def _require_distinct(path: Path, key: str, values: Sequence[object]) -> None:
    if not values:
        raise CallError(f"{path}: {key} lists nothing to try; give at least one value")
    if twice := [value for i, value in enumerate(values) if value in values[:i]]:
        raise CallError(f"{path}: {key} lists {twice[0]} twice; leave one out")


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Name the place of what is wrong, and call keys as the file does, where the command line has flags."""
    try:
        yield
    except CallError as error:
        words = re.sub(r"--([a-z][a-z-]*)", lambda flag: flag[1].replace("-", "_"), str(error))
        raise CallError(f"{place}: {words}") from None


def _spelled(value: object) -> str:
    """Write a value so that it can stand in the name of a folder."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return re.sub(r"[^\w.,+-]+", "_", text).strip("_")


def prepared(plan: Plan, task: Task, folder: Path) -> Plan:
    """Return the plan as its trials are recorded; raises UserError where the folder holds another one by a name.

    Objectives are imported, and their files named in full.
    """
    trials = []
    for trial in plan.trials:
        config, _ = with_objective(trial.config, task)
        if (folder / trial.name / "config.json").exists():
            recorded = settings_of(trial.method, plan.options_of(trial), config, task)
            require_same(folder / trial.name, recorded, absent=ABSENT)
        trials.append(dataclasses.replace(trial, config=config))
    return dataclasses.replace(plan, trials=tuple(trials))
