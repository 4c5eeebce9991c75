"""The classifier two-sample test (Lopez-Paz and Oquab 2017): can a classifier tell samples from real text?

A logistic regression on sentence vectors learns the difference on one half of the texts and is judged on the rest. If
both sides were one distribution no classifier could be right more than half the time; an accuracy a on texts it has not
seen proves a total variation of at least 2a - 1. It sees what the vectors and a linear boundary show, so 1/2 is no
proof of equality.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from textforge.errors import UserError

Z = 1.959964
"""Standard errors on either side of a 95 % interval."""

NEWTON_STEPS = 50
"""Far above what the regression needs (about 8): the loss is convex, and a step is halved until it goes downhill."""


def c2st(samples: Float[np.ndarray, "N F"], references: Float[np.ndarray, "M F"], *, seed: int = 0) -> dict[str, float]:
    """Return the accuracy `c2st`, its 95 % interval `c2st_low` to `c2st_high` (Wilson 1927), and `tv_bound`.

    `tv_bound` = max(0, 2 `c2st_low` - 1): the total variation is above it with a confidence of 97.5 %. As many texts
    are taken from either side, at random; half of each train, the rest judge.

    Every draw counts, repeats too, and each is dealt to its half by itself. Texts of both sides are independent draws,
    so under equality what the training half says of a sentence tells nothing of its next occurrence, and the interval
    holds however many texts repeat. Keeping equal texts together would hide what repeats say: a generator of one
    sentence would have either no text to learn from or none to be judged on, and where the sides differ, texts judged
    in clumps make the interval too narrow. `c2st_distinct` sets repeats aside.
    """
    rng = np.random.default_rng(seed)
    if (size := min(len(samples), len(references))) < 2:
        raise UserError(f"a half to learn from and one to judge need 2 texts a side, not {size}; give more")
    sides = [_draw(cloud, size, rng) for cloud in (samples, references)]
    half = size // 2
    found = _judge([side[:half] for side in sides], [side[half:] for side in sides])
    names = ("c2st", "c2st_low", "c2st_high")
    return dict(zip(names, found, strict=True)) | {"tv_bound": max(0.0, 2 * found[1] - 1)}


def c2st_distinct(
    samples: Float[np.ndarray, "N F"], references: Float[np.ndarray, "M F"], *, seed: int = 0
) -> dict[str, float]:
    """Return the same without repeats: `c2st_distinct`, `c2st_distinct_low`, `c2st_distinct_high`.

    Either side is reduced to its distinct vectors, and a text of both sides goes to the same half on either, so that no
    sentence can be learnt by heart. Of such a pair exactly one is judged rightly, so the interval is if anything too
    wide. Frequencies play no part, hence there is no bound on the total variation. Where so few texts are distinct that
    a half has none of a side, there is no test, and the result is empty.
    """
    rng = np.random.default_rng(seed)
    numbers: dict[bytes, int] = {}
    sides = []
    for cloud in (samples.astype(np.float64), references.astype(np.float64)):
        texts = [numbers.setdefault(row.tobytes(), len(numbers)) for row in cloud]
        number, first = np.unique(texts, return_index=True)
        sides.append((number, cloud[first]))
    trains = rng.permutation(len(numbers)) % 2 == 0
    halves = []
    for dealt in (trains, ~trains):
        parts = [cloud[dealt[number]] for number, cloud in sides]
        size = min(len(part) for part in parts)
        if size == 0:
            return {}
        halves.append([_draw(part, size, rng) for part in parts])
    return dict(zip(("c2st_distinct", "c2st_distinct_low", "c2st_distinct_high"), _judge(*halves), strict=True))


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927): it stays within 0 and 1, and has a width at either end."""
    share, slack = successes / trials, Z * Z / trials
    middle = (share + slack / 2) / (1 + slack)
    reach = math.sqrt(share * (1 - share) * slack + slack * slack / 4) / (1 + slack)
    return middle - reach, middle + reach


def logistic(
    features: Float[np.ndarray, "N F"], labels: Bool[np.ndarray, "N"], *, penalty: float
) -> Float[np.ndarray, "F1"]:
    """Return the weights, the bias last, that minimise the log loss in nats, summed, + penalty / 2 |weights|^2.

    Newton's method (iteratively reweighted least squares); the bias is free.
    """
    inputs = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    ridge = np.full(inputs.shape[1], penalty)
    ridge[-1] = 0

    def loss(weights: Float[np.ndarray, "F1"]) -> float:
        logits = inputs @ weights
        return float(np.logaddexp(0, np.where(labels, -logits, logits)).sum() + ridge @ np.square(weights) / 2)

    weights = np.zeros(inputs.shape[1])
    now = loss(weights)
    for _ in range(NEWTON_STEPS):
        opinion = 1 / (1 + np.exp(-np.clip(inputs @ weights, -500, 500)))
        gradient = inputs.T @ (opinion - labels) + ridge * weights
        curvature = np.diag(ridge) + (inputs * (opinion * (1 - opinion))[:, None]).T @ inputs
        step = np.linalg.solve(curvature, gradient)
        if gradient @ step < 1e-9 * len(inputs):  # twice what is left to gain, if the loss were a parabola
            break
        while (then := loss(weights - step)) > now:
            step /= 2
        weights, now = weights - step, then
    return weights


def _draw(cloud: Float[np.ndarray, "N F"], size: int, rng: np.random.Generator) -> Float[np.ndarray, "n F"]:
    return cloud[rng.permutation(len(cloud))[:size]].astype(np.float64)


def _judge(
    train: Sequence[Float[np.ndarray, "_ F"]], test: Sequence[Float[np.ndarray, "_ F"]]
) -> tuple[float, float, float]:
    """Learn samples (first) from references (second) on one half; return the accuracy on the other and its interval.

    Features are standardised by the training half, and the penalty is their number: a prior under which the logit of a
    typical text has variance 1, so that it matters for few texts and not for many. A logit of 0 is half right.
    """
    learnt, judged = np.concatenate(train), np.concatenate(test)
    mean, scale = learnt.mean(0), learnt.std(0)
    scale[scale < 1e-12 * np.abs(learnt).max(0, initial=1e-300)] = 1.0  # the same number everywhere but for rounding
    weights = logistic((learnt - mean) / scale, np.arange(len(learnt)) < len(train[0]), penalty=float(learnt.shape[1]))
    logits = (judged - mean) / scale @ weights[:-1] + weights[-1]
    sign = np.where(np.arange(len(judged)) < len(test[0]), 1, -1)
    right = float(np.sum((sign * logits > 0) + (logits == 0) / 2))
    return right / len(judged), *wilson(right, len(judged))
