"""All metrics that need nothing but text, with the settings without which the numbers mean nothing."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from textforge.errors import UserError
from textforge.metrics.bleu import SMOOTHING, backward_bleu, bleu, self_bleu
from textforge.metrics.copying import exact_copy
from textforge.metrics.counts import Split
from textforge.metrics.ngrams import BUDGET, distinct, unique


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
) -> Evaluation:
    """Judge samples against held-out real text, and against the training text where it is given.

    `split_name` says in the settings how texts became symbols; a `split` of one's own needs one. `train` may stream.
    Self-BLEU is leave-one-out, so for a single sample it is left out.
    """
    if split_name is None and split is not str.split:
        raise UserError("`split_name` is missing beside a `split` of your own; name it, for example 'character'")
    metrics = bleu(samples, references, max_order=max_order, split=split)
    if len(samples) > 1:
        metrics |= self_bleu(samples, max_order=max_order, split=split)
    metrics |= backward_bleu(samples, references, max_order=max_order, split=split)
    metrics |= distinct(samples, split=split) | unique(samples, split=split)
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
    }
    if train is not None:
        lines = itertools.count()
        metrics |= exact_copy(samples, (text for text, _ in zip(train, lines, strict=False)), split=split)
        settings["num_train"] = next(lines)
    return Evaluation(metrics, settings)
