"""From arguments to dataclasses: wrong ones are one line each."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Sequence
from typing import TypeVar

import tyro

from textforge.errors import CallError, nearest

T = TypeVar("T")


def parse(options: type[T], arguments: Sequence[str], command: str) -> T:
    """Read arguments into a dataclass; a wrong one raises CallError, in one line, with the nearest name."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            value, unknown = tyro.cli(
                options, args=arguments, prog=f"textforge {command}", return_unknown_args=True, use_underscores=False
            )
    except SystemExit as exit_:
        if not exit_.code:
            raise
        raise CallError(f"{_condensed(said.getvalue())}; see textforge {command} --help") from None
    if unknown:
        flags = [f"--{field.replace('_', '-')}" for field in _fields(options)]
        raise CallError(f"unknown argument '{unknown[0]}'{nearest(unknown[0], flags)}; see textforge {command} --help")
    return value


def _condensed(box: str) -> str:
    """Take the reason out of the box that the parser draws around its message."""
    lines = []
    for line in box.splitlines():
        if line.startswith("│ ──"):
            break
        if line.startswith("│"):
            lines.append(line.strip("│ "))
    return " ".join(lines).rstrip(".") or " ".join(box.split())


def _fields(options: type) -> Iterator[str]:
    for field in dataclasses.fields(options):
        if dataclasses.is_dataclass(field.type):
            yield from _fields(field.type)  # type: ignore[arg-type]
        else:
            yield field.name
