"""Small multiples, drawn for real by the library's own renderer, without a browser."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import vl_convert
from report.folders import build

from textforge import arena, report
from textforge.oracles import worlds
from textforge.report.pictures import MAX_PICTURES, pictures
from textforge.report.read import Picture, read

SVG = "{http://www.w3.org/2000/svg}"
MINUS = "\N{MINUS SIGN}"
NAMES = ("temperatures", "ring", "alphabet", "gaussian")


def values(name: str) -> dict[str, Any]:
    world = worlds.load(name)
    view = arena.real(world)
    return arena.picture(world, view, np.zeros(len(world.probabilities))) | {"js": 0.0123, "mode_coverage": 1.0}


def kept(name: str, num: int = 1, **changes: Any) -> list[Picture]:
    drawn = values(name) | changes
    return [Picture("adversarial", step, drawn) for step in range(1, num + 1)]


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_drawn(name: str) -> None:
    (chart,), notes = pictures(kept(name))
    assert notes == ()
    assert chart.title == "step 1"
    assert "JS 0.0123" in chart.readout
    assert chart.readout in chart.description
    svg = vl_convert.vegalite_to_svg(chart.spec | {"width": 300})
    assert "NaN" not in svg
    assert "undefined" not in svg
    assert svg.count("var(--curve-2)") >= (100 if name == "ring" else 1), "the generator is there"
    assert ("var(--curve-1)" in svg) == (name != "ring"), "and the discriminator, but in the plane"
    json.dumps(chart.spec, allow_nan=False)


def test_names_of_modes_say_whether_they_are_covered() -> None:
    modes = values("temperatures")["modes"]
    modes[1]["covered"] = False
    (chart,), _ = pictures(kept("temperatures", modes=modes))
    texts = [
        e.text
        for e in ElementTree.fromstring(vl_convert.vegalite_to_svg(chart.spec | {"width": 300})).iter(f"{SVG}text")
    ]
    assert {"Antarctica ✓", "desert ✗"} <= set(texts)
    assert chart.readout == "Antarctica covered, desert missing, JS 0.0123"


def test_pointing_at_a_place_says_what_is_there() -> None:
    (chart,), _ = pictures(kept("temperatures"))
    *steps, last = chart.spec["datasets"]["steps"]
    assert [step["key"] for step in steps] == list(range(len(values("temperatures")["x"])))
    assert steps[48]["said"].startswith(f"at {MINUS}44.50, truth 0.03")
    assert steps[48]["said"].endswith("D 0.5000")
    assert last["said"] == chart.readout
    (ring,), _ = pictures(kept("ring"))
    assert ring.spec["datasets"]["steps"][2]["said"].startswith("N: 12.")
    (letters,), _ = pictures(kept("alphabet"))
    assert "D 0.5000" in letters.spec["datasets"]["steps"][0]["said"]


def test_of_too_many_the_first_the_last_and_some_between_are_drawn() -> None:
    drawn, _ = pictures(kept("gaussian", 25))
    assert len(drawn) == MAX_PICTURES
    assert (drawn[0].title, drawn[-1].title) == ("step 1", "step 25")
    assert len({chart.title for chart in drawn}) == MAX_PICTURES


HUGE = [1e999]


@pytest.mark.parametrize("name", ["temperatures", "ring", "alphabet"])
@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "film"},
        {"kind": None},
        {"generator": None},
        {"generator": "many"},
        {"generator": [1.0, "2"]},
        {"generator": [[0.0]]},
        {"truth": []},
        {"truth": HUGE},
        {"modes": [{"name": 3}]},
        {"modes": 3},
        {"x": [], "truth": [], "generator": [], "discriminator": []},
    ],
    ids=str,
)
def test_what_is_no_picture_is_told_and_left_out(name: str, changes: dict[str, Any]) -> None:
    drawn, notes = pictures([*kept(name), *kept(name, **changes)])
    assert len(drawn) == 1
    assert len(notes) == 1
    assert notes[0].startswith("The picture of step 1 is left out: ")


# --- On the page ---


def test_the_page_shows_them_with_the_curves_that_belong_to_them(tmp_path: Path) -> None:
    lines = [
        {"phase": "adversarial", "step": step, "seconds": 1.0, "js": 0.5 / step, "mode_coverage": 0.5, "g_loss": 1.0}
        for step in (1, 2, 3)
    ]
    folder = build(tmp_path / "run", lines=lines)
    for step in (1, 3):
        (folder / "samples" / f"adversarial-{step:08d}.json").write_text(json.dumps(values("temperatures")))
    (folder / "samples" / "adversarial-00000002.json").write_text("{")
    (folder / "samples" / "notes.json").write_text("{}")
    run = read(folder)
    assert [picture.step for picture in run.pictures] == [1, 3]
    assert any("adversarial-00000002.json cannot be read" in note for note in run.notes)
    page = report.html(folder)
    rounds, training = page.index('<section id="rounds"'), page.index('<section id="training"')
    assert rounds < page.index('<h3 dir="auto">step 1</h3>') < page.index('<h3 dir="auto">step 3</h3>') < training
    assert rounds < page.index(">js</h3>") < training < page.index(">g_loss</h3>")
    assert page.count(">mode_coverage</h3>") == 1
    assert 'href="#rounds"' in page


def test_a_run_of_texts_has_no_such_section(tmp_path: Path) -> None:
    page = report.html(build(tmp_path / "run"))
    assert "rounds" not in page.split("<script>")[0].split("</style>")[1]
