"""Evaluations change nothing, decide which generator is the best, and when patience ends."""

import math
from pathlib import Path

import pytest
import torch
from run import toy
from torch import nn

from textforge.errors import UserError, WorkError
from textforge.run import Measurement, Run, checkpoint, ended_phases, load_checkpoint
from textforge.run.seeds import random_state


@pytest.mark.parametrize(
    ("n", "every", "expected"),
    [(100, None, range(10, 101, 10)), (3, None, [1, 2, 3]), (25, None, [*range(2, 25, 2), 25]), (7, 3, [3, 6, 7])],
)
def test_evaluations_are_at_fixed_iterations(n: int, every: int | None, expected: list[int], tmp_path: Path) -> None:
    with toy.evaluated(tmp_path, toy.nlls(*range(100))) as run:
        list(run.phase("only", n, evaluate_every=every))
    assert [record["iteration"] for record in toy.records(tmp_path)] == list(expected)
    ends = {int(path.stem[-8:]): path.read_text() for path in (tmp_path / "samples").iterdir()}
    assert ends == {step: "True\n" if step == n else "False\n" for step in expected}


def test_evaluation_changes_nothing(tmp_path: Path) -> None:
    """Neither weights, random numbers, modes, gradients nor records of training: only records are added."""
    with Run(tmp_path / "without", seed=2, device="cpu", console=toy.QUIET) as run:
        list_of_losses = train_one_phase(run)
        expected = random_state(run.device)
    with toy.start(tmp_path / "with") as run:
        assert train_one_phase(run) == list_of_losses
        assert toy.differences(random_state(run.device), expected) == []
    without, with_evaluation = toy.state(tmp_path / "without"), toy.state(tmp_path / "with")
    for kind in ("modules", "modes", "optimizers", "random"):
        assert toy.differences(without[kind], with_evaluation[kind]) == []
    trained = [record for record in toy.records(tmp_path / "with") if "nll_valid" not in record]
    assert trained == toy.records(tmp_path / "without")
    assert len(toy.records(tmp_path / "with")) == len(trained) + 6


def train_one_phase(run: Run) -> list[float]:
    generator = toy.Generator()
    generator.output.eval()  # a part that stays in eval mode in training
    optimizer = torch.optim.Adam(generator.parameters())
    run.setup("generator", generator, optimizer)
    batches = run.track("batches", toy.Batches())
    losses = []
    for _ in run.phase("only", 6, evaluate_every=1):
        assert generator.training
        assert generator.dropout.training
        assert not generator.output.training
        loss = generator(batches.next())
        run.step(optimizer, loss)
        run.log(loss=loss)
        losses.append(loss.item())
    return losses


def test_generator_is_measured_without_gradients_in_eval_mode(tmp_path: Path) -> None:
    seen = []

    def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
        seen.append((generator.training, torch.is_grad_enabled(), torch.rand(()).item()))
        if phase_end:
            raise KeyError("a mistake in the evaluation")
        return Measurement({})

    with toy.evaluated(tmp_path, evaluate) as run, pytest.raises(KeyError):
        list(run.phase("only", 2))
    assert [state[:2] for state in seen] == [(False, False), (False, False)]
    assert seen[0][2] != seen[1][2]  # the random numbers differ from step to step
    assert torch.is_grad_enabled()


def test_evaluation_needs_a_generator(tmp_path: Path) -> None:
    with toy.start(tmp_path) as run, pytest.raises(ValueError, match="needs a module set up as 'generator'"):
        list(run.phase("only", 1))


# --- The best generator, and patience ---


def count_up(run: Run, n: int, patience: int | None = None) -> int:
    """Add one to the generator in each iteration, and return how many there were."""
    generator = run._parts.modules["generator"]
    assert isinstance(generator, toy.Counter)
    iterations = 0
    for _ in run.phase("only", n, evaluate_every=1, patience=patience):
        generator.count += 1
        iterations += 1
    return iterations


@pytest.mark.parametrize(
    ("values", "best"),
    [((3, 1, 2), 2), ((1, 1, 1), 1), ((3, 2, 1), 3), ((math.inf, 5, math.inf), 2), ((math.inf, 2, -math.inf), 3)],
)
def test_best_is_the_lowest_and_the_first_of_equals(values: tuple[float, ...], best: int, tmp_path: Path) -> None:
    with toy.evaluated(tmp_path, toy.nlls(*map(float, values))) as run:
        assert count_up(run, 3) == 3
        assert run._parts.modules["generator"].state_dict()["count"] == 3
    saved = load_checkpoint(tmp_path, "best")
    assert saved["modules"]["generator"]["count"] == best
    assert saved["position"] == {"phase": "only", "iteration": best, "step": best}
    assert saved["nll_valid"] == values[best - 1]


@pytest.mark.parametrize(("values", "best"), [((3, 1, 2), 2), ((3, 2, 1), 3), ((1, 2, 3), 1)])
def test_a_phase_with_patience_ends_at_the_best(values: tuple[float, ...], best: int, tmp_path: Path) -> None:
    at_end = []

    def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
        count = int(generator.state_dict()["count"])
        if phase_end:
            at_end.append(count)
        return Measurement({"nll_valid": float(values[count - 1])})

    with toy.evaluated(tmp_path, evaluate) as run:
        assert count_up(run, 3, patience=3) == 3
        assert run._parts.modules["generator"].state_dict()["count"] == best
    assert at_end == [best]
    assert [record["nll_valid"] for record in toy.records(tmp_path)] == [*values[:2], values[best - 1]]
    assert load_checkpoint(tmp_path)["modules"]["generator"]["count"] == best


def test_damaged_best_is_named(tmp_path: Path) -> None:
    def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
        count = int(generator.state_dict()["count"])
        if count == 2:
            (tmp_path / "checkpoints" / "best-00000001.safetensors").write_bytes(b"")
        return Measurement({"nll_valid": float(count)})

    with (
        toy.evaluated(tmp_path, evaluate) as run,
        pytest.raises(WorkError, match=r"best-00000001\.safetensors is damaged"),
    ):
        count_up(run, 2, patience=2)


def test_without_evaluation_there_is_no_best(tmp_path: Path) -> None:
    with toy.start_bare(tmp_path) as run:
        run.setup("generator", toy.Counter())
        assert count_up(run, 3, patience=1) == 3
    with pytest.raises(UserError, match="holds no checkpoint 'best'"):
        load_checkpoint(tmp_path, "best")


@pytest.mark.parametrize(
    ("values", "patience", "end"),
    [
        ([3, 2, 4, 5, 1, 1], 2, 4),
        ([3, 2, 2, 2, 1, 1], 2, 4),  # the same is not lower
        ([3, 4, 2, 4, 1, 9, 9], 2, 6),  # stopped by its count, not by patience
        ([5, 4, 3, 2, 1, 0], 1, 6),
        ([math.inf, math.inf, 1, 1, 1, 1], 2, 2),
        ([1, 2, 0, 0, 0, 0], 1, 2),
    ],
)
def test_patience_ends_a_phase(values: list[float], patience: int, end: int, tmp_path: Path) -> None:
    found = [float(value) for value in values]
    with toy.evaluated(tmp_path, toy.nlls(*found[:end], min(found[:end]))) as run:  # the best one is measured again
        assert count_up(run, 6, patience=patience) == end
    records = toy.records(tmp_path)
    assert [record["step"] for record in records] == list(range(1, end + 1))  # the last one is not there twice
    assert (tmp_path / "samples" / f"only-{end:08d}.txt").read_text() == "True\n"
    assert load_checkpoint(tmp_path)["position"]["complete"]


def test_patience_begins_anew_with_each_phase(tmp_path: Path) -> None:
    with toy.evaluated(tmp_path, toy.nlls(1, 2, 1, 9.0, 8.0, 7.0, 1)) as run:
        lengths = [len(list(run.phase(name, 3, evaluate_every=1, patience=1))) for name in ("one", "two")]
    assert lengths == [2, 3]


def test_patience_needs_a_likelihood(tmp_path: Path) -> None:
    def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
        return Measurement({"entropy": 1.0})

    with (
        toy.evaluated(tmp_path, evaluate) as run,
        pytest.raises(ValueError, match="patience needs an evaluation that returns nll_valid"),
    ):
        list(run.phase("only", 1, patience=1))


def test_a_phase_may_do_without_evaluation(tmp_path: Path) -> None:
    with toy.evaluated(tmp_path, toy.nlls()) as run:
        assert len(list(run.phase("only", 2, evaluate_every=0))) == 2


# --- The ends of phases ---


def test_the_generator_at_the_end_of_each_phase_is_kept(tmp_path: Path) -> None:
    with toy.evaluated(tmp_path, toy.nlls(*range(9))) as run:
        generator = run._parts.modules["generator"]
        assert isinstance(generator, toy.Counter)
        for name, n, every in (("one", 2, None), ("silent", 3, 0), ("two", 4, 4)):
            for _ in run.phase(name, n, evaluate_every=every):
                generator.count += 1
    assert ended_phases(tmp_path / "checkpoints") == {"one": 2, "two": 9}
    for name, count, nll in (("one", 2, 1.0), ("two", 9, 2.0)):
        saved = load_checkpoint(tmp_path, name)
        assert saved["modules"]["generator"]["count"] == count
        assert saved["nll_valid"] == nll


def test_ends_that_a_resumed_run_reaches_again_are_forgotten(tmp_path: Path) -> None:
    toy.complete(tmp_path)
    checkpoints = tmp_path / "checkpoints"
    checkpoint.remove(checkpoints, "last", keep={12})  # as if the last phase had not been completed
    ended = ended_phases(checkpoints)
    assert list(ended) == ["pretrain", "adversarial"]
    with toy.start(tmp_path, resume=True):
        assert list(ended_phases(checkpoints)) == ["pretrain"]


@pytest.mark.parametrize("name", ["last", "best"])
def test_no_phase_is_called_like_a_checkpoint(name: str, tmp_path: Path) -> None:
    with toy.start_bare(tmp_path) as run, pytest.raises(ValueError, match="cannot name a phase"):
        list(run.phase(name, 1))


# --- What only the method can measure, and what cannot be ---


def test_a_method_adds_measurements_of_its_own(tmp_path: Path) -> None:
    def measure() -> Measurement:
        generator = run._parts.modules["generator"]
        return Measurement({"training": float(generator.training), "graph": float(torch.is_grad_enabled())}, ["mine"])

    with toy.evaluated(tmp_path, toy.nlls(1.0, 2.0)) as run:
        list(run.phase("only", 2, measure=measure))
    assert [(record["nll_valid"], record["training"], record["graph"]) for record in toy.records(tmp_path)] == [
        (1.0, 0.0, 0.0),
        (2.0, 0.0, 0.0),
    ]
    assert (tmp_path / "samples" / "only-00000002.txt").read_text() == "True\nmine\n"


def test_a_likelihood_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    with (
        toy.evaluated(tmp_path, toy.nlls(1.0, math.nan)) as run,
        pytest.raises(WorkError, match="the held-out NLL is nan in iteration 2 of phase 'only'"),
    ):
        list(run.phase("only", 3))
