"""How near generated text lies to real text, in the space of a network's features (Zhang et al. 2017)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from textforge.errors import UserError
from textforge.metrics.parzen import parzen_log_density


def kde(real: Float[np.ndarray, "N F"], rounds: Sequence[Float[np.ndarray, "_ F"]]) -> dict[str, float]:
    """Return `kde` and `kde_std`: the mean of -log p in nats, and its standard deviation over rounds; lower is nearer.

    p is the mean of Gaussians around the features of test sentences, `real`; each of the `rounds` holds the features of
    freshly generated ones. The bandwidth is the median distance between two test sentences. Where that is 0, half of
    all pairs being the same, or where there is one sentence alone, there is no density and the score is left out.
    Values compare only under one feature extractor and one set of test sentences; a generator of one typical sentence
    scores better than real text does, so read it beside a measure of diversity.
    """
    if not rounds or not all(map(len, rounds)):
        raise UserError("the KDE score needs generated features, at least one round of at least one; generate some")
    bandwidth = median_distance(real) if len(real) > 1 else 0.0
    if bandwidth == 0:
        return {}
    scores = [-parzen_log_density(fake, real, bandwidth).mean() for fake in rounds]
    return {"kde": float(np.mean(scores)), "kde_std": float(np.std(scores))}


def median_distance(points: Float[np.ndarray, "N F"]) -> float:
    """Return the median Euclidean distance between two different rows, the equal ones among them included."""
    if len(points) < 2:
        raise UserError(f"a median distance needs at least 2 points, not {len(points)}; give more real text")
    points = points - points.mean(0, dtype=np.float64)  # distances do not see it, and small numbers lose least
    norms = np.square(points).sum(1)
    squared = norms[:, None] + norms - 2 * points @ points.T
    squared[squared < 1e-12 * norms.max()] = 0.0  # rounding
    return float(np.sqrt(np.median(squared[np.triu_indices(len(points), 1)])))
