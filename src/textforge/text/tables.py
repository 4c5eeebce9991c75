"""Cells of one column of a file of records: CSV, TSV, JSON lines, Parquet. A missing value is None."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from textforge.errors import UserError, nearest

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl", ".parquet")


@dataclass(frozen=True)
class Column:
    """A column by its name, what a cell of it may be besides missing, and the flag that names it."""

    name: str
    kinds: tuple[type, ...] = (str,)
    flag: str = "--column"


def kind(path: Path) -> str | None:
    """Return the one of `SUFFIXES` that a name ends in, a further `.gz` aside; None for plain text."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def separated_cells(lines: Iterable[str], path: Path, column: Column, delimiter: str) -> Iterator[str | None]:
    """Yield the cells of a column of CSV or TSV, whose first row has the names; a quoted cell may hold line ends.

    An empty cell is a missing value. Raises UserError for a column that is not there and for rows that do not fit.
    """
    rows = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    at = 0
    try:
        for row in rows:
            if header is None:
                header, at = row, _position(column, row, path)
            elif len(row) > len(header):
                raise UserError(
                    f"{path} line {rows.line_num} has {len(row)} cells and the first row {len(header)}; put quotes "
                    f"around cells that hold {delimiter!r}"
                )
            elif row:
                yield row[at] or None if at < len(row) else None
    except csv.Error as error:
        raise UserError(f"{path} line {rows.line_num} is no row of cells ({error}); repair its quotes") from None
    if header is None:
        raise UserError(f"{path} is empty; its first row should name the columns")


def _position(column: Column, names: list[str], path: Path) -> int:
    if names.count(column.name) != 1:
        wrong = "more than one" if column.name in names else "no"
        listed = ", ".join(map(repr, names))
        raise UserError(
            f"{path} has {wrong} column '{column.name}'; it has {listed}; name one with "
            f"{column.flag}{nearest(column.name, names)}"
        )
    return names.index(column.name)


def json_cells(lines: Iterable[str], path: Path, column: Column) -> Iterator[Any]:
    """Yield a field of each JSON object; null is a missing value. Raises UserError for an object without the field."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} line {number} is not JSON ({error}); put one JSON object on each line") from None
        value = record.get(column.name, ...) if isinstance(record, dict) else ...
        if value is not None and not isinstance(value, column.kinds):
            example = json.dumps({column.name: "a man"}, ensure_ascii=False)
            raise UserError(f'{path} line {number} has no "{column.name}"; each line is an object such as {example}')
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{path} line {number} holds half a surrogate pair ({error}); repair the escape") from None
        yield value


def parquet_cells(file: BufferedIOBase, path: Path, column: Column) -> Iterator[Any]:
    """Yield the values of a column; raises UserError for one of other kinds, and where pyarrow is absent."""
    library = _pyarrow()
    try:
        table = library.parquet.ParquetFile(file)
        _position(column, table.schema_arrow.names, path)
        for batch in table.iter_batches(columns=[column.name]):
            for value in batch.column(0).to_pylist():
                if value is not None and not isinstance(value, column.kinds):
                    raise UserError(f"{path}: column '{column.name}' holds {value!r:.40}, and no text; name another")
                yield value
    except (library.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error}); write it anew") from None


def _pyarrow() -> Any:
    try:
        import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import pyarrow.parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ModuleNotFoundError:
        raise UserError("Parquet needs a library that is absent; run: pip install 'textforge[parquet]'") from None
    return pyarrow
