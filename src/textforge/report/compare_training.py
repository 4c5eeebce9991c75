"""Curves over training of several entries and seeds, a chart for each scalar, and the phases below each other.

Import this module only where a chart is made, as `charts`.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from textforge.report.charts import Row, kind
from textforge.report.compare_charts import Drawing, Look, colours, dashes, finished, names_down, rounded, shown
from textforge.report.comparison import Entry
from textforge.report.series import Curve, Phase, Point, curves, over_seeds, phases
from textforge.report.words import number

MAX_POINTS = 200
"""Of the line of one entry: more are finer than a chart of this size and only make the file larger."""


def training(entries: Sequence[Entry], style: Sequence[Look]) -> tuple[Drawing | None, tuple[Drawing, ...]]:
    """Draw the phases of all entries, and a chart for each scalar: first what several of them have recorded."""
    bands = {i: phases(seeds[0]) for i, entry in enumerate(entries) if (seeds := list(filter(None, entry.records)))}
    if not bands:
        return None, ()
    found: dict[str, dict[int, list[Curve]]] = {}
    for i, entry in enumerate(entries):
        for records in entry.records:
            for curve in curves(records):
                found.setdefault(curve.name, {}).setdefault(i, []).append(curve)
    last = max(record.step for entry in entries for records in entry.records for record in records[-1:])
    first = min(band.start for own in bands.values() for band in own)
    domain = first, max(first + 1, last)
    template = _template(domain, entries, style)
    names = sorted(found, key=lambda name: (len(found[name]) == 1, kind(name)))
    panels = [_panel(name, found[name], bands, entries, template) for name in names]
    return _lanes(bands, domain, entries, style), tuple(panel for panel in panels if panel is not None)


def _panel(
    name: str,
    found: dict[int, list[Curve]],
    bands: dict[int, tuple[Phase, ...]],
    entries: Sequence[Entry],
    template: dict[str, Any],
) -> Drawing | None:
    rows: list[Row] = []
    said, notes = [], []
    for i, seeds in found.items():
        points = over_seeds([curve.values for curve in seeds if curve.values], MAX_POINTS)
        # What is measured now and then continues over phases; a loss of one phase is another quantity in the next.
        rows += (_row(i, point, apart=kind(name) in (1, 2)) for point in points)
        if points:
            said.append(f"{entries[i].name}: from {number(points[0].mean)} to {number(points[-1].mean)}.")
        if bad := sum(curve.not_finite for curve in seeds):
            notes.append(f"{entries[i].name}: {number(bad)} values are infinite or not a number, and not drawn.")
    if not rows:
        return None
    turns = [
        {"entry": i, "key": band.start} for i in found for band in bands.get(i, ())[1:]
    ]  # where a phase begins, but the first
    spec = {**template, "datasets": {"points": rows, "turns": turns, "pointer": [{}]}}
    description = f"Line chart of {name} over training steps. {' '.join(said)}"
    return Drawing(name, description, spec, notes=tuple(notes))


def _row(i: int, point: Point, *, apart: bool) -> Row:
    row = {"entry": i, "key": point.step, "phase": point.phase if apart else 0, "y": rounded(point.mean)}
    if point.low < point.high:
        row |= {"low": rounded(point.low), "high": rounded(point.high)}
    return row


def _steps(field: str, domain: tuple[int, int]) -> alt.X:
    """Return the axis of steps, the same in all charts."""
    axis = alt.Axis(
        title="step", format=",d", tickMinStep=1, tickCount=alt.expr("width / 90"), grid=False, labelFlush=True
    )
    return alt.X(field=field, type="quantitative", scale=alt.Scale(domain=list(domain), nice=False), axis=axis)


def _template(domain: tuple[int, int], entries: Sequence[Entry], style: Sequence[Look]) -> dict[str, Any]:
    """Return the specification that all charts of scalars share: only their data differ."""
    x = _steps("key", domain)
    axis = alt.Axis(title=None, tickCount=5, labelLimit=60)
    y = alt.Y(field="y", type="quantitative", scale=alt.Scale(zero=False), axis=axis)
    base = alt.Chart(alt.NamedData("points")).encode(
        x=x, color=colours(style), detail=alt.Detail(field="phase", type="nominal")
    )
    turns = alt.Chart(alt.NamedData("turns")).mark_rule(strokeDash=[2, 3], opacity=0.8, aria=False)
    band = base.mark_area(opacity=0.16, aria=False).encode(
        y=alt.Y(field="low", type="quantitative", axis=axis), y2=alt.Y2(field="high")
    )
    pointer = alt.Chart(alt.NamedData("pointer")).mark_rule(color="currentColor", opacity=0.5, aria=False)
    layers = alt.layer(
        shown(turns.encode(x=x, color=colours(style))),
        shown(band.transform_filter("isValid(datum.low)")),
        shown(base.mark_line(strokeWidth=1.75, aria=False).encode(y=y, strokeDash=dashes(style))),
        pointer.transform_filter("at !== null").transform_calculate(key="at").encode(x=x),
    )
    return finished(layers.properties(width="container", height=170), entries)


def _lanes(
    bands: dict[int, tuple[Phase, ...]], domain: tuple[int, int], entries: Sequence[Entry], style: Sequence[Look]
) -> Drawing:
    """Draw the phases of each entry as a lane, on the same steps as the curves."""
    rows: list[Row] = [
        {"key": key, "entry": i, "x": band.start, "stop": band.stop, "odd": n % 2, "name": band.name}
        | {"said": f"{entries[i].name}, {band.name}: steps {number(band.start)} to {number(band.stop)}."}
        for key, (i, n, band) in enumerate((i, n, band) for i, own in bands.items() for n, band in enumerate(own))
    ]
    base = alt.Chart(alt.NamedData("points")).encode(x=_steps("x", domain), y=names_down(grid=False))
    bars = base.mark_bar(height=20, cornerRadius=2, aria=False).encode(
        x2=alt.X2(field="stop"),
        color=colours(style),
        opacity=alt.condition("datum.key === at", alt.value(0.75), alt.value(alt.expr("datum.odd ? 0.4 : 0.22"))),
    )
    limit = alt.expr("max(1, scale('x', datum.stop) - scale('x', datum.x) - 8)")
    text = base.mark_text(
        align="left", baseline="middle", dx=5, fontSize=12, color="currentColor", limit=limit, aria=False
    ).encode(text=alt.Text(field="name", type="nominal"))
    chart = alt.layer(shown(bars), shown(text)).properties(width="container", height=28 * len(bands))
    spec = finished(chart, entries)
    spec["datasets"] = {"points": rows}
    differ = [entry.name for entry in entries if len({_course(records) for records in entry.records}) > 1]
    notes = (f"Drawn of the first seed; the phases of other seeds differ: {', '.join(differ)}.",) if differ else ()
    return Drawing("Phases", " ".join(str(row["said"]) for row in rows), spec, notes=notes, wide=True)


def _course(records: Sequence[Any]) -> tuple[tuple[str, int], ...]:
    return tuple((phase.name, phase.stop) for phase in phases(records))
