import math

import numpy as np
import pytest
from jaxtyping import Float

from textforge.errors import UserError
from textforge.metrics.frechet import frechet, frechet_distance

Matrix = Float[np.ndarray, "F F"]


def covariance(rng: np.random.Generator, size: int, rank: int) -> Matrix:
    factor = rng.normal(size=(size, rank))
    return np.asarray(factor @ factor.T)


# --- Closed forms ---


def test_on_a_line_it_is_the_distance_of_means_and_deviations() -> None:
    found = frechet_distance(np.array([1.0]), np.array([[9.0]]), np.array([-1.0]), np.array([[4.0]]))
    assert found == pytest.approx(2**2 + (3 - 2) ** 2)


def test_common_axes() -> None:
    """Where the covariances commute, each axis is a line of its own."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    ours, theirs = rng.uniform(0, 3, (2, 6))
    means = rng.normal(size=(2, 6))
    found = frechet_distance(means[0], axes * ours**2 @ axes.T, means[1], axes * theirs**2 @ axes.T)
    assert found == pytest.approx(np.square(means[0] - means[1]).sum() + np.square(ours - theirs).sum(), rel=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_two_dimensions(seed: int) -> None:
    """For 2 x 2 matrices Tr M^(1/2) = (Tr M + 2 det(M)^(1/2))^(1/2)."""
    rng = np.random.default_rng(seed)
    a, b = covariance(rng, 2, 2), covariance(rng, 2, 2)
    cross = math.sqrt(np.trace(a @ b) + 2 * math.sqrt(np.linalg.det(a @ b)))
    expected = np.trace(a) + np.trace(b) - 2 * cross
    assert frechet_distance(np.zeros(2), a, np.zeros(2), b) == pytest.approx(expected, rel=1e-9)


def test_general_matrices_against_the_eigenvalues_of_the_product() -> None:
    rng = np.random.default_rng(1)
    a, b = covariance(rng, 7, 9), covariance(rng, 7, 9)
    cross = np.sqrt(np.linalg.eigvals(a @ b).astype(complex)).sum().real
    expected = np.trace(a) + np.trace(b) - 2 * cross
    assert frechet_distance(np.zeros(7), a, np.zeros(7), b) == pytest.approx(expected, rel=1e-9)


def test_singular_covariances_are_exact() -> None:
    """Fewer texts than dimensions. An eigenvalue of 1e-17 in place of 0 would leave 3e-9 behind, forty times over."""
    rng = np.random.default_rng(2)
    u, v, zero = rng.normal(size=40), rng.normal(size=40), np.zeros(40)
    lines = frechet_distance(zero, np.outer(u, u), zero, np.outer(v, v))
    assert lines == pytest.approx(u @ u + v @ v - 2 * abs(u @ v), rel=1e-10)
    flat = covariance(rng, 40, 3)
    assert frechet_distance(u, flat, u, flat) < 1e-10
    assert frechet_distance(u, np.zeros((40, 40)), v, flat) == pytest.approx(np.square(u - v).sum() + np.trace(flat))


def test_turning_and_shifting_change_nothing_and_scaling_squares() -> None:
    rng = np.random.default_rng(3)
    samples, references = rng.normal(size=(60, 4)) * [1, 2, 3, 4], rng.normal(size=(120, 4)) + 1
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    found = frechet(samples, references)
    assert frechet(samples @ turn + 7, references @ turn + 7) == pytest.approx(found, rel=1e-9)
    assert frechet(3 * samples, 3 * references) == pytest.approx({k: 9 * v for k, v in found.items()}, rel=1e-9)


# --- Estimates ---


def test_the_floor_is_the_bias_at_this_number_of_texts() -> None:
    """v (F^2 + 5 F) / 2n to first order: what the docstring states, over 60 pairs of samples of one Gaussian.

    There are more samples than are used, since the floor is taken at half the references.
    """
    rng = np.random.default_rng(4)
    size, axes, variance = 600, 8, 2.5
    clouds = rng.normal(scale=math.sqrt(variance), size=(60, 6 * size, axes))
    found = [frechet(cloud[: 4 * size], cloud[4 * size :]) for cloud in clouds]
    expected = variance * (axes**2 + 5 * axes) / (2 * size)
    for name in ("frechet", "frechet_floor"):
        values = np.array([one[name] for one in found])
        error = values.std(ddof=1) / math.sqrt(60)
        assert abs(values.mean() - expected) < 4 * error + 0.02 * expected, name
        assert error < 0.05 * expected


def test_the_excess_over_the_floor_is_the_distance() -> None:
    rng = np.random.default_rng(5)
    found = [
        frechet(rng.normal(size=(500, 5)) * 1.5 + 0.4, rng.normal(size=(1000, 5)), seed=seed) for seed in range(30)
    ]
    excess = np.array([one["frechet"] - one["frechet_floor"] for one in found])
    exact = 5 * 0.4**2 + 5 * 0.5**2
    # The bias of the distance is that of the floor but for the samples' own larger variance: a few hundredths here.
    assert abs(excess.mean() - exact) < 4 * excess.std(ddof=1) / math.sqrt(30) + 0.02


def test_both_values_are_taken_at_one_number_of_texts() -> None:
    """More samples than half the references change no floor; fewer raise it."""
    rng = np.random.default_rng(6)
    references = rng.normal(size=(400, 6))
    floors = {num: frechet(rng.normal(size=(num, 6)), references)["frechet_floor"] for num in (50, 200, 201, 5000)}
    assert floors[200] == floors[201] == floors[5000] < floors[50] / 2


def test_collapse_lies_far_above_the_floor() -> None:
    rng = np.random.default_rng(7)
    references = rng.normal(size=(400, 6))
    found = frechet(np.repeat(references[:1], 300, axis=0), references)
    assert found["frechet"] > 20 * found["frechet_floor"]


def test_single_precision_is_summed_in_double() -> None:
    rng = np.random.default_rng(8)
    samples, references = (rng.normal(size=(num, 3)).astype(np.float32) + 1000 for num in (50, 100))
    exact = frechet(samples.astype(np.float64), references.astype(np.float64))
    assert frechet(samples, references) == pytest.approx(exact, rel=1e-9)


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(UserError, match="not 1 and 9"):
        frechet(np.zeros((1, 2)), np.zeros((9, 2)))
    with pytest.raises(UserError, match="not 9 and 3"):
        frechet(np.zeros((9, 2)), np.zeros((3, 2)))
