"""A run that was cut, killed or signalled equals one that never was."""

import itertools
import random
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from run import toy
from torch import nn

import textforge.run.run as run_module
from textforge.errors import Interrupted, UserError
from textforge.run import Measurement, Run, load_checkpoint, saved_steps
from textforge.run.seeds import random_state

ITERATIONS = [("pretrain", i) for i in range(8)] + [("adversarial", i) for i in range(5)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run leaves that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    toy.complete(folder)
    return toy.content(folder)


class Cut(Exception):
    """The end of a process, as seen from inside."""


def cut_after(phase: str, iteration: int) -> Callable[[str, int], None]:
    def after(in_phase: str, i: int) -> None:
        if (in_phase, i) == (phase, iteration):
            raise Cut

    return after


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the clock by one that every look at it moves by a second; an iteration looks two or three times."""
    ticks = itertools.count()
    monkeypatch.setattr(run_module, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))


def test_reference_uses_what_a_resume_could_lose(whole: dict[str, Any]) -> None:
    """The toy stays a hard case: patience ends its first phase behind the best generator, and a second is better."""
    reached = {(record["phase"], record["iteration"] - 1) for record in whole["records"]}
    assert reached == set(ITERATIONS)
    nlls = {record["step"]: record["nll_valid"] for record in whole["records"] if "nll_valid" in record}
    assert min(nlls, key=lambda step: nlls[step] if step <= 8 else 9) == 4
    assert whole["best"]["position"]["step"] == min(nlls, key=lambda step: nlls[step]) == 12
    assert whole["best"]["nll_valid"] == nlls[12]
    assert whole["last"]["position"]["step"] == 13
    assert {"loss", "d_loss", "nll_valid", "nll_oracle"} <= {name for record in whole["records"] for name in record}


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize("seconds", [0.0, 7.0])
@pytest.mark.parametrize(("phase", "iteration"), ITERATIONS)
def test_cut_at_every_iteration(
    phase: str, iteration: int, seconds: float, tmp_path: Path, whole: dict[str, Any]
) -> None:
    with pytest.raises(Cut), toy.start(tmp_path, seconds=seconds) as run:
        toy.train(run, cut_after(phase, iteration))
    with toy.start(tmp_path, resume=True, seconds=seconds) as run:
        generator = toy.train(run)
        assert toy.differences(random_state(run.device), whole["last"]["random"]) == []
    now = toy.content(tmp_path)
    if seconds:  # which generations are kept depends on the clock
        del now["generations"]
    assert toy.differences(now, {name: whole[name] for name in now}) == []
    assert toy.differences(dict(generator.state_dict()), whole["last"]["modules"]["generator"]) == []


def test_cut_again_and_again(tmp_path: Path, whole: dict[str, Any]) -> None:
    """Each process lives for one iteration."""
    for number, (phase, iteration) in enumerate(ITERATIONS):
        with pytest.raises(Cut), toy.start(tmp_path, resume=number > 0) as run:
            toy.train(run, cut_after(phase, iteration))
    toy.complete(tmp_path, resume=True)
    assert toy.differences(toy.content(tmp_path), whole) == []


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path, whole: dict[str, Any]) -> None:
    toy.complete(tmp_path)
    toy.complete(tmp_path, resume=True)
    assert toy.differences(toy.content(tmp_path), whole) == []


def test_kill_at_any_call_that_touches_the_disk(
    tmp_path: Path, processes: ForkServerContext, whole: dict[str, Any]
) -> None:
    """Processes kill themselves between and in the middle of writes, until one comes through."""
    chance = random.Random(1)
    exits: list[int | None] = []
    while not exits or exits[-1]:
        process = processes.Process(target=toy.killed, args=(tmp_path, chance.randrange(1, 90)))
        process.start()
        process.join()
        exits.append(process.exitcode)
        assert exits[-1] in {0, -signal.SIGKILL}
    assert len(exits) > 4
    assert toy.differences(toy.content(tmp_path), whole) == []


def test_kill_at_any_moment(tmp_path: Path, processes: ForkServerContext, whole: dict[str, Any]) -> None:
    """Kills from outside, at moments that chance and the machine decide."""
    chance = random.Random(2)
    for _ in range(4):
        process = processes.Process(target=toy.complete, args=(tmp_path,), kwargs={"resume": True})
        process.start()
        process.join(chance.uniform(0.05, 0.3))
        process.kill()
        process.join()
        assert process.exitcode in {0, -signal.SIGKILL}
    toy.complete(tmp_path, resume=True)
    assert toy.differences(toy.content(tmp_path), whole) == []


def test_a_folder_has_one_writer(tmp_path: Path, processes: ForkServerContext) -> None:
    ready = processes.Event()
    process = processes.Process(target=toy.hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match=f"another process is writing to {tmp_path}"):
        toy.start_bare(tmp_path, resume=True)
    process.kill()
    process.join()
    toy.start_bare(tmp_path, resume=True).close()


# --- Signals ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("at", [("pretrain", 2), ("adversarial", 1)])
def test_first_signal_finishes_the_iteration_and_saves(
    number: signal.Signals, at: tuple[str, int], tmp_path: Path, whole: dict[str, Any]
) -> None:
    before = signal.getsignal(number)

    def after(phase: str, i: int) -> None:
        if (phase, i) == at:
            signal.raise_signal(number)

    with (
        pytest.raises(Interrupted, match=f"stopped by {number.name}.*with --resume"),
        toy.start(tmp_path, seconds=1e9) as run,
    ):
        toy.train(run, after)
    assert signal.getsignal(number) is before
    position = load_checkpoint(tmp_path)["position"]
    assert (position["phase"], position["iteration"] - 1) == at
    toy.complete(tmp_path, resume=True)
    assert toy.differences(toy.content(tmp_path)["records"], whole["records"]) == []
    assert toy.differences(toy.state(tmp_path), whole["last"]) == []


def test_second_signal_stops_at_once(tmp_path: Path, whole: dict[str, Any]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def after(phase: str, i: int) -> None:
        if i == 2:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second signal did not stop the iteration")

    with (
        pytest.raises(Interrupted, match="stopped at once by a second SIGINT"),
        toy.start(tmp_path) as run,
    ):
        toy.train(run, after)
    assert signal.getsignal(signal.SIGTERM) is before
    assert load_checkpoint(tmp_path)["position"]["iteration"] == 2
    toy.complete(tmp_path, resume=True)
    assert toy.differences(toy.content(tmp_path), whole) == []


def test_signal_between_phases_stops_before_the_next(tmp_path: Path) -> None:
    with toy.start_bare(tmp_path) as run:
        assert list(run.phase("one", 2)) == [0, 1]
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            next(run.phase("two", 2))
    assert load_checkpoint(tmp_path)["position"]["phase"] == "one"


# --- What is continued, and what is forgotten ---


@pytest.mark.parametrize("cut", [400, 401, 402])
def test_values_in_no_record_yet_are_kept(cut: int, tmp_path: Path) -> None:
    """A phase of 600 has a record every 3 iterations, so a checkpoint may fall between two."""

    def loop(folder: Path, *, cut: int, resume: bool) -> None:
        with toy.start_bare(folder, resume=resume) as run:
            for i in run.phase("only", 600):
                run.log(square=torch.tensor(float(i * i)), number=i)
                if i % 2:
                    run.log(odd=0.1 * i)
                if i == cut:
                    signal.raise_signal(signal.SIGTERM)

    loop(tmp_path / "whole", cut=-1, resume=False)
    with pytest.raises(Interrupted):
        loop(tmp_path / "cut", cut=cut, resume=False)
    loop(tmp_path / "cut", cut=-1, resume=True)
    assert toy.records(tmp_path / "cut") == toy.records(tmp_path / "whole")
    assert len(toy.records(tmp_path / "cut")) == 200


def test_resume_before_anything_was_saved_starts(tmp_path: Path, whole: dict[str, Any]) -> None:
    with (
        pytest.raises(Cut),
        toy.start(tmp_path, seconds=1e9) as run,
    ):
        toy.train(run, cut_after("pretrain", 3))
    assert toy.records(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"torn')
    toy.complete(tmp_path, resume=True)
    assert toy.differences(toy.content(tmp_path), whole) == []


def test_damaged_newest_falls_back_with_the_best_that_it_knew(tmp_path: Path, whole: dict[str, Any]) -> None:
    """The checkpoint at the end of the first phase holds the best generator of then."""
    with pytest.raises(Interrupted), toy.start(tmp_path, seconds=1e9) as run:
        toy.train(
            run, lambda phase, i: signal.raise_signal(signal.SIGTERM) if (phase, i) == ("adversarial", 3) else None
        )
    assert saved_steps(tmp_path / "checkpoints", "last") == [12, 8]
    assert load_checkpoint(tmp_path, "best")["position"]["step"] == 12
    (tmp_path / "checkpoints" / "00000012.safetensors").write_bytes(b"")
    toy.complete(tmp_path, resume=True)
    assert toy.differences(toy.content(tmp_path), whole) == []


def test_best_of_a_lost_future_is_forgotten(tmp_path: Path) -> None:
    """What was the best only after the checkpoint never happened, and may not happen again on a GPU."""
    values = iter([3.0, 2.0, 1.0])

    def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
        return Measurement({"nll_valid": next(values)})

    def loop(run: Run, cut: int) -> None:
        run.setup("generator", nn.Linear(1, 1))
        list(run.phase("one", 1))
        for i in run.phase("two", 5, evaluate_every=1):
            if i == cut:
                raise Cut

    with pytest.raises(Cut), Run(tmp_path, seed=0, device="cpu", evaluate=evaluate, console=toy.QUIET) as run:
        loop(run, 2)
    assert load_checkpoint(tmp_path, "best")["nll_valid"] == 1.0
    toy.start_bare(tmp_path, resume=True).close()
    assert load_checkpoint(tmp_path, "best")["nll_valid"] == 3.0


def test_tensorboard_shows_each_record_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    with (
        pytest.raises(Cut),
        toy.start(tmp_path, seconds=1e9) as run,
    ):
        toy.train(run, cut_after("adversarial", 3))
    toy.complete(tmp_path, resume=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    shown = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    for group, name in [("train", "loss"), ("train", "d_loss"), ("evaluation", "nll_valid")]:
        expected = [(record["step"], record[name]) for record in toy.records(tmp_path) if name in record]
        assert shown[f"{group}/{name}"] == [(step, pytest.approx(value)) for step, value in expected]


def test_other_parts_than_the_checkpoint_are_refused(tmp_path: Path) -> None:
    with toy.start_bare(tmp_path) as run:
        run.setup("generator", nn.Linear(1, 1))
        list(run.phase("one", 1))
    with toy.start_bare(tmp_path, resume=True) as run:
        run.setup("generator", nn.Linear(1, 1))
        run.setup("extra", nn.Linear(1, 1))
        with pytest.raises(ValueError, match="differ in their modules: extra"):
            list(run.phase("one", 1))
    with toy.start_bare(tmp_path, resume=True) as run:
        run.setup("generator", nn.Linear(1, 1))
        with pytest.raises(ValueError, match="no phase 'other' before 'one'"):
            list(run.phase("other", 1))
