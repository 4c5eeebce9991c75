"""What to train where nobody said so, and how long where the time is limited: both decided before the run begins.

The run itself knows no budget. Its config has the numbers that came out, so that it can be resumed and repeated.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from textforge import methods, processes
from textforge.errors import CallError
from textforge.evaluation import Watch
from textforge.options import Options
from textforge.run import Run
from textforge.task import Task, WorldTask

METHOD = "mle"
"""What is trained where no method is named: of what trains in minutes, nothing here is reliably better."""
SIZES = {0: (64, 0.3), 5_000: (256, 0.3), 2_000_000: (512, 0.1)}
"""From so many training tokens on: the width of the network, and its dropout."""
PASSES = 50
"""Times that the text is read, at most: patience ends sooner."""
STEPS = (400, 20_000)
BATCH = 64
TRIAL = 3
"""Iterations of each phase whose time is taken; the median of them leaves out the first, which is slow."""
MARGIN = 0.9
"""The part of the time that is planned for."""

Clock = Callable[[], float]


def sized(task: Task) -> dict[str, Any]:
    """Return fields of `METHOD` that suit the size of the training text."""
    width, dropout = next(size for least, size in reversed(SIZES.items()) if task.train.num_tokens >= least)
    steps = min(max(PASSES * len(task.train) // BATCH, STEPS[0]), STEPS[1])
    return {"embedding_dim": width, "hidden_dim": width, "dropout": dropout, "batch_size": BATCH, "steps": steps}


def chosen(task: Task, config: Any) -> str:
    """Say what `METHOD` and its sizes were chosen for."""
    return (
        f"method: {METHOD}, as none is named (hidden-dim {config.hidden_dim}, dropout {config.dropout:g} and at most "
        f"{config.steps:,} steps, for {len(task.train):,} training lines of {task.train.num_tokens:,} tokens)"
    )


@dataclass(frozen=True)
class Pace:
    """What one phase takes: seconds an iteration, and seconds that do not depend on how many there are."""

    iterations: int
    seconds: float
    fixed: float


class Trial(Run):
    """A run that breaks off each phase after a few iterations, and takes their time."""

    clock: Clock = time.monotonic

    def __init__(self, folder: Path, clock: Clock, **settings: Any) -> None:
        """Open the run; `clock` returns seconds."""
        super().__init__(folder, **settings)
        self.clock = clock
        self.paces: list[Pace] = []

    def phase(
        self, name: str, n: int, *, evaluate_every: int | None = None, patience: int | None = None, **settings: Any
    ) -> Iterator[int]:
        """Yield the first iterations of a phase, and evaluate after each where the phase does at all."""
        evaluated = 0 if evaluate_every == 0 else 1
        own, between = [], []
        end = self.clock()
        for iteration in super().phase(name, min(n, TRIAL), evaluate_every=evaluated, **settings):
            start = self.clock()
            between.append(start - end)
            yield iteration
            end = self.clock()
            own.append(end - start)
        if n:
            every = max(1, n // 10) if evaluate_every is None else evaluate_every
            num = n // every if every else 0
            self.paces.append(Pace(n, median(own), num * median(between[1:] or between) + self.clock() - end))


def measure(method: str, config: Any, task: Task | WorldTask, options: Options, clock: Clock) -> list[Pace]:
    """Return the pace of each phase of a method on this machine."""
    watch = Watch(task) if isinstance(task, Task) else None
    with tempfile.TemporaryDirectory() as folder:
        settings = {"seed": options.seed, "device": options.device, "evaluate": watch, "console": Console(quiet=True)}
        with closing(Trial(Path(folder) / "trial", clock, **settings)) as trial:
            methods.train(method, config, task, trial)
    return trial.paces


def shortened(config: Any, lengths: Sequence[str], paces: Sequence[Pace], seconds: float) -> Any:
    """Return the config with all its phases cut by the same factor, so that together they take so many seconds.

    What would end in time stays as it is. Every phase keeps two iterations: methods that anneal need them.
    """
    work = sum(pace.iterations * pace.seconds for pace in paces)
    factor = max(0.0, (seconds - sum(pace.fixed for pace in paces)) / work) if work else 1.0
    if factor >= 1:
        return config
    values = {field: vars(config)[field] for field in lengths}
    return dataclasses.replace(config, **{f: max(min(v, 2), int(v * factor)) for f, v in values.items()})


def within(
    minutes: float, method: str, config: Any, task: Task | WorldTask, options: Options, clock: Clock = time.monotonic
) -> tuple[Any, str]:
    """Return the config of a training that ends within the minutes, this measurement included, and words about it.

    Raises CallError for minutes that are not above 0, or too few for anything.
    """
    if not minutes > 0:
        raise CallError(f"--minutes must be above 0, not {minutes}")
    start = clock()
    measured = measure(method, config, task, options, clock)
    paces, spent = processes.by_first(lambda: (measured, clock() - start))  # no two processes take the same time
    left = 60 * minutes * MARGIN - spent
    least = sum(pace.fixed + min(pace.iterations, 2) * pace.seconds for pace in paces)
    whole = sum(pace.fixed + pace.iterations * pace.seconds for pace in paces)
    needs = f"the settings take about {whole / 60:.1f} minutes on this machine"
    if left < min(least, whole):
        raise CallError(
            f"{minutes:g} minutes are too few: {needs}, {least / 60:.1f} of them whatever is cut; give more, or choose "
            f"a smaller preset, or {METHOD}"
        )
    lengths = methods.find(method).LENGTHS
    short = shortened(config, lengths, paces, left)
    changes = [
        f"--{field.replace('_', '-')} {vars(short)[field]:,} instead of {vars(config)[field]:,}"
        for field in lengths
        if vars(short)[field] != vars(config)[field]
    ]
    if not changes:
        return config, f"{needs}: nothing is cut for {minutes:g}"
    return short, f"{needs}: for {minutes:g} they are cut to {', '.join(changes)}"
