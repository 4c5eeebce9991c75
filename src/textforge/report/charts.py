"""Curves over training, as Vega-Lite charts written with Altair.

Of the maintained libraries looked at, inlined sizes Vega 0.9 MB, Bokeh 1.3, Lets-Plot 2.9, Plotly 4.8, it makes the
smallest page, and the only one whose charts are SVG that takes its colours from the page's CSS: one chart is right in
light, in dark and in print, and hovering and toggling curves are declared in its specification instead of programmed.
Import this module only where a chart is made: Altair takes most of a second to load.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import altair as alt
import vl_convert

from textforge.report.read import Record
from textforge.report.render import TEMPLATES
from textforge.report.series import Curve, Phase, Point, curves, phases, thinned
from textforge.report.words import number

MAX_POINTS = 300  # of a curve: more are finer than a screen and only make the file larger
_DOTS_UP_TO = 40  # a curve with at most so many points shows each of them
COLOURS = 6  # --curve-1 .. --curve-6 of the style sheet
DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3])
Row = dict[str, Any]  # of the data that a chart carries
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'PingFang SC', 'Microsoft YaHei', sans-serif"


@dataclass(frozen=True)
class Chart:
    """One drawing: its heading, what it shows in words, its Vega-Lite specification, and what is not drawn as it is."""

    title: str
    description: str
    spec: dict[str, Any]
    notes: tuple[str, ...]
    wide: bool

    @property
    def readout(self) -> str:
        """What the last step says."""
        return str(self.spec["datasets"]["steps"][-1]["said"])


def charts(records: Sequence[Record]) -> tuple[Chart, ...]:
    """Draw what was recorded: all that is measured in nats together, then losses, rewards and the rest, one by one."""
    drawn = [curve for curve in curves(records) if curve.values]
    bands = phases(records)
    nats = [curve for curve in drawn if kind(curve.name) == 0]
    together = [_chart("Likelihood and entropy, in nats", nats, bands, wide=True)] if nats else []
    others = sorted((curve for curve in drawn if kind(curve.name) > 0), key=lambda curve: kind(curve.name))
    return (*together, *(_chart(curve.name, [curve], bands, wide=False) for curve in others))


@cache
def library(name: str) -> str:
    """Return the JavaScript that draws the charts: Vega-Embed, Vega-Lite, Vega and the few lines of a page."""
    own = "".join((TEMPLATES / file).read_text(encoding="utf-8") for file in ("embed.js", name))
    major_minor = ".".join(alt.VEGALITE_VERSION.split(".")[:2])
    return vl_convert.javascript_bundle(own, vl_version=major_minor)


def kind(name: str) -> int:
    """Sort the scalars: 0 nats, 1 losses, 2 rewards, 3 everything else."""
    words = name.lower().split("_")
    for found, known in enumerate(({"nll", "entropy"}, {"loss"}, {"reward", "return", "baseline"})):
        if known.intersection(words):
            return found
    return 3


def _chart(title: str, members: Sequence[Curve], bands: Sequence[Phase], *, wide: bool) -> Chart:
    notes = []
    for curve in members:
        if curve.not_finite:
            total = curve.not_finite + len(curve.values)
            notes.append(
                f"{curve.not_finite} of {total} values of {curve.name} are infinite or not a number: not drawn."
            )
    description = f"Line chart over training steps, in {len(bands)} phases. " + " ".join(map(_describe, members))
    return Chart(title, description, _specification(members, bands, wide=wide), tuple(notes), wide)


def _describe(curve: Curve) -> str:
    first, last = (f"{number(point.mean)} at step {number(point.step)}" for point in (curve.first, curve.last))
    low, high = number(curve.lowest.mean), number(curve.highest.mean)
    return f"{curve.name}: from {first} to {last}, lowest {low}, highest {high}."


def _specification(members: Sequence[Curve], bands: Sequence[Phase], *, wide: bool) -> dict[str, Any]:
    """Compose bands, lines and the hover rule. Names of scalars are values in the data, never parts of the language."""
    start = min(band.start for band in bands)
    shown = {curve.name: tuple(thinned(curve.values, MAX_POINTS)) for curve in members}
    x = alt.X(
        field="step",
        type="quantitative",
        scale=alt.Scale(domain=[start, max(start + 1, *(band.stop for band in bands))], nice=False),
        axis=alt.Axis(
            title="step", format=",d", tickMinStep=1, tickCount=alt.expr("width / 90"), grid=False, labelFlush=True
        ),
    )
    rows = _point_rows(shown)
    chart = alt.layer(*_bands(x), *_lines(rows, list(shown), x, wide=wide), _pointer(x))
    spec = styled(chart.properties(width="container", height=300 if wide else 150))
    # Named, so that layers share them, and put in last: Altair would check every number against its schema.
    spec["datasets"] = {"bands": _band_rows(bands), "points": rows, "steps": _step_rows(shown, bands)}
    return spec


def styled(chart: alt.LayerChart | alt.FacetChart) -> dict[str, Any]:
    """Return the specification of a chart in the colours and the type of the page."""
    spec: dict[str, Any] = (
        chart.configure(background="transparent", font=_FONT, padding=2)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor="currentColor",
            titleColor="currentColor",
            gridColor="var(--rule)",
            domainColor="var(--rule)",
            tickColor="var(--rule)",
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
        )
        .configure_legend(labelColor="currentColor", labelFontSize=13, labelLimit=150)
        .to_dict()
    )
    return spec


def _bands(x: alt.X) -> tuple[alt.Chart, ...]:
    """Shade every second phase and write each name where its phase begins, as far as its band reaches."""
    base = alt.Chart(alt.NamedData("bands")).encode(x=x)
    limit = alt.expr("max(1, scale('x', datum.stop) - scale('x', datum.step) - 4)")
    shaded = base.mark_rect(color="currentColor", opacity=0.06, aria=False).encode(x2=alt.X2(field="stop"))
    edges = base.mark_rule(color="currentColor", opacity=0.45, strokeDash=[3, 3], aria=False)
    names = base.mark_text(
        align="left", baseline="bottom", dx=2, color="currentColor", fontSize=12, limit=limit, aria=False
    ).encode(y=alt.value(-4), text=alt.Text(field="name", type="nominal"))
    return shaded.transform_filter("datum.index % 2"), edges.transform_filter("datum.index"), names


def _band_rows(bands: Sequence[Phase]) -> list[Row]:
    return [
        {"index": index, "step": band.start, "stop": band.stop, "name": band.name} for index, band in enumerate(bands)
    ]


def _lines(rows: Sequence[Row], names: Sequence[str], x: alt.X, *, wide: bool) -> Iterator[alt.Chart]:
    """Draw spreads where points stand for several values, lines, and dots where there are few points."""
    above = alt.Legend(title=None, orient="top", columns=2, symbolType="stroke", symbolSize=400, offset=24)
    legend = above if wide else None
    colours = alt.Scale(domain=names, range=[f"var(--curve-{i % COLOURS + 1})" for i in range(len(names))])
    dashes = alt.Scale(domain=names, range=[DASHES[i % len(DASHES)] for i in range(len(names))])
    axis = alt.Axis(title="nats" if wide else None, tickCount=5, labelLimit=60)
    chosen = alt.selection_point(name="chosen", fields=["curve"], bind="legend")
    lit = alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0.12))
    lit_spread = alt.when(chosen).then(alt.value(0.18)).otherwise(alt.value(0.03))
    # What is measured now and then continues over phases; a loss of one phase is another quantity in the next.
    joined = wide or len(rows) <= _DOTS_UP_TO
    base = alt.Chart(alt.NamedData("points")).encode(
        x=x,
        y=alt.Y(field="mean", type="quantitative", scale=alt.Scale(zero=False), axis=axis),
        color=alt.Color(field="curve", type="nominal", scale=colours, legend=legend),
        detail=alt.Detail(field="curve" if joined else "phase", type="nominal"),
    )
    if any(row["low"] != row["high"] for row in rows):
        low, high = alt.Y(field="low", type="quantitative", axis=axis), alt.Y2(field="high", title=None)
        yield base.mark_area(aria=False).encode(y=low, y2=high, opacity=lit_spread)
    dash = alt.StrokeDash(field="curve", type="nominal", scale=dashes, legend=legend)
    yield base.mark_line(strokeWidth=1.75, aria=False).encode(strokeDash=dash, opacity=lit).add_params(chosen)
    if any(row["dot"] for row in rows):
        dots = base.mark_point(filled=True, size=22, aria=False).encode(opacity=lit)
        yield dots.transform_filter("datum.dot")


def _point_rows(shown: Mapping[str, tuple[Point, ...]]) -> list[Row]:
    rows: list[Row] = []
    for name, points in shown.items():
        for phase, group in groupby(points, key=lambda point: point.phase):
            stretch = tuple(group)
            rows += (
                {
                    "curve": name,
                    "phase": phase,
                    "step": point.step,
                    "dot": len(points) <= _DOTS_UP_TO or len(stretch) == 1,
                }
                | {"mean": point.mean, "low": point.low, "high": point.high}
                for point in stretch
            )
    return rows


def _pointer(x: alt.X) -> alt.Chart:
    """Follow the pointer, or the finger, with a line; the page says beside the chart what was recorded there."""
    # A finger leaves the chart when it is lifted: what it chose stays.
    nearest = alt.selection_point(
        name="nearest",
        nearest=True,
        on="pointerover",
        clear="pointerout[event.pointerType !== 'touch']",
        encodings=["x"],
        empty=False,
    )
    shown = alt.when(nearest).then(alt.value(0.5)).otherwise(alt.value(0))
    rule: alt.Chart = alt.Chart(alt.NamedData("steps")).mark_rule(color="currentColor", tooltip=None, aria=False)
    return rule.encode(x=x, opacity=shown).add_params(nearest)


def _step_rows(shown: Mapping[str, tuple[Point, ...]], bands: Sequence[Phase]) -> list[Row]:
    """Say in words what was recorded at each step, as the charts' script shows it."""
    said: dict[int, list[str]] = {}
    for name, points in shown.items():
        for point in points:
            spread = f" ({number(point.low)} to {number(point.high)})" if point.low < point.high else ""
            words = said.setdefault(point.step, [f"Step {number(point.step)}, {bands[point.phase].name}: "])
            words.append(f"{name} {number(point.mean)}{spread}")
    return [{"step": step, "said": head + ", ".join(values)} for step, (head, *values) in sorted(said.items())]
