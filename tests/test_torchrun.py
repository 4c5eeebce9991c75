"""torchrun and the command line: two processes train, one of them is killed, and the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import SENTENCES, environment, lines
from run import toy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the second process is found in /proc")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "textforge"]
TRAIN = "train seqgan --preset tiny --controls none --rounds 20 --out run --data"
LENGTH = 4 + 1 + 20


def launched(folder: Path, data: Path, *flags: str) -> subprocess.Popen[bytes]:
    arguments = [*TRAIN.split(), str(data), *flags]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return subprocess.Popen([*TORCHRUN, *arguments], cwd=folder, env=environment(), stdout=out, stderr=err)


def second(pid: int) -> int:
    """Return the process of rank 1 that torchrun started."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"RANK=1" in (place / "environ").read_bytes().split(b"\0"):
                return int(place.name)
        except OSError:  # it has ended in the meantime
            continue
    raise AssertionError("there is no second process")


def ours(folder: Path) -> Iterator[str]:
    """Yield the lines that say why the command failed; torchrun writes a report of its own beside them."""
    for line in (folder / "err").read_text("utf-8").splitlines():
        if line.startswith("textforge: "):
            yield line


def test_a_killed_process_and_the_same_command_again(tmp_path: Path) -> None:
    data = lines(tmp_path / "data.txt", SENTENCES)
    training = launched(tmp_path, data)
    while not [*(tmp_path / "run" / "checkpoints").glob("0*.safetensors")]:
        assert training.poll() is None, (tmp_path / "err").read_text("utf-8")
        time.sleep(0.05)
    os.kill(second(training.pid), signal.SIGKILL)
    assert training.wait() == 1
    (line,) = ours(tmp_path)
    assert line.startswith("textforge: process 0 of 2 lost process 1 (")
    assert line.endswith("the last checkpoint stays: start all processes again with --resume")
    assert 0 < toy.state(tmp_path / "run")["position"]["step"] < LENGTH

    again = launched(tmp_path, data, "--resume")
    assert again.wait() == 0, (tmp_path / "err").read_text("utf-8")
    out, err = ((tmp_path / name).read_text("utf-8") for name in ("out", "err"))
    assert out.count("samples\n") == out.count("report: ") == err.count("evaluating: seqgan\n") == 1
    assert list(ours(tmp_path)) == []
    assert toy.state(tmp_path / "run")["position"]["step"] == LENGTH
    assert (tmp_path / "run" / "report.html").exists()
    assert len(json.loads((tmp_path / "run" / "environment.json").read_bytes())["resumed"]) == 1


def test_what_is_wrong_is_said_once(tmp_path: Path) -> None:
    failed = launched(tmp_path, tmp_path / "no-such-file")
    assert failed.wait() == 1
    (line,) = ours(tmp_path)
    assert "no-such-file" in line
    assert not (tmp_path / "run").exists()
