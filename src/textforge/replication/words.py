"""The ledger in words: how ours compares with what was printed, and the page of all rows."""

import shlex
import textwrap
from collections.abc import Sequence

import numpy as np

from textforge.metrics.bootstrap import Interval, mean_interval
from textforge.replication.ledger import Ledger, Ours, Row, Value

ENOUGH = 4
"""Seeds from which an interval can be said."""
DIGITS = 4
"""Digits behind the point of a number of ours that nothing printed stands beside."""
WIDTH = 120
UNMEASURED = {"run": "not run", "needs-gpu": "not run: needs GPU-hours", "not-comparable": "not comparable"}
CORPORA = "corpora"
"""The folder of the files in the commands of the page."""
MANY = 8
"""Numbers of a row that are shown in one line; of more, the table says how many."""


def interval(column: Sequence[float]) -> Interval | None:
    """Return the mean over seeds with its interval; None where there are too few for one."""
    return mean_interval(np.array(column, dtype=np.float64)) if len(column) >= ENOUGH else None


def printed(value: Value) -> str:
    """Return what the paper prints."""
    if value.published is None:
        return "none"
    return value.published if value.spread is None else f"{value.published} ± {value.spread}"


def measured(value: Value, column: Sequence[float]) -> str:
    """Return ours with one digit more than was printed: mean and interval, or else every value."""
    digits = DIGITS if value.published is None else value.decimals + 1
    if (found := interval(column)) is not None:
        return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return ", ".join(f"{number:.{digits}f}" for number in column)


def agrees(value: Value, column: Sequence[float]) -> bool:
    """Tell whether the printed number lies in our interval, or is each of ours rounded; to its own rounding."""
    number, half = value.target, value.rounding * (1 + 1e-9)
    found = interval(column)
    low, high = (min(column), max(column)) if found is None else (found.low, found.high)
    if found is None:
        return high - half <= number <= low + half
    return low - half <= number <= high + half


def difference(value: Value, column: Sequence[float]) -> float:
    """Return our mean less the printed number."""
    return float(np.mean(column)) - value.target


def verdict(value: Value, column: Sequence[float], *, chance: bool) -> str:
    """Say how ours compares with what was printed; `chance` where another seed would have given another value."""
    if value.published is None:
        return "nothing was printed to compare with"
    number, digits = value.target, value.decimals + 1
    what = "the printed number" if value.exact is None else "the exact number"
    if len(column) >= ENOUGH:
        if agrees(value, column):
            return f"{what} lies in our interval"
        return f"{what} lies outside our interval; our mean is {_apart(difference(value, column), digits)}"
    few = "" if not chance else f" ({len(column)} {'seed' if len(column) == 1 else 'seeds'}: no interval)"
    if agrees(value, column):
        return f"the same to the last printed digit{few}"
    if len(column) == 1:
        return f"ours is {_apart(difference(value, column), digits)}{few}"
    if min(column) <= number <= max(column):
        return f"{what} lies between the lowest and the highest of ours{few}"
    return f"all of ours are to one side; our mean is {_apart(difference(value, column), digits)}{few}"


def _apart(gap: float, digits: int) -> str:
    return f"{abs(gap):.{digits}f} {'above' if gap > 0 else 'below'} it"


def summary(row: Row, ours: Ours) -> str:
    """Say how a whole row compares."""
    compared = [(value, ours.values[value.metric]) for value in row.values if value.published is not None]
    if len(compared) < 2:
        value = compared[0][0] if compared else row.values[0]
        return verdict(value, ours.values[value.metric], chance=bool(row.seeds))
    apart = [abs(difference(value, column)) for value, column in compared if not agrees(value, column)]
    num = len(compared[0][1])
    where = "in our intervals" if num >= ENOUGH else "the same to the last printed digit"
    few = f" ({num} {'seed' if num == 1 else 'seeds'}: no interval)" if row.seeds and num < ENOUGH else ""
    if not apart:
        return f"all {len(compared)} are {where}{few}"
    digits = max(value.decimals for value, _ in compared) + 1
    rest = "our means are" if num > 1 else "ours are"
    if len(apart) == len(compared):
        return f"none of {len(compared)} is {where}; {rest} up to {max(apart):.{digits}f} away{few}"
    agreeing = len(compared) - len(apart)
    return f"{agreeing} of {len(compared)} are {where}; of the rest {rest} up to {max(apart):.{digits}f} away{few}"


def published(row: Row) -> str:
    """Return what the paper prints, in one line."""
    if len(row.values) > MANY:
        return f"{len(row.values)} numbers"
    return " / ".join(map(printed, row.values))


def result(row: Row, ours: Ours | None) -> tuple[str, str]:
    """Return what stands in the columns of ours and of the comparison."""
    if ours is None:
        return UNMEASURED[row.status], row.reason
    return " / ".join(measured(value, ours.values[value.metric]) for value in row.values), summary(row, ours)


def effort(minutes: float) -> str:
    """Return processor time in words."""
    if minutes < 1.5:
        return f"{max(1, round(minutes * 60)):.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"


def page(ledger: Ledger) -> str:
    """Return docs/replication.md."""
    run = sum(row.ours is not None for row in ledger.rows)
    parts = [
        "# Replication",
        "The headline numbers of the papers, what stands beside them here, and the commands. This page is made from "
        "[`ledger.toml`](../src/textforge/replication/ledger.toml) by `textforge replicate --markdown`; "
        "`textforge replicate` lists the rows, and `textforge replicate NAME` runs one and compares.",
        f"Of {len(ledger.rows)} rows {run} were measured, and stand here as they came out, good or bad. An interval "
        f"is the 95 % one of the mean over seeds (bootstrap-t), given from {ENOUGH} seeds on; with fewer every value "
        "is shown. Where chance has no part, such as in the scores of a published file, there is one value. Published "
        "numbers are copied digit for digit from the place that is named; a number that could not be read there is "
        "left out. A value that agrees is no proof that the method works: it says that the same thing was measured. "
        "Times are of one thread of a shared machine; of what was not run, estimates.",
        f"Files that the package does not have lie in `{CORPORA}` in the commands below; for `textforge replicate` it "
        f"is the folder given by `--files` (by default the one that the command runs in):",
        _table(("file", "what it is"), [(f"`{name}`", what) for name, what in ledger.files.items()]),
        "## All rows",
        _table(("row", "quantity", "published", "ours", "comparison"), [_overview(row) for row in ledger.rows]),
    ]
    for paper, title in ledger.papers.items():
        parts += [f"## {title}", *(part for row in ledger.rows if row.paper == paper for part in _details(row))]
    return "\n\n".join(_wrapped(part) for part in parts) + "\n"


def _overview(row: Row) -> tuple[str, ...]:
    return (f"[`{row.name}`](#{row.name})", row.quantity, published(row), *result(row, row.ours))


def _details(row: Row) -> list[str]:
    parts = [f"### `{row.name}`", f"{_begun(row.quantity)} ({row.where}). {row.protocol}", _numbers(row)]
    parts += [_said(row), row.note]
    if row.status != "not-comparable":
        lines = [shlex.join(command) for command in row.arguments(0, "runs/replication", CORPORA)]
        parts.append(textwrap.indent("\n".join(lines or [f"textforge replicate {row.name}"]), "    "))
    return [part for part in parts if part]


def _numbers(row: Row) -> str:
    if row.ours is None:
        return _table(("number", "published"), [(value.metric, printed(value)) for value in row.values])
    cells = [
        (f"`{value.metric}`", printed(value), measured(value, column), verdict(value, column, chance=bool(row.seeds)))
        for value in row.values
        for column in [row.ours.values[value.metric]]
    ]
    return _table(("number", "published", "ours", "comparison"), cells)


def _said(row: Row) -> str:
    """Say what was measured and when, or why nothing was."""
    cost = f"A run takes some {effort(row.minutes)} of one core."
    if row.ours is None:
        reason = f"{_begun(UNMEASURED[row.status])}; {row.reason}."
        return reason if row.status == "not-comparable" else f"{reason} {cost}"
    seeds = f", {'seed' if len(row.ours.seeds) == 1 else 'seeds'} {', '.join(map(str, row.ours.seeds))}"
    return f"Measured {row.ours.date} with version {row.ours.version}{seeds if row.ours.seeds else ''}. {cost}"


def _begun(words: str) -> str:
    return words[0].upper() + words[1:]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _wrapped(part: str) -> str:
    if part.startswith(("#", "|", "    ")):
        return part
    return textwrap.fill(part, WIDTH, break_long_words=False, break_on_hyphens=False)
