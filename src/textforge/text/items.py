r"""What a program hands over, in whatever container, as texts: a list of symbols is a text with tabs between them."""

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, SupportsIndex, runtime_checkable

from textforge.errors import CallError, UserError
from textforge.text.vocabulary import UNKNOWN_TEXT

Kind = Literal["texts", "symbols", "ids"]
"""What the items are: strings, lists of strings, or lists of integers."""
Text = str | Sequence[str] | Sequence[int | None]
SEPARATOR = "\t"


@runtime_checkable
class Table(Protocol):
    """A table in memory, such as a DataFrame of pandas or polars or a table of pyarrow."""

    @property
    def columns(self) -> Any:
        """The columns, or their names."""

    def __getitem__(self, column: str, /) -> Any:
        """Return a column."""


@runtime_checkable
class ArrowScalar(Protocol):
    """A value that pyarrow wraps."""

    def as_py(self) -> object:
        """Return it as Python knows it."""


@dataclass(frozen=True)
class Items:
    """Texts of one kind; `missing` and `blank` count the items that are left out because nothing stands in them."""

    texts: list[str]
    kind: Kind
    missing: int = 0
    blank: int = 0
    kept: tuple[int, ...] = ()
    """The places of the texts among all items."""

    def notes(self) -> Iterator[str]:
        """Say what was left out."""
        num = len(self.texts) + self.missing + self.blank
        if self.missing:
            yield f"{self.missing:,} of {num:,} values are missing and skipped"
        if self.blank:
            yield f"{self.blank:,} of {num:,} texts are blank and skipped"


def collect(data: object, column: str | None = None) -> Items:
    """Take a column of a table, a field of records, or whatever else can be iterated, as texts.

    Each item is a string, or a list of strings or of integers; None, NaN and what else stands for a missing value is
    left out. Raises UserError for items of other or of several kinds and where no item is left.
    """
    texts: list[str] = []
    kept: list[int] = []
    kinds = dict[Kind, str]()  # each with its first item
    missing = blank = 0
    for number, value in enumerate(cells(data, column), 1):
        if is_missing(value):
            missing += 1
            continue
        try:
            text, kind = as_text(value)
        except UserError as error:
            raise UserError(f"item {number}: {error}") from None
        if not text.strip():
            blank += 1
            continue
        texts.append(text)
        kept.append(number - 1)
        if kind not in kinds:
            kinds[kind] = f"item {number} is {value!r:.40}"
    if len(kinds) > 1:
        raise UserError(f"the items are not all of one kind: {', '.join(kinds.values())}; give one kind alone")
    if not texts:
        num = missing + blank
        reason = f"all {num} texts are blank or missing" if num else "the list of texts is empty"
        raise UserError(f"there is nothing to learn from: {reason}; give some text")
    return Items(texts, next(iter(kinds)), missing, blank, tuple(kept))


def cells(data: object, column: str | None) -> Iterator[object]:
    """Yield the values of a column of a table, a field of records, or whatever else can be iterated, missing or not."""
    for item in _iterate(data, column):
        yield item.as_py() if isinstance(item, ArrowScalar) else item


def _iterate(data: object, column: str | None) -> Iterator[object]:
    require_many(data)
    if isinstance(data, Table | Mapping):
        if column is None:
            raise CallError(f"{_named(data)} has columns; say which holds the text: column=...")
        yield from _iterate(_cell(data, column), None)
        return
    if not isinstance(data, Iterable):
        raise UserError(f"texts must be a list of strings, or of lists of symbols, not {data!r:.40}")
    for item in data:
        yield item if column is None else _cell(item, column)


def _cell(record: Any, column: str) -> object:
    try:
        return record[column]
    except (KeyError, TypeError, IndexError):
        raise CallError(f"there is no column {column!r} in {_named(record)}; see its names") from None


def _named(data: object) -> str:
    return f"this {type(data).__name__}"


def require_many(texts: object) -> None:
    """Refuse a single string, which would be taken for the texts of its characters."""
    if isinstance(texts, str):
        raise UserError(f"texts must be a list of strings, not the string {texts[:40]!r}; a file is given as data=")


def is_missing(value: object) -> bool:
    """Tell whether a value stands for none: None itself, or one that does not equal itself, such as NaN."""
    if value is None:
        return True
    if isinstance(value, Iterable):
        return False
    try:
        return bool(value != value)
    except TypeError:  # the NA of pandas: whether it equals itself is missing, too
        return True


def as_text(item: object) -> tuple[str, Kind]:
    """Return an item as a text, and its kind. Raises UserError for what is no text and no list of symbols."""
    if isinstance(item, str):
        return str(item), "texts"
    if isinstance(item, bytes | Mapping) or not isinstance(item, Iterable):
        raise UserError(f"{item!r:.40} is no text; give strings, or lists of symbols, or records and column=...")
    symbols = list(item)
    if all(isinstance(symbol, str) for symbol in symbols):
        for symbol in symbols:
            if not symbol or symbol.isspace() or SEPARATOR in symbol or "\n" in symbol:
                raise UserError(f"{symbol!r} cannot be a symbol: it is blank, or holds a tab or a line end; replace it")
        return SEPARATOR.join(symbols), "symbols"
    try:
        return SEPARATOR.join(map(_digits, symbols)), "ids"
    except TypeError:
        raise UserError(f"{symbols!r:.40} is no list of strings or of integers; give one of the two") from None


def _digits(symbol: SupportsIndex | None) -> str:
    return UNKNOWN_TEXT if symbol is None else str(operator.index(symbol))


def restored(symbols: Sequence[str], kind: Kind) -> list[str] | list[int | None]:
    """Return symbols as they were before they were spelled; of integers, an unknown one is None."""
    if kind == "ids":
        return [None if symbol == UNKNOWN_TEXT else int(symbol) for symbol in symbols]
    return list(symbols)
