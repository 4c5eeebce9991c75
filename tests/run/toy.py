"""A small method with everything that could go wrong at a resume, and a way to compare the runs that it leaves."""

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from textforge import processes
from textforge.errors import UserError, WorkError
from textforge.run import Measurement, Run, ended_phases, load_checkpoint, save_checkpoint, saved_steps
from textforge.run.log import Log

QUIET = Console(quiet=True)


class Generator(nn.Module):
    """Shared weights, dropout, and a buffer that training changes."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Linear(4, 5, bias=False)
        self.output.weight = self.embedding.weight
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, tokens: Tensor) -> Tensor:
        if self.training:
            self.seen += len(tokens)
        logits = self.output(self.dropout(self.embedding(tokens[:, 0])))
        return nn.functional.cross_entropy(logits, tokens[:, 1])


class Batches:
    """Tokens as a function of the position alone."""

    def __init__(self) -> None:
        self.position = 0

    def next(self) -> Tensor:
        self.position += 1
        return torch.tensor([[(self.position * i) % 5, (self.position + i * i) % 5] for i in range(4)])

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class Moving:
    """A mean that moves; its beginning is drawn at random."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "history": (self.value.sum(), [None, "x", {1: 2.5}])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]


def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
    """Draw random numbers and count calls in training mode, as an evaluation that disturbs the training would."""
    tokens = torch.randint(5, (6, 2))
    scalars = {"nll_valid": float(generator(tokens)), "entropy": float(torch.rand(()))}
    if phase_end:
        scalars["nll_oracle"] = math.inf
    return Measurement(scalars, [f"{torch.rand(()).item()}\nsecond line", "\u2028 \\ ."])


def train(run: Run, after: Callable[[str, int], None] = lambda phase, i: None) -> Generator:
    """Train in two phases, with state that is drawn, loaded and set up between them."""
    generator = Generator()
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.1)
    run.setup("generator", generator, optimizer)
    batches = run.track("batches", Batches())
    schedule = run.track("schedule", torch.optim.lr_scheduler.StepLR(optimizer, 2))
    for i in run.phase("pretrain", 10, evaluate_every=2, patience=2):
        loss = generator(batches.next())
        run.step(optimizer, loss, clip=0.5)
        schedule.step()
        run.log(loss=loss, iteration_of_loop=i, rate=schedule.get_last_lr()[0])
        after("pretrain", i)
    discriminator = nn.Linear(4, 1)
    d_optimizer = torch.optim.SGD(discriminator.parameters(), lr=0.1, momentum=0.9)
    run.setup("discriminator", discriminator, d_optimizer)
    moving = run.track("moving", Moving(torch.randn(3)))
    for i in run.phase("adversarial", 5, evaluate_every=2):
        for _ in range(2):
            fake = generator.dropout(generator.embedding(torch.randint(5, (4,))))
            d_loss = discriminator(fake.detach() + moving.value.sum()).exp().mean()
            run.step(d_optimizer, d_loss)
            run.log(d_loss=d_loss)
        run.step(optimizer, generator(batches.next()) - discriminator(fake).mean())
        moving.value = 0.9 * moving.value + torch.rand(3)
        generator.dropout.train(i % 2 == 0)  # a mode that crosses iterations
        after("adversarial", i)
    return generator


def start(folder: Path, *, resume: bool = False, seconds: float = 0.0) -> Run:
    """Open a run for `train`; by default, it saves at every iteration."""
    return Run(
        folder, seed=2, device="cpu", resume=resume, evaluate=evaluate, console=QUIET, checkpoint_seconds=seconds
    )


def start_bare(folder: Path, *, resume: bool = False) -> Run:
    """Open a run that evaluates nothing, and saves at the end of a phase only."""
    return Run(folder, seed=0, device="cpu", resume=resume, console=QUIET, checkpoint_seconds=1e9)


def nlls(*values: float) -> Callable[..., Measurement]:
    """Return an evaluation that finds these values; its sample says whether it was told of the end of a phase."""
    left = iter(values)

    def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
        return Measurement({"nll_valid": next(left)}, [str(phase_end)])

    return evaluate


def evaluated(folder: Path, evaluate: Callable[..., Measurement], console: Console = QUIET) -> Run:
    run = Run(folder, seed=0, device="cpu", evaluate=evaluate, console=console, checkpoint_seconds=1e9)
    run.setup("generator", Counter())
    return run


class Counter(nn.Module):
    """A generator that knows how long it was trained."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))


def complete(folder: Path, *, resume: bool = False) -> Generator:
    """Train to the end."""
    with start(folder, resume=resume) as run:
        return train(run)


def hold(folder: Path, ready: Any) -> None:
    """Open a run and keep it, in a process of its own."""
    with start_bare(folder):
        ready.set()
        signal.pause()


def kill_at_call(number: int) -> None:
    """Kill this process at its n-th call that touches the disk; a write is killed when half of it is done."""
    calls = 0

    def armed(name: str) -> None:
        original = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                if name == "write":
                    original(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(os, name, call)

    for name in ("open", "write", "fsync", "replace", "unlink", "ftruncate", "mkdir"):
        armed(name)


def killed(folder: Path, number: int) -> None:
    """Run in a process of its own that kills itself."""
    kill_at_call(number)
    complete(folder, resume=True)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with every read of a tensor, for which the host waits where it is on an accelerator."""
    reads: list[str] = []

    def counted(name: str) -> None:
        original = getattr(Tensor, name)

        def read(tensor: Tensor) -> object:
            reads.append(name)
            value: object = original(tensor)
            return value

        monkeypatch.setattr(Tensor, name, read)

    for name in ("item", "tolist", "__float__", "__bool__", "__int__"):
        counted(name)
    return reads


def descend(folder: Path, clip: float | None) -> None:
    """Train on this process's share of the data, and save the weights and gradients that it ends with."""
    rank, size = processes.rank(), processes.number()
    rows = torch.arange(12.0, dtype=torch.float64).reshape(4, 3).sin()
    torch.manual_seed(0)
    # The last layer gets no gradient, and its absence must not count as a zero.
    module = nn.ModuleList([nn.Linear(3, 2), nn.Linear(2, 1), nn.Linear(1, 1)]).double()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    with start_bare(folder / "run") as run:
        run.setup("generator", module, optimizer)
        for _ in range(3):
            loss = module[1](module[0](rows[rank::size]).tanh()).exp().mean()
            run.step(optimizer, loss, clip=clip)
    gradients = {f"{name}.grad": p.grad for name, p in module.named_parameters() if p.grad is not None}
    (folder / str(rank)).mkdir()
    save_checkpoint(folder / str(rank) / "checkpoints", "last", 3, {**module.state_dict(), **gradients})


def collapse_on_one(folder: Path) -> None:
    """Train on a process of two, of which only the first finds a collapse, at its third evaluation."""

    def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
        count = float(generator.state_dict()["count"])
        worse = processes.rank() == 0 and count > 2
        return Measurement({"nll_valid": 9.0 if worse else 2.0, "entropy": 0.1 if worse else 2.0, "count": count})

    quiet = Console(quiet=True)
    with Run(folder / "run", seed=0, device="cpu", evaluate=evaluate, console=quiet, on_collapse="rollback") as run:
        generator = Counter()
        run.setup("generator", generator)
        for _ in run.phase("only", 8, evaluate_every=1):
            generator.count += 1
    assert generator.count == 1, "this process did not go back"


def signalled(folder: Path, number: int) -> None:
    """Train until the second of the processes sends itself a signal, and write what the run says of it."""

    def after(phase: str, i: int) -> None:
        if processes.rank() == 1 and (phase, i) == ("pretrain", 3):
            os.kill(os.getpid(), number)

    try:
        with start(folder / "run") as run:
            train(run, after)
    except WorkError as stop:
        (folder / f"said-{processes.rank()}").write_text(str(stop), "utf-8")


def resumed(folder: Path) -> None:
    """Train to the end what was begun."""
    complete(folder, resume=True)


def ask_the_first(folder: Path) -> None:
    """Write what a function returned that only the first process called, and what another one raised."""

    def fail() -> None:
        raise UserError("a run stands in here" if processes.rank() == 0 else "not the first")

    found = processes.by_first(lambda: f"rank {processes.rank()}")
    try:
        processes.by_first(fail)
    except UserError as error:
        found += f"; {type(error).__name__}: {error}"
    (folder / str(processes.rank())).write_text(found, "utf-8")


def unrecorded(folder: Path) -> None:
    """Train where the first process finds no room for its records, and write what ends the training each time."""

    def fail(name: str) -> None:
        if processes.rank() == 0:
            raise WorkError(f"no room: {name}")

    said = []
    for name in ("__init__", "flush", "measurement"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Log, name, lambda *_, name=name, **__: fail(name))
            try:
                complete(folder / name)
            except WorkError as error:
                said.append(f"{error}{'' if error.shared else ', in this one alone'}")
    (folder / str(processes.rank())).write_text(", ".join(said), "utf-8")


def records(folder: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl without the seconds, which no two runs share."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def state(folder: Path) -> dict[str, Any]:
    """Return the newest checkpoint without what depends on the clock: the seconds, and so the length of the records."""
    saved = load_checkpoint(folder)
    del saved["seconds"], saved["log"]["offset"]
    return saved


def content(folder: Path) -> dict[str, Any]:
    """Return all that a finished run leaves."""
    return {
        "records": records(folder),
        "samples": {path.name: path.read_bytes() for path in (folder / "samples").iterdir()},
        "last": state(folder),
        "best": load_checkpoint(folder, "best") if saved_steps(folder / "checkpoints", "best") else None,
        "generations": sorted(path.name for path in (folder / "checkpoints").glob("0*")),
    }


def content_of_texts(folder: Path) -> dict[str, Any]:
    """Return what a run leaves that wrote no samples and may have stopped itself, which adds a generation."""
    return {"records": records(folder), "last": state(folder), "ends": ended_phases(folder / "checkpoints")}


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Return the places where two nested states are not the same, types and bits included."""
    if type(one) is not type(other):
        return [f"{path}: {type(one)} {type(other)}"]
    if isinstance(one, Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [path]
    if isinstance(one, dict):
        if list(one) != list(other):
            return [f"{path}: {list(one)} {list(other)}"]
        return [found for key in one for found in differences(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [f"{path}: {len(one)} {len(other)}"]
        return [found for i in range(len(one)) for found in differences(one[i], other[i], f"{path}/{i}")]
    return [] if one == other else [f"{path}: {one} {other}"]
