"""Train a generator: the interface for programs, and what the command line is made of."""

import dataclasses
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

from rich.console import Console

import textforge
from textforge import budget, methods
from textforge.errors import CallError, UserError
from textforge.evaluation import Watch
from textforge.model import Model, as_json, fingerprint, load, require_new
from textforge.options import Options
from textforge.point_model import PointModel
from textforge.run import OnCollapse, Run, open_folder, write_atomic
from textforge.run.device import connect
from textforge.task import Task, WorldTask, task_from_texts
from textforge.text import Tab, Texts, collect


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
    tokenizer: Literal["auto", "word", "char", "bpe", "tab"] = "auto",
    max_length: int | None = None,
    min_count: int = 1,
    vocab_size: int | None = None,
    on_collapse: OnCollapse = "warn",
    minutes: float | None = None,
    **fields: Any,
) -> Model | PointModel:
    """Train a method on texts, or on `data` as the command line takes it, and return the model.

    `texts` are strings, lists of strings or lists of integers, in anything that can be iterated, or in the `column` of
    a table or of records; missing ones are left out. `data` may also name a world of points, for a method that learns
    one: then the model is a `PointModel`. Without a method, maximum likelihood is trained, and without a preset its
    size is that of the text. `fields` replace fields of the preset; `minutes` cuts its phases short, so that training
    ends within that time. What was decided on the way stands in the `notes` of the model. With `out` the run is kept in
    that folder; without, in a temporary one that is removed. Raises UserError for unusable input and WorkError where
    training fails; `on_collapse="stop"` makes that a generator that collapses, too.
    """
    if (texts is None) == (data is None):
        raise UserError("give either texts or data to learn from, and not both")
    sized = method is None and preset is None
    method, preset = method or budget.METHOD, preset or Options.preset
    config = methods.configure(method, preset, fields)
    items = None if texts is None else collect(texts, column)
    lists = items is not None and items.kind != "texts"
    if lists and tokenizer not in ("auto", "tab"):
        raise CallError(f"lists are cut into symbols already; leave out tokenizer={tokenizer!r}, or give strings")
    options = Options.of(
        {
            "data": str(data) if items is None else f"<{items.kind}>",
            "column": Options.column if items is not None or column is None else column,
            "valid": None if valid is None else str(valid),
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
        task = task_from_texts(Texts("texts", items.texts), options)
        if isinstance(task.tokenizer, Tab):
            task = replace(task, tokenizer=replace(task.tokenizer, kind=items.kind))
        task = replace(task, notes=(*items.notes(), *task.notes))
    notes = list(task.notes)
    if sized and isinstance(task, Task):
        config = methods.configure(method, preset, {**budget.sized(task), **fields})
        notes.append(budget.chosen(task, config))
    if minutes is not None:
        config, words = budget.within(minutes, method, config, task, options)
        notes.append(words)
    if out is not None:
        require_new(Path(out))
        model = train(method, options, config, task, Path(out))
    else:
        with tempfile.TemporaryDirectory() as folder:
            model = train(method, options, config, task, Path(folder) / "run")
    if isinstance(model, PointModel):
        return model
    return replace(model, folder=None if out is None else model.folder, notes=tuple(notes))


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
    """Train in a run folder, and return the model as it stands at the end; without a console nothing is shown."""
    connect(options.device)  # refuses a device that is not there before anything is written
    if resume and (folder / "checkpoints").exists() and not (folder / "metrics.jsonl").exists():
        raise UserError(f"{folder} holds a saved model and no run that could go on; train in another folder")
    settings: dict[str, Any] = {"textforge": textforge.__version__, "method": method, **dataclasses.asdict(options)}
    del settings["device"]  # a run may go on elsewhere
    if isinstance(task, Task):
        settings |= {"max_length": task.max_length, "corpus": fingerprint(task.train)}
    else:
        settings = {name: settings[name] for name in ("textforge", "method", "data", "preset", "seed")}
    absent: dict[str, object] = {name: vars(Options)[name] for name in ("on_collapse", "column") if name in settings}
    open_folder(folder, settings | {"config": vars(config)}, resume=resume, absent=absent)
    if isinstance(task, Task):
        write_atomic(folder / "vocabulary.json", as_json(task.tokenizer.to_dict()))
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
    return load(folder)
