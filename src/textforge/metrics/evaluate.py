"""All metrics that need nothing but text, with the settings without which the numbers mean nothing."""

import itertools
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from textforge.errors import UserError
from textforge.metrics.audit import edit_distance, gram_copy, span_copy
from textforge.metrics.bleu import SMOOTHING, backward_bleu, bleu, self_bleu
from textforge.metrics.copying import exact_copy
from textforge.metrics.counts import Split, require
from textforge.metrics.encoder import Encoder, hashed_ngrams
from textforge.metrics.frechet import frechet
from textforge.metrics.kneser_ney import lm_score, reverse_lm_score
from textforge.metrics.mauve import mauve
from textforge.metrics.ngrams import BUDGET, distinct, unique
from textforge.metrics.overlap import in_test, ms_jaccard
from textforge.metrics.two_sample import c2st, c2st_distinct

AUDITED = 100_000
"""Training texts that the copy audit looks at, the first ones; exact copies are looked for in all of them."""
LEAST = 4
"""Texts on either side below which clouds of vectors are not compared."""


@dataclass(frozen=True)
class Evaluation:
    """Numbers, and how they came about."""

    metrics: dict[str, float]
    settings: dict[str, str | int | float]


def evaluate(
    samples: Sequence[str],
    references: Sequence[str],
    *,
    train: Iterable[str] | None = None,
    split: Split = str.split,
    split_name: str | None = None,
    max_order: int = 5,
    encoder: Encoder | None = None,
    encoder_name: str | None = None,
) -> Evaluation:
    """Judge samples against held-out real text, and against the training text where it is given.

    `split_name` says in the settings how texts became symbols; a `split` of one's own needs one, and so does an
    `encoder` in place of the built-in one. `train` may stream. What a number needs more texts for is left out:
    Self-BLEU compares two samples at least, and distances between clouds of vectors four texts on either side.
    """
    if split_name is None and split is not str.split:
        raise UserError("`split_name` is missing beside a `split` of your own; name it, for example 'character'")
    if (encoder is None) != (encoder_name is None):
        raise UserError("`encoder` and its `encoder_name` go together: values in two encoders do not compare")
    require(samples, "samples")
    require(references, "references")
    audited: list[str] = []
    if train is not None:
        train = iter(train)
        audited += itertools.islice(train, AUDITED)
    words = vocabulary(audited, split=split)
    metrics = overlap(samples, references, words=words, split=split, max_order=max_order)
    metrics |= alone(samples, split=split, max_order=max_order)
    metrics |= clouds(samples, references, encoder or hashed_ngrams(split=split))
    settings: dict[str, str | int | float] = {
        "num_samples": len(samples),
        "num_references": len(references),
        "tokenizer": split_name or "white space",
        "casing": "as given",
        "bleu_orders": f"2 to {max_order}",
        "bleu_weights": "uniform",
        "bleu_smoothing": f"method1: {SMOOTHING} matches where there are none",
        "bleu_average": "mean over samples, each against all references",
        "self_bleu_protocol": "loo: each sample against all others",
        "distinct_symbols": min(BUDGET, sum(len(split(text)) for text in samples)),
        "lm_score_model": f"Kneser-Ney 5-grams fitted to {min(len(samples), len(references)):,} texts",
        "encoder": encoder_name or "hashed n-grams",
    }
    if train is not None:
        lines = itertools.count()
        every = (text for text, _ in zip(itertools.chain(audited, train), lines, strict=False))
        metrics |= exact_copy(samples, every, split=split)
        metrics |= audit(samples, references, audited, split=split)
        settings |= {"num_train": next(lines), "num_audited": len(audited)}
    return Evaluation(metrics, settings)


def overlap(
    samples: Sequence[str],
    references: Sequence[str],
    *,
    words: AbstractSet[str] = frozenset(),
    split: Split = str.split,
    max_order: int = 5,
) -> dict[str, float]:
    """Return what samples share with references, n-gram by n-gram; `words` are no junk, those of the training text."""
    metrics = bleu(samples, references, max_order=max_order, split=split)
    metrics |= backward_bleu(samples, references, max_order=max_order, split=split)
    metrics |= ms_jaccard(samples, references, max_order=max_order, split=split)
    metrics |= in_test(samples, references, split=split)
    metrics |= lm_score(samples, references, vocabulary=words, split=split)
    return metrics | reverse_lm_score(samples, references, vocabulary=words, split=split)


def vocabulary(texts: Iterable[str], *, split: Split = str.split) -> frozenset[str]:
    """Return the different symbols of texts."""
    return frozenset(itertools.chain.from_iterable(map(split, texts)))


def alone(samples: Sequence[str], *, split: Split = str.split, max_order: int = 5) -> dict[str, float]:
    """Return what samples say of themselves: how much they repeat."""
    metrics = self_bleu(samples, max_order=max_order, split=split) if len(samples) > 1 else {}
    return metrics | distinct(samples, split=split) | unique(samples, split=split)


def clouds(samples: Sequence[str], references: Sequence[str], encode: Encoder) -> dict[str, float]:
    """Return the distances between the clouds of the texts' vectors; nothing where there are fewer than `LEAST`."""
    if min(len(samples), len(references)) < LEAST:
        return {}
    ours, real = encode(samples), encode(references)
    return frechet(ours, real) | c2st(ours, real) | c2st_distinct(ours, real) | mauve(ours, real)


def audit(
    samples: Sequence[str], references: Sequence[str], train: Sequence[str], *, split: Split = str.split
) -> dict[str, float]:
    """Return what samples share with the training text beyond what real text shares with it; nothing without one."""
    if not train:
        return {}
    metrics = gram_copy(samples, references, train, split=split)
    metrics |= span_copy(samples, references, train, split=split)
    return metrics | edit_distance(samples, references, train, split=split)


def real_text(
    references: Sequence[str], train: Iterable[str], *, num: int = 0, split: Split = str.split
) -> dict[str, float]:
    """Return what real text says of itself, and what it shares with the training text, which may stream or be empty.

    Where there are fewer than `num` references, training texts make up the number for what needs no references: how
    much texts repeat themselves depends on how many they are.
    """
    lines = iter(train)
    audited = list(itertools.islice(lines, AUDITED))
    metrics = alone([*references, *audited[: max(0, num - len(references))]], split=split)
    if audited:
        metrics |= exact_copy(references, itertools.chain(audited, lines), split=split)
    shared = audit(references, references, audited, split=split)
    # What it copies beyond itself is 0 by definition, and no finding.
    return metrics | {name: value for name, value in shared.items() if not name.startswith("copied_excess")}
