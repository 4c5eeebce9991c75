"""The page of a comparison: complete, harmless whatever its entries hold, and of one file."""

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report.comparisons import CHINESE, CONFIG, TEMPERATURES, bare, chinese, control, hostile, model, whole
from report.pages import ATTACK, Page, check_harmless, taken_apart

from textforge.errors import UserError
from textforge.metrics import evaluate
from textforge.metrics.bootstrap import mean_interval
from textforge.report import compare_page
from textforge.report.compare_charts import PLANES, looks, plane
from textforge.report.compare_panels import collapse, copying
from textforge.report.compare_table import Cell, cell, table
from textforge.report.compare_training import training
from textforge.report.comparison import REAL, Comparison, Entry, Sweep
from textforge.report.read import Record
from textforge.report.words import GLOSSARY, family, number

DASH = "\N{EN DASH}"


def page(comparison: Comparison) -> Page:
    return taken_apart(compare_page.html(comparison))


def entry(**metrics: tuple[float, ...]) -> Entry:
    return Entry("some", "model", metrics)


# --- The page ---


def test_the_page_tells_what_the_comparison_holds() -> None:
    comparison = whole()
    parsed = page(comparison)
    check_harmless(parsed)
    for told in (
        "TextForge comparison Three methods on captions",
        "3 models, 1 file of samples and 5 controls, measured in the same way on 2,000 texts each against 1,998 real",
        "seqgan Behind maximum likelihood at every temperature At the LM score of mle its reverse",
        "leakgan Good scores through repetition collapse beyond real text BLEU-4 lies above",
        "N = 2,000 samples against M = 1,998 references",
        "● seqgan 5 seeds, temperature 1.0",
        "◆ leakgan-published.txt file of samples",
        f"□ {REAL} control",
        *(f"temperature {temperature}" for temperature in TEMPERATURES),
        "a man riding a wave on top of a surfboard .",
        "textforge compare runs/seqgan-* runs/leakgan-* runs/gumbel_gan-* leakgan-published.txt",
        "textforge train leakgan --data captions --preset small --out runs/leakgan",
        "hidden 64 learning_rate 0.001 filters 100, 200 schedule start 1.0 end 0.1",
        "model.safetensors 9f86d081884c7d659a2feaa0c55ad015",
        "Each training ● seqgan 0.300 0.240 to 0.380 seed 0, at 0.930 0.320 0.240 to 0.380 seed 1, at",
        f"{DASH} seed 4 ● leakgan",
        "The line is real text: 0.987.",
    ):
        assert told in parsed.words, told
    order = [
        str(attributes["id"])
        for attributes in parsed.all("section")
        if not str(attributes.get("id", "-")).endswith("-")
    ]
    assert order == ["verdict", "planes", "training", "table", "samples", "collapse", "copying", "settings"]


def test_what_is_not_there_is_told() -> None:
    parsed = page(bare())
    check_harmless(parsed)
    for told in (
        "No verdict was reached.",
        "No entry was measured in both quality and diversity.",
        "No entry has a record of its training.",
        "Nothing was measured.",
        "There are no samples to show.",
        "1 model, 1 file of samples and 1 control, measured in the same way.",
    ):
        assert told in parsed.words
    assert parsed.words.count("Nothing of this was measured.") == 2
    assert "Nothing is compared here." in page(replace(bare(), entries=())).words


def test_every_place_of_a_hostile_comparison_is_shown_and_nothing_of_it_runs() -> None:
    parsed = page(hostile())
    check_harmless(parsed)
    shown = re.sub(r"\s+", " ", "".join(parsed.texts))
    places = ["title", "name", "sample", "headline", "reason", "flag", "key", "inner", "value", "what", "digest"]
    for place in (*places, "command", "setting", "choice", "number", "metric", "scalar"):
        assert f"{place}{ATTACK}" in shown, place
    data = "".join(json.dumps(json.loads(text)) for attributes, text in parsed.scripts if attributes)
    for place in ("name", "phase"):
        assert f"{place}{json.dumps(ATTACK)[1:-1]}" in data


def test_names_never_become_part_of_a_program() -> None:
    """Every string that Vega compiles is the same, whatever the entries are called."""

    def programs(comparison: Comparison) -> list[str]:
        def found(spec: object) -> list[str]:
            if isinstance(spec, list):
                return [text for value in spec for text in found(value)]
            if not isinstance(spec, dict):
                return []
            compiled = {"expr", "filter", "calculate", "signal", "labelExpr", "test", "format"}
            own = [json.dumps(value) for key, value in spec.items() if key in compiled]
            return own + [text for key, value in spec.items() if key != "datasets" for text in found(value)]

        scripts = [json.loads(text) for attributes, text in page(comparison).scripts if attributes]
        return sorted(found(scripts))

    attacked = hostile()
    plain = replace(attacked, entries=tuple(replace(entry, name=str(i)) for i, entry in enumerate(attacked.entries)))
    assert programs(attacked) == programs(plain) != []


def test_chinese_is_marked_as_such() -> None:
    parsed = page(chinese())
    marked = [attributes["lang"] for _, attributes in parsed.elements if "lang" in attributes]
    assert marked.count("zh") > len(CHINESE)
    assert all(text in parsed.words for text in (*CHINESE, "唐诗的比较", "漏掉了许多形式。"))


def test_tables_and_charts_are_named_for_those_who_do_not_see_them() -> None:
    parsed = page(whole(seeds=2, lines=20))
    assert all(attributes.get("scope") in {"row", "col", "rowgroup"} for attributes in parsed.all("th"))
    assert all(attributes.get("aria-label") for attributes in parsed.all("div") if "role" in attributes)
    drawings = [attributes for attributes in parsed.all("div") if attributes.get("class") == "drawing"]
    assert all(attributes.get("tabindex") == "0" for attributes in drawings)
    assert "seqgan at temperature 0.5: BLEU-4 0." in str(drawings[0]["aria-label"])
    assert len(parsed.all("h1")) == 1
    identifiers = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    assert {str(attributes["href"])[1:] for attributes in parsed.all("a")} <= set(identifiers)
    assert {str(attributes["for"]) for attributes in parsed.all("label") if "for" in attributes} <= set(identifiers)


def test_a_large_comparison_stays_small() -> None:
    assert len(compare_page.html(whole(seeds=5, lines=2000)).encode()) < 5_000_000


def test_write_writes_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = bare()
    out = tmp_path / "比较.html"
    compare_page.write(comparison, out)
    assert out.read_text(encoding="utf-8") == compare_page.html(comparison)
    with pytest.raises(UserError, match="cannot write a report to"):
        compare_page.write(comparison, tmp_path)

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    out.write_text("before")
    with pytest.raises(OSError, match="disk full"):
        compare_page.write(comparison, out)
    assert out.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


# --- Samples ---


def columns(parsed: Page) -> list[list[tuple[str, str]]]:
    """The names of the columns of each temperature."""
    told = re.split(r"Temperature [\d.]+ ", parsed.words[parsed.words.index("Samples side by side") :])[1:]
    return [re.findall(r"(\w+) text of (\w+)", part) for part in told]


def test_samples_stand_beside_those_of_equal_temperature() -> None:
    def sampled(name: str, *temperatures: float) -> Entry:
        kind = "control" if name == "real" else "model"
        samples = {temperature: (f"T{temperature:.0f} text of {name}",) for temperature in temperatures}
        return Entry(name, kind, {}, samples=samples)  # type: ignore[arg-type]

    entries = (sampled("both", 2, 1), sampled("cold", 1), sampled("real", 1), sampled("none"))
    parsed = page(Comparison("samples", entries, (), {}, ""))
    assert columns(parsed) == [[("T1", "both"), ("T1", "cold"), ("T1", "real")], [("T2", "both"), ("T1", "real")]]
    assert [radio.get("id") for radio in parsed.all("input") if "checked" in radio and "id" in radio] == [
        "temperature-1"
    ]


def test_texts_without_a_temperature_are_enough() -> None:
    entries = tuple(Entry(name, "samples", {}, samples={1.0: (f"T1 text of {name}",)}) for name in ("one", "other"))
    assert columns(page(Comparison("samples", entries, (), {}, ""))) == [[("T1", "one"), ("T1", "other")]]


# --- The table ---


def test_a_cell_says_how_sure_it_is() -> None:
    five = (0.31, 0.29, 0.33, 0.30, 0.32)
    interval = mean_interval(np.array(five))
    assert cell(entry(bleu_4=five), "bleu_4") == Cell(
        "0.3100", f"{number(interval.low, 3)} to {number(interval.high, 3)}"
    )
    assert cell(entry(bleu_4=five[:3]), "bleu_4") == Cell("0.3100")
    few = replace(entry(bleu_4=five[:3]), errors={"bleu_4": 0.00412})
    assert cell(few, "bleu_4") == Cell("0.3100", "± 0.0041")
    assert cell(entry(js=(0.5,), js_se=(0.0123,)), "js") == Cell("0.5000", "± 0.012")
    assert cell(entry(kl_pq=(math.inf,) * 5), "kl_pq") == Cell("\N{INFINITY}")
    assert cell(entry(), "bleu_4") == Cell(DASH)


def test_the_table_is_arranged_by_what_is_asked() -> None:
    entries = (
        entry(strange=(1.0,), js_se=(0.1,), js=(0.5,), copied_5=(0.1,), copied_real_5=(0.1,), self_bleu_2=(0.8,)),
        entry(bleu_2=(0.7,), bleu_3=(0.5,), copied_8=(0.0,), c2st=(0.6,), c2st_low=(0.5,)),
    )
    found = {topic.title.split(":")[0]: topic.groups for topic in table(entries)}
    assert list(found) == ["Quality", "Diversity", "Both at once", "Copying", "Further"]
    names = {title: [[line.name for line in group.lines] for group in groups] for title, groups in found.items()}
    assert names["Quality"] == [["bleu_2", "bleu_3"]]
    assert names["Both at once"] == [["c2st", "c2st_low"], ["js"]]
    assert names["Copying"] == [["copied_5", "copied_real_5", "copied_8"]]
    assert names["Further"] == [["strange"]]
    assert [name for name, _ in found["Copying"][0].meanings] == ["copied", "copied_real"]
    assert found["Quality"][0].lines[0].cells == (Cell(DASH), Cell("0.7000"))


def test_every_metric_of_text_is_explained_and_has_its_place() -> None:
    texts = [
        f"a {animal} {verb} in the {place}"
        for animal in ["dog", "cat"]
        for verb in ("sits", "runs", "sleeps")
        for place in ("park", "house")
    ]
    metrics = evaluate(texts[::2], texts[1::2], train=texts).metrics
    assert {family(name) for name in metrics} <= GLOSSARY.keys()
    topics = table([Entry("all", "model", {name: (value,) for name, value in metrics.items()})])
    assert "Further" not in {topic.title for topic in topics}
    told = [line.name for topic in topics for group in topic.groups for line in group.lines]
    assert sorted(told) == sorted(metrics)


# --- What is drawn ---


def test_models_have_colours_and_controls_have_shapes() -> None:
    entries = [entry() for _ in range(8)] + [Entry("a file", "samples", {})] + [control(str(i), {}) for i in range(6)]
    style = looks(entries)
    lines = {(look.colour, tuple(look.dash)) for look in style[:9]}
    assert len(lines) == 9
    assert {look.shape for look in style[:8]} == {"circle"}
    assert style[8].shape == "diamond"
    assert {look.colour for look in style[9:]} == {"var(--quiet)"}
    assert not any(look.filled for look in style[9:])
    assert len({look.shape for look in style[9:]}) == 6


def test_a_plane_shows_the_mean_and_the_range_of_the_seeds() -> None:
    axes = PLANES["BLEU and Self-BLEU"]
    swept = Entry(
        "swept",
        "model",
        {"bleu_4": (0.2, 0.4), "self_bleu_4": (0.5, 0.7)},
        frontier=(
            Sweep(1.5, {"bleu_4": (0.1, 0.1), "self_bleu_4": (0.4, 0.4)}),
            Sweep(1.0, {"bleu_4": (9.0, 9.0), "lm_score": (1.0, 1.0)}),
            Sweep(0.5, {"bleu_4": (0.6, 0.8), "self_bleu_4": (0.9, math.nan)}),
        ),
    )
    single = Entry("single", "control", {"bleu_4": (0.3,), "self_bleu_4": (0.4,)})
    without = Entry("without", "samples", {"bleu_4": (0.3,)})
    entries = (swept, single, without)
    drawing = plane("plane", axes, entries, looks(entries))
    assert drawing is not None
    rows = drawing.spec["datasets"]["points"]
    assert [(row["entry"], row["temperature"], row["own"], row["swept"]) for row in rows] == [
        (0, 1.0, True, True),
        (0, 1.5, False, True),
        (1, 1.0, True, False),
    ]
    first = rows[0]
    assert [first[key] for key in ("x", "x_low", "x_high", "y", "y_low", "y_high")] == [0.3, 0.2, 0.4, 0.6, 0.5, 0.7]
    assert first["said"] == (
        "swept at temperature 1: BLEU-4 0.3000 (0.200 to 0.400 over seeds), "
        "Self-BLEU-4 0.6000 (0.500 to 0.700 over seeds)."
    )
    assert rows[2]["said"] == "single: BLEU-4 0.3000, Self-BLEU-4 0.4000."
    assert drawing.notes == ("Not measured in this plane: without.",)
    assert [row["label"] for row in rows] == ["1", "1.5", "single"]
    assert plane("plane", axes, (without,), looks((without,))) is None
    noise = replace(swept, name="by noise", frontier=(Sweep(1.0, swept.metrics),))  # it has no temperature
    alone = plane("plane", axes, (noise,), looks((noise,)))
    assert alone is not None
    assert [(row["label"], row["swept"]) for row in alone.spec["datasets"]["points"]] == [("by noise", False)]


@pytest.mark.parametrize("title", PLANES)
def test_better_is_to_the_right_and_at_the_top_of_every_plane(title: str) -> None:
    entries = (entry(**{axis.metric: (0.5,) for axis in PLANES[title]}),)
    drawing = plane(title, PLANES[title], entries, looks(entries))
    assert drawing is not None
    encoding = next(layer["encoding"] for layer in drawing.spec["layer"] if "shape" in layer["encoding"])
    assert encoding["x"]["scale"]["reverse"] == (PLANES[title][0].metric != "bleu_4")
    assert encoding["y"]["scale"]["reverse"] is True  # of no measure of diversity here is more better


def test_real_text_is_the_line_across_a_strip() -> None:
    ours = Entry(
        "ours", "model", {"unique": (0.5, 0.7), "exact_copy": (0.1,), "copied_5": (0.2,), "copied_real_5": (0.07,)}
    )
    real = control(REAL, {"unique": 0.98, "exact_copy": 0.002})
    impostor = Entry(REAL, "model", {"unique": (0.1,)})
    entries = (impostor, ours, real)
    (unique,) = collapse(entries, looks(entries))
    assert unique.spec["datasets"]["real"] == [{"x": 0.98}]
    assert unique.spec["datasets"]["points"][1]["x"] == pytest.approx(0.6)
    assert [(row["low"], row["high"]) for row in unique.spec["datasets"]["points"]][1] == (0.5, 0.7)
    exact, grams = copying(entries, looks(entries))
    assert exact.spec["datasets"]["real"] == [{"x": 0.002}]
    assert grams.spec["datasets"]["real"] == [{"x": 0.07}]
    (alone,) = collapse((ours,), looks((ours,)))
    assert alone.spec["datasets"]["real"] == []


def test_curves_are_means_over_seeds_and_phases_have_their_marks() -> None:
    def records(shift: float, *, late: bool) -> tuple[Record, ...]:
        first = [Record("warm", step, step, {"nll_valid": step + shift, "loss": 1.0}) for step in (1, 2)]
        return (*first, *([Record("game", 3, 3.0, {"nll_valid": math.inf, "loss": shift})] if late else []))

    ours = replace(entry(), records=(records(0.0, late=True), records(1.0, late=False), ()))
    entries = (Entry("idle", "control", {}), ours)
    lanes, (nll, loss) = training(entries, looks(entries))
    assert lanes is not None
    assert [(row["entry"], row["name"], row["x"], row["stop"]) for row in lanes.spec["datasets"]["points"]] == [
        (1, "warm", 1, 2),
        (1, "game", 2, 3),
    ]
    assert lanes.notes == ("Drawn of the first seed; the phases of other seeds differ: some.",)
    assert nll.title == "nll_valid"
    assert nll.spec["datasets"]["points"] == [
        {"entry": 1, "key": 1, "phase": 0, "y": 1.5, "low": 1.0, "high": 2.0},
        {"entry": 1, "key": 2, "phase": 0, "y": 2.5, "low": 2.0, "high": 3.0},
    ]
    assert nll.notes == ("some: 1 values are infinite or not a number, and not drawn.",)
    assert nll.spec["datasets"]["turns"] == [{"entry": 1, "key": 2}]
    assert loss.spec["datasets"]["points"][-1] == {"entry": 1, "key": 3, "phase": 1, "y": 0.0}


def test_what_several_entries_recorded_comes_first() -> None:
    def recorded(name: str, *scalars: str) -> Entry:
        values = dict.fromkeys(scalars, 1.0)
        return Entry(name, "model", {}, records=((Record("p", 1, 1.0, values), Record("p", 2, 2.0, values)),))

    entries = (recorded("one", "d_loss", "nll_own", "unique"), recorded("two", "unique", "nll_valid"))
    _, panels = training(entries, looks(entries))
    assert [panel.title for panel in panels] == ["unique", "nll_own", "nll_valid", "d_loss"]


def test_a_model_is_drawn_at_each_temperature_once() -> None:
    one = model("seqgan", quality=0.9)
    drawing = plane("plane", PLANES["BLEU and Self-BLEU"], (one,), looks((one,)))
    assert drawing is not None
    assert [row["temperature"] for row in drawing.spec["datasets"]["points"]] == list(TEMPERATURES)
    assert one.config["config"] == CONFIG
