"""Encoded text that is kept between starts: found by all that it hangs on, never trusted, never in the way."""

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import SENTENCES, call

from textforge import fit, task
from textforge.options import Options
from textforge.task import Task, load_task
from textforge.text import cache, pretrained

TEXTS = [f"{sentence} {i}" for i in range(3) for sentence in SENTENCES]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep all text, however small, in a folder of the test."""
    monkeypatch.setattr(cache, "LEAST", 1)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def options(tmp_path: Path) -> Options:
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    return Options(data=str(path))


def entry_of(options: Options) -> Path:
    place = cache.place(options)
    assert place is not None
    return place


def contents(task: Task) -> dict[str, Any]:
    """Return all that a training could see of a task."""
    found = {part: (vars(task)[part].flat.tolist(), vars(task)[part].offsets.tolist()) for part in ("train", "valid")}
    test = None if task.test is None else task.test.flat.tolist()
    texts = [list(part) for part in (task.texts.train, task.texts.valid or (), task.texts.test or ())]
    facts = (task.fingerprint, sorted(task.frequencies.tolist()), task.known.hashes.tolist())
    return {**found, "test": test, "texts": texts, "facts": facts, "name": task.texts.name, "notes": task.notes} | {
        "tokenizer": task.tokenizer.to_dict(),
        "length": task.max_length,
    }


def uncached(options: Options, monkeypatch: pytest.MonkeyPatch) -> Task:
    with monkeypatch.context() as context:
        context.setenv(cache.VARIABLE, "")
        return load_task(options)


def forbid_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def encoded(*_: object, **__: object) -> None:
        raise AssertionError("the text is encoded again")

    monkeypatch.setattr(task, "encode", encoded)


def lines(texts: list[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def a_folder(root: Path) -> Options:
    root.mkdir()
    for part, texts in {"train": TEXTS, "valid": TEXTS[:5], "test": ["a new line", *TEXTS[7:9]]}.items():
        (root / f"{part}.txt").write_text(lines(texts), encoding="utf-8")
    return Options(data=str(root), tokenizer="char")


def a_table(root: Path) -> Options:
    records = [{"body": None if i % 7 == 0 else text} for i, text in enumerate(TEXTS)]
    root.with_suffix(".jsonl").write_text(lines([json.dumps(record) for record in records]), encoding="utf-8")
    return Options(data=str(root.with_suffix(".jsonl")), column="body", max_length=7, min_count=3)


def with_labels(root: Path) -> Options:
    rows = [{"text": text, "label": text.split()[1]} for text in TEXTS]
    root.with_suffix(".jsonl").write_text(lines([json.dumps(row) for row in rows]), encoding="utf-8")
    return Options(data=str(root.with_suffix(".jsonl")), label_column="label")


def with_held_out(root: Path) -> Options:
    for name, texts in (("a", TEXTS), ("b", TEXTS[:4])):
        root.with_name(name).write_text(lines(texts), encoding="utf-8")
    return Options(data=str(root.with_name("a")), valid=str(root.with_name("b")), vocab_size=9)


def few_lines(root: Path) -> Options:
    root.write_text(lines(TEXTS[:9]), encoding="utf-8")
    return Options(data=str(root))


@pytest.mark.parametrize("make", [a_folder, a_table, with_labels, with_held_out, few_lines])
def test_with_and_without_all_is_the_same(
    make: Callable[[Path], Options], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = make(tmp_path / "data")
    known = contents(uncached(options, monkeypatch))
    assert contents(load_task(options)) == known
    forbid_encoding(monkeypatch)
    kept = load_task(options)
    assert contents(kept) == known
    assert isinstance(kept.train.flat, np.memmap)


def test_a_run_is_the_same_to_the_bit(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = []
    load_task(options)
    for name, variable in (("without", ""), ("with", str(tmp_path / "cache"))):
        monkeypatch.setenv(cache.VARIABLE, variable)
        fit(data=options.data, method="mle", preset="tiny", steps=2, out=tmp_path / name)
        found = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        settings = json.loads((tmp_path / name / "config.json").read_text())
        records.append((settings, [{**record, "seconds": 0} for record in found]))
    assert records[0] == records[1]
    # A run says what its length came to; it is resumed, and evaluated, with that.
    forbid_encoding(monkeypatch)
    assert load_task(Options.of(records[0][0])).max_length == records[0][0]["max_length"]


def test_small_text_and_an_empty_variable_write_nothing(
    options: Options, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncached(options, monkeypatch)
    monkeypatch.setattr(cache, "LEAST", Path(options.data).stat().st_size + 1)
    load_task(options)
    assert not folder.exists()


def test_the_key_holds_every_option_and_every_file(options: Options, tmp_path: Path) -> None:
    """But for those that say how to train; a field that is new counts without being named anywhere."""
    other = tmp_path / "other.txt"
    shutil.copy(options.data, other)
    values = {"valid": str(other), "labels": str(other), "data": str(other), "tokenizer": "char", "device": "cpu"}
    values |= {"on_collapse": "stop", "column": "body", "label_column": "kind", "preset": "tiny"}
    numbers = {"seed": 3, "min_count": 3, "max_length": 3, "vocab_size": 3}
    for field in dataclasses.fields(Options):
        value: Any = values.get(field.name, numbers.get(field.name, "changed"))
        same = cache.place(dataclasses.replace(options, **{field.name: value})) == cache.place(options)
        assert same == (field.name in cache.ELSEWHERE), field.name

    first = entry_of(options)
    content, stat = other.read_bytes(), os.stat(options.data)
    os.replace(other, options.data)  # the same text with the same times, and yet another file
    os.utime(options.data, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    second = entry_of(options)
    Path(options.data).write_bytes(content.swapcase())
    os.utime(options.data, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len({first, second, entry_of(options)}) == 3


def test_a_file_in_a_folder_counts(tmp_path: Path) -> None:
    options = a_folder(tmp_path / "data")
    before = entry_of(options)
    with (tmp_path / "data" / "test.txt").open("a") as file:
        file.write("one more line\n")
    assert entry_of(options) != before


def test_what_is_not_read_does_not_count(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / pretrained.RUNS).write_text("{}")
    monkeypatch.chdir(tmp_path)
    settings = [a_folder(tmp_path / "data"), dataclasses.replace(options, tokenizer=str(run)), options]
    before = [entry_of(each) for each in settings]
    for file in ("data/train.log", "run/metrics.jsonl", "text/a.txt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("written meanwhile")
    assert [entry_of(each) for each in settings] == before
    (run / pretrained.RUNS).write_text("another tokenizer")
    assert entry_of(settings[1]) != before[1]


def test_a_tokenizer_of_the_hub_counts_as_it_lies_here(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = []
    for revision in ("one", "two"):
        (tmp_path / revision).mkdir()
        (tmp_path / revision / "tokenizer.json").write_text(revision)
        monkeypatch.setattr(pretrained, "folder_of", lambda _, revision=revision: tmp_path / revision)
        entries.append(entry_of(dataclasses.replace(options, tokenizer="owner/name")))
    assert entries[0] != entries[1]


def damages(place: Path) -> list[Callable[[], object]]:
    found: list[Callable[[], object]] = []
    for file in sorted(place.iterdir()):
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 1
        for damaged in (content[: len(content) // 2], b"", bytes(flipped), content + b"0"):
            found.append(lambda file=file, damaged=damaged: file.write_bytes(damaged))  # type: ignore[misc]
        found.append(file.unlink)
    facts = place / cache.FACTS
    for text in ("[]", "{}", "null", '{"arrays": {}, "checksum": 0}', "\ud800".encode(errors="replace").decode()):
        found.append(lambda text=text: facts.write_text(text))  # type: ignore[misc]
    return found


def test_damage_of_any_kind_is_noticed_and_mended(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    known = contents(uncached(options, monkeypatch))
    load_task(options)
    place = entry_of(options)
    for damage in damages(place):
        damage()
        found = contents(load_task(options))
        assert "was damaged" in found["notes"][-1]
        assert found | {"notes": known["notes"]} == known
        assert contents(load_task(options)) == known, "it is whole again"


def test_only_what_is_wanted_is_looked_through(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that was made without a length is taken for the length that it came to, and for no other."""
    length = load_task(options).max_length
    shorter = dataclasses.replace(options, max_length=length - 1)
    load_task(shorter)
    looked, checksum = [], cache._checksum

    def watched(path: Path) -> int:
        looked.append(path.parent)
        return checksum(path)

    monkeypatch.setattr(cache, "_checksum", watched)
    load_task(shorter)
    assert {*looked} == {entry_of(shorter)}
    (entry_of(options) / "train_flat.npy").write_bytes(b"")
    as_a_run = dataclasses.replace(options, max_length=length)
    assert "was damaged" in load_task(as_a_run).notes[-1]
    assert "was damaged" not in load_task(as_a_run).notes[-1]


@pytest.mark.parametrize("name", ["utime", "load"])
def test_what_another_user_owns_is_not_damaged(name: str, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    known = contents(load_task(options))

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os if name == "utime" else np, name, forbidden)
    found = contents(load_task(options))
    assert entry_of(options).exists()
    if name == "utime":
        assert found == known
    else:
        assert "cannot be kept for the next start" in found["notes"][-1]


class Killed(BaseException):
    """What stands for a kill: nothing is tidied up on the way out."""


@pytest.mark.parametrize("moment", [*range(1, 7), "facts", "rename"])
def test_a_kill_at_any_moment_leaves_nothing_that_is_believed(
    moment: int | str, options: Options, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = contents(uncached(options, monkeypatch))
    saved = 0

    def save(path: Path, array: np.ndarray) -> None:
        nonlocal saved
        saved += 1
        with path.open("wb") as file:
            np.lib.format.write_array(file, array)
            if saved == moment:
                file.truncate(100)
                raise Killed

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as context:
        context.setattr(np, "save", save)
        context.setattr(shutil, "rmtree", lambda *_, **__: None)
        if moment == "facts":
            context.setattr(Path, "write_text", die)
        elif moment == "rename":
            context.setattr(Path, "rename", die)
        with pytest.raises(Killed):
            load_task(options)
    assert [path.suffix for path in folder.iterdir() if path.is_dir()] == [".part"]
    assert contents(load_task(options)) == known
    assert [path.suffix for path in folder.iterdir() if path.is_dir()] == [""]


def test_what_a_dead_process_left_of_another_text_goes_too(options: Options, folder: Path) -> None:
    left = folder / "0123.part"
    left.mkdir(parents=True)
    (left / "train_flat.npy").write_bytes(b"half")
    load_task(options)
    assert not left.exists()


def test_a_full_disk_is_told_and_costs_nothing_else(
    options: Options, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = contents(uncached(options, monkeypatch))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    found = contents(load_task(options))
    assert "cannot be kept for the next start" in found["notes"][-1]
    assert "No space left on device" in found["notes"][-1]
    assert found | {"notes": known["notes"]} == known
    assert not [path for path in folder.iterdir() if path.is_dir()]


def test_a_folder_that_cannot_be_made_is_told(options: Options, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert "name another folder in TEXTFORGE_CACHE" in load_task(options).notes[-1]


@pytest.mark.parametrize("fails", [1, 2])
def test_files_that_cannot_be_looked_at_are_told(
    fails: int, options: Options, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places, place = iter([1, 2]), cache.place

    def failing(options: Options) -> Path | None:
        if next(places) == fails:
            raise PermissionError(errno.EACCES, "Permission denied")
        return place(options)

    monkeypatch.setattr(cache, "place", failing)
    assert f"cannot be kept for the next start in {folder} (Permission denied)" in load_task(options).notes[-1]


def test_text_that_changes_while_it_is_read_is_not_kept(
    options: Options, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encoded(options: Options) -> Task:
        made = original(options)
        with open(options.data, "a") as file:
            file.write("\none more")
        return made

    original = task._encoded
    monkeypatch.setattr(task, "_encoded", encoded)
    assert "was changed while it was read" in load_task(options).notes[-1]
    assert not [path for path in folder.iterdir() if path.is_dir()]


def test_several_at_once_encode_once(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    known = contents(uncached(options, monkeypatch))
    made = []

    def encoded(options: Options) -> Task:
        made.append(original(options))
        return made[-1]

    original = task._encoded
    monkeypatch.setattr(task, "_encoded", encoded)
    with ThreadPoolExecutor(4) as pool:
        assert [contents(found) for found in pool.map(load_task, [options] * 4)] == [known] * 4
    assert len(made) == 1


def test_what_was_not_used_for_the_longest_goes_and_the_newest_stays(
    options: Options, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = []
    for min_count in (1, 2, 3):
        monkeypatch.setattr(cache, "MOST", 10**9 if min_count < 3 else 2 * cache.kept(folder)[0].size)
        options = dataclasses.replace(options, min_count=min_count)
        load_task(options)
        entries.append(entry_of(options))
        if min_count == 2:
            os.utime(entries[1] / cache.FACTS, (1, 1))  # a long time ago
    assert [entry.exists() for entry in entries] == [True, False, True]
    monkeypatch.setattr(cache, "MOST", 0)
    load_task(dataclasses.replace(options, min_count=4))
    assert len(cache.kept(folder)) == 1


def test_the_command_shows_and_clears(options: Options, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_task(options)
    assert options.data in call("data", "cache").out
    assert "1 removed" in call("data", "cache", "--clear").out
    assert not [path for path in folder.iterdir() if path.is_dir()]
    assert call("data", "list", "--clear").status == 2
    assert call("data", "cache", "captions").status == 2
    monkeypatch.setenv(cache.VARIABLE, "")
    assert "nothing is kept" in call("data", "cache").out
