"""Records are means of what was logged since the last one, whatever happens to the logged tensors afterwards."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from run import toy

from textforge.errors import WorkError
from textforge.run.log import Log, Moment

NOW = Moment("phase", 7, 3, 1.5)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = Log(tmp_path, offset=0, step=0, resumed=False)
    yield opened
    opened.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_record_says_when_it_was_made(log: Log, tmp_path: Path) -> None:
    log.add({"loss": 2.0})
    log.flush(NOW)
    assert lines(tmp_path) == [{"phase": "phase", "step": 7, "iteration": 3, "seconds": 1.5, "loss": 2.0}]


def test_means_since_the_last_record(log: Log, tmp_path: Path) -> None:
    """Each name is divided by its own count, and no value counts twice."""
    for value in (1.0, 2.0, 6.0):
        log.add({"often": torch.tensor(value), "number": value})
    log.add({"once": torch.tensor(5), "flag": True})
    log.flush(NOW)
    log.add({"often": torch.tensor(10.0)})
    log.flush(NOW)
    log.flush(NOW)
    first, second = lines(tmp_path)
    assert first["often"] == first["number"] == 3.0
    assert first["once"] == 5.0
    assert first["flag"] == 1.0
    assert second["often"] == 10.0
    assert "once" not in second


def test_numbers_and_tensors_under_one_name(log: Log, tmp_path: Path) -> None:
    log.add({"a": 1, "b": torch.tensor(1)})
    log.add({"a": torch.tensor(2.0), "b": 2})
    log.flush(NOW)
    assert lines(tmp_path)[0]["a"] == lines(tmp_path)[0]["b"] == 1.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_later_changes_of_a_tensor_do_not_show(dtype: torch.dtype, log: Log, tmp_path: Path) -> None:
    value = torch.tensor(1.0, dtype=dtype)
    log.add({"loss": value})
    value.mul_(100)
    log.add({"loss": value})
    value.mul_(100)
    log.flush(NOW)
    assert lines(tmp_path)[0]["loss"] == 50.5


def test_graphs_are_let_go(log: Log) -> None:
    """A logged loss must not keep the activations of every iteration alive until the next record."""
    weight = torch.ones(1, requires_grad=True)
    log.add({"loss": (weight * 2).sum()})
    log.add({"loss": (weight * 2).sum()})
    (held,) = log.state_dict()["sums"].values()
    assert not held.requires_grad
    assert held.grad_fn is None


def test_values_are_not_read_before_the_record(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading makes the host wait for an accelerator."""
    reads = toy.count_reads(monkeypatch)
    for i in range(5):
        log.add({"a": torch.tensor(i), "b": torch.tensor(0.5), "c": 1.0})
    assert reads == []
    log.flush(NOW)
    assert reads == ["tolist"]


def test_small_and_large_values_are_summed_exactly(log: Log, tmp_path: Path) -> None:
    """In float32 the ones would vanish beside the large value; integers above 2^24 would be rounded."""
    log.add({"sum": torch.tensor(2.0**25), "tokens": torch.tensor(2**24 + 1)})
    for _ in range(3):
        log.add({"sum": torch.tensor(1.0)})
    log.flush(NOW)
    assert lines(tmp_path)[0]["sum"] == (2.0**25 + 3) / 4
    assert lines(tmp_path)[0]["tokens"] == 2**24 + 1


@pytest.mark.parametrize("shape", [(2,), (0,), (1, 3)])
def test_more_than_one_number_is_refused(shape: tuple[int, ...], log: Log) -> None:
    with pytest.raises(ValueError, match=r"'rewards' has the shape .*; log one number"):
        log.add({"rewards": torch.zeros(shape)})


def test_one_number_of_any_shape_is_taken(log: Log, tmp_path: Path) -> None:
    log.add({"a": torch.ones(1, 1)})
    log.flush(NOW)
    assert lines(tmp_path)[0]["a"] == 1.0


@pytest.mark.parametrize("name", ["phase", "step", "iteration", "seconds"])
def test_names_of_the_record_itself_are_refused(name: str, log: Log) -> None:
    with pytest.raises(ValueError, match=f"'{name}' cannot be logged"):
        log.add({name: 1.0})


def test_what_json_cannot_express_is_null(log: Log, tmp_path: Path) -> None:
    log.record(NOW, "evaluation", {"a": math.nan, "b": -math.inf, "c": 1.0})
    assert b"NaN" not in (tmp_path / "metrics.jsonl").read_bytes()
    (record,) = lines(tmp_path)
    assert (record["a"], record["b"], record["c"]) == (None, None, 1.0)


def test_samples_stay_on_one_line_each(log: Log, tmp_path: Path) -> None:
    log.samples(NOW, ["a\nb\r\nc", "", "F/C=C\\F", "\u2028", "\ud800"])
    path = tmp_path / "samples" / "phase-00000007.txt"
    assert path.read_bytes().decode().split("\n") == ["a\\nb\\r\\nc", "", "F/C=C\\F", "\u2028", "\\ud800", ""]


# --- Going on ---


def test_file_is_cut_to_its_last_whole_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"a": 1}\n{"b": 2}\n{"c"')
    for offset, expected, lost in [(100, b'{"a": 1}\n{"b": 2}\n', 82), (12, b'{"a": 1}\n', 3), (0, b"", 0)]:
        log = Log(tmp_path, offset=offset, step=0, resumed=True)
        log.close()
        assert (tmp_path / "metrics.jsonl").read_bytes() == expected
        assert log.lost == lost


def test_only_later_samples_are_removed(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    names = ["a-00000004.txt", "b-00000005.txt", "b-c-00000006.txt", "b-123456789.txt", "notes.txt", "x-12.txt"]
    names += ["a-00000005.json", "a-00000006.json", "notes.json"]
    for name in names:
        (tmp_path / "samples" / name).touch()
    Log(tmp_path, offset=0, step=5, resumed=True).close()
    left = {path.name for path in (tmp_path / "samples").iterdir()}
    assert left == {"a-00000004.txt", "b-00000005.txt", "notes.txt", "x-12.txt", "a-00000005.json", "notes.json"}


def test_a_picture_is_kept_as_json(log: Log, tmp_path: Path) -> None:
    log.picture(NOW, {"x": [0.5, 1], "name": "°C"})
    path = tmp_path / "samples" / "phase-00000007.json"
    assert json.loads(path.read_text(encoding="utf-8")) == {"x": [0.5, 1], "name": "°C"}
    with pytest.raises(ValueError, match="JSON compliant"):
        log.picture(NOW, {"x": math.nan})


def test_state_holds_values_and_length(log: Log, tmp_path: Path) -> None:
    log.add({"a": torch.tensor(1.0)})
    log.flush(NOW)
    log.add({"a": torch.tensor(4.0), "b": 3})
    state = log.state_dict()
    assert state["offset"] == (tmp_path / "metrics.jsonl").stat().st_size
    other = Log(tmp_path, offset=state["offset"], step=7, resumed=True)
    other.load_state_dict(state)
    other.add({"a": torch.tensor(8.0)})
    other.flush(NOW)
    other.close()
    assert [(record["a"], record.get("b")) for record in lines(tmp_path)] == [(1.0, None), (6.0, 3.0)]
    assert log.state_dict()["counts"] == {"a": 1, "b": 1}


def test_warning_is_a_record_in_words(log: Log, tmp_path: Path) -> None:
    log.warning(NOW, "too \u201cfew\u201d\n")
    (line,) = lines(tmp_path)
    assert line == {"phase": "phase", "step": 7, "iteration": 3, "seconds": 1.5, "warning": "too \u201cfew\u201d\n"}
    with pytest.raises(ValueError, match="'warning' cannot be logged"):
        log.add({"warning": 1.0})


def test_state_holds_the_newest_means(log: Log, tmp_path: Path) -> None:
    """Checkpoints of before they were kept have none."""
    log.add({"a": 1.0})
    log.flush(NOW)
    state = log.state_dict()
    other = Log(tmp_path, offset=state["offset"], step=7, resumed=True)
    other.load_state_dict(state)
    assert other.latest == {"a": 1.0}
    del state["latest"]
    other.load_state_dict(state)
    assert other.latest == {}
    other.close()


def test_full_disk_is_one_line(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(WorkError, match=r"metrics\.jsonl could not be written: No space left on device"):
            log.record(NOW, "train", {"a": 1.0})
