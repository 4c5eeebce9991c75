"""From a template to a file: what the pages have in common, and what makes them harmless.

Whatever a corpus, a sample or a configuration holds is text: Jinja escapes it in the page, its `tojson` escapes it in
the data of the charts, and the page's own content security policy runs the one script written here and fetches
nothing, so that a slip in one of them still can neither run nor leak anything.
"""

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import jinja2

from textforge.errors import UserError
from textforge.report import words

TEMPLATES = Path(__file__).with_name("templates")


def environment() -> jinja2.Environment:
    """Return the templates, in which every string is escaped and made visible."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: words.visible(value) if type(value) is str else value,
    )
    found.filters |= {"number": words.number, "duration": words.duration, "language": words.language}
    return found


def policy(script: str) -> str:
    """Allow our own script by its hash, inline styles, and nothing else; Vega compiles expressions, hence the eval."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; script-src 'unsafe-eval' 'sha256-{digest}'; style-src 'unsafe-inline'; base-uri 'none'"


def write_page(out: Path, make: Callable[[], str]) -> None:
    """Make a page and write it to `out`, whole or not at all; `UserError` where no such file can be."""
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"cannot write a report to {out}: give the name of a file in a folder that exists")
    text = make()
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with partial.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
