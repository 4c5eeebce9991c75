"""A training that is killed, stopped or interrupted, and resumed, ends as one that was left alone: bit for bit.

`TEXTFORGE_KILLS=20 pytest -s tests/test_crash.py` kills that often, in a longer training, and prints when.
"""

import json
import multiprocessing
import os
import random
import shlex
import signal
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from command import SENTENCES, call, lines, run_process
from run import toy

KILLS = int(os.environ.get("TEXTFORGE_KILLS", "5"))
LENGTH = f"--pretrain-steps {10 * KILLS} --pretrain-rounds {KILLS} --rounds {3 * KILLS}"
TRAIN = f"train seqgan --preset tiny --seed 3 --dropout 0.2 {LENGTH} --out run --data"


@dataclass(frozen=True)
class Whole:
    """What a training leaves that was left alone, and how long it took: to its first record, and to learn."""

    data: Path
    left: dict[str, Any]
    start: float
    learning: float


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that start with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lightning_fabric", "torch.utils.tensorboard", "altair", "tyro", "rich.console"])
    return context


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, processes: ForkServerContext) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    data = lines(folder / "data.txt", SENTENCES)
    begin(processes, folder, ["methods"]).join()  # the first process waits for the imports
    started = time.monotonic()
    process = begin(processes, folder, [*TRAIN.split(), str(data)], checkpoint_seconds=60)
    while not (folder / "run" / "metrics.jsonl").exists() and process.is_alive():
        time.sleep(0.005)
    first = time.monotonic()
    process.join()
    assert process.exitcode == 0, (folder / "err").read_text("utf-8")
    return Whole(data, left(folder), first - started, records(folder)[-1]["seconds"])


def begin(
    processes: ForkServerContext, folder: Path, arguments: list[str], checkpoint_seconds: float = 0.05
) -> ForkServerProcess:
    process = processes.Process(target=run_process, args=(arguments, folder, checkpoint_seconds))
    process.start()
    return process


def left(folder: Path) -> dict[str, Any]:
    """Return what a training leaves: weights, optimizers, random numbers, records, samples, evaluation, results."""
    content = toy.content(folder / "run")
    del content["generations"]  # which older checkpoints are kept depends on the clock
    content["samples"] = dict(sorted(content["samples"].items()))
    names = ("config.json", "vocabulary.json", "evaluation.json")
    files = {name: (folder / "run" / name).read_bytes() for name in names}
    return {**content, **files, "results": (folder / "out").read_text("utf-8")}


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]


def step(folder: Path) -> int:
    """Return how many iterations the newest checkpoint knows of."""
    found = [int(path.stem) for path in (folder / "run" / "checkpoints").glob("0*.safetensors")]
    return max(found, default=0)


def test_the_training_is_a_hard_case(whole: Whole) -> None:
    """All phases are there, evaluations too, and the best generator is not the last."""
    assert {record["phase"] for record in whole.left["records"]} == {"pretrain", "discriminator", "adversarial"}
    assert len(whole.left["records"]) > 30
    assert whole.left["best"]["position"]["step"] < whole.left["last"]["position"]["step"] == 14 * KILLS
    assert len(json.loads(whole.left["evaluation.json"])["rows"]) > 1


def test_killed_again_and_again(whole: Whole, processes: ForkServerContext, tmp_path: Path) -> None:
    """Kills fall at random moments, from before the first record to the evaluation behind the last."""
    chance = random.Random(0)
    command = [*TRAIN.split(), str(whole.data), "--resume"]
    kills, steps = 0, []
    while kills < KILLS:
        process = begin(processes, tmp_path, command)
        process.join(whole.start * chance.uniform(0.8, 1.5) + chance.uniform(0, 3 * whole.learning / KILLS))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL, (tmp_path / "err").read_text("utf-8")
        kills += 1
        steps.append(step(tmp_path))
    process = begin(processes, tmp_path, command)
    process.join()
    assert process.exitcode == 0, (tmp_path / "err").read_text("utf-8")
    assert kills > 0
    assert toy.differences(left(tmp_path), whole.left) == []
    print(f"\nkilled {kills} times, with {steps} of {14 * KILLS} iterations saved; the end is the same, bit for bit")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_stopped_and_resumed(
    number: signal.Signals,
    whole: Whole,
    processes: ForkServerContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state is saved at once, and the command that the user is told goes on from there."""
    process = begin(processes, tmp_path, [*TRAIN.split(), str(whole.data)], checkpoint_seconds=60)
    while not (tmp_path / "run" / "samples").exists() and process.is_alive():
        time.sleep(0.005)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 1
    assert (tmp_path / "out").read_text("utf-8") == ""
    last = (tmp_path / "err").read_text("utf-8").splitlines()[-1]
    told, _, command = last.rpartition(": ")
    assert told.startswith(f"textforge: stopped by {number.name}, everything is saved in run")
    assert 0 < step(tmp_path) == records(tmp_path)[-1]["step"] < 14 * KILLS
    monkeypatch.chdir(tmp_path)
    said = call(*shlex.split(command)[1:])
    assert said.status == 0, said.err
    (tmp_path / "out").write_text(said.out, "utf-8")
    assert toy.differences(left(tmp_path), whole.left) == []
