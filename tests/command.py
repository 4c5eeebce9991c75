"""The command line as tests call it: in this process, because every other one waits seconds for torch."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from textforge.cli import main

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
    """What a call has left behind."""

    status: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The one line that says why the call failed; nothing of Python is shown beside it."""
        *notes, reason = self.err.splitlines()
        assert reason.startswith("textforge: "), self.err
        assert not any(note.startswith(("textforge:", "Traceback", "  File")) for note in notes), self.err
        return reason.removeprefix("textforge: ")


Call: TypeAlias = Callable[..., Said]


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Said:
    """Run the command line in this process."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["textforge", *map(str, arguments)])
        try:
            status = main()
        except SystemExit as stop:  # how the parser ends after --help
            status = int(stop.code or 0)
    out, err = capsys.readouterr()
    return Said(status, out, err)


def start(
    *arguments: object, cwd: Path, env: Mapping[str, str] | None = None, launcher: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    """Start the command line as a process of its own, with the sources of this tree."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    command = [*launcher, sys.executable, "-m", "textforge", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": path, **(env or {})}
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def lines(path: Path, texts: list[str]) -> Path:
    """Write a text file of these lines."""
    path.write_bytes("".join(f"{text}\n" for text in texts).encode())
    return path
