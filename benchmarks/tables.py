"""Tables of results in the pages of docs/."""

import re
from pathlib import Path


def replace_table(page: Path, marker: str, table: str) -> None:
    """Write a table between a page's lines <!-- MARKER --> and <!-- end of MARKER -->."""
    begin, end = f"<!-- {marker} -->", f"<!-- end of {marker} -->"
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{page} has no line {begin}; add it, and {end} below it")
    page.write_text(pattern.sub(lambda _: f"{begin}\n\n{table}\n{end}", text), encoding="utf-8")
