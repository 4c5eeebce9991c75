"""The time between iterations: a method writes the loop; the run saves, resumes, evaluates, records and stops it."""

import math
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from textforge import processes
from textforge.errors import Interrupted, UserError
from textforge.run import checkpoint
from textforge.run.device import connect
from textforge.run.display import Display
from textforge.run.diverging import Finite, diverged
from textforge.run.folder import sole_writer
from textforge.run.log import Log, Moment
from textforge.run.measurement import Evaluate, Measurement, joined, measuring
from textforge.run.parts import Parts, Stateful
from textforge.run.position import Position
from textforge.run.seeds import derive, random_state, set_random_state
from textforge.run.sentinel import OnCollapse, Sentinel, spoken
from textforge.run.signals import StopSignals
from textforge.sharding import sharing

S = TypeVar("S", bound=Stateful)
Ended = tuple[checkpoint.Kind, int]
"""A checkpoint of the generator alone: its kind and its step."""


class Run:
    """One training run in one folder.

    Used as a context manager, it also obeys SIGTERM and Ctrl-C: the first finishes the iteration, saves, and raises
    `Interrupted`. To resume, the method runs again from its top: `phase` yields nothing for phases that are behind, and
    on entering the phase that the checkpoint was written in it loads the state of everything that was set up or
    tracked, and of PyTorch's random numbers. So whatever crosses iterations must be set up or tracked, before the phase
    that first uses it; then a resumed run on the CPU equals one that was never stopped, bit for bit.

    Where this is one of several processes (`device.connect`), all run the same method and share its work (`sharding`);
    the first writes and reads what lies in the folder, and what it has measured counts in all.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        device: str = "auto",
        resume: bool = False,
        evaluate: Evaluate | None = None,
        console: Console | None = None,
        checkpoint_seconds: float = 60.0,
        on_collapse: OnCollapse = "ignore",
    ) -> None:
        """Take the folder, as its only writer, and seed PyTorch.

        `resume` goes on from the newest checkpoint that is whole, or starts where none was saved. Where a generator
        has collapsed, `on_collapse` tells it, tells it and ends the phase with an earlier generator, or stops the run;
        or looks for nothing. `UserError` for a folder that is in use or holds another run, `WorkError` where all
        checkpoints are damaged.
        """
        self.folder = folder
        self.seed = seed
        self._fabric = connect(device)
        self.device: torch.device = self._fabric.device
        self._evaluate = evaluate
        self._checkpoint_seconds = checkpoint_seconds
        self._checkpoints = folder / "checkpoints"
        self._parts = Parts()
        self._position = Position()
        self._running: str | None = None
        self._finite = Finite()
        self._on_collapse = on_collapse
        self._sentinel = Sentinel()
        self._stop: str | None = None
        first = processes.rank() == 0
        self._display = Display(console or Console(stderr=True) if first else Console(quiet=True))
        self._signals = StopSignals(self._display.stopping)
        with ExitStack() as resources:
            resources.enter_context(sharing())
            processes.by_first(lambda: resources.enter_context(sole_writer(folder)))
            # What the checkpoint holds, until the phase is entered that it was written in.
            self._saved = processes.by_first(lambda: self._open_checkpoints(resume=resume))
            # Where the newest checkpoint stands: its generation, and the best one that it knows, are kept.
            self._kept = Position(**self._saved["position"]) if self._saved else Position()
            offset = self._saved["log"]["offset"] if self._saved else 0
            self._log: Log | None = None  # of the first process alone
            processes.by_first(lambda: self._open_log(resources, offset, resumed=resume))
            resources.callback(self._display.end)
            self._resources = resources.pop_all()
        if self._log is not None and self._log.lost:
            self._display.message(f"warning: {folder / 'metrics.jsonl'} has lost its last {self._log.lost} bytes")
        self._seconds_before: float = self._saved["seconds"] if self._saved else 0.0
        self._started = self._last_save = time.monotonic()
        torch.manual_seed(derive(seed, "torch"))

    def _open_checkpoints(self, *, resume: bool) -> checkpoint.State | None:
        if not resume:
            if self._checkpoints.exists() or (self.folder / "metrics.jsonl").exists():
                raise UserError(f"{self.folder} already holds a run; continue it with --resume, or use another folder")
            return None
        saved, problems = checkpoint.reopen(self._checkpoints)
        for problem in problems:
            self._display.message(f"warning: {problem}; the one before it is used")
        return saved

    def _open_log(self, resources: ExitStack, offset: int, *, resumed: bool) -> None:
        self._log = Log(self.folder, offset=offset, step=self._kept.step, resumed=resumed)
        resources.callback(self._log.close)

    def __enter__(self) -> "Run":
        """Obey SIGTERM and Ctrl-C until the end of the block."""
        self._resources.enter_context(self._signals)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the logs and give the folder free."""
        self.close()

    def close(self) -> None:
        """Close the logs and give the folder free; nothing is saved that was not saved before."""
        self._resources.close()

    def setup(self, name: str, module: nn.Module, optimizer: Optimizer | None = None) -> None:
        """Move a network to the device; its state, and that of its optimizer, are saved and restored under `name`.

        The one called "generator" is evaluated.
        """
        self._parts.add(name, module.to(self.device), optimizer)

    def track(self, name: str, stateful: S) -> S:
        """Save and restore the state of `stateful` under `name`, and return it."""
        self._parts.track(name, stateful)
        return stateful

    def step(self, optimizer: Optimizer, loss: Float[Tensor, ""], clip: float | None = None) -> None:
        """Make one update of the optimizer's parameters; `clip` bounds the norm of all its gradients together.

        With several processes, the gradients are averaged first. `WorkError` for a loss or a norm that is not finite.
        """
        name = self._parts.name_of(optimizer)
        self._finite.require(f"the loss of '{name}'", loss, self._position, self.device)
        optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(loss)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        processes.average_gradients(parameters)
        if clip is not None:
            norm = clip_grad_norm_(parameters, clip)
            self._finite.require(f"the gradient norm of '{name}'", norm, self._position, self.device)
        optimizer.step()

    def log(self, **scalars: Tensor | float | int) -> None:
        """Add numbers to the next record of training, which holds the mean of each; tensors are not read before."""
        if self._log is not None:
            self._log.add(scalars)

    def phase(
        self,
        name: str,
        n: int,
        *,
        evaluate_every: int | None = None,
        patience: int | None = None,
        measure: Callable[[], Measurement] | None = None,
    ) -> Iterator[int]:
        """Yield the iterations 0..n-1 of a phase, without those that a resumed run has behind it.

        The generator is evaluated every `evaluate_every` iterations (by default, ten times in the phase) and at the
        end; 0 is for phases that leave it as it is. With `patience`, the phase ends early when `nll_valid` has not
        become lower for so many evaluations, and however it ends, the generator is then set back to the lowest
        `nll_valid` of the run; a run that does not evaluate has no patience. `measure` adds what only the method can
        measure to each evaluation, under the same conditions. Leave a phase only by its end, never by `break`.
        """
        if not self._enter(name, n):
            return
        position = self._position
        every = max(1, n // 10) if evaluate_every is None else evaluate_every
        self._running = name
        self._display.begin(name, n, position.iteration)
        while not position.complete:
            yield position.iteration
            position.iteration += 1
            position.step += 1
            position.complete = position.iteration == n
            self._finite.read(position)
            self._record(n, every, patience, measure)
            self._display.advance()
            self._save_if_due()
        self._display.end()
        self._running = None
        position.behind.append(name)

    def _enter(self, name: str, n: int) -> bool:
        """Stand where the phase begins or goes on; False where it is behind."""
        if self._running is not None:
            raise ValueError(f"phase {self._running!r} was left before its end; use `patience` to end it early")
        if not re.fullmatch(r"[a-z0-9_-]+", name) or name in ("last", "best"):
            raise ValueError(
                f"{name!r} cannot name a phase: use lower-case letters, digits, - and _, and no checkpoint"
            )
        if n < 0:
            raise ValueError(f"phase {name!r} cannot have {n} iterations")
        self._agree()
        if self._stop is not None:
            raise self._interrupted()
        if self._saved is not None:
            reached = Position(**self._saved["position"])
            if name in reached.behind:
                return False
            if name != reached.phase:
                raise ValueError(f"the run has no phase {name!r} before {reached.phase!r}, which its checkpoint is of")
            self._position = reached
            self._parts.load_state_dict(self._saved)
            if self._log is not None:
                self._log.load_state_dict(self._saved["log"])
            if "sentinel" in self._saved:  # older checkpoints have none
                self._sentinel.load_state_dict(self._saved["sentinel"])
            set_random_state(self._saved["random"], self.device)
            self._saved = None
        elif name in self._position.behind:
            raise ValueError(f"there was a phase {name!r} already; every phase of a run needs a name of its own")
        else:
            self._position.enter(name, n)
            self._sentinel.begin()
            if self._log is not None:
                self._log.latest = {}
        return True

    def _record(self, n: int, every: int, patience: int | None, more: Callable[[], Measurement] | None) -> None:
        """Make the records that are due after an iteration; an evaluation may find that the phase is complete."""
        position = self._position
        moment = Moment(position.phase, position.step, position.iteration, self._seconds())
        if position.complete or position.iteration % max(1, n // 200) == 0:
            self._by_log(lambda log: log.flush(moment))
        if (self._evaluate is None and more is None) or every == 0:
            if position.complete and self._log is not None:
                self._display.numbers(moment, n, self._log.latest)
            return
        if position.iteration % every and not position.complete:
            return
        patience = patience if self._evaluate is not None else None
        measurement = self._measure(more, phase_end=position.complete and patience is None)
        if patience is not None:
            self._keep_best(measurement)
            position.complete |= self._exhausted(measurement, patience)
        back = self._heed(moment, measurement)
        position.complete |= back is not None
        if position.complete and (patience is not None or back is not None):
            self._load(back or self._best())
            measurement = self._measure(more, phase_end=True)
        self._by_log(lambda log: log.measurement(moment, measurement))
        if self._log is not None:
            self._display.numbers(moment, n, {**measurement.scalars, **self._log.latest})
        self._keep_best(measurement)
        if position.complete:
            self._keep_generator(position.phase, measurement)

    def _by_log(self, write: Callable[[Log], None]) -> None:
        """Let the first process write a record; where it cannot, all end."""
        processes.by_first(lambda: write(self._log) if self._log is not None else None)

    def _measure(self, more: Callable[[], Measurement] | None, *, phase_end: bool) -> Measurement:
        position, modules = self._position, self._parts.modules
        if "generator" not in modules:
            raise ValueError("a run that evaluates needs a module set up as 'generator'")
        parts = []
        with measuring(modules.values(), derive(self.seed, "evaluate", position.phase, position.step), self.device):
            if self._evaluate is not None:
                parts.append(self._evaluate(modules["generator"], phase_end=phase_end))
            if more is not None:
                parts.append(more())
        measurement = processes.by_first(lambda: joined(parts))  # what follows from it must be the same in all
        # A fused kernel may keep the loss finite where the weights have long been useless.
        if math.isnan(measurement.scalars.get("nll_valid", 0.0)):
            raise diverged("the held-out NLL", math.nan, position, position.iteration)
        return measurement

    def _heed(self, moment: Moment, measurement: Measurement) -> Ended | None:
        """Tell what the sentinel finds; return the generator to go back to, where that is asked for."""
        if self._on_collapse == "ignore":
            return None
        back, self._stop = processes.by_first(lambda: self._judge(moment, measurement))
        return back

    def _judge(self, moment: Moment, measurement: Measurement) -> tuple[Ended | None, str | None]:
        """Return the generator to go back to, or why the run stops, where the sentinel finds reason for either."""
        assert self._log is not None, "it is the first process that judges"
        known = self._sentinel.has_told
        findings = self._sentinel.look(measurement.scalars, measurement.shares, self._log.latest.get("d_accuracy"))
        collapsed = not known and any(finding.is_collapse for finding in findings)
        earlier = self._best() or self._newest_end()
        if findings:
            words = spoken(findings, "warn" if known else self._on_collapse, earlier)
            self._log.warning(moment, words)
            self._display.message(f"warning: {moment.phase} {moment.iteration}: {words}")
        stops = collapsed and self._on_collapse == "stop"
        reason = f"stopped by a collapse in iteration {moment.iteration} of phase '{moment.phase}'" if stops else None
        return earlier if collapsed and self._on_collapse == "rollback" else None, reason

    def _exhausted(self, measurement: Measurement, patience: int) -> bool:
        if "nll_valid" not in measurement.scalars:
            raise ValueError("patience needs an evaluation that returns nll_valid")
        position = self._position
        if measurement.scalars["nll_valid"] < position.lowest:
            position.lowest, position.stale = measurement.scalars["nll_valid"], 0
        else:
            position.stale += 1
        return position.stale >= patience

    def _keep_best(self, measurement: Measurement) -> None:
        position = self._position
        value = measurement.scalars.get("nll_valid", math.inf)
        if value < position.best:
            position.best, position.best_step = value, position.step
            self._keep_generator("best", measurement)

    def _keep_generator(self, kind: checkpoint.Kind, measurement: Measurement) -> None:
        position = self._position
        state = {
            "position": {"phase": position.phase, "iteration": position.iteration, "step": position.step},
            "nll_valid": measurement.scalars.get("nll_valid"),
            "modules": {"generator": self._parts.modules["generator"].state_dict()},
        }
        processes.by_first(lambda: checkpoint.save_checkpoint(self._checkpoints, kind, position.step, state))

    def _best(self) -> Ended | None:
        step = self._position.best_step
        return None if step is None else ("best", step)  # no nll_valid was below infinity

    def _newest_end(self) -> Ended | None:
        """Return the end of the last phase that was kept, for generators without a likelihood."""
        ends = checkpoint.ended_phases(self._checkpoints)
        return next(((name, ends[name]) for name in reversed(self._position.behind) if name in ends), None)

    def _load(self, which: Ended | None) -> None:
        if which is not None:
            state = processes.by_first(lambda: checkpoint.read(self._checkpoints, *which))
            self._parts.modules["generator"].load_state_dict(state["modules"]["generator"])

    def _save_if_due(self) -> None:
        late = self._agree()
        if self._stop is not None or late or self._position.complete:
            self._save()
        if self._stop is not None:
            raise self._interrupted()

    def _agree(self) -> bool:
        """Stop where any process received a signal; return whether it is time to save."""
        late = time.monotonic() - self._last_save >= self._checkpoint_seconds
        number, due = processes.largest(self._signals.received or 0, late)
        if number:
            self._stop = f"stopped by {signal.Signals(number).name}"
        return bool(due)

    def _interrupted(self) -> Interrupted:
        return Interrupted(
            f"{self._stop}, everything is saved in {self.folder}; repeat the same command with --resume to go on"
        )

    def _save(self) -> None:
        """Write a checkpoint; of older ones, keep the one before it, and the best generators that the two know."""
        if broken := self._parts.with_nan():
            raise diverged(f"a parameter of '{broken}'", math.nan, self._position, self._position.iteration)
        now = replace(self._position, behind=list(self._position.behind))
        processes.by_first(lambda: self._write(now))
        self._kept = now
        self._last_save = time.monotonic()

    def _write(self, now: Position) -> None:
        assert self._log is not None, "it is the first process that writes"
        self._log.sync()
        state = {
            "position": asdict(now),
            "seconds": self._seconds(),
            "log": self._log.state_dict(),
            "sentinel": self._sentinel.state_dict(),
            "random": random_state(self.device),
            **self._parts.state_dict(),
        }
        checkpoint.save_checkpoint(self._checkpoints, "last", now.step, state)
        checkpoint.remove(self._checkpoints, "last", keep={now.step, self._kept.step})
        checkpoint.remove(self._checkpoints, "best", keep={now.best_step, self._kept.best_step})

    def _seconds(self) -> float:
        return round(self._seconds_before + time.monotonic() - self._started, 3)
