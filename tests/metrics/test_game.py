"""The value of the game over cells, against sums written out, and what counts as a covered mode."""

import math

import numpy as np
import pytest

from textforge.metrics.game import game, mode_masses, mode_shares


def worlds(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    p, q = np.random.default_rng(seed).dirichlet(np.ones(num), 2)
    return p, q


@pytest.mark.parametrize("num", [5, 20, 50])
def test_optimum_is_reached_by_the_best_discriminator(num: int) -> None:
    p, q = worlds(num, num)
    found = game(p, q, np.log(p) - np.log(q))
    js = sum(
        a / 2 * math.log(2 * a / (a + b)) + b / 2 * math.log(2 * b / (a + b))
        for a, b in zip(p.tolist(), q.tolist(), strict=True)
    )
    assert found["js"] == pytest.approx(js, abs=1e-12)
    assert found["game_optimum"] == pytest.approx(2 * js - math.log(4), abs=1e-12)
    assert found["game_value"] == pytest.approx(found["game_optimum"], abs=1e-10)
    assert found["d_distance"] == pytest.approx(0, abs=1e-12)
    assert -math.log(4) < found["game_optimum"] < 0


def test_no_discriminator_exceeds_the_optimum() -> None:
    rng = np.random.default_rng(0)
    for seed in range(50):
        p, q = worlds(9, seed)
        found = game(p, q, 3 * rng.standard_normal(9))
        assert found["game_value"] < found["game_optimum"]
        assert 0 < found["d_distance"] < 1


def test_the_ends_of_the_range() -> None:
    p, _ = worlds(8, 1)
    assert game(p, p, np.zeros(8))["game_optimum"] == pytest.approx(-math.log(4), abs=1e-12)
    apart = game(np.array([0.5, 0.5, 0, 0]), np.array([0, 0, 0.3, 0.7]), None)
    assert apart["game_optimum"] == pytest.approx(0, abs=1e-12)
    assert "game_value" not in apart
    assert "d_distance" not in apart


def test_distance_of_the_discriminator_written_out() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5])
    found = game(p, q, np.zeros(3))
    assert found["d_distance"] == pytest.approx((0.5 * 0.5 + 1.0 * 0.0 + 0.5 * 0.5) / 2)
    assert math.isfinite(game(p, q, np.full(3, 1e4))["game_value"])


def test_a_mode_is_covered_from_a_tenth_of_its_share() -> None:
    true = np.array([0.5, 0.3, 0.2])
    modes = np.array([0, 0, 1, 2, -1])
    found = mode_shares(true, modes, np.array([0.3, 0.3, 0.031, 0.019, 0.35]))
    assert found["mode_coverage"] == pytest.approx(2 / 3)
    assert found["in_modes"] == pytest.approx(0.65)
    assert mode_masses(true, modes, np.full(5, 0.2)).tolist() == pytest.approx([0.4, 0.2, 0.2])
    nothing = mode_shares(true, np.full(4, -1), np.full(4, 0.25))
    assert nothing == {"mode_coverage": 0.0, "in_modes": 0.0}
