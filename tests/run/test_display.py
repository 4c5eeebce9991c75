"""A bar on a terminal, plain lines elsewhere, and nothing on standard output."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from run import toy
from torch import nn

from textforge.run import Measurement, Run


def shown(folder: Path, console: Console) -> str:
    def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
        return Measurement({"nll_valid": 2.0, "entropy": 17.25})

    with toy.evaluated(folder, evaluate, console) as run:
        list(run.phase("pre", 20))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_terminal_shows_a_bar(tmp_path: Path) -> None:
    text = shown(tmp_path, Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None))
    final = text.split("\r")[-1].split("\n")[0]
    for part in ("pre ", "20/20", "it/s", "0:00:00", "nll_valid 2", "entropy 17.25"):
        assert part in final


def test_elsewhere_there_is_one_plain_line_per_evaluation(tmp_path: Path) -> None:
    lines = shown(tmp_path, Console(file=io.StringIO(), width=20)).splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("pre 2/20  ")
    assert lines[-1].startswith("pre 20/20  ")
    assert lines[-1].endswith("nll_valid 2  entropy 17.25")


def test_what_training_logs_is_shown_beside(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=20)
    with toy.evaluated(tmp_path, toy.nlls(2.0), console) as run:
        for i in run.phase("silent", 3, evaluate_every=0):
            run.log(d_accuracy=i)
        for _ in run.phase("loud", 1):
            run.log(reward=0.25)
    assert isinstance(console.file, io.StringIO)
    silent, loud = console.file.getvalue().splitlines()
    assert silent.startswith("silent 3/3  ")
    assert silent.endswith(" d_accuracy 2")
    assert loud.endswith("nll_valid 2  reward 0.25")


def test_messages_go_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    toy.complete(tmp_path)
    (tmp_path / "checkpoints" / "00000013.safetensors").write_bytes(b"")
    capfd.readouterr()
    Run(tmp_path, seed=2, device="cpu", resume=True).close()
    output, errors = capfd.readouterr()
    assert output == ""
    assert "warning: checkpoint " in errors
    assert "00000013.safetensors is damaged" in errors
