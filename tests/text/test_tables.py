"""Columns of CSV, TSV, JSON lines and Parquet are read like lines of text."""

import csv
import gzip
import json
import sys
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.parquet as pq  # type: ignore[import-untyped, unused-ignore]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import CallError, UserError
from textforge.options import Options
from textforge.task import load_task
from textforge.text import read_cells, read_lines, read_texts

TEXTS = ["a man", "says, “yes”", 'quoted "so"', "two\nlines", "床前明月光", "tab\there"]
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1)


def write(path: Path, texts: list[str | None], column: str = "text") -> Path:
    """Write a table of two columns, as other programs do."""
    if path.name.endswith(".parquet"):
        pq.write_table(pa.table({"id": range(len(texts)), column: pa.array(texts, pa.string())}), path)
    elif ".jsonl" in path.name:
        path.write_text("".join(json.dumps({"id": 1, column: text}) + "\n" for text in texts))
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.writer(file, delimiter="\t" if ".tsv" in path.name else ",")
            writer.writerows([("id", column), *((i, text) for i, text in enumerate(texts))])
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("column", ["text", "评论"])
def test_every_form_of_table(name: str, column: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, [TEXTS[0], None, *TEXTS[1:], " "], column)
    assert list(read_lines(path, column)) == TEXTS
    assert list(read_texts(path, column).train) == TEXTS
    assert list(read_cells(path, column))[1] is None
    with pytest.raises(UserError, match="no"):
        list(read_lines(path, "txet"))


@given(st.lists(CELL, min_size=1))
def test_csv_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any.csv", [*texts])
    assert list(read_cells(path)) == texts


BAD = [
    ("a.csv", "id,review\n1,a\n", "has no column 'text'; it has 'id', 'review'; name one with --column"),
    ("a.csv", "id,txt\n1,a\n", "did you mean 'txt'"),
    ("a.csv", "text,text\n1,a\n", "has more than one column 'text'"),
    ("a.csv", "id,text\n1,a\n2,b, c\n", "a.csv line 3 has 3 cells and the first row 2; put quotes around cells"),
    ("a.csv", 'id,text\n1,"open\n', "a.csv line 2 is no row of cells"),
    ("a.csv", "", "is empty; its first row should name the columns"),
    ("a.csv", "id,text\n1,\n", "holds no text"),
    ("a.tsv", "id,text\n1,a\n", "has no column 'text'; it has 'id,text'"),
    ("a.parquet", "no parquet", "cannot be read as Parquet"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD)
def test_bad_tables_are_named_with_their_line(name: str, content: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError) as error:
        list(read_lines(path))
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_short_row_has_a_missing_cell(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n1,a\n\n2\n3,b\n")
    assert list(read_cells(path)) == ["a", None, "b"]


def test_a_column_of_numbers_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ["a"])
    with pytest.raises(UserError, match="column 'id' holds 0, and no text; name another"):
        list(read_lines(path, "id"))


def test_what_parquet_needs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", ["a"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'textforge\[parquet\]'"):
        list(read_lines(path))


def test_missing_text_is_counted_and_said(tmp_path: Path) -> None:
    texts = [f"a cat runs {i}" for i in range(30)]
    path = write(tmp_path / "a.csv", [*texts, None, None, " "], "words")
    task = load_task(Options(data=str(path), column="words"))
    assert task.notes[0] == "3 of 33 records have no text in column 'words' and are skipped"
    assert len(task.train) + len(task.valid) == 30
    held = write(tmp_path / "held.csv", [*texts[:2]], "words")
    assert len(load_task(Options(data=str(path), column="words", valid=str(held))).valid) == 2


def test_plain_text_has_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a man\n")
    with pytest.raises(
        CallError, match=r"--column words is for \.csv, \.tsv, \.jsonl, \.parquet, and .* is plain text"
    ):
        load_task(Options(data=str(path), column="words"))
    with pytest.raises(CallError, match="leave out --column"):
        load_task(Options(data="arithmetic", column="words"))


def test_parts_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ["a man"], "words")
    write(tmp_path / "valid.parquet", ["a dog"], "words")
    texts = read_texts(tmp_path, "words")
    assert list(texts.train) == ["a man"]
    assert list(texts.held_out) == ["a dog"]
