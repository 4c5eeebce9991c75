"""textforge sweep: many trainings from one file, side by side."""

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from textforge.cli.comparing import print_spent, print_verdicts
from textforge.cli.output import progress, spelled
from textforge.cli.parsing import parse
from textforge.cli.seeds import cores, last_line
from textforge.errors import CallError, Interrupted, WorkError
from textforge.launch import launch

if TYPE_CHECKING:
    from rich.console import Console

    from textforge.sweeping.plan import Plan
    from textforge.sweeping.summary import Line

COLUMNS = ("nll_test", "lm_score", "reverse_lm_score", "bleu_4", "self_bleu_4", "unique", "exact_copy", "js")
"""What the table on the terminal shows; sweep.json and sweep.csv have everything."""


@dataclass(frozen=True)
class SweepOptions:
    """Train methods with the settings and seeds that a file lists, and put them side by side; the same call goes on."""

    config: Annotated[Path, Positional]
    """A TOML file: data, methods, seeds, temperatures, and fields to try."""
    out: Path | None = None
    """The folder of all trials; by default runs/sweep-NAME for NAME.toml. On a cluster, one that all machines share."""
    workers: int | None = None
    """How many trials at once; by default as many as there are cores, here or in the cluster."""
    address: str | None = None
    """A Ray cluster to work on, as HOST:PORT; by default $RAY_ADDRESS, or else this machine alone."""
    gpus: float = 0.0
    """GPUs for each trial, such as 1 or 0.5; without, trials compute on the CPU."""
    dry_run: bool = False
    """Check the file, print the names of all trials, and train nothing."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.workers is not None and self.workers < 1:
            raise CallError(f"--workers must be at least 1, not {self.workers}")
        if not self.gpus >= 0 or (self.gpus > 1 and self.gpus % 1):
            raise CallError(f"--gpus must be a part of one, such as 0.5, or a whole number, not {self.gpus}")


def sweep_command(arguments: Sequence[str]) -> None:
    """Carry out a file of trials."""
    options = parse(SweepOptions, arguments, "sweep")
    if launch().num > 1:
        raise CallError("sweep starts workers of its own; start it by itself, without torchrun or srun")
    from textforge.run import sole_writer
    from textforge.sweeping import plan as planning
    from textforge.sweeping import summary
    from textforge.task import load_task

    console = progress()
    plan = planning.read(options.config, device="cuda" if options.gpus else "cpu")
    out = (options.out or Path("runs", f"sweep-{options.config.stem}")).resolve()
    task = load_task(plan.options)
    for note in task.notes:
        console.print(note)
    plan = planning.prepared(plan, task, out)
    console.print(f"{len(plan.trials)} trials of {len(plan.settings)} settings ({summary.budgets(plan)}), in {out}")
    for trial in plan.trials:
        print(trial.name, file=sys.stdout if options.dry_run else sys.stderr)
    if options.dry_run:
        return
    with sole_writer(out):
        command = ["textforge", "sweep", *arguments]
        failed = _carry_out(plan, out, options, command, console)
        _conclude(plan, out, failed, shlex.join(command), console)
    if failed:
        words = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise WorkError(f"{len(failed)} of {len(plan.trials)} trials failed: {words}")


def _carry_out(
    plan: "Plan", out: Path, options: SweepOptions, command: Sequence[str], console: "Console"
) -> Mapping[str, str]:
    """Train on workers; return why trials have failed."""
    from textforge.sweeping import workers
    from textforge.sweeping.trials import is_finished, log_of

    if all(is_finished(out / trial.name, plan.temperatures) for trial in plan.trials):
        console.print("all of them are finished already")
        return {}
    address = options.address or os.environ.get("RAY_ADDRESS") or None
    here = options.workers or cores()
    where = f"on the cluster at {address}" if address else f"on this machine, {here} at once"
    console.print(f"starting Ray {where}")
    try:
        with workers.cluster(address, here) as ray:
            of = plan.options  # its paths are in full, so what is no path here is one of the names that they may have
            files = [path for path in (of.data, of.valid, of.labels, of.tokenizer) if path and Path(path).is_absolute()]
            workers.require_same_files(ray, out, *files)
            failed = workers.carry_out_all(
                ray,
                plan,
                out,
                workers=options.workers or max(1, int(ray.cluster_resources().get("CPU", 1))),
                gpus=options.gpus,
                command=command,
                say=console.print,
            )
    except Interrupted as stop:
        reason = str(stop).partition(";")[0]
        raise Interrupted(f"{reason}, in {out}; the same command goes on: {shlex.join(command)}") from None
    return {name: _with_last_words(reason, log_of(out / name)) for name, reason in failed.items()}


def _with_last_words(reason: str, log: Path) -> str:
    """Add what a worker said last, where that is not the reason itself."""
    if not log.exists():
        return reason
    last = last_line(log)
    return f"{reason}; see {log}" if reason in last else f"{reason}; its last words: {last}; see {log}"


def _conclude(plan: "Plan", out: Path, failed: Mapping[str, str], command: str, console: "Console") -> None:
    """Write and print what the finished trials came to."""
    from textforge.comparing import compare
    from textforge.report import compare_page
    from textforge.sweeping import summary

    groups = summary.finished(plan, out)
    if not groups:
        return
    found = compare(
        [out / setting for setting in groups],
        seeds={out / setting: [out / trial.name for trial in trials] for setting, trials in groups.items()},
        command=command,
        console=console,
    )
    told = {"settings_tried": summary.budgets(plan)}
    if failed:
        told["failed_trials"] = ", ".join(failed)
    found = dataclasses.replace(found, settings={**found.settings, **told})
    lines = summary.lines(plan, out)
    settings = {name: value for name, value in found.settings.items() if name != "temperature"}  # each line has its own
    summary.write(plan, out, lines, failed, settings, command)
    compare_page.write(found, out / "report.html")
    print_verdicts(found)
    _print_lines(lines)
    print(spelled(settings))
    print_spent(found)
    print(f"report:  {out / 'report.html'}\nnumbers: {out / 'sweep.csv'}, {out / 'sweep.json'}")


def _print_lines(lines: "Sequence[Line]") -> None:
    """Print a row for each setting at each temperature, means over seeds with their intervals below them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = [column for column in COLUMNS if any(line.mean(column) is not None for line in lines)]
    table = Table(title="means over seeds", title_justify="left", box=None, pad_edge=False)
    table.add_column("setting")
    for column in ("tried", "T", "seeds", *columns):
        table.add_column(column, justify="right")
    for line in lines:
        numbers = [str(line.tried), f"{line.temperature:g}", str(len(line.trials))]
        table.add_row(Text(line.setting), *numbers, *(_cell(line, column) for column in columns))
    print()
    console = Console(file=sys.stdout, highlight=False, markup=False)
    console.width = max(console.width, 24 + max(len(line.setting) for line in lines) + 19 * len(columns))
    console.print(table)


def _cell(line: "Line", column: str) -> str:
    value, interval = line.mean(column), line.interval(column)
    if value is None:
        return ""
    return f"{value:z.4f}" + (f"\n{interval.low:z.4f} to {interval.high:z.4f}" if interval else "")
