"""The benchmark measures what it says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from textforge import bench
from textforge.bench.floors import Floors, Machine, Size
from textforge.bench.work import Work, leakgan_work, seqgan_work
from textforge.methods import leakgan, seqgan
from textforge.nets.lstm import LSTMGenerator
from textforge.nets.manager_worker import LeakGANGenerator
from textforge.nets.text_cnn import TextCNN
from textforge.text import Vocabulary

ROOT = Path(__file__).parents[2]
PAPER = {"batch": 64, "rollouts": 16, "leak_rollouts": 4, "sequences": 10_000}  # what the names of rows hold
UNIT = Machine(operations=1.0, bytes=float("inf"))
SIZE = Size(vocab_size=30, length=6, batch=4, rollouts=3, leak_rollouts=2, sequences=10)


def floors(machine: Machine = UNIT) -> Floors:
    return Floors(machine, SIZE, ((1, 5), (3, 2)), seqgan.Config(), leakgan.Config())


def test_every_row_is_timed_and_compared() -> None:
    rows = list(bench.rows(fast=True))
    assert len(rows) == len({row.name for row in rows}) == 10
    assert all(min(row.seconds, row.naive_ratio, row.floor_ratio) > 0 for row in rows)


def test_the_page_shows_what_was_measured() -> None:
    """Every line of the recorded output, rows of the command among them."""
    recorded = (ROOT / "benchmarks" / "results" / "speed.txt").read_text("utf-8").splitlines()
    page = (ROOT / "docs" / "speed.md").read_text("utf-8")
    assert {f"    {line}" for line in recorded if line} <= set(page.splitlines())
    names = [work.name for build in (seqgan_work, leakgan_work) for work in build(replace(bench.FAST, **PAPER), UNIT)]
    assert [line[:44].strip() for line in recorded if line[:44].strip() in names] == names
    assert sum(line.startswith(("SeqGAN generator step", "LeakGAN generator step")) for line in recorded) == 2 + 8


def test_growth_is_the_slope_between_logarithms(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that runs as the square of the length times the rest, the exponents are known."""
    asked: list[Size] = []

    def work(size: Size, machine: Machine) -> list[Any]:
        asked.append(size)
        return [Work(f"{name} generator step", lambda: None, lambda: None, 1.0) for name in ("SeqGAN", "LeakGAN")]

    def clock(step: Any) -> float:
        return asked[-1].length ** 2 * asked[-1].vocab_size * asked[-1].batch * 1e-6

    for name, replacement in {"seqgan_work": work, "leakgan_work": work, "seconds": clock}.items():
        monkeypatch.setattr(bench, name, replacement)
    monkeypatch.setattr(bench, "measure_machine", lambda side: UNIT)
    exponents = {(row.name.split()[0], row.size): row.exponent for row in bench.growth()}
    expected = {"length": 2.0, "vocab_size": 1.0, "rollouts": 0.0, "batch": 1.0}
    assert exponents == {
        (name, size): pytest.approx(value, abs=1e-9)
        for name in ("SeqGAN", "LeakGAN")
        for size, value in expected.items()
    }


@pytest.mark.parametrize(
    ("build", "generator", "rollouts"),
    [(seqgan_work, LSTMGenerator, SIZE.rollouts), (leakgan_work, LeakGANGenerator, SIZE.leak_rollouts)],
)
def test_a_generator_step_takes_the_rows_that_its_floor_counts(
    build: Any, generator: Any, rollouts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of sampling, of the prefixes and of their completions; and sequences that are judged."""
    stepped, judged = [], []
    step, judge = generator.step, TextCNN._judge

    def counted_step(self: Any, token: Tensor, state: Any) -> Any:
        stepped.append(len(token))
        return step(self, token, state)

    def counted_judge(self: Any, pooled: list[Tensor]) -> Any:
        judged.append(len(pooled[0]))
        return judge(self, pooled)

    monkeypatch.setattr(generator, "step", counted_step)
    monkeypatch.setattr(TextCNN, "_judge", counted_judge)
    next(work for work in build(SIZE, UNIT) if work.name.endswith("generator step")).ours()
    assert sum(stepped) == 2 * SIZE.batch * SIZE.length + SIZE.drawn(rollouts)
    assert sum(judged) == SIZE.completed(rollouts)


def test_floors_are_the_operations_of_each_part() -> None:
    """Counted by the matrices of the networks themselves: two operations a weight and row."""
    config = leakgan.Config(d_windows=((1, 5), (3, 2)))
    vocabulary = Vocabulary.create(map(str, range(SIZE.vocab_size)), unk=False, eos=False, bos=0)
    players = leakgan.networks(config, vocabulary, SIZE.length)
    G, D = players["generator"], players["discriminator"]

    def weights(*modules: nn.Module) -> int:
        matrices = [p.numel() for module in modules for name, p in module.named_parameters() if "weight" in name]
        return 2 * sum(matrices)

    found = floors()
    assert found.highway() == weights(D.highway)
    assert found.manager() == weights(G.manager, G.worker.goal_embedding)
    assert found.worker() == weights(G.worker.lstm, G.worker.output)
    assert found.features() == weights(*D.convolutions) + found.taps + found.highway()
    assert found.convolved() == 2 * 64 * (6 * 1 * 5 + 4 * 3 * 2) + found.highway()
    assert found.judged() == 6 * 1 * 5 + 4 * 3 * 2 + found.highway()
    players_of_seqgan = seqgan.networks(seqgan.Config(), vocabulary, SIZE.length)["generator"]
    assert isinstance(players_of_seqgan, LSTMGenerator)
    assert found.lstm_step() == weights(players_of_seqgan.lstm, players_of_seqgan.output)


def test_a_part_takes_as_long_as_the_slower_of_arithmetic_and_memory() -> None:
    machine = Machine(operations=10.0, bytes=4.0)
    assert machine.seconds(20) == machine.seconds(20, 8) == 2
    assert machine.seconds(20, 12) == 3
