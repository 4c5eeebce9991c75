"""What a generator has to beat before it is worth anything: rows that stand beside every result.

Real text and its perfect copy, a count model, maximum likelihood tuned by early stopping and swept over temperatures,
and, for a method that learns from a score, the same training with scores that say nothing.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from rich.console import Console

from textforge import methods
from textforge.fitting import train
from textforge.metrics.kneser_ney import fit_maximum_likelihood
from textforge.options import Options
from textforge.report.comparison import COUNT_ORDER, MLE
from textforge.run import derive
from textforge.task import Task
from textforge.text import Tokenizer

FOLDER = "controls"
"""In a run folder: the runs that it is compared with, each an ordinary run folder."""
UNINFORMATIVE = ("constant", "random")
"""Values of a method's field `reward` that keep the discriminator out of the game."""


def count_model(lines: Sequence[str], tokenizer: Tokenizer, num: int, max_length: int, seed: int = 0) -> list[str]:
    """Draw texts from the relative frequencies of n-grams of order `COUNT_ORDER`, in the symbols of the tokenizer."""
    model = fit_maximum_likelihood(lines, order=COUNT_ORDER, split=tokenizer.split)
    drawn = model.sample_symbols(num, derive(seed, "count model"), max_length=max_length)
    return [tokenizer.decode(tokenizer.vocabulary.encode(symbols)) for symbols in drawn]


def configurations(method: str, preset: str, config: Any, which: str) -> Iterator[tuple[str, str, Any]]:
    """Yield the control runs of a method as (name, method, config).

    Maximum likelihood has the preset of the same name where there is one, and goes on from the same pretrained model,
    as pretraining does. Of a field `reward` that can be set to what
    says nothing, there is a control for each such value.
    """
    if which == "none":
        return
    if method != MLE:
        presets = methods.load(MLE).PRESETS
        control = presets.get(preset, presets[Options.preset])
        if vars(config).get("pretrained") is not None:
            own = {name: vars(config)[name] for name in ("pretrained", "lora_rank", "batch_size")}
            control = dataclasses.replace(control, **own, lr=config.pretrain_lr)
        yield MLE, MLE, control
    if which == "all":
        choices = get_args(get_type_hints(type(config)).get("reward"))
        for reward in UNINFORMATIVE:
            if reward in choices and config.reward not in UNINFORMATIVE:
                yield f"{reward}-reward", method, dataclasses.replace(config, reward=reward)


def train_controls(
    folder: Path, method: str, options: Options, config: Any, task: Task, which: str, console: Console
) -> None:
    """Train the control runs of a run inside its folder, or go on with them; `which` is all, mle or none.

    What a collapse is to the run, it is not to a control: an empty reward may well end in one.
    """
    options = dataclasses.replace(options, on_collapse="warn")
    for name, other, settings in configurations(method, options.preset, config, which):
        place = folder / FOLDER / name
        console.print(f"control: {name}")
        train(other, options, settings, task, place, resume=place.exists(), console=console)


def folders(folder: Path) -> Mapping[str, Path]:
    """Return the control runs of a run by name."""
    return {place.parent.name: place.parent for place in sorted((folder / FOLDER).glob("*/config.json"))}
