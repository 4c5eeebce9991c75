"""The pages of the project, and what stands in them, for the tests of pages."""

import itertools
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS]

Cells = list[Token]  # the cells of one row of a table, or the one cell of a heading


@cache
def parsed(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text(encoding="utf-8"))


def headings(page: str) -> list[tuple[str, Token]]:
    """The level (h1, h2, ...) and the text of each heading."""
    tokens = parsed(page)
    return [(token.tag, tokens[i + 1]) for i, token in enumerate(tokens) if token.type == "heading_open"]


def code_blocks(page: str) -> list[tuple[str, str]]:
    """The language ("" where none is given) and the text of each block of code."""
    return [(token.info, token.content) for token in parsed(page) if token.type in {"fence", "code_block"}]


def spans(token: Token) -> list[str]:
    """What stands between backticks."""
    return [child.content for child in token.children or () if child.type == "code_inline"]


def inline_code(page: str) -> list[str]:
    return [span for token in parsed(page) if token.type == "inline" for span in spans(token)]


def links(page: str) -> list[str]:
    children = itertools.chain.from_iterable(token.children or () for token in parsed(page) if token.type == "inline")
    return [str(child.attrs["href"]) for child in children if child.type == "link_open"]


def rows(page: str, heading: str | None = None) -> Iterator[tuple[Cells, Cells]]:
    """The header and the cells of each row of all tables, or of those below one heading."""
    here, in_header, header, row = heading is None, False, Cells(), Cells()
    tokens = parsed(page)
    for i, token in enumerate(tokens):
        match token.type:
            case "heading_open" if heading is not None:
                here = tokens[i + 1].content == heading
            case "tr_open":
                row = []
            case "th_open" | "td_open":
                row.append(tokens[i + 1])
                in_header = token.type == "th_open"
            case "tr_close" if in_header:
                header = row
            case "tr_close" if here:
                yield header, row


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
