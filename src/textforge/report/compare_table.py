"""All numbers of a comparison as one table: what is asked of a text, the metrics that answer it, a cell per entry."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textforge.metrics.bootstrap import mean_interval
from textforge.report import words
from textforge.report.comparison import Entry

FEWEST = 4
"""Seeds from which an interval can be said."""

_TOPICS = {
    "Likelihood": ("nll_test", "nll_valid", "nll_oracle", "entropy"),
    "Quality: is each text like real ones?": ("bleu", "in_test", "lm_score", "validity", "support", "in_modes"),
    "Diversity: do the texts differ?": ("self_bleu", "distinct", "unique", "mode_coverage"),
    "Both at once: is the whole like real text?": (
        *("ms_jaccard", "backward_bleu", "reverse_lm_score", "frechet", "c2st", "tv_bound", "mauve", "mode_tv"),
        *("js", "kl_pq", "kl_qp", "tv", "exact_js", "exact_kl_pq", "exact_kl_qp", "exact_tv", "sample_js"),
    ),
    "Copying: is it the training text?": ("exact_copy", "copied", "span", "edit"),
}
_OTHER = "Further"


@dataclass(frozen=True)
class Cell:
    """A number, and how sure it is, in words."""

    value: str
    sure: str = ""


@dataclass(frozen=True)
class Line:
    """One metric of all entries."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """Metrics of one kind, such as all orders of BLEU, and what they mean."""

    meanings: tuple[tuple[str, str], ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Topic:
    """A question, and the groups of metrics that answer it."""

    title: str
    groups: tuple[Group, ...]


def table(entries: Sequence[Entry]) -> tuple[Topic, ...]:
    """Arrange every metric that some entry has; a standard error `x_se` stands beside its `x`, not for itself."""
    found = dict.fromkeys(name for entry in entries for name in entry.metrics)
    names = [name for name in found if not (name.endswith("_se") and name.removesuffix("_se") in found)]
    families = dict.fromkeys(map(words.family, names))
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_root(words.family(name), families), []).append(name)
    topics: dict[str, list[str]] = {
        title: [root for root in roots if root in groups] for title, roots in _TOPICS.items()
    }
    placed = {root for roots in topics.values() for root in roots}
    topics[_OTHER] = [root for root in groups if root not in placed]
    return tuple(
        Topic(title, tuple(_group(groups[root], entries) for root in roots)) for title, roots in topics.items() if roots
    )


def cell(entry: Entry, name: str) -> Cell:
    """Say the mean over the seeds, and how sure it is: by the seeds where they are enough, else by the texts of one."""
    values = entry.metrics.get(name, ())
    if not values:
        return Cell(words.number(None))
    mean = entry.mean(name)
    if not all(map(math.isfinite, values)):
        return Cell(words.number(mean))
    if len(values) >= FEWEST:
        interval = mean_interval(np.array(values, dtype=np.float64))
        return Cell(words.number(mean), f"{words.number(interval.low, 3)} to {words.number(interval.high, 3)}")
    error = entry.errors.get(name, entry.mean(f"{name}_se"))
    return Cell(words.number(mean), "" if error is None else f"± {words.number(error, 2)}")


def _root(family: str, families: dict[str, None]) -> str:
    """Return the family that one belongs to by its name: `copied` for `copied_real`."""
    parts = family.split("_")
    shorter = ("_".join(parts[:size]) for size in range(1, len(parts)))
    return next((name for name in shorter if name in families), family)


def _group(names: Sequence[str], entries: Sequence[Entry]) -> Group:
    families = dict.fromkeys(map(words.family, names))
    meanings = tuple((family, words.GLOSSARY[family]) for family in families if family in words.GLOSSARY)
    return Group(meanings, tuple(Line(name, tuple(cell(entry, name) for entry in entries)) for name in names))
