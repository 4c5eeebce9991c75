"""Texts with labels: the class of each, a few words or a number, from a column, a file of its own, or a program."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from operator import index
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from textforge.errors import CallError, UserError
from textforge.text.items import Items, Table, cells, collect, is_missing
from textforge.text.reading import read_cells, read_column
from textforge.text.tables import Column

LONGEST = 200
"""Characters of a label; what is longer is a text."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that end a line or a column, or steer a terminal."""
FEW = 10
"""Texts of a label below which it is said that they tell little of it."""
SHOWN = 8
"""Labels that are named."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, which is what it iterates, and the label of each: `pairs` are (label, text)."""

    pairs: Iterable[tuple[str, str]]

    def __iter__(self) -> Iterator[str]:
        """Yield the texts alone."""
        return (text for _, text in self.pairs)


@dataclass(frozen=True)
class Records:
    """The labels and texts of a file, read anew each time and never held; what lacks either is left out.

    Labels stand in a column of the file, or one a line in a file beside it.
    """

    path: Path
    column: str
    label_column: str | None = None
    labels: Path | None = None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Open the files and yield pairs; raises UserError where nothing is left, and as `cells` does."""
        nothing = True
        for text, label in self.cells():
            if text and not text.isspace() and label is not None:
                nothing = False
                yield label, text
        if nothing:
            raise UserError(f"{self.path} holds no text with a label; give at least one")

    def num_unlabelled(self) -> int:
        """Return how many texts have no label."""
        return sum(label is None and not (text or "").isspace() and bool(text) for text, label in self.cells())

    def cells(self) -> Iterator[tuple[str | None, str | None]]:
        """Yield every text with its label, None for what is missing.

        Raises UserError for a label that is none, and for files of which one has more lines than the other.
        """
        source = self.labels or self.path
        texts = read_cells(self.path, self.column)
        column = Column(self.label_column or "", (str, int, float), "--label-column")
        labels: Iterator[object] = read_column(source, column)
        ended = object()
        for number, (text, value) in enumerate(zip_longest(texts, labels, fillvalue=ended), 1):
            if text is ended or value is ended:
                if not str((value if text is ended else text) or "").strip():
                    continue  # a blank line at the end of one of them
                short, long = (self.path, source) if text is ended else (source, self.path)
                raise UserError(
                    f"{short} ends at line {number - 1} and {long} goes on; give a label for each text on the same "
                    "line, and an empty line for a text without one"
                )
            try:
                yield (None if text is None else str(text)), as_label(value)
            except UserError as error:
                raise UserError(f"{source} line {number}: {error}") from None


def as_label(value: object) -> str | None:
    """Return how a label is written; None for a missing one. Raises UserError for what is no label."""
    if isinstance(value, str):
        label = value.strip()
        if len(label) > LONGEST or CONTROL.search(label):
            raise UserError(
                f"{label[:40]!r}... is no label: it is long, or holds a tab, a line end or the like; is it a text?"
            )
        return label or None
    if is_missing(value):
        return None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, SupportsIndex):
        return str(index(value))
    raise UserError(f"{value!r:.40} is no label; labels are classes, each a text or a whole number")


def as_labels(values: Iterable[object]) -> list[str]:
    """Return how labels are written; raises UserError for a missing one, and for what is none."""
    labels = []
    for number, value in enumerate(values, 1):
        if (label := as_label(value)) is None:
            raise UserError(f"label {number} is missing, {value!r}; give one for each text")
        labels.append(label)
    return labels


def collect_labelled(
    data: object, column: str | None, labels: object, label_column: str | None
) -> tuple[Items, Iterable[str]]:
    """Take texts of a program as `collect` does, with their labels: one for each item, or in a column as the texts are.

    Where nobody speaks of labels, there are none; elsewhere a text without one is left out. Raises UserError where they
    are more or fewer than the items, and for what is no label; CallError where both are given.
    """
    if label_column is None:
        items = collect(data, column)
        return items, items.texts if labels is None else beside(items, labels)
    if labels is not None:
        raise CallError("labels and label_column both say where labels come from; give one of them")
    if isinstance(data, Iterable) and not isinstance(data, str | Table | Mapping):
        data = list(data)  # it is gone through twice
    return (items := collect(data, column)), beside(items, list(cells(data, label_column)))


def beside(items: Items, values: object) -> LabelledTexts:
    """Return texts with their labels, of which there is one for each item, those included that are no texts."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UserError(f"labels must be a list, one for each text, not {values!r:.40}")
    labels = []
    for number, value in enumerate(values, 1):
        try:
            labels.append(as_label(value))
        except UserError as error:
            raise UserError(f"label {number}: {error}") from None
    num = len(items.texts) + items.missing + items.blank
    if len(labels) != num:
        raise UserError(
            f"there are {num:,} texts and {len(labels):,} labels; give one for each, None where it is missing"
        )
    found = [(labels[place], text) for place, text in zip(items.kept, items.texts, strict=True)]
    pairs = [(label, text) for label, text in found if label is not None]
    if not pairs:
        raise UserError("no text has a label; give some, or leave the labels out")
    return LabelledTexts(pairs)


def without_label(num: int) -> str:
    """Say how many texts are left out."""
    return f"{num:,} texts have no label and are skipped"


def described(counts: Counter[str]) -> Iterator[str]:
    """Say of the labels of the training texts what a user should know of them."""
    num = counts.total()
    most = ", ".join(f"{label!r} {count:,}" for label, count in counts.most_common(SHOWN))
    more = f" and {len(counts) - SHOWN:,} more" if len(counts) > SHOWN else ""
    yield f"labels: {most}{more}"
    if len(counts) == 1:
        yield "all texts have the same label: there is nothing to choose between; it is as if there were none"
    if len(counts) > 1 and (rare := sum(count < FEW for count in counts.values())):
        yield f"{rare:,} of {len(counts):,} labels have fewer than {FEW} texts: expect little of these"
    if len(counts) > 1 and all(map(_is_number, counts)):
        yield "all labels are numbers: each is a class of its own, and 1 is no nearer to 2 than to 9"
    if num >= 2 * FEW and 2 * len(counts) > num:
        yield (
            f"there are {len(counts):,} labels for {num:,} texts: nearly each text has its own, so nothing can be "
            "learned of a class; is it the right column?"
        )


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True
