"""Worlds for a generator of single points: continuous ones with exactly known densities, and finite alphabets.

Each world is divided into cells, K of them, whose true probabilities are known: of a finite world the cells are its
points, of a continuous one the squares of a fine grid. So what a generator has learnt can be compared with the truth as
one vector of probabilities with another, whatever the world.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped

from textforge.errors import CallError, UserError, nearest
from textforge.oracles import Oracle

WORLDS = {
    "temperatures": "degrees Celsius in a hot desert and in Antarctica: two peaks, of which a generator may lose one",
    "gaussian": "one Gaussian in one dimension, as in figure 1 of Goodfellow et al. (2014)",
    "ring": "eight Gaussians on a circle in two dimensions",
    "alphabet": "20 letters of unequal probabilities, as a game of two tables",
}
REACH = 4.0
"""Standard deviations from its mean up to which a point belongs to a mode."""
Points = Shaped[np.ndarray, "N *D"]
"""Coordinates (N rows of D) in a continuous world, ids (N) in a finite one."""


@runtime_checkable
class World(Protocol):
    """A distribution over points whose every probability is known."""

    @property
    def name(self) -> str:
        """The name under which `load` finds it."""

    @property
    def modes(self) -> tuple[str, ...]:
        """The names of the modes."""

    @property
    def mode_weights(self) -> Float[np.ndarray, "M"]:
        """The probability of each mode."""

    @property
    def probabilities(self) -> Float[np.ndarray, "K"]:
        """The probability of each cell; they add up to one."""

    def sample(self, num: int, seed: int) -> Points:
        """Draw `num` points, the same for the same seed."""

    def log_density(self, points: Points) -> Float[np.ndarray, "N"]:
        """Return the log-density of each point, of an id its log-probability, in nats."""

    def mode_index(self, points: Points) -> Int[np.ndarray, "N"]:
        """Return the position in `modes` of each point's mode, and -1 for a point of none."""

    def cell_of(self, points: Points) -> Int[np.ndarray, "N"]:
        """Return the cell of each point; what lies beyond the grid counts in the cell next to it."""

    def written(self, points: Points) -> list[str]:
        """Write each point as a line of text."""


@dataclass(frozen=True)
class Mode:
    """One Gaussian of a mixture, with the same standard deviation in all directions."""

    name: str
    weight: float
    mean: tuple[float, ...]
    std: float


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians; raises UserError where the weights do not add up to one or the dimensions differ."""

    name: str
    axes: tuple[str, ...]
    components: tuple[Mode, ...]

    def __post_init__(self) -> None:
        """Check that this is a distribution over points of one dimension."""
        total = math.fsum(mode.weight for mode in self.components)
        if not math.isclose(total, 1.0, abs_tol=1e-9) or min(mode.weight for mode in self.components) <= 0:
            raise UserError(f"the weights of {self.name} must be above 0 and add up to 1, not to {total}")
        for mode in self.components:
            if len(mode.mean) != len(self.axes) or not mode.std > 0:
                raise UserError(
                    f"mode '{mode.name}' of {self.name} needs {len(self.axes)} coordinates and a std above 0"
                )

    @property
    def dim(self) -> int:
        """D, the number of coordinates."""
        return len(self.axes)

    @property
    def modes(self) -> tuple[str, ...]:
        """The names of the Gaussians."""
        return tuple(mode.name for mode in self.components)

    @cached_property
    def means(self) -> Float[np.ndarray, "M D"]:
        """The mean of each mode."""
        return np.array([mode.mean for mode in self.components], dtype=np.float64)

    @cached_property
    def stds(self) -> Float[np.ndarray, "M"]:
        """The standard deviation of each mode."""
        return np.array([mode.std for mode in self.components], dtype=np.float64)

    @cached_property
    def mode_weights(self) -> Float[np.ndarray, "M"]:
        """The probability of each mode."""
        return np.array([mode.weight for mode in self.components], dtype=np.float64)

    @property
    def centre(self) -> Float[np.ndarray, "D"]:
        """The mean of the whole."""
        return np.asarray(self.mode_weights @ self.means)

    @property
    def scale(self) -> float:
        """The standard deviation of the whole, the root of its mean over the coordinates."""
        spread = np.square(self.means - self.centre).mean(1) + np.square(self.stds)
        return float(np.sqrt(self.mode_weights @ spread))

    def sample(self, num: int, seed: int) -> Float[np.ndarray, "N D"]:
        """Draw `num` points."""
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(self.components), size=num, p=self.mode_weights)
        return np.asarray(self.means[chosen] + self.stds[chosen, None] * rng.standard_normal((num, self.dim)))

    def log_density(self, points: Points) -> Float[np.ndarray, "N"]:
        """Return the log-density of each point in nats."""
        exponents = -0.5 * np.square(self._deviations(points))
        heights = np.log(self.mode_weights) - self.dim * np.log(self.stds * math.sqrt(2 * math.pi))
        return np.asarray(np.logaddexp.reduce(exponents + heights, axis=1))

    def mode_index(self, points: Points) -> Int[np.ndarray, "N"]:
        """Return the mode whose mean is the nearest in standard deviations, -1 beyond `REACH` of them."""
        deviations = self._deviations(points)
        found = deviations.argmin(1)
        return np.asarray(np.where(deviations[np.arange(len(found)), found] <= REACH, found, -1))

    def mode_of(self, points: Points) -> list[str | None]:
        """Return the name of the mode of each point, None for a point of none."""
        return [None if i < 0 else self.modes[i] for i in self.mode_index(points).tolist()]

    def _deviations(self, points: Points) -> Float[np.ndarray, "N M"]:
        distances = np.sqrt(np.square(points[:, None, :] - self.means).sum(2))
        return np.asarray(distances / self.stds)

    @cached_property
    def edges(self) -> Float[np.ndarray, "_"]:
        """The edges of the cells, the same along every axis: 8 standard deviations beyond the outermost means.

        A cell is a quarter (in two dimensions, a half) of the least standard deviation wide.
        """
        low, high = (self.means.T - 8 * self.stds).min(), (self.means.T + 8 * self.stds).max()
        width = self.stds.min() * (0.25 if self.dim == 1 else 0.5)
        return np.asarray(low + width * np.arange(math.ceil((high - low) / width) + 1))

    @property
    def cells(self) -> Float[np.ndarray, "K D"]:
        """The middle of each cell."""
        middles = (self.edges[:-1] + self.edges[1:]) / 2
        return np.stack(np.meshgrid(*[middles] * self.dim, indexing="ij"), -1).reshape(-1, self.dim)

    @cached_property
    def probabilities(self) -> Float[np.ndarray, "K"]:
        """The probability of each cell, integrated exactly: of a Gaussian, the product over its axes."""
        total = np.zeros((len(self.edges) - 1,) * self.dim)
        for mode in self.components:
            product = np.full((), mode.weight)
            for mean in mode.mean:
                product = np.multiply.outer(product, _interval_masses((self.edges - mean) / mode.std))
            total += product
        return np.asarray(total.reshape(-1) / total.sum())

    def cell_of(self, points: Points) -> Int[np.ndarray, "N"]:
        """Return the cell of each point."""
        num = len(self.edges) - 1
        width = self.edges[1] - self.edges[0]
        along = np.clip(np.floor((points - self.edges[0]) / width), 0, num - 1).astype(np.int64)
        return np.asarray(along @ num ** np.arange(self.dim - 1, -1, -1))

    def written(self, points: Points) -> list[str]:
        """Write coordinates with two decimals, with spaces between."""
        return [" ".join(f"{value:.2f}" for value in row) for row in points.tolist()]


def _interval_masses(edges: Float[np.ndarray, "E"]) -> Float[np.ndarray, "_"]:
    """Return the standard normal probability between neighbouring edges, exact in both tails."""
    tail = np.array([0.5 * math.erfc(abs(edge) / math.sqrt(2)) for edge in edges])
    below = np.where(edges < 0, tail, 1 - tail)
    one_sided = np.abs(np.diff(tail))
    return np.where(edges[:-1] * edges[1:] >= 0, one_sided, np.diff(below))


@dataclass(frozen=True)
class Alphabet:
    """A finite world: K symbols or texts with their probabilities, each a cell of its own; points are their ids.

    Raises UserError where the probabilities are none.
    """

    name: str
    symbols: tuple[str, ...]
    weights: tuple[float, ...]
    modes: tuple[str, ...]
    mode_ids: tuple[int, ...]
    """For each symbol the position of its mode."""

    def __post_init__(self) -> None:
        """Check that this is a distribution over the symbols."""
        total = math.fsum(self.weights)
        if len(self.weights) != len(self.symbols) or min(self.weights) < 0 or not math.isclose(total, 1, abs_tol=1e-6):
            raise UserError(f"{self.name} needs a probability for each symbol, all adding up to 1, not to {total}")

    @cached_property
    def probabilities(self) -> Float[np.ndarray, "K"]:
        """The probability of each symbol."""
        weights = np.array(self.weights, dtype=np.float64)
        return np.asarray(weights / weights.sum())

    @property
    def mode_weights(self) -> Float[np.ndarray, "M"]:
        """The probability of each mode."""
        return np.bincount(self.mode_ids, weights=self.probabilities, minlength=len(self.modes))

    def sample(self, num: int, seed: int) -> Int[np.ndarray, "N"]:
        """Draw `num` ids."""
        return np.random.default_rng(seed).choice(len(self.symbols), size=num, p=self.probabilities)

    def log_density(self, points: Points) -> Float[np.ndarray, "N"]:
        """Return the log-probability of each id in nats, -inf where it is 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.probabilities[points]))

    def mode_index(self, points: Points) -> Int[np.ndarray, "N"]:
        """Return the mode of each id."""
        return np.asarray(np.array(self.mode_ids, dtype=np.int64)[points])

    def cell_of(self, points: Points) -> Int[np.ndarray, "N"]:
        """Return the ids: each is its own cell."""
        return points.astype(np.int64)

    def written(self, points: Points) -> list[str]:
        """Return the symbols."""
        return [self.symbols[i] for i in points.tolist()]


def alphabet_of(oracle: Oracle) -> Alphabet:
    """Return the finite world of an oracle's texts; raises CallError for one whose texts cannot be listed."""
    texts = oracle.support()
    if texts is None:
        known = " or ".join([*names(), "arithmetic"])
        raise CallError(f"{oracle.name} has too many texts to be listed in a table; give --data {known}")
    modes = oracle.modes or ("all",)
    found = oracle.mode_of(texts) if oracle.modes else ["all"] * len(texts)
    place = {mode: i for i, mode in enumerate(modes)}
    weights = tuple(np.exp(oracle.log_prob(texts)).tolist())
    return Alphabet(oracle.name, tuple(texts), weights, modes, tuple(place[str(mode)] for mode in found))


def random_alphabet(num: int = 20, *, seed: int, name: str = "alphabet") -> Alphabet:
    """Return letters (at most 26) whose probabilities are drawn uniformly from the simplex; each is a mode."""
    letters = tuple(map(chr, range(ord("a"), ord("a") + num)))
    weights = np.random.default_rng(seed).dirichlet(np.ones(num))
    return Alphabet(name, letters, tuple(weights.tolist()), letters, tuple(range(num)))


def names() -> list[str]:
    """Return the names that `load` knows."""
    return list(WORLDS)


def load(name: str) -> World:
    """Return a world by its name; raises CallError for an unknown one."""
    match name:
        case "temperatures":
            peaks = (Mode("Antarctica", 0.5, (-45.0,), 6.0), Mode("desert", 0.5, (38.0,), 4.0))
            return Mixture(name, ("temperature in °C",), peaks)
        case "gaussian":
            return Mixture(name, ("x",), (Mode("peak", 1.0, (4.0,), 1.0),))
        case "ring":
            return Mixture(name, ("x", "y"), tuple(_circle(("E", "NE", "N", "NW", "W", "SW", "S", "SE"), 2.0, 0.1)))
        case "alphabet":
            return random_alphabet(seed=0)
    raise CallError(f"there is no world '{name}'; choose from {', '.join(names())}{nearest(name, names())}")


def _circle(directions: Sequence[str], radius: float, std: float) -> list[Mode]:
    num = len(directions)
    angles = [2 * math.pi * i / num for i in range(num)]
    return [
        Mode(direction, 1 / num, (radius * math.cos(angle), radius * math.sin(angle)), std)
        for direction, angle in zip(directions, angles, strict=True)
    ]
