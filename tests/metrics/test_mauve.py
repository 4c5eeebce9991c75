import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import UserError
from textforge.metrics import mauve as module
from textforge.metrics.mauve import frontier_area, kmeans, mauve, principal_components

COUNTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6).filter(
    lambda rows: any(a for a, _ in rows) and any(b for _, b in rows)
)


def area_by_hand(p: list[float], q: list[float]) -> float:
    """The definition, term by term, from the axis to the axis."""
    curve = [(1.0, 0.0)]
    for point in range(25):
        w = 1e-6 + point / 24 * (1 - 2e-6)
        both = [(a, b, w * a + (1 - w) * b) for a, b in zip(p, q, strict=True)]
        x = math.exp(-5 * sum(b * math.log(b / r) for _, b, r in both if b > 0))
        y = math.exp(-5 * sum(a * math.log(a / r) for a, _, r in both if a > 0))
        curve.append((x, y))
    curve.append((0.0, 1.0))
    return sum((x - u) * (y + v) / 2 for (x, y), (u, v) in itertools.pairwise(curve))


def spread(points: np.ndarray, labels: np.ndarray) -> float:
    """The sum of squared distances to the means of the clusters."""
    return sum(
        float(np.square(points[labels == label] - points[labels == label].mean(0)).sum()) for label in np.unique(labels)
    )


# --- The area ---


@given(COUNTS)
def test_area_is_that_of_the_definition(counts: list[tuple[int, int]]) -> None:
    p, q = (np.array(side) / sum(side) for side in zip(*counts, strict=True))
    area = frontier_area(p, q)
    assert area == pytest.approx(area_by_hand(p.tolist(), q.tolist()), abs=1e-12)
    assert area == pytest.approx(frontier_area(q, p), abs=1e-12)
    assert frontier_area(p[::-1], q[::-1]) == pytest.approx(area, abs=1e-12)
    assert 0 < area < 1 + 1e-12


def test_area_of_the_extremes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alike: the unit square. Disjoint: the curve is ((1 - w)^c, w^c), the area under it c B(c + 1, c) = 1 / 252."""
    alike, apart = np.array([0.25, 0.75, 0.0]), np.array([0.0, 0.0, 1.0])
    assert frontier_area(alike, alike) == pytest.approx(1, abs=1e-12)
    assert frontier_area(alike, apart) == pytest.approx(1 / 252, rel=0.03)
    monkeypatch.setattr(module, "POINTS", 10_001)
    assert frontier_area(alike, apart) == pytest.approx(1 / 252, rel=1e-4)


# --- The buckets ---


@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_the_best_of_all_partitions(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(8, 2))
    least = min(spread(points, np.array(labels)) for labels in itertools.product(range(3), repeat=8))
    labels = kmeans(points, 3, seed=0, restarts=40)
    assert spread(points, labels) == pytest.approx(least, rel=1e-6)


def test_each_point_is_nearest_to_its_own_mean() -> None:
    """Where Lloyd's iteration stops, against distances taken one by one; points lie in several blocks."""
    points = np.random.default_rng(0).normal(size=(3000, 3)) + 50
    labels = kmeans(points, 7, seed=1, iterations=500)
    means = np.array([points[labels == label].mean(0) for label in range(7)])
    distances = np.array([[np.linalg.norm(point - mean) for mean in means] for point in points[::17]])
    own = distances[np.arange(len(distances)), labels[::17]]
    assert (own <= distances.min(1) + 1e-4).all()


def test_iterations_and_restarts_only_improve() -> None:
    points = np.random.default_rng(1).normal(size=(400, 5))
    by_iterations = [spread(points, kmeans(points, 20, seed=3, iterations=num)) for num in (1, 2, 4, 8, 16)]
    assert all(later < earlier for earlier, later in itertools.pairwise(by_iterations))
    by_restarts = [spread(points, kmeans(points, 20, seed=3, restarts=num)) for num in (1, 3, 9)]
    assert by_restarts[0] > by_restarts[1] >= by_restarts[2]


def test_equal_points_waste_no_cluster() -> None:
    """A collapsed generator: half of all random starts fall on one text, and empty clusters must look elsewhere."""
    singles = np.array([[5.0, 0.0], [0.0, 5.0], [5.0, 5.0], [9.0, 9.0]])
    points = np.concatenate([np.ones((100, 2)), singles])
    for seed in range(5):
        labels = kmeans(points, 5, seed=seed)
        assert len(set(labels[:100])) == 1
        assert len(set(labels[99:])) == 5


def test_components_hold_the_variance_and_no_more_than_needed() -> None:
    points = np.random.default_rng(2).normal(size=(200, 6)) * [5, 3, 2, 1, 0.5, 0.1] + 3
    kept = principal_components(points)
    variances = np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2
    held = np.cumsum(variances) / variances.sum()
    assert held[kept.shape[1] - 2] < 0.9 <= held[kept.shape[1] - 1]
    assert np.square(kept).sum(0) == pytest.approx(variances[: kept.shape[1]], rel=1e-9)


def test_components_of_points_that_are_all_alike() -> None:
    assert principal_components(np.ones((5, 3))) == pytest.approx(0, abs=1e-12)


# --- The whole ---


def test_values_are_means_over_clusterings_with_their_deviation() -> None:
    rng = np.random.default_rng(3)
    samples, references = rng.normal(size=(150, 6)) + 0.5, rng.normal(size=(170, 6))
    points = np.concatenate([references, samples])
    points = principal_components(points / np.linalg.norm(points, axis=1)[:, None])
    plain, star = [], []
    for seed in range(4):
        labels = kmeans(points, 15, seed=seed)
        p, q = (
            np.array([float(np.sum(part == label)) for label in range(15)]) for part in (labels[:170], labels[170:])
        )
        plain.append(area_by_hand((p / 170).tolist(), (q / 150).tolist()))
        star.append(area_by_hand(((p + 0.5) / 177.5).tolist(), ((q + 0.5) / 157.5).tolist()))
    assert mauve(samples, references, clusterings=4) == pytest.approx(
        {
            "mauve": np.mean(plain),
            "mauve_sd": np.std(plain, ddof=1),
            "mauve_star": np.mean(star),
            "mauve_star_sd": np.std(star, ddof=1),
        },
        rel=1e-9,
    )


def test_alike_shifted_and_collapsed_samples_are_ranked() -> None:
    rng = np.random.default_rng(4)
    references = rng.normal(size=(600, 8)) + 1
    same = mauve(rng.normal(size=(600, 8)) + 1, references)
    near, far = (mauve(rng.normal(size=(600, 8)) + 1 + shift, references)["mauve"] for shift in (0.3, -2))
    collapsed = mauve(np.repeat(references[:5], 120, axis=0), references)["mauve"]
    assert mauve(references, references)["mauve"] == pytest.approx(1, abs=1e-12)
    assert 1 > same["mauve"] > near + 0.02
    assert near > 5 * far
    assert collapsed < 0.02
    assert same["mauve"] < same["mauve_star"]  # smoothing makes up for buckets that are empty by chance
    assert 0 < same["mauve_sd"] < 0.03


def test_the_length_of_a_vector_does_not_count() -> None:
    rng = np.random.default_rng(5)
    samples, references = rng.normal(size=(100, 4)), rng.normal(size=(100, 4))
    longer = samples * rng.uniform(0.5, 2, (100, 1))
    assert mauve(longer, references) == pytest.approx(mauve(samples, references), rel=1e-9)
    empty = np.zeros((100, 4))
    assert math.isfinite(mauve(empty, references)["mauve"])


def test_wrong_calls_are_refused() -> None:
    points = np.ones((5, 2))
    with pytest.raises(UserError, match="not 1, 5 and 3"):
        mauve(points[:1], points)
    with pytest.raises(UserError, match="not 5, 5 and 1"):
        mauve(points, points, clusterings=1)
    with pytest.raises(UserError, match="5 points cannot have 6 clusters"):
        kmeans(points, 6, seed=0)
