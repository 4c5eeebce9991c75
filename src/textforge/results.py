"""What is said of a finished run: the model beside its controls, at one temperature and over many."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from textforge import arena, controls, frontier
from textforge.errors import UserError
from textforge.evaluation import BUILT_IN, ORACLE_SEED, Judges, evaluate_generator, evaluate_texts, judge_texts
from textforge.metrics import Evaluation
from textforge.metrics.evaluate import AUDITED, real_text, vocabulary
from textforge.model import Model, load_text_model
from textforge.options import Options
from textforge.point_model import PointModel
from textforge.report.comparison import COPIER, COUNT, MLE, REAL
from textforge.run import derive, ended_phases, finite, load_checkpoint, saved_steps, write_atomic
from textforge.task import Task, load_task
from textforge.text import Pretrained, plain

MOST = 10_000
"""Texts on either side of a comparison; more change BLEU, so the number stands in the settings."""
SWEPT = 2_000
"""The same where many temperatures are tried."""
SHOWN = 20
"""Samples of each row that are kept."""
FILE = "evaluation.json"

Kind = Literal["model", "phase", "control"]


@dataclass(frozen=True)
class Row:
    """One line of the table: the model, the same at the end of an earlier phase, or a control."""

    name: str
    metrics: Mapping[str, float]
    kind: Kind = "model"
    samples: tuple[str, ...] = ()


def evaluate_model(
    model: Model,
    references: Iterable[str],
    *,
    train: Iterable[str] | None = None,
    task: Task | None = None,
    num: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    judges: Judges = BUILT_IN,
) -> Evaluation:
    """Judge a model by fresh samples; `task` brings the oracle, where there is one."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "evaluate"))
        return evaluate_generator(
            model.generator,
            model.tokenizer,
            references,
            train=train,
            oracle=None if task is None else task.oracle,
            num=num,
            temperature=temperature,
            most=MOST,
            judges=judges,
        )


def own_options(model: Model) -> Options:
    """Return what a run was asked for, with the tokenizer of a pretrained model from its folder, if any."""
    options = Options.of(model.settings)
    if isinstance(plain(model.tokenizer), Pretrained) and model.folder is not None:
        return replace(options, tokenizer=str(model.folder))
    return options


def own_task(model: Model) -> Task:
    """Read again what a run has learnt from; raises UserError where it is gone, or is another text by now."""
    try:
        task = load_task(own_options(model))
    except UserError as error:
        raise UserError(f"the run's own data cannot be read ({error}); put it back where it was") from error
    if task.fingerprint != model.settings.get("corpus"):
        raise UserError(
            f"the text at {task.texts.name} is not what the run has learnt from; restore it, or train again"
        )
    return task


def world_rows(model: PointModel) -> tuple[list[Row], Mapping[str, str | int | float]]:
    """Evaluate a model on its world, beside as many real points, measured in the same way."""
    world = model.world
    rows = [
        Row(model.settings["method"], model.evaluate()),
        Row("as many real points", arena.evaluation(world, arena.real(world), None), "control"),
    ]
    return rows, arena.settings(world)


def run_rows(
    folder: Path, model: Model, task: Task, console: Console | None = None
) -> tuple[list[Row], Mapping[str, str | int | float]]:
    """Evaluate a run against the test text (the validation text where there is none), beside its controls.

    The generators at the ends of earlier phases tell what the last one did: of an adversarial method, that is the
    pretrained model. The controls are those that were trained in the folder, and what needs no training: a count model,
    the training text as if it were samples, its own perfect copy, and real text. An oracle writes real text anew;
    elsewhere it is the references themselves, of which is told what needs no references.
    """
    references = list(islice(task.texts.held_out, MOST))
    method, seed = model.settings["method"], model.settings["seed"]
    say = (console or Console(quiet=True)).print

    def judged(name: str, model: Model, kind: Kind) -> tuple[Row, Evaluation]:
        say(f"evaluating: {name}")
        found = evaluate_model(model, references, train=task.texts.train, task=task)
        return Row(name, found.metrics, kind, tuple(model.draw(SHOWN, seed=seed).texts)), found

    row, last = judged(method, model, "model")
    rows = [row]
    for name, checkpoint in _earlier(folder, method):
        rows.append(judged(name, load_text_model(folder, checkpoint), "phase")[0])
    for name, place in controls.folders(folder).items():
        rows.append(judged(name, load_text_model(place), "control")[0])
    num = int(last.settings["num_samples"])
    for name, texts in _texts(task, num):
        if len(texts) > 1:
            say(f"evaluating: {name}")
            found = evaluate_texts(texts, references, task.tokenizer, train=task.texts.train, most=MOST).metrics
            if task.oracle is not None:
                found |= judge_texts(texts, task.oracle)
            rows.append(Row(name, found, "control", tuple(texts[:SHOWN])))
    if task.oracle is None:
        say(f"evaluating: {REAL}")
        found = real_text(references, task.texts.train, num=num, split=task.tokenizer.split)
        rows.append(Row(REAL, found, "control", tuple(references[:SHOWN])))
    part = "validation" if task.texts.test is None else "test"
    return rows, {"references": f"{part} text", **last.settings}


def _earlier(folder: Path, method: str) -> Iterator[tuple[str, str]]:
    """Yield the name of a row and of a checkpoint for each generator that a run has kept from before its end."""
    for phase in list(ended_phases(folder / "checkpoints"))[:-1]:
        yield f"{method}, after {phase}", phase
    if (best := saved_steps(folder / "checkpoints", "best")) and not _is_an_end(folder, best[0]):
        yield f"{method}, lowest held-out NLL (iteration {best[0]})", "best"


def _is_an_end(folder: Path, best_step: int) -> bool:
    """Whether a phase went back to the best generator at its end, or ended with it."""
    nll = load_checkpoint(folder, "best")["nll_valid"]
    ends = ended_phases(folder / "checkpoints")
    return any(step >= best_step and load_checkpoint(folder, phase)["nll_valid"] == nll for phase, step in ends.items())


def _texts(task: Task, num: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the controls that are texts: as many as there are samples, or fewer where there are no more."""
    head = list(islice(task.texts.train, AUDITED))
    yield COUNT, controls.count_model(head, task.tokenizer, num, task.max_length)
    yield COPIER, head[:num]
    if task.oracle is not None:
        yield REAL, task.oracle.sample(num, ORACLE_SEED + 1)


def write_rows(
    folder: Path,
    rows: Sequence[Row],
    settings: Mapping[str, str | int | float],
    verdict: Mapping[str, object] | None = None,
) -> None:
    """Write evaluation.json; the verdict is what a comparison of the run with its controls comes to."""
    table = {
        "rows": [
            {"name": row.name, "kind": row.kind, "metrics": finite(row.metrics), "samples": row.samples} for row in rows
        ],
        "settings": finite(settings),
        "verdict": verdict,
    }
    write_atomic(folder / FILE, json.dumps(table, ensure_ascii=False, indent=1).encode() + b"\n")


@dataclass(frozen=True)
class Frontier:
    """A model's curve over temperatures, and that of maximum likelihood where there is one."""

    points: list[frontier.Point]
    control: list[frontier.Point]
    gap: frontier.Gap | None


def run_frontier(
    folder: Path,
    model: Model,
    task: Task,
    *,
    control: Path | None = None,
    temperatures: Sequence[float] = frontier.TEMPERATURES,
    num: int | None = None,
    console: Console | None = None,
) -> Frontier:
    """Sweep a run and the run of maximum likelihood in `control`; write frontier.json into both folders.

    By default `control` is the one that was trained in the folder, if any, and there are `SWEPT` texts on either side;
    `num` samples are compared with up to `MOST` references.
    """
    references = list(islice(task.texts.held_out, SWEPT if num is None else MOST))
    split = task.tokenizer.split
    words = vocabulary(islice(task.texts.train, AUDITED), split=split)
    place = controls.folders(folder).get(MLE) if control is None else control
    say = (console or Console(quiet=True)).print

    def swept(model: Model) -> list[frontier.Point]:
        say(f"over temperatures: {model.settings['method']}")
        return frontier.sweep(model, references, words=words, oracle=task.oracle, temperatures=temperatures, num=num)

    settings: dict[str, str | int | None] = {
        "num_samples": len(references) if num is None else num,
        "num_references": len(references),
        "control": None if place is None else str(place),
    }
    points, curve, found = swept(model), [], None
    if place is not None:
        curve = swept(load_text_model(place))
        frontier.write(place, curve, None, {**settings, "control": None})
        found = frontier.gap(frontier.usual(points), curve, references, words=words, split=split)
    frontier.write(folder, points, found, settings)
    return Frontier(points, curve, found)
