"""What is said twice is the same: pages in two languages, and numbers that one page takes from another."""

import re
from pathlib import Path

import pytest
from pages import ROOT, code_blocks, headings, inline_code, links, rows

PAIRS = [("README.md", "README.zh-CN.md"), ("docs/survey.md", "docs/survey.zh.md")]
CHINESE = re.compile("[\u3400-\u9fff]")


def commands_and_output(page: str) -> list[str]:
    """What stands in the blocks of code, without comments, which are translated."""
    return [re.sub(r" +# .*", "", text) for _, text in code_blocks(page)]


def figures(page: str) -> list[str]:
    """The numbers of more than one digit outside of links and formulas; one-digit ones may be words."""
    text = re.sub(r"\]\([^)]*\)|\$\$.*?\$\$|\$[^$]*\$", " ", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    return sorted(re.findall(r"(?<![\d.,-])\d[\d.,-]*\d(?:e-?\d+)?", text))


def formulas(page: str) -> list[str]:
    return sorted(re.findall(r"\$\$.*?\$\$", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL))


@pytest.mark.parametrize(("page", "translated"), PAIRS)
def test_the_chinese_page_says_the_same(page: str, translated: str) -> None:
    assert commands_and_output(translated) == commands_and_output(page)
    assert {*inline_code(translated)} == {*inline_code(page)}
    assert figures(translated) == figures(page)
    assert formulas(translated) == formulas(page)
    assert [level for level, _ in headings(translated)] == [level for level, _ in headings(page)]
    sizes = [[len(row) for _, row in rows(name)] for name in (page, translated)]
    assert sizes[0] == sizes[1]
    names = {Path(page).name, Path(translated).name}
    targets = [{link.replace(".zh.md", ".md") for link in links(name)} - names for name in (page, translated)]
    assert targets[0] == targets[1]
    prose = [token.content for level, token in headings(translated) if level == "h2"]
    assert all(map(CHINESE.search, prose))


def test_figures_of_the_advice_are_those_of_the_results() -> None:
    """A result that is measured anew has to be changed on both pages: numbers with three digits behind the point."""
    said = re.findall(r"(?<![\d.])\d?\.\d{3}\b", (ROOT / "docs/which_method.md").read_text(encoding="utf-8"))
    measured = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    assert len(said) >= 20
    assert [number for number in said if number not in measured] == []
