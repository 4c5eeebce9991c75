"""What a person sees of a run: a bar on a terminal, a plain line per evaluation elsewhere."""

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as RemainingColumn
from rich.text import Text

from textforge.run.log import Moment

_SHOWN = ("nll_valid", "entropy", "validity", "unique", "js", "mode_coverage", "reward", "d_loss", "d_accuracy")


class SpeedColumn(ProgressColumn):
    """Iterations per second, or seconds per iteration where they are slow."""

    def render(self, task: Task) -> Text:
        """Write the speed; nothing before it is known."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f} it/s" if speed >= 1 else f"{1 / speed:.1f} s/it")


class Display:
    """Writes to one console; every method may be called at any time."""

    def __init__(self, console: Console) -> None:
        """Write to `console`, with a bar only where it is a terminal."""
        self._console = console
        self._numbers = ""
        self._bar: tuple[Progress, TaskID] | None = None

    def message(self, text: str) -> None:
        """Write one line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, phase: str, total: int, completed: int) -> None:
        """Show that a phase begins, or goes on behind its first `completed` iterations."""
        if self._console.is_terminal:
            progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                SpeedColumn(),
                RemainingColumn(),
                TextColumn("{task.fields[numbers]}", markup=False),
                console=self._console,
            )
            self._bar = progress, progress.add_task(phase, total=total, completed=completed, numbers=self._numbers)
            progress.start()

    def advance(self) -> None:
        """Count one iteration."""
        if self._bar:
            progress, task = self._bar
            progress.advance(task)

    def numbers(self, moment: Moment, total: int, scalars: Mapping[str, float]) -> None:
        """Show where the run stands: what was measured last, and what training logged last."""
        self._numbers = "  ".join(f"{name} {scalars[name]:.4g}" for name in _SHOWN if name in scalars)
        if self._bar:
            progress, task = self._bar
            progress.update(task, numbers=self._numbers)
        else:
            self.message(f"{moment.phase} {moment.iteration}/{total}  {moment.seconds:.0f} s  {self._numbers}".rstrip())

    def stopping(self) -> None:
        """Say on the bar that a signal came in. Called by a signal handler, so it must not write to the terminal."""
        if self._bar:
            progress, task = self._bar
            progress.update(task, numbers="stopping after this iteration; again: at once")

    def end(self) -> None:
        """Leave the bar of the phase as it stands."""
        if self._bar:
            progress, _ = self._bar
            self._bar = None
            progress.stop()
