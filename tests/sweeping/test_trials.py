"""One trial, in this process: by itself wherever it is started, judged at all temperatures that were asked for."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from command import SENTENCES, call, lines

from textforge import results, task
from textforge.frontier import FILE as CURVE
from textforge.launch import launch
from textforge.sweeping import plan as planning
from textforge.sweeping import trials, workers
from textforge.sweeping.plan import Plan

SMALL = """
data = "my.txt"
methods = ["mle"]
preset = "tiny"
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plan]:
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    lines(tmp_path / "my.txt", SENTENCES)
    (tmp_path / "sweep.toml").write_text(SMALL, encoding="utf-8")
    yield planning.read(tmp_path / "sweep.toml", device="cpu")
    torch.set_num_threads(threads)


def test_temperatures_that_were_asked_for_once_are_never_measured_again(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trial,) = plan.trials
    folder = tmp_path / trial.name

    def carry_out(*temperatures: float) -> None:
        trials.carry_out(trial, plan.options_of(trial), temperatures, folder, ["textforge"])

    carry_out(1.0, 0.8)
    carry_out(0.5)
    for temperatures in ([1.0, 0.8], [0.5], [0.5, 0.8, 1.0]):
        assert trials.is_finished(folder, temperatures)
    assert not trials.is_finished(folder, [0.7])
    curve = json.loads((folder / CURVE).read_bytes())
    assert [point["temperature"] for point in curve["points"]] == [0.5, 0.8, 1.0]
    monkeypatch.setattr(results, "evaluate_model", lambda *_, **__: pytest.fail("it was measured already"))
    carry_out(0.8)


def test_a_worker_that_srun_started_with_others_trains_by_itself(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = {"STEP_ID": "0", "NTASKS": "4", "NTASKS_PER_NODE": "1", "PROCID": "2", "LOCALID": "0"}
    for name, value in tasks.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert launch().num == 4
    found: list[int] = []
    monkeypatch.setattr(trials, "_carry_out", lambda *_: found.append(launch().num))
    trials.carry_out(plan.trials[0], plan.options, [1.0], tmp_path / "run", ["textforge"])
    assert found == [1]


def test_all_files_are_looked_for_on_all_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text, labels, and the folder of a tokenizer; a folder with the name of a kind of tokenizer is none."""
    monkeypatch.chdir(tmp_path)
    for name in ("my.txt", "labels.txt", "tokens/tokenizer.json", "word/none"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    looked: list[Sequence[str]] = []

    class Enough(Exception):
        pass

    def look(ray: ModuleType, folder: Path, *others: str) -> None:
        looked.append(others)
        raise Enough

    @contextlib.contextmanager
    def cluster(*_: object) -> Iterator[Any]:
        yield ModuleType("ray")

    monkeypatch.setattr(task, "load_task", lambda _: SimpleNamespace(notes=()))
    monkeypatch.setattr(planning, "prepared", lambda plan, *_: plan)
    monkeypatch.setattr(workers, "cluster", cluster)
    monkeypatch.setattr(workers, "require_same_files", look)
    for tokenizer in ("tokens", "word"):
        text = SMALL + f'labels = "labels.txt"\ntokenizer = "{tokenizer}"'
        (tmp_path / "sweep.toml").write_text(text, encoding="utf-8")
        assert "Enough" in call("sweep", "sweep.toml").err
    files = (str(tmp_path / "my.txt"), str(tmp_path / "labels.txt"))
    assert looked == [(*files, str(tmp_path / "tokens")), files]
