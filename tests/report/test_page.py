"""The page: complete, harmless whatever a run holds, and of one file."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from report.folders import CONFIG, ROWS, SETTINGS, build, records
from report.pages import ATTACK, Page, check_harmless, taken_apart

from textforge import report
from textforge.errors import UserError
from textforge.report.page import html

DASH = "\N{EN DASH}"


def page(folder: Path) -> Page:
    return taken_apart(report.html(folder))


def test_the_page_tells_what_the_folder_holds(tmp_path: Path) -> None:
    parsed = page(build(tmp_path / "horses"))
    check_harmless(parsed)
    for told in (
        "TextForge run horses",
        "The method seqgan with the preset small on captions, split by the tokeniser word, "
        "with at most 22 symbols a text, and seed 7. The record covers 1 min 15 s and 150 steps in 2 phases, "
        "the last of them adversarial.",
        "Metric real test text seqgan bleu_2 0.7400 0.7100 bleu_3 0.5123",
        f"bleu_3 0.5123 {DASH} unique 0.9870 1 js {DASH} 0.3123 ± 0.0021 How these",
        "num_samples 1000 num_references 998 tokenizer white space temperature 1.0",
        "Jensen-Shannon",
        "Likelihood and entropy, in nats Step 150, adversarial: nll_valid 2.067, entropy 1.993",
        "pretrain 1 100 50 s adversarial 100 150 25 s",
        "pretrain, step 100 a man rides a horse a dog adversarial, step 150 two men ride",
        "hidden 64 learning_rate 0.001 filters 100, 200 schedule start 1.0",
        "python 3.11.7 torch 2.13.0 command textforge, train git dirty no",
    ):
        assert told in parsed.words
    assert len([script for attributes, script in parsed.scripts if attributes]) == 4  # nats, two losses, unique


def test_every_place_of_a_hostile_folder_is_shown_and_nothing_of_it_runs(tmp_path: Path) -> None:
    # Every name and every value of the folder is the attack, with a mark of the place where it stands.
    def attack(place: str) -> str:
        return f"{place}{ATTACK}"

    lines = [
        {"phase": attack("phase"), "step": step, "seconds": 1.0, attack("scalar"): 1.0, attack("nll_"): 2.0}
        for step in (1, 2)
    ]
    config = CONFIG | {key: attack(key) for key in ("method", "preset", "tokenizer", "seed", "max_length", "textforge")}
    folder = build(
        tmp_path / "run",
        config=config | {"data": "data<script>x", "config": {attack("field"): {attack("inner"): [attack("leaf")]}}},
        environment={attack("variable"): attack("value")},
        lines=lines,
        samples={"p-00000001": [attack("sample"), "plain"]},
        rows=[{"name": attack("row"), "metrics": {attack("metric"): attack("number")}}],
        settings={attack("setting"): attack("choice")},
    )
    (folder / "samples" / "<img src=x onerror=alert(1)>-00000002.txt").write_text("x\n")
    parsed = page(folder)
    check_harmless(parsed)
    places = ["method", "preset", "tokenizer", "seed", "max_length", "textforge", "phase", "scalar", "nll_", "field"]
    places += ["inner", "leaf", "variable", "value", "sample", "row", "metric", "number", "setting", "choice"]
    shown = re.sub(r"\s+", " ", "".join(parsed.texts))
    for place in places:
        assert attack(place) in shown
    assert "data<script>x" in shown
    assert "<img src=x onerror=alert(1)>" in shown
    data = "".join(json.dumps(json.loads(text)) for attributes, text in parsed.scripts if attributes)
    assert json.dumps(ATTACK)[1:-1] in data


def test_the_verdict_stands_above_the_table(tmp_path: Path) -> None:
    folder = build(tmp_path / "run")
    table = json.loads((folder / "evaluation.json").read_text())
    table["verdict"] = {"headline": "tie with <mle>", "reasons": ["one training"], "flags": []}
    (folder / "evaluation.json").write_text(json.dumps(table))
    page = html(folder)
    assert page.index("tie with &lt;mle&gt;") < page.index("one training") < page.index("<table")


def test_texts_of_all_scripts_are_shown_in_their_own_direction_and_language(tmp_path: Path) -> None:
    samples = {"一个男人骑马。": "zh", "犬が公園で遊ぶ": "ja", "קצר וברור": "", "👩\u200d👧 🌊": "", "a \u202edog": ""}
    config = CONFIG | {"data": "/home/某人/語料.txt", "tokenizer": "char"}
    folder = build(tmp_path / "中文", config=config, lines=[], samples={"預訓練-00000001": list(samples)})
    parsed = page(folder)
    check_harmless(parsed)
    shown = [attributes for attributes in parsed.all("li") if "lang" in attributes]
    assert shown == [{"dir": "auto", "lang": language} for language in samples.values()]
    for told in (*samples, "預訓練", "TextForge run 中文", "on 語料.txt", "/home/某人/語料.txt"):
        assert told in parsed.words


def test_what_cannot_be_seen_or_written_is_made_visible(tmp_path: Path) -> None:
    config = CONFIG | {"preset": "half \ud800 pair", "tokenizer": "tab\there"}
    folder = build(tmp_path / "run", config=config, lines=[], samples={"p-00000001": ["a\x00b\x1b", "", "z" * 700]})
    report.write(folder, tmp_path / "page.html")
    parsed = page(folder)
    for told in ("half \N{REPLACEMENT CHARACTER} pair", "tab␉here", "a␀b␛", "an empty text"):
        assert told in parsed.words
    assert "z" * 600 + " … 100 more characters" in parsed.words
    assert "z" * 601 not in parsed.words


def test_a_run_in_progress_is_told_in_words(tmp_path: Path) -> None:
    folder = build(tmp_path / "run")
    for name in ("evaluation.json", "environment.json"):
        (folder / name).unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "adversarial", "ste')
    words = page(folder).words
    assert "This run has no evaluation yet" in words
    assert "What is recorded so far covers 1 min 15 s and 150 steps" in words
    assert "has not recorded its environment" in words

    (folder / "metrics.jsonl").write_text("")
    for path in (folder / "samples").iterdir():
        path.unlink()
    parsed = page(folder)
    check_harmless(parsed)
    for told in ("Nothing has been recorded yet.", "No samples have been written yet.", "seqgan"):
        assert told in parsed.words
    assert len(parsed.words) < 3000  # no library where nothing is drawn
    assert [text for _, text in parsed.scripts] == []


def test_what_was_damaged_or_never_finite_is_said(tmp_path: Path) -> None:
    lines: list[object] = [{"phase": "p", "step": 1, "seconds": 1.0, "kl_qp": None}, ["damaged"]]
    words = page(build(tmp_path / "run", lines=lines, rows=[])).words
    assert "Damaged lines of metrics.jsonl, left out: 1." in words
    assert "kl_qp is not drawn: none of its values is finite (1 recorded)." in words
    assert "The evaluation of this run is empty." in words


def test_the_first_samples_and_the_last_of_each_phase_are_side_by_side(tmp_path: Path) -> None:
    names = ["a-00000001", "a-00000002", "a-00000003", "b-00000004", "b-00000005", "a-00000006"]
    parsed = page(build(tmp_path / "run", lines=[], samples={name: [f"text {name}"] * 11 for name in names}))
    assert sorted(set(re.findall(r"text (\w-\d+)", parsed.words)), key=names.index) == [names[i] for i in (0, 2, 4, 5)]
    assert parsed.words.count("The first 10 of 11.") == 4
    assert "4 of 6 sample files are shown" in parsed.words


def test_many_phases_do_not_make_a_page_without_end(tmp_path: Path) -> None:
    names = [f"{'ab'[step % 2]}-{step:08d}" for step in range(100)]
    parsed = page(build(tmp_path / "run", lines=[], samples={name: [f"text {name}"] for name in names}))
    shown = re.findall(r"text (\w-\d+)", parsed.words)
    assert len(shown) == 12
    assert (shown[0], shown[-1]) == (names[0], names[-1])


def test_a_long_run_stays_small(tmp_path: Path) -> None:
    lines = list(records({"pretrain": 1500, "adversarial": 1500}))
    assert len(report.html(build(tmp_path / "run", lines=lines)).encode()) < 2_000_000


def test_write_writes_the_page_and_nothing_else(tmp_path: Path) -> None:
    folder = build(tmp_path / "run", lines=[])
    out = tmp_path / "out" / "報告.html"
    out.parent.mkdir()
    out.write_text("an older report")
    with out.open() as reader:
        report.write(folder, out)
        assert reader.read() == "an older report"  # whole, to whoever is reading it
    assert out.read_text(encoding="utf-8") == report.html(folder)
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    plain = out.with_name("plain")
    plain.touch()
    assert out.stat().st_mode == plain.stat().st_mode


def test_write_refuses_what_cannot_be_and_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "run", lines=[])
    for out in (tmp_path, tmp_path / "absent" / "page.html"):
        with pytest.raises(UserError, match="cannot write a report to"):
            report.write(folder, out)
    with pytest.raises(UserError, match="is no run"):
        report.write(tmp_path, tmp_path / "page.html")

    def full(_: int) -> None:
        raise OSError("disk full")

    out = tmp_path / "page.html"
    out.write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        report.write(folder, out)
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "run"]


def test_tables_and_charts_are_named_for_those_who_do_not_see_them(tmp_path: Path) -> None:
    parsed = page(build(tmp_path / "run"))
    assert all(attributes.get("scope") in {"row", "col"} for attributes in parsed.all("th"))
    assert all(attributes.get("aria-label") for attributes in parsed.all("div") if "role" in attributes)
    drawings = [attributes for attributes in parsed.all("div") if attributes.get("class") == "drawing"]
    assert "nll_valid: from 3.000 at step 10 to 2.067 at step 150, lowest 2.067, highest 3.000." in str(drawings[0])
    assert parsed.all("html") == [{"lang": "en"}]
    assert len(parsed.all("h1")) == 1
    targets = {attributes["id"] for _, attributes in parsed.elements if "id" in attributes}
    assert {str(attributes["href"])[1:] for attributes in parsed.all("a")} <= targets


def luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_light_and_dark_colours_can_be_told_apart(tmp_path: Path) -> None:
    (css,) = page(build(tmp_path / "run", lines=[])).styles
    light: dict[str, str] = {}
    dark: dict[str, str] = {}
    for scheme, block in re.findall(r"(dark\) \{\s+)?:root \{(.*?)\}", css, re.DOTALL):
        (dark if scheme else light).update(re.findall(r"--([\w-]+): (#\w{6});", block))
    assert light.keys() == dark.keys() >= {"page", "ink", "curve-1"}
    for colours in (light, dark):
        for name in ("ink", "quiet", "link", "warning"):  # WCAG 2.2, 1.4.3
            assert min(contrast(colours[name], colours[under]) for under in ("page", "wash")) >= 4.5
        for name in (name for name in colours if name.startswith("curve")):  # WCAG 2.2, 1.4.11
            assert contrast(colours[name], colours["page"]) >= 3


def test_a_report_needs_no_torch_and_the_package_no_charts(tmp_path: Path) -> None:
    folder = build(tmp_path / "run", rows=ROWS, settings=SETTINGS)
    code = (
        "import sys; from pathlib import Path; import textforge.report\n"
        "assert not {'torch', 'altair', 'vl_convert'} & set(sys.modules)\n"
        "textforge.report.html(Path(sys.argv[1]))\n"
        "assert 'altair' in sys.modules and 'torch' not in sys.modules\n"
    )
    source = str(Path(report.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env={**os.environ, "PYTHONPATH": source})
