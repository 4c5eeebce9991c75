"""What a comparison draws of its metrics: quality against diversity, and one quantity over all entries.

Names and numbers are values in the data of a chart, entries are numbered, and what a reader hides is a parameter, so
that one list of entries switches all charts. Import this module only where a chart is made, as `charts`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from textforge.report.charts import COLOURS, DASHES, Row, styled
from textforge.report.comparison import Entry
from textforge.report.words import number

_NAME_WIDTH = 190  # pixels for a name in a plane
NEUTRAL = "var(--quiet)"
_ROW = 24  # pixels
_SHAPES = {
    "square": "\N{WHITE SQUARE}",
    "triangle-up": "\N{WHITE UP-POINTING TRIANGLE}",
    "diamond": "\N{WHITE DIAMOND}",
    "triangle-down": "\N{WHITE DOWN-POINTING TRIANGLE}",
    "triangle-right": "\N{WHITE RIGHT-POINTING TRIANGLE}",
    "triangle-left": "\N{WHITE LEFT-POINTING TRIANGLE}",
}


@dataclass(frozen=True)
class Look:
    """How an entry looks in every chart: controls are grey and hollow, models round, files of samples diamonds."""

    colour: str
    shape: str
    glyph: str
    filled: bool
    dash: list[int]


@dataclass(frozen=True)
class Drawing:
    """One chart: its heading, a caption, what it shows in words, its specification, and what is not drawn."""

    title: str
    description: str
    spec: dict[str, Any]
    caption: str = ""
    notes: tuple[str, ...] = ()
    wide: bool = False


@dataclass(frozen=True)
class Axis:
    """A metric as an axis; `more` says whether more of it is better. The better end is to the right, or at the top."""

    metric: str
    name: str
    more: bool
    unit: str = ""

    def encoding(self, field: str) -> dict[str, Any]:
        """Return what the axes of a plane are drawn by."""
        title = f"{self.name}{self.unit} ({'more' if self.more else 'less'} is better) \N{RIGHTWARDS ARROW}"
        return {
            "field": field,
            "type": "quantitative",
            "scale": alt.Scale(zero=False, nice=False, padding=24, reverse=not self.more),
            "axis": alt.Axis(title=title, tickCount=6),
        }


PLANES = {
    "BLEU and Self-BLEU": (Axis("bleu_4", "BLEU-4", more=True), Axis("self_bleu_4", "Self-BLEU-4", more=False)),
    "LM score and reverse LM score": (
        Axis("lm_score", "LM score", more=False, unit=", nats per token"),
        Axis("reverse_lm_score", "reverse LM score", more=False, unit=", nats per token"),
    ),
    "KL divergences from the truth": (
        Axis("kl_qp", "KL(Q‖P)", more=False, unit=", nats per text"),
        Axis("kl_pq", "KL(P‖Q)", more=False, unit=", nats per text"),
    ),
}
"""Quality and diversity, in three ways."""


def looks(entries: Sequence[Entry]) -> tuple[Look, ...]:
    """Give every entry its look: colours go to models and files, shapes tell controls apart."""
    given = []
    coloured = controls = 0
    for entry in entries:
        if entry.kind == "control":
            shape, glyph = list(_SHAPES.items())[controls % len(_SHAPES)]
            given.append(Look(NEUTRAL, shape, glyph, False, DASHES[1 + controls % (len(DASHES) - 1)]))
            controls += 1
        else:
            colour, dash = f"var(--curve-{coloured % COLOURS + 1})", DASHES[coloured // COLOURS % len(DASHES)]
            shape, glyph = ("circle", "\N{BLACK CIRCLE}") if entry.kind == "model" else ("diamond", "\N{BLACK DIAMOND}")
            given.append(Look(colour, shape, glyph, True, dash))
            coloured += 1
    return tuple(given)


def plane(title: str, axes: tuple[Axis, Axis], entries: Sequence[Entry], style: Sequence[Look]) -> Drawing | None:
    """Draw entries in one plane, over temperatures where these were swept; None where none was measured in both."""
    points = [_points(entry, axes) for entry in entries]
    rows = [
        {"entry": i, "filled": look.filled, **row}
        for i, (own, look) in enumerate(zip(points, style, strict=True))
        for row in own
    ]
    if not rows:
        return None
    for key, row in enumerate(rows):
        row["key"] = key
    horizontal, vertical = axes
    _place_names(rows, backwards=not horizontal.more)
    base = alt.Chart(alt.NamedData("points")).encode(
        x=alt.X(**horizontal.encoding("x")),
        y=alt.Y(**vertical.encoding("y")),
        color=colours(style),
    )
    spec = finished(alt.layer(*_plane_layers(base, style)).properties(width="container", height=440), entries)
    spec["datasets"] = {"points": rows}
    description = f"Scatter plot, {horizontal.name} against {vertical.name}. " + " ".join(row["said"] for row in rows)
    without = [entry.name for entry, own in zip(entries, points, strict=True) if not own]
    notes = (f"Not measured in this plane: {', '.join(without)}.",) if without else ()
    return Drawing(title, description, spec, notes=notes, wide=True)


def strips(
    metrics: Mapping[str, tuple[str, float | None]], entries: Sequence[Entry], style: Sequence[Look]
) -> tuple[Drawing, ...]:
    """Draw each metric of all entries below each other; a line across is the value of real text, where it is known."""
    template = _strip_template(entries, style)
    drawings = []
    for metric, (title, real) in metrics.items():
        rows = [
            {"key": i, "entry": i, "x": at[0], "low": at[1], "high": at[2], "filled": style[i].filled}
            | {"said": f"{entry.name}: {_say(at)}."}
            for i, entry in enumerate(entries)
            if (at := spread(entry.metrics.get(metric, ()))) is not None
        ]
        if rows:
            line = "" if real is None else f"The line is real text: {number(real, 3)}."
            spec = {
                **template,
                "height": _ROW * len(rows),
                "datasets": {"points": rows, "real": [] if real is None else [{"x": rounded(real)}]},
            }
            description = " ".join([f"{title}.", *(str(row["said"]) for row in rows), line]).strip()
            drawings.append(Drawing(title, description, spec, line))
    return tuple(drawings)


def _strip_template(entries: Sequence[Entry], style: Sequence[Look]) -> dict[str, Any]:
    """Return the specification that all strips share: only their data differ."""
    base = alt.Chart(alt.NamedData("points")).encode(
        x=alt.X(
            field="x",
            type="quantitative",
            scale=alt.Scale(zero=False, nice=True, padding=8),
            axis=alt.Axis(title=None, tickCount=4),
        ),
        y=names_down(grid=True),
        color=colours(style),
    )
    real = alt.Chart(alt.NamedData("real")).mark_rule(color="currentColor", opacity=0.6, strokeDash=[4, 3], aria=False)
    whiskers = base.mark_rule(strokeWidth=2, opacity=0.55, aria=False).encode(
        x=alt.X(field="low", type="quantitative"), x2=alt.X2(field="high")
    )
    layers = alt.layer(
        real.encode(x=alt.X(field="x", type="quantitative")), shown(whiskers), *_marks(base, style, 70), _ring(base)
    )
    return finished(layers.properties(width="container", height=1), entries)


def names_down(*, grid: bool) -> alt.Y:
    """Return the axis on which entries stand below each other, by their names."""
    # By a parameter that holds them: names never become part of an expression.
    axis = alt.Axis(
        title=None, labelExpr="names[datum.value]", labelLimit=132, labelPadding=8, ticks=False, domain=False, grid=grid
    )
    return alt.Y(field="entry", type="nominal", sort=None, axis=axis)


def finished(chart: alt.LayerChart | alt.FacetChart, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return a specification in the style of the page, with the names, and two parameters that the page's script sets.

    `shown` says of each entry whether the reader wants to see it, `at` is the key of what the reader points at.
    """
    spec = styled(chart)
    values = {"names": [entry.name for entry in entries], "shown": [True] * len(entries), "at": None}
    spec["params"] = [{"name": name, "value": value} for name, value in values.items()]
    return spec


def shown(chart: alt.Chart) -> alt.Chart:
    """Leave out the entries that the reader hides."""
    filtered: alt.Chart = chart.transform_filter("shown[datum.entry]")
    return filtered


def spread(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Return mean, lowest and highest of the seeds, rounded as a chart needs them; None where one is not finite."""
    if not values or not all(map(math.isfinite, values)):
        return None
    mean = math.fsum(value / len(values) for value in values)
    return rounded(mean), rounded(min(values)), rounded(max(values))


def rounded(value: float) -> float:
    """Keep what a screen can show."""
    return float(f"{value:.5g}")


def colours(style: Sequence[Look]) -> alt.Color:
    """Give each entry its colour; the page has one list of entries for all charts."""
    return alt.Color(field="entry", type="nominal", scale=_scale([look.colour for look in style]), legend=None)


def dashes(style: Sequence[Look]) -> alt.StrokeDash:
    """Give the line of each entry its dashes."""
    return alt.StrokeDash(field="entry", type="nominal", scale=_scale([look.dash for look in style]), legend=None)


def _scale(looks: Sequence[Any]) -> alt.Scale:
    return alt.Scale(domain=list(range(len(looks))), range=looks)


def _settings(entry: Entry) -> list[tuple[float, bool, Mapping[str, Sequence[float]]]]:
    """The temperatures of an entry in their order, whether it is the entry's own, and what was measured there."""
    swept = {sweep.temperature: sweep.metrics for sweep in entry.frontier}
    own = {entry.temperature: {**swept.get(entry.temperature, {}), **entry.metrics}}
    return [(t, t == entry.temperature, metrics) for t, metrics in sorted({**swept, **own}.items())]


def _points(entry: Entry, axes: tuple[Axis, Axis]) -> list[Row]:
    """Return the points of one entry in a plane, in the order of their temperatures."""
    found = [
        (temperature, own, x, y)
        for temperature, own, metrics in _settings(entry)
        if (x := spread(metrics.get(axes[0].metric, ()))) and (y := spread(metrics.get(axes[1].metric, ())))
    ]
    swept = len(found) > 1
    rows = []
    for n, (temperature, own, x, y) in enumerate(found):
        where = f" at temperature {temperature:g}" if swept else ""
        values = ", ".join(f"{axis.name} {_say(at)}" for axis, at in zip(axes, (x, y), strict=True))
        row: Row = {"temperature": temperature, "own": own, "swept": swept, "end": swept and n in (0, len(found) - 1)}
        row |= {"label": f"{temperature:g}" if swept else entry.name, "said": f"{entry.name}{where}: {values}."}
        rows.append(row | dict(zip(("x", "x_low", "x_high", "y", "y_low", "y_high"), (*x, *y), strict=True)))
    return rows


def _place_names(rows: Sequence[Row], *, backwards: bool) -> None:
    """Put names of points that lie on each other below each other, and others where they hide no point, if they can."""
    wide, high = (max(row[axis] for row in rows) - min(row[axis] for row in rows) for axis in "xy")
    sign = -1 if backwards else 1
    for n, row in enumerate(rows):
        level = [other for other in rows if abs(row["y"] - other["y"]) <= high / 25]
        to_right = [sign * (other["x"] - row["x"]) for other in level if other is not row]
        row["stack"] = sum(
            not other["swept"] and other in level and abs(row["x"] - other["x"]) <= wide / 6 for other in rows[:n]
        )
        row["left"] = any(0 < gap < wide / 5 for gap in to_right) and not any(-wide / 4 < gap < 0 for gap in to_right)


def _say(at: tuple[float, float, float]) -> str:
    mean, low, high = at
    return number(mean) + (f" ({number(low, 3)} to {number(high, 3)} over seeds)" if low < high else "")


def _marks(base: alt.Chart, style: Sequence[Look], size: int) -> tuple[alt.Chart, alt.Chart]:
    shape = alt.Shape(field="entry", type="nominal", scale=_scale([look.shape for look in style]), legend=None)
    filled = base.mark_point(filled=True, size=size, opacity=1, aria=False).encode(shape=shape)
    hollow = base.mark_point(filled=False, size=size, strokeWidth=2, opacity=1, aria=False).encode(shape=shape)
    return shown(filled.transform_filter("datum.filled")), shown(hollow.transform_filter("!datum.filled"))


def _ring(base: alt.Chart) -> alt.Chart:
    """Mark the point that the reader is at."""
    ring = base.mark_point(shape="circle", filled=False, size=320, strokeWidth=2, opacity=0.9, aria=False)
    return shown(ring.transform_filter("datum.key === at"))


def _plane_layers(base: alt.Chart, style: Sequence[Look]) -> list[alt.Chart]:
    line = base.mark_line(strokeWidth=1.75, opacity=0.85, aria=False).encode(
        order=alt.Order(field="temperature", type="quantitative"),
        strokeDash=dashes(style),
    )
    across = base.mark_rule(strokeWidth=1.5, opacity=0.4, aria=False).encode(
        x=alt.X(field="x_low", type="quantitative"), x2=alt.X2(field="x_high")
    )
    along = base.mark_rule(strokeWidth=1.5, opacity=0.4, aria=False).encode(
        y=alt.Y(field="y_low", type="quantitative"), y2=alt.Y2(field="y_high")
    )
    # To the left of its point where it would not fit to the right.
    left = f"(datum.left || scale('x', datum.x) + {_NAME_WIDTH} > width)"
    label = base.mark_text(
        align=alt.expr(f"!datum.end && {left} ? 'right' : 'left'"),
        dx=alt.expr(f"datum.end ? 5 : {left} ? -10 : 10"),
        dy=alt.expr("datum.end ? -9 : 15 * datum.stack"),
        baseline="middle",
        fontSize=12,
        limit=_NAME_WIDTH,
        aria=False,
    ).encode(
        text=alt.Text(field="label", type="nominal"),
        # On a narrow screen names would lie on each other; the list of entries has the shapes.
        opacity=alt.value(alt.expr("datum.end || width > 480 ? 1 : 0")),
    )
    halo = label.copy()
    halo.mark = halo.mark.copy()
    halo.mark.stroke, halo.mark.strokeWidth = "var(--page)", 4
    halo.mark.color = alt.Undefined
    own = "datum.own || !datum.swept"
    return [
        shown(line.transform_filter("datum.swept")),
        shown(across.transform_filter("datum.x_low < datum.x_high")),
        shown(along.transform_filter("datum.y_low < datum.y_high")),
        *(mark.transform_filter(own) for mark in _marks(base, style, 120)),
        *(mark.transform_filter(f"!({own})") for mark in _marks(base, style, 32)),
        *(shown(text.transform_filter("datum.end || !datum.swept")) for text in (halo, label)),
        _ring(base),
    ]
