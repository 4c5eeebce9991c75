"""A real browser, driven over the DevTools protocol: https://chromedevtools.github.io/devtools-protocol/."""

import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
FOUND = next((path for name in NAMES if (path := shutil.which(name))), None)
MISSING = f"no browser: none of {', '.join(NAMES)} is installed; on Debian: apt-get install chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)
PATIENCE = 120.0
"""Seconds until a silent browser counts as stuck: far above what anything takes."""


class PageError(Exception):
    """A script that a test ran in a page threw an exception."""


@dataclass
class Browser:
    """A running browser, and what it has told that nobody waited for."""

    connection: ClientConnection
    events: list[dict[str, Any]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        self.connection.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        while True:
            answer = json.loads(self.connection.recv(timeout=PATIENCE))
            if answer.get("id") != number:
                self.events.append(answer)
            elif "error" in answer:
                raise PageError(f"{method}: {answer['error']}")
            else:
                result: dict[str, Any] = answer["result"]
                return result

    @contextmanager
    def page(self, file: Path | str, *, width: int = 1100, height: int = 900, dark: bool = False) -> Iterator["Tab"]:
        """Open a file, or an address, in a tab of its own, which is closed at the end."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.resize(width, height)
        tab.emulate(dark=dark)
        tab.load(file)
        yield tab
        self.call("Target.closeTarget", targetId=target)


@dataclass
class Tab:
    """A page in the browser."""

    browser: Browser
    session: str

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command about this page."""
        return self.browser.call(method, self.session, **parameters)

    def load(self, file: Path | str) -> None:
        """Open a file, or an address, and wait until it has been read."""
        loaded = self._loads()
        self.call("Page.navigate", url=file if isinstance(file, str) else file.resolve().as_uri())
        while self._loads() == loaded:
            self.call("Page.getFrameTree")

    def run(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript, the settled one of a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise PageError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def drawn(self) -> int:
        """Wait for the last chart; return how many there are."""
        return int(
            self.run(
                "new Promise((done) => { const look = () => document.documentElement.dataset.drawn === undefined"
                " ? setTimeout(look, 20) : done(document.documentElement.dataset.drawn); look(); })"
            )
        )

    def resize(self, width: int, height: int) -> None:
        """Change the size of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def emulate(self, *, dark: bool = False, printed: bool = False) -> None:
        """Show the page as on a dark screen, or as on paper."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="print" if printed else "", features=[scheme])

    def press(self, key: str, text: str = "") -> None:
        """Press a key and let it go."""
        key_code = {" ": "Space"}.get(key, key)
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key_code, **more)

    def point(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """Bring an element into view and click on its middle, as a reader does."""
        x, y = self.run(
            f"(() => {{ const part = document.querySelector({json.dumps(selector)});"
            " part.scrollIntoView({block: 'center'}); const box = part.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def complaints(self) -> list[dict[str, Any]]:
        """Return what the console holds: errors, exceptions, refusals of the content security policy."""
        kinds = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        return [event for event in self._events() if event["method"] in kinds]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for."""
        sent = (event for event in self._events() if event["method"] == "Network.requestWillBeSent")
        return [event["params"]["request"]["url"] for event in sent]

    def _events(self) -> list[dict[str, Any]]:
        self.call("Page.getFrameTree")  # what was on its way has arrived before the answer
        return [event for event in self.browser.events if event.get("sessionId") == self.session]

    def _loads(self) -> int:
        return sum(event["method"] == "Page.loadEventFired" for event in self._events())


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser, with a profile that is thrown away."""
    assert FOUND is not None, MISSING
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        command = [FOUND, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                address = _address(Path(profile) / "DevToolsActivePort", process)
                with connect(address, proxy=None, max_size=None, open_timeout=PATIENCE) as connection:
                    yield Browser(connection)
            finally:
                process.terminate()
                try:
                    process.wait(timeout=PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()


def _address(file: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until the browser has written where it listens."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if file.exists() and len(lines := file.read_text().splitlines()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise RuntimeError(f"{FOUND} did not start: exit status {process.poll()}")
