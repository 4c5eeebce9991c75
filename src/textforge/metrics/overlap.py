"""Which n-grams samples and real text share: by how often they occur, and whether they occur at all."""

from collections.abc import Sequence

import numpy as np

from textforge.metrics.counts import Split, Symbols, gram_counts, require


def ms_jaccard(
    samples: Sequence[str], references: Sequence[str], *, max_order: int = 5, split: Split = str.split
) -> dict[str, float]:
    """MS-Jaccard, the overlap of n-gram frequencies: `ms_jaccard_2` ... `ms_jaccard_<max_order>`, 0 to 1.

    For each order the sum of min(a, b) over the sum of max(a, b), where a and b are an n-gram's occurrences per sample
    and per reference; then the geometric mean over the orders 1 to n. Where neither side has a single n-gram of an
    order the two agree in it. Only values over as many texts compare. Source: Montahaei, Alihosseini and Soleymani
    Baghshah (2019), "Jointly measuring diversity and quality in text generation models".
    """
    require(samples, "samples")
    require(references, "references")
    similarity = []
    for counts in gram_counts(Symbols.of([*samples, *references], split), max_order):
        sampled = counts.text < len(samples)
        ours, theirs = (
            np.bincount(counts.gram[side], counts.count[side], counts.num_grams) / num
            for side, num in ((sampled, len(samples)), (~sampled, len(references)))
        )
        either = np.maximum(ours, theirs).sum()
        similarity.append(np.minimum(ours, theirs).sum() / either if either > 0 else 1.0)
    means = np.cumprod(similarity) ** (1 / np.arange(1, max_order + 1))
    return {f"ms_jaccard_{order}": float(mean) for order, mean in enumerate(means, start=1) if order > 1}


def in_test(
    samples: Sequence[str],
    references: Sequence[str],
    *,
    max_order: int = 4,
    distinct: bool = False,
    split: Split = str.split,
) -> dict[str, float]:
    """Share of the samples' n-grams that occur in held-out real text: `in_test_1` ... `in_test_<max_order>`.

    Every occurrence counts, so that the value does not depend on the number of samples; with `distinct` each n-gram
    counts once, as in the released code. 0 where no sample is long enough for one. Source: Press et al. (2017),
    "Language generation with recurrent generative adversarial networks without pre-training".
    """
    require(samples, "samples")
    require(references, "references")
    shares = {}
    for order, counts in enumerate(gram_counts(Symbols.of([*samples, *references], split), max_order), start=1):
        sampled = counts.text < len(samples)
        real = np.zeros(counts.num_grams, bool)
        real[counts.gram[~sampled]] = True
        occurrences = np.bincount(counts.gram[sampled], counts.count[sampled], counts.num_grams)
        if distinct:
            occurrences = np.minimum(occurrences, 1)
        shares[f"in_test_{order}"] = float(occurrences[real].sum() / max(occurrences.sum(), 1))
    return shares
