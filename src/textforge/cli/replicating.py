"""textforge replicate: the numbers of the papers beside ours."""

import contextlib
import io
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from textforge.cli.parsing import parse
from textforge.errors import CallError, Interrupted, UserError, WorkError, at_least

if TYPE_CHECKING:
    from textforge.replication import Ledger, Ours, Row, Value


@dataclass(frozen=True)
class ReplicateOptions:
    """The numbers of the papers beside ours: list the rows of the replication ledger, or measure one of them again.

    What is done is kept in --out, so that the same call goes on where it was stopped.
    """

    name: Annotated[str | None, Positional] = None
    """The row; by default all are listed with what was measured before."""
    seeds: int | None = None
    """How many runs, with the seeds 0, 1, ...; by default as many as the ledger plans. 4 are the fewest for an
    interval."""
    out: Path = Path("runs/replication")
    """The folder of runs and results, shared by all rows."""
    files: Path = Path(".")
    """The folder of the files and corpora that a row names."""
    force: bool = False
    """Also run a row that needs GPU-hours."""
    json: bool = False
    """Print one JSON object."""
    markdown: bool = False
    """Print the page of all rows, docs/replication.md."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(1, self, "seeds")
        if self.name is not None and self.markdown:
            raise CallError("--markdown prints the page of all rows; leave out the name")


def replicate_command(arguments: Sequence[str]) -> None:
    """List the rows, or run one."""
    options = parse(ReplicateOptions, arguments, "replicate")
    from textforge import replication
    from textforge.replication import words

    ledger = replication.read()
    if options.markdown:
        print(words.page(ledger), end="")
    elif options.name is None:
        _list(ledger, as_json=options.json)
    else:
        row = ledger.find(options.name)
        _require_possible(row, ledger, options)
        try:
            ours = _measure(row, options)
        except Interrupted:
            again = shlex.join(["textforge", "replicate", *arguments])
            raise Interrupted(f"stopped, and what is done is kept; to go on: {again}") from None
        _deliver(row, ours, options)


def _list(ledger: "Ledger", *, as_json: bool) -> None:
    from textforge.replication import words

    if as_json:
        print(json.dumps({"rows": [_record(row, row.ours) for row in ledger.rows]}, ensure_ascii=False))
        return
    for row in ledger.rows:
        ours, compared = words.result(row, row.ours)
        print(f"{row.name} ({row.status}): {row.quantity}")
        print(f"    published {words.published(row)}")
        print(f"    ours      {ours}{f': {compared}' if compared else ''}")


def _require_possible(row: "Row", ledger: "Ledger", options: ReplicateOptions) -> None:
    """Raise the error that says why a row cannot be run as asked."""
    import textforge
    from textforge.replication import words

    if row.status == "not-comparable":
        raise CallError(f"{row.name} is not comparable: {row.reason}")
    if row.status == "needs-gpu" and not options.force:
        raise CallError(
            f"{row.name} needs GPU-hours ({words.effort(row.minutes)} of one CPU core); --force runs it all the same"
        )
    if options.seeds is not None and not row.seeds:
        raise CallError(f"chance has no part in {row.name}; leave out --seeds")
    if options.out.resolve().is_relative_to(Path(textforge.__file__).parent):
        raise CallError(f"{options.out} lies inside the package; choose another folder with --out")
    for name in row.files:
        if not (options.files / name).exists():
            raise UserError(
                f"{options.files / name} is missing: {ledger.files[name]}; get it, and give its folder with --files"
            )


def _measure(row: "Row", options: ReplicateOptions) -> "Ours":
    """Run a row seed by seed, keeping each result."""
    from textforge import __version__
    from textforge.replication import Ours, as_toml
    from textforge.run import write_atomic

    kept = options.out / "measured"
    kept.mkdir(parents=True, exist_ok=True)
    seeds = range(options.seeds or row.seeds)
    results = [_one(row, seed, kept / f"{row.name}-{seed}.json", options) for seed in seeds or [0]]
    columns = {value.metric: tuple(result["metrics"][value.metric] for result in results) for value in row.values}
    ours = Ours(max(result["date"] for result in results), __version__, tuple(seeds), columns)
    write_atomic(kept / f"{row.name}.toml", as_toml(ours).encode())
    return ours


def _one(row: "Row", seed: int, kept: Path, options: ReplicateOptions) -> dict[str, Any]:
    """Return the metrics of one seed: those that were kept, where the same version made them by the same commands."""
    from datetime import UTC, datetime

    from textforge import __version__
    from textforge.replication import derivations
    from textforge.replication.ledger import filled
    from textforge.run import write_atomic

    out, files = str(options.out), "" if options.files == Path() else str(options.files)
    calls = row.arguments(seed, out, files) or [[str(row.derivation), filled(row.oracle, seed, out, files), str(seed)]]
    if kept.exists():
        before: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if (before["calls"], before["version"]) == (calls, __version__):
            return before
    if row.derivation is not None:
        metrics: Mapping[str, float | None] = derivations.derive(row.derivation, calls[0][1], seed)
    else:
        for call in calls[:-1]:
            _carry_out(call)
        metrics = _carry_out(calls[-1])
    read = {value.metric: _number(row, value, metrics) for value in row.values}
    result = {"calls": calls, "version": __version__, "date": f"{datetime.now(UTC):%Y-%m-%d}", "metrics": read}
    write_atomic(kept, json.dumps(result, ensure_ascii=False, indent=1).encode() + b"\n")
    return result


def _carry_out(call: Sequence[str]) -> dict[str, float | None]:
    """Run a command; return the `metrics` that it prints as JSON, nothing for others.

    A training that several rows share is done once. What others print goes to standard error.
    """
    from textforge import cli
    from textforge.run import write_atomic

    print(f"$ {shlex.join(call)}", file=sys.stderr)
    said = io.StringIO()
    if "--json" in call:
        with contextlib.redirect_stdout(said):
            cli.run(call[1:])
        metrics: dict[str, float | None] = json.loads(said.getvalue())["metrics"]
        return metrics
    done = Path(f"{call[call.index('--out') + 1]}.done")
    if done.exists() and done.read_text(encoding="utf-8") == shlex.join(call):
        print("is done", file=sys.stderr)
        return {}
    with contextlib.redirect_stdout(sys.stderr):
        cli.run(call[1:])
    write_atomic(done, shlex.join(call).encode())
    return {}


def _number(row: "Row", value: "Value", metrics: Mapping[str, float | None]) -> float:
    if (number := metrics.get(value.metric)) is None:
        raise WorkError(f"{row.name}: there is no {value.metric} in what was measured: {', '.join(metrics)}")
    return number


def _deliver(row: "Row", ours: "Ours", options: ReplicateOptions) -> None:
    from textforge.replication import words

    if options.json:
        print(json.dumps(_record(row, ours), ensure_ascii=False))
        return
    print(f"{row.name}: {row.quantity} ({row.where})")
    for value in row.values:
        column = ours.values[value.metric]
        print(f"  {value.metric}: published {words.printed(value)}, ours {words.measured(value, column)}")
        print(f"    {words.verdict(value, column, chance=bool(row.seeds))}")
    if len(row.values) > 1:
        print(words.summary(row, ours))


def _record(row: "Row", ours: "Ours | None") -> dict[str, Any]:
    """Return a row as JSON."""
    from textforge.replication import words

    record: dict[str, Any] = {"name": row.name, "status": row.status, "quantity": row.quantity}
    record["published"] = {value.metric: value.published for value in row.values}
    if ours is None:
        return record | {"ours": None, "reason": row.reason}
    record["ours"] = {}
    for value in row.values:
        column = ours.values[value.metric]
        found = words.interval(column)
        ends = {} if found is None else {"mean": found.value, "low": _finite(found.low), "high": _finite(found.high)}
        verdict = words.verdict(value, column, chance=bool(row.seeds))
        record["ours"][value.metric] = {"values": list(column), **ends, "verdict": verdict}
    return record | {
        "seeds": list(ours.seeds),
        "date": ours.date,
        "version": ours.version,
        "verdict": words.summary(row, ours),
    }


def _finite(number: float) -> float | None:
    return number if abs(number) < float("inf") else None
