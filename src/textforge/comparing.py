"""Runs, groups of seeds and files of samples, put side by side."""

import dataclasses
import hashlib
import itertools
import json
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from textforge import controls, frontier, methods, results
from textforge.errors import CallError, UserError
from textforge.evaluation import evaluate_texts, judge_texts
from textforge.metrics.bootstrap import jackknife_errors
from textforge.metrics.evaluate import AUDITED, alone, overlap, real_text, vocabulary
from textforge.model import load_text_model
from textforge.oracles import Oracle
from textforge.report.comparison import COPIER, COUNT, MLE, REAL, Comparison, Entry, Gap, Sweep
from textforge.report.read import Evaluation, Row, RunFolder, read, read_config, unevaluated
from textforge.report.verdicts import verdicts
from textforge.text import Tokenizer, read_lines

GROUPS = 10
"""Parts of a file of samples, one left out at a time, that tell how sure its numbers are."""


@dataclass(frozen=True)
class Ground:
    """What samples in files are judged by: held-out text, training text, symbols, and an oracle where there is one."""

    references: list[str]
    train: list[str]
    tokenizer: Tokenizer
    oracle: Oracle | None = None

    @cached_property
    def words(self) -> frozenset[str]:
        """The symbols of the training text."""
        return vocabulary(self.train, split=self.tokenizer.split)


def seeds_of(target: Path) -> list[Path]:
    """Return the run folders that a target stands for: itself, or the seeds of a group that `--seeds` made."""
    if (target / "config.json").exists():
        return [target]
    if not (found := _group(target)):
        raise UserError(f"{target} is neither a run nor a group of runs; give what `textforge train --out` wrote")
    return found


def require_one_run(target: Path) -> None:
    """Raise `UserError` for a group of runs, where one run is asked for."""
    if not (target / "config.json").exists() and (found := _group(target)):
        raise UserError(f"{target} is a group of {len(found)} runs, not one; give one of them, such as {found[0]}")


def _group(target: Path) -> list[Path]:
    numbered = {file.parent.name.removeprefix("seed-"): file.parent for file in target.glob("seed-*/config.json")}
    return [numbered[seed] for seed in sorted(filter(str.isdecimal, numbered), key=int)]


def compare(
    targets: Sequence[Path],
    *,
    ground: Ground | None = None,
    seeds: Mapping[Path, Sequence[Path]] | None = None,
    command: str = "",
    console: Console | None = None,
) -> Comparison:
    """Put targets side by side: run folders, groups of seeds, and files of samples, which `ground` is needed for.

    Runs must have learnt from one text. A run that was not evaluated yet is evaluated now, in its folder. `seeds` are
    the runs of a group that count, by default all.
    """
    say = console or Console(quiet=True)
    targets = list(_once(targets, say))
    folders = {target: (seeds or {}).get(target) or seeds_of(target) for target in targets if target.is_dir()}
    files = [target for target in targets if not target.is_dir()]
    names = _names(targets, folders)
    entries: list[Entry] = []
    trained: dict[str, Entry] = {}
    settings: dict[str, Any] = {}
    for target, places in folders.items():
        runs, found = zip(*(_evaluated(place, say) for place in places), strict=True)
        _require_one_text(runs, entries)
        entries.append(_entry(names[target], "model", runs, places, [evaluation.rows[0] for evaluation in found]))
        settings = settings or dict(found[0].settings)
        for name, entry in _controls(names[target], found, places):
            trained.setdefault(name, entry)
    for name in [entry.name for entry in entries]:
        trained.pop(name, None)  # a run of mle in its own right
    if files and ground is None:
        if not folders:
            raise CallError("samples in a file need --reference FILE, real text to compare them with")
        ground = ground_of(next(iter(folders.values()))[0])
    texts = {target: list(itertools.islice(read_lines(target), results.MOST)) for target in files}
    num = min(map(len, texts.values()), default=0)
    if any(len(lines) > num for lines in texts.values()):
        say.print(f"the first {num:,} texts of each file count, as many as the shortest has")
    for target in files:
        say.print(f"evaluating: {target}")
        assert ground is not None
        entry, own = _file_entry(names[target], texts[target][:num], ground)
        entries.append(entry)
        settings = settings or own
    if files and not folders:
        assert ground is not None
        trained |= {entry.name: entry for entry in _ground_entries(ground, int(settings["num_samples"]), say)}
    everything = (*entries, *trained.values())
    found = verdicts(everything, min(int(settings["num_samples"]), int(settings["num_references"])))
    if files and (of_runs := int(settings["num_samples"])) != num:
        unequal = (
            f"files are judged by {num:,} texts and runs by {of_runs:,}, so what hangs on the number (distinct texts, "
            f"Self-BLEU, MS-Jaccard, reverse LM score) does not compare; give files of {of_runs:,}"
        )
        say.print(unequal)
        found = tuple(dataclasses.replace(verdict, reasons=(*verdict.reasons, unequal)) for verdict in found)
    return Comparison(
        title=" · ".join(entry.name for entry in entries),
        entries=everything,
        verdicts=found,
        settings=settings,
        command=command,
    )


def _once(targets: Iterable[Path], console: Console) -> Iterator[Path]:
    """Leave out, and name, what was given before by this or another path."""
    known: set[Path] = set()
    for target in targets:
        if target.resolve() in known:
            console.print(f"{target} is given more than once and counts once")
        else:
            known.add(target.resolve())
            yield target


def _names(targets: Sequence[Path], folders: Mapping[Path, Sequence[Path]]) -> dict[Path, str]:
    """Name runs by their method and files by their stem; where two would be called alike, by what tells them apart."""
    plain = {
        target: str(read_config(folders[target][0])["method"]) if target in folders else target.stem
        for target in targets
    }
    many = Counter(plain.values())
    names = {target: name if many[name] == 1 else target.resolve().name for target, name in plain.items()}
    many = Counter(names.values())
    return {target: name if many[name] == 1 else str(target) for target, name in names.items()}


def _evaluated(place: Path, console: Console) -> tuple[RunFolder, Evaluation]:
    """Read a run; evaluate it first where that has not been done, or was done by an earlier version."""
    run = read(place)
    if run.evaluation is None or not any("lm_score" in row.metrics for row in run.evaluation.rows[:1]):
        model = load_text_model(place)
        said = unevaluated(place) or f"{place / results.FILE} is of an earlier version"
        console.print(f"{said}; now the model is evaluated as it stands")
        rows, settings = results.run_rows(place, model, results.own_task(model), console)
        results.write_rows(place, rows, settings)
        run = read(place)
    if not _read_json(place / frontier.FILE).get("points"):
        if (place / frontier.FILE).exists():
            console.print(f"{place / frontier.FILE} is damaged; now it is written anew")
        model = load_text_model(place)
        results.run_frontier(place, model, results.own_task(model), console=console)
    assert run.evaluation is not None, "it was written just now"
    return run, run.evaluation


def _require_one_text(runs: Sequence[RunFolder], entries: Sequence[Entry]) -> None:
    known = {run.config.get("corpus") for run in runs} | {entry.hashes.get("corpus") for entry in entries}
    if len(known) > 1:
        raise UserError(
            "the runs have learnt from different texts, so their numbers do not compare; give runs on one text"
        )


def _entry(name: str, kind: Any, runs: Sequence[RunFolder], places: Sequence[Path], rows: Sequence[Row]) -> Entry:
    """Gather what the seeds of one entry have in common."""
    swept = [_read_json(place / frontier.FILE) for place in places]
    points = swept[0].get("points", [])
    curves = [
        Sweep(point["temperature"], _gathered([found["points"][i]["metrics"] for found in swept]))
        for i, point in enumerate(points)
        if all(len(found.get("points", [])) > i for found in swept)
    ]
    gaps = [
        found["gap"]
        for found in swept
        if (asked := found.get("settings", {})).get("control") and asked["num_references"] >= frontier.LEAST
    ]
    first = runs[0]
    environment = first.environment.get("command")
    return Entry(
        name=name,
        kind=kind,
        metrics=_gathered([row.metrics for row in rows]),
        seeds=tuple(int(str(run.config.get("seed", i))) for i, run in enumerate(runs)),
        frontier=tuple(curves),
        gaps=tuple(None if gap is None else Gap(**gap) for gap in gaps),
        records=tuple(run.records for run in runs),
        samples={1.0: rows[0].samples} | {point["temperature"]: tuple(point["samples"]) for point in points},
        config=first.config,
        changed=_changed(first),
        command=shlex.join(map(str, environment)) if isinstance(environment, list) else "",
        hashes={"corpus": str(first.config.get("corpus")), "weights": _weights(places[0])},
    )


def _changed(run: RunFolder) -> tuple[str, ...]:
    """Return the fields in which a run departs from its preset, as `name value`."""
    config, method = run.config.get("config"), str(run.config["method"])
    preset = methods.find(method).PRESETS.get(str(run.config.get("preset")))
    if preset is None or not isinstance(config, dict):
        return ()
    usual = json.loads(json.dumps(vars(preset)))
    return tuple(f"{name} {value}" for name, value in config.items() if usual.get(name) != value)


def _gathered(rows: Iterable[Mapping[str, object]]) -> dict[str, tuple[float, ...]]:
    """Return the values of each metric that every seed has, and has finite."""
    all_rows = list(rows)
    return {
        name: tuple(float(row[name]) for row in all_rows)  # type: ignore[arg-type]
        for name in all_rows[0]
        if all(isinstance(value := row.get(name), int | float) and math.isfinite(value) for row in all_rows)
    }


def _controls(owner: str, found: Sequence[Evaluation], places: Sequence[Path]) -> Iterator[tuple[str, Entry]]:
    """Yield the controls of an entry's runs: those that were trained, with their seeds, and those of text alone."""
    rows = [{row.name: row for row in evaluation.rows if row.kind == "control"} for evaluation in found]
    for name, row in rows[0].items():
        own = [controls.folders(place).get(name) for place in places]
        label = name if name == MLE else f"{owner}, {name}"
        if all(own) and all(name in others for others in rows):
            inner = [place for place in own if place is not None]
            yield (
                label,
                _entry(label, "control", [read(place) for place in inner], inner, [found[name] for found in rows]),
            )
        elif not any(own):
            yield name, Entry(name, "control", _gathered([row.metrics]), samples={1.0: row.samples})


def ground_of(place: Path) -> Ground:
    """Return what a run was judged by."""
    model = load_text_model(place)
    task = results.own_task(model)
    head = list(itertools.islice(task.texts.held_out, results.MOST))
    return Ground(head, list(itertools.islice(task.texts.train, AUDITED)), task.tokenizer, task.oracle)


def _file_entry(name: str, texts: list[str], ground: Ground) -> tuple[Entry, dict[str, Any]]:
    entry, settings = _judged(name, "samples", texts, ground)
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    return dataclasses.replace(entry, hashes={"texts": digest}), settings


def _ground_entries(ground: Ground, num: int, console: Console) -> Iterator[Entry]:
    """Yield the controls that need no training, for files: a count model, the training text, and real text."""
    if ground.train:
        longest = max(len(ground.tokenizer.split(text)) for text in ground.train)
        for name, texts in (
            (COUNT, controls.count_model(ground.train, ground.tokenizer, num, longest)),
            (COPIER, ground.train[:num]),
        ):
            console.print(f"evaluating: {name}")
            yield _judged(name, "control", texts, ground)[0]
    metrics = real_text(ground.references, ground.train, num=num, split=ground.tokenizer.split)
    shown = {1.0: tuple(ground.references[: results.SHOWN])}
    yield Entry(REAL, "control", _gathered([metrics]), samples=shown)


def _judged(name: str, kind: Any, texts: list[str], ground: Ground) -> tuple[Entry, dict[str, Any]]:
    """Judge texts, with the errors that the choice of just these texts leaves."""
    split = ground.tokenizer.split
    found = evaluate_texts(texts, ground.references, ground.tokenizer, train=ground.train or None, most=results.MOST)
    metrics = found.metrics | (judge_texts(texts, ground.oracle) if ground.oracle is not None else {})

    def again(part: Sequence[str]) -> dict[str, float]:
        return overlap(part, ground.references, words=ground.words, split=split) | alone(part, split=split)

    errors = jackknife_errors(texts, again, groups=GROUPS) if len(texts) > 2 * GROUPS else {}
    shown = {1.0: tuple(texts[: results.SHOWN])}
    return Entry(name, kind, _gathered([metrics]), errors=errors, samples=shown), dict(found.settings)


def _weights(place: Path) -> str:
    """Return the checksum of the newest checkpoint, as it stands beside it."""
    sums = sorted((place / "checkpoints").glob("[0-9]*.sha256"))
    return sums[-1].read_text(encoding="utf-8").strip()[:16] if sums else ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
