"""The two players over the rounds, as small multiples: truth, generator and discriminator in one picture a round.

Nothing that a picture's file says is trusted: what is not of one of the three known forms is told and left out.
Import this module only where a chart is made, as `charts`.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import altair as alt

from textforge.report.charts import Chart, Row, styled
from textforge.report.read import Picture
from textforge.report.words import number

MAX_PICTURES = 12
KEY = {"truth": "currentColor", "generator": "var(--curve-2)", "discriminator": "var(--curve-1)"}
"""The colour of each side, the same in every picture."""
_HEADROOM = 1.8  # of the axis over the highest true density: what a generator piles up above it is cut off
_MARGIN = 0.45  # around the true points of a scatter
_HEIGHT = {"density": 150, "scatter": 230, "bars": 150}


class UnreadableError(ValueError):
    """A picture is not of the form that it should have."""


def pictures(kept: Sequence[Picture]) -> tuple[tuple[Chart, ...], tuple[str, ...]]:
    """Draw the first, the last, and some at even distances between; also say which could not be drawn."""
    chosen = _chosen(kept)
    notes = []
    drawn = []
    for picture in chosen:
        try:
            drawn.append(_drawn(picture))
        except UnreadableError as error:
            notes.append(f"The picture of step {number(picture.step)} is left out: {error}.")
    return tuple(drawn), tuple(notes)


def _chosen(kept: Sequence[Picture]) -> list[Picture]:
    if len(kept) <= MAX_PICTURES:
        return list(kept)
    return [kept[round(i * (len(kept) - 1) / (MAX_PICTURES - 1))] for i in range(MAX_PICTURES)]


def _drawn(picture: Picture) -> Chart:
    values = picture.values
    match values.get("kind"):
        case "density":
            layers, datasets = _density(values)
        case "scatter":
            layers, datasets = _scatter(values)
        case "bars":
            layers, datasets = _bars(values)
        case other:
            raise UnreadableError(f"its kind is {other!r}")
    spec = styled(layers.properties(width="container", height=_HEIGHT[str(values["kind"])]))
    said = _said(values)
    spec["datasets"] = datasets | {"steps": [*datasets["steps"], {"key": "", "said": said}]}
    return Chart(f"step {number(picture.step)}", f"Step {number(picture.step)}: {said}", spec, (), wide=False)


def _said(values: Mapping[str, Any]) -> str:
    """Say in a line what the picture shows: what is covered, and how far the generator is from the truth."""
    words = []
    modes = _modes(values)
    if 1 < len(modes) <= 3:
        words += [f"{mode.name} {'covered' if mode.covered else 'missing'}" for mode in modes]
    elif modes:
        words.append(f"{sum(mode.covered for mode in modes)} of {len(modes)} modes covered")
    if isinstance(values.get("js"), int | float):
        words.append(f"JS {number(float(values['js']), digits=3)}")
    return ", ".join(words)


@dataclass(frozen=True)
class _Mode:
    name: str
    place: tuple[float, ...]
    share: float
    covered: bool


def _modes(values: Mapping[str, Any]) -> tuple[_Mode, ...]:
    found = []
    modes = values.get("modes", [])
    if not isinstance(modes, list):
        raise UnreadableError("its modes are no list")
    for mode in modes:
        match mode:
            case {"name": str(name), "place": [_, *_] as place, "share": share, "covered": bool(covered)}:
                found.append(_Mode(name, tuple(_numbers(place)), _numbers([share])[0], covered))
            case _:
                raise UnreadableError("a mode of it has no name, place, share or coverage")
    return tuple(found)


def _numbers(values: object) -> list[float]:
    if isinstance(values, list) and all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return [float(value) for value in values]
    raise UnreadableError("a list of it does not hold finite numbers")


def _sides(values: Mapping[str, Any]) -> dict[str, list[float]]:
    sides = {side: _numbers(values.get(side)) for side in KEY}
    if not values["x"] or {len(side) for side in sides.values()} != {len(values["x"])}:
        raise UnreadableError("its lists are empty, or differ in length")
    return sides


_Drawing = tuple[alt.LayerChart | alt.FacetChart, dict[str, list[Row]]]


def _density(values: Mapping[str, Any]) -> _Drawing:
    """Draw the true density as a shape, the generator's over it, and D as a line with an axis of its own."""
    places, sides = _numbers(values.get("x")), _sides(values)
    top = _HEADROOM * max(sides["truth"])
    rows: list[Row] = [{"key": i, "x": x, **{side: sides[side][i] for side in KEY}} for i, x in enumerate(places)]
    base = alt.Chart(alt.NamedData("points")).encode(
        x=alt.X(
            field="x",
            type="quantitative",
            scale=alt.Scale(domain=[places[0], places[-1]], nice=False),
            axis=alt.Axis(title=str(values.get("axis", "x")), grid=False, tickCount=5),
        )
    )
    height = alt.Scale(domain=[0, top])
    axis = alt.Axis(title=None, labels=False, ticks=False, grid=False)
    truth = alt.Y(field="truth", type="quantitative", scale=height, axis=axis)
    generator = alt.Y(field="generator", type="quantitative", scale=height, axis=axis)
    densities = alt.layer(
        base.mark_area(color=KEY["truth"], opacity=0.16, aria=False).encode(y=truth),
        base.mark_line(color=KEY["truth"], strokeWidth=1, opacity=0.6, aria=False).encode(y=truth),
        base.mark_area(color=KEY["generator"], opacity=0.5, clip=True, aria=False).encode(y=generator),
        base.mark_line(color=KEY["generator"], strokeWidth=1.5, clip=True, aria=False).encode(y=generator),
    )
    opinion = base.mark_line(color=KEY["discriminator"], strokeWidth=1.5, strokeDash=[5, 3], aria=False).encode(
        y=alt.Y(
            field="discriminator",
            type="quantitative",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(title=None, values=[0, 0.5, 1], labelColor=KEY["discriminator"], orient="right", grid=False),
        )
    )
    labels = alt.Chart(alt.NamedData("modes")).encode(x=alt.X(field="x", type="quantitative"), y=alt.value(-4))
    text = labels.mark_text(baseline="bottom", fontSize=12, color="currentColor", aria=False).encode(
        text=alt.Text(field="label", type="nominal"),
        opacity=alt.Opacity(field="opacity", type="quantitative", scale=None),
    )
    chart = alt.layer(densities, opinion, text, _pointer(base)).resolve_scale(y="independent")
    steps: list[Row] = [
        {"key": row["key"], "said": ", ".join(f"{name} {number(row[field])}" for name, field in _WORDS.items())}
        for row in rows
    ]
    return chart, {"points": rows, "modes": _labels(values, lambda mode: {"x": mode.place[0]}), "steps": steps}


_WORDS = {"at": "x", "truth": "truth", "generator": "generator", "D": "discriminator"}


def _scatter(values: Mapping[str, Any]) -> _Drawing:
    """Draw true points as a shade and the generator's over them; the names of the modes stand outside."""
    points = {side: _pairs(values.get(side)) for side in ("truth", "generator")}
    domains = []
    for axis in (0, 1):
        low, high = (edge(point[axis] for point in points["truth"]) for edge in (min, max))
        margin = _MARGIN * (high - low) / 2
        domains.append([low - margin, high + margin])
    rows: list[Row] = [{"side": side, "x": x, "y": y} for side, pairs in points.items() for x, y in pairs]
    x, y = (
        alt.X(field="x", type="quantitative", scale=alt.Scale(domain=domains[0]), axis=None),
        alt.Y(field="y", type="quantitative", scale=alt.Scale(domain=domains[1]), axis=None),
    )
    base = alt.Chart(alt.NamedData("points")).encode(x=x, y=y)
    truth = base.transform_filter("datum.side === 'truth'")
    generator = base.transform_filter("datum.side === 'generator'")
    labels = alt.Chart(alt.NamedData("modes")).encode(x=x, y=y, text=alt.Text(field="label", type="nominal"))
    nearest = alt.selection_point(name="nearest", nearest=True, on="pointerover", fields=["key"], empty=False)
    targets = alt.Chart(alt.NamedData("modes")).mark_point(opacity=0, size=600, tooltip=None, aria=False)
    chart = alt.layer(
        truth.mark_point(filled=True, size=22, color=KEY["truth"], opacity=0.3, clip=True, aria=False),
        generator.mark_point(filled=True, size=14, color=KEY["generator"], opacity=0.75, clip=True, aria=False),
        labels.mark_text(fontSize=12, color="currentColor", aria=False).encode(
            opacity=alt.Opacity(field="opacity", type="quantitative", scale=None)
        ),
        targets.encode(x=x, y=y, detail=alt.Detail(field="key", type="nominal")).add_params(nearest),
    )
    middle = [sum(domain) / 2 for domain in domains]

    def outside(mode: _Mode) -> Row:
        if len(mode.place) != 2:
            raise UnreadableError("a mode of it is no point of the plane")
        return {axis: m + 1.25 * (at - m) for axis, m, at in zip(("x", "y"), middle, mode.place, strict=True)}

    steps: list[Row] = [
        {"key": i, "said": f"{mode.name}: {number(100 * mode.share, digits=3)} % of the generator's points"}
        for i, mode in enumerate(_modes(values))
    ]
    return chart, {"points": rows, "modes": _labels(values, outside), "steps": steps}


def _pairs(values: object) -> list[tuple[float, float]]:
    if not isinstance(values, list) or not values:
        raise UnreadableError("it has no points")
    pairs = [_numbers(pair) for pair in values]
    if any(len(pair) != 2 for pair in pairs):
        raise UnreadableError("a point of it has no two coordinates")
    return [(x, y) for x, y in pairs]


def _bars(values: Mapping[str, Any]) -> _Drawing:
    """Draw each text's true probability as a wide bar, the generator's as a narrow one, and D as points."""
    if not isinstance(values.get("x"), list):
        raise UnreadableError("it has no list of texts")
    sides, names = _sides(values), [str(name) for name in values["x"]]
    rows: list[Row] = [
        {"key": i, "name": name, **{side: sides[side][i] for side in KEY}} for i, name in enumerate(names)
    ]
    short = max(map(len, names)) <= 2
    title = None if short else "texts, the likeliest first"
    label = f"{json.dumps(names if short else [])}[datum.value]"
    base = alt.Chart(alt.NamedData("points")).encode(
        x=alt.X(
            field="key",
            type="ordinal",
            axis=alt.Axis(title=title, labels=short, labelExpr=label, ticks=False, labelAngle=0),
        )
    )
    height = alt.Scale(domain=[0, max(1e-12, 1.3 * max(chain(sides["truth"], sides["generator"])))])
    axis = alt.Axis(title=None, labels=False, ticks=False, grid=False)
    masses = alt.layer(
        base.mark_bar(color=KEY["truth"], opacity=0.25, aria=False).encode(
            y=alt.Y(field="truth", type="quantitative", scale=height, axis=axis)
        ),
        base.mark_bar(color=KEY["generator"], opacity=0.85, width=alt.RelativeBandSize(0.4), aria=False).encode(
            y=alt.Y(field="generator", type="quantitative", scale=height, axis=axis)
        ),
    )
    opinion = base.mark_point(color=KEY["discriminator"], filled=True, size=20, aria=False).encode(
        y=alt.Y(
            field="discriminator",
            type="quantitative",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(title=None, values=[0, 0.5, 1], labelColor=KEY["discriminator"], orient="right", grid=False),
        )
    )
    chart = alt.layer(masses, opinion, _pointer(base)).resolve_scale(y="independent")
    words = {name: field for name, field in _WORDS.items() if name != "at"}
    steps: list[Row] = [
        {
            "key": i,
            "said": f"{row['name']}: " + ", ".join(f"{name} {number(row[field])}" for name, field in words.items()),
        }
        for i, row in enumerate(rows)
    ]
    return chart, {"points": rows, "steps": steps}


def _pointer(base: alt.Chart) -> alt.Chart:
    """Follow the pointer with a line; what stands there is said above the picture."""
    nearest = alt.selection_point(
        name="nearest",
        nearest=True,
        on="pointerover",
        clear="pointerout[event.pointerType !== 'touch']",
        fields=["key"],
        empty=False,
    )
    shown = alt.when(nearest).then(alt.value(0.5)).otherwise(alt.value(0))
    rule: alt.Chart = base.mark_rule(color="currentColor", tooltip=None, aria=False)
    return rule.encode(opacity=shown).add_params(nearest)


def _labels(values: Mapping[str, Any], place: Callable[[_Mode], Row]) -> list[Row]:
    return [
        {
            "key": i,
            "label": f"{mode.name} {'✓' if mode.covered else '✗'}",
            "opacity": 0.95 if mode.covered else 0.6,
            **place(mode),
        }
        for i, mode in enumerate(_modes(values))
    ]
