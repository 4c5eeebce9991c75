"""Quality against diversity over temperatures, and how far a generator lies from maximum likelihood's curve.

Sharper samples are better and more alike, so a single point of one generator says nothing against a single point of
another; curves do (Caccia et al., 2020, "Language GANs falling short").
"""

import itertools
import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from textforge.errors import CallError
from textforge.evaluation import against_oracle, draw_texts
from textforge.metrics.bleu import bleu, self_bleu
from textforge.metrics.bootstrap import Interval, mean_interval
from textforge.metrics.counts import Split
from textforge.metrics.kneser_ney import lm_score, reverse_lm_score, reverse_nats
from textforge.metrics.ngrams import unique
from textforge.model import Model
from textforge.oracles import Oracle
from textforge.run import derive, finite, write_atomic

TEMPERATURES = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)
FILE = "frontier.json"
LEAST = 4
SHOWN = 20
"""Samples of each temperature that are kept."""


@dataclass(frozen=True)
class Point:
    """A generator's samples at one temperature, and what they are worth."""

    temperature: float
    metrics: dict[str, float]
    texts: list[str] = field(repr=False)


@dataclass(frozen=True)
class Gap:
    """How much more the references cost under a model of the samples than under one of maximum likelihood's samples.

    At equal quality: both have the same `lm_score`; maximum likelihood has it at `temperature`. In nats per token;
    above 0 the generator is behind. The interval is over the references, not over trainings.
    """

    lm_score: float
    temperature: float
    interval: Interval


def sweep(
    model: Model,
    references: Sequence[str],
    *,
    words: AbstractSet[str] = frozenset(),
    oracle: Oracle | None = None,
    temperatures: Sequence[float] = TEMPERATURES,
    num: int | None = None,
    seed: int = 0,
) -> list[Point]:
    """Sample at each temperature, as many texts as there are references unless told `num`, and measure both sides.

    `words` are no junk, those of the training text. A generator driven by noise has no temperature and one point, at
    1. The same seed draws the same samples, and as `evaluate` does.
    """
    if model.generator.noise_dim:
        temperatures = (1.0,)
    for temperature in temperatures:
        if not temperature > 0:
            raise CallError(f"a temperature must be above 0, not {temperature}")
    split = model.tokenizer.split
    points = []
    for temperature in sorted(temperatures):
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "evaluate"))
            drawn = draw_texts(
                model.generator,
                model.tokenizer,
                len(references) if num is None else num,
                temperature=temperature,
            )
            metrics = bleu(drawn.texts, references, split=split)
            if len(drawn.texts) > 1:
                metrics |= self_bleu(drawn.texts, split=split)
            metrics |= lm_score(drawn.texts, references, vocabulary=words, split=split)
            metrics |= reverse_lm_score(drawn.texts, references, vocabulary=words, split=split)
            metrics |= unique(drawn.texts, split=split)
            if not model.generator.noise_dim:
                metrics["entropy"] = drawn.entropy
            if oracle is not None:
                metrics |= against_oracle(model.generator, oracle, drawn, temperature=temperature)
        points.append(Point(temperature, metrics, drawn.texts))
    return points


def usual(points: Sequence[Point]) -> Point:
    """Return the point that is placed on the curve of another: at the temperature nearest to 1."""
    return min(points, key=lambda point: abs(point.temperature - 1))


def gap(
    ours: Point,
    curve: Sequence[Point],
    references: Sequence[str],
    *,
    words: AbstractSet[str] = frozenset(),
    split: Split = str.split,
) -> Gap | None:
    """Place samples against the curve of maximum likelihood, interpolated linearly in `lm_score`.

    None where the curve nowhere has their `lm_score`, and for fewer than `LEAST` references, which have no interval.
    """
    quality = ours.metrics["lm_score"]
    for one, other in itertools.pairwise(sorted(curve, key=lambda point: point.temperature)):
        low, high = one.metrics["lm_score"], other.metrics["lm_score"]
        if not min(low, high) <= quality <= max(low, high):
            continue
        share = 0.0 if low == high else (quality - low) / (high - low)
        costs = [reverse_nats(point.texts, references, vocabulary=words, split=split) for point in (ours, one, other)]
        size = min(len(nats) for nats, _ in costs)
        if size < LEAST:
            return None
        (mine, lengths), (cold, _), (warm, _) = ((nats[:size], lengths[:size]) for nats, lengths in costs)
        behind = (mine - (1 - share) * cold - share * warm) / lengths.mean()
        temperature = (1 - share) * one.temperature + share * other.temperature
        return Gap(quality, temperature, mean_interval(behind))
    return None


def write(folder: Path, points: Sequence[Point], found: Gap | None, settings: dict[str, Any]) -> None:
    """Write frontier.json into a run folder."""
    record = {
        "points": [
            {"temperature": point.temperature, "metrics": finite(point.metrics), "samples": point.texts[:SHOWN]}
            for point in points
        ],
        "gap": None
        if found is None
        else {
            "lm_score": found.lm_score,
            "temperature": found.temperature,
            "value": found.interval.value,
            "low": found.interval.low,
            "high": found.interval.high,
        },
        "settings": settings,
    }
    write_atomic(folder / FILE, json.dumps(record, ensure_ascii=False, indent=1).encode() + b"\n")
