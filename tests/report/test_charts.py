"""Charts, drawn for real by the library's own renderer, without a browser."""

import json
import math
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest
import vl_convert
from report.folders import records as folder_records

from textforge.report.charts import MAX_POINTS, Chart, charts, library
from textforge.report.read import Record

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</script><script>alert(1)</script> a'\"].[b]\\ \n `${1}` datum.x"


def as_records(lengths: dict[str, int]) -> list[Record]:
    return [
        Record(
            str(line["phase"]),
            int(str(line["step"])),
            0.0,
            {key: value for key, value in line.items() if isinstance(value, float) and key != "seconds"},
        )
        for line in folder_records(lengths)
    ]


def drawn(chart: Chart) -> ElementTree.Element:
    svg = vl_convert.vegalite_to_svg(chart.spec | {"width": 600})
    assert "NaN" not in svg
    assert "undefined" not in svg
    return ElementTree.fromstring(svg)


def marks(kind: str, chart: Chart) -> list[str]:
    """Return the outlines of all lines or areas, each of which Vega draws as one path."""
    groups = [group for group in drawn(chart).iter(f"{SVG}g") if kind in group.get("class", "").split()]
    return [path.get("d", "") for group in groups for path in group.iter(f"{SVG}path")]


def texts(svg: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in svg.iter(f"{SVG}text")]


def test_nats_come_first_and_together_then_losses_rewards_and_the_rest() -> None:
    names = ["unique", "reward", "d_loss", "nll_test", "g_loss", "entropy", "nll_oracle"]
    found = charts([Record("p", step, 0.0, dict.fromkeys(names, 1.0 + step)) for step in (1, 2)])
    titles = ["Likelihood and entropy, in nats", "d_loss", "g_loss", "reward", "unique"]
    assert [chart.title for chart in found] == titles
    assert [chart.wide for chart in found] == [True, False, False, False, False]
    assert [name for name in names if name in found[0].description] == ["nll_test", "entropy", "nll_oracle"]


def test_every_value_of_a_short_run_is_in_the_chart() -> None:
    records = as_records({"pretrain": 60, "adversarial": 40})
    for chart in charts(records):
        rows = chart.spec["datasets"]["points"]
        for name in {row["curve"] for row in rows}:
            told = [(record.step, record.scalars[name]) for record in records if name in record.scalars]
            assert [(row["step"], row["mean"]) for row in rows if row["curve"] == name] == told


def test_phases_are_marked_and_named() -> None:
    nats, loss, *_ = charts(as_records({"pretrain": 60, "middle": 20, "adversarial": 40}))
    assert nats.spec["datasets"]["bands"] == [
        {"index": 0, "step": 1, "stop": 60, "name": "pretrain"},
        {"index": 1, "step": 60, "stop": 80, "name": "middle"},
        {"index": 2, "step": 80, "stop": 120, "name": "adversarial"},
    ]
    for chart in (nats, loss):
        shown = texts(drawn(chart))
        assert {"pretrain", "middle", "adversarial", "step"} <= set(shown)
    assert {"nll_valid", "entropy", "nats"} <= set(texts(drawn(nats)))


def test_a_loss_is_not_joined_over_the_end_of_a_phase_but_an_evaluation_is() -> None:
    nats, loss, *_ = charts(as_records({"pretrain": 60, "adversarial": 40}))

    assert len(marks("mark-line", nats)) == 2  # curves
    assert len(marks("mark-line", loss)) == 2  # phases of one curve


def test_a_single_record_is_drawn_too() -> None:
    (chart,) = charts([Record("p", 5, 0.0, {"loss": 2.0})])
    assert chart.spec["datasets"]["points"][0]["dot"]
    drawn(chart)


def test_long_runs_are_thinned_and_the_spread_is_drawn() -> None:
    (chart,) = charts([Record("p", step, 0.0, {"loss": math.sin(step)}) for step in range(10_000)])
    rows = chart.spec["datasets"]["points"]
    assert len(rows) <= MAX_POINTS
    assert min(row["low"] for row in rows) == min(map(math.sin, range(10_000)))
    (area,) = marks("mark-area", chart)
    assert len(area) > 1000


def test_what_is_not_finite_is_left_out_and_said() -> None:
    values = [1.0, math.inf, 2.0, math.nan]
    (chart,) = charts([Record("p", step, 0.0, {"nll_oracle": v, "js": math.nan}) for step, v in enumerate(values)])
    assert chart.notes == ("2 of 4 values of nll_oracle are infinite or not a number: not drawn.",)
    assert [row["mean"] for row in chart.spec["datasets"]["points"]] == [1.0, 2.0]
    json.dumps(chart.spec, allow_nan=False)


def test_the_readout_tells_every_step() -> None:
    records = [
        Record("p", 10, 0.0, {"nll_valid": 2.5, "entropy": 2.25}),
        Record("q", 20, 0.0, {"nll_valid": 1.5}),
    ]
    (chart,) = charts(records)
    said = ["Step 10, p: nll_valid 2.500, entropy 2.250", "Step 20, q: nll_valid 1.500"]
    assert [row["said"] for row in chart.spec["datasets"]["steps"]] == said
    assert chart.readout == said[-1]


@pytest.mark.parametrize("name", [HOSTILE, f"{HOSTILE} loss", f"nll_{HOSTILE}"])
def test_hostile_names_are_drawn_as_text(name: str) -> None:
    (chart,) = charts([Record(HOSTILE, step, 0.0, {name: 1.0 + step}) for step in range(3)])
    svg = drawn(chart)
    assert not any("script" in element.tag for element in svg.iter())
    assert any(text.startswith("</script><script>") for text in texts(svg))
    assert formulas(chart.spec) == formulas(charts([Record("p", 1, 0.0, {chart.wide * "nll_" + "x": 1.0})])[0].spec)


def formulas(spec: object) -> Sequence[str]:
    """Return every string that Vega reads as program: hostile names must not change them."""
    if isinstance(spec, dict):
        own = [str(value) for key, value in spec.items() if key in {"expr", "filter", "calculate", "signal", "field"}]
        return sorted({*own, *(text for value in spec.values() for text in formulas(value))})
    if isinstance(spec, list):
        return sorted({text for value in spec for text in formulas(value)})
    return []


def test_the_library_can_stand_inside_a_page() -> None:
    script = library("charts.js")
    assert "figure.chart" in script
    for ending in ("</script", "<!--", "\r"):
        assert ending not in script.lower()
