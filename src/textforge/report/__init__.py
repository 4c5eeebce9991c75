"""One run folder becomes one page: a single HTML file that needs no network, no server and no torch."""

from textforge.report.page import html, write

__all__ = ["html", "write"]
