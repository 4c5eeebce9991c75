"""A page taken apart, as a browser would read it, and the check that nothing of it can do harm."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest

ATTACK = "</script><script>window.pwned=1</script><img src=x onerror=pwned=1>\"'><svg onload=pwned=1>{{7*7}}{%x%}]]>"
# What a browser would fetch or run, had it come in as markup.
FETCHING = frozenset(
    {"src", "srcset", "href", "data", "action", "formaction", "poster", "background", "ping", "srcdoc"}
)


@dataclass
class Page(HTMLParser):
    """A page taken apart: its elements, its words, its scripts."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    scripts: list[tuple[dict[str, str | None], str]] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"bdi", "span"}:
            self.texts.append(" ")
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        match self.cdata_elem:
            case "script":
                attributes, text = self.scripts[-1]
                self.scripts[-1] = attributes, text + data
            case "style":
                self.styles.append(data)
            case _:
                self.texts.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def taken_apart(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    return page


def check_harmless(parsed: Page) -> None:
    """Fail unless the only code is ours, allowed by its hash, and nothing is fetched from anywhere."""
    (policy,) = (str(meta["content"]) for meta in parsed.all("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    for attributes, text in parsed.scripts:
        if attributes == {"type": "application/json"}:
            json.loads(text, parse_constant=pytest.fail)
            assert "<" not in text
        else:
            assert attributes == {}
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
    for tag, attributes in parsed.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "svg", "video", "audio"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in FETCHING or str(value).startswith("#")
    assert not re.search(r"@import|url\(|expression\(", "".join(parsed.styles))
