"""Reading run folders: complete, in progress, damaged."""

import json
import math
from pathlib import Path

import pytest
from report.folders import CONFIG, ENVIRONMENT, SETTINGS, build, records

from textforge.errors import UserError
from textforge.report.read import read, unevaluated


def test_a_complete_folder_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = list(records({"pretrain": 100, "adversarial": 50}))
    run = read(build(tmp_path / "horses", lines=written))
    assert run.name == "horses"
    assert run.config == CONFIG
    assert run.environment == ENVIRONMENT
    assert run.notes == ()
    assert [
        {"phase": record.phase, "step": record.step, "seconds": record.seconds} | dict(record.scalars)
        for record in run.records
    ] == [{key: value for key, value in line.items() if key != "iteration"} for line in written]
    assert [(file.phase, file.step, file.texts) for file in run.samples] == [
        ("pretrain", 100, ("a man rides a horse", "a dog")),
        ("adversarial", 150, ("two men ride",)),
    ]
    assert run.evaluation is not None
    assert run.evaluation.settings == SETTINGS
    assert [row.name for row in run.evaluation.rows] == ["real test text", "seqgan"]
    assert run.evaluation.rows[1].metrics["js_se"] == 0.00213


def test_what_json_cannot_say_is_not_a_number(tmp_path: Path) -> None:
    line = {"phase": "p", "step": 1, "seconds": 0, "nll": None, "loss": math.inf, "flag": True, "word": "x"}
    (record,) = read(build(tmp_path / "run", lines=[line])).records
    assert math.isnan(record.scalars["nll"])
    assert record.scalars["loss"] == math.inf
    assert set(record.scalars) == {"nll", "loss"}


def test_a_line_still_being_written_is_left_out_wherever_it_is_cut(tmp_path: Path) -> None:
    lines = [{"phase": "預訓練", "step": step, "seconds": 1.5, "loss": 0.25} for step in (1, 2, 3)]
    folder = build(tmp_path / "run", lines=lines)
    whole = (folder / "metrics.jsonl").read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(whole) + 1):
        (folder / "metrics.jsonl").write_bytes(whole[:cut])
        run = read(folder)
        assert [record.step for record in run.records] == ([1, 2, 3] if cut >= len(whole) - 1 else [1, 2])
        assert run.notes == ()


@pytest.mark.parametrize(
    "damage", [b"{", b"\xff\xfe", b"[]", b'{"phase": "p"}', b'{"phase": 1, "step": 1, "seconds": 1}', b"[" * 99_999]
)
def test_a_damaged_line_is_left_out_and_said(tmp_path: Path, damage: bytes) -> None:
    folder = build(tmp_path / "run", lines=[{"phase": "p", "step": 1, "seconds": 1.0}])
    good = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(good + damage + b"\n" + good)
    run = read(folder)
    assert len(run.records) == 2
    assert run.notes == ("Damaged lines of metrics.jsonl, left out: 1.",)


def test_warnings_of_the_run_are_notes_and_no_numbers(tmp_path: Path) -> None:
    at = {"phase": "adversarial", "step": 12, "iteration": 2, "seconds": 1.0}
    run = read(build(tmp_path / "run", lines=[at | {"warning": "it repeats itself"}, at | {"unique": 0.1}]))
    assert run.notes == ("Warning of the run, in adversarial at step 12: it repeats itself.",)
    assert [record.scalars for record in run.records] == [{}, {"unique": 0.1}]


def test_only_a_line_feed_ends_a_sample(tmp_path: Path) -> None:
    texts = ["", "a\u2028b", "c\x0bd\x0ce", "f\x85g\x1cb", ""]
    (file,) = read(build(tmp_path / "run", samples={"p-00000001": texts})).samples
    assert file.texts == tuple(texts)


def test_sample_files_are_in_the_order_of_training(tmp_path: Path) -> None:
    names = ["b-00000002", "a-00000002", "a-b-00000010", "c-00000009"]
    lines = [{"phase": phase, "step": 2, "seconds": 1.0} for phase in ("b", "a")]
    folder = build(tmp_path / "run", lines=lines, samples={name: ["x"] for name in names})
    (folder / "samples" / "notes.txt").write_text("no samples")
    assert [(file.phase, file.step) for file in read(folder).samples] == [("b", 2), ("a", 2), ("c", 9), ("a-b", 10)]


def test_a_sample_file_may_hold_anything(tmp_path: Path) -> None:
    folder = build(tmp_path / "run", samples={})
    (folder / "samples" / "p-00000001.txt").write_bytes(b"\xff\x00\n")
    (folder / "samples" / "p-00000002.txt").write_bytes(b"")
    assert [file.texts for file in read(folder).samples] == [("\N{REPLACEMENT CHARACTER}\x00",), ()]


def test_a_folder_that_holds_only_its_configuration_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    run = read(tmp_path)
    assert (run.environment, run.records, run.samples, run.evaluation, run.notes) == ({}, (), (), None, ())


@pytest.mark.parametrize("name", ["environment.json", "evaluation.json"])
@pytest.mark.parametrize("damage", [b"{", b"\xff", b"[1]", b"null"])
def test_a_damaged_file_is_left_out_and_said_once(tmp_path: Path, name: str, damage: bytes) -> None:
    folder = build(tmp_path / "run")
    (folder / name).write_bytes(damage)
    run = read(folder)
    assert run.evaluation is None if name == "evaluation.json" else run.environment == {}
    assert [name in note for note in run.notes] == [True]


@pytest.mark.parametrize("rows", [None, {}, [1], [{"name": 1, "metrics": {}}], [{"name": "x"}]])
def test_an_evaluation_of_another_form_is_left_out_and_said(tmp_path: Path, rows: object) -> None:
    run = read(build(tmp_path / "run", rows=rows))
    assert run.evaluation is None
    assert [note.split(":")[0] for note in run.notes] == ["evaluation.json is left out"]


def test_a_run_without_an_evaluation_names_the_command_that_writes_one(tmp_path: Path) -> None:
    folder = build(tmp_path / "my run")
    assert unevaluated(folder) == ""
    command = f"textforge train {CONFIG['method']} --resume --out '{folder}'"
    (folder / "evaluation.json").write_bytes(b'{"rows": 1}')
    assert unevaluated(folder) == f"{folder / 'evaluation.json'} is damaged; `{command}` writes it"
    (folder / "evaluation.json").unlink()
    assert unevaluated(folder) == f"{folder / 'evaluation.json'} is missing; `{command}` writes it"


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent is no run: it has no config\.json"):
        read(tmp_path / "absent")
    for text, reason in {"": "cannot be read", "[]": "names no method", '{"method": 1}': "names no method"}.items():
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=reason):
            read(tmp_path)


@pytest.mark.parametrize(
    ("said", "read_as"),
    [
        ({"headline": "tie", "reasons": ["one training", 3]}, ("tie", "one training")),
        ({"headline": 3, "reasons": []}, ()),
        ("tie", ()),
        (None, ()),
    ],
)
def test_a_verdict_and_the_rows_kinds_and_samples_are_read(
    tmp_path: Path, said: object, read_as: tuple[str, ...]
) -> None:
    folder = build(tmp_path / "run")
    rows = [{"name": "mle", "metrics": {}, "kind": "control", "samples": ["a", 3]}, {"name": "x", "metrics": {}}]
    table = {"rows": rows, "settings": {}, "verdict": said}
    (folder / "evaluation.json").write_text(json.dumps(table))
    evaluation = read(folder).evaluation
    assert evaluation is not None
    assert evaluation.verdict == read_as
    assert [(row.kind, row.samples) for row in evaluation.rows] == [("control", ("a",)), ("model", ())]
