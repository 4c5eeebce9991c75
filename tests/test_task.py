"""What a method is given to learn from, and what the user is told about it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import SENTENCES, lines

from textforge import oracles
from textforge.errors import CallError, UserError
from textforge.evaluation import ORACLE_SEED
from textforge.options import Options
from textforge.oracles.table import random_table
from textforge.task import LONGEST, ORACLE_SIZES, Task, load_task, task_from_oracle, task_from_texts
from textforge.text import Corpus, Texts


def texts_of(task: Task, corpus: Corpus) -> list[str]:
    rows = corpus.batch(np.arange(len(corpus)), None).tokens.tolist()
    return [task.tokenizer.decode(row) for row in rows]


def task_of(train: list[str], *, valid: list[str] | None = None, test: list[str] | None = None, **options: Any) -> Task:
    return task_from_texts(Texts("mine", train, valid, test), Options(**options))


# --- Text ---


def test_five_per_cent_are_held_out_and_nothing_is_lost() -> None:
    texts = [f"{sentence} {i}" for i in range(3) for sentence in SENTENCES]
    task = task_of(texts)
    train, valid = texts_of(task, task.train), texts_of(task, task.valid)
    assert len(valid) == len(texts) // 20
    assert sorted(train + valid) == sorted(texts)
    assert list(task.texts.train) == train
    assert task.texts.valid is not None
    assert list(task.texts.valid) == valid
    assert task.test is None
    assert task.oracle is None
    assert task.max_length == 8
    assert task.notes[0] == "no validation text: 5 % of the training lines are held out"
    assert texts_of(task_of(texts, seed=5), task.valid) == valid, "runs of all seeds are measured on the same lines"


def test_given_parts_are_kept_apart() -> None:
    """The vocabulary and the length are those of the training text; what does not fit is counted for each part."""
    valid, test = ["a red cat runs", "a red fish swims here"], ["a red cat runs here and there and on", "one cat"]
    task = task_of(["a red cat runs here", "a dog"], valid=valid, test=test, tokenizer="word")
    assert task.max_length == 6
    assert task.test is not None
    assert set(task.vocabulary.symbols) == {"a", "red", "cat", "runs", "here", "dog"}
    assert texts_of(task, task.valid) == ["a red cat runs", "a red <unk> <unk> here"]
    assert texts_of(task, task.test) == ["<unk> cat"]
    assert task.notes[:3] == (
        "valid: 2 of 11 tokens are unknown and become <unk>",
        "test: 1 of 2 lines are longer than 6 tokens and left out",
        "test: 1 of 3 tokens are unknown and become <unk>",
    )
    assert task.notes[3].startswith("only 2 training and 2 held-out lines: ")
    enough = task_of(SENTENCES, valid=SENTENCES[:20])
    assert not any(note.startswith("only") for note in enough.notes)


def test_held_out_text_that_stands_in_the_training_text_is_told() -> None:
    """Where somebody else held it out; what we hold out of a text repeats it as often as the text repeats itself."""
    train, seen = ["a cat  runs", "a dog runs", "a dog sits"] * 20, ["a cat runs", "a dog sits", "a cat sits"]
    valid, test = "valid: 2 of 3 lines (66.7%) stand", "test: 1 of 1 lines (100.0%) stand"
    told = [note for note in task_of(train, valid=seen, test=["a dog runs"]).notes if "not held out" in note]
    assert [note[: len(part)] for note, part in zip(told, (valid, test), strict=True)] == [valid, test]
    for others in ({}, {"valid": ["a cat sits"]}):
        assert not any("not held out" in note for note in task_of(train, **others).notes)


def test_few_lines_serve_for_both() -> None:
    task = task_of(["one line", "two lines"], tokenizer="word")
    assert texts_of(task, task.valid) == texts_of(task, task.train) == ["one line", "two lines"]
    assert task.notes == (
        "fewer than 20 lines: held-out NLL is measured on the training lines, so it cannot show over-fitting",
    )


@pytest.mark.parametrize(
    ("texts", "name"),
    [(SENTENCES, "word"), (["男人在骑马", "女人在看书"] * 20, "char"), (["CC(=O)O", "c1ccccc1"] * 20, "char")],
)
def test_tokenizer_suits_the_text(texts: list[str], name: str) -> None:
    task = task_of(texts)
    assert task.tokenizer.name == name
    assert f"tokenizer: {name} (chosen from the first lines; --tokenizer overrides)" in task.notes
    other = task_of(texts, tokenizer="char" if name == "word" else "word")
    assert other.tokenizer.name != name
    assert not any(note.startswith("tokenizer") for note in other.notes)


def test_limits_are_obeyed_and_said() -> None:
    train = ["a a a a b b c", "a b", "a a d"]
    task = task_of(train, tokenizer="word", max_length=4, min_count=2, vocab_size=2)
    assert task.vocabulary.symbols == ("a", "b")
    assert task.max_length == 4
    assert texts_of(task, task.train) == ["a b", "a a <unk>"]
    assert "train: 1 of 3 lines are longer than 4 tokens and left out" in task.notes
    assert "train: 1 of 7 tokens are unknown and become <unk>" in task.notes


@pytest.mark.parametrize(
    ("train", "settings", "reason"),
    [
        (
            ["a " * LONGEST],
            {"tokenizer": "word"},
            f"the longest training line has {LONGEST + 1:,} tokens; set --max-length",
        ),
        (["a b c"], {"max_length": 3, "tokenizer": "word"}, "train text: all 1 sequences are longer than max_length 3"),
        (["a", "b b"], {"max_length": 2, "valid": ["b b"], "tokenizer": "word"}, "valid text: all 1 sequences"),
        (["a", "b"], {"min_count": 2, "tokenizer": "word"}, "no symbol occurs at least 2 times"),
        ([], {}, "no symbol|no text"),
    ],
)
def test_text_that_cannot_be_used(train: list[str], settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        task_of(train, **settings)


def test_a_long_line_is_taken_where_it_is_wanted() -> None:
    assert task_of(["a " * LONGEST], tokenizer="word", max_length=5000).max_length == 5000
    assert task_of(["a " * (LONGEST - 1)], tokenizer="word").max_length == LONGEST


# --- Names and places ---


def plain(folder: Path) -> str:
    return str(lines(folder / "mine.txt", SENTENCES))


def zipped(folder: Path) -> str:
    path = folder / "mine.txt.gz"
    path.write_bytes(gzip.compress("".join(f"{text}\n" for text in SENTENCES).encode()))
    return str(path)


def json_lines(folder: Path) -> str:
    return str(lines(folder / "mine.jsonl", [json.dumps({"text": text, "id": 3}) for text in SENTENCES]))


def in_parts(folder: Path) -> str:
    (folder / "mine").mkdir()
    lines(folder / "mine" / "train.txt", SENTENCES)
    return str(folder / "mine")


@pytest.mark.parametrize("write", [plain, zipped, json_lines, in_parts])
def test_every_form_of_text_is_the_same_task(write: Callable[[Path], str], tmp_path: Path) -> None:
    task = load_task(Options(data=write(tmp_path)))
    assert task.texts.name == "mine"
    assert sorted([*task.texts.train, *(task.texts.valid or ())]) == sorted(SENTENCES)


def test_held_out_text_of_the_user(tmp_path: Path) -> None:
    """A file beside the data replaces the folder's own part, and nothing is taken from the training lines."""
    folder = Path(in_parts(tmp_path))
    lines(folder / "valid.txt", ["a red cat runs here"])
    lines(folder / "test.txt", ["a dog"])
    held = lines(tmp_path / "held.txt", SENTENCES[:3])
    task = load_task(Options(data=str(folder)))
    assert (len(task.train), len(task.valid), task.test is not None and len(task.test)) == (54, 1, 1)
    task = load_task(Options(data=str(folder), valid=str(held)))
    assert (len(task.train), len(task.valid)) == (54, 3)


def test_a_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "captions", SENTENCES)
    assert load_task(Options(data="captions")).oracle is None


def test_paths_are_kept_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.grammar"):
        (tmp_path / name).touch()
    options = Options(data="a.txt", valid="a.txt").anchored()
    assert (options.data, options.valid) == (str(tmp_path / "a.txt"), str(tmp_path / "a.txt"))
    assert Options(data="grammar:b.grammar").anchored().data == f"grammar:{tmp_path / 'b.grammar'}"
    for name in ("captions", "absent.txt", "lstm-oracle:absent.npz"):
        assert Options(data=name).anchored() == Options(data=name)


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({"data": "absent.txt"}, UserError, "no file, folder or corpus 'absent.txt'"),
        ({"data": "caption-small"}, UserError, "did you mean 'captions-small'"),
        ({"data": "image-coco"}, UserError, "`textforge data fetch image-coco`"),
        ({"data": "captions-tiny:x"}, UserError, "did you mean"),
        ({"data": "arithmetic", "tokenizer": "word"}, CallError, "leave out --tokenizer"),
        ({"data": "arithmetic", "max_length": 11}, CallError, "leave out --max-length"),
        ({"data": "arithmetic", "valid": "x.txt"}, CallError, "leave out --valid"),
        ({"data": "arithmetic", "min_count": 2}, CallError, "leave out --min-count"),
        ({"data": "arithmetic", "vocab_size": 2}, CallError, "leave out --vocab-size"),
    ],
)
def test_what_is_not_there(options: dict[str, Any], kind: type[UserError], reason: str) -> None:
    with pytest.raises(kind, match=reason):
        load_task(Options(**options))


def test_options_are_checked() -> None:
    for field in ("seed", "min_count", "max_length", "vocab_size"):
        with pytest.raises(CallError, match=f"--{field.replace('_', '-')} must be at least"):
            Options.of({field: -1})


# --- Oracles ---


def test_an_oracle_gives_three_parts_and_itself() -> None:
    oracle = random_table(seed=0)
    task = task_from_oracle(oracle)
    assert task.oracle is oracle
    assert task.max_length == oracle.max_length == 3
    assert task.test is not None
    assert {"train": len(task.train), "valid": len(task.valid), "test": len(task.test)} == ORACLE_SIZES
    assert list(task.texts.train) == oracle.sample(10_000, 0)
    assert list(task.texts.valid or ()) == oracle.sample(2_000, 1)
    assert list(task.texts.test or ()) == oracle.sample(10_000, 2)
    assert texts_of(task, task.train)[:50] == oracle.sample(50, 0)
    assert task.notes == ("10,000 training sequences drawn from the oracle table-0",)
    assert ORACLE_SEED not in range(len(ORACLE_SIZES)), "divergences are measured on sequences of their own"


def test_an_oracle_by_name() -> None:
    """The length that the stored config of a run repeats is the oracle's own, and no wish."""
    task = load_task(Options(data="arithmetic", max_length=12, seed=9))
    assert task.oracle is not None
    assert task.oracle.name == "arithmetic"
    assert list(task.texts.train) == oracles.load("arithmetic").sample(10_000, 0), "whatever the seed of the run"
