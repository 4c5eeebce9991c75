"""Every container that texts come in gives the same texts, and what cannot be meant is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pytest
import torch

from textforge.errors import CallError, UserError
from textforge.text import Tab, collect, from_dict, train
from textforge.text.items import as_text, restored

TEXTS = ["a man", "床前明月光", "a b"]
WITH_GAPS = ["a man", None, "床前明月光", "  ", "a b"]


def records() -> list[dict[str, Any]]:
    return [{"id": i, "text": text} for i, text in enumerate(WITH_GAPS)]


def frame() -> Any:
    return pd.DataFrame(records())


FORMS: dict[str, tuple[Callable[[], object], str | None]] = {
    "list": (lambda: WITH_GAPS, None),
    "tuple": (lambda: tuple(WITH_GAPS), None),
    "generator": (lambda: (text for text in WITH_GAPS), None),
    "keys": (lambda: dict.fromkeys(WITH_GAPS).keys(), None),
    "array": (lambda: np.array(WITH_GAPS, dtype=object), None),
    "series of objects": (lambda: pd.Series(WITH_GAPS, dtype=object), None),
    "series of strings": (lambda: pd.Series(WITH_GAPS, dtype="string"), None),
    "series with NaN": (lambda: pd.Series([float("nan") if t is None else t for t in WITH_GAPS], dtype=object), None),
    "series with NaT": (lambda: pd.Series([pd.NaT if t is None else t for t in WITH_GAPS], dtype=object), None),
    "frame": (frame, "text"),
    "arrow array": (lambda: pa.array(WITH_GAPS), None),
    "arrow chunks": (lambda: pa.chunked_array([WITH_GAPS[:1], WITH_GAPS[1:]]), None),
    "arrow table": (lambda: pa.Table.from_pylist(records()), "text"),
    "arrow batch": (lambda: pa.RecordBatch.from_pylist(records()), "text"),
    "records": (records, "text"),
    "stream of records": (lambda: iter(records()), "text"),
    "mapping of columns": (lambda: {"text": WITH_GAPS, "id": [1, 2]}, "text"),
}


@pytest.mark.parametrize("form", FORMS)
def test_containers(form: str) -> None:
    make, column = FORMS[form]
    items = collect(make(), column)
    assert (items.texts, items.kind, items.missing, items.blank) == (TEXTS, "texts", 1, 1)
    assert list(items.notes()) == ["1 of 5 values are missing and skipped", "1 of 5 texts are blank and skipped"]


SEQUENCES: dict[str, tuple[Callable[[], object], str, list[Any]]] = {
    "symbols": (lambda: [["heart failure", "I50"], ("A",)], "symbols", [["heart failure", "I50"], ["A"]]),
    "ids": (lambda: [[3, -1, 3], [0], []], "ids", [[3, -1, 3], [0]]),
    "unknown ids": (lambda: [[3, None]], "ids", [[3, None]]),
    "array of ids": (lambda: np.array([[1, 2], [3, 4]]), "ids", [[1, 2], [3, 4]]),
    "tensor of ids": (lambda: torch.tensor([[1, 2], [3, 4]]), "ids", [[1, 2], [3, 4]]),
    "series of lists": (lambda: pd.Series([[1, 2], None, [3]]), "ids", [[1, 2], [3]]),
    "arrow lists": (lambda: pa.array([["A", "B"], None, ["C"]]), "symbols", [["A", "B"], ["C"]]),
}


@pytest.mark.parametrize("form", SEQUENCES)
def test_lists_of_symbols_come_back_as_they_were(form: str) -> None:
    make, kind, lists = SEQUENCES[form]
    items = collect(make())
    assert items.kind == kind
    assert [restored(Tab.split(text), items.kind) for text in items.texts] == lists


@pytest.mark.parametrize(
    ("data", "column", "kind", "reason"),
    [
        ("one text", None, UserError, "not the string 'one text'"),
        (5, None, UserError, "texts must be a list of strings, or of lists of symbols, not 5"),
        ([], None, UserError, "nothing to learn from: the list of texts is empty"),
        ([None, ""], None, UserError, "nothing to learn from: all 2 texts are blank or missing"),
        ([1, 2], None, UserError, "item 1: 1 is no text"),
        ([b"bytes"], None, UserError, "item 1: b'bytes' is no text"),
        (records(), None, UserError, "item 1: .* is no text; give strings, .* or records and column="),
        (records(), "txt", CallError, "no column 'txt' in this dict"),
        (["a"], "text", CallError, "no column 'text' in this str"),
        (["a", ["b"]], None, UserError, "not all of one kind: item 1 is 'a', item 2 is \\['b'\\]"),
        ([["a"], [1]], None, UserError, "not all of one kind"),
        ([["a", 1]], None, UserError, "is no list of strings or of integers"),
        ([[1.5]], None, UserError, "is no list of strings or of integers"),
        ([["a\tb"]], None, UserError, "'a\\\\tb' cannot be a symbol"),
        ([["a", ""]], None, UserError, "'' cannot be a symbol"),
    ],
)
def test_what_is_no_list_of_texts(data: object, column: str | None, kind: type[UserError], reason: str) -> None:
    with pytest.raises(kind, match=reason):
        collect(data, column)


@pytest.mark.parametrize("make", [frame, lambda: pa.Table.from_pylist(records()), lambda: {"text": ["a"]}])
def test_a_table_without_a_column_is_not_taken_for_its_names(make: Callable[[], object]) -> None:
    with pytest.raises(CallError, match=r"has columns; say which holds the text: column=\.\.\."):
        collect(make())
    with pytest.raises(CallError, match="no column 'txt'"):
        collect(make(), "txt")


def test_symbols_between_tabs() -> None:
    """The tokenizer of lists: nothing is lost on the way to the disk and back, spaces in symbols neither."""
    lists = [["heart failure", "I50"], ["I50", "I50"]]
    tokenizer = train("tab", [as_text(symbols)[0] for symbols in lists])
    assert isinstance(tokenizer, Tab)
    assert set(tokenizer.vocabulary.symbols) == {"heart failure", "I50"}
    for text in ("heart failure\tI50", "I50"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("") == []
    for kind in ("texts", "symbols", "ids"):
        assert from_dict(Tab(tokenizer.vocabulary, kind).to_dict()) == Tab(tokenizer.vocabulary, kind)
    with pytest.raises(UserError, match="not one of ours"):
        from_dict({**tokenizer.to_dict(), "kind": "floats"})
