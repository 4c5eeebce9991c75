"""How fast this machine runs the expensive steps, against a naive reference and against the arithmetic floor.

Times are of little use between machines, ratios are: each row is measured in one process, ours and the reference in
turn. The floor is what the operations and the memory of our algorithm cost at this machine's measured rates (`floors`);
the reference is written plainly (`naive`).
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from textforge.bench.floors import Machine, Size, measure_machine, seconds
from textforge.bench.work import Work, leakgan_work, seqgan_work
from textforge.run import keep_freed_memory

FAST = Size(vocab_size=50, length=5, batch=4, rollouts=2, leak_rollouts=2, sequences=64)


@dataclass(frozen=True)
class Row:
    """One line: how long ours takes, how many times faster than the reference, how many times the floor."""

    name: str
    seconds: float
    naive_ratio: float
    floor_ratio: float


@dataclass(frozen=True)
class Growth:
    """How the time of a step grows with one size, the others as they are: seconds ~ size ^ exponent."""

    name: str
    size: str
    values: tuple[int, ...]
    seconds: tuple[float, ...]
    exponent: float


def rows(*, fast: bool = False) -> Iterator[Row]:
    """Measure one row after the other; some six minutes on two cores, seconds with `fast`."""
    torch.manual_seed(0)
    keep_freed_memory()  # for ours and for the reference
    size, patience = (FAST, 0.0) if fast else (Size(), 5.0)
    machine = measure_machine(256 if fast else 2048)
    for work in (*seqgan_work(size, machine), *leakgan_work(size, machine)):
        ours, naive = _in_turn(work, patience)
        yield Row(work.name, ours, naive / ours, ours / work.floor)


def _in_turn(work: Work, patience: float) -> tuple[float, float]:
    """Return the least time of ours and of the reference, over `patience` seconds and once at least."""
    ours = naive = math.inf
    end = time.perf_counter() + patience
    while naive == math.inf or time.perf_counter() < end:
        before, reference, after = map(seconds, (work.ours, work.naive, work.ours))
        ours, naive = min(ours, before, after), min(naive, reference)
    return ours, naive


def growth(*, fast: bool = False) -> Iterator[Growth]:
    """Measure a generator step of either method at several lengths, vocabularies, roll-outs and batches, two minutes.

    The windows are those of length 20 throughout.
    """
    torch.manual_seed(0)
    keep_freed_memory()
    machine = measure_machine(256)  # the floors are not looked at
    methods: list[tuple[str, str, Callable[[Size, Machine], list[Work]], Size]] = [
        ("SeqGAN generator step", "rollouts", seqgan_work, Size(batch=32, rollouts=8)),
        ("LeakGAN generator step", "leak_rollouts", leakgan_work, Size(batch=8, leak_rollouts=2)),
    ]
    for name, rollouts, build, base in methods:
        size = FAST if fast else base
        factors = {"length": (1, 2, 4), "vocab_size": (0.5, 1, 2), rollouts: (1, 2, 4), "batch": (1, 2, 4)}
        for axis in factors:
            values = tuple(int(factor * getattr(size, axis)) for factor in factors[axis])
            took = []
            for value in values:
                step = next(work for work in build(replace(size, **{axis: value}), machine) if work.name == name)
                took.append(min(seconds(step.ours) for _ in range(2)))
            exponent = float(np.polyfit(np.log(values), np.log(took), 1)[0])
            yield Growth(name, "rollouts" if axis == rollouts else axis, values, tuple(took), exponent)
