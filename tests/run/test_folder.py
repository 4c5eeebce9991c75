"""A folder belongs to one run with one configuration, and says under what conditions it was made."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from run import toy

from textforge.errors import UserError
from textforge.run import open_folder, write_atomic
from textforge.run.folder import sole_writer

CONFIG: dict[str, Any] = {
    "method": "toy",
    "seed": 1,
    "valid": None,
    "config": {"lr": 0.1, "sizes": (1, 2), "empty": {}},
}


def test_new_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    assert open_folder(folder, CONFIG, resume=False) == folder
    recorded = json.loads((folder / "config.json").read_text())
    assert recorded == {**CONFIG, "config": {**CONFIG["config"], "sizes": [1, 2]}}


@pytest.mark.parametrize("resume", [False, True])
def test_absent_and_empty_folders_are_taken(resume: bool, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").touch()
    for name in ("absent", "empty"):
        assert (open_folder(tmp_path / name, CONFIG, resume=resume) / "config.json").exists()


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["textforge", "train", "toy"])
    folder = open_folder(tmp_path / "run", CONFIG, resume=False)
    first = json.loads((folder / "environment.json").read_text())
    assert first["torch"] == torch.__version__
    assert first["python"] == ".".join(map(str, sys.version_info[:3]))
    assert first["threads"] == torch.get_num_threads()
    assert first["command"] == ["textforge", "train", "toy"]
    assert {"numpy", "textforge", "platform", "cpus", "cuda", "git", "started"} <= first.keys()
    monkeypatch.setattr(sys, "argv", ["textforge", "train", "toy", "--resume"])
    for _ in range(2):
        open_folder(folder, CONFIG, resume=True)
    again = json.loads((folder / "environment.json").read_text())
    assert {name: value for name, value in again.items() if name != "resumed"} == first
    assert [entry["command"][-1] for entry in again["resumed"]] == ["--resume", "--resume"]


def test_environment_knows_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a repository, its commit and whether files differ from it; elsewhere, nothing."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        run = subprocess.run(["git", *identity, *arguments], cwd=work, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    def recorded(name: str) -> Any:
        return json.loads((open_folder(tmp_path / name, CONFIG, resume=False) / "environment.json").read_text())["git"]

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert recorded("outside") is None
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    assert recorded("clean") == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (work / "new").touch()
    assert recorded("dirty") == {"commit": git("rev-parse", "HEAD"), "dirty": True}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert recorded("without-git") is None


# --- Folders that cannot be had ---


def test_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(UserError, match=f"{path} .*choose another"):
            open_folder(path, CONFIG, resume=False)


def test_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for resume in (False, True):
        with pytest.raises(UserError, match=f"{tmp_path} is not empty, and holds no run"):
            open_folder(tmp_path, CONFIG, resume=resume)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == ["thesis.tex"]


def test_folder_of_a_run_is_refused_without_resume(tmp_path: Path) -> None:
    open_folder(tmp_path, CONFIG, resume=False)
    with pytest.raises(UserError, match=f"{tmp_path} already holds a run; continue it with --resume"):
        open_folder(tmp_path, CONFIG, resume=False)
    toy.complete(tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path} already holds a run; continue it with --resume"):
        toy.start(tmp_path)


def test_read_only_folder_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "closed"
        folder.mkdir()
        Path(name).chmod(0o755)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:  # who is allowed everything
            os.seteuid(65534)
        try:
            for path in (folder, folder / "new"):
                with pytest.raises(UserError, match=f"{path} cannot be written to: Permission denied"):
                    open_folder(path, CONFIG, resume=False)
        finally:
            os.seteuid(user)


def test_field_that_a_folder_never_had_is_no_change(tmp_path: Path) -> None:
    """Where its value is the one that went without saying."""
    open_folder(tmp_path, CONFIG, resume=False)
    open_folder(tmp_path, {**CONFIG, "new": "a"}, resume=True, absent={"new": "a"})
    assert "new" not in json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(UserError, match='new was "a", is "b"'):
        open_folder(tmp_path, {**CONFIG, "new": "b"}, resume=True, absent={"new": "a"})


def test_field_of_the_config_that_a_folder_never_had_is_no_change(tmp_path: Path) -> None:
    open_folder(tmp_path, CONFIG, resume=False)
    absent = {"config": {"rank": 0, "lr": 0.3, "elsewhere": 1}}
    open_folder(tmp_path, {**CONFIG, "config": {**CONFIG["config"], "rank": 0}}, resume=True, absent=absent)
    with pytest.raises(UserError, match=r"configuration: config.rank was 0, is 2; resume"):
        open_folder(tmp_path, {**CONFIG, "config": {**CONFIG["config"], "rank": 2}}, resume=True, absent=absent)


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (
        sole_writer(tmp_path),
        pytest.raises(UserError, match=f"another process is writing to {tmp_path}"),
    ):
        open_folder(tmp_path, CONFIG, resume=True)
    open_folder(tmp_path, CONFIG, resume=True)


# --- Another configuration ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, "seed was 1, is 2;"),
        ({"seed": 1.0}, "seed was 1, is 1.0;"),
        ({"valid": "v.txt"}, 'valid was null, is "v.txt";'),
        ({"extra": True}, "extra was absent, is true;"),
        ({"config": {**CONFIG["config"], "lr": 0.2, "sizes": [1]}}, r"config.lr was 0.1, is 0.2; config.sizes was "),
        ({"config": {}}, r"config was absent, is {}; config.empty was {}, is absent; config.lr was 0.1, is absent;"),
    ],
)
def test_other_configuration_is_refused_field_by_field(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    open_folder(tmp_path, CONFIG, resume=False)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError) as error:
        open_folder(tmp_path, {**CONFIG, **change}, resume=True)
    assert message in str(error.value)
    assert "method" not in str(error.value)
    assert "\n" not in str(error.value)
    assert (tmp_path / "config.json").read_bytes() == before
    open_folder(tmp_path, CONFIG, resume=True)


@pytest.mark.parametrize("text", ["", '{"method": ', "[1]", "\xff"])
def test_damaged_configuration_is_named(text: str, tmp_path: Path) -> None:
    open_folder(tmp_path, CONFIG, resume=False)
    write_atomic(tmp_path / "config.json", text.encode("latin-1"))
    with pytest.raises(UserError, match=r"config\.json .*restore it"):
        open_folder(tmp_path, CONFIG, resume=True)
