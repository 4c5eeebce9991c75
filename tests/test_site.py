"""The site made of the pages: it builds without a warning, shows formulas, and asks no other host for anything."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
FETCHED = {"audio", "embed", "iframe", "img", "link", "object", "script", "source", "video"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it as `make docs` does, a warning being an error; once, however many processes run the tests."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, built = root / "site", root / "site.built"
    (line,) = re.findall(r"-m (sphinx .*) build/site\n", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert "-W" in line.split()
    command = [sys.executable, "-m", *line.split(), str(folder)]
    with FileLock(root / "site.lock"):
        if not built.exists():
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-4000:]
            built.touch()
    return folder


class Page(HTMLParser):
    """What a page fetches when it is opened, what it links to, and the tags in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.linked: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if value and name in {"src", "href", "data", "srcset"}:
                (self.fetched if tag in FETCHED else self.linked).append(value)


def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_page_of_the_project_is_a_page_of_the_site(site: Path) -> None:
    sources = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    for source in sources:
        assert (site / source.relative_to(ROOT).with_suffix(".html")).exists(), source


def test_nothing_is_asked_of_another_host(site: Path) -> None:
    for path, page in pages(site).items():
        for address in page.fetched:
            assert not re.match(r"(?:[a-z]+:)?//", address), f"{path.name} fetches {address}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", text), f"{sheet.name} fetches something"


def test_links_lead_to_files_of_the_site(site: Path) -> None:
    seen = 0
    for path, page in pages(site).items():
        for address in page.linked:
            target = unquote(address.partition("#")[0].partition("?")[0])
            if target and not re.match(r"[a-z]+:", target):
                assert (path.parent / target).exists(), f"{path.relative_to(site)} links to {address}"
                seen += 1
    assert seen > 1000


def test_formulas_are_mathml_on_the_page(site: Path) -> None:
    page = site / "docs" / "methods" / "seqgan.html"
    text = page.read_text(encoding="utf-8")
    assert Page(text).tags.count("math") >= 10
    assert "$" not in re.sub(r"<(script|pre|code)\b.*?</\1>", "", text, flags=re.DOTALL)


def test_the_contents_list_every_page(site: Path) -> None:
    first = Page((site / "docs" / "index.html").read_text(encoding="utf-8"))
    listed = {(site / "docs" / address.partition("#")[0]).resolve() for address in first.linked}
    for source in [*ROOT.glob("docs/**/*.md"), ROOT / "README.md"]:
        assert (site / source.relative_to(ROOT).with_suffix(".html")).resolve() in listed | {
            (site / "docs" / "index.html").resolve()
        }, source


def test_signatures_read_as_they_are_written(site: Path) -> None:
    text = (site / "docs" / "api.html").read_text(encoding="utf-8")
    shown = re.findall(r'<dt class="sig sig-object py" id="textforge\.decoding\.log_prob">.*?</dt>', text, re.DOTALL)
    assert len(shown) == 1
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", shown[0]))
    assert "generator: Generator, tokens: Int[Tensor, " in words
    assert "B T" in words
    assert "jaxtyping" not in words
