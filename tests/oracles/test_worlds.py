"""Worlds of points: samples, densities, cells and modes agree with each other, and with the formulas."""

import math

import numpy as np
import pytest

from textforge import oracles
from textforge.errors import CallError, UserError
from textforge.oracles import worlds
from textforge.oracles.worlds import Alphabet, Mixture, Mode, World, alphabet_of, random_alphabet

CONTINUOUS = ("temperatures", "gaussian", "ring")


def mixture(name: str) -> Mixture:
    world = worlds.load(name)
    assert isinstance(world, Mixture)
    return world


@pytest.mark.parametrize("name", worlds.names())
def test_every_named_world_keeps_the_protocol(name: str) -> None:
    world = worlds.load(name)
    assert isinstance(world, World)
    assert world.name == name
    points = world.sample(50, seed=3)
    assert np.array_equal(points, world.sample(50, seed=3))
    assert not np.array_equal(points, world.sample(50, seed=4))
    assert len(world.written(points)) == len(world.log_density(points)) == 50
    assert world.probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert world.mode_weights.sum() == pytest.approx(1, abs=1e-12)
    assert len(world.mode_weights) == len(world.modes)
    assert set(world.mode_index(points).tolist()) <= set(range(-1, len(world.modes)))


@pytest.mark.parametrize("name", [*worlds.names(), "arithmetic"])
def test_frequencies_of_samples_are_the_probabilities_of_the_cells(name: str) -> None:
    """Pearson's chi-square over the cells that expect at least 10 points."""
    world = alphabet_of(oracles.load(name)) if name == "arithmetic" else worlds.load(name)
    num = 100_000
    counts = np.bincount(world.cell_of(world.sample(num, seed=1)), minlength=len(world.probabilities))
    likely = world.probabilities * num >= 10
    expected = num * np.append(world.probabilities[likely], world.probabilities[~likely].sum())
    seen = np.append(counts[likely], counts[~likely].sum())
    degrees = len(seen) - 1
    statistic = float((np.square(seen - expected) / np.maximum(expected, 1e-9)).sum())
    assert abs(statistic - degrees) < 4.5 * math.sqrt(2 * max(degrees, 1)) + 5


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_density_integrates_to_the_probability_of_each_cell(name: str) -> None:
    world = mixture(name)
    width = (world.edges[1] - world.edges[0]) ** world.dim
    by_the_middle = np.exp(world.log_density(world.cells)) * width
    assert by_the_middle.sum() == pytest.approx(1, abs=1e-6)
    likely = world.probabilities > 1e-4
    bound = 0.05 if world.dim == 1 else 0.15  # the middle of a cell errs by h^2 / 24 of the second derivative
    assert np.abs(by_the_middle / world.probabilities - 1)[likely].max() < bound


def test_the_log_density_is_that_of_the_formula() -> None:
    world = Mixture("w", ("x", "y"), (Mode("a", 0.25, (0.0, 1.0), 0.5), Mode("b", 0.75, (3.0, -1.0), 2.0)))
    x, y = 1.3, 0.2
    density = 0.25 * math.exp(-(x**2 + (y - 1) ** 2) / (2 * 0.25)) / (2 * math.pi * 0.25)
    density += 0.75 * math.exp(-((x - 3) ** 2 + (y + 1) ** 2) / (2 * 4)) / (2 * math.pi * 4)
    assert world.log_density(np.array([[x, y]]))[0] == pytest.approx(math.log(density), abs=1e-12)
    assert np.isfinite(world.log_density(np.array([[1e4, 0.0]]))).all()


def test_cells_tell_their_own_middles_and_take_in_what_lies_beyond() -> None:
    for name in CONTINUOUS:
        world = mixture(name)
        assert np.array_equal(world.cell_of(world.cells), np.arange(len(world.probabilities)))
        ends = world.cell_of(np.array([[-1e6] * world.dim, [1e6] * world.dim]))
        assert ends.tolist() == [0, len(world.probabilities) - 1]


def test_tails_are_exact() -> None:
    """A difference of two numbers near one would be 0 there."""
    world = mixture("gaussian")
    first = world.probabilities[0]
    exact = 0.5 * (math.erfc(7.75 / math.sqrt(2)) - math.erfc(8 / math.sqrt(2)))
    assert first == pytest.approx(exact, rel=1e-6)
    assert world.probabilities[-1] == pytest.approx(exact, rel=1e-6)


def test_modes_end_at_four_standard_deviations() -> None:
    world = mixture("temperatures")
    assert world.modes == ("Antarctica", "desert")
    points = np.array([[-45.0], [-45 - 23.9], [-45 - 24.1], [38.0], [38 + 15.9], [38 + 16.1], [0.0]])
    assert world.mode_of(points) == ["Antarctica", "Antarctica", None, "desert", "desert", None, None]
    assert world.mode_index(points).tolist() == [0, 0, -1, 1, 1, -1, -1]


def test_centre_and_scale_are_the_moments_of_the_whole() -> None:
    for name in CONTINUOUS:
        world = mixture(name)
        points = world.sample(200_000, seed=5)
        assert np.abs(points.mean(0) - world.centre).max() < 4.5 * world.scale / math.sqrt(200_000)
        assert np.sqrt(points.var(0).mean()) == pytest.approx(world.scale, rel=0.01)


def test_the_ring_is_a_circle_of_eight() -> None:
    world = mixture("ring")
    assert len(world.modes) == 8
    assert np.linalg.norm(world.means, axis=1) == pytest.approx(np.full(8, 2.0))
    assert world.modes[int(world.means[:, 1].argmax())] == "N"


def test_points_are_written_as_lines() -> None:
    assert mixture("temperatures").written(np.array([[-41.7349], [5.0]])) == ["-41.73", "5.00"]
    assert mixture("ring").written(np.array([[1.0, -2.0]])) == ["1.00 -2.00"]
    assert worlds.load("alphabet").written(np.array([2, 0])) == ["c", "a"]


# --- Finite worlds ---


def test_an_oracle_becomes_a_table_of_its_texts() -> None:
    oracle = oracles.load("arithmetic")
    world = alphabet_of(oracle)
    assert len(world.symbols) == 1365
    drawn = world.sample(300, seed=0)
    texts = world.written(drawn)
    np.testing.assert_allclose(world.log_density(drawn), oracle.log_prob(texts))
    assert [world.modes[i] for i in world.mode_index(drawn)] == oracle.mode_of(texts)
    assert world.mode_weights == pytest.approx(np.full(6, 1 / 6))
    with pytest.raises(CallError, match="captions has too many texts to be listed in a table; give --data temper"):
        alphabet_of(oracles.load("captions"))


def test_a_random_alphabet_is_a_function_of_its_seed() -> None:
    assert random_alphabet(seed=1) == random_alphabet(seed=1)
    assert random_alphabet(seed=1) != random_alphabet(seed=2)
    assert random_alphabet(5, seed=1).symbols == ("a", "b", "c", "d", "e")


# --- Wrong worlds ---


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CallError, match=r"no world 'rings'; choose from temperatures, .*did you mean 'ring'"):
        worlds.load("rings")


@pytest.mark.parametrize("weights", [(0.5, 0.6), (1.0, 0.0), (1.5, -0.5)])
def test_weights_of_a_mixture_are_checked(weights: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="the weights of w must be above 0 and add up to 1"):
        Mixture("w", ("x",), tuple(Mode(str(i), weight, (0.0,), 1.0) for i, weight in enumerate(weights)))


@pytest.mark.parametrize("mode", [Mode("a", 1.0, (0.0, 1.0), 1.0), Mode("a", 1.0, (0.0,), 0.0)])
def test_modes_of_a_mixture_are_checked(mode: Mode) -> None:
    with pytest.raises(UserError, match="mode 'a' of w needs 1 coordinates and a std above 0"):
        Mixture("w", ("x",), (mode,))


def test_probabilities_of_an_alphabet_are_checked() -> None:
    for weights in ((0.5, 0.4), (1.0,), (1.5, -0.5)):
        with pytest.raises(UserError, match="needs a probability for each symbol, all adding up to 1"):
            Alphabet("w", ("a", "b"), weights, ("all",), (0, 0))
