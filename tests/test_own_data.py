"""Small data of one's own, end to end: lists, scripts without spaces, molecules, DNA, event codes, sixty lines."""

import csv
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import ROOT, SENTENCES, call, lines

import textforge
from textforge.errors import CallError, UserError

CHINESE = [f"{a}{b}{c}。" for a in "春秋" for b in ("风起", "雨来", "月明") for c in ("燕飞", "人归", "鸟啼")]
MOLECULES = [f"{a}{b}C(=O){c}" for a in ("C", "CC", "c1ccccc1") for b in ("C", "N", "CO") for c in "ON"]
DNA = ["".join(four) * 3 for four in itertools.product("AC", "GT", "AT", "CG")]
VISITS = [["admitted", cause, code] for cause in ("heart failure", "hip fracture") for code in ("I50", "S72")] * 6
TRAINED: dict[str, Any] = {"method": "mle", "preset": "tiny"}


@pytest.mark.parametrize(
    ("texts", "longest"), [(CHINESE, 6), (MOLECULES, 16), (DNA, 12)], ids=["Chinese", "SMILES", "DNA"]
)
def test_text_without_spaces_goes_by_character(texts: list[str], longest: int, tmp_path: Path) -> None:
    """From a list and from a file alike, and samples are made of the characters that were there."""
    model = textforge.fit(texts, **TRAINED)
    assert model.tokenizer.name == "char"
    assert model.settings["max_length"] == longest + 1
    assert {*"".join(model.sample(20, seed=0))} <= {*"".join(texts), "\ufffd"}
    assert np.isfinite(model.log_prob(texts)).all()
    filed = textforge.fit(data=lines(tmp_path / "own.txt", texts), **TRAINED)
    assert isinstance(filed, textforge.Model)
    assert filed.sample(20, seed=0) == model.sample(20, seed=0)


def test_lists_of_symbols(tmp_path: Path) -> None:
    """They come back as lists, from the disk as well; a symbol may hold a space, and a blank is filled in."""
    model = textforge.fit(VISITS, out=tmp_path / "run", **TRAINED)
    samples = model.sample(20, seed=0)
    assert {symbol for sample in samples for symbol in sample} <= {*itertools.chain(*VISITS), "<unk>"}
    assert model.settings["max_length"] == 4
    loaded = textforge.load(tmp_path / "run")
    assert isinstance(loaded, textforge.Model)
    assert loaded.sample(20, seed=0) == samples
    assert loaded.log_prob(VISITS).tolist() == model.log_prob(["\t".join(visit) for visit in VISITS]).tolist()
    assert loaded.num_tokens(VISITS[:1]) == [4]
    (filled,) = loaded.infill(["admitted", "___", "I50"], seed=0)
    assert (len(filled), filled[0]) == (3, "admitted")
    said = call("sample", tmp_path / "run", "-n", 2, "--seed", 0)
    assert said.status == 0, "and the command line writes them with tabs between"
    assert set(said.out.replace("\n", "\t").strip().split("\t")) <= {*itertools.chain(*VISITS), "<unk>", ""}


@pytest.mark.parametrize("make", [list, np.array, lambda ids: iter([tuple(row) for row in ids])])
def test_lists_of_ids(make: Callable[[Any], Any]) -> None:
    """They come back as integers; what was left out of the vocabulary is None, and can be scored."""
    ids = [[5, 17, -3], [17, 5, 5]] * 10
    model = textforge.fit(make(ids), **TRAINED)
    found = {symbol for sample in model.sample(50, seed=0) for symbol in sample}
    assert {type(symbol) for symbol in found} <= {int, type(None)}
    assert found <= {5, 17, -3, None}
    assert np.isfinite(model.log_prob([[5, 17, 99], [5, None, -3]])).all()
    assert model.log_prob([[5, 99]]) == model.log_prob([[5, None]]), "all that is unknown is one symbol"


def test_a_list_is_no_text_and_a_text_no_list() -> None:
    with pytest.raises(UserError, match="is a list, and this model learned texts"):
        textforge.fit(SENTENCES, **TRAINED).log_prob([["a", "red"]])
    with pytest.raises(CallError, match="cut into symbols already; leave out tokenizer='word'"):
        textforge.fit(VISITS, tokenizer="word", **TRAINED)


def test_what_was_decided_stands_in_the_notes() -> None:
    model = textforge.fit([{"text": text} for text in [*SENTENCES, None, " "]], column="text", **TRAINED)
    assert model.notes[:2] == ("1 of 56 values are missing and skipped", "1 of 56 texts are blank and skipped")
    assert any(note.startswith("only 52 training and 2 held-out lines") for note in model.notes)


def test_sixty_lines_of_a_table_on_the_command_line(tmp_path: Path) -> None:
    """A cell with a line end, missing cells, a column by name; and what cannot be told from so little is said."""
    texts = [*SENTENCES, *SENTENCES[:6]]
    with (tmp_path / "notes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "note"])
        writer.writerows((i, text.replace(" ", "\n", i % 2)) for i, text in enumerate(texts))
        writer.writerows([(90, ""), (91, "  ")])
    arguments = ["--preset", "tiny", "--controls", "none", "--out", tmp_path / "run"]
    said = call("train", "--data", tmp_path / "notes.csv", "--column", "note", *arguments)
    assert said.status == 0, said.err
    notes = said.err.splitlines()
    assert notes[0] == "2 of 62 records have no text in column 'note' and are skipped"
    assert any(note.startswith("only 57 training and 3 held-out lines: expect samples that recite") for note in notes)
    assert "only 3 held-out lines: the text metrics are rough" in said.err
    assert said.out.count("\n  ") >= 10, "samples"
    assert call("evaluate", tmp_path / "run", "--json").status == 0, "and the run knows its column"
    wrong = call("train", "--data", tmp_path / "notes.csv", *arguments)
    assert wrong.status == 1
    assert "has no column 'text'; it has 'id', 'note'; name one with --column" in wrong.reason


def test_the_example_runs(tmp_path: Path) -> None:
    example = ROOT / "examples" / "own_data.py"
    done = subprocess.run(
        [sys.executable, example, "--fast"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("  (") >= 10
    assert "  nats: [" in done.stdout
    assert not any(tmp_path.iterdir()), "it leaves nothing behind"
