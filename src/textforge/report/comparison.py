"""What a comparison of generators holds before it is put on a page."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Literal

from textforge.report.read import Record

Kind = Literal["model", "samples", "control"]

COUNT_ORDER = 4
REAL, COPIER, COUNT, MLE = "real text", "training text itself", f"{COUNT_ORDER}-gram count model", "mle"
"""The names of the controls, by which verdicts know them."""


@dataclass(frozen=True)
class Sweep:
    """What a generator's samples are worth at one temperature: of each metric one value per seed."""

    temperature: float
    metrics: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Gap:
    """How far one training lies behind maximum likelihood in `reverse_lm_score` at equal `lm_score`, nats per token.

    Maximum likelihood has that quality at `temperature`; `low` to `high` is the interval over the references.
    """

    value: float
    low: float
    high: float
    lm_score: float
    temperature: float


@dataclass(frozen=True)
class Entry:
    """One row: a method trained with one or more seeds, a file of samples, or a control.

    `metrics` holds one value per seed at `temperature`, `errors` the standard error over the texts of one seed where it
    is known. `samples` are a few texts, by temperature; `gaps` has one for each seed that was placed against maximum
    likelihood, None where that has the same quality at no temperature; `changed` names the fields of the config that
    are not those of its preset. A file or a control has one seed, 0, and may lack everything that only a run folder
    knows: then `records`, `config` and `frontier` are empty.
    """

    name: str
    kind: Kind
    metrics: Mapping[str, tuple[float, ...]]
    errors: Mapping[str, float] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    temperature: float = 1.0
    frontier: tuple[Sweep, ...] = ()
    gaps: tuple[Gap | None, ...] = ()
    records: tuple[tuple[Record, ...], ...] = ()
    samples: Mapping[float, tuple[str, ...]] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    command: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)

    def mean(self, metric: str) -> float | None:
        """The mean over the seeds, None where it was not measured."""
        values = self.metrics.get(metric)
        return mean(values) if values else None

    @property
    def seconds(self) -> float | None:
        """The mean time of training over the seeds, in seconds; None where nothing was recorded."""
        ends = [records[-1].seconds for records in self.records if records]
        return mean(ends) if ends else None


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one entry, in words; `flags` names what is wrong with it, such as `collapse`."""

    entry: str
    headline: str
    reasons: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Entries that were measured in the same way, and what follows from it; `settings` say how they were measured."""

    title: str
    entries: tuple[Entry, ...]
    verdicts: tuple[Verdict, ...]
    settings: Mapping[str, object]
    command: str
