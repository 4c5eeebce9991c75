"""The pictures of the survey: all of them can be drawn, in both languages, and stand on both pages."""

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from pages import ROOT

FOLDER = ROOT / "docs" / "pictures"
NAMES = ["gan", "gumbel_gan", "textgan_workshop", "textgan", "seqgan", "maskgan", "leakgan", "temperature"]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script, found as Python finds it when it runs."""
    sys.path.insert(0, str(ROOT / "scripts"))
    yield import_module("survey_pictures")
    sys.path.remove(str(ROOT / "scripts"))


def words(text: str) -> str:
    return " ".join("".join(element.itertext()) for element in ElementTree.fromstring(text).iter(f"{SVG}text"))


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_drawn_with_words_of_both_languages(script: ModuleType, name: str) -> None:
    drawn: dict[str, str] = script.drawn(name, fast=True)
    assert drawn.keys() == {f"{name}.svg", f"{name}.zh.svg"}
    english, chinese = (words(drawn[file]) for file in sorted(drawn))
    assert re.search("[a-z]{3}", english)
    assert not re.search("[\u4e00-\u9fff]", english)
    assert re.search("[\u4e00-\u9fff]", chinese)
    assert "NaN" not in drawn[f"{name}.svg"]


@pytest.mark.parametrize("page", ["survey.md", "survey.zh.md"])
def test_every_picture_stands_on_the_page_with_words_for_who_cannot_see_it(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    ending = ".zh.svg" if ".zh" in page else ".svg"
    shown = re.findall(r"^!\[([^\]]+)\]\(pictures/(\w+)(\.zh)?\.svg\)$", text, flags=re.MULTILINE)
    assert [name for _, name, _ in shown] == NAMES
    for alt, name, zh in shown:
        assert f"{zh}.svg" == ending
        assert len(alt) >= 12
        assert f"`python scripts/survey_pictures.py docs/pictures {name}`" in text


def test_the_pictures_that_are_kept_are_small_and_all_of_them() -> None:
    files = {path.name: path for path in FOLDER.iterdir()}
    assert files.keys() == {f"{name}{ending}" for name in NAMES for ending in (".svg", ".zh.svg")}
    for path in files.values():
        assert path.stat().st_size < 100_000
        assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", path.read_text(encoding="utf-8"))


def test_what_takes_no_training_is_what_is_kept(script: ModuleType) -> None:
    """Drawn anew, the same words and numbers stand in it."""
    kept = (FOLDER / "gumbel_gan.svg").read_text(encoding="utf-8")
    assert words(script.drawn("gumbel_gan", fast=False)["gumbel_gan.svg"]) == words(kept)


def test_roll_outs_are_right_where_the_picture_says_so(script: ModuleType) -> None:
    """The mean of 100 repetitions lies within its error of the enumerated value, and the spread falls with N."""
    rows: list[dict[str, Any]] = script.seqgan(fast=False)
    for row in rows:
        spread = (row["high"] - row["low"]) / 2
        assert abs(row["mean"] - row["exact"]) <= 4.5 * spread / 10 + 1e-6
    widths = {n: np.mean([row["high"] - row["low"] for row in rows if row["number"] == n]) for n in (1, 4, 16)}
    assert widths[1] > 1.5 * widths[4] > 2 * widths[16]


def test_a_kernel_sees_what_two_moments_do_not(script: ModuleType) -> None:
    rows: list[dict[str, Any]] = script.textgan(fast=False)
    last = {row["loss"]: row["value"] for row in rows if row["distance"] == max(r["distance"] for r in rows)}
    assert last["kernel"] > 20
    assert abs(last["moments"]) < 2
