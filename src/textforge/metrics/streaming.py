"""All metrics on texts without number: what is counted is counted in all of them, by tables on disk.

What compares vectors, fits models or looks for stretches takes the first texts of either side, as many as are judged
where a model is.
"""

import itertools
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from jaxtyping import Float, UInt64

from textforge.errors import UserError
from textforge.metrics.bleu import closest_length, closest_other_length, scored
from textforge.metrics.counts import Split, require
from textforge.metrics.evaluate import AUDITED, Evaluation
from textforge.metrics.ngrams import BUDGET
from textforge.metrics.tables import HELD, Block, Column, Join, Side, join

FIRST = 10_000
"""Texts of either side that are looked at where not all can be."""
COPIED = (5, 8)
"""Orders of the n-grams that are looked for in the training text."""


Judge = Callable[[list[str], list[str], list[str] | None], Evaluation]
"""What judges samples against references, and the training text where it is given, in memory."""


def evaluate_stream(
    samples: Iterable[str],
    references: Iterable[str],
    judge: Judge,
    *,
    train: Iterable[str] | None = None,
    split: Split = str.split,
    max_order: int = 5,
    first: int = FIRST,
    held: int = HELD,
) -> Evaluation:
    """Judge texts as `judge` does, in bounded memory: each is gone through a few times and may lie in files.

    Its metrics that are a matter of counts are of all texts and come out the same (`counted`). The others are those of
    the first texts: at least `first`, and as many as `distinct` needs; the settings say which these are. `held` bounds
    the symbols, and the rows of tables, that are in memory at once; one text always is. Tables lie in the temporary
    folder, for a hundred million symbols some 4 GB. Raises WorkError where it is full.
    """
    counts, settings = counted(samples, references, train=train, split=split, max_order=max_order, held=held)
    audited = None if train is None else list(itertools.islice(train, AUDITED))
    judged = judge(_first(samples, first, split), _first(references, first, split), audited)
    if max(int(settings["num_samples"]), int(settings["num_references"])) > first:
        of_first = [name for name in judged.metrics if name not in counts and not name.startswith("distinct_")]
        settings["of_first"] = f"{first:,} texts of either side: {', '.join(of_first)}"
    return Evaluation(judged.metrics | counts, judged.settings | settings)


def counted(
    samples: Iterable[str],
    references: Iterable[str],
    *,
    train: Iterable[str] | None = None,
    split: Split = str.split,
    max_order: int = 5,
    held: int = HELD,
) -> tuple[dict[str, float], dict[str, str | int | float]]:
    """Return the metrics that are a matter of counts, and settings."""
    if max_order < 2:
        raise UserError(f"BLEU is reported from order 2 on, but max_order is {max_order}; pass at least 2")
    ours, theirs = (Side.of(texts, split, held) for texts in (samples, references))
    for side, what in ((ours, "samples"), (theirs, "references")):
        require(side.blocks, what)
    metrics, num_ranges = _shared(ours, theirs, max_order, held)
    as_one = partial(_as_one, split=split)
    whole = join(Side.of(samples, as_one, held), Side.of(train or (), as_one, held), 1, held)
    metrics["unique"] = whole.distinct / len(ours)
    settings: dict[str, str | int | float] = {
        "num_samples": len(ours),
        "num_references": len(theirs),
        "counted_in": f"{len(ours.blocks):,} + {len(theirs.blocks):,} blocks, {num_ranges:,} ranges of tables on disk",
    }
    if train is not None:
        metrics["exact_copy"] = _share(whole)
        metrics |= _copied(ours, theirs, Side.of(itertools.islice(train, AUDITED), split, held))
        settings["num_train"] = len(whole.theirs.side)
    return metrics, settings


def _first(texts: Iterable[str], num: int, split: Split) -> list[str]:
    """Return the first texts: so many, and as many as have the symbols that distinctness is told by."""
    taken: list[str] = []
    symbols = 0
    for text in texts:
        if len(taken) >= num and symbols >= BUDGET:
            break
        taken.append(text)
        symbols += len(split(text))
    return taken


def _shared(ours: Side, theirs: Side, max_order: int, held: int) -> tuple[dict[str, float], int]:
    """Return the metrics of n-grams of both sides, and how many ranges of hashes it took."""
    bleu, backward, own = ([Column("u4") for _ in range(max_order)] for _ in range(3))
    similarity: list[float] = []
    metrics: dict[str, float] = {}
    num_ranges = 0
    for order in range(1, max_order + 1):
        joined = join(ours, theirs, order, held)
        num_ranges += joined.num_ranges
        for _, others, among in joined.ours.matches():
            bleu[order - 1].append(others)
            own[order - 1].append(among)
        for _, others, _ in joined.theirs.matches():
            backward[order - 1].append(others)
        similarity.append(joined.both / joined.either if joined.either else 1.0)
        if order > 1:
            metrics[f"ms_jaccard_{order}"] = float(np.prod(similarity) ** (1 / order))
        if order <= 4:
            metrics[f"in_test_{order}"] = _share(joined)
    metrics |= _means("bleu", bleu, ours, theirs)
    metrics |= _means("backward_bleu", backward, theirs, ours)
    if len(ours) > 1:
        metrics |= _means("self_bleu", own, ours, None)
    return metrics, num_ranges


def _means(name: str, matches: list[Column], texts: Side, references: Side | None) -> dict[str, float]:
    """Return the mean BLEU of each order from 2 on; without references a text's are all others of its side."""
    total = np.zeros(len(matches))
    for block in texts.blocks:
        found = np.stack([column.read(*block.texts) for column in matches]).astype(np.float64)
        total += scored(found, texts.lengths_of(block), _closest(texts, block, references)).sum(axis=1)
    return {f"{name}_{order}": float(total[order - 1] / len(texts)) for order in range(2, len(matches) + 1)}


def _closest(texts: Side, block: Block, references: Side | None) -> Float[np.ndarray, "N"]:
    lengths = texts.lengths_of(block)
    if references is not None:
        return closest_length(lengths, np.array(list(references.num_of_length)))
    known = sorted(texts.num_of_length)
    return closest_other_length(lengths, np.array(known), np.array([texts.num_of_length[length] for length in known]))


def _share(joined: Join) -> float:
    return joined.known / max(joined.total, 1)


def _as_one(text: str, split: Split) -> list[str]:
    """Return a whole text as one symbol; equal ones have the same symbols, none of which holds the character 0."""
    return ["\0".join(split(text))]


def _copied(ours: Side, theirs: Side, train: Side) -> dict[str, float]:
    """Return per order the share of n-grams that the audited training texts have, as `gram_copy` does."""
    found: dict[str, float] = {}
    if not train.blocks:
        return found
    for order in COPIED:
        parts = [np.unique(train.hashes(block, order)[0]) for block in train.blocks]
        known = np.unique(np.concatenate(parts))
        copied, real = (_share_among(side, order, known) for side in (ours, theirs))
        found |= {f"copied_{order}": copied, f"copied_real_{order}": real, f"copied_excess_{order}": copied - real}
    return found


def _share_among(side: Side, order: int, known: UInt64[np.ndarray, " K"]) -> float:
    total = copied = 0
    for block in side.blocks:
        grams, _ = side.hashes(block, order)
        total += len(grams)
        if len(known):
            copied += int((known[np.searchsorted(known, grams).clip(max=len(known) - 1)] == grams).sum())
    return copied / max(total, 1)
