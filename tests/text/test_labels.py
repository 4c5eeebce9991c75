"""Labels: where they come from, what is said of them, and how they stand in front of texts."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import pytest

from textforge.errors import CallError, UserError
from textforge.options import Options
from textforge.task import load_task, task_from_texts
from textforge.text import Labelled, LabelledTexts, Texts, encode, from_dict, plain, split_valid, tokenizers
from textforge.text.labels import as_label, collect_labelled, described
from textforge.text.tokenizer_json import from_json, kind_of, special_ids, to_json

TEXTS = ["a red cat", "the dog", "a cat runs", "the red dog"] * 10
LABELS = ["cat", "dog", "cat", "dog"] * 10
PAIRS = list(zip(LABELS, TEXTS, strict=True))
NAMES = ("word", "char", "bpe", "tab")


def labelled(name: str = "word", labels: tuple[str, ...] = ("dog", "cat")) -> Labelled:
    return Labelled(tokenizers.train(name, TEXTS), labels)


@pytest.mark.parametrize("name", NAMES)
def test_a_label_stands_in_front_of_the_text_and_nowhere_in_it(name: str) -> None:
    tokenizer = labelled(name)
    vocabulary, inner = tokenizer.vocabulary, tokenizer.inner.vocabulary
    assert vocabulary.symbols[: len(inner.symbols)] == inner.symbols
    assert [vocabulary.symbols[id_] for id_ in vocabulary.labels] == ["\tdog", "\tcat"]
    for text in TEXTS[:4]:
        ids = tokenizer.encode(text)
        assert tokenizer.encode_pair("cat", text) == [vocabulary.labels[1], *ids]
        assert tokenizer.decode(ids) == text == tokenizer.decode(tokenizer.encode_pair("dog", text))
        assert tokenizer.split(text) == tokenizer.inner.split(text)
    everything = [*vocabulary.labels, *tokenizer.encode("a red cat"), *vocabulary.labels]
    assert tokenizer.decode(everything) == "a red cat", "a label is no text, wherever it stands"
    assert tokenizer.label_of(everything) == "dog"
    assert tokenizer.label_of(tokenizer.encode("a cat")) is None


@pytest.mark.parametrize("name", NAMES)
def test_special_ids_mean_the_same_to_both(name: str) -> None:
    """What is unknown, masked or ended is so behind labels as well."""
    tokenizer = labelled(name)
    ours, theirs = tokenizer.vocabulary, tokenizer.inner.vocabulary
    known = tokenizer.encode("the dog")
    assert ours.eos is not None
    assert tokenizer.decode([*known, ours.eos, *known]) == "the dog"
    assert tokenizer.decode([ours.mask]) == tokenizer.inner.decode([theirs.mask])
    if ours.unk is not None:
        assert theirs.unk is not None
        assert tokenizer.encode("€") == [ours.unk]
        assert tokenizer.decode([ours.unk]) == tokenizer.inner.decode([theirs.unk])


@pytest.mark.parametrize("name", NAMES)
def test_text_that_looks_like_a_label_is_text(name: str) -> None:
    """No text has the symbol of a label, whatever stands in it."""
    texts = ["\tdog", "\tdog\tcat", "dog", "dog cat"]
    tokenizer = Labelled(tokenizers.train(name, texts), ("dog", "cat"))
    for text in texts:
        assert not {*tokenizer.encode(text)} & {*tokenizer.vocabulary.labels}


@pytest.mark.parametrize("name", NAMES)
def test_tokenizer_comes_back(name: str) -> None:
    tokenizer = labelled(name)
    assert from_dict(json.loads(json.dumps(tokenizer.to_dict()))) == tokenizer
    again = from_json(to_json(tokenizer), kind_of(tokenizer), special_ids(tokenizer.vocabulary))
    assert again.vocabulary == tokenizer.vocabulary
    assert again.encode("a red dog") == tokenizer.encode("a red dog")
    assert isinstance(again, Labelled)
    assert again.labels == tokenizer.labels
    assert plain(again) is again.inner


def test_unknown_labels_are_named() -> None:
    with pytest.raises(UserError, match="no label 'dgo'; there are 'dog', 'cat'; did you mean 'dog'"):
        labelled().label_id("dgo")
    assert labelled(labels=("1", "0")).label_id(np.int64(0)) == labelled().label_id("cat")


@pytest.mark.parametrize(
    ("value", "label"),
    [
        *[(" dog ", "dog"), ("a b", "a b"), ("007", "007"), (np.str_("x"), "x")],
        *[(3, "3"), (np.int64(3), "3"), (3.0, "3"), (True, "True"), (np.bool_(False), "False")],
        *[("", None), (" ", None), (None, None), (np.nan, None), (pd.NA, None)],
    ],
)
def test_labels_are_written_as_they_look(value: object, label: str | None) -> None:
    assert as_label(value) == label


@pytest.mark.parametrize(
    "value", [0.5, "a\tb", "a\nb", "a\rb", "a\x1b[2Jb", "a\x85b", "a\u2028b", "x" * 201, ["dog"], b"dog", float("inf")]
)
def test_what_is_no_label(value: object) -> None:
    with pytest.raises(UserError, match="is no label"):
        as_label(value)


def test_a_label_stays_with_its_text_when_text_is_held_out() -> None:
    pairs = [(f"class {i % 7}", f"text {i}") for i in range(200)]
    split = split_valid(LabelledTexts(pairs), seed=0)
    assert isinstance(split.train, LabelledTexts)
    assert isinstance(split.valid, LabelledTexts)
    train, valid = list(split.train.pairs), list(split.valid.pairs)
    assert (len(train), len(valid)) == (190, 10)
    assert sorted(train + valid) == sorted(pairs)
    assert list(split.valid) == [text for _, text in valid]
    assert list(split.valid) == list(split_valid([text for _, text in pairs], seed=0).valid), "the same as without"


def test_corpus_has_labels_and_can_be_rid_of_them() -> None:
    tokenizer = labelled()
    corpus, counts = encode(LabelledTexts(PAIRS), tokenizer, max_length=5)
    alone, _ = encode(TEXTS, tokenizer, max_length=5)
    assert corpus.labelled.all()
    assert not alone.labelled.any()
    assert counts.longest == 5, "a label counts as a token"
    assert (corpus.lengths - 1 == alone.lengths).all()
    bare = corpus.bare()
    assert (bare.flat == alone.flat).all()
    assert (bare.offsets == alone.offsets).all()
    _, short = encode(LabelledTexts(PAIRS), tokenizer, max_length=4)
    assert short.too_long == 30


def table(path: Path, suffix: str) -> Path:
    """Two columns in a file of some kind; one label and one text are missing."""
    texts: list[str | None] = [*TEXTS, None, "the end"]
    labels: list[str | None] = [*LABELS, "cat", None]
    rows = list(zip(texts, labels, strict=True))
    file = path / f"reviews{suffix}"
    if suffix == ".jsonl":
        file.write_text("".join(json.dumps({"text": t, "kind": label}) + "\n" for t, label in rows))
    elif suffix == ".parquet":
        pd.DataFrame(rows, columns=["text", "kind"]).to_parquet(file)
    else:
        pd.DataFrame(rows, columns=["text", "kind"]).to_csv(file, sep="," if suffix == ".csv" else "\t", index=False)
    return file


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_labels_of_tables(suffix: str, tmp_path: Path) -> None:
    task = load_task(Options(data=str(table(tmp_path, suffix)), label_column="kind"))
    assert isinstance(task.tokenizer, Labelled)
    assert task.tokenizer.labels == ("cat", "dog")
    assert isinstance(task.texts.train, LabelledTexts)
    assert Counter(task.texts.train.pairs) + Counter(task.texts.valid.pairs) == Counter(PAIRS)  # type: ignore[union-attr]
    assert "1 texts have no label and are skipped" in task.notes
    assert "labels: 'cat' 20, 'dog' 20" in task.notes
    assert task.train.labelled.all()
    assert task.valid.labelled.all()


def test_labels_of_a_file_beside_plain_text(tmp_path: Path) -> None:
    """Line by line, blank ones as well; a blank line at the end of either is none."""
    (tmp_path / "a.txt").write_text("one\n\ntwo\nthree\n")
    (tmp_path / "b.txt").write_text("x\ny\n\nz\n\n")
    task = load_task(Options(data=str(tmp_path / "a.txt"), labels=str(tmp_path / "b.txt")))
    assert isinstance(task.texts.train, LabelledTexts)
    assert list(task.texts.train.pairs) == [("x", "one"), ("z", "three")]
    (tmp_path / "b.txt").write_text("x\ny\n\n")
    with pytest.raises(UserError, match=r"b.txt ends at line 3 and .*a.txt goes on"):
        load_task(Options(data=str(tmp_path / "a.txt"), labels=str(tmp_path / "b.txt")))


def test_parts_of_a_folder(tmp_path: Path) -> None:
    rows = "text,kind\n" + "".join(f"a {kind} {i},{kind}\n" for i in range(30) for kind in ("cat", "dog"))
    (tmp_path / "train.csv").write_text(rows)
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": "a cat 3", "kind": "cat"}) + "\n")
    (tmp_path / "valid.tsv").write_text("kind\ttext\ndog\ta dog 4\n")
    task = load_task(Options(data=str(tmp_path), label_column="kind"))
    assert task.test is not None
    assert [len(task.train), len(task.valid), len(task.test)] == [60, 1, 1]
    assert task.tokenizer.decode(task.valid.flat.tolist()) == "a dog 4"
    (tmp_path / "valid.tsv").write_text("kind\ttext\ncow\ta dog 4\n")
    with pytest.raises(UserError, match="valid text: text 1: there is no label 'cow'; there are 'cat', 'dog'"):
        load_task(Options(data=str(tmp_path), label_column="kind"))


WRONG: list[tuple[Callable[[Path], Options], str]] = [
    (lambda at: Options(data=str(table(at, ".csv")), label_column="knd"), "no column 'knd'.*with --label-column"),
    (lambda at: Options(data=str(at / "a.txt"), label_column="kind"), "is plain text; give its labels .* by --labels"),
    (lambda at: Options(data=str(table(at, ".csv")), labels=str(at / "a.txt")), "name the --label-column"),
    (lambda at: Options(data=str(at / "a.txt"), labels=str(table(at, ".csv"))), "name the --label-column"),
    (lambda at: Options(data=str(at / "a.txt"), labels=str(at / "none")), "there is no file .*none"),
    (lambda at: Options(data=str(at / "a.txt"), labels=str(at / "blank.txt")), "holds no text with a label"),
    (lambda at: Options(data="captions", label_column="kind"), "leave out --label-column"),
    (lambda at: Options(data="x", labels="y", label_column="z"), "give one of them"),
    (lambda at: Options(data="x", labels="y", valid="z"), "--labels has none for --valid"),
]


@pytest.mark.parametrize(("options", "reason"), WRONG)
def test_labels_in_the_wrong_place(options: Callable[[Path], Options], reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "blank.txt").write_text("\n\n")
    with pytest.raises((UserError, CallError), match=reason) as error:
        load_task(options(tmp_path))
    assert "\n" not in str(error.value)


FORMS: list[Callable[[list[str | None], list[str | None]], tuple[Any, dict[str, Any]]]] = [
    lambda texts, labels: (texts, {"labels": labels}),
    lambda texts, labels: (pd.Series(texts), {"labels": pd.Series(labels)}),
    lambda texts, labels: (pd.DataFrame({"t": texts, "l": labels}), {"column": "t", "label_column": "l"}),
    lambda texts, labels: (
        ({"t": text, "l": label} for text, label in zip(texts, labels, strict=True)),
        {"column": "t", "label_column": "l"},
    ),
    lambda texts, labels: ({"t": texts, "l": labels}, {"column": "t", "label_column": "l"}),
]


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_a_program_stay_beside_their_texts(form: Callable[..., tuple[Any, dict[str, Any]]]) -> None:
    data, settings = form(["a", None, "b", " ", "c"], ["x", "y", None, "x", "z"])
    items, lines = collect_labelled(data, **{"column": None, "labels": None, "label_column": None, **settings})
    assert isinstance(lines, LabelledTexts)
    assert list(lines.pairs) == [("x", "a"), ("z", "c")]
    assert (items.missing, items.blank, len(items.texts)) == (1, 1, 3)


@pytest.mark.parametrize(
    ("labels", "column", "reason"),
    [
        (["x"], None, "there are 2 texts and 1 labels; give one for each"),
        ("xy", None, "labels must be a list, one for each text, not 'xy'"),
        (7, None, "labels must be a list"),
        ([None, ""], None, "no text has a label"),
        ([0.5, 1], None, "label 1: 0.5 is no label"),
        (["x", "y"], "kind", "give one of them"),
        (None, "kind", "there is no column 'kind'"),
    ],
)
def test_wrong_labels_of_a_program(labels: object, column: str | None, reason: str) -> None:
    with pytest.raises((UserError, CallError), match=reason):
        collect_labelled(["a", "b"], None, labels, column)


def test_what_is_said_of_labels() -> None:
    assert list(described(Counter(a=20, b=10))) == ["labels: 'a' 20, 'b' 10"]
    assert any("nothing to choose between" in note for note in described(Counter(a=20)))
    assert any("1 of 2 labels have fewer than 10 texts" in note for note in described(Counter(a=20, b=9)))
    assert any("all labels are numbers" in note for note in described(Counter({"1": 20, "-2.5": 20})))
    many = list(described(Counter({f"class {i}": 12 for i in range(300)})))
    assert many == ["labels: " + ", ".join(f"'class {i}' 12" for i in range(8)) + " and 292 more"]
    assert any("is it the right column" in note for note in described(Counter({f"text {i}": 1 for i in range(30)})))


def test_labels_that_only_held_out_text_has_are_known() -> None:
    """Which text is held out is chance; a label that went with it is still a label."""
    pairs = [(f"class {i}", f"text {i}") for i in range(40)]
    task = task_from_texts(Texts("mine", LabelledTexts(pairs)), Options())
    assert isinstance(task.tokenizer, Labelled)
    assert len(task.tokenizer.labels) == 40
    assert len(task.train) + len(task.valid) == 40
