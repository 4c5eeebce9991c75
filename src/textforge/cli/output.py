"""What commands print: lines, tables, settings."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textforge.launch import launch

if TYPE_CHECKING:
    from rich.console import Console

    from textforge.results import Row

COLUMNS = (
    *(f"bleu_{order}" for order in (2, 3, 4, 5)),
    *(f"self_bleu_{order}" for order in (2, 3, 4, 5)),
    *("backward_bleu_4", "ms_jaccard_4", "in_test_4", "lm_score", "reverse_lm_score", "distinct_2", "unique"),
    *("frechet", "frechet_floor", "c2st", "tv_bound", "mauve"),
    *("exact_copy", "copied_8", "copied_real_8", "span_max", "edit", "edit_real", "membership_auc"),
    *("nll_test", "approx_nll_test", "entropy"),
    *("validity", "nll_oracle", "kl_qp", "kl_pq", "js", "js_floor", "tv", "exact_js", "sample_js", "sample_js_floor"),
    *("mode_coverage", "in_modes", "game_value", "game_optimum", "d_distance", "parzen"),
)


def progress() -> "Console":
    """Return what tells of progress on standard error: words as they are, and no line broken."""
    from rich.console import Console

    # Of several processes, the first speaks.
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True, quiet=launch().rank > 0)


def print_table(title: str, rows: "Sequence[Row]", columns: Sequence[str]) -> None:
    """Print metrics down the side and rows across: names are long, and there are more metrics than rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for row in rows:
        table.add_column(Text(row.name), justify="right")
    for column in columns:
        if any(column in row.metrics for row in rows):
            table.add_row(column, *(_cell(row.metrics, column) for row in rows))
    print()
    console = Console(file=sys.stdout, highlight=False, markup=False)
    console.width = max(console.width, 20 + 19 * len(rows))  # a narrow terminal breaks lines, but no number is cut off
    console.print(table)


def _cell(metrics: Mapping[str, float], column: str) -> str:
    """Return a number with its standard error, where one is known."""
    if column not in metrics:
        return ""
    error = f" ± {metrics[f'{column}_se']:.4f}" if f"{column}_se" in metrics else ""
    return f"{metrics[column]:z.4f}{error}"


def spelled(settings: Mapping[str, object]) -> str:
    """Return settings as one line."""
    return "\n" + "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in settings.items())


def escaped(text: str) -> str:
    r"""Return a text that stays on one line: its line ends are written \n and \r.

    A backslash stays as it is, because molecules are full of them; where that matters, JSON is exact.
    """
    return text.replace("\n", "\\n").replace("\r", "\\r")


def deliver(lines: Iterable[str], out: Path | None) -> None:
    """Print lines, or write them to a file that appears when it is whole."""
    if out is None:
        for line in lines:
            print(line)
        return
    from textforge.run import write_atomic

    write_atomic(out, "".join(f"{line}\n" for line in lines).encode())
