"""The `.grammar` format: sentence templates with slots, read and checked.

    # a comment
    join = space                      (or `none`: every character is a symbol)
    @scene.kitchen 2                  (a scene, that is a known mode, and its weight; 1 where none is given)
      3: a {cook} stirs a {dish} .    (an alternative of weight 3; 1 where none is given)
      a {cook} washes the dishes .
    @cook
      cook
      young chef

Each slot is a choice among its alternatives in proportion to their weights; `{name}` stands for a slot; a weight and a
colon alone (`2:`) is the empty alternative. Sentences start from one of the scenes. Slots never contain themselves, so
the language is finite.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from textforge.errors import UserError, nearest

SCENE = "scene."
_JOIN = re.compile(r"join\s*=\s*(\w+)")
_SLOT = re.compile(r"@([\w.-]+)(?:\s+(\S+))?")
_WEIGHTED = re.compile(r"([-+]?[\d.]+)\s*:\s*(.*)")
_REFERENCE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Reference:
    """A place in an alternative where a slot stands."""

    slot: str


@dataclass(frozen=True)
class Alternative:
    """One of the things a slot may be: symbols (`str`) and references to other slots, in order."""

    parts: tuple[str | Reference, ...]
    weight: int
    line: int


@dataclass(frozen=True)
class Slot:
    """A weighted choice among alternatives; `weight` is that of the slot itself among the scenes."""

    name: str
    alternatives: tuple[Alternative, ...]
    weight: int
    line: int


@dataclass(frozen=True)
class Grammar:
    """A checked grammar: every reference has its slot, no slot contains itself, every slot is used."""

    origin: str
    join: Literal["space", "none"]
    slots: Mapping[str, Slot]

    @property
    def scenes(self) -> tuple[Slot, ...]:
        """The slots that are whole sentences, in the order of the file."""
        return tuple(slot for slot in self.slots.values() if slot.name.startswith(SCENE))


def parse(text: str, origin: str) -> Grammar:
    """Read a grammar; raises `UserError` with `origin` and the line for everything that is wrong with it."""
    lines = _lines(text)
    join = _join(next(lines, (1, "")), origin)
    slots: dict[str, Slot] = {}
    for number, line in lines:
        if line[0].isspace():
            if not slots:
                _refuse(origin, number, "an alternative stands before the first slot; open a slot with '@name'")
            slot = slots[next(reversed(slots))]
            alternative = _alternative(line.strip(), number, join, origin)
            slots[slot.name] = Slot(slot.name, (*slot.alternatives, alternative), slot.weight, slot.line)
        else:
            slot = _slot(line, number, origin)
            if slot.name in slots:
                _refuse(origin, number, f"slot '{slot.name}' is already defined in line {slots[slot.name].line}")
            slots[slot.name] = slot
    grammar = Grammar(origin, join, slots)
    _check_slots(grammar)
    _check_nesting(grammar)
    return grammar


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.rstrip()


def _join(first: tuple[int, str], origin: str) -> Literal["space", "none"]:
    number, line = first
    match = _JOIN.fullmatch(line)
    if match is not None and match[1] == "space":
        return "space"
    if match is not None and match[1] == "none":
        return "none"
    _refuse(origin, number, f"expected 'join = space' or 'join = none' as the first line, found '{line}'")


def _slot(line: str, number: int, origin: str) -> Slot:
    match = _SLOT.fullmatch(line)
    if match is None:
        _refuse(origin, number, f"expected '@name', '@scene.name weight' or an indented alternative, found '{line}'")
    name, weight = match[1], match[2]
    if weight is not None and not name.startswith(SCENE):
        _refuse(origin, number, f"only scenes have a weight, but slot '{name}' has '{weight}'; remove it")
    return Slot(name, (), 1 if weight is None else _weight(weight, number, origin), number)


def _alternative(line: str, number: int, join: str, origin: str) -> Alternative:
    match = _WEIGHTED.fullmatch(line)
    weight, body = (1, line) if match is None else (_weight(match[1], number, origin), match[2])
    parts: list[str | Reference] = []
    # With one group, `split` alternates between the text outside the braces and the names inside them.
    for index, piece in enumerate(_REFERENCE.split(body)):
        if index % 2:
            parts.append(Reference(piece))
        elif "{" in piece or "}" in piece:
            _refuse(origin, number, f"a brace is open or closed without its partner in '{body}'")
        elif join == "none":
            parts.extend("".join(piece.split()))
        else:
            parts.extend(piece.split())
    if join == "space" and re.search(r"\S\{|\}\S", body):
        _refuse(origin, number, f"set slots apart from words by a space in '{body}'")
    return Alternative(tuple(parts), weight, number)


def _weight(text: str, number: int, origin: str) -> int:
    if not re.fullmatch(r"[0-9]+", text) or int(text) == 0:
        _refuse(origin, number, f"a weight is a whole number of at least 1, found '{text}'")
    return int(text)


def _check_slots(grammar: Grammar) -> None:
    if not grammar.scenes:
        _refuse(grammar.origin, 1, f"there is no scene to start from; name a slot '{SCENE}...'")
    used = {slot.name for slot in grammar.scenes}
    for slot in grammar.slots.values():
        if not slot.alternatives:
            _refuse(grammar.origin, slot.line, f"slot '{slot.name}' has no alternatives; indent them below its name")
        seen: dict[tuple[str | Reference, ...], int] = {}
        for alternative in slot.alternatives:
            if alternative.parts in seen:
                first = seen[alternative.parts]
                _refuse(grammar.origin, alternative.line, f"same alternative as line {first}; give that one a weight")
            seen[alternative.parts] = alternative.line
            for name in references(alternative.parts):
                used.add(name)
                if name not in grammar.slots:
                    hint = nearest(name, grammar.slots)
                    _refuse(grammar.origin, alternative.line, f"there is no slot '{name}'{hint}")
    for slot in grammar.slots.values():
        if slot.name not in used:
            _refuse(grammar.origin, slot.line, f"slot '{slot.name}' is never used; refer to it or remove it")


def _check_nesting(grammar: Grammar) -> None:
    finished: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in finished:
            return
        for alternative in grammar.slots[name].alternatives:
            for inner in references(alternative.parts):
                if inner in (*path, name):
                    cycle = " > ".join((*path, name, inner))
                    _refuse(grammar.origin, alternative.line, f"slot '{inner}' contains itself ({cycle})")
                visit(inner, (*path, name))
        finished.add(name)

    for name in grammar.slots:
        visit(name, ())


def references(parts: Iterable[str | Reference]) -> Iterator[str]:
    """The names of the slots that stand in `parts`."""
    return (part.slot for part in parts if isinstance(part, Reference))


def _refuse(origin: str, line: int, reason: str) -> NoReturn:
    raise UserError(f"{origin}:{line}: {reason}")
