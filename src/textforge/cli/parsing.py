"""From arguments to dataclasses: wrong ones are one line each."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from typing import TypeVar, get_type_hints

import tyro
from tyro.conf import DisallowNone
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from textforge.errors import CallError, nearest

T = TypeVar("T")


_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _none(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[None] | None:
    """Let None stand in the help as it is written; the parser's own rule puts braces around it."""
    if info.type is not type(None):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="None",
        choices=("None",),
        instance_from_str=lambda _: None,
        is_instance=lambda value: value is None,
        str_from_instance=lambda _: ["None"],
    )


def parse(options: type[T], arguments: Sequence[str], command: str) -> T:
    """Read arguments into a dataclass; a wrong one raises CallError, in one line, with the nearest name.

    None stands for a flag that is not given, and cannot be written; of nested dataclasses each says so itself.
    """
    said = io.StringIO()
    nested = any(map(dataclasses.is_dataclass, get_type_hints(options).values()))
    try:
        with contextlib.redirect_stderr(said):
            value, unknown = tyro.cli(
                options,
                args=arguments,
                prog=f"textforge {command}",
                return_unknown_args=True,
                use_underscores=False,
                config=() if nested else (DisallowNone,),
                registry=_REGISTRY,
            )
    except SystemExit as exit_:
        if not exit_.code:
            raise
        raise CallError(f"{_condensed(said.getvalue())}; see textforge {command} --help") from None
    if unknown:
        flags = [f"--{field.replace('_', '-')}" for field in _fields(options)]
        raise CallError(f"unknown argument '{unknown[0]}'{nearest(unknown[0], flags)}; see textforge {command} --help")
    return value


_RULE = re.compile(r"^(?:╭.*|[│ ]*[─-]{5,}[│ ]*|╰.*)$", re.MULTILINE)


def _condensed(box: str) -> str:
    """Take the reason out of the box that the parser draws around its message, in either of its two styles."""
    _, reason, *_ = _RULE.split(box)
    reason = " ".join(reason.replace("│", " ").split()).rstrip(".")
    if wrong := re.match(r"Error parsing (-\S+): [^'[]*(?:\[('[^']*')\]|('[^']*'|\[[^]]*\]))", reason):
        return f"{wrong[1]} cannot be {wrong[2] or wrong[3]}"
    return re.sub(r"^Error parsing \w*: ", "", reason)


def _fields(options: type) -> Iterator[str]:
    for name, kind in get_type_hints(options).items():
        if dataclasses.is_dataclass(kind):
            assert isinstance(kind, type)
            yield from _fields(kind)
        else:
            yield name
