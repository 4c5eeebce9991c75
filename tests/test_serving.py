"""textforge serve as a program: what it prints, that it answers, how it ends, and why it would not start."""

import builtins
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from command import call

from textforge.serve import listen


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose first checkpoint is not written yet."""
    folder = tmp_path / "run"
    folder.mkdir()
    settings = {"method": "mle", "preset": "tiny", "data": "captions", "seed": 0, "max_length": 9, "config": {}}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def test_it_answers_at_the_address_that_it_prints_until_it_is_interrupted(run: Path) -> None:
    command = [sys.executable, "-m", "textforge", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            with urlopen(f"{address}api/runs", timeout=60) as reply:
                assert [found["name"] for found in json.load(reply)] == ["run"]
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_why_it_does_not_start(run: Path, tmp_path: Path) -> None:
    assert "is no run folder" in call("serve", tmp_path / "none").reason
    assert "name at least one run" in call("serve").reason
    assert "--port must be between 0 and 65535" in call("serve", run, "--port", 65536).reason
    with listen("127.0.0.1", 0) as door:
        taken = call("serve", run, "--port", door.getsockname()[1])
    assert (taken.status, "choose another --port" in taken.reason) == (1, True)


@pytest.mark.parametrize("library", ["starlette", "uvicorn"])
def test_absent_libraries_are_named(run: Path, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == library:
            raise ModuleNotFoundError(f"No module named '{library}'", name=library)
        return real_import(name, *rest, **more)

    for module in [name for name in sys.modules if name.startswith("textforge.serve")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", without)
    said = call("serve", run)
    assert said.status == 1
    assert said.reason == f"serve needs {library}, which is absent; run: pip install 'textforge[serve]'"


def test_others_are_let_in_only_with_a_word(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    said = call("serve", run, "--host", "0.0.0.0", "--port", 0)
    assert said.status == 0
    assert said.out.startswith("http://0.0.0.0:")
    assert "everybody who reaches port" in said.err
    assert not call("serve", run, "--port", 0).err
