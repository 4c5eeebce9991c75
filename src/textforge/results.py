"""What is said of a finished run: the model beside its best held-out checkpoint and real text, in one table."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from textforge import arena
from textforge.evaluation import evaluate_generator, evaluate_texts
from textforge.metrics import Evaluation
from textforge.model import Model, load_text_model
from textforge.point_model import PointModel
from textforge.run import derive, ended_phases, load_checkpoint, saved_steps, write_atomic
from textforge.task import Task

MOST = 10_000
"""Texts on either side of a comparison; more change BLEU, so the number stands in the settings."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    metrics: Mapping[str, float]


def evaluate_model(
    model: Model,
    references: Iterable[str],
    *,
    train: Iterable[str] | None = None,
    task: Task | None = None,
    num: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
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
        )


def world_rows(model: PointModel) -> tuple[list[Row], Mapping[str, str | int | float]]:
    """Evaluate a model on its world, beside as many real points, measured in the same way."""
    world = model.world
    rows = [
        Row(model.settings["method"], model.evaluate()),
        Row("as many real points", arena.evaluation(world, arena.real(world), None)),
    ]
    return rows, arena.settings(world)


def run_rows(folder: Path, model: Model, task: Task) -> tuple[list[Row], Mapping[str, str | int | float]]:
    """Evaluate a run against the test text (the validation text where there is none), beside its controls.

    The generators at the ends of earlier phases tell what the last one did: of an adversarial method, that is the
    pretrained model. The training text, judged as if it were samples, tells what real text scores; it is its own
    perfect copy.
    """
    references = task.texts.valid if task.texts.test is None else task.texts.test
    assert references is not None
    method, last = model.settings["method"], evaluate_model(model, references, train=task.texts.train, task=task)
    rows = [Row(method, last.metrics)]
    earlier = [(f"{method}, after {phase}", phase) for phase in list(ended_phases(folder / "checkpoints"))[:-1]]
    if (best := saved_steps(folder / "checkpoints", "best")) and not _is_an_end(folder, best[0]):
        earlier.append((f"{method}, lowest held-out NLL (iteration {best[0]})", "best"))
    for name, checkpoint in earlier:
        control = evaluate_model(load_text_model(folder, checkpoint), references, train=task.texts.train, task=task)
        rows.append(Row(name, control.metrics))
    real = list(islice(task.texts.train, int(last.settings["num_samples"])))
    if len(real) > 1:
        copied = evaluate_texts(real, references, model.tokenizer, train=task.texts.train, most=MOST)
        rows.append(Row("training text itself", copied.metrics))
    part = "validation" if task.texts.test is None else "test"
    return rows, {"references": f"{part} text", **last.settings}


def _is_an_end(folder: Path, best_step: int) -> bool:
    """Whether a phase went back to the best generator at its end, or ended with it."""
    nll = load_checkpoint(folder, "best")["nll_valid"]
    ends = ended_phases(folder / "checkpoints")
    return any(step >= best_step and load_checkpoint(folder, phase)["nll_valid"] == nll for phase, step in ends.items())


def write_rows(folder: Path, rows: Sequence[Row], settings: Mapping[str, str | int | float]) -> None:
    """Write evaluation.json."""
    table = {
        "rows": [{"name": row.name, "metrics": finite(row.metrics)} for row in rows],
        "settings": finite(settings),
    }
    write_atomic(folder / "evaluation.json", json.dumps(table, ensure_ascii=False, indent=1).encode() + b"\n")


def finite(values: Mapping[str, str | int | float]) -> dict[str, str | int | float | None]:
    """Return the values as JSON can express them: NaN and infinity become None."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
