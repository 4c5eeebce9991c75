"""The copy audit: does a generator give back its training text, more than held-out real text repeats it by chance?

A generator that has learnt its training text by heart scores like real text wherever samples are compared with real
text. These are the numbers that see it, each beside the value of real text that was not trained on.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from textforge.errors import UserError
from textforge.metrics.counts import Split, Symbols, gram_counts, require
from textforge.metrics.spans import longest_spans
from textforge.metrics.two_sample import Z

NEAREST = 1000
"""Texts of either side that `edit_distance` compares with all of the training text; it is quadratic."""

PAIRS = 2**24  # distances held in memory at once


def gram_copy(
    samples: Sequence[str],
    references: Sequence[str],
    train: Sequence[str],
    *,
    orders: Sequence[int] = (5, 8),
    split: Split = str.split,
) -> dict[str, float]:
    """Return per order the share of n-grams that stand in `train`: `copied_5`, `copied_real_5`, `copied_excess_5`, ...

    Every occurrence counts. `copied_real_n` is the share of the references, `copied_excess_n` what the samples have
    above it; a share is 0 where no text is as long as one n-gram.
    """
    for texts, what in ((samples, "samples"), (references, "references"), (train, "training texts")):
        require(texts, what)
    symbols = Symbols.of([*samples, *references, *train], split)
    ends = np.cumsum([len(samples), len(references), len(train)])
    found: dict[str, float] = {}
    for order, counts in enumerate(gram_counts(symbols, max(orders)), start=1):
        if order in orders:
            known = np.zeros(counts.num_grams, bool)
            side = np.searchsorted(ends, counts.text, side="right")  # 0: sample, 1: reference, 2: training text
            known[counts.gram[side == 2]] = True
            total = np.bincount(side, counts.count, 3)
            copied = np.bincount(side, counts.count * known[counts.gram], 3) / np.maximum(total, 1)
            found[f"copied_{order}"], found[f"copied_real_{order}"] = float(copied[0]), float(copied[1])
            found[f"copied_excess_{order}"] = float(copied[0] - copied[1])
    return found


def span_copy(
    samples: Sequence[str], references: Sequence[str], train: Iterable[str], *, split: Split = str.split
) -> dict[str, float]:
    """Return the longest stretch shared with one training text, in symbols: `span`, `span_max`, and `_real` of each.

    `span` is the mean over samples, `span_max` the longest of all. `train` may stream from disk.
    """
    require(samples, "samples")
    require(references, "references")
    spans = longest_spans([*samples, *references], train, split=split)
    ours, real = spans[: len(samples)], spans[len(samples) :]
    return {
        "span": float(ours.mean()),
        "span_real": float(real.mean()),
        "span_max": float(ours.max()),
        "span_max_real": float(real.max()),
    }


def edit_distance(
    samples: Sequence[str],
    references: Sequence[str],
    train: Sequence[str],
    *,
    split: Split = str.split,
    seed: int = 0,
) -> dict[str, float]:
    """Return the mean distance to the nearest training text, 0 a copy to 1 nothing alike: `edit`, `edit_real`.

    Insertions, deletions and replacements of symbols (Levenshtein), divided by the length of the longer text. As many
    samples as references are looked at, drawn at random, at most `NEAREST` of each.
    """
    require(samples, "samples")
    require(references, "references")
    rng = np.random.default_rng(seed)
    num = min(len(samples), len(references), NEAREST)
    found = {}
    for name, texts in (("edit", samples), ("edit_real", references)):
        drawn = [texts[at] for at in rng.permutation(len(texts))[:num]]
        found[name] = float(nearest_edit(drawn, train, split=split).mean())
    return found


def nearest_edit(texts: Sequence[str], train: Sequence[str], *, split: Split = str.split) -> Float[np.ndarray, "N"]:
    """Return the normalised edit distance of each text to the nearest one of `train`."""
    require(texts, "texts")
    require(train, "training texts")
    symbols = Symbols.of([*texts, *train], split)
    rows = [row.tolist() for row in np.split(symbols.flat, np.cumsum(symbols.lengths)[:-1])]
    queries, choices = rows[: len(texts)], rows[len(texts) :]
    chunk = max(1, PAIRS // len(choices))
    parts = [
        process.cdist(queries[start : start + chunk], choices, scorer=Levenshtein.normalized_distance).min(1)
        for start in range(0, len(queries), chunk)
    ]
    return np.concatenate(parts).astype(np.float64)


def exposure(canaries: Float[np.ndarray, "C"], fills: Float[np.ndarray, "C R"]) -> dict[str, float]:
    """Return how far planted secrets stand out, in bits: `exposure`, `exposure_max`, `exposure_null`, `exposure_limit`.

    A canary is a text with a random part that was put into the training text. `canaries` are the log-probabilities of
    the C of them after training, each row of `fills` those of R texts that differ from one canary in the random part
    alone, filled anew from the same distribution and not trained on. With r the canary's rank among the R + 1, the
    likeliest first and the canary behind its equals, the exposure is log2(R + 1) - log2 r (Carlini et al. 2019, section
    4.2, on a sample of the space). `exposure` is the mean over canaries, `exposure_max` the highest; `exposure_limit` =
    log2(R + 1) is the most that R fills can show, and `exposure_null` the mean where nothing was memorised, every rank
    being as likely (about 1.44 bits). One canary of ten exceeds 3.3 bits by chance.
    """
    if not canaries.size or not fills.size:
        raise UserError(f"exposure needs canaries and random fills, not {canaries.size} and {fills.size}; score some")
    if np.isnan(canaries).any() or np.isnan(fills).any():
        raise UserError("a log-probability of a canary or of a random fill is nan; check the model")
    size = fills.shape[1] + 1
    ranks = 1 + (fills >= canaries[:, None]).sum(1)
    bits = math.log2(size) - np.log2(ranks)
    return {
        "exposure": float(bits.mean()),
        "exposure_max": float(bits.max()),
        "exposure_null": math.log2(size) - float(np.log2(np.arange(1, size + 1)).mean()),
        "exposure_limit": math.log2(size),
    }


def membership(train: Float[np.ndarray, "N"], held_out: Float[np.ndarray, "M"]) -> dict[str, float]:
    """Return how well likelihood tells trained from unseen text: `membership_auc`, with `_low` and `_high`.

    The chance that a training text is likelier than a held-out one, ties half: .5 where the model remembers nothing of
    single texts, 1 where it knows them all (Yeom et al. 2018). Pass log-probabilities per token, or length decides, of
    texts from one distribution, each once. The 95 % interval is that of DeLong et al. (1988), cut off at 0 and 1; at
    perfect separation it has no width, which says that the error is below 1 / N and not that there is none.
    """
    if min(len(train), len(held_out)) < 2:
        raise UserError(f"an interval needs 2 texts a side, not {len(train)} and {len(held_out)}; score more")
    if np.isnan(train).any() or np.isnan(held_out).any():
        raise UserError("a log-probability of a training or held-out text is nan; check the model")
    above, below = _beaten(train, held_out), 1 - _beaten(held_out, train)
    auc = float(above.mean())
    reach = Z * math.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    return {
        "membership_auc": auc,
        "membership_auc_low": max(0.0, auc - reach),
        "membership_auc_high": min(1.0, auc + reach),
    }


def _beaten(scores: Float[np.ndarray, "N"], others: Float[np.ndarray, "M"]) -> Float[np.ndarray, "N"]:
    """The share of the others that each score exceeds, equal ones half."""
    ranked = np.sort(others)
    below, not_above = (np.searchsorted(ranked, scores, side=side) for side in ("left", "right"))
    return (below + not_above) / (2 * len(others))
