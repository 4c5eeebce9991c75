"""Train a generator: the interface for programs, and what the command line is made of."""

import dataclasses
import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

from rich.console import Console

import textforge
from textforge import budget, methods, objectives, processes
from textforge.errors import CallError, UserError
from textforge.evaluation import Watch
from textforge.model import Model, as_json, load, require_new
from textforge.objectives import Objective
from textforge.options import Options
from textforge.point_model import PointModel
from textforge.run import OnCollapse, Run, open_folder, write_atomic
from textforge.run.device import connect
from textforge.task import Task, WorldTask, task_from_texts
from textforge.text import Labelled, Tab, Texts, Tokenizer
from textforge.text.items import Kind
from textforge.text.labels import collect_labelled, without_label


@overload
def fit(texts: object, **settings: Any) -> Model: ...
@overload
def fit(*, data: str | Path, **settings: Any) -> Model | PointModel: ...
def fit(
    texts: object = None,
    *,
    method: str | None = None,
    preset: str | None = None,
    data: str | Path | None = None,
    column: str | None = None,
    valid: str | Path | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    tokenizer: Literal["auto", "word", "char", "bpe", "tab"] | str = "auto",
    max_length: int | None = None,
    min_count: int = 1,
    vocab_size: int | None = None,
    labels: object = None,
    label_column: str | None = None,
    on_collapse: OnCollapse = "warn",
    minutes: float | None = None,
    **fields: Any,
) -> Model | PointModel:
    """Train a method on texts, or on `data` as the command line takes it, and return the model.

    `texts` are strings, lists of strings or lists of integers, in anything that can be iterated, or in the `column` of
    a table or of records; missing ones are left out. With `labels`, one for each text (beside `data`, a file with one a
    line), or a `label_column` beside the column, the model writes texts of the class that it is asked for. `data` may
    also name a world of points, for a method that learns one: then the model is a `PointModel`. Without a method,
    maximum likelihood is trained, and without a preset its size is that of the text. `fields` replace fields of the
    preset; an `objective` may be a function itself. `minutes` cuts its phases short, so that training ends within that
    time. What was decided on the way stands in the `notes` of the model. With `out` the run is kept in that folder;
    without, in a temporary one that is removed. Raises UserError for unusable input and WorkError where training fails;
    `on_collapse="stop"` makes that a generator that collapses, too.
    """
    if (texts is None) == (data is None):
        raise UserError("give either texts or data to learn from, and not both")
    if out is not None:
        require_new(Path(out))
    sized = method is None and preset is None
    method, preset = method or budget.METHOD, preset or Options.preset
    fields, function = objectives.named(fields)
    config = methods.configure(method, preset, fields)
    items, lines = (None, None) if texts is None else collect_labelled(texts, column, labels, label_column)
    if items is None and not isinstance(labels, str | Path | None):
        raise CallError(f"beside data, labels is a file with one a line, not {labels!r:.40}")
    lists = items is not None and items.kind != "texts"
    if lists and tokenizer not in ("auto", "tab"):
        raise CallError(f"lists are cut into symbols already; leave out tokenizer={tokenizer!r}, or give strings")
    options = Options.of(
        {
            "data": str(data) if items is None else f"<{items.kind}>",
            "column": Options.column if items is not None or column is None else column,
            "valid": None if valid is None else str(valid),
            "label_column": None if items is not None else label_column,
            "labels": None if items is not None or labels is None else str(labels),
            "preset": preset,
            "seed": seed,
            "device": device,
            "tokenizer": "tab" if lists else tokenizer,
            "max_length": max_length,
            "min_count": min_count,
            "vocab_size": vocab_size,
            "on_collapse": on_collapse,
        }
    ).anchored()
    if items is None:
        task = methods.load_data(method, options)
    else:
        if isinstance(methods.find(method), methods.WorldMethod):
            raise UserError(f"{method} learns worlds of points, not texts; name one: data='temperatures'")
        if valid is not None:
            raise UserError("held-out text goes with data; texts alone give up 5 % of their lines for it")
        assert lines is not None
        task = task_from_texts(Texts("texts", lines), options)
        num = len(items.texts) - sum(1 for _ in lines)
        said = (*items.notes(), *([without_label(num)] if num else []), *task.notes)
        task = replace(task, tokenizer=_of_kind(task.tokenizer, items.kind), notes=said)
    notes = list(task.notes)
    if sized and isinstance(task, Task):
        config = methods.configure(method, preset, {**budget.sized(task), **fields})
        notes.append(budget.chosen(task, config))
    config, task = with_objective(config, task, function)
    if minutes is not None:
        config, words = budget.within(minutes, method, config, task, options)
        notes.append(words)
    if out is not None:
        model = train(method, options, config, task, Path(out))
    else:
        with tempfile.TemporaryDirectory() as folder:
            model = train(method, options, config, task, Path(folder) / "run")
    if isinstance(model, PointModel):
        return model
    return replace(model, folder=None if out is None else model.folder, notes=tuple(notes))


def _of_kind(tokenizer: Tokenizer, kind: Kind) -> Tokenizer:
    """Return a tokenizer that knows what the items were."""
    if isinstance(tokenizer, Labelled):
        return replace(tokenizer, inner=_of_kind(tokenizer.inner, kind))
    return replace(tokenizer, kind=kind) if isinstance(tokenizer, Tab) else tokenizer


def with_objective(
    config: Any, task: Task | WorldTask, function: objectives.Function | None = None
) -> tuple[Any, Task | WorldTask]:
    """Give the task the objective that the config names, and name files and folders in full, so that the run can go on.

    Without a `function`, it is imported. It scores two training texts at once, before anything is written: raises
    CallError and UserError as `objectives.load` and `Objective.scores`.
    """
    place = vars(config).get("pretrained")
    if place is not None and Path(place).is_dir():
        config = replace(config, pretrained=str(Path(place).resolve()))
    # Of a method without a reward, `objective` is something else: the form of a game's loss.
    name = vars(config)["objective"] if "objective_weight" in vars(config) else None
    if name is None:
        return config, task
    assert isinstance(task, Task), "no method of worlds has an objective"
    objective = Objective(name, function or objectives.load(name), task.tokenizer)
    objective.scores(list(islice(task.texts.train, 2)))
    return replace(config, objective=objectives.anchored(name)), replace(task, objective=objective)


ABSENT: dict[str, object] = {
    **{name: vars(Options)[name] for name in ("on_collapse", "column", "label_column", "labels")},
    "config": {
        "network": "lstm",
        "num_layers": 1,
        "num_heads": 4,
        "pretrained": None,
        "lora_rank": 0,
        "objective": None,
        "objective_weight": 0.5,
    },
}
"""What settings were in runs that were made before they could be set: an LSTM of one layer, without an objective."""


def settings_of(method: str, options: Options, config: Any, task: Task | WorldTask) -> dict[str, Any]:
    """Return what config.json says of a run."""
    settings: dict[str, Any] = {"textforge": textforge.__version__, "method": method, **dataclasses.asdict(options)}
    del settings["device"]  # a run may go on elsewhere
    if isinstance(task, Task):
        settings |= {"max_length": task.max_length, "corpus": task.fingerprint}
    else:
        settings = {name: settings[name] for name in ("textforge", "method", "data", "preset", "seed")}
    return settings | {"config": vars(config)}


def train(
    method: str,
    options: Options,
    config: Any,
    task: Task | WorldTask,
    folder: Path,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> Model | PointModel:
    """Train in a run folder, and return the model as it stands at the end; without a console nothing is shown.

    Of several processes all call it, and the folder is that of the first.
    """
    connect(options.device)  # refuses a device that is not there before anything is written

    def opened() -> Path:
        if resume and (folder / "checkpoints").exists() and not (folder / "metrics.jsonl").exists():
            raise UserError(f"{folder} holds a saved model and no run that could go on; train in another folder")
        open_folder(folder, settings_of(method, options, config, task), resume=resume, absent=ABSENT)
        if isinstance(task, Task):
            write_atomic(folder / "vocabulary.json", as_json(task.tokenizer.to_dict()))
        return folder

    folder = processes.by_first(opened)
    with Run(
        folder,
        seed=options.seed,
        device=options.device,
        resume=resume,
        evaluate=Watch(task) if isinstance(task, Task) else None,
        console=console or Console(quiet=True),
        on_collapse=options.on_collapse,
    ) as run:
        methods.train(method, config, task, run)
    model = load(folder)
    processes.meet()  # all have read it, and the first may do with the folder what it likes
    return model
