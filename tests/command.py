"""The command line as tests call it: in this process, because every other one waits seconds for torch."""

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from textforge.cli import main
from textforge.run import Run

ROOT = Path(__file__).resolve().parents[1]
SENTENCES = [
    f"a {look} {animal} {verb} {place}"
    for look in ("red", "small", "quick")
    for animal in ("cat", "dog", "bird")
    for verb in ("runs", "sleeps")
    for place in ("here", "outside", "at home")
]


@dataclass(frozen=True)
class Said:
    """What a call left behind."""

    status: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The one line that says why the call failed: the last, and nothing of Python stands beside it."""
        *notes, reason = self.err.splitlines()
        assert reason.startswith("textforge: "), self.err
        assert not any(note.startswith(("textforge: ", "Traceback", "  File")) for note in notes), self.err
        return reason.removeprefix("textforge: ")


def call(*arguments: object, encoding: str = "utf-8") -> Said:
    """Run the command line in this process; `encoding` is what its standard output was opened with."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding=encoding), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["textforge", *map(str, arguments)])
        try:
            status = main()
        except SystemExit as stop:  # how the parser ends after --help
            status = int(stop.code or 0)
        out.flush()
    written = out.buffer
    assert isinstance(written, io.BytesIO)
    return Said(status, written.getvalue().decode(), err.getvalue())


def start(*arguments: object, cwd: Path, stdout: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Start the command line as a process of its own, with the sources of this tree."""
    command = [sys.executable, "-m", "textforge", *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, env=environment(), stdout=stdout, stderr=subprocess.PIPE)


def environment() -> dict[str, str]:
    """Return this environment for a process of its own: with the sources of this tree, and buffers as by default."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**own, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), own.get("PYTHONPATH", "")])}


def lines(path: Path, texts: list[str]) -> Path:
    """Write a text file of these lines."""
    path.write_bytes("".join(f"{text}\n" for text in texts).encode())
    return path


@dataclass(frozen=True)
class Trained:
    """A run, and what the command said while it was made."""

    folder: Path
    data: Path
    said: Said


def train(folder: Path, method: str, *arguments: object) -> Trained:
    data = lines(folder / "data.txt", SENTENCES)
    said = call("train", method, "--data", data, "--preset", "tiny", "--out", folder / "run", *arguments)
    assert said.status == 0, said.err
    return Trained(folder / "run", data, said)


def only_json(said: Said) -> dict[str, Any]:
    """Read standard output as one JSON object on one line, of numbers that JSON knows."""
    assert said.status == 0, said.err
    (line,) = said.out.splitlines()
    value = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(value, dict)
    return value


def run_process(arguments: list[str], folder: Path, checkpoint_seconds: float) -> None:
    """Be the command line in a process of its own, in `folder`, that saves often; what it says lies in out and err."""
    os.chdir(folder)
    sys.argv = ["textforge", *arguments]
    pytest.MonkeyPatch().setattr("textforge.fitting.Run", functools.partial(Run, checkpoint_seconds=checkpoint_seconds))
    with (folder / "out").open("w") as sys.stdout, (folder / "err").open("w") as sys.stderr:
        status = main()
    os._exit(status)
