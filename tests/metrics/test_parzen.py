"""The Parzen window estimate against densities that are known."""

import math

import numpy as np
import pytest
from jaxtyping import Float

from textforge.errors import UserError
from textforge.metrics.parzen import CHUNK, parzen, parzen_log_density


def gaussian(points: Float[np.ndarray, "N D"], std: float) -> Float[np.ndarray, " N"]:
    dim = points.shape[1]
    return np.asarray(-np.square(points).sum(1) / (2 * std**2) - dim * math.log(std * math.sqrt(2 * math.pi)))


def test_one_window_is_a_gaussian() -> None:
    points = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(parzen_log_density(points, np.zeros((1, 3)), 0.7), gaussian(points, 0.7), atol=1e-12)


def test_it_is_the_mean_of_the_windows_written_out() -> None:
    rng = np.random.default_rng(1)
    points, samples = rng.normal(size=(CHUNK + 3, 2)), rng.normal(size=(9, 2))
    found = parzen_log_density(points, samples, 0.4)
    for i in (0, CHUNK - 1, CHUNK, CHUNK + 2):
        windows = [math.exp(float(gaussian((points[i] - sample)[None], 0.4)[0])) for sample in samples]
        assert found[i] == pytest.approx(math.log(sum(windows) / 9), abs=1e-9)


@pytest.mark.parametrize("dim", [1, 2])
def test_narrow_windows_on_many_samples_approach_the_true_density(dim: int) -> None:
    """Windows of width h add h^2 to the variance, which is known, so that only the error of chance is left."""
    std, width = 1.5, 0.15
    rng = np.random.default_rng(2)
    samples, points = std * rng.standard_normal((40_000, dim)), std * rng.standard_normal((300, dim))
    found = parzen_log_density(points, samples, width)
    widened = gaussian(points, math.hypot(std, width))
    # Var of a mean of windows ~ density * (mean of the squared window) / n; relative, by the delta method.
    peak = 1 / (2 * width * math.sqrt(math.pi)) ** dim
    error = np.sqrt(peak / (np.exp(widened) * len(samples)))
    assert (np.abs(found - widened) <= 4.5 * error + 1e-9).all()
    assert np.abs(found - gaussian(points, std)).mean() < 0.08


def test_far_points_are_no_overflow() -> None:
    found = parzen_log_density(np.array([[1e4]]), np.zeros((3, 1)), 0.1)
    assert found[0] == pytest.approx(-0.5 * 1e10, rel=1e-6)


def test_the_width_is_chosen_on_validation_points() -> None:
    rng = np.random.default_rng(3)
    valid, test, samples = (rng.standard_normal((num, 1)) for num in (200, 300, 500))
    sigmas = np.logspace(-2, 1, 7)
    found = parzen(valid, test, samples, sigmas)
    scores = [parzen_log_density(valid, samples, sigma).mean() for sigma in sigmas.tolist()]
    assert found["parzen_sigma"] == sigmas[int(np.argmax(scores))]
    assert 0.02 < found["parzen_sigma"] < 5
    own = parzen_log_density(test, samples, found["parzen_sigma"])
    assert found["parzen"] == pytest.approx(own.mean())
    assert found["parzen_se"] == pytest.approx(own.std(ddof=1) / math.sqrt(300))


@pytest.mark.parametrize(("num", "sigma"), [(0, 0.1), (3, 0.0), (3, float("nan"))])
def test_what_cannot_be_estimated_is_refused(num: int, sigma: float) -> None:
    with pytest.raises(UserError, match="needs samples and a width above 0"):
        parzen_log_density(np.zeros((2, 1)), np.zeros((num, 1)), sigma)
