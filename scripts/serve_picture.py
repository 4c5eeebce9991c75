"""Take the picture of docs/serve.md, of a run with a detector: `scripts/serve_picture.py RUN docs/serve.png`."""

import base64
import sys
import threading
import time
from pathlib import Path

from textforge.serve import application, listen, server

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from report.browser import Tab, browser

WIDTH, HEIGHT = 760, 880
PROMPT, SEED = "a man", 4


def until(tab: Tab, condition: str) -> None:
    """Wait until something is true of the page."""
    while not tab.run(condition):
        time.sleep(0.05)


def picture(address: str) -> bytes:
    """Write a few texts in the page, go to a token, and return what is seen as PNG."""
    with browser() as chromium, chromium.page(address, width=WIDTH, height=HEIGHT) as tab:
        until(tab, "document.documentElement.dataset.ready !== undefined")
        tab.run(f"document.querySelector('[name=text]').value = {PROMPT!r}")
        tab.run(f"document.querySelector('[name=seed]').value = {SEED}")
        tab.run("document.querySelector('#draw form').requestSubmit()")
        until(tab, "document.querySelectorAll('#draw .tokens').length === 5")
        tab.run("document.querySelector('#draw .tokens').focus()")
        for _ in range(5):
            tab.press("ArrowRight")
        return base64.b64decode(tab.call("Page.captureScreenshot", captureBeyondViewport=False)["data"])


def main() -> None:
    """Serve the run for as long as it takes."""
    run, out = map(Path, sys.argv[1:])
    with listen("127.0.0.1", 0) as door:
        answers = server(application([run]))
        thread = threading.Thread(target=answers.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            out.write_bytes(picture(f"http://127.0.0.1:{door.getsockname()[1]}/"))
        finally:
            answers.should_exit = True
            thread.join()


if __name__ == "__main__":
    main()
