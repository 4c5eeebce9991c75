"""A comparison of generators as one HTML page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from textforge.report.compare_table import FEWEST, table
from textforge.report.comparison import Comparison, Entry, Gap, Kind
from textforge.report.render import environment, policy, write_page
from textforge.report.verdicts import FAULTS

_LINES_SHOWN = 10  # of an entry's samples
_CHARACTERS_SHOWN = 600  # of a sample
_PLANE_METRICS = ("bleu_4", "self_bleu_4", "lm_score", "reverse_lm_score", "kl_qp", "kl_pq")
_NOUNS: dict[Kind, tuple[str, str]] = {
    "model": ("model", "models"),
    "samples": ("file of samples", "files of samples"),
    "control": ("control", "controls"),
}


@dataclass(frozen=True)
class Column:
    """The samples of one entry at one temperature; `entry` is its number."""

    entry: int
    name: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class SweepRow:
    """What stands behind one point of a plane: an entry at one temperature."""

    entry: int
    name: str
    temperature: float
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class GapRow:
    """How far each training of an entry, by its seed, lies behind maximum likelihood; None: at no common quality."""

    entry: int
    name: str
    gaps: tuple[tuple[int, Gap | None], ...]


def html(comparison: Comparison) -> str:
    """Return the page about a comparison; whatever an entry lacks is left out or told."""
    # Altair loads only now: `textforge.report` stays light.
    from textforge.report.charts import library
    from textforge.report.compare_charts import PLANES, looks, plane
    from textforge.report.compare_panels import collapse, copying
    from textforge.report.compare_training import training

    entries = comparison.entries
    style = looks(entries)
    planes = [drawing for title, axes in PLANES.items() if (drawing := plane(title, axes, entries, style))]
    lanes, curves = training(entries, style)
    panels = {"collapse": collapse(entries, style), "copying": copying(entries, style)}
    script = library("compare.js")
    return (
        environment()
        .get_template("compare.html")
        .render(
            comparison=comparison,
            entries=entries,
            style=style,
            numbers={entry.name: i for i, entry in enumerate(entries)},
            summary=_summary(entries),
            faults=FAULTS,
            policy=policy(script),
            script=Markup(script),
            planes=planes,
            sweeps=_sweeps(entries),
            sweep_metrics=_swept(entries),
            gaps=_gaps(entries),
            lanes=lanes,
            curves=curves,
            panels=panels,
            topics=table(entries),
            fewest=FEWEST,
            temperatures=(temperatures := _temperatures(entries)),
            usual=_usual(entries, tuple(temperatures)),
            lines_shown=_LINES_SHOWN,
            characters_shown=_CHARACTERS_SHOWN,
        )
    )


def write(comparison: Comparison, out: Path) -> None:
    """Write the page about a comparison to `out`, whole or not at all; `UserError` where no such file can be."""
    write_page(out, lambda: html(comparison))


def _summary(entries: Sequence[Entry]) -> str:
    """Count what is compared: `3 models, 1 file of samples and 5 controls`."""
    counts = Counter(entry.kind for entry in entries)
    parts = [f"{num} {_NOUNS[kind][num > 1]}" for kind in _NOUNS if (num := counts[kind])]
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _gaps(entries: Sequence[Entry]) -> tuple[GapRow, ...]:
    return tuple(
        GapRow(i, entry.name, tuple(zip(entry.seeds, entry.gaps, strict=False)))
        for i, entry in enumerate(entries)
        if entry.gaps
    )


def _swept(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the metrics of the planes that some entry has at several temperatures."""
    return tuple(
        name for name in _PLANE_METRICS if any(name in sweep.metrics for entry in entries for sweep in entry.frontier)
    )


def _sweeps(entries: Sequence[Entry]) -> tuple[SweepRow, ...]:
    """Return the numbers behind the curves, for those who do not see them or want them all."""
    names = _swept(entries)
    return tuple(
        SweepRow(i, entry.name, sweep.temperature, tuple(_mean(sweep.metrics.get(name, ())) for name in names))
        for i, entry in enumerate(entries)
        for sweep in sorted(entry.frontier, key=lambda sweep: sweep.temperature)
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _usual(entries: Sequence[Entry], temperatures: Sequence[float]) -> float | None:
    """Return the temperature at which most entries were measured, of those that there are samples of."""
    counts = Counter(entry.temperature for entry in entries)
    return max(temperatures, key=lambda temperature: counts[temperature], default=None)


def _temperatures(entries: Sequence[Entry]) -> Mapping[float, tuple[Column, ...]]:
    """Put samples of equal temperature side by side; text that has no temperature stands beside all of them."""
    numbered = [(i, entry) for i, entry in enumerate(entries) if entry.samples]
    fixed = {i for i, entry in numbered if entry.kind != "model" and not entry.frontier and len(entry.samples) == 1}
    found = sorted({t for i, entry in numbered if i not in fixed for t in entry.samples})
    if not found:
        found = sorted({t for _, entry in numbered for t in entry.samples})[:1]
    return {
        temperature: tuple(
            Column(i, entry.name, texts)
            for i, entry in numbered
            if (texts := next(iter(entry.samples.values())) if i in fixed else entry.samples.get(temperature, ()))
        )
        for temperature in found
    }
