"""Diversity by counting: distinct n-grams at a fixed budget of symbols, and the share of distinct texts."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from textforge.metrics.counts import Split, Symbols, gram_counts, require

BUDGET = 10_000
"""Symbols that `distinct` looks at unless told otherwise."""


def distinct(
    samples: Sequence[str], *, max_order: int = 4, budget: int = BUDGET, split: Split = str.split
) -> dict[str, float]:
    """Distinct n-grams over all n-grams in the first `budget` symbols: `distinct_1` ... `distinct_<max_order>`.

    The ratio falls as text gets longer, so only values over the same number of symbols compare; samples that hold fewer
    than `budget` are all used. n-grams do not cross from one text into the next. Where no text is long enough for one
    n-gram the value is 0. Source: Li et al. (2016), "A diversity-promoting objective function".
    """
    require(samples, "samples")
    symbols = Symbols.of(samples, split)
    ends = np.minimum(np.cumsum(symbols.lengths), budget)
    first = Symbols(symbols.flat[:budget], np.diff(ends, prepend=0))
    return {
        f"distinct_{order}": counts.num_grams / max(int(counts.count.sum()), 1)
        for order, counts in enumerate(gram_counts(first, max_order), start=1)
    }


def unique(samples: Sequence[str], *, split: Split = str.split) -> dict[str, float]:
    """Share of distinct texts among the samples: `unique`; texts with the same symbols are the same text."""
    require(samples, "samples")
    return {"unique": len({tuple(split(text)) for text in samples}) / len(samples)}


def expected_unique(frequencies: Int64[np.ndarray, " K"], num: int) -> tuple[float, float]:
    """Return what share of distinct texts to expect of `num` drawn at random from K texts, and its standard error.

    The texts are drawn with replacement, in proportion to their frequencies. The share is the exact expectation. That
    one text occurs makes no other likelier to occur, so the root of the sum of the variances bounds the error from
    above.
    """
    missing = (1 - frequencies / frequencies.sum()) ** num
    return float((1 - missing).sum()) / num, math.sqrt((missing * (1 - missing)).sum()) / num
