"""The site, made from the pages as they stand: `make docs`. What it shows asks no other host for anything."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.util import logging

import textforge
from textforge import methods

CONTENTS = {
    "Using": ["quickstart", "which_method", "recipes", "metrics", "comparing", "decoding", "constraints", "oracles"],
    "Methods": [f"methods/{name}" for name in methods.names()],
    "Evidence": ["survey", "survey.zh", "results", "replication", "paper_index"],
    "Developing": ["extending", "api", "README </README>", "自述 </README.zh-CN>", "/CONTRIBUTING", "/CHANGELOG"],
}
PAGES = {path.stem for path in Path(__file__).parent.glob("*.md")} - {"index"}
CONTENTS["Using"] += sorted(PAGES.difference(*CONTENTS.values()))

project = "TextForge"
version = release = textforge.__version__
root_doc = "docs/index"
include_patterns = ["docs/**", "README*.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = [".*", "build", "runs", "src", "tests"]
extensions = ["myst_parser", "sphinx.ext.autodoc"]
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]  # types in signatures: of other packages, or of modules not shown here

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

default_role = "code"  # what docstrings have between backticks
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = "TextForge"
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the site's contents to its first page, which lists the pages in a table for readers without the site."""
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"


def write_math(writer: Any, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers show without a script."""
    block = isinstance(node, nodes.math_block)
    try:
        formula = str(tex2mathml(node.astext(), as_block=block))
    except MathError as error:
        logging.getLogger(__name__).warning("%s in the formula %s", error, node.astext(), location=node)
        formula = ""
    writer.body.append(f'<div class="math" style="overflow-x: auto">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def plain(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Keep the asterisks and bars of a docstring as they are: |x| is an absolute value, and no substitution."""
    lines[:] = [re.sub(r"(`[^`]*`)|([*|])", lambda found: found[1] or "\\" + found[2], line) for line in lines]


def add_start(app: Sphinx, error: Exception | None) -> None:
    """Lead from the folder of the site to its first page."""
    if error is not None:
        return
    start = f'<!doctype html><title>TextForge</title><meta http-equiv="refresh" content="0; url={root_doc}.html">\n'
    (app.outdir / "index.html").write_text(start, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Tell Sphinx of all this."""
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", plain)
    app.connect("build-finished", add_start)
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
    app.add_lexer("grammar", TextLexer)
