"""textforge score, evaluate and report: what a run is worth."""

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from textforge.cli.output import print_table, spelled
from textforge.cli.parsing import parse
from textforge.cli.reading import read_references, read_training
from textforge.errors import CallError, UserError

if TYPE_CHECKING:
    from textforge.detector import Detector
    from textforge.evaluation import Judges
    from textforge.metrics import Evaluation
    from textforge.model import Model, PointModel


LARGE = 2**22
"""Bytes of samples and references together from which on they are not held in memory."""


@dataclass(frozen=True)
class ScoreOptions:
    """Score each line of a file that is not blank: one JSON object a line, log-probabilities in nats.

    Of a model that has learned labels, with the most probable label, and how probable it is.
    """

    run: Annotated[Path, Positional]
    """The run folder."""
    file: Annotated[Path, Positional]
    """The texts."""
    column: str = "text"
    """The column of a .csv, .tsv or .parquet file, or the field of a .jsonl file, that holds the text."""
    checkpoint: str = "last"
    """The model as it stood last; the others have no discriminator: best, or a phase by its name, at its end."""


def score_command(arguments: Sequence[str]) -> None:
    """Score texts."""
    options = parse(ScoreOptions, arguments, "score")
    from textforge.model import load_text_model
    from textforge.run import finite
    from textforge.text import read_lines

    model, lines = load_text_model(options.run, options.checkpoint), read_lines(options.file, options.column)
    detector, unk = _detector(model), model.tokenizer.vocabulary.unk
    unknown = total = 0
    for start in itertools.count(step=1000):
        texts = list(itertools.islice(lines, 1000))
        if not texts:
            break
        try:
            columns = _scores(model, detector, texts)
        except UserError as error:
            behind = f" behind its first {start:,} lines" if start else ""
            raise UserError(f"{options.file}{behind}: {error}") from None
        for values in zip(*columns.values(), strict=True):
            print(json.dumps(finite(dict(zip(columns, values, strict=True)))))
        for ids in map(model.tokenizer.encode, texts):
            unknown, total = unknown + sum(id_ == unk for id_ in ids), total + len(ids)
    if unknown:
        print(f"textforge: {unknown:,} of {total:,} tokens are unknown and were scored as <unk>", file=sys.stderr)


def _detector(model: "Model") -> "Detector | None":
    """Return the run's detector; say so where it is of another state of the run."""
    from textforge.detector import FOLDER

    if model.folder is None or not (model.folder / FOLDER).exists():
        return None
    try:
        return model.detector()
    except UserError as error:
        print(f"textforge: no p_real: {error}", file=sys.stderr)
        return None


def _scores(model: "Model", detector: "Detector | None", texts: Sequence[str]) -> dict[str, list[str] | list[float]]:
    """Return what is known of the texts: likelihood, label, the adversary's opinion, and that of the detector."""
    columns: dict[str, list[str] | list[float]] = {}
    if not model.generator.noise_dim:
        log_probs = model.log_prob(texts)
        columns["log_prob"] = log_probs.tolist()
        columns["nll_per_token"] = (-log_probs / model.num_tokens(texts)).tolist()
    if model.labels and not model.generator.noise_dim:
        probs = model.label_probs(texts)
        columns["label"] = [model.labels[place] for place in probs.argmax(1).tolist()]
        columns["label_prob"] = probs.max(1).tolist()
    if "discriminator" in model.networks:
        columns["discriminator"] = model.discriminate(texts).tolist()
    if detector is not None:
        columns["p_real"] = model.p_real(texts, detector).tolist()
    if not columns:
        raise UserError("this checkpoint has neither a likelihood nor a discriminator; use the last one")
    return columns


@dataclass(frozen=True)
class EvaluateOptions:
    """Judge a trained model, or a file of samples, against reference text."""

    target: Annotated[Path, Positional, arg(metavar="RUN|FILE")]
    """A run folder, or a file of samples."""
    reference: Path | None = None
    """Held-out real text; for a run, by default its own test (or validation) part."""
    train: Path | None = None
    """The training text, for the share of exact copies; for a run, by default its own."""
    num: Annotated[int | None, arg(aliases=["-n"])] = None
    """How many samples to draw; by default as many as there are references, at most 10,000, or, where these are fewer
    than 1,000, as there are training lines, at most 1,000."""
    temperature: float = 1.0
    """Temperature of the samples and of the likelihood."""
    seed: int = 0
    """Seed of the samples."""
    checkpoint: str = "last"
    """The model as it stood last, at its lowest held-out NLL (best), or at the end of a phase, by its name."""
    tokenizer: Literal["auto", "word", "char"] = "auto"
    """For a file: how texts are cut into symbols. A run has its own."""
    lm: Literal["kneser-ney", "lstm"] = "kneser-ney"
    """What judges by likelihood: a count model; or an LSTM as well, which takes minutes."""
    canaries: Path | None = None
    """For a run: secrets that were put into its training text, one a line, `the code is {3 1 4 1}` without the braces;
    does the model know or say them?"""
    encoder: Path | None = None
    """The folder of a sentence-transformers model that turns texts into vectors, in place of hashed n-grams."""
    json: bool = False
    """Print one JSON object with metrics and settings."""


def evaluate_command(arguments: Sequence[str]) -> None:
    """Evaluate a run or a file."""
    options = parse(EvaluateOptions, arguments, "evaluate")
    from textforge.results import Row
    from textforge.run import finite

    evaluation = _evaluate_run(options) if options.target.is_dir() else _evaluate_file(options)
    if options.canaries is not None:
        evaluation.metrics.update(_judge_canaries(options))
    if options.json:
        judged = {"metrics": finite(evaluation.metrics), "settings": finite(evaluation.settings)}
        print(json.dumps(judged, ensure_ascii=False))
        return
    print_table(str(options.target), [Row("", evaluation.metrics)], list(evaluation.metrics))
    print(spelled(evaluation.settings))


def _evaluate_run(options: EvaluateOptions) -> "Evaluation":
    from textforge.model import PointModel, load
    from textforge.results import evaluate_model, own_options
    from textforge.task import load_task

    model = load(options.target, options.checkpoint)
    if isinstance(model, PointModel):
        return _evaluate_points(model, options)
    task = None
    try:
        task = load_task(own_options(model))
    except UserError as error:
        if options.reference is None:
            raise UserError(f"the run's own data cannot be read ({error}); give --reference") from error
        print(f"the run's own data cannot be read ({error}): copies are counted only with --train", file=sys.stderr)
    if task is not None and task.fingerprint != model.settings.get("corpus"):
        print(f"the text at {task.texts.name} is not what the run has learnt from", file=sys.stderr)
    train = None if task is None else task.texts.train
    if options.reference is not None:
        real = read_references(options.reference)
    else:
        assert task is not None
        real = task.texts.held_out
    return evaluate_model(
        model,
        real,
        train=read_training(options.train) or train,
        task=task,
        num=options.num,
        temperature=options.temperature,
        seed=options.seed,
        judges=_judges(options),
    )


def _judges(options: EvaluateOptions) -> "Judges":
    from textforge.evaluation import Judges
    from textforge.metrics.encoder import sentence_transformer

    if options.encoder is None:
        return Judges(lstm=options.lm == "lstm")
    if not options.encoder.is_dir():
        raise UserError(f"there is no folder {options.encoder}; give --encoder that of a sentence-transformers model")
    return Judges(sentence_transformer(options.encoder), options.encoder.resolve().name, options.lm == "lstm")


def _judge_canaries(options: EvaluateOptions) -> dict[str, float]:
    from textforge import canaries
    from textforge.model import load_text_model
    from textforge.results import MOST
    from textforge.text import read_lines

    assert options.canaries is not None
    if not options.target.is_dir():
        raise CallError("--canaries asks what a model knows; give the folder of a run")
    model = load_text_model(options.target, options.checkpoint)
    num = MOST if options.num is None else options.num
    samples = model.draw(num, temperature=options.temperature, seed=options.seed).texts
    return canaries.judge(model, canaries.read(list(read_lines(options.canaries))), samples, seed=options.seed)


def _evaluate_points(model: "PointModel", options: EvaluateOptions) -> "Evaluation":
    from textforge import arena
    from textforge.metrics import Evaluation

    for field in ("reference", "train", "num", "temperature", "lm", "encoder"):
        if vars(options)[field] != vars(EvaluateOptions)[field]:
            raise CallError(f"the truth about the world {model.world.name} is known; leave out --{field}")
    return Evaluation(model.evaluate(seed=options.seed), arena.settings(model.world))


def _evaluate_file(options: EvaluateOptions) -> "Evaluation":
    from textforge.evaluation import evaluate_texts
    from textforge.metrics.streaming import FIRST, evaluate_stream
    from textforge.text import read_lines, read_texts, tokenizers

    if options.reference is None:
        raise CallError("samples in a file need --reference FILE, real text to compare them with")
    real = read_references(options.reference)
    name = tokenizers.choose(real) if options.tokenizer == "auto" else options.tokenizer
    train, judges = read_training(options.train), _judges(options)
    if sum(map(_size, (options.target, options.reference))) < LARGE:
        samples, tokenizer = list(read_lines(options.target)), tokenizers.train(name, real)
        return evaluate_texts(samples, real, tokenizer, train=train, judges=judges)
    print("large files: what is counted is counted in all lines, by tables in the temporary folder", file=sys.stderr)
    # The tokenizer cuts texts here, and numbers no symbols.
    tokenizer = tokenizers.train(name, itertools.islice(real, FIRST))
    return evaluate_stream(
        read_texts(options.target).train,
        real,
        lambda ours, theirs, known: evaluate_texts(ours, theirs, tokenizer, train=known, judges=judges),
        train=train,
        split=tokenizer.split,
    )


def _size(path: Path) -> int:
    """Return the bytes of a file, or of the files in a folder."""
    try:
        return sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; check the path") from None


@dataclass(frozen=True)
class ReportOptions:
    """Write the page of a run: one file that opens without a network."""

    run: Annotated[Path, Positional]
    """The run folder."""
    out: Path | None = None
    """Where to; by default report.html in the run folder."""


def report_command(arguments: Sequence[str]) -> None:
    """Write a report."""
    options = parse(ReportOptions, arguments, "report")
    from textforge import report
    from textforge.report.read import unevaluated

    out = options.out or options.run / "report.html"
    if not options.run.is_dir():
        raise UserError(f"there is no run folder {options.run}; give the one that `textforge train --out` wrote")
    report.write(options.run, out)
    if warning := unevaluated(options.run):
        print(f"textforge: {warning}", file=sys.stderr)
    print(out)
