"""What is counted on disk is what is counted in memory, however it is cut."""

import errno
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import call

from textforge.cli import using
from textforge.errors import UserError, WorkError
from textforge.metrics import Evaluation, evaluate, streaming, tables
from textforge.metrics.audit import gram_copy
from textforge.metrics.bleu import backward_bleu, bleu, self_bleu
from textforge.metrics.copying import exact_copy
from textforge.metrics.ngrams import BUDGET, unique
from textforge.metrics.overlap import in_test, ms_jaccard
from textforge.metrics.streaming import counted, evaluate_stream
from textforge.metrics.tables import Side, join

WORDS = ["a", "b", "the", "ride", "猫", "é", "\ud83d", "<unk>", "🐎"]
CORPORA: dict[str, Callable[[random.Random], list[str]]] = {
    "words": lambda rng: [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(30)],
    "repeats": lambda rng: [rng.choice(["a a a a a a a a", "a b a b", "the the"]) for _ in range(25)],
    "empty lines": lambda rng: [" ".join(rng.choices(WORDS, k=rng.randint(0, 3))) for _ in range(25)],
    "one long line": lambda rng: ["a", " ".join(rng.choices(WORDS, k=300)), "b the", "ride"],
    "one line": lambda rng: ["the the ride"],
    "the same line": lambda rng: ["a b the ride a b"] * 30,
    "no surrogates": lambda rng: [" ".join(rng.choices(WORDS[:5], k=rng.randint(1, 9))) for _ in range(30)],
    "nothing shared": lambda rng: [f"x{i} y{i}" for i in range(rng.randint(5, 30))],
}


class Anew:
    """Texts that can only be gone through, again and again."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)


def in_memory(samples: list[str], references: list[str], train: list[str]) -> dict[str, float]:
    found = bleu(samples, references) | backward_bleu(samples, references)
    found |= self_bleu(samples) if len(samples) > 1 else {}
    found |= ms_jaccard(samples, references) | in_test(samples, references) | unique(samples)
    return found | exact_copy(samples, train) | gram_copy(samples, references, train)


@pytest.mark.parametrize("theirs", ["words", "empty lines", "nothing shared"])
@pytest.mark.parametrize("ours", CORPORA)
def test_counts_are_those_in_memory_however_texts_and_hashes_are_cut(ours: str, theirs: str) -> None:
    rng = random.Random(f"{ours} {theirs}")
    samples, references = CORPORA[ours](rng), CORPORA[theirs](rng)
    train = [*CORPORA[theirs](rng), *samples[::3]]
    known = in_memory(samples, references, train)
    for held in (9, 10**6):
        found, settings = counted(Anew(samples), Anew(references), train=Anew(train), held=held)
        assert found == pytest.approx(known, rel=1e-12), (held, settings)


def test_the_number_of_ranges_changes_not_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks stay as they are, and the rows that are read at once become few."""
    samples, references = CORPORA["words"](random.Random(0)), CORPORA["words"](random.Random(1))
    found = []
    for held in (100, 40, 7):
        monkeypatch.setattr(streaming, "join", lambda a, b, order, _, held=held: join(a, b, order, held))
        found.append(counted(samples, references, train=references[:9], held=100))
    ranges = [settings.pop("counted_in") for _, settings in found]
    assert len(set(ranges)) == 3
    assert found[0] == found[1] == found[2]


def test_all_that_is_judged_is_what_is_judged_in_memory() -> None:
    samples, references = CORPORA["words"](random.Random(2)), CORPORA["words"](random.Random(3))
    whole = evaluate(samples, references, train=references[:5])
    found = evaluate_stream(samples, references, judge, train=references[:5], held=50)
    assert found.metrics == pytest.approx(whole.metrics, rel=1e-12)
    assert found.settings.items() >= whole.settings.items()
    assert "of_first" not in found.settings


def judge(samples: list[str], references: list[str], train: list[str] | None) -> Evaluation:
    return evaluate(samples, references, train=train)


def test_what_is_of_the_first_texts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BUDGET", 10)
    samples, references = CORPORA["words"](random.Random(2)), CORPORA["words"](random.Random(3))
    found = evaluate_stream(samples, references, judge, first=8)
    part, whole = evaluate(samples[:8], references[:8]), evaluate(samples, references)
    of_first = str(found.settings["of_first"])
    assert of_first.startswith("8 texts of either side: ")
    for name, value in found.metrics.items():
        if name in of_first:
            assert value == part.metrics[name]
        elif not name.startswith("distinct_"):
            assert value == pytest.approx(whole.metrics[name], rel=1e-12)
    assert {"lm_score", "frechet", "mauve"} <= {*of_first.replace(":", ",").split(", ")}
    assert (found.settings["num_samples"], found.settings["num_references"]) == (len(samples), len(references))


def test_distinctness_has_its_symbols_where_texts_are_short() -> None:
    samples = [f"s{i % 7}" for i in range(BUDGET + 5)]
    found = evaluate_stream(samples, ["s1"] * 3, judge, first=5)
    assert found.metrics["distinct_1"] == 7 / BUDGET


def test_memory_holds_no_more_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often one n-gram occurs: what is read at once are a block, a range, and what belongs to a block."""
    read, most = tables.Column.read, 0

    def watched(self: tables.Column, start: int, stop: int) -> np.ndarray:
        nonlocal most
        most = max(most, stop - start)
        return read(self, start, stop)

    monkeypatch.setattr(tables.Column, "read", watched)
    samples = ["a a a b"] * 800 + [f"w{i} w{i + 1} w{i % 7}" for i in range(500)]
    longest, held, rows = 4, 300, [0]
    together = tables._bring_together

    def joined_rows(found: np.ndarray, *rest: Any) -> np.ndarray:
        rows.append(len(found))
        return together(found, *rest)

    monkeypatch.setattr(tables, "_bring_together", joined_rows)
    ours, theirs = (Side.of(texts, str.split, held) for texts in (samples, samples[400:]))
    for side in (ours, theirs):
        assert all(stop - start < held + longest for block in side.blocks for start, stop in (block.symbols,))
    joined = join(ours, theirs, 2, held)
    assert sum(others.sum() for _, others, _ in joined.ours.matches()) > 2000
    assert joined.num_ranges > 5
    assert max(rows) <= held
    assert most < held + longest


def test_many_texts_without_symbols_make_blocks_too() -> None:
    assert len(Side.of([""] * 100, str.split, 10).blocks) == 10


def test_nothing_lies_in_the_temporary_folder_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So nothing is left by a process that is killed, or that fails halfway."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []

    def split(text: str) -> list[str]:
        seen.append(list(tmp_path.iterdir()))
        if len(seen) == 100:
            raise UserError("a line that cannot be read")
        return text.split()

    with pytest.raises(UserError, match="cannot be read"):
        counted(["a b"] * 40, ["b a"] * 90, split=split, held=10)
    assert not any(seen)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    with pytest.raises(WorkError, match=r"No space left on device.*set TMPDIR"):
        counted(["a"], ["b"])


def test_a_full_disk_is_told_in_one_line_whatever_the_size() -> None:
    """Also below the size of a buffer, which would only fail when it is emptied, and again at the end."""
    program = """
import resource
from textforge.errors import WorkError
from textforge.metrics.streaming import counted
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    counted(["a b c d e"] * 9, ["b"])
except WorkError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "(File too large); free some or set TMPDIR" in done.stdout


def test_nothing_to_judge_is_refused() -> None:
    for samples, references, what in (([], ["a"], "samples"), (["a"], [], "references")):
        with pytest.raises(UserError, match=f"no {what} to judge"):
            counted(samples, references)
    with pytest.raises(UserError, match="max_order is 1"):
        counted(["a"], ["a"], max_order=1)


def test_the_command_takes_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / name for name in ("ours", "theirs", "train")]
    for seed, file in enumerate(files):
        file.write_text("\n".join(["", *CORPORA["no surrogates"](random.Random(seed))]), encoding="utf-8")
    arguments = ("evaluate", files[0], "--reference", files[1], "--train", files[2], "--json")
    small = json.loads(call(*arguments).out)
    monkeypatch.setattr(using, "LARGE", 1)
    large = call(*arguments)
    assert "large files" in large.err
    assert json.loads(large.out)["metrics"] == pytest.approx(small["metrics"], rel=1e-12)
    assert json.loads(large.out)["settings"].items() >= small["settings"].items()
    files[1].write_bytes(b"a text\n\xff\x00\x01")
    assert call(*arguments).status == 1
