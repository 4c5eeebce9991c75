import math

import numpy as np
import pytest

from textforge.errors import UserError
from textforge.metrics.kde import kde, median_distance


def by_loops(points: list[list[float]], centres: list[list[float]], bandwidth: float) -> float:
    """The mean of -log p, where p is a mean over centres of products over dimensions."""
    total = 0.0
    for point in points:
        densities = []
        for centre in centres:
            factors = [
                math.exp(-(((p - c) / bandwidth) ** 2) / 2) / (bandwidth * math.sqrt(2 * math.pi))
                for p, c in zip(point, centre, strict=True)
            ]
            densities.append(math.prod(factors))
        total -= math.log(sum(densities) / len(densities))
    return total / len(points)


def test_score_is_mean_and_deviation_over_rounds() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(size=(30, 3))
    rounds = [rng.normal(size=(20, 3)) for _ in range(3)]
    scores = [by_loops(fake.tolist(), real.tolist(), median_distance(real)) for fake in rounds]
    found = kde(real, rounds)
    assert found["kde"] == pytest.approx(sum(scores) / 3, rel=1e-12)
    assert found["kde_std"] == pytest.approx(np.std(scores), rel=1e-9)


def test_bandwidth_is_the_median_distance_of_two_different_sentences() -> None:
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 10.0]])
    assert median_distance(points) == pytest.approx(math.sqrt(45))  # 5, sqrt(45), 10; no sentence with itself
    assert median_distance(points + 1e6) == pytest.approx(math.sqrt(45))


def test_text_from_elsewhere_scores_worse_and_one_typical_sentence_better() -> None:
    rng = np.random.default_rng(2)
    real, same = rng.normal(size=(300, 5)), rng.normal(size=(300, 5))
    score = kde(real, [same])["kde"]
    assert kde(real, [same + 3])["kde"] > score + 1
    assert kde(real, [np.zeros((300, 5))])["kde"] < score  # why it is read beside a measure of diversity


def test_no_score_where_there_is_no_bandwidth() -> None:
    assert kde(np.ones((9, 2)), [np.zeros((3, 2))]) == {}
    assert kde(np.full((9, 2), 0.1), [np.zeros((3, 2))]) == {}
    assert kde(np.ones((1, 2)), [np.zeros((3, 2))]) == {}


def test_what_cannot_be_scored_is_refused() -> None:
    real = np.array([[0.0], [1.0]])
    for rounds in ([], [np.zeros((0, 1))]):
        with pytest.raises(UserError, match="at least one round of at least one"):
            kde(real, rounds)
    with pytest.raises(UserError, match="at least 2 points, not 1"):
        median_distance(real[:1])
