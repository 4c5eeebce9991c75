"""What was recorded, as phases and curves: plain numbers, no drawing."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from textforge.report.read import Record


@dataclass(frozen=True)
class Phase:
    """A stretch of training under one name: from the last step of the one before to its own, and how long it took."""

    name: str
    start: int
    stop: int
    seconds: float


@dataclass(frozen=True)
class Point:
    """One value of a curve, or the mean, lowest and highest of several neighbouring ones."""

    step: int
    phase: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """One scalar over training: its finite values, and how many were infinite or not a number."""

    name: str
    values: tuple[Point, ...]
    not_finite: int

    @property
    def first(self) -> Point:
        """The first finite value."""
        return self.values[0]

    @property
    def last(self) -> Point:
        """The last finite value."""
        return self.values[-1]

    @property
    def lowest(self) -> Point:
        """The lowest value, the first of equals."""
        return min(self.values, key=lambda point: point.mean)

    @property
    def highest(self) -> Point:
        """The highest value, the first of equals."""
        return max(self.values, key=lambda point: point.mean)


def phases(records: Sequence[Record]) -> tuple[Phase, ...]:
    """Return the phases in their order. A method may come back to a name: that is another phase."""
    found: list[Phase] = []
    seconds = 0.0
    for name, group in groupby(records, key=lambda record: record.phase):
        members = list(group)
        start = found[-1].stop if found else members[0].step
        found.append(Phase(name, start, members[-1].step, members[-1].seconds - seconds))
        seconds = members[-1].seconds
    return tuple(found)


def curves(records: Sequence[Record]) -> tuple[Curve, ...]:
    """Return every scalar as a curve, in the order in which they first appear."""
    values: dict[str, list[Point]] = {}
    not_finite: dict[str, int] = {}
    for number, (_, group) in enumerate(groupby(records, key=lambda record: record.phase)):
        for record in group:
            for name, value in record.scalars.items():
                points = values.setdefault(name, [])
                if math.isfinite(value):
                    points.append(Point(record.step, number, value, value, value))
                else:
                    not_finite[name] = not_finite.get(name, 0) + 1
    return tuple(Curve(name, tuple(points), not_finite.get(name, 0)) for name, points in values.items())


def over_seeds(seeds: Sequence[Sequence[Point]], at_most: int) -> tuple[Point, ...]:
    """Return the mean over the seeds at each step, and the lowest and the highest of them.

    Of more than about `at_most` steps, neighbouring ones of one phase are first averaged in each seed. Where only some
    seeds have a value the mean is over these.
    """
    places = sorted({(point.phase, point.step) for points in seeds for point in points})
    size = math.ceil(len(places) / at_most)
    stretches: list[tuple[int, int]] = []  # phase and last step of each
    of: dict[tuple[int, int], int] = {}
    for _, members in groupby(places, key=lambda place: place[0]):
        for i, place in enumerate(members):
            if i % size == 0:
                stretches.append(place)
            stretches[-1] = place
            of[place] = len(stretches) - 1
    means: list[list[float]] = [[] for _ in stretches]
    for points in seeds:
        own: dict[int, list[float]] = {}
        for point in points:
            own.setdefault(of[point.phase, point.step], []).append(point.mean)
        for i, values in own.items():
            means[i].append(_mean(values))
    return tuple(
        Point(step, phase, _mean(values), min(values), max(values))
        for (phase, step), values in zip(stretches, means, strict=True)
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(value / len(values) for value in values)


def thinned(points: Iterable[Point], at_most: int) -> Iterator[Point]:
    """Yield means of neighbouring points of one phase, so few that a curve has about `at_most` of them."""
    points = tuple(points)
    size = math.ceil(len(points) / at_most)
    for _, members in groupby(points, key=lambda point: point.phase):
        stretch = tuple(members)
        for chunk in (stretch[i : i + size] for i in range(0, len(stretch), size)):
            mean = _mean([point.mean for point in chunk])
            low, high = min(point.low for point in chunk), max(point.high for point in chunk)
            yield Point(chunk[-1].step, chunk[-1].phase, mean, low, high)
