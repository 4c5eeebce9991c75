"""Exact BLEU, Self-BLEU and backward BLEU, all orders in one pass, in near-linear time.

The score is the one that papers on text generation report: the mean over hypotheses of sentence BLEU (Papineni et al.,
2002) against all references at once, with uniform weights, where a precision without a match counts 0.1 matches
(smoothing 1 of Chen and Cherry, 2014), the closest reference length, the shorter one on a tie, and 0 where not even one
symbol matches. It equals nltk's `sentence_bleu(references, hypothesis, weights, SmoothingFunction().method1)`.

Why it is fast: of all references a hypothesis needs only each n-gram's largest count in one reference and the closest
length. Self-BLEU leaves one text out, and its clipped count is min(own count, second largest count over all texts, with
multiplicity). For where the own count is the largest, the second is the largest of the others; where it is not, the own
count is itself at most the second largest, and the minimum is the own count with and without the text left out.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from textforge.errors import UserError, nearest
from textforge.metrics.counts import GramCounts, Split, Symbols, gram_counts, require

SMOOTHING = 0.1
"""Matches granted to a precision that has none (nltk's `method1`)."""

PROTOCOLS = ("loo", "texygen500", "split", "two-sample")
"""What Self-BLEU compares with what; the four give different numbers, so one belongs beside each.

`loo`: every text against all others, as in the published tables of Texygen (Zhu et al., 2018). `texygen500`: the same
on the first 500 texts only, what its code does by default. `split`: the first half against the second half (TaylorGAN).
`two-sample`: the texts against a second sample, `others` (TextGAN-PyTorch).
"""


def bleu(
    samples: Sequence[str], references: Sequence[str], *, max_order: int = 5, split: Split = str.split
) -> dict[str, float]:
    """Mean sentence BLEU of the samples against all references: `bleu_2` ... `bleu_<max_order>`."""
    return _means("bleu", sentence_bleu(samples, references, max_order=max_order, split=split))


def backward_bleu(
    samples: Sequence[str], references: Sequence[str], *, max_order: int = 5, split: Split = str.split
) -> dict[str, float]:
    """Mean sentence BLEU of the references against all samples: `backward_bleu_2` ...; it falls when modes are missing.

    Source: Shi et al. (2018), "Toward diverse text generation with inverse reinforcement learning".
    """
    return _means("backward_bleu", sentence_bleu(references, samples, max_order=max_order, split=split))


def self_bleu(
    samples: Sequence[str],
    *,
    protocol: str = "loo",
    others: Sequence[str] | None = None,
    max_order: int = 5,
    split: Split = str.split,
) -> dict[str, float]:
    """Mean sentence BLEU of the samples among themselves: `self_bleu_2` ...; higher means less diverse.

    `others`, the second sample, goes with the protocol `two-sample` and only with it. Needs at least two samples.
    """
    if (protocol == "two-sample") != (others is not None):
        raise UserError(f"`others` goes with protocol 'two-sample' and only with it, but the protocol is '{protocol}'")
    match protocol:
        case "loo":
            scores = sentence_self_bleu(samples, max_order=max_order, split=split)
        case "texygen500":
            scores = sentence_self_bleu(samples[:500], max_order=max_order, split=split)
        case "split":
            half = len(samples) // 2
            scores = sentence_bleu(samples[:half], samples[half:], max_order=max_order, split=split)
        case "two-sample":
            assert others is not None
            scores = sentence_bleu(samples, others, max_order=max_order, split=split)
        case _:
            raise UserError(
                f"unknown protocol '{protocol}', not of {', '.join(PROTOCOLS)}{nearest(protocol, PROTOCOLS)}"
            )
    return _means("self_bleu", scores)


def sentence_bleu(
    samples: Sequence[str], references: Sequence[str], *, max_order: int = 5, split: Split = str.split
) -> Float[np.ndarray, "orders N"]:
    """BLEU of each sample against all references; row n-1 holds order n."""
    require(samples, "samples")
    require(references, "references")
    symbols = Symbols.of(itertools.chain(samples, references), split)
    num = len(samples)

    def largest_in_references(counts: GramCounts) -> Int[np.ndarray, "grams"]:
        largest = np.zeros(counts.num_grams, np.int64)
        reference = counts.text >= num
        np.maximum.at(largest, counts.gram[reference], counts.count[reference])
        return largest

    lengths = symbols.lengths[:num]
    return _scores(symbols, num, max_order, largest_in_references, closest_length(lengths, symbols.lengths[num:]))


def sentence_self_bleu(
    samples: Sequence[str], *, max_order: int = 5, split: Split = str.split
) -> Float[np.ndarray, "orders N"]:
    """BLEU of each sample against all the other samples; row n-1 holds order n."""
    if len(samples) < 2:
        raise UserError(f"Self-BLEU compares a text with others, but there are {len(samples)} in all; pass at least 2")
    symbols = Symbols.of(samples, split)
    closest = closest_other_length(symbols.lengths, *np.unique(symbols.lengths, return_counts=True))
    return _scores(symbols, len(samples), max_order, second_largest, closest)


def second_largest(counts: GramCounts) -> Int[np.ndarray, "grams"]:
    """Each n-gram's second largest count in one text, with multiplicity; 0 where one text alone holds it."""
    largest, second = np.zeros((2, counts.num_grams), np.int64)
    np.maximum.at(largest, counts.gram, counts.count)
    top = counts.count == largest[counts.gram]
    np.maximum.at(second, counts.gram[~top], counts.count[~top])
    tied = np.bincount(counts.gram[top], minlength=counts.num_grams) > 1
    return np.where(tied, largest, second)


def closest_length(lengths: Int[np.ndarray, "N"], references: Int[np.ndarray, "M"]) -> Float[np.ndarray, "N"]:
    """The reference length closest to each length, the shorter one on a tie."""
    known = np.unique(references)
    at = np.searchsorted(known, lengths)
    bounded = np.concatenate(([-np.inf], known, [np.inf]))
    return _nearer(lengths, bounded[at], bounded[at + 1])


def closest_other_length(
    lengths: Int[np.ndarray, "N"], known: Int[np.ndarray, "K"], repeats: Int[np.ndarray, "K"]
) -> Float[np.ndarray, "N"]:
    """The same, where the references of each text are all texts but itself; `repeats` of them have a `known` length."""
    at = np.searchsorted(known, lengths)
    bounded = np.concatenate(([-np.inf], known, [np.inf]))
    return np.where(repeats[at] > 1, lengths, _nearer(lengths, bounded[at], bounded[at + 2]))


def _nearer(
    lengths: Int[np.ndarray, "N"], below: Float[np.ndarray, "N"], above: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N"]:
    return np.where(lengths - below <= above - lengths, below, above)


def _scores(
    symbols: Symbols,
    num: int,
    max_order: int,
    limit: Callable[[GramCounts], Int[np.ndarray, "grams"]],
    closest: Float[np.ndarray, "N"],
) -> Float[np.ndarray, "orders N"]:
    """BLEU of the first `num` texts, whose count of an n-gram is clipped to its `limit`."""
    if max_order < 2:
        raise UserError(f"BLEU is reported from order 2 on, but max_order is {max_order}; pass at least 2")
    lengths = symbols.lengths[:num]
    matches = np.empty((max_order, num))
    for row, counts in zip(matches, gram_counts(symbols, max_order), strict=True):
        clipped = np.minimum(counts.count, limit(counts)[counts.gram])
        hypothesis = counts.text < num
        row[:] = np.bincount(counts.text[hypothesis], weights=clipped[hypothesis], minlength=num)
    return scored(matches, lengths, closest)


def scored(
    matches: Float[np.ndarray, "orders N"], lengths: Int[np.ndarray, "N"], closest: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "orders N"]:
    """BLEU of texts by their lengths, the closest ones of their references, and their clipped counts of each order."""
    orders = np.arange(1, len(matches) + 1)[:, None]
    precision = np.where(matches > 0, matches, SMOOTHING) / np.maximum(lengths - orders + 1, 1)
    geometric_mean = np.exp(np.cumsum(np.log(precision), axis=0) / orders)
    brevity = np.exp(np.minimum(0, 1 - closest / np.maximum(lengths, 1)))  # no symbol, no match: 0 below in any case
    return np.where(matches[0] > 0, brevity * geometric_mean, 0.0)


def _means(name: str, scores: Float[np.ndarray, "orders N"]) -> dict[str, float]:
    return {f"{name}_{order}": float(mean) for order, mean in enumerate(scores.mean(axis=1), start=1) if order > 1}
