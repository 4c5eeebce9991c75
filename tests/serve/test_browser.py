"""The page in a real browser, by keyboard alone: on a phone and a desk, dark and light, in both languages."""

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from report.browser import FOUND, MISSING, Browser, Tab, browser
from report.pages import ATTACK
from serve.conftest import LINES, record

from textforge.serve import application, listen, server
from textforge.serve.turn import Turn
from textforge.serve.words import LANGUAGES, WORDS

pytestmark = pytest.mark.skipif(FOUND is None and not os.environ.get("CI"), reason=MISSING)
PATIENCE = 30.0
CODES = {"Tab": 9, "Enter": 13, "ArrowRight": 39, "1": 49, "2": 50}


@dataclass(frozen=True)
class Site:
    """A server in a thread of its own."""

    address: str
    turn: Turn
    run: Path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def site(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    run = Path(shutil.copytree(runs[0], tmp_path_factory.mktemp("site") / f"<i>{runs[0].name}"))
    turn = Turn(waiting=0)
    with listen("127.0.0.1", 0) as door:
        answers = server(application([run, runs[1]], turn=turn))
        thread = threading.Thread(target=answers.run, kwargs={"sockets": [door]})
        thread.start()
        yield Site(f"http://127.0.0.1:{door.getsockname()[1]}/", turn, run)
        answers.should_exit = True
        thread.join()


def press(tab: Tab, key: str) -> None:
    text = {"Tab": "", "ArrowRight": "", "Enter": "\r"}.get(key, key)
    for kind in ("keyDown", "keyUp"):
        more = {"text": text} if text and kind == "keyDown" else {}
        tab.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=CODES[key], **more)


def tab_to(tab: Tab, selector: str) -> None:
    """Press Tab until the focus is there; at the end of a page it starts again at the top."""
    for _ in range(60):
        press(tab, "Tab")
        if tab.run(f"document.activeElement.matches({json.dumps(selector)})"):
            return
    raise AssertionError(f"the keyboard does not reach {selector}")


def until(tab: Tab, condition: str) -> None:
    end = time.monotonic() + PATIENCE
    while not tab.run(condition):
        assert time.monotonic() < end, f"never: {condition}; {tab.complaints()}"
        time.sleep(0.02)


def speak(tab: Tab, language: str) -> None:
    """Wait for the page, and switch to a language where it speaks another."""
    until(tab, "document.documentElement.dataset.ready !== undefined")
    if tab.run("document.documentElement.lang") != language:
        tab_to(tab, "#language")
        press(tab, "Enter")


def text(tab: Tab, selector: str) -> str:
    return str(tab.run(f"document.querySelector({json.dumps(selector)}).textContent"))


def check_harmless(tab: Tab, site: Site, width: int) -> None:
    """Fail where the page complains, is too wide, ran something of a text, or asked anybody else for anything."""
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run("window.pwned") is None
    assert not tab.run(
        "document.querySelectorAll('main :is(i:not([class]):not(.legend i), b, img, svg[onload])').length"
    )
    assert not tab.complaints()
    assert all(request.startswith(site.address) for request in tab.requests())


@pytest.mark.parametrize(("width", "dark", "language"), [(360, True, "zh"), (1100, False, "en")])
def test_all_of_it_by_keyboard(chromium: Browser, site: Site, width: int, dark: bool, language: str) -> None:
    said = {key: words[LANGUAGES.index(language)] for key, words in WORDS.items()}
    with chromium.page(site.address, width=width, dark=dark) as tab:
        speak(tab, language)
        assert text(tab, "h1") == said["title"]

        tab_to(tab, "#draw textarea")
        tab.call("Input.insertText", text=f"a man {ATTACK}")
        tab_to(tab, "#draw button.main")
        press(tab, "Enter")
        until(tab, "document.querySelectorAll('#draw .tokens').length === 5")
        assert ATTACK in text(tab, "#draw .tokens")
        tab_to(tab, "#draw .tokens")
        press(tab, "ArrowRight")
        press(tab, "ArrowRight")
        opinion = tab.run("getComputedStyle(document.querySelector('.token.at')).getPropertyValue('--sure')")
        assert 0 <= float(opinion) <= 1
        assert text(tab, ".readout").startswith(said["token_given"].format(token="man"))
        check_harmless(tab, site, width)

        tab_to(tab, "nav a[href='#game']")
        press(tab, "Enter")
        tab_to(tab, "#game form button")
        press(tab, "Enter")
        until(tab, "!document.querySelector('.round').hidden")
        shown = tab.run("[...document.querySelectorAll('.candidate span')].map((part) => part.textContent)")
        press(tab, "2")
        until(tab, "document.activeElement.matches('.next')")
        real = tab.run("[...document.querySelectorAll('.candidate')].findIndex((it) => it.classList.contains('real'))")
        assert shown[real] in LINES
        assert text(tab, ".verdict").startswith(said["right" if real == 1 else "wrong"].partition("{")[0])
        assert text(tab, "#game tbody td") == "1"
        check_harmless(tab, site, width)
        press(tab, "Enter")
        until(tab, "document.querySelector('.next').hidden")
        press(tab, "1")
        until(tab, "!document.querySelector('.next').hidden")

        tab_to(tab, "nav a[href='#training']")
        press(tab, "Enter")
        until(tab, "document.querySelectorAll('figure polyline').length === 5")
        assert ATTACK in text(tab, "#training .texts")
        assert text(tab, "#training .status") == said["state"].format(step=60, time="0:00:30", phase=ATTACK)
        check_harmless(tab, site, width)


def test_dark_and_light_differ(chromium: Browser, site: Site) -> None:
    colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    with chromium.page(site.address) as tab:
        light = tab.run(colours)
        tab.emulate(dark=True)
        assert all(before != after for before, after in zip(light, tab.run(colours), strict=True))


def test_a_training_is_followed_and_another_language_found_everywhere(chromium: Browser, site: Site) -> None:
    with chromium.page(f"{site.address}#training") as tab:
        speak(tab, "en")
        until(tab, "document.querySelector('#training .status').textContent.includes('60')")
        record(site.run, 35, ["news"])
        until(tab, "document.querySelector('#training .status').textContent.includes('70')")
        assert text(tab, "#training .texts") == "news"
        tab.click("#language")
        words = "[...document.querySelectorAll('[data-word]')].filter((part) => part.id !== 'language')"
        english = tab.run(f"{words}.map((part) => part.textContent).filter((said) => !/[\\u4e00-\\u9fff]/.test(said))")
        assert set(english) <= {"k", "p"}
        record(site.run, 30, ["a man rides home", ATTACK, ""])


def test_a_busy_machine_and_a_wrong_text_are_told(chromium: Browser, site: Site) -> None:
    with chromium.page(site.address) as tab:
        speak(tab, "en")
        with site.turn.taken():
            tab.click("#draw button.main")
            until(tab, "document.querySelector('#draw .act .status').classList.contains('failed')")
            assert text(tab, "#draw .act .status").startswith("The machine is busy; try again in")
        tab.run("document.querySelector('#draw textarea').value = '<img src=x onerror=pwned=1>'")
        tab.click("#draw button.main")
        until(tab, "document.querySelector('#draw .act .status').textContent.includes('onerror')")
        assert tab.run("window.pwned") is None
