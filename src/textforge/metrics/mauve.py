"""MAUVE (Pillutla et al. 2021): how much two clouds of sentence vectors share, the area under a curve of divergences.

Both clouds are put into common buckets by k-means. With P and Q the two histograms and R_w = w P + (1 - w) Q, the curve
runs through the points (exp(-c KL(Q | R_w)), exp(-c KL(P | R_w))): one axis falls where the samples say what real text
does not, the other where they leave out what it says.
"""

import numpy as np
from jaxtyping import Float, Int

from textforge.errors import UserError

SCALING = 5.0
"""The constant c; it spreads the values over the range and ranks nothing."""

POINTS = 25
"""Mixture weights on the curve."""

VARIANCE = 0.9
"""Share of the variance that the principal components keep."""

MOST_BUCKETS = 200
"""A tenth of the texts is the paper's number of buckets, but time is in proportion to it: at 10,000 texts a side a
thousand of them would take longer than all other metrics together. Values fall as buckets get finer."""

BLOCK = 2048  # points at a time, so that the table of distances to all centres stays in the cache


def mauve(
    samples: Float[np.ndarray, "N F"],
    references: Float[np.ndarray, "M F"],
    *,
    num_buckets: int | None = None,
    clusterings: int = 3,
    restarts: int = 1,
) -> dict[str, float]:
    """Return `mauve` and `mauve_star`, 1 alike to .004 disjoint, and the noise of either: `mauve_sd`, `mauve_star_sd`.

    Vectors are scaled to length 1 and turned to their first principal components. Each value is the mean over so many
    `clusterings`, k-means from other seeds, and the noise their standard deviation: differences below it are no
    differences. `mauve_star` has half a text more in each bucket (Krichevsky-Trofimov smoothing, Pillutla et al. 2023),
    which the empty ones of small samples need. Values compare at one encoder, one number of texts and one of buckets
    (`num_buckets`: a tenth of the smaller cloud, at most `MOST_BUCKETS`, unless given).
    """
    if min(len(samples), len(references)) < 2 or clusterings < 2:
        raise UserError(
            f"MAUVE needs 2 texts a side and 2 clusterings, not {len(samples)}, {len(references)} and {clusterings}"
        )
    num = num_buckets or min(max(round(min(len(samples), len(references)) / 10), 2), MOST_BUCKETS)
    points = principal_components(_unit(np.concatenate([references, samples])))
    plain, star = [], []
    for seed in range(clusterings):
        buckets = kmeans(points, num, seed=seed, restarts=restarts)
        sides = buckets[: len(references)], buckets[len(references) :]
        p, q = (np.bincount(side, minlength=num).astype(np.float64) for side in sides)
        plain.append(frontier_area(p / p.sum(), q / q.sum()))
        star.append(frontier_area((p + 0.5) / (p + 0.5).sum(), (q + 0.5) / (q + 0.5).sum()))
    return {
        "mauve": float(np.mean(plain)),
        "mauve_sd": float(np.std(plain, ddof=1)),
        "mauve_star": float(np.mean(star)),
        "mauve_star_sd": float(np.std(star, ddof=1)),
    }


def frontier_area(p: Float[np.ndarray, "K"], q: Float[np.ndarray, "K"]) -> float:
    """Return the area under the divergence curve of two histograms, by trapezia between its points and the axes."""
    weights = np.linspace(1e-6, 1 - 1e-6, POINTS)[:, None]
    mixtures = weights * p + (1 - weights) * q
    x, y = (np.exp(-SCALING * _divergence(side, mixtures)) for side in (q, p))
    x, y = np.concatenate([[1.0], x, [0.0]]), np.concatenate([[0.0], y, [1.0]])
    return float(np.trapezoid(x, y))


def principal_components(points: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N _"]:
    """Turn points to their principal axes and keep the fewest that hold the `VARIANCE`."""
    centred = points - points.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    held = np.cumsum(np.maximum(values[::-1], 0))
    kept = int(np.searchsorted(held, VARIANCE * held[-1])) + 1
    return np.asarray(centred @ axes[:, ::-1][:, :kept])


def kmeans(
    points: Float[np.ndarray, "N F"], num: int, *, seed: int, restarts: int = 1, iterations: int = 20
) -> Int[np.ndarray, "N"]:
    """Put each point into one of `num` clusters with little squared distance to their means; the best of the restarts.

    Lloyd's iteration from random points, until nothing moves or the iterations are over. An empty cluster starts anew
    at a point that lies farthest from its own centre, so that points which fall together waste no cluster while others
    differ.
    """
    if not 1 <= num <= len(points):
        raise UserError(f"{len(points)} points cannot have {num} clusters; ask for 1 to {len(points)}")
    rng = np.random.default_rng(seed)
    points = points.astype(np.float32)
    best, least = np.zeros(len(points), np.int64), np.inf
    for _ in range(restarts):
        centres = points[rng.choice(len(points), num, replace=False)]
        labels = np.full(len(points), -1)
        for _ in range(iterations):
            before = labels
            labels, distances = _nearest(points, centres)
            if np.array_equal(labels, before):
                break
            centres = _means(points, labels, distances, num)
        if (spread := float(distances.sum(dtype=np.float64))) < least:
            best, least = labels, spread
    return best


def _nearest(
    points: Float[np.ndarray, "N F"], centres: Float[np.ndarray, "K F"]
) -> tuple[Int[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """The number of each point's nearest centre, and the squared distance to it."""
    lengths = np.square(centres).sum(1) / 2
    labels, closeness = np.empty(len(points), np.int64), np.empty(len(points), points.dtype)
    for start in range(0, len(points), BLOCK):
        part = slice(start, start + BLOCK)
        scores = points[part] @ centres.T - lengths
        labels[part] = scores.argmax(1)
        closeness[part] = np.take_along_axis(scores, labels[part, None], 1)[:, 0]
    return labels, np.maximum(np.square(points).sum(1) - 2 * closeness, 0)


def _means(
    points: Float[np.ndarray, "N F"], labels: Int[np.ndarray, "N"], distances: Float[np.ndarray, "N"], num: int
) -> Float[np.ndarray, "K F"]:
    sizes = np.bincount(labels, minlength=num)
    used = np.flatnonzero(sizes)
    starts = np.cumsum(sizes[used]) - sizes[used]
    centres = np.empty((num, points.shape[1]), points.dtype)
    centres[used] = np.add.reduceat(points[np.argsort(labels, kind="stable")], starts) / sizes[used, None]
    empty = np.flatnonzero(sizes == 0)
    centres[empty] = points[np.argsort(-distances, kind="stable")[: len(empty)]]
    return centres


def _divergence(p: Float[np.ndarray, "K"], mixtures: Float[np.ndarray, "W K"]) -> Float[np.ndarray, "W"]:
    """KL(p | R) for each mixture R, all of which are positive where p is; 0 ln 0 = 0."""
    some = p > 0
    return np.asarray((p[some] * np.log(p[some] / mixtures[:, some])).sum(1))


def _unit(points: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N F"]:
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / np.where(lengths > 0, lengths, 1))
