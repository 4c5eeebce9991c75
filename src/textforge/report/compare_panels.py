"""The two ways in which a good score comes about for nothing: saying little, and repeating the training text.

Import this module only where a chart is made, as `charts`.
"""

from collections.abc import Sequence
from statistics import fmean

from textforge.report.compare_charts import Drawing, Look, spread, strips
from textforge.report.comparison import REAL, Entry

COLLAPSE = {
    "unique": "different samples, as a share",
    "entropy": "entropy, nats per token",
    "self_bleu_4": "Self-BLEU-4",
    "mode_coverage": "modes reached, as a share",
}
COPYING = {
    "exact_copy": ("whole samples that stand in the training text", None),
    "copied_5": ("5-grams that stand in the training text", "copied_real_5"),
    "copied_8": ("8-grams that stand in the training text", "copied_real_8"),
    "span": ("longest shared stretch, mean, in symbols", "span_real"),
    "span_max": ("longest shared stretch of all, in symbols", "span_max_real"),
    "edit": ("edit distance to the nearest training text", "edit_real"),
}
"""What is drawn of copying, and the metric that says the same of real text; None: only its own entry does."""


def collapse(entries: Sequence[Entry], style: Sequence[Look]) -> tuple[Drawing, ...]:
    """Draw how much the entries say that is different."""
    metrics = {metric: (title, _of_real_text(entries, metric)) for metric, title in COLLAPSE.items()}
    return strips(metrics, entries, style)


def copying(entries: Sequence[Entry], style: Sequence[Look]) -> tuple[Drawing, ...]:
    """Draw how much of the training text the entries repeat."""
    metrics = {}
    for metric, (title, beside) in COPYING.items():
        real = _of_real_text(entries, metric)
        if real is None and beside is not None:
            values = [value for entry in entries for value in entry.metrics.get(beside, ())]
            real = None if (at := spread(values)) is None else at[0]
        metrics[metric] = (title, real)
    return strips(metrics, entries, style)


def _of_real_text(entries: Sequence[Entry], metric: str) -> float | None:
    found = (entry.metrics.get(metric, ()) for entry in entries if entry.kind == "control" and entry.name == REAL)
    return next((fmean(values) for values in found if values), None)
