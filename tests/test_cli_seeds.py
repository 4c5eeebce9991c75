"""`train --seeds`: what is told of each training while it runs, and what Ctrl-C does to them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import environment

from textforge.cli.seeds import train_seeds
from textforge.errors import WorkError

TRAINING = """#!/bin/sh
case "$*" in *"--seed 4"*) echo progress; echo "textforge: no luck" >&2; exit 1;; esac
echo all is well
"""


WAITING = """#!/bin/sh
trap 'echo asked by Ctrl-C' INT
trap 'echo asked by SIGTERM; exit 1' TERM
echo ready
while :; do sleep 0.05; done
"""
TRAIN_SEEDS = """
import signal, sys
from pathlib import Path
from textforge.cli.seeds import train_seeds
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.executable = sys.argv[1]
train_seeds("mle", [], Path("runs"), 0, 1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no groups of processes")
def test_ctrl_c_in_a_terminal_asks_each_training_once(tmp_path: Path) -> None:
    """A terminal signals all that it runs; a training that is asked twice stops at once, with nothing saved."""
    script, log = tmp_path / "training", tmp_path / "runs" / "seed-0.log"
    script.write_text(WAITING, encoding="utf-8")
    script.chmod(0o755)
    command = [sys.executable, "-c", TRAIN_SEEDS, str(script)]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (log.exists() and log.read_text("utf-8")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert "stopped, everything is saved in runs; the same command goes on: textforge train mle" in err
    assert log.read_text("utf-8").splitlines() == ["ready", "asked by SIGTERM"]


def test_each_seed_is_told_as_it_starts_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a process that stands for a training, and fails with seed 4."""
    script, out, compared = tmp_path / "training", tmp_path / "runs", list[list[str]]()
    script.write_text(TRAINING, encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr("textforge.cli.comparing.compare_command", compared.append)
    with pytest.raises(WorkError, match=f"the training with seed 4 failed: see {out}/seed-4.log"):
        train_seeds("mle", ["--preset", "tiny"], out, 3, 2)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f"training with seeds 3 to 4, 1 at once, in {out}",
        f"seed 3: starts, and writes what it says to {out}/seed-3.log",
        "seed 3: done",
        f"seed 4: starts, and writes what it says to {out}/seed-4.log",
        "seed 4: textforge: no luck",
    ]
    assert (out / "seed-3.log").read_text("utf-8") == "all is well\n"
    assert compared == []
    train_seeds("mle", [], out, 5, 1)
    assert compared == [[str(out), "--out", f"{out}/report.html"]]
