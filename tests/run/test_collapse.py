"""What a run does when its generator collapses: each mode, and that a cut changes nothing."""

import signal
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from run import toy
from together import together
from torch import nn

from textforge.errors import Interrupted
from textforge.run import Measurement, OnCollapse, Run, Share, ended_phases, load_checkpoint

COLLAPSED = 6
"""The count from which the generator says one thing only."""


def count_of(generator: nn.Module) -> int:
    return int(generator.state_dict()["count"])


def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
    """Learn up to a count, then collapse: less of everything, and a likelihood that is gone."""
    count = count_of(generator)
    well = count < COLLAPSED
    unique = Share(0.9 if well else 0.01, 0.95, 0.01, 256)
    scalars = {"nll_valid": 3 - 0.1 * count, "entropy": 2.0} if well else {"nll_valid": 9.0, "entropy": 0.1}
    return Measurement(scalars | {"count": count}, shares={"unique": unique})


def evaluate_samples(generator: nn.Module, *, phase_end: bool) -> Measurement:
    """Measure as of a generator driven by noise: its samples only."""
    measured = evaluate(generator, phase_end=phase_end)
    return Measurement({"count": measured.scalars["count"]}, shares=measured.shares)


def start(
    folder: Path, mode: OnCollapse, *, resume: bool = False, seconds: float = 0.0, samples_only: bool = False
) -> Run:
    return Run(
        folder,
        seed=0,
        device="cpu",
        resume=resume,
        evaluate=evaluate_samples if samples_only else evaluate,
        console=toy.QUIET,
        checkpoint_seconds=seconds,
        on_collapse=mode,
    )


def nothing(phase: str, i: int) -> None:
    """Let the run go on."""


def train(run: Run, after: Callable[[str, int], None] = nothing, phases: Sequence[int] = (4, 6, 3)) -> int:
    """Count in three phases, and return the count that the generator ends with."""
    generator = toy.Counter()
    run.setup("generator", generator)
    for name, n in zip(("pretrain", "adversarial", "more"), phases, strict=True):
        for i in run.phase(name, n, evaluate_every=1):
            generator.count += 1
            run.log(d_accuracy=0.5)
            after(name, i)
    return count_of(generator)


def evaluations(folder: Path) -> list[tuple[str, int, int]]:
    """The phase, the iteration, and the count that was measured."""
    found = [record for record in toy.records(folder) if "count" in record]
    return [(record["phase"], record["iteration"], record["count"]) for record in found]


def warnings(folder: Path) -> list[tuple[str, int, str]]:
    found = [record for record in toy.records(folder) if "warning" in record]
    return [(record["phase"], record["iteration"], record["warning"]) for record in found]


def test_warn_tells_each_phase_once_and_changes_nothing(tmp_path: Path) -> None:
    for mode in ("ignore", "warn"):
        with start(tmp_path / mode, mode) as run:
            assert train(run) == 13
    (first, second) = warnings(tmp_path / "warn")
    assert first[:2] == ("adversarial", 2)
    assert second[:2] == ("more", 1)
    assert first[2].startswith("the generator repeats itself: 3 of 256 samples are different texts")
    assert "the discriminator does not see it: its accuracy is 0.50" in first[2]
    assert first[2].endswith("the generator of step 5 is kept: --checkpoint best")
    assert warnings(tmp_path / "ignore") == []
    others = [record for record in toy.records(tmp_path / "warn") if "warning" not in record]
    assert others == toy.records(tmp_path / "ignore")
    for kind in ("modules", "random", "position"):
        ignored = toy.state(tmp_path / "ignore")[kind]
        assert toy.differences(toy.state(tmp_path / "warn")[kind], ignored) == []


def test_warning_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run(tmp_path, seed=0, device="cpu", evaluate=evaluate, on_collapse="warn") as run:
        train(run)
    assert capsys.readouterr().err.count("warning: adversarial 2: the generator repeats itself") == 1


def test_rollback_ends_the_phase_with_the_best_generator(tmp_path: Path) -> None:
    """And every later one that collapses again."""
    with start(tmp_path, "rollback") as run:
        assert train(run) == COLLAPSED - 1
    pretrain = [("pretrain", i, i) for i in range(1, 5)]
    assert evaluations(tmp_path) == [*pretrain, ("adversarial", 1, 5), ("adversarial", 2, 5), ("more", 1, 5)]
    assert [warning[:2] for warning in warnings(tmp_path)] == [("adversarial", 2), ("more", 1)]
    assert "this phase ends with the generator of step 5, the checkpoint 'best'" in warnings(tmp_path)[0][2]
    for kind in ("last", "adversarial", "more"):
        assert load_checkpoint(tmp_path, kind)["modules"]["generator"]["count"] == COLLAPSED - 1
    assert ended_phases(tmp_path / "checkpoints") == {"pretrain": 4, "adversarial": 6, "more": 7}


def test_rollback_without_a_likelihood_goes_to_the_end_of_the_phase_before(tmp_path: Path) -> None:
    with start(tmp_path, "rollback", samples_only=True) as run:
        assert train(run, phases=(4, 6, 1)) == 5
    assert evaluations(tmp_path)[8:] == [("adversarial", 5, 4), ("more", 1, 5)]
    assert "this phase ends with the generator of step 4, the checkpoint 'pretrain'" in warnings(tmp_path)[0][2]


def test_rollback_with_nothing_to_go_back_to_says_so_and_goes_on(tmp_path: Path) -> None:
    with start(tmp_path, "rollback", samples_only=True) as run:
        assert train(run, phases=(9, 0, 0)) == 9
    ((phase, iteration, words),) = warnings(tmp_path)
    assert (phase, iteration) == ("pretrain", 9)
    assert words.endswith("there is no earlier generator to go back to")


def test_stop_saves_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    """It stops at the next phase, which is told anew, and not at what was told."""
    with (
        start(tmp_path / "stop", "stop", seconds=1e9) as run,
        pytest.raises(
            Interrupted, match=r"stopped by a collapse in iteration 2 of phase 'adversarial', .* with --resume"
        ),
    ):
        train(run)
    assert load_checkpoint(tmp_path / "stop")["modules"]["generator"]["count"] == COLLAPSED
    with (
        start(tmp_path / "stop", "stop", resume=True) as run,
        pytest.raises(Interrupted, match="in iteration 1 of phase 'more'"),
    ):
        train(run)
    with start(tmp_path / "stop", "stop", resume=True) as run:
        assert train(run) == 13
    with start(tmp_path / "ignore", "ignore") as run:
        train(run)
    others = [record for record in toy.records(tmp_path / "stop") if "warning" not in record]
    assert others == toy.records(tmp_path / "ignore")
    assert [warning[:2] for warning in warnings(tmp_path / "stop")] == [("adversarial", 2), ("more", 1)]


def test_one_collapse_stops_once_though_it_has_several_causes(tmp_path: Path) -> None:
    def in_turn(generator: nn.Module, *, phase_end: bool) -> Measurement:
        count = count_of(generator)
        scalars = {"nll_valid": 2.0 + count, "entropy": 2.0 if count < 3 else 0.1}
        return Measurement(scalars, shares={"unique": Share(0.9 if count < 5 else 0.01, 0.95, 0.01, 256)})

    def loop(*, resume: bool) -> None:
        with Run(
            tmp_path, seed=0, device="cpu", resume=resume, evaluate=in_turn, console=toy.QUIET, on_collapse="stop"
        ) as run:
            train(run, phases=(8, 0, 0))

    with pytest.raises(Interrupted, match="in iteration 3"):
        loop(resume=False)
    loop(resume=True)
    assert [warning[1] for warning in warnings(tmp_path)] == [3, 5]
    assert [warning[2].endswith("the run stops") for warning in warnings(tmp_path)] == [True, False]


def test_a_perfect_discriminator_is_told_and_changes_nothing(tmp_path: Path) -> None:
    generator = toy.Counter()
    with start(tmp_path, "stop") as run:
        run.setup("generator", generator)
        for _ in run.phase("adversarial", 5, evaluate_every=1):
            generator.count += 1
            run.log(d_accuracy=1.0)
    ((_, iteration, words),) = warnings(tmp_path)
    assert iteration == 3
    assert words.startswith("the discriminator has told real from generated")
    assert words.endswith("before they meet")


def test_accuracy_of_another_phase_does_not_count(tmp_path: Path) -> None:
    generator = toy.Counter()
    with start(tmp_path, "warn") as run:
        run.setup("generator", generator)
        for _ in run.phase("discriminator", 3, evaluate_every=0):
            run.log(d_accuracy=1.0)
        for _ in run.phase("adversarial", 5, evaluate_every=1):
            generator.count += 1
    assert warnings(tmp_path) == []


# --- Resume ---


class Cut(Exception):
    """The end of a process, as seen from inside."""


def finish(folder: Path, mode: OnCollapse, *, resume: bool, after: Callable[[str, int], None] = nothing) -> int:
    """Train to the end, however often the run stops itself; return how often it did."""
    stops = 0
    while True:
        try:
            with start(folder, mode, resume=resume) as run:
                train(run, after)
        except Interrupted:
            stops, resume = stops + 1, True
        else:
            return stops


@pytest.mark.parametrize("mode", ["warn", "rollback", "stop", "ignore"])
def test_cut_at_every_iteration(mode: OnCollapse, tmp_path: Path) -> None:
    stops = finish(tmp_path / "whole", mode, resume=False)
    assert stops == 2 * (mode == "stop")
    whole = toy.content_of_texts(tmp_path / "whole")
    reached = {(record["phase"], record["iteration"] - 1) for record in whole["records"]}
    for number, (phase, iteration) in enumerate(sorted(reached)):
        folder = tmp_path / str(number)

        def cut(in_phase: str, i: int, at: tuple[str, int] = (phase, iteration)) -> None:
            if (in_phase, i) == at:
                raise Cut

        with pytest.raises(Cut):
            finish(folder, mode, resume=False, after=cut)
        finish(folder, mode, resume=True)
        assert toy.differences(toy.content_of_texts(folder), whole) == []


@pytest.mark.parametrize("cut", [403, 404, 405, 406])
def test_accuracy_between_two_records_survives_a_resume(cut: int, tmp_path: Path) -> None:
    """A phase of 600 has a record every 3 iterations, and may be evaluated where there is none."""

    def loop(folder: Path, *, cut: int, resume: bool) -> None:
        with start(folder, "warn", resume=resume, seconds=1e9) as run:
            run.setup("generator", toy.Counter())
            for i in run.phase("only", 600, evaluate_every=7):
                run.log(d_accuracy=1.0 if i > 390 else 0.7)
                if i == cut:
                    signal.raise_signal(signal.SIGTERM)

    loop(tmp_path / "whole", cut=-1, resume=False)
    assert [warning[1] for warning in warnings(tmp_path / "whole")] == [413]
    with pytest.raises(Interrupted):
        loop(tmp_path / "cut", cut=cut, resume=False)
    loop(tmp_path / "cut", cut=-1, resume=True)
    assert toy.records(tmp_path / "cut") == toy.records(tmp_path / "whole")


# --- Processes ---


def test_processes_agree(tmp_path: Path, processes: ForkServerContext) -> None:
    """A process that went on alone would wait for the other's gradients without end."""
    together(processes, tmp_path, 2, toy.collapse_on_one, tmp_path)
    assert [record["count"] for record in toy.records(tmp_path / "run") if "count" in record] == [1, 2, 1]
