"""What is trained where nobody said so, and how a training is made to fit a time; no test reads the clock."""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from command import SENTENCES, call, lines
from tasks import text_task

import textforge
from textforge import budget, methods
from textforge.budget import Pace, shortened, sized, within
from textforge.errors import CallError, UserError
from textforge.options import Options
from textforge.task import Task, load_world

CPU = Options(device="cpu")


class Steps:
    """A clock on which every iteration of a method takes a second, and everything between two nothing."""

    def __init__(self, per_reading: Iterator[float]) -> None:
        self.per_reading = per_reading
        self.now = 0.0

    def __call__(self) -> float:
        self.now += next(self.per_reading)
        return self.now


def even(seconds: float) -> Steps:
    return Steps(itertools.repeat(seconds))


# --- How long ---


def config_of(method: str, **fields: Any) -> Any:
    return dataclasses.replace(methods.find(method).PRESETS["tiny"], **fields)


@pytest.mark.parametrize("method", methods.names())
def test_every_method_says_what_makes_it_long(method: str) -> None:
    """The iterations of all phases are in proportion to the fields that it names, up to the two that always stay."""
    module = methods.find(method)
    assert module.LENGTHS
    assert set(module.LENGTHS) <= vars(module.Config()).keys()
    task: Any = load_world(Options(data="temperatures")) if isinstance(module, methods.WorldMethod) else text_task()
    config = dataclasses.replace(module.PRESETS["tiny"], **dict.fromkeys(module.LENGTHS, 12))
    short = shortened(config, module.LENGTHS, [Pace(12, 1.0, 0.0)], 6.0)
    before, after = (
        [pace.iterations for pace in budget.measure(method, each, task, CPU, even(1.0))] for each in (config, short)
    )
    assert sum(before) > 0
    assert [2 * num for num in after] == before


def test_a_trial_takes_the_time_of_the_method_apart_from_that_of_the_run() -> None:
    """On a clock that goes on by one at each reading, an iteration takes one, and so does an evaluation."""
    config = config_of("mle", steps=50)
    (pace,) = budget.measure("mle", config, text_task(), CPU, even(1.0))
    assert (pace.iterations, pace.seconds) == (50, 1.0)
    assert pace.fixed == 10 * 1.0 + 1.0, "ten evaluations and the end of the phase"


def test_a_slow_first_iteration_does_not_count() -> None:
    readings = Steps(itertools.chain([0.0, 0.0, 100.0], itertools.repeat(1.0)))
    (pace,) = budget.measure("mle", config_of("mle", steps=50), text_task(), CPU, readings)
    assert pace.seconds == 1.0


@dataclasses.dataclass(frozen=True)
class Two:
    first: int
    second: int
    other: int = 7


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (130.0, Two(100, 10)),  # all of it
        (129.0, Two(99, 9)),
        (75.0, Two(50, 5)),  # half of the work of 110 s, and 20 s whatever is done
        (20.0, Two(2, 2)),
        (1.0, Two(2, 2)),
    ],
)
def test_phases_are_cut_by_the_same_factor(seconds: float, expected: Two) -> None:
    paces = [Pace(100, 1.0, 15.0), Pace(10, 1.0, 5.0)]
    assert shortened(Two(100, 10), ("first", "second"), paces, seconds) == expected


def test_what_is_short_already_stays() -> None:
    assert shortened(Two(0, 1), ("first", "second"), [Pace(1, 100.0, 0.0)], 1.0) == Two(0, 1)
    assert shortened(Two(0, 0), ("first", "second"), [], 1.0) == Two(0, 0)


def test_the_words_say_what_was_cut() -> None:
    """Of 600 steps of a second in 5 minutes, nine tenths of them planned for, the trial's readings taken off."""
    task, config = text_task(), config_of("mle", steps=600)
    short, words = within(5, "mle", config, task, CPU, even(1.0))
    assert 200 < short.steps < 5 * 60 * 0.9
    assert dataclasses.replace(short, steps=600) == config, "nothing else changes"
    needs = "the settings take about 10.2 minutes on this machine"
    assert words == f"{needs}: for 5 they are cut to --steps {short.steps} instead of 600"
    same, words = within(50, "mle", config, task, CPU, even(1.0))
    assert same is config
    assert words == f"{needs}: nothing is cut for 50"
    with pytest.raises(
        CallError, match=f"^0.1 minutes are too few: {needs}, 0.2 of them whatever is cut; give more, or"
    ):
        within(0.1, "mle", config, task, CPU, even(1.0))


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_minutes_are_above_zero(minutes: float) -> None:
    with pytest.raises(CallError, match="--minutes must be above 0"):
        within(minutes, "mle", config_of("mle"), text_task(), CPU, even(1.0))


# --- What ---


def corpus(num: int, words: int = 5) -> Task:
    return text_task([" ".join(f"w{(i * 7 + j) % 50}" for j in range(words)) for i in range(num)])


def test_more_text_makes_a_larger_model_and_a_longer_training() -> None:
    fields = [sized(corpus(num)) for num in (30, 600, 1500)]
    assert [each["hidden_dim"] for each in fields] == [64, 64, 256]
    assert [each["steps"] for each in fields] == [400, 468, 1171]
    for each in fields:
        methods.configure("mle", "small", each)


def slow(monkeypatch: pytest.MonkeyPatch, config: dict[str, int]) -> list[Sequence[Any]]:
    """Keep trials from the clock, and the method from a long training; return what trials were made of."""
    tried: list[Sequence[Any]] = []

    def measure(method: str, config: Any, *_: Any) -> list[Pace]:
        tried.append((method, config))
        return [Pace(config.steps, 20.0, 0.0)]

    monkeypatch.setattr(budget, "measure", measure)
    monkeypatch.setattr(budget, "sized", lambda task: config)
    return tried


TINY = {"embedding_dim": 4, "hidden_dim": 4, "batch_size": 8, "steps": 5}


def test_a_program_that_names_no_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maximum likelihood of the size of the text; what is given by name comes first, and the model tells all of it."""
    slow(monkeypatch, TINY)
    model = textforge.fit(SENTENCES, hidden_dim=6)
    assert model.settings["method"] == "mle"
    assert {name: model.settings["config"][name] for name in TINY} == {**TINY, "hidden_dim": 6}
    assert any("method: mle, as none is named (hidden-dim 6, " in note for note in model.notes)
    assert textforge.fit(SENTENCES, preset="tiny").settings["config"] == vars(methods.find("mle").PRESETS["tiny"])


def test_a_program_with_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = slow(monkeypatch, TINY)
    model = textforge.fit(SENTENCES, method="mle", preset="tiny", minutes=1)
    assert len(tried) == 1
    assert model.settings["config"]["steps"] == 2
    assert "minutes" not in model.settings, "the config has what was used"
    assert "cut to --steps 2 instead of 6" in model.notes[-1]


def test_a_folder_that_is_taken_is_refused_before_anything_is_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = slow(monkeypatch, TINY)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="already holds a model"):
        textforge.fit(SENTENCES, method="mle", preset="tiny", minutes=1, out=tmp_path)
    assert not tried


def test_the_command_line_with_little_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No method, little time; the run is then like any other: it goes on, and its config can be taken over."""
    tried = slow(monkeypatch, TINY)
    data, out = lines(tmp_path / "mine.txt", SENTENCES), tmp_path / "run"
    said = call("train", "--data", data, "--minutes", 1, "--lr", 0.5, "--controls", "none", "--out", out)
    assert said.status == 0, said.err
    assert "method: mle, as none is named (hidden-dim 4, dropout 0.3 and at most 5 steps" in said.err
    assert re.search("for 1 they are cut to --steps 2 instead of 5$", said.err, re.MULTILINE)
    config = json.loads((out / "config.json").read_text())["config"]
    assert (config["steps"], config["hidden_dim"], config["lr"]) == (2, 4, 0.5)
    again = call("train", "--resume", "--minutes", 1, "--controls", "none", "--out", out)
    assert f"--minutes is for a new run: the one in {out} keeps the lengths that it began with" in again.err
    assert again.status == 0, again.err
    assert again.out == said.out
    assert len(tried) == 1, "a run that has begun has its length"


def test_what_seeds_cannot_have(tmp_path: Path) -> None:
    data = lines(tmp_path / "mine.txt", SENTENCES)
    for arguments, reason in (
        (["mle", "--minutes", 1], "--minutes may give each of the --seeds another length"),
        ([], "name it: textforge train mle"),
    ):
        said = call("train", *arguments, "--data", data, "--seeds", 2, "--out", tmp_path / "four")
        assert said.status == 2
        assert reason in said.reason
