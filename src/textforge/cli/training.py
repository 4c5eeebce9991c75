"""textforge train."""

import argparse
import dataclasses
import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import DisallowNone, OmitArgPrefixes, arg

from textforge.cli.comparing import print_frontier, print_verdicts
from textforge.cli.output import COLUMNS, escaped, print_table, progress, spelled
from textforge.cli.parsing import parse
from textforge.errors import CallError, Interrupted
from textforge.launch import launch
from textforge.options import Options

if TYPE_CHECKING:
    from textforge.task import Task, WorldTask

FEW = 100
"""Held-out lines below which BLEU and the like say little."""


@dataclass(frozen=True)
class Place:
    """Where the run is kept, and what it starts from."""

    out: Path | None = None
    """The run folder; by default a new one under runs/."""
    config: Path | None = None
    """A config.json of another run to start from, in place of a preset."""
    resume: bool = False
    """Continue the run in --out where it stopped, with the settings that it has."""
    seeds: int = 1
    """Train so many times, from the given seed upwards, as many at once as there are cores; --out is then a folder of
    runs that `textforge compare` takes as one, and the same call goes on where it was stopped."""
    minutes: float | None = None
    """Cut the phases of a new run short, so that training ends within so many minutes on this machine; the comparison
    that follows comes on top."""
    controls: Literal["all", "mle", "none"] = "mle"
    """What else to train for comparison, in the run folder: maximum likelihood (mle), and with all, of a method that
    has a reward, the same training with a constant and a random one."""


def train_command(arguments: Sequence[str]) -> None:
    """Train a method in a run folder; print samples and what was measured."""
    if not arguments:
        raise CallError("name a method: textforge train METHOD; see textforge methods")
    named = not arguments[0].startswith("-")
    if not named and {"-h", "--help"} & set(arguments):
        parse(_command("", Options(), None), ["--help"], "train [METHOD]")
    from textforge import budget, methods

    if not named and (late := [b for a, b in itertools.pairwise(arguments) if b in methods.names() and a[0] != "-"]):
        raise CallError(f"name a method before its flags: textforge train {late[0]} ...")
    rest = arguments[named:]
    # The defaults of the other flags depend on four of them, which are read first.
    preset, place = _peek(rest)
    stored = place.config or (place.out / "config.json" if place.resume and place.out else None)
    method = arguments[0] if named else _stored_method(stored) or budget.METHOD
    methods.find(method)
    if place.config and preset is not None:
        raise CallError("--preset and --config both set every field; give one of them")
    if stored is None or (place.resume and not stored.exists()):
        options = Options(data=methods.default_data(method), preset=preset or Options.preset)
        config = methods.configure(method, options.preset, {})
    else:
        options, config = _stored(stored, method)
        _require_own(config, stored, rest)
    chosen: Any = parse(_command(method, options, config), rest, f"train {method}")
    if chosen.place.seeds > 1:
        _train_seeds(method, rest, chosen, named=named)
    elif not named and preset is None and (stored is None or not stored.exists()):
        _train_sized(method, rest, chosen.options.anchored())
    else:
        _train(method, chosen.options, chosen.fields, chosen.place)


def _train_seeds(method: str, arguments: Sequence[str], chosen: Any, *, named: bool) -> None:
    from textforge import methods
    from textforge.cli.seeds import train_seeds

    if isinstance(methods.find(method), methods.WorldMethod):
        raise CallError(f"{method} learns points, which --seeds cannot compare yet; give one --seed at a time")
    if not named:
        raise CallError(f"--seeds compares trainings of one method; name it: textforge train {method}")
    if launch().num > 1:
        raise CallError("--seeds starts a process for each training; start it by itself, without torchrun or srun")
    if chosen.place.minutes is not None:
        raise CallError("--minutes may give each of the --seeds another length; train once, and give them its --config")
    out = chosen.place.out or _new_folder(f"{method}-{Path(chosen.options.data).name}")
    train_seeds(method, arguments, out, chosen.options.seed, chosen.place.seeds)


def _train_sized(method: str, arguments: Sequence[str], options: Options) -> None:
    """Train with fields that suit the text, but for those that are given."""
    from textforge import budget, methods
    from textforge.task import Task

    task = methods.load_data(method, options)
    assert isinstance(task, Task)
    config = methods.configure(method, options.preset, budget.sized(task))
    chosen: Any = parse(_command(method, options, config), arguments, f"train {method}")
    task = dataclasses.replace(task, notes=(*task.notes, budget.chosen(task, chosen.fields)))
    _train(method, chosen.options, chosen.fields, chosen.place, task)


def _command(method: str, options: Options, config: Any) -> type:
    """Return the class of all flags, with these defaults: flat, without prefixes; the names are those of the help."""
    parts: list[Any] = [
        ("options", Annotated[Options, OmitArgPrefixes, DisallowNone, arg(name="training")], options),
        ("place", Annotated[Place, OmitArgPrefixes, DisallowNone, arg(name="run")], Place()),
    ]
    if config is not None:
        parts.append(("fields", Annotated[type(config), OmitArgPrefixes, arg(name=method)], config))
    return dataclasses.make_dataclass("Train", parts, frozen=True, namespace={"__doc__": "Train a method."})


def _peek(arguments: Sequence[str]) -> tuple[str | None, Place]:
    """Read --preset, --config, --out and --resume ahead of the others."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resume", action="store_true")
    try:
        known, _ = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise CallError(str(error)) from None
    return known.preset, Place(known.out, known.config, known.resume)


def _stored(path: Path, method: str) -> tuple[Options, Any]:
    from textforge.model import read_settings, stored_config

    settings = read_settings(path / "config.json" if path.is_dir() else path)
    if settings["method"] != method:
        raise CallError(f"{path} is of the method '{settings['method']}'; run textforge train {settings['method']}")
    return Options.of(settings), stored_config(settings)


def _require_own(config: Any, stored: Path, arguments: Sequence[str]) -> None:
    """Refuse to run the code that a folder names, which may be of others, before the user has named it himself."""
    name = vars(config)["objective"] if "objective_weight" in vars(config) else None
    # What has its name in brackets is no file, and is refused in words of its own.
    if name is None or name.startswith("<") or any(flag.split("=")[0] == "--objective" for flag in arguments):
        return
    raise CallError(
        f"{stored} names an objective, {name}, and training runs its code; if you know it, add "
        f"--objective {shlex.quote(name)}"
    )


def _stored_method(stored: Path | None) -> str | None:
    """Return the method of the run whose settings are taken over, where there is one."""
    from textforge.model import read_settings

    if stored is None or not stored.exists():
        return None
    method: str = read_settings(stored / "config.json" if stored.is_dir() else stored)["method"]
    return method


def _train(method: str, options: Options, config: Any, place: Place, task: "Task | WorldTask | None" = None) -> None:
    from textforge import controls, methods, processes, report, results
    from textforge.comparing import compare
    from textforge.fitting import train, with_objective
    from textforge.model import Model
    from textforge.task import Task

    if place.resume and place.out is None:
        raise CallError("--resume needs --out, the folder of the run to continue")
    console = progress()
    options = options.anchored()
    config, task = with_objective(config, task or methods.load_data(method, options))
    folder = place.out or _new_folder(f"{method}-{task.texts.name if isinstance(task, Task) else task.name}")
    for note in task.notes:
        console.print(note)
    begun = (folder / "config.json").exists()
    if place.resume and not begun:
        console.print(f"{folder} holds no run yet: starting one")
    if place.minutes is not None:
        config = _cut(place.minutes, method, options, config, task, folder if begun else None)
    try:
        model = train(method, options, config, task, folder, resume=place.resume, console=console)
        if isinstance(task, Task):
            controls.train_controls(folder, method, options, config, task, place.controls, console)
    except Interrupted as stop:
        own = isinstance(task, Task) and task.objective is not None
        code = f" --objective {shlex.quote(config.objective)}" if own else ""
        raise Interrupted(f"{stop}: textforge train {method} --resume --out {shlex.quote(str(folder))}{code}") from None
    first = processes.rank() == 0
    processes.leave()
    if not first:
        return  # what follows is not training
    if isinstance(model, Model):
        assert isinstance(task, Task)
        rows, settings = results.run_rows(folder, model, task, console)
        curves = results.run_frontier(folder, model, task, console=console)
        if int(settings["num_references"]) < FEW:
            console.print(
                f"only {settings['num_references']} held-out lines: the text metrics are rough; give more with --valid"
            )
        results.write_rows(folder, rows, settings)
        judged = compare([folder])
        results.write_rows(folder, rows, settings, dataclasses.asdict(judged.verdicts[0]))
    else:
        rows, settings = results.world_rows(model)
        results.write_rows(folder, rows, settings)
    report.write(folder, folder / "report.html")
    print("samples")
    for text in model.sample(10, seed=options.seed):
        print(f"  {escaped(text)}")
    print_table("evaluation", rows, COLUMNS)
    print(spelled(settings))
    if isinstance(model, Model):
        print_frontier(method, curves)
        print()
        print_verdicts(judged)
    print(f"report: {folder / 'report.html'}\nmore:   textforge sample {folder} -n 10")


def _cut(
    minutes: float, method: str, options: Options, config: Any, task: "Task | WorldTask", begun: Path | None
) -> Any:
    """Return a config whose training ends in time, and say what was cut; nothing is of a run that has begun."""
    from textforge import budget

    if begun:
        progress().print(f"--minutes is for a new run: the one in {begun} keeps the lengths that it began with")
        return config
    progress().print(f"trying a few steps of each phase, to see what fits into {minutes:g} minutes")
    config, words = budget.within(minutes, method, config, task, options)
    progress().print(words)
    return config


def _new_folder(name: str) -> Path:
    """Return the first of runs/NAME, runs/NAME-2, ... that does not exist."""
    return next(
        folder
        for number in itertools.count(1)
        if not (folder := Path("runs", name if number == 1 else f"{name}-{number}")).exists()
    )
