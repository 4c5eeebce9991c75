"""Which n-grams of the samples real text has too: the score by which MaskGAN's authors chose their models."""

from collections.abc import Sequence

import numpy as np

from textforge.metrics.counts import Split, Symbols, gram_counts, require


def ngram_score(
    samples: Sequence[str],
    references: Sequence[str],
    *,
    min_order: int = 2,
    max_order: int = 4,
    split: Split = str.split,
) -> dict[str, float]:
    """Distinct n-grams of the samples that occur in the references, geometric mean over the orders: `ngram_score`.

    Numbers and not shares, so only values over as many samples compare; 0 where an order has none. It rewards quality
    and diversity at once, and sees nothing longer than its n-grams. Source: Fedus, Goodfellow and Dai (2018), section
    4, which names neither the orders nor the number of samples.
    """
    require(samples, "samples")
    require(references, "references")
    symbols = Symbols.of([*samples, *references], split)
    found = []
    for order, counts in enumerate(gram_counts(symbols, max_order), start=1):
        if order >= min_order:
            sampled = np.unique(counts.gram[counts.text < len(samples)])
            real = np.unique(counts.gram[counts.text >= len(samples)])
            found.append(len(np.intersect1d(sampled, real, assume_unique=True)))
    return {"ngram_score": float(np.prod(np.power(found, 1 / len(found))))}
