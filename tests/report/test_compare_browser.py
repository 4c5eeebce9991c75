"""The page of a comparison in a real browser: what is drawn, what moves, what runs, what is asked of the network."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from report.browser import FOUND, MISSING, Browser, Tab, browser
from report.comparisons import CHINESE, TEMPERATURES, bare, chinese, hostile, whole
from report.pages import ATTACK

from textforge.report.compare_page import write

pytestmark = pytest.mark.skipif(FOUND is None and not os.environ.get("CI"), reason=MISSING)

# What stands in a plane: of the sweeps of four entries each temperature, of the five others one point.
SWEPT, SINGLE = 4, 5
PLANE = ".panel figure"
FIRST = f"document.querySelector('{PLANE}')"
POINTS = f"document.querySelectorAll('{PLANE}')[0].querySelectorAll('.mark-symbol path').length"
LINES = f"document.querySelectorAll('{PLANE}')[0].querySelectorAll('.mark-line path').length"
PAINT = (
    "new Promise((done) => new PerformanceObserver((list) => list.getEntriesByName('first-contentful-paint')"
    ".forEach((entry) => done(entry.startTime))).observe({ type: 'paint', buffered: true }))"
)
VISIBLE = "(part) => part.checkVisibility({ visibilityProperty: true, opacityProperty: true })"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if FOUND is None:
        pytest.fail(MISSING)
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for make in (whole, chinese, bare, hostile):
        write(make(), folder / f"{make.__name__}.html")
    return folder


@pytest.fixture
def tab(chromium: Browser, pages: Path) -> Iterator[Tab]:
    with chromium.page(pages / "whole.html") as tab:
        tab.drawn()
        yield tab


def read(tab: Tab, figure: str) -> list[str]:
    """Return the lines that a chart says where the reader points, without the marks of the entries."""
    lines: list[str] = tab.run(
        f"[...{figure}.querySelectorAll('.readout p')].map((line) => line.lastChild.textContent)"
    )
    return lines


@pytest.mark.parametrize("name", ["whole", "chinese", "bare", "hostile"])
def test_everything_is_drawn_without_a_complaint_or_a_request(chromium: Browser, pages: Path, name: str) -> None:
    with chromium.page(pages / f"{name}.html") as tab:
        drawn = tab.drawn()
        charts = tab.run(
            "[...document.querySelectorAll('figure.chart')].map((figure) => figure.querySelectorAll('svg [d]').length)"
        )
        assert drawn == len(charts)
        assert len(charts) == {"whole": 18, "chinese": 2, "bare": 0}.get(name, len(charts))
        assert all(marks > 0 for marks in charts)
        assert not tab.complaints()
        assert tab.requests() == [(pages / f"{name}.html").as_uri()]
        assert tab.run(PAINT) > 0


def test_the_complaints_and_requests_of_a_page_would_be_seen(chromium: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('x'); undefined_name</script><img src='file:///absent.png'>")
    with chromium.page(bad) as tab:
        assert {event["method"] for event in tab.complaints()} >= {
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
        }
        assert "file:///absent.png" in tab.requests()


def test_the_plane_shows_every_entry_at_every_temperature(tab: Tab) -> None:
    assert tab.run(POINTS) == SWEPT * len(TEMPERATURES) + SINGLE
    assert tab.run(LINES) == SWEPT


def test_a_band_shows_the_seeds_and_a_line_their_mean(tab: Tab) -> None:
    panels = tab.run(
        "[...document.querySelectorAll('#training figure:not(.wide)')].map((figure) =>"
        " [figure.querySelector('h3').textContent, figure.querySelectorAll('.mark-line path').length,"
        "  figure.querySelectorAll('.mark-area path').length])"
    )
    assert ["nll_valid", 4, 4] in panels
    assert ["g_loss", 3, 3] in panels  # maximum likelihood has no such loss


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_switching_off_an_entry_changes_charts_table_and_samples(tab: Tab, by: str) -> None:
    visible = f"[...document.querySelectorAll('[data-entry=\"1\"]')].filter({VISIBLE}).length"
    labels = "document.querySelector('#collapse figure').querySelectorAll('.role-axis-label text').length"
    rows = "document.querySelector('#collapse figure').querySelectorAll('.mark-symbol path').length"
    assert tab.run(visible) > 40
    assert (tab.run(rows), tab.run(labels) > 9) == (9, True)
    before = tab.run(labels)

    def switch() -> None:
        if by == "mouse":
            tab.click(".legend label:nth-of-type(2) bdi")
        else:
            tab.run("document.querySelectorAll('.legend input')[1].focus()")
            tab.press(" ", text=" ")

    def settled() -> None:
        tab.run("new Promise((done) => setTimeout(() => requestAnimationFrame(done), 50))")

    switch()
    settled()
    assert tab.run(POINTS) == (SWEPT - 1) * len(TEMPERATURES) + SINGLE
    assert tab.run(LINES) == SWEPT - 1
    assert tab.run(visible) == 0
    assert (tab.run(rows), tab.run(labels)) == (8, before - 1)
    switch()
    settled()
    assert tab.run(POINTS) == SWEPT * len(TEMPERATURES) + SINGLE
    assert tab.run(visible) > 40
    assert not tab.complaints()


def test_a_chart_of_which_nothing_is_left_disappears_and_comes_back_as_wide(tab: Tab) -> None:
    loss = "[...document.querySelectorAll('#training figure')].find((it) => it.textContent.includes('g_loss'))"
    width = f"{loss}.querySelector('svg')?.getBoundingClientRect().width"
    before = tab.run(width)
    tab.run("for (const i of [0, 1, 2]) document.querySelectorAll('.legend input')[i].click()")
    assert tab.run(f"{loss}.checkVisibility()") is False
    tab.run("document.querySelectorAll('.legend input')[0].click()")
    tab.run("new Promise((done) => setTimeout(done, 100))")
    assert tab.run(f"{loss}.checkVisibility()") is True
    assert tab.run(width) == before


def test_temperatures_are_read_where_the_mouse_is(tab: Tab) -> None:
    tab.run(f"document.querySelector('{PLANE}').scrollIntoView({{ block: 'center' }})")
    said = set()
    for x, y in tab.run(
        f"[...document.querySelector('{PLANE}').querySelectorAll('.mark-symbol path')].map((path) => {{"
        " const box = path.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })"
    ):
        tab.point(x, y)
        said.update(read(tab, FIRST))
    for name in ("seqgan", "leakgan", "gumbel_gan", "mle"):
        for temperature in TEMPERATURES:
            (found,) = (text for text in said if text.startswith(f"{name} at temperature {temperature:g}: "))
            assert "over seeds" in found
    assert any(text.startswith("4-gram count model: BLEU-4 0.3553, Self-BLEU-4 ") for text in said)
    assert {text.split(":")[0] for text in said} >= {"real text", "training text itself"}  # in the same place


def test_charts_are_walked_through_with_the_keyboard(tab: Tab) -> None:
    tab.run(f"document.querySelector('{PLANE} .drawing').focus()")
    told = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "Home", "Escape"):
        tab.press(key)
        told += [text.split(": ")[0] for text in read(tab, FIRST)] or [""]
    first, second, last = "seqgan at temperature 0.5", "seqgan at temperature 0.7", "mle at temperature 1.2"
    assert told == [first, second, first, last, first, ""]
    tab.press("End")
    tab.run("document.activeElement.blur()")
    assert read(tab, FIRST) == []
    curves = "[...document.querySelectorAll('#training figure')].find((it) => it.textContent.includes('nll_valid'))"
    tab.run(f"{curves}.querySelector('.drawing').focus()")
    tab.press("End")
    step, *values = read(tab, curves)
    assert step == "Step 80"
    assert [value.split(": ")[0] for value in values] == ["seqgan", "leakgan", "gumbel_gan", "mle"]
    tab.run("document.querySelectorAll('.legend input')[1].click()")
    tab.press("End")
    assert [value.split(": ")[0] for value in read(tab, curves)[1:]] == ["seqgan", "gumbel_gan", "mle"]


def test_phases_are_read_where_the_mouse_is_and_gone_when_it_leaves(tab: Tab) -> None:
    lanes = "document.querySelector('#training figure.wide')"
    tab.run(f"{lanes}.scrollIntoView({{ block: 'center' }})")
    for phase, end in (("pretrain: steps 1 to 48.", 0), ("adversarial: steps 48 to 80.", 1)):
        x, y = tab.run(
            f"(() => {{ const bar = {lanes}.querySelectorAll('.mark-rect path')[{2 + end}].getBoundingClientRect();"
            " return [bar.right - 8, bar.y + bar.height / 2]; })()"
        )
        tab.point(x, y)
        assert read(tab, lanes) == [f"leakgan, {phase}"]
    tab.point(x, 5)
    assert read(tab, lanes) == []


@pytest.mark.parametrize("group", ["plane", "temperature"])
def test_one_of_several_is_chosen(tab: Tab, group: str) -> None:
    section = {"plane": "#planes", "temperature": "#samples"}[group]
    seen = f"[...document.querySelectorAll('{section} .panel')].map({VISIBLE})"
    number = {"plane": 2, "temperature": len(TEMPERATURES)}[group]
    assert sum(tab.run(seen)) == 1
    for chosen in (2, 1):
        tab.click(f"label[for={group}-{chosen}]")
        assert tab.run(seen) == [n == chosen for n in range(1, number + 1)]
    tab.press("ArrowRight")  # the radio button has the focus
    assert tab.run(seen) == [n == 2 for n in range(1, number + 1)]


def test_the_first_temperature_is_that_of_the_table(tab: Tab) -> None:
    assert tab.run("document.querySelector('[name=temperature]:checked + label').textContent") == "temperature 1.0"


def test_nothing_that_is_data_runs(chromium: Browser, pages: Path) -> None:
    with chromium.page(pages / "hostile.html") as tab:
        tab.drawn()
        tab.run("document.querySelectorAll('details').forEach((part) => (part.open = true))")
        for number in range(tab.run("document.querySelectorAll('.drawing').length")):
            tab.run(f"document.querySelectorAll('.drawing')[{number}].focus()")
            tab.press("End")
        tab.run("new Promise((done) => setTimeout(done, 200))")
        assert tab.run("[window.pwned, document.querySelectorAll('img, iframe, object').length]") == [None, 0]
        assert tab.run("document.querySelectorAll('script:not([type])').length") == 1
        shown = tab.run("document.body.innerText")
        for place in ("title", "name", "sample", "headline", "reason", "flag", "key", "value", "digest", "command"):
            assert f"{place}{ATTACK}" in shown, place
        assert f"name{ATTACK}" in tab.run(
            "[...document.querySelectorAll('.readout')].map((it) => it.textContent).join()"
        )
        assert not tab.complaints()
        assert len(tab.requests()) == 1


def test_dark_and_light_differ(chromium: Browser, pages: Path) -> None:
    colours = []
    for dark in (False, True):
        with chromium.page(pages / "whole.html", dark=dark) as tab:
            tab.drawn()
            colours.append(
                tab.run(
                    "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"
                    f" getComputedStyle(document.querySelector('{PLANE} .mark-line path')).stroke,"
                    f" getComputedStyle(document.querySelector('{PLANE} .role-axis-label text')).fill]"
                )
            )
            tab.emulate(dark=dark, printed=True)
            assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert all(light != dark for light, dark in zip(*colours, strict=True))


@pytest.mark.parametrize("name", ["whole", "chinese", "bare", "hostile"])
@pytest.mark.parametrize("width", [360, 1100])
def test_the_page_is_no_wider_than_the_screen(chromium: Browser, pages: Path, name: str, width: int) -> None:
    with chromium.page(pages / f"{name}.html", width=width) as tab:
        tab.drawn()
        tab.run("document.querySelectorAll('details').forEach((part) => (part.open = true))")
        assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.run("[...document.querySelectorAll('.drawing svg')].every((it) => it.clientWidth <= innerWidth)")


def test_names_of_rows_stay_in_sight_when_the_table_is_pushed(chromium: Browser, pages: Path) -> None:
    with chromium.page(pages / "whole.html", width=360) as tab:
        left = "document.querySelector('.metrics tbody tr:last-child th').getBoundingClientRect().left"
        before = tab.run(left)
        scrolled = tab.run(
            "(() => { const it = document.querySelector('#table .scroll');"
            " it.scrollLeft = 500; return it.scrollLeft; })()"
        )
        assert scrolled == 500
        assert tab.run(left) == before


def test_all_is_on_paper(tab: Tab) -> None:
    hidden = f"[...document.querySelectorAll('.panel, details > *, .drawing svg')].filter((part) => !({VISIBLE})(part))"
    assert tab.run(f"{hidden}.length") > 0
    tab.emulate(printed=True)
    assert tab.run(f"{hidden}.map((part) => part.outerHTML.slice(0, 80))") == []
    assert tab.run("[...document.querySelectorAll('.panel')].every((part) => part.clientHeight > 50)")
    pdf = tab.call("Page.printToPDF")["data"]
    assert len(pdf) > 10_000


def test_chinese_text_is_marked_as_such(chromium: Browser, pages: Path) -> None:
    with chromium.page(pages / "chinese.html") as tab:
        tab.drawn()
        marked = tab.run("[...document.querySelectorAll(':lang(zh)')].map((part) => part.textContent.trim())")
        for text in (*CHINESE, "唐诗 seqgan", "唐诗的比较", "比真实文本差", "漏掉了许多形式。"):
            assert text in marked


def test_commands_are_copied(tab: Tab) -> None:
    tab.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    tab.click("#settings .command button")
    assert tab.run("window.copied") == whole(seeds=1, lines=2).command
    assert tab.run("document.querySelector('#settings .command button').textContent") == "Copied"
    tab.run("navigator.clipboard.writeText = async () => { throw new Error('not allowed'); }")
    tab.click("#settings .command button")
    assert tab.run("getSelection().toString()") == whole(seeds=1, lines=2).command
    assert not tab.complaints()


def test_without_scripts_the_words_are_there(chromium: Browser, pages: Path) -> None:
    with chromium.page(pages / "bare.html") as tab:
        tab.call("Emulation.setScriptExecutionDisabled", value=True)
        tab.load(pages / "whole.html")
        nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
        told = {(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node["ignored"]}
        assert ("StaticText", "The charts need JavaScript; the tables hold their values.") in told
        assert ("StaticText", "a man riding a wave on top of a surfboard .") in told
        assert "checkbox" not in {role for role, _ in told}  # they would do nothing


def test_a_name_of_two_entries_does_not_mix_them(chromium: Browser, tmp_path: Path) -> None:
    comparison = whole(seeds=1, lines=20)
    first, second, *_ = comparison.entries
    write(replace(comparison, entries=(first, replace(second, name=first.name))), tmp_path / "page.html")
    with chromium.page(tmp_path / "page.html") as tab:
        tab.drawn()
        assert tab.run(POINTS) == 2 * len(TEMPERATURES)
        tab.run("document.querySelectorAll('.legend input')[1].click()")
        tab.run("new Promise((done) => setTimeout(done, 100))")
        assert tab.run(POINTS) == len(TEMPERATURES)
