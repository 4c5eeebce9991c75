"""The command itself, on workers: killed, interrupted, gone on with, failing; and where Ray listens."""

import contextlib
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import SENTENCES, call, environment, lines, only_json, start

from textforge.model import load_text_model

LONG = """
data = "my.txt"
preset = "tiny"
methods = ["mle", "seqgan"]
seeds = 2
temperatures = [0.7, 1.0]
[fields.mle]
hidden_dim = [8, 16]
[fields.seqgan]
rounds = 100
"""
KILLED = "seqgan-tiny-rounds=100/seed-1"
NAMES = [
    *(f"mle-tiny-hidden_dim={size}/seed-{seed}" for size in (8, 16) for seed in (0, 1)),
    "seqgan-tiny-rounds=100/seed-0",
    KILLED,
]


def begin(folder: Path, text: str, *arguments: object) -> "subprocess.Popen[bytes]":
    (folder / "sweep.toml").write_text(text, encoding="utf-8")
    lines(folder / "my.txt", SENTENCES)
    return start("sweep", "sweep.toml", "--out", "out", *arguments, cwd=folder)


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    while not condition() and process.poll() is None:
        time.sleep(0.01)
    assert condition(), process.stderr and process.stderr.read().decode()


def writer(folder: Path) -> int | None:
    """Return the process that holds the lock of a run folder."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(folder / ".lock"):
                return int(link.parts[2])
        except OSError:
            continue  # it has just ended
    return None


def records(folder: Path) -> list[bytes]:
    return (folder / "metrics.jsonl").read_bytes().splitlines()


def saved(folder: Path) -> int:
    return max((int(path.stem) for path in (folder / "checkpoints").glob("0*.safetensors")), default=0)


def step(record: bytes) -> int:
    return int(json.loads(record)["step"])


def times_resumed(folder: Path) -> int:
    return len(json.loads((folder / "environment.json").read_bytes()).get("resumed", []))


def test_a_killed_worker_is_followed_by_another_that_goes_on(tmp_path: Path) -> None:
    """SIGKILL in the last phase: what was recorded up to the checkpoint stands as it was, clock readings and all."""
    process, folder = begin(tmp_path, LONG, "--workers", 2), tmp_path / "out" / KILLED
    wait_until(lambda: saved(folder) > 0 and step(records(folder)[-1]) > saved(folder) + 2, process)
    worker = writer(folder)
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    before, checkpoint = records(folder), saved(folder)
    out, err = (said.decode() for said in process.communicate())
    assert process.returncode == 0, err
    said = err.splitlines()
    assert f"{KILLED}: its worker died (WorkerCrashedError)" in said
    assert said.count(f"{KILLED}: goes on") == 1
    assert [line for line in said if line.endswith(": done")] != []
    assert {line.removesuffix(": done") for line in said if line.endswith(": done")} == {*NAMES}
    kept = [record for record in before if step(record) <= checkpoint]
    assert 0 < len(kept) < len(before)
    after = records(folder)
    assert after[: len(kept)] == kept
    whole = tmp_path / "out" / "seqgan-tiny-rounds=100" / "seed-0"
    assert [step(record) for record in after] == [step(record) for record in records(whole)]
    assert (times_resumed(folder), times_resumed(whole)) == (1, 0)
    everything_is_reported(tmp_path, out)


def everything_is_reported(folder: Path, out: str) -> None:
    """In the table, the page and the files; and whatever works on runs works on trials."""
    assert "settings tried: mle 2, seqgan 1: no equal budgets" in out
    page = (folder / "out" / "report.html").read_text("utf-8")
    assert "mle 2, seqgan 1: no equal budgets" in page
    found = json.loads((folder / "out" / "sweep.json").read_bytes())
    settings = [Path(name).parent.name for name in NAMES[::2]]
    assert [(line["setting"], line["temperature"]) for line in found["lines"]] == [
        *itertools.product(settings, (0.7, 1.0))
    ]
    assert all(line["seeds"] == [0, 1] for line in found["lines"])
    assert found["failed"] == {}
    run = folder / "out" / NAMES[1]
    for temperature, line in zip((0.7, 1.0), found["lines"], strict=False):
        printed = only_json(call("evaluate", run, "--temperature", temperature, "--json"))["metrics"]
        assert {name: numbers["values"][1] for name, numbers in line["metrics"].items()} == pytest.approx(printed)
    assert call("report", run).status == 0
    model = load_text_model(run)
    assert (model.settings["seed"], model.settings["config"]["hidden_dim"]) == (1, 8)
    recorded = json.loads((run / "environment.json").read_bytes())
    assert recorded["command"] == ["textforge", "sweep", "sweep.toml", "--out", "out", "--workers", "2"]
    assert recorded["threads"] == 1
    compared = call("compare", run.parent, "--out", folder / "page.html", "--json")
    assert [len(entry["seeds"]) for entry in only_json(compared)["entries"] if entry["kind"] == "model"] == [2]


CLUSTER = """
import json, os, sys
from pathlib import Path
from textforge.errors import UserError
from textforge.sweeping import workers

def refused(*paths):
    try:
        workers.require_same_files(ray, Path.cwd(), *paths)
    except UserError as error:
        return str(error)

with workers.cluster(None, 2) as ray:
    found = {
        "address": ray.get_runtime_context().gcs_address,
        "environment": {name: value for name, value in os.environ.items() if name.startswith("RAY_")},
        "seen": refused(str(Path.cwd())),
        "unseen": refused("/nowhere/my.txt"),
    }
    write_atomic, workers.write_atomic = workers.write_atomic, lambda *_: None
    found["elsewhere"] = refused()
    print(json.dumps(found), flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Cluster:
    """Ray as a sweep starts it, and what workers there say of files."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    found: dict[str, Any]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder, before = tmp_path_factory.mktemp("cluster"), temporary()
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CLUSTER],
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    yield Cluster(process, folder, json.loads(said) if said else {})
    _, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert temporary() <= before, "the folder of Ray is gone"


def temporary() -> set[Path]:
    return {*Path("/tmp").glob("sweep-*"), *Path("/tmp").glob("ray*")}


def descendants(pid: int) -> Iterator[int]:
    """Yield a process and all that come from it, also those whose parents have ended."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parts[2])] = int(stat.read_text("utf-8").rpartition(")")[2].split()[1])
    yield pid
    for child, parent in parents.items():
        if parent == pid:
            yield from descendants(child)


def listening(pids: set[int]) -> set[str]:
    """Return the addresses, in the hexadecimal of Linux, at which processes wait for others."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text("utf-8").splitlines()[1:]
    ]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


def test_only_this_machine_is_listened_to(cluster: Cluster) -> None:
    loopback, mapped = "0100007F", "0000000000000000FFFF00000100007F"
    found = listening({*descendants(cluster.process.pid)})
    assert found
    assert found <= {loopback, mapped}
    assert cluster.found["environment"]["RAY_AUTH_MODE"] == "token"
    assert cluster.found["environment"]["RAY_USAGE_STATS_ENABLED"] == "0"


def test_workers_must_see_the_files(cluster: Cluster) -> None:
    shared = "put it where all machines share a folder"
    assert cluster.found["seen"] is None
    assert cluster.found["unseen"] == f"a worker on 127.0.0.1 does not see /nowhere/my.txt; {shared}"
    assert cluster.found["elsewhere"] == f"a worker on 127.0.0.1 does not see {cluster.folder}; {shared}"
    assert [*cluster.folder.iterdir()] == []


ONE = """
data = "my.txt"
preset = "tiny"
methods = ["seqgan"]
[fields.seqgan]
rounds = 100
"""
MORE = """
data = "my.txt"
preset = "tiny"
methods = ["seqgan", "mle"]
temperatures = [1.0, 0.5]
[fields.seqgan]
rounds = 100
[fields.mle]
lr = [1e30, 1e-3]
"""


def test_interrupted_grown_and_gone_on_with(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster. Ctrl-C lets a trial save; the second sweep also has one that cannot work, and the others end."""
    for name, value in cluster.found["environment"].items():
        monkeypatch.setenv(name, value)
    process = begin(tmp_path, ONE, "--address", cluster.found["address"])
    folder = tmp_path / "out" / "seqgan-tiny-rounds=100" / "seed-0"
    wait_until(lambda: (folder / "metrics.jsonl").exists() and len(records(folder)) > 12, process)
    process.send_signal(signal.SIGINT)
    out, err = (said.decode() for said in process.communicate())
    assert (process.returncode, out) == (1, ""), err
    told, _, command = err.splitlines()[-1].partition("; the same command goes on: ")
    assert told == f"textforge: stopped, everything is saved, in {tmp_path}/out"
    before = records(folder)
    assert 0 < step(before[-1]) == saved(folder) < 100
    process = begin(tmp_path, MORE, *shlex.split(command)[5:])
    out, err = (said.decode() for said in process.communicate())
    assert process.returncode == 1
    assert records(folder)[: len(before)] == before
    assert times_resumed(folder) == 1
    *_, reason = err.splitlines()
    failing = "mle-tiny-lr=1e+30/seed-0"
    assert reason.startswith(f"textforge: 1 of 3 trials failed: {failing}: the held-out NLL is nan in iteration 1")
    assert reason.endswith(f"; see {tmp_path}/out/{failing}.log")
    assert (
        (tmp_path / "out" / f"{failing}.log")
        .read_text("utf-8")
        .splitlines()[-1]
        .startswith("textforge: the held-out NLL")
    )
    found = json.loads((tmp_path / "out" / "sweep.json").read_bytes())
    assert found["tried"] == {"seqgan": 1, "mle": 2}
    assert list(found["failed"]) == [failing]
    assert [(line["setting"], line["temperature"]) for line in found["lines"]] == [
        *itertools.product(("seqgan-tiny-rounds=100", "mle-tiny-lr=0.001"), (1.0, 0.5))
    ]
    assert failing in (tmp_path / "out" / "report.html").read_text("utf-8")
