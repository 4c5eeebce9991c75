"""textforge frontier and compare: runs beside what they have to beat."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from textforge.cli.output import COLUMNS, print_table, progress, spelled
from textforge.cli.parsing import parse
from textforge.cli.reading import read_references, read_training
from textforge.errors import CallError, UserError

if TYPE_CHECKING:
    from textforge.frontier import Point
    from textforge.report.comparison import Comparison, Entry
    from textforge.results import Frontier

CURVE = (
    "bleu_4",
    "self_bleu_4",
    "lm_score",
    "reverse_lm_score",
    "unique",
    "entropy",
    "validity",
    "kl_qp",
    "kl_pq",
    "js",
)


@dataclass(frozen=True)
class FrontierOptions:
    """Sweep the temperature of a generator, and place it against maximum likelihood's curve at equal quality."""

    run: Annotated[Path, Positional]
    """The run folder."""
    mle: Path | None = None
    """A run of mle on the same text; by default the one that was trained beside the run."""
    temperatures: Annotated[tuple[float, ...], arg(help_behavior_hint="")] = ()
    """Other temperatures than 0.3 to 1.5."""
    num: Annotated[int | None, arg(aliases=["-n"])] = None
    """How many samples at each temperature, against at most 10,000 references; by default 2,000 of either."""
    checkpoint: str = "last"
    """The model as it stood last, at its lowest held-out NLL (best), or at the end of a phase, by its name."""


def frontier_command(arguments: Sequence[str]) -> None:
    """Sweep temperatures."""
    options = parse(FrontierOptions, arguments, "frontier")
    from textforge.comparing import require_one_run
    from textforge.frontier import TEMPERATURES
    from textforge.model import load_text_model
    from textforge.results import own_task, run_frontier

    require_one_run(options.run)
    model = load_text_model(options.run, options.checkpoint)
    task = own_task(model)
    if options.mle is not None:
        require_one_run(options.mle)
        control = load_text_model(options.mle)
        if control.settings["corpus"] != model.settings["corpus"]:
            raise CallError(
                f"{options.mle} has learnt from another text than {options.run}; give --mle a run on the same"
            )
    curves = run_frontier(
        options.run,
        model,
        task,
        control=options.mle,
        temperatures=options.temperatures or TEMPERATURES,
        num=options.num,
        console=progress(),
    )
    print_frontier(model.settings["method"], curves)


def print_frontier(method: str, curves: "Frontier") -> None:
    """Print a run's curve, that of maximum likelihood, and the gap between them in words."""
    _print_curve(f"{method}, over temperatures", curves.points)
    if not curves.control:
        return
    _print_curve("mle, over temperatures", curves.control)
    found = curves.gap
    if found is None:
        print(f"\nno gap to mle can be told: {_no_gap(method, curves)}")
        return
    interval = found.interval
    words = {"higher": "behind mle", "lower": "ahead of mle", "tie": "tie with mle"}[interval.verdict]
    print(
        f"\nat equal quality (lm_score {found.lm_score:.3f}, mle at temperature {found.temperature:.2f}): "
        f"reverse_lm_score {interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}] nats a token "
        f"against mle's: {words}\n"
        "(interval over the references, of this one training; --seeds tells how much trainings differ)"
    )


def _no_gap(method: str, curves: "Frontier") -> str:
    """Say why two curves have no gap."""
    from textforge.frontier import usual

    ours = usual(curves.points).metrics["lm_score"]
    theirs = [point.metrics["lm_score"] for point in curves.control]
    if min(theirs) <= ours <= max(theirs):
        return "there are too few references for an interval"
    return (
        f"the quality of {method} is an lm_score of {ours:.3f}, and over the temperatures swept mle has "
        f"{min(theirs):.3f} to {max(theirs):.3f}, so the two cannot be compared at equal quality"
    )


def _print_curve(title: str, points: "Sequence[Point]") -> None:
    from textforge.results import Row

    rows = [
        Row(f"T={point.temperature:g}", {name: point.metrics[name] for name in CURVE if name in point.metrics})
        for point in points
    ]
    print_table(title, rows, CURVE)


@dataclass(frozen=True)
class CompareOptions:
    """Put runs, groups of seeds and files of samples side by side: a verdict in words, and one page."""

    targets: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN|FILE", help_behavior_hint="")]
    """Run folders, folders that --seeds made, and files of samples, a text a line."""
    reference: Path | None = None
    """For files alone: held-out real text."""
    train: Path | None = None
    """For files alone: the training text, which the copy audit and the count model need."""
    tokenizer: Literal["auto", "word", "char"] = "auto"
    """For files alone: how texts are cut into symbols."""
    out: Path = Path("report.html")
    """The page to write."""
    json: bool = False
    """Print one JSON object with the verdicts, the metrics and the settings, and nothing else."""


def compare_command(arguments: Sequence[str]) -> None:
    """Compare runs."""
    options = parse(CompareOptions, arguments, "compare")
    if not options.targets:
        raise CallError("name what to compare: textforge compare RUN...; see textforge compare --help")
    from textforge.comparing import Ground, compare
    from textforge.report import compare_page
    from textforge.results import MOST, Row
    from textforge.text import tokenizers

    for target in options.targets:
        if not target.exists():
            raise UserError(f"there is no run folder and no file {target}")
    ground = None
    own = options.reference, options.train, options.tokenizer
    if any(target.is_dir() for target in options.targets) and own != (None, None, "auto"):
        raise CallError("a run brings its own references; leave out --reference, --train and --tokenizer")
    if options.reference is not None:
        real = list(islice(read_references(options.reference), MOST))
        train = list(islice(read_training(options.train) or (), MOST))
        name = tokenizers.choose(real) if options.tokenizer == "auto" else options.tokenizer
        ground = Ground(real, train, tokenizers.train(name, [*real, *train]))
    elif options.train is not None:
        raise CallError("--train goes with --reference, held-out real text")
    found = compare(
        options.targets,
        ground=ground,
        command=shlex.join(["textforge", "compare", *arguments]),
        console=progress(),
    )
    compare_page.write(found, options.out)
    if options.json:
        print(json.dumps(_as_json(found), ensure_ascii=False))
        return
    print_verdicts(found)
    rows = [Row(entry.name, {name: mean(values) for name, values in entry.metrics.items()}) for entry in found.entries]
    print_table(_title(found.entries), rows, COLUMNS)
    print(spelled(found.settings))
    print_spent(found)
    print(f"report: {options.out}")


def _title(entries: "Sequence[Entry]") -> str:
    """Say what the numbers of a column are: means over seeds, of one training, or of the texts of a file."""
    names: dict[str, list[str]] = {}
    for entry in entries:
        if entry.kind == "control" and not entry.records:
            continue  # text, which nobody trained
        num = len(entry.seeds)
        what = "one training each" if num == 1 else f"means over {num} seeds"
        names.setdefault("one file of texts each" if entry.kind == "samples" else what, []).append(entry.name)
    if len(names) == 1:
        return next(iter(names))
    return "; ".join(f"{what}: {', '.join(of)}" for what, of in names.items())


def print_verdicts(found: "Comparison") -> None:
    """Print what is to be said of each entry."""
    for verdict in found.verdicts:
        print(f"{verdict.entry}: {verdict.headline}")
        for reason in verdict.reasons:
            print(f"  {reason}")


def print_spent(found: "Comparison") -> None:
    """Print what was spent on each entry that was trained."""
    spent = [
        f"{entry.name} {entry.seconds:.0f} s a seed, preset {entry.config.get('preset')} "
        f"({', '.join(entry.changed) or 'as it is'})"
        for entry in found.entries
        if entry.seconds is not None
    ]
    if spent:
        print(f"\ntraining: {'; '.join(spent)}")


def _as_json(found: "Comparison") -> dict[str, object]:
    return {
        "verdicts": [vars(verdict) for verdict in found.verdicts],
        "entries": [
            {
                "name": entry.name,
                "kind": entry.kind,
                "seeds": entry.seeds,
                "seconds": entry.seconds,
                "changed": entry.changed,
                "metrics": entry.metrics,
            }
            for entry in found.entries
        ],
        "settings": found.settings,
    }
