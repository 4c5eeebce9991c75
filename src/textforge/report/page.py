"""One run folder as one HTML page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePath

from markupsafe import Markup

from textforge.report import words
from textforge.report.read import Evaluation, RunFolder, SampleFile, read
from textforge.report.render import environment, policy, write_page
from textforge.report.series import curves, phases

_LINES_SHOWN = 10  # of a sample file
_FILES_SHOWN = 12  # of samples
_CHARACTERS_SHOWN = 600  # of a sample
_TOLD = ("mode_coverage", "js")  # the curves that belong to the pictures of a world


@dataclass(frozen=True)
class Metric:
    """A line of the table of metrics: one quantity for every row of the evaluation."""

    name: str
    cells: tuple[str, ...]


def html(folder: Path) -> str:
    """Return the page about a run; `UserError` where the folder is no run. Everything else may still be missing."""
    run = read(folder)
    # Altair loads only now: `textforge.report` stays light.
    from textforge.report.charts import MAX_POINTS, charts, library
    from textforge.report.pictures import KEY, pictures

    multiples, unreadable = pictures(run.pictures)
    drawn = charts(run.records)
    told = [chart for chart in drawn if multiples and chart.title in _TOLD]
    scalars = curves(run.records)
    script = library("charts.js") if drawn or multiples else ""
    page = environment().get_template("page.html")
    return page.render(
        run=run,
        corpus=_corpus(run),
        policy=policy(script),
        script=Markup(script),
        charts=[chart for chart in drawn if chart not in told],
        multiples=multiples,
        unreadable=unreadable,
        told=told,
        key=KEY,
        curves=[curve for curve in scalars if curve.values],
        never_finite=[curve for curve in scalars if not curve.values],
        most_points=MAX_POINTS if any(len(curve.values) > MAX_POINTS for curve in scalars) else None,
        phases=phases(run.records),
        metrics=_metrics(run.evaluation) if run.evaluation else (),
        glossary=_glossary(run.evaluation) if run.evaluation else {},
        samples=_chosen(run.samples),
        general={key: value for key, value in run.config.items() if key != "config"},
        config=run.config.get("config"),
        lines_shown=_LINES_SHOWN,
        characters_shown=_CHARACTERS_SHOWN,
    )


def write(folder: Path, out: Path) -> None:
    """Write the page about a run to `out`, whole or not at all; `UserError` where no such file can be."""
    write_page(out, lambda: html(folder))


def _corpus(run: RunFolder) -> str:
    """Name the corpus: of a path only the last part, the folders above it are their owner's affair."""
    data = str(run.config.get("data") or "")
    return PurePath(data).name or data


def _metrics(evaluation: Evaluation) -> tuple[tuple[Metric, ...], ...]:
    """Turn the rows into lines that can be compared across, in groups: bleu_2 to bleu_5, ..., and single metrics."""
    found = dict.fromkeys(name for row in evaluation.rows for name in row.metrics)
    names = [name for name in found if not (name.endswith("_se") and name.removesuffix("_se") in found)]
    sizes = Counter(map(words.family, names))

    def group(name: str) -> str:
        return words.family(name) if sizes[words.family(name)] > 1 else ""

    return tuple(
        tuple(Metric(name, tuple(_cell(row.metrics, name) for row in evaluation.rows)) for name in members)
        for _, members in groupby(names, key=group)
    )


def _cell(metrics: Mapping[str, object], name: str) -> str:
    value = words.number(metrics.get(name))
    error = metrics.get(f"{name}_se")
    return value if error is None else f"{value} ± {words.number(error, digits=2)}"


def _glossary(evaluation: Evaluation) -> dict[str, str]:
    families = dict.fromkeys(words.family(name) for row in evaluation.rows for name in row.metrics)
    return {family: words.GLOSSARY[family] for family in families if family in words.GLOSSARY}


def _chosen(samples: Sequence[SampleFile]) -> tuple[SampleFile, ...]:
    """Choose the first file, the last of each phase and so the last of all; of too many, some at even distances."""
    ends = [list(group)[-1] for _, group in groupby(samples, key=lambda file: file.phase)]
    chosen = [*samples[:1], *(file for file in ends if file is not samples[0])]
    if len(chosen) <= _FILES_SHOWN:
        return tuple(chosen)
    return tuple(chosen[round(i * (len(chosen) - 1) / (_FILES_SHOWN - 1))] for i in range(_FILES_SHOWN))
