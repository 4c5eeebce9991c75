"""textforge sample and infill: texts from a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import DisallowNone, OmitArgPrefixes, Positional, arg

from textforge.cli.output import deliver, escaped
from textforge.cli.parsing import parse
from textforge.errors import CallError
from textforge.options import PLAIN, Strategy

if TYPE_CHECKING:
    from textforge.constraints import Constraint
    from textforge.model import Model, PointModel


@dataclass(frozen=True)
class Wish:
    """What texts must be like."""

    label: str | None = None
    """The label that each text has, one of those that the model has learned."""
    prompt: str = ""
    """What each text begins with."""
    match: str | None = None
    """A regular expression that each whole text matches."""
    grammar: Path | None = None
    """A grammar file, of which each text is a sentence."""
    ban: Annotated[tuple[str, ...], arg(help_behavior_hint="")] = ()
    """Symbols that do not occur."""
    require: Annotated[tuple[str, ...], arg(help_behavior_hint="")] = ()
    """Symbols that occur, in any order."""
    length: int | None = None
    """How many symbols each text has."""


ANYTHING = Wish()


@dataclass(frozen=True)
class SampleOptions:
    """Draw texts from a trained model."""

    run: Annotated[Path, Positional]
    """The run folder."""
    num: Annotated[int, arg(aliases=["-n"])] = 10
    """How many."""
    temperature: float = 1.0
    """1 is the model itself; lower is sharper, higher more varied."""
    seed: Annotated[int | None, DisallowNone] = None
    """The same seed draws the same texts."""
    format: Literal["text", "jsonl"] = "text"
    """A line each, or a JSON object each, with its label, if it has one, and its log-probability in nats at this
    temperature, with a --label that given the label (of points: the true log-density)."""
    with_labels: bool = False
    """Write the label of each text, and a tab, in front of its line."""
    checkpoint: str = "last"
    """The model as it stood last, at its lowest held-out NLL (best), or at the end of a phase, by its name."""
    out: Annotated[Path | None, DisallowNone] = None
    """A file to write to instead of standard output."""
    strategy: Annotated[Strategy, OmitArgPrefixes] = PLAIN
    wish: Annotated[Wish, OmitArgPrefixes, DisallowNone] = ANYTHING


def sample_command(arguments: Sequence[str]) -> None:
    """Draw texts."""
    options = parse(SampleOptions, arguments, "sample")
    from textforge.model import PointModel, load

    model = load(options.run, options.checkpoint)
    if isinstance(model, PointModel):
        _sample_points(model, options)
        return
    drawn = model.draw(
        options.num,
        label=options.wish.label,
        temperature=options.temperature,
        seed=options.seed,
        strategy=options.strategy,
        constraint=_constraint(model, options.wish),
        prompt=options.wish.prompt,
    )
    if options.with_labels and drawn.labels is None:
        raise CallError("this model has learned no labels; leave out --with-labels")
    if options.format == "text":
        lines = [escaped(text) for text in drawn.texts]
        if options.with_labels and drawn.labels is not None:
            lines = [f"{escaped(label or '')}\t{line}" for label, line in zip(drawn.labels, lines, strict=True)]
    else:
        records: list[dict[str, str | float | None]] = [{"text": text} for text in drawn.texts]
        if drawn.labels is not None:
            for record, label in zip(records, drawn.labels, strict=True):
                record["label"] = label
        if drawn.log_prob is not None:
            for record, value in zip(records, drawn.log_prob.tolist(), strict=True):
                record["log_prob"] = value
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
    deliver(lines, options.out)


def _constraint(model: "Model", wish: Wish) -> "Constraint | None":
    """Return all that is wished for but the prompt, as one constraint."""
    from textforge import constraints

    vocabulary, parts = model.tokenizer.vocabulary, []
    if wish.match is not None:
        parts.append(constraints.matching(model.tokenizer, wish.match))
    if wish.grammar is not None:
        parts.append(constraints.from_grammar(model.tokenizer, wish.grammar))
    if wish.ban:
        parts.append(constraints.banned(vocabulary, wish.ban))
    if wish.require:
        parts.append(constraints.required(vocabulary, wish.require))
    if wish.length is not None:
        parts.append(constraints.length(vocabulary, exactly=wish.length))
    return constraints.all_of(*parts) if parts else None


def _sample_points(model: "PointModel", options: SampleOptions) -> None:
    if options.temperature != SampleOptions.temperature:
        raise CallError(f"a {model.settings['method']} model has no temperature; leave out --temperature")
    if options.strategy != PLAIN or options.wish != ANYTHING or options.with_labels:
        raise CallError(f"a {model.settings['method']} model draws points; leave out what is wished of texts")
    if options.format == "text":
        deliver(model.sample(options.num, seed=options.seed), options.out)
    else:
        records = model.records(options.num, seed=options.seed)
        deliver([json.dumps(record, ensure_ascii=False) for record in records], options.out)


@dataclass(frozen=True)
class InfillOptions:
    """Fill the blanks of a text. What stands around them stays; a model that reads only forward looks no further."""

    run: Annotated[Path, Positional]
    """The run folder."""
    text: Annotated[str, Positional]
    """The text, in which each blank is one token, such as "a man ___ on a ___"."""
    num: Annotated[int, arg(aliases=["-n"])] = 5
    """How many times."""
    label: str | None = None
    """The label that the text has, one of those that the model has learned."""
    blank: str = "___"
    """What a blank looks like."""
    temperature: float = 1.0
    """1 is the model itself; lower is sharper, higher more varied."""
    seed: int | None = None
    """The same seed fills in the same."""
    candidates: int = 1
    """Of so many fillings one is kept, by how well what stands behind the blanks follows: for models that read only
    forward."""
    checkpoint: str = "last"
    """The model as it stood last, at its lowest held-out NLL (best), or at the end of a phase, by its name."""


def infill_command(arguments: Sequence[str]) -> None:
    """Fill blanks."""
    options = parse(InfillOptions, arguments, "infill")
    from textforge.model import load_text_model

    model = load_text_model(options.run, options.checkpoint)
    filled = model.infill(
        options.text,
        options.num,
        label=options.label,
        blank=options.blank,
        temperature=options.temperature,
        seed=options.seed,
        candidates=options.candidates,
    )
    deliver([escaped(text) for text in filled], None)
