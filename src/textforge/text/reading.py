"""Files line by line, or cell by cell: plain text, and records by `tables`; compressed or not, always UTF-8."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from textforge.errors import UserError
from textforge.text import tables
from textforge.text.tables import Column

# Bytes looked at to tell a binary file from text with a broken character.
SNIFFED = 2**16
TEXT_COLUMN = "text"


def read_lines(path: str | Path, column: str = TEXT_COLUMN) -> Iterator[str]:
    """Yield the lines of a text file that are not blank, one at a time.

    Of records (`.csv`, `.tsv`, `.parquet`, and `.jsonl` with a JSON object per line) they are the texts of a column; a
    further `.gz` is decompressed. Text is UTF-8 and only a line feed ends a line; a byte-order mark and the carriage
    return before a line feed are dropped. Raises UserError, while iterating, that names the file and the line at fault.
    """
    blank = True
    for text in read_cells(path, column):
        if text and not text.isspace():
            blank = False
            yield text
    if blank:
        raise UserError(f"{path} holds no text; give a file with at least one line that is not blank")


def read_cells(path: str | Path, column: str = TEXT_COLUMN) -> Iterator[str | None]:
    """Yield what `read_lines` does, with blank texts and, as None, missing ones of records."""
    return read_column(path, Column(column))


def read_column(path: str | Path, column: Column) -> Iterator[Any]:
    """Yield the cells of a column, of the kinds that it may have, or the lines of plain text."""
    path = Path(path)
    kind = tables.kind(path)
    with _opened(path) as file:
        if kind == ".parquet":
            yield from tables.parquet_cells(file, path, column)
            return
        lines = (
            _decoded(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, path, number, file)
            for number, line in enumerate(file, 1)
        )
        if kind == ".jsonl":
            yield from tables.json_cells(lines, path, column)
        elif kind is not None:
            yield from tables.separated_cells(lines, path, column, tables.DELIMITERS[kind])
        else:
            yield from lines


@contextmanager
def _opened(path: Path) -> Iterator[BufferedIOBase]:
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged or no gzip file ({error}); compress or fetch it again") from None
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; check the path") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder where a text file is needed; name a file in it") from None
    except PermissionError:
        raise UserError(f"{path} may not be read by this user; change its permissions") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the disk") from None


def _decoded(line: bytes, path: Path, number: int, rest: BufferedIOBase) -> str:
    try:
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        seen = line + rest.read(SNIFFED)
        if b"\0" not in seen and 5 * seen.decode(errors="replace").count("\ufffd") <= len(seen):
            fault = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
            raise UserError(f"{path} line {number} is not UTF-8 ({fault}); save the file as UTF-8") from None
    else:
        if "\0" not in text:
            return text
    raise UserError(f"{path} line {number} looks binary or is in another encoding; give a text file in UTF-8")
