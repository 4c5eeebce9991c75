"""Who starts when, and what happens to those who die, with a Ray whose workers do as they are told."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from textforge.errors import Interrupted, UserError, WorkError
from textforge.sweeping import plan as planning
from textforge.sweeping import workers
from textforge.sweeping.plan import Plan, Trial
from textforge.sweeping.trials import FILE


class Died(Exception):
    """Stands for every way in which a worker can die."""


class Failed(Died):
    """A trial that ended by an error of its own, which is its cause."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("a long story")
        self.cause = cause


class Ray:
    """Ends the oldest trial at each look, as its script says: nothing is well, an exception is raised."""

    exceptions = SimpleNamespace(RayError=Died, RayTaskError=Failed)

    def __init__(self, script: dict[int, list[Exception | None]], look: Callable[[], object] = lambda: None) -> None:
        self.script, self.look = script, look
        self.started: list[Trial] = []
        self.most = 0
        self.cancelled: list[int] = []
        self.running = 0

    def remote(self, **_: object) -> Callable[[Callable[..., object]], Any]:
        return lambda _: SimpleNamespace(remote=self.start)

    def start(self, trial: Trial, *_: object) -> int:
        self.started.append(trial)
        self.running += 1
        self.most = max(self.most, self.running)
        return len(self.started) - 1

    def wait(
        self, references: Sequence[int], *, timeout: float, num_returns: int = 1
    ) -> tuple[Sequence[int], Sequence[int]]:
        self.look()
        return references[:num_returns], references[num_returns:]

    def get(self, reference: int) -> None:
        self.running -= 1
        told = self.script.get(self.started[reference].seed, [])
        if told and (error := told.pop(0)) is not None:
            raise error

    def cancel(self, reference: int) -> None:
        self.cancelled.append(reference)

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"Alive": True, "Resources": {"CPU": 4.0}},
            {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0}},
            {"Alive": False, "Resources": {"CPU": 4.0, "GPU": 8.0}},
        ]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "sweep.toml").write_text('methods = ["mle"]\nseeds = 4', encoding="utf-8")
    return planning.read(tmp_path / "sweep.toml", device="cpu")


def carried_out(
    ray: Ray, plan: Plan, folder: Path, at_once: int = 2, gpus: float = 0.0
) -> tuple[dict[str, str], list[str]]:
    said: list[str] = []
    module = ModuleType("ray")
    names = ("exceptions", "remote", "wait", "get", "cancel", "nodes")
    vars(module).update({name: getattr(ray, name) for name in names})
    failed = workers.carry_out_all(module, plan, folder, workers=at_once, gpus=gpus, say=said.append)
    return failed, said


def test_no_more_at_once_than_asked_for_and_in_order(plan: Plan, tmp_path: Path) -> None:
    for at_once in (1, 3):
        ray = Ray({})
        failed, said = carried_out(ray, plan, tmp_path, at_once)
        assert (failed, ray.most) == ({}, at_once)
        assert [trial.seed for trial in ray.started] == [0, 1, 2, 3]
        assert sorted(said) == sorted(f"mle-small/seed-{i}: {word}" for i in range(4) for word in ("starts", "done"))


def test_what_is_finished_is_left_alone_and_what_was_begun_goes_on(plan: Plan, tmp_path: Path) -> None:
    done, begun = (tmp_path / plan.trials[i].name for i in (0, 2))
    for folder in (done, begun):
        folder.mkdir(parents=True)
    (done / "evaluation.json").write_text("{}", encoding="utf-8")
    (done / FILE).write_text('{"asked": [1.0], "temperatures": [], "settings": {}}', encoding="utf-8")
    ray = Ray({})
    _, said = carried_out(ray, plan, tmp_path)
    assert [trial.seed for trial in ray.started] == [1, 2, 3]
    assert said[:3] == [
        "1 of 4 trials are finished already",
        "mle-small/seed-1: starts",
        "mle-small/seed-2: goes on",
    ]


def test_a_trial_may_lose_its_worker_twice(plan: Plan, tmp_path: Path) -> None:
    ray = Ray({0: [Died("killed"), Died("killed"), None], 2: [Died("killed")] * 4})
    failed, said = carried_out(ray, plan, tmp_path)
    assert failed == {"mle-small/seed-2": "its worker died (Died) 3 times"}
    starts = [trial.seed for trial in ray.started]
    assert [starts.count(seed) for seed in range(4)] == [3, 1, 3, 1]
    assert said.count("mle-small/seed-0: its worker died (Died)") == 2
    assert said.count("mle-small/seed-2: its worker died (Died) 3 times; it is given up") == 1


def test_a_worker_that_was_told_to_stop_has_died(plan: Plan, tmp_path: Path) -> None:
    """But a training that was to stop by a collapse is not gone on with unasked."""
    told = Failed(Interrupted("stopped by SIGTERM, everything is saved in a-collapse"))
    collapsed = "stopped by a collapse in iteration 3 of phase 'adversarial', everything is saved in x"
    ray = Ray({0: [told, None], 1: [Failed(Interrupted(collapsed))], 2: [told] * 3})
    failed, said = carried_out(ray, plan, tmp_path)
    assert failed == {
        "mle-small/seed-1": collapsed,
        "mle-small/seed-2": "its worker was told to stop 3 times",
    }
    starts = [trial.seed for trial in ray.started]
    assert [starts.count(seed) for seed in range(4)] == [2, 1, 3, 1]
    assert said.count("mle-small/seed-0: its worker was told to stop") == 1


def test_more_gpus_than_a_machine_has_are_refused(plan: Plan, tmp_path: Path) -> None:
    ray = Ray({})
    for enough in (0.0, 0.5, 2.0):
        assert carried_out(ray, plan, tmp_path, gpus=enough)[0] == {}
    before = len(ray.started)
    with pytest.raises(UserError, match="--gpus 3 is what each trial gets, and Ray finds 2 on a machine; give fewer"):
        carried_out(ray, plan, tmp_path, gpus=3.0)
    assert len(ray.started) == before


def test_an_error_of_its_own_ends_a_trial_at_once(plan: Plan, tmp_path: Path) -> None:
    ray = Ray({1: [Failed(WorkError("the loss\nis nan"))], 3: [Failed(KeyError("x"))]})
    failed, _ = carried_out(ray, plan, tmp_path)
    assert failed == {"mle-small/seed-1": "the loss is nan", "mle-small/seed-3": "KeyError: 'x'"}
    assert len(ray.started) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_trials_save(number: signal.Signals, plan: Plan, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    looks = iter([number])

    def look() -> None:
        if (sent := next(looks, None)) is not None:
            os.kill(os.getpid(), sent)

    ray = Ray({}, look)
    with pytest.raises(Interrupted, match="stopped, everything is saved"):
        carried_out(ray, plan, tmp_path)
    assert ray.cancelled == [1], "one of two had ended"
    assert len(ray.started) == 2
    assert signal.getsignal(number) is before
