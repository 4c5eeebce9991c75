"""Phases and curves, against sums written differently."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textforge.report.read import Record
from textforge.report.series import Phase, Point, curves, over_seeds, phases, thinned


def test_phases_are_stretches_of_one_name() -> None:
    told = [("a", 10, 1.0), ("a", 20, 2.5), ("b", 30, 4.0), ("a", 40, 7.0)]
    assert phases([Record(name, step, seconds, {}) for name, step, seconds in told]) == (
        Phase("a", 10, 20, 2.5),
        Phase("b", 20, 30, 1.5),
        Phase("a", 30, 40, 3.0),
    )
    assert phases([]) == ()


def test_curves_hold_finite_values_and_count_the_others() -> None:
    values = [3.0, math.inf, 1.0, math.nan, 4.0, 1.0]
    records = [Record("ab"[step // 3], step, 0.0, {"x": value, "y": math.nan}) for step, value in enumerate(values)]
    x, y = curves([*records, Record("b", 6, 0.0, {"z": 9.0})])[:2]
    assert [(point.step, point.phase, point.mean) for point in x.values] == [(0, 0, 3), (2, 0, 1), (4, 1, 4), (5, 1, 1)]
    assert (x.name, x.not_finite, x.first.step, x.last.step, x.lowest.step, x.highest.step) == ("x", 2, 0, 5, 2, 4)
    assert (y.name, y.values, y.not_finite) == ("y", (), 6)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(-1e6, 1e6)), min_size=1, max_size=80).map(sorted),
    st.integers(1, 20),
)
def test_thinning_keeps_sums_and_extremes_and_phases(values: list[tuple[int, float]], at_most: int) -> None:
    points = [Point(step, phase, value, value, value) for step, (phase, value) in enumerate(values)]
    few = list(thinned(points, at_most))
    sizes = np.diff([-1, *(point.step for point in few)])  # steps count up from 0
    assert len(few) <= at_most + 3  # each of the phases may end in one more
    assert sizes.min() >= 1
    assert sizes.sum() == len(points)
    sums = np.add.reduceat([value for _, value in values], np.cumsum([0, *sizes[:-1]]))
    np.testing.assert_allclose([point.mean for point in few] * sizes, sums, rtol=1e-9, atol=1e-6)
    assert min(point.low for point in few) == min(value for _, value in values)
    assert max(point.high for point in few) == max(value for _, value in values)
    assert [values[point.step][0] for point in few] == [point.phase for point in few]
    starts = np.cumsum([0, *sizes[:-1]])
    assert [values[start][0] for start in starts] == [point.phase for point in few]


@pytest.mark.parametrize("length", [1, 299, 300])
def test_what_is_short_is_not_thinned(length: int) -> None:
    points = [Point(step, 0, float(step), step - 1.0, step + 1.0) for step in range(length)]
    assert list(thinned(points, 300)) == points


def point(step: int, mean: float, phase: int = 0) -> Point:
    return Point(step, phase, mean, mean, mean)


def test_over_seeds_is_the_mean_of_those_that_have_a_value() -> None:
    seeds = [[point(1, 1.0), point(2, 2.0)], [point(1, 3.0)], []]
    assert over_seeds(seeds, 10) == (Point(1, 0, 2.0, 1.0, 3.0), Point(2, 0, 2.0, 2.0, 2.0))
    assert over_seeds([], 10) == over_seeds([[]], 10) == ()


def test_over_seeds_averages_in_time_before_it_looks_for_the_extremes() -> None:
    """A seed that jumps up and down has no spread of its own; that is between seeds."""
    seeds = [[point(step, (-1) ** step + shift) for step in range(1, 9)] for shift in (0.0, 0.5)]
    assert over_seeds(seeds, 4) == tuple(Point(step, 0, 0.25, 0.0, 0.5) for step in (2, 4, 6, 8))


def test_over_seeds_never_mixes_phases() -> None:
    seeds = [[point(1, 0.0), point(2, 0.0), point(3, 9.0, 1)], [point(1, 0.0), point(2, 9.0, 1), point(3, 9.0, 1)]]
    merged = over_seeds(seeds, 1)
    assert [(found.phase, found.step, found.mean) for found in merged] == [(0, 2, 0.0), (1, 3, 9.0)]
    assert over_seeds([[point(1, 1e308), point(2, 1e308)]], 1)[0].mean == 1e308
